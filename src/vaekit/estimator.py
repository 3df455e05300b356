"""The estimator: a VAE with scikit-learn's manners, over arrays in their own units."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import nn

from .core import Component, LocalDraws, trainable_copy
from .data.annotated import annotated, beside_of
from .data.arrays import column_names
from .data.beside import context_shape
from .data.containers import collected
from .data.inference import Columns
from .data.rows import AbstractRows
from .data.schema import Schema
from .data.spec import DataSpec
from .data.unknown import Unknown
from .evaluated import Evaluated
from .evaluation.health import FEWEST
from .evaluation.trained_rows import TrainedRows
from .incremental import one_pass
from .latents import AbstractLatent, Prior, StandardNormal
from .likelihoods import Likelihood
from .likelihoods.unit import reading
from .locking import locked
from .model import VAEModule
from .networks import MLP, Adapter, Network, as_network, ends_in, gives_probabilities, initialise
from .objectives import Objective, PriorFit, PriorOnly
from .paths import expanded
from .recipes import RECIPES, Parts, Pretraining, Recipe, Regime
from .storage import inside
from .training import Adam, Learner, Training, fit, join
from .training.display import display_for
from .training.distributed import Processes
from .training.fitting import Display, Silent
from .training.history import CUT, Course
from .training.loop import prepare, sample_of, start
from .training.prior import holding, start_prior, with_prior
from .training.privacy import Privacy, PrivateTraining

log = logging.getLogger("vaekit")

FEW, SHARE = 500, 80
"""How many rows `fit` looks at for the two lines on the model's health, at most, and of how many that it trained on one
is looked at: that takes about five passes forwards, some two per cent of the training."""
CODES = 10_000
"""Rows whose codes a prior starts from after a pre-training."""


class VAE(Evaluated):
    """A variational autoencoder over arrays of any shape, (N, ...).

    Parameters
    ----------
    latent_dim: numbers in z (what a recipe makes of it, where it names another latent); None: the recipe's own, 2, but
        for tables.
    recipe: a named model, by name or from `vaekit.recipes`; None: "vae" for images, "table" for tables, else "auto".
    encoder, decoder, latent, likelihood, objective: parts that replace the recipe's. Networks may be any `nn.Module`
        (or a Keras 3 model on the torch backend); sizes left open are settled. fit trains copies of them; parts that
        already have weights keep them, the rest is built from the seed.
    context: a network that reads the context of a row into a vector; None: a small dense one for images, else none.
    epochs, batch_size, lr, schedule: of Adam's training; None: the recipe's own, 50, 128, 1e-3 and "constant", but for
        tables; see `vaekit.recipes.Regime`. clip: the largest norm of a gradient; None: the recipe's own, which tables
        and the very deep hierarchies have. warmup, skip, average, weight_decay: see `vaekit.training.Adam`.
    privacy: how far the weights may tell any one training row; see `vaekit.training.Privacy`.
    columns: of a table, what its columns are, by name, where that is known better than it is inferred: a kind, the
        ordered levels of an ordinal one, or "identifier" to leave one out; see `vaekit.data.Schema`.
    unknown: what to do with values of a table that fit did not see, a new level, a value that the kind of its column
        cannot hold, another value than that of a constant: "missing" treats the cell as missing, with one warning, and
        anomaly scores count it as rare; "error" refuses the rows.
    validation: held-out share of the training rows (0: none), or rows to hold out. The test set is never touched.
    patience: epochs without a better held-out ELBO before training stops and the best weights return; None: never. A
        training that has diverged goes back to its last good state before it is stopped, and the epochs count anew.
    initialiser: "glorot" (Keras' default), "he", "torch", of the library's own networks.
    missing: whether NaN marks a missing cell of an array; otherwise a NaN is refused. A table says itself what is
        missing.
    warm_start: whether `fit` goes on from the weights of the last `fit`.
    precision: "fp32", or "bf16" for the networks' products in training; likelihoods and scores stay in fp32.
    threads: of the operations on the CPU in training; "auto" tries on the first batches and takes the fastest, as does
        compile="auto" for long trainings: whether steps are compiled, see `vaekit.training.calibrate`.
    device: "auto" (cuda, mps, else cpu) or a torch device. seed: of everything random. verbose: shows progress, and
        at the end the model's health, in two lines.
    seeds: how many models to train, stacked, with seed, seed + 1, ...: the estimator is the first, and `evaluate` tells
        the mean over all of them with its standard error.
    sharded: of several processes, whether each keeps but a part of the networks' weights in training, for models that
        are too large otherwise.

    Attributes
    ----------
    module_: the trained `VAEModule`. objective_: with its critic, if it has one. spec_: the `DataSpec`.
    history_: a dict per epoch. ended_: "finished"; "recovered" (finished, after training had
    diverged and gone back once); "stopped early"; "time limit"; or "interrupted". pace_: the threads it trained
    with, and whether compiled. epsilon_: what a private training has spent. n_features_in_. classes_: what `predict`
    tells. members_: with seeds, the VAE of each.
    """

    def __init__(
        self,
        latent_dim: int | None = None,
        *,
        recipe: str | Recipe | None = None,
        encoder: nn.Module | None = None,
        decoder: nn.Module | None = None,
        latent: AbstractLatent | None = None,
        likelihood: Likelihood | None = None,
        objective: Objective | None = None,
        context: Network | None = None,
        epochs: int | None = None,
        batch_size: int | None = None,
        lr: float | None = None,
        schedule: str | None = None,
        warmup: int = 0,
        clip: float | None = None,
        skip: float | None = None,
        average: float | None = None,
        weight_decay: float = 0.0,
        privacy: Privacy | None = None,
        columns: Columns | None = None,
        unknown: Unknown = "missing",
        validation: float | object = 0.1,
        patience: int | None = None,
        initialiser: str = "glorot",
        missing: bool = False,
        warm_start: bool = False,
        precision: str = "fp32",
        threads: int | str = "auto",
        compile: bool | str = "auto",
        device: str = "auto",
        seed: int = 0,
        seeds: int | None = None,
        sharded: bool = False,
        verbose: bool = False,
    ):
        self.latent_dim = latent_dim
        self.recipe = recipe
        self.encoder = encoder
        self.decoder = decoder
        self.latent = latent
        self.likelihood = likelihood
        self.objective = objective
        self.context = context
        self.epochs = epochs
        self.batch_size = batch_size
        self.lr = lr
        self.schedule = schedule
        self.warmup = warmup
        self.clip = clip
        self.skip = skip
        self.average = average
        self.weight_decay = weight_decay
        self.privacy = privacy
        self.columns = columns
        self.unknown = unknown
        self.validation = validation
        self.patience = patience
        self.initialiser = initialiser
        self.missing = missing
        self.warm_start = warm_start
        self.precision = precision
        self.threads = threads
        self.compile = compile
        self.device = device
        self.seed = seed
        self.seeds = seeds
        self.sharded = sharded
        self.verbose = verbose

    # -- fitting -------------------------------------------------------------------------------------

    _deadline: float | None = None
    """Of the training under way: the value of `time.perf_counter()` at which it stops."""

    def fit(
        self,
        x: object,
        y: object = None,
        *,
        context: object = None,
        schema: Schema | None = None,
        run: str | Path | None = None,
        resume: bool = False,
        max_seconds: float | None = None,
        display: Any = None,
    ) -> Self:
        """Fits to rows (N, ...). Ctrl-C ends it early with what was learned.

        x: an array, a scipy sparse matrix, an AnnData, or what `vaekit.data.stored.stored` reads.
        y: classes (N,), -1 or None where one is not known; a model that has no classes to tell leaves it aside.
        context: what is known beside each row and is given whenever the model is used: classes (N,), whole numbers or
        words; numbers (N, C), which are standardised; or images, which a network reads. Of an AnnData, either may be
        the name of a column of obs.
        schema: of a table, inferred from more rows than these, such as `vk.data.Schema.infer(every_row)`, which then
        says what its columns and levels are instead of x and `columns`.
        run: a folder for checkpoints, the history and the result. resume: go on from its checkpoint, bit for bit.
        max_seconds: seconds after which training stops, with `ended_` "time limit". Reading the data does not count.
        The start of a table's model by factor analysis, the choice of threads and compiling count, and are not cut
        short. A resumed run has as many seconds again.
        Started by torchrun, several processes train one model together; all make the same call, see `training.join`.
        Raises Diverged where training diverges, after it went back once to its last good state with a tenth of the
        learning rate; TimeoutError where `max_seconds` end within a recipe's pre-training.
        """
        x = annotated(x) or collected(x)
        y, context = beside_of(x, y), beside_of(x, context)
        if self._goes_on():
            x, context = self._named(x, context)  # the columns of a frame in the order of the last fit
        names, processes = column_names(x), join()
        self._check_settings()
        self._check_privacy()
        rows, held = self._split(x, y, context, schema=schema)
        folder, display = None if run is None else expanded(run), display or display_for(self.verbose)
        if rows.spec.choice is not None:
            log.info("%s", rows.spec.choice)
            display.tell(rows.spec.choice)
        self._deadline = None if max_seconds is None else time.perf_counter() + max_seconds
        with locked(folder if processes.rank == 0 else None):
            self._fit_rows(rows, held, names, folder, resume, display)
        if not isinstance(display, Silent) and processes.rank == 0:
            self._tell_health(rows, held, display)
        return self

    def _fit_rows(
        self,
        rows: AbstractRows,
        held: AbstractRows | None,
        names: Sequence[str] | None,
        folder: Path | None,
        resume: bool,
        display: Display,
    ) -> None:
        """Trains one model or several on rows, and saves them."""
        vars(self).pop("members_", None)
        if self._several():
            from .sweeps import fit_seeds

            members = fit_seeds(self, rows, held, folder, resume, display)
            vars(self).update({name: value for name, value in vars(members[0]).items() if name.endswith("_")})
            self.members_ = members
        else:
            self._train(self._learner(rows, folder, resume, display), rows, held, folder, resume, display)
        trained = None if self.privacy is not None else TrainedRows.of(rows)
        for vae in (self, *self.__dict__.get("members_", [])):
            vae._name(names)
            vae.trained_rows_ = trained
        if folder is not None:
            join().first(lambda: self.save(folder))

    def _tell_health(self, rows: AbstractRows, held: AbstractRows | None, display: Display) -> None:
        """Two lines at the end of fit, by held-out rows, or by training rows where too few are held out."""
        on = "training" if held is None or len(held) < FEWEST else "held-out"
        looked = rows if on == "training" else held
        if len(looked) >= FEWEST and self.history_ and self.ended_ not in CUT:
            most = min(FEW, max(FEWEST, len(rows) * len(self.history_) // SHARE))
            display.tell(self._health(looked, self.seed, most=most, on=on).in_two_lines())

    def _several(self) -> bool:
        """Whether several seeds are trained. Raises ValueError for a number of seeds that is none."""
        if self.warm_start and self.seeds not in (None, 1):
            raise ValueError(f"seeds={self.seeds} trains several models, warm_start=True goes on from one: drop one")
        return self.seeds not in (None, 1)

    def _train(
        self,
        learner: Learner,
        rows: AbstractRows,
        held: AbstractRows | None,
        folder: Path | None,
        resume: bool,
        display: Display,
    ) -> Course:
        """Trains a learner of this estimator's on rows, and takes it over; how it went."""
        held = held and held.checked(learner.model.likelihood.check)
        training = self._training(learner, rows)
        course = fit(training, held, folder=folder, resume=resume, display=display, **self._fitting())[0]
        self._adopt(learner, rows.spec, course)
        return course

    def _training(self, learner: Learner, rows: AbstractRows) -> Training:
        regime = self._regime(rows)
        settings = (learner, rows, regime.epochs, regime.batch_size, self._adam(regime), self.seed)
        if self.privacy is None:
            return Training(*settings, sharded=self.sharded)
        return PrivateTraining(*settings, privacy=self.privacy)

    def _check_privacy(self) -> None:
        """Raises ValueError for settings by which a private training would tell more than it says."""
        if self.privacy is None:
            return
        why = {
            "patience": "the best epoch is chosen by held-out rows, which are not private: pass patience=None",
            "warm_start": "what the weights have spent before would come on top: fit anew",
            "seeds": "every model spends by itself: fit one",
            "sharded": "the gradients of rows are taken by one process: pass sharded=False",
        }
        for name, reason in why.items():
            if getattr(self, name) not in ((None, 1) if name == "seeds" else (None, False)):
                raise ValueError(f"privacy with {name}={getattr(self, name)!r}: {reason}")
        if self.compile is True:
            raise ValueError("the steps of a private training are not compiled: drop one of privacy and compile=True")
        if join().size > 1:
            raise ValueError("a private training runs in one process: the rows of a batch are drawn by one")

    def _fitting(self) -> dict[str, Any]:
        compiled = self.compile if self.privacy is None else False
        settings = {
            "patience": self.patience,
            "threads": self.threads,
            "compiled": compiled,
            "deadline": self._deadline,
        }
        return settings | {"settings": {"initialiser": self.initialiser}}

    def fit_prior(
        self,
        x: object,
        prior: Prior,
        *,
        context: object = None,
        objective: Objective | None = None,
        epochs: int | None = None,
        run: str | Path | None = None,
        resume: bool = False,
        display: Any = None,
    ) -> Self:
        """Replaces the prior of a fitted model by a copy of this one, trained on the codes of rows (N, ...).

        Encoder and decoder stay as they are, bit for bit. Of a ladder the prior is the top rung's, of a codebook that
        over its codes; a point mass gets one to sample from. With several `seeds` every model gets its own. objective:
        what the prior is trained for, such as `vk.objectives.IWAE(5)`; None: the cross-entropy of the codes, see
        `PriorFit`. epochs: None: the estimator's. Its batch size, learning rate, held-out share and `patience` apply,
        too, `history_` goes on, and Ctrl-C, run and resume are as in `fit`. Raises ValueError, and changes nothing,
        where the prior cannot be replaced or has nothing to learn.

            vae.fit_prior(x, vk.latents.FlowPrior(), epochs=20).sample(64)
        """
        if self.privacy is not None:
            raise ValueError("a prior that is fitted to the codes of rows is not private: this model's prior stays")
        x, context = self._named(x, context)
        self._seen(x, context)  # refuses other rows than it was fitted to
        rows, held = self._split(x, None, context, self.spec_)
        folder, display = None if run is None else expanded(run), display or display_for(self.verbose)
        with locked(folder if join().rank == 0 else None):
            self._deadline = None
            members = self.__dict__.get("members_", [])
            self._fit_prior(prior, objective, rows, held, epochs, folder, resume, display)
            for first in members[:1]:
                vars(first).update({n: v for n, v in vars(self).items() if n.endswith("_") and n != "members_"})
            for member in members[1:]:
                home = None if folder is None else inside(folder, f"seed-{member.seed}")
                member._fit_prior(prior, objective, rows, held, epochs, home, resume, display)
            if folder is not None:
                join().first(lambda: self.save(folder))
        return self

    def _fit_prior(
        self,
        prior: Prior,
        objective: Objective | None,
        rows: AbstractRows,
        held: AbstractRows | None,
        epochs: int | None,
        folder: Path | None,
        resume: bool,
        display: Display,
    ) -> None:
        with LocalDraws(self.seed):
            model = with_prior(self.module_, prior, rows).to(rows.device)
            own = PriorFit() if objective is None else PriorOnly(trainable_copy(objective))
            learner = Learner(model, own.settled(**_counts(rows, model))).to(rows.device)
            new = model.latent.get_submodule(model.latent.own_prior)
            initialise(nn.ModuleList(_networks(new)), self.initialiser, torch.Generator().manual_seed(self.seed))
        start_prior(model, rows, self.seed)
        settings = {**self._fitting(), "patience": None if model.latent.ratio == "none" else self.patience}
        with holding(learner, learner.players()["prior"]):
            regime = self._regime(rows)
            epochs = regime.epochs if epochs is None else epochs
            training = Training(learner, rows, epochs, regime.batch_size, self._adam(regime), self.seed)
            course = fit(training, held, folder=folder, resume=resume, display=display, **settings)[0]
        before = len(self.history_)
        self.history_ = [*self.history_, *({**r, "epoch": before + r["epoch"]} for r in course.history)]
        self.module_, self.ended_, self.pace_ = model.eval(), course.ended, course.pace

    def fit_transform(self, x: object, y: object = None, *, context: object = None, **settings: Any) -> Any:
        """Fit to rows and return their codes.

        Parameters
        ----------
        x, y, context
            As in `fit`.
        **settings
            Other arguments of `fit`.

        Returns
        -------
        ndarray of shape (N, latent numbers) or DataFrame
            As `transform` returns them.
        """
        return self.fit(x, y, context=context, **settings).transform(x, context)

    def partial_fit(self, x: object, y: object = None, *, context: object = None) -> Self:
        """Train for one epoch on the given rows, from the current weights.

        The first call builds the model: it infers columns, levels, scales and classes from its rows, so these rows
        should be typical and hold every class of y. Later calls keep them. No rows are held out, the learning rate is
        constant and the moments of Adam start anew at each call, so large parts are better than small ones.

        Parameters
        ----------
        x : array, sparse matrix, table or path
            Rows, in later calls like those of the first.
        y : array of shape (N,) or None, default=None
            Classes, for a model that has them.
        context : array or None, default=None
            Context of the rows, for a model that reads one.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If the rows differ in shape or kind from those of the first call, or with `seeds`, `privacy` or `sharded`.

        See Also
        --------
        fit

        Examples
        --------
        >>> vae = vk.VAE(latent_dim=2)
        >>> for part in parts:
        ...     vae.partial_fit(part)
        """
        one_pass(self, x, y, context)
        return self

    def _adopt(self, learner: Learner, spec: DataSpec, course: Course) -> None:
        learner.to(memory_format=torch.channels_last)  # as in training: what is loaded gives the same numbers, as fast
        self.module_, self.objective_, self.spec_ = learner.model.eval(), learner.objective, spec
        self.n_features_in_ = math.prod(spec.shape) if spec.schema is None else len(spec.schema.columns)
        self.history_, self.ended_, self.best_epoch_ = course.history, course.ended, course.best_epoch
        self.pace_, self.epsilon_, self.trained_rows_ = course.pace, course.spent, None
        if not course.history and course.ended in CUT:
            log.warning(
                "training ended (%s) within its first epoch: the model is not fitted; resume the run, or fit again",
                course.ended,
            )

    def _name(self, names: Sequence[str] | None) -> None:
        """Keeps the names of the columns: those given, or a table's own, where these are words."""
        if names is None and self.spec_.schema is not None and all(isinstance(n, str) for n in self.spec_.schema.names):
            names = self.spec_.schema.names
        vars(self).pop("feature_names_in_", None)
        if names is not None:
            self.feature_names_in_ = np.array(names, dtype=object)

    def _regime(self, rows: AbstractRows) -> Regime:
        """The recipe's, with what the estimator says itself."""
        given = {name: getattr(self, name) for name in vars(Regime())}
        own = self._recipe(rows.spec).regime(len(rows))
        return replace(own, **{name: value for name, value in given.items() if value is not None})

    def _adam(self, regime: Regime) -> Adam:
        names = ("weight_decay", "warmup", "skip", "average")
        clip = regime.clip if self.privacy is None else self.clip  # private gradients are clipped row by row
        return Adam(regime.lr, schedule=regime.schedule, clip=clip, **{name: getattr(self, name) for name in names})

    def _low_precision(self) -> torch.dtype | None:
        return torch.bfloat16 if self.precision == "bf16" else None

    def _parts(self, spec: DataSpec) -> Parts:
        """The recipe's parts, replaced by the given ones (copied: fit never changes what it was given)."""
        recipe = self._recipe(spec)
        if RECIPES[recipe.name].needs_context and spec.context is None:
            raise ValueError(
                f"recipe {recipe.name!r} reads context: pass fit(x, context=...), on the command line --context, or "
                "use recipe='vae'"
            )
        given = {n: getattr(self, n) for n in ("encoder", "decoder", "latent", "likelihood", "objective", "context")}
        for name in ("encoder", "decoder"):
            if given[name] is not None and not isinstance(given[name], Component):
                given[name] = as_network(given[name])  # before the copy: Keras cannot copy every model of its own
        parts = vars(recipe.build(self.latent_dim, spec))
        parts = {**parts, **{n: trainable_copy(v) for n, v in given.items() if v is not None}}
        if self.decoder is not None and not isinstance(self.decoder, Component):
            parts["likelihood"] = reading(parts["likelihood"], ends_in(self.decoder), fixed=self.likelihood is not None)
        if parts["context"] is None and len(context_shape(spec)) > 1:
            parts["context"] = MLP((128,))
        return Parts(**parts)

    def _learner(self, rows: AbstractRows, folder: Path | None, resume: bool, display: Display) -> Learner:
        """The model to train on these rows with its objective: a new one, or the last one where that goes on.

        folder, resume, display: of the training to come; one before it has a folder of its own in there.
        """
        if self._goes_on():
            learner = Learner(self.module_, self.objective_).to(rows.device)
        else:
            learner = self._built(rows, folder, resume, display)
        learner.model.low_precision = self._low_precision()
        return learner

    def _model(self, parts: Parts, spec: DataSpec, display: Display) -> VAEModule:
        """A new model of these parts. Where a user's decoder gives probabilities, its likelihood reads them."""

        def of(likelihood: Likelihood) -> VAEModule:
            model = VAEModule(parts.encoder, parts.latent, parts.decoder, likelihood, parts.context)
            return model.settled(spec.model_shape, context_shape(spec) or 0)

        model = of(parts.likelihood)
        reads_logits = getattr(model.likelihood, "reads", None) == "logits"
        if not (reads_logits and isinstance(model.decoder, Adapter) and gives_probabilities(model.decoder)):
            return model
        display.tell("all outputs of the decoder lie in [0, 1], as after a sigmoid: they are read as probabilities")
        return of(reading(parts.likelihood, "sigmoid", fixed=self.likelihood is not None))

    def _built(self, rows: AbstractRows, folder: Path | None, resume: bool, display: Display) -> Learner:
        with LocalDraws(self.seed):
            parts = self._parts(rows.spec)
            kept = {m for part in vars(parts).values() for m in _networks(part) if any(True for _ in m.parameters())}
            model = self._model(parts, rows.spec, display)
            learner = Learner(model, parts.objective.settled(**_counts(rows, model)))
            generator = torch.Generator().manual_seed(self.seed)
            initialise(nn.ModuleList(m for m in _networks(learner) if m not in kept), self.initialiser, generator)
        learner.to(rows.device)
        sample = sample_of(rows, self.seed)
        if self.privacy is None:  # it reads training rows
            start(learner.model, sample, self.seed, kept)
        if parts.pretraining is None:
            before = {n: t.clone() for n, t in learner.state_dict().items()} if self.privacy is not None else {}
            prepare(learner.model, sample, self.seed)
            if parts.start is not None and self.privacy is None:  # it reads training rows
                parts.start(learner.model, sample, self.seed)
            begun = [n for n, t in before.items() if not torch.equal(t, learner.state_dict()[n])]
            if begun:
                raise ValueError(f"this model cannot be trained privately: {begun[0]} starts from training rows")
            return learner
        if self.privacy is not None:
            raise ValueError("this model cannot be trained privately: its recipe pre-trains it without noise")
        model = self._pretrained(learner.model, parts.pretraining, rows, folder, resume, display)
        return Learner(model, learner.objective)

    def _pretrained(
        self,
        model: VAEModule,
        pretraining: Pretraining,
        rows: AbstractRows,
        folder: Path | None,
        resume: bool,
        display: Display,
    ) -> VAEModule:
        """A new model that was trained for another objective and with N(0, I) for its prior, whose own one then starts
        from the codes that it has."""
        learner = Learner(with_prior(model, StandardNormal(), rows), pretraining.objective).to(rows.device)
        regime = self._regime(rows)
        epochs, adam = min(pretraining.epochs, regime.epochs), self._adam(regime)
        learner.model.low_precision = self._low_precision()
        training = Training(learner, rows, epochs, regime.batch_size, adam, self.seed, processes=Processes())
        first = join().rank == 0  # every process trains all of it; one tells and writes
        folder, display = inside(folder, "pretraining") if folder and first else None, display if first else Silent()
        display.tell(f"pre-training: {epochs} epochs")
        settings = {**self._fitting(), "patience": None}
        ended = fit(training, folder=folder, resume=resume, display=display, **settings)[0].ended
        if ended == "interrupted":
            raise KeyboardInterrupt
        if ended == "time limit":
            raise TimeoutError("max_seconds ended within the pre-training: no model was fitted; give it more time")
        display.tell("training")
        own = model.latent.get_submodule(model.latent.own_prior)
        model = with_prior(learner.model, own, rows).to(rows.device)
        prepare(model, sample_of(rows, self.seed, CODES), self.seed)
        return model


def _counts(rows: AbstractRows, model: VAEModule) -> dict[str, int]:
    """What an objective may ask of the rows. Raises ValueError for labels of another number of classes."""
    if rows.spec.labels is None:
        return {"rows": len(rows)}
    if model.latent.classes != len(rows.spec.labels):
        raise ValueError(
            f"the model tells {model.latent.classes} classes and y holds {len(rows.spec.labels)}, {rows.spec.labels}: "
            f"build it for as many, as vk.recipes.m2(classes={len(rows.spec.labels)}) does"
        )
    return {"rows": len(rows), "labelled": int(rows.label.sum())}


def _networks(part: object) -> list[Network]:
    return [m for m in part.modules() if isinstance(m, Network)] if isinstance(part, nn.Module) else []
