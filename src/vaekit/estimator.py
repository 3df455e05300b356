"""The estimator: a VAE with scikit-learn's manners, over arrays in their own units."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from .core import Batch, Component, Noise, Scope, Source, Still
from .data.arrays import column_names
from .data.beside import NOTHING, Beside, context_shape, sampled, spread
from .data.rows import AbstractRows, as_rows
from .data.spec import DataSpec
from .data.stored import Stored, as_data
from .evaluation import Evaluation, evaluate_rows, score_rows
from .latents import AbstractLatent, Prior
from .likelihoods import Likelihood
from .manners import Manners, NotFittedError, available
from .model import VAEModule
from .networks import MLP, Network, SequenceEncoder, as_network, ends_in, initialise
from .networks.sequences import until_last
from .objectives import Objective, PriorFit
from .recipes import RECIPES, Parts, Pretraining, Recipe, as_recipe
from .tasks import walks
from .training import Adam, Learner, Training, fit, join
from .training.display import display_for
from .training.distributed import Processes
from .training.fitting import Display
from .training.history import Course
from .training.loop import prepare
from .training.prior import holding, start_prior, with_prior

if TYPE_CHECKING:
    from .report import Report

log = logging.getLogger("vaekit")

CODES = 10_000
"""Rows whose codes a prior starts from after a pre-training."""
CHUNK = 1024
"""Rows per pass when predicting: memory stays bounded for any number of rows."""


class VAE(Manners):
    """A variational autoencoder over arrays of any shape, (N, ...).

    Parameters
    ----------
    latent_dim: numbers in z (what a recipe makes of it, where it names another latent).
    recipe: a named model, by name or from `vaekit.recipes`; None: the classic "vae" for images, "auto" otherwise.
    encoder, decoder, latent, likelihood, objective: parts that replace the recipe's. Networks may be any `nn.Module`
        (or a Keras 3 model on the torch backend); sizes left open are settled. fit trains copies of them; parts that
        already have weights keep them, the rest is built from the seed.
    context: a network that reads the context of a row into a vector; None: a small dense one for images, else none.
    epochs, batch_size, lr, schedule, warmup, clip, skip, average, weight_decay: Adam's training; see
        `vaekit.training.Adam`.
    validation: held-out share of the training rows (0: none), or rows to hold out. The test set is never touched.
    patience: epochs without a better held-out ELBO before training stops and the best weights return; None: never.
    initialiser: "glorot" (Keras' default), "he", "torch", of the library's own networks.
    missing: whether NaN marks a missing cell; otherwise a NaN is refused.
    warm_start: whether `fit` goes on from the weights of the last `fit`.
    precision: "fp32", or "bf16" for the networks' products in training; likelihoods and scores stay in fp32.
    threads: of the operations on the CPU in training; "auto" tries on the first batches and takes the fastest, as does
        compile="auto" for long trainings: whether steps are compiled, see `vaekit.training.calibrate`.
    device: "auto" (cuda, mps, else cpu) or a torch device. seed: of everything random. verbose: shows progress.
    seeds: how many models to train, stacked, with seed, seed + 1, ...: the estimator is the first, and `evaluate` tells
        the mean over all of them with its standard error.
    sharded: of several processes, whether each keeps but a part of the networks' weights in training, for models that
        are too large otherwise.

    Attributes
    ----------
    module_: the trained `VAEModule`. objective_: with its critic, if it has one. spec_: the `DataSpec`.
    history_: a dict per epoch. ended_: "finished", "stopped early" or "interrupted". pace_: the threads it trained
    with, and whether compiled. n_features_in_. classes_: what `predict` tells. members_: with seeds, the VAE of each.
    """

    def __init__(
        self,
        latent_dim: int = 2,
        *,
        recipe: str | Recipe | None = None,
        encoder: nn.Module | None = None,
        decoder: nn.Module | None = None,
        latent: AbstractLatent | None = None,
        likelihood: Likelihood | None = None,
        objective: Objective | None = None,
        context: Network | None = None,
        epochs: int = 50,
        batch_size: int = 128,
        lr: float = 1e-3,
        schedule: str = "constant",
        warmup: int = 0,
        clip: float | None = None,
        skip: float | None = None,
        average: float | None = None,
        weight_decay: float = 0.0,
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

    def fit(
        self,
        x: object,
        y: object = None,
        *,
        context: object = None,
        run: str | Path | None = None,
        resume: bool = False,
        display: Any = None,
    ) -> Self:
        """Fits to rows (N, ...). Ctrl-C ends it early with what was learned.

        y: classes (N,), -1 or None where one is not known; a model that has no classes to tell leaves it aside.
        context: what is known beside each row and is given whenever the model is used: classes (N,), whole numbers or
        words; numbers (N, C), which are standardised; or images, which a network reads.
        run: a folder for checkpoints, the history and the result. resume: go on from its checkpoint, bit for bit.
        Started by torchrun, several processes train one model together; all make the same call, see `training.join`.
        """
        names, processes = column_names(x), join()
        rows, held = self._split(x, y, context)
        folder, display = None if run is None else Path(run), display or display_for(self.verbose)
        for fitted in ("members_", "feature_names_in_"):
            vars(self).pop(fitted, None)
        if self._several():
            from .sweeps import fit_seeds

            members = fit_seeds(self, rows, held, folder, resume, display)
            vars(self).update({name: value for name, value in vars(members[0]).items() if name.endswith("_")})
            self.members_ = members
        else:
            self._train(self._learner(rows), rows, held, folder, resume, display)
        if names is not None:
            for vae in (self, *self.__dict__.get("members_", [])):
                vae.feature_names_in_ = names
        if folder is not None:
            processes.first(lambda: self.save(folder))
        return self

    def _several(self) -> bool:
        """Whether several seeds are trained. Raises ValueError for a number of seeds that is none."""
        if self.seeds is not None and self.seeds < 1:
            raise ValueError(f"seeds={self.seeds}: expected a number of seeds, at least 1, or None")
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
        training = Training(learner, rows, self.epochs, self.batch_size, self._adam(), self.seed, sharded=self.sharded)
        course = fit(training, held, folder=folder, resume=resume, display=display, **self._fitting())[0]
        self._adopt(learner, rows.spec, course)
        return course

    def _fitting(self) -> dict[str, Any]:
        return {"patience": self.patience, "threads": self.threads, "compiled": self.compile}

    def fit_prior(
        self,
        x: object,
        prior: Prior,
        *,
        context: object = None,
        epochs: int | None = None,
        run: str | Path | None = None,
        resume: bool = False,
        display: Any = None,
    ) -> Self:
        """Replaces the prior of a fitted model by a copy of this one, trained on the codes of rows (N, ...).

        Encoder and decoder stay as they are, bit for bit. Of a ladder the prior is the top rung's, of a codebook that
        over its codes; a point mass gets one to sample from. With several `seeds` every model gets its own. epochs:
        None: the estimator's. Its batch size, learning rate, held-out share and `patience` apply, too, `history_` goes
        on, and Ctrl-C, run and resume are as in `fit`. Raises ValueError, and changes nothing, where the prior cannot
        be replaced or has nothing to learn.

            vae.fit_prior(x, vk.latents.FlowPrior(), epochs=20).sample(64)
        """
        self._seen(x, context)  # refuses other rows than it was fitted to
        rows, held = self._split(x, None, context, self.spec_)
        folder, display = None if run is None else Path(run), display or display_for(self.verbose)
        epochs, members = self.epochs if epochs is None else epochs, self.__dict__.get("members_", [])
        self._fit_prior(prior, rows, held, epochs, folder, resume, display)
        for first in members[:1]:
            vars(first).update({n: v for n, v in vars(self).items() if n.endswith("_") and n != "members_"})
        for member in members[1:]:
            home = None if folder is None else folder / f"seed-{member.seed}"
            member._fit_prior(prior, rows, held, epochs, home, resume, display)
        if folder is not None:
            join().first(lambda: self.save(folder))
        return self

    def _fit_prior(
        self,
        prior: Prior,
        rows: AbstractRows,
        held: AbstractRows | None,
        epochs: int,
        folder: Path | None,
        resume: bool,
        display: Display,
    ) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            model = with_prior(self.module_, prior, rows).to(rows.device)
            learner = Learner(model, PriorFit()).to(rows.device)
            new = model.latent.get_submodule(model.latent.own_prior)
            initialise(nn.ModuleList(_networks(new)), self.initialiser, torch.Generator().manual_seed(self.seed))
        start_prior(model, rows, self.seed)
        settings = {**self._fitting(), "patience": None if model.latent.ratio == "none" else self.patience}
        with holding(learner, learner.players()["prior"]):
            training = Training(learner, rows, epochs, self.batch_size, self._adam(), self.seed)
            course = fit(training, held, folder=folder, resume=resume, display=display, **settings)[0]
        before = len(self.history_)
        self.history_ = [*self.history_, *({**r, "epoch": before + r["epoch"]} for r in course.history)]
        self.module_, self.ended_, self.pace_ = model.eval(), course.ended, course.pace

    def fit_transform(self, x: object, y: object = None, **settings: Any) -> np.ndarray:
        return self.fit(x, y, **settings).transform(x)

    def _adopt(self, learner: Learner, spec: DataSpec, course: Course) -> None:
        self.module_, self.objective_, self.spec_ = learner.model.eval(), learner.objective, spec
        self.n_features_in_ = spec.shape[0] if len(spec.shape) == 1 else int(np.prod(spec.shape))
        self.history_, self.ended_, self.best_epoch_ = course.history, course.ended, course.best_epoch
        self.pace_ = course.pace

    def _adam(self) -> Adam:
        names = ("weight_decay", "schedule", "warmup", "clip", "skip", "average")
        return Adam(self.lr, **{name: getattr(self, name) for name in names})

    def _low_precision(self) -> torch.dtype | None:
        if self.precision not in ("fp32", "bf16"):
            raise ValueError(f'precision={self.precision!r}: expected "fp32" or "bf16"')
        return torch.bfloat16 if self.precision == "bf16" else None

    def _device(self) -> torch.device:
        if self.device != "auto":
            return torch.device(self.device)
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")

    def _rows(self, x: object) -> tuple[Tensor | Stored, str]:
        return as_data(x, allow_missing=self.missing)

    def held_out(self, x: object) -> np.ndarray | Stored | None:
        """The rows that `fit(x)` holds out to watch itself; None where `validation` is 0."""
        held = self._split(x)[1]
        return held if held is None else held.x.cpu().numpy() if isinstance(held.x, Tensor) else held.x

    def _split(
        self, data: object, y: object = None, context: object = None, spec: DataSpec | None = None
    ) -> tuple[AbstractRows, AbstractRows | None]:
        """Training rows and held-out rows; what is inferred from the data, without a spec, is so from the former."""
        (x, dtype), given = self._rows(data), self.validation
        held: Tensor | Stored | None = None
        out, total = torch.zeros(len(x), dtype=torch.bool), len(x)
        if isinstance(given, (int, float)):
            if not 0 <= given < 1:
                raise ValueError(f"validation={given}: expected a share of the rows in [0, 1), or rows")
            count = round(len(x) * given)
            if count and count < len(x):
                out = self.holds_out(len(x))
                held, x = x[out], x[~out]
        elif given is not None and context is not None:
            raise ValueError("validation rows have no context of their own: hold out a share, validation=0.1")
        elif given is not None:
            held = self._rows(given)[0]
        if spec is None:
            spec = self._spec(x, dtype)
            beside = Beside.of(total, y if self._labelled(spec) else None, context)
            spec = spec if self._goes_on() else beside.inferred(spec, ~out)
        else:
            beside = Beside.of(total, None, context)
        if held is not None and tuple(held.shape[1:]) != spec.shape:
            raise ValueError(f"validation rows have shape {tuple(held.shape[1:])}, the training rows {spec.shape}")
        device = self._device()
        rows = as_rows(x, spec, device, beside[~out])
        if held is None:
            return rows, None
        return rows, as_rows(held, spec, device, beside[out] if bool(out.any()) else NOTHING)

    def holds_out(self, rows: int) -> Tensor:
        """(rows,): which of so many rows `fit` holds out, where `validation` is a share."""
        out = torch.zeros(rows, dtype=torch.bool)
        out[np.random.default_rng([self.seed, 2**31 + 1]).permutation(rows)[: round(rows * self.validation)]] = True
        return out

    def _goes_on(self) -> bool:
        return self.warm_start and hasattr(self, "module_")

    def _spec(self, x: Tensor | Stored, dtype: str) -> DataSpec:
        if self._goes_on():
            if tuple(x.shape[1:]) != self.spec_.shape:
                raise ValueError(
                    f"warm_start: the model was fitted to rows of {self.spec_.shape}, got {tuple(x.shape[1:])}"
                )
            return self.spec_
        spec = DataSpec.infer(x, dtype)
        if self.missing:
            spec = spec.with_missing()
        own = any(p is not None and not isinstance(p, Component) for p in (self.encoder, self.decoder))
        parts = self._recipe(spec).build(self.latent_dim, spec)
        likelihood, encoder = self.likelihood or parts.likelihood, self.encoder or parts.encoder
        series = isinstance(encoder, SequenceEncoder)
        return spec.for_likelihood(likelihood.support, x, own_layout=own, series=series)

    def _labelled(self, spec: DataSpec) -> bool:
        """Whether the model reads labels."""
        return (self.latent or self._recipe(spec).build(self.latent_dim, spec).latent).labelled

    def _recipe(self, spec: DataSpec) -> Recipe:
        default = "vae" if spec.is_image and spec.kind in ("bytes", "unit", "binary") else "auto"
        return as_recipe(self.recipe or default)

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
        parts = {**parts, **{n: copy.deepcopy(v) for n, v in given.items() if v is not None}}
        if self.decoder is not None and not isinstance(self.decoder, Component):
            parts["likelihood"] = _reading(self.decoder, parts["likelihood"], fixed=self.likelihood is not None)
        if parts["context"] is None and len(context_shape(spec)) > 1:
            parts["context"] = MLP((128,))
        return Parts(**parts)

    def _learner(self, rows: AbstractRows) -> Learner:
        """The model to train on these rows with its objective: a new one, or the last one where that goes on."""
        learner = Learner(self.module_, self.objective_).to(rows.device) if self._goes_on() else self._built(rows)
        learner.model.low_precision = self._low_precision()
        return learner

    def _built(self, rows: AbstractRows) -> Learner:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            parts = self._parts(rows.spec)
            kept = {m for part in vars(parts).values() for m in _networks(part) if any(True for _ in m.parameters())}
            model = VAEModule(parts.encoder, parts.latent, parts.decoder, parts.likelihood, parts.context)
            model = model.settled(rows.spec.model_shape, context_shape(rows.spec) or 0)
            learner = Learner(model, parts.objective.settled(**_counts(rows, model)))
            generator = torch.Generator().manual_seed(self.seed)
            initialise(nn.ModuleList(m for m in _networks(learner) if m not in kept), self.initialiser, generator)
            learner.to(rows.device)
            prepare(learner.model, rows, self.seed)
        if parts.pretraining is not None:
            self._pretrain(learner.model, parts.pretraining, rows)
        return learner

    def _pretrain(self, model: VAEModule, pretraining: Pretraining, rows: AbstractRows) -> None:
        """Trains a new model for another objective first, and lets its prior start from the codes that it then has."""
        learner = Learner(model, pretraining.objective).to(rows.device)
        epochs = min(pretraining.epochs, self.epochs)
        training = Training(learner, rows, epochs, self.batch_size, self._adam(), self.seed, processes=Processes())
        for _ in training:
            if training.epoch_ended:
                training.check()
                log.info("pre-training, epoch %d of %d: %s", training.epoch, epochs, training.metrics())
        prepare(model, rows, self.seed, sample=CODES)

    # -- using ---------------------------------------------------------------------------------------

    def _fitted(self) -> VAEModule:
        if not hasattr(self, "module_"):
            raise NotFittedError("this VAE is not fitted yet: call fit(x) first, or vaekit.load(run)")
        return self.module_

    def _seen(self, x: object, context: object = None) -> AbstractRows:
        """Rows like those the model was fitted to, with their context."""
        model, (data, _) = self._fitted(), self._rows(x)
        if tuple(data.shape[1:]) != self.spec_.shape:
            got, want = tuple(data.shape[1:]), self.spec_.shape
            if len(want) == 1 and len(got) == 1:
                raise ValueError(
                    f"X has {got[0]} features, but VAE is expecting {want[0]} features as input: pass the columns "
                    "that it was fitted to"
                )
            raise ValueError(f"expected rows of {want}, as in fit, got rows of {got}: reshape them")
        beside = Beside.of(len(data), context=spread(context, len(data), self.spec_))
        return as_rows(data, self.spec_, next(model.parameters()).device, beside).checked(model.likelihood.check)

    def _gather(self, rows: AbstractRows, f: Callable[[Batch], Tensor]) -> Tensor:
        with torch.no_grad():
            return torch.cat([f(batch).cpu() for batch in rows.batches(CHUNK)])

    def _codes(self, batch: Batch, noise: Noise) -> Tensor:
        return self.module_.infer(batch, noise).z

    def transform(self, x: object, context: object = None) -> np.ndarray:
        """(N, latent numbers): the centre of q(z | x), the posterior mean where it is normal; deterministic."""
        still = Still(Source.like(self._fitted()))
        return self._gather(self._seen(x, context), lambda b: self._codes(b, still).flatten(1)).numpy()

    @available
    def predict_proba(self, x: object, context: object = None) -> np.ndarray:
        """(N, classes): q(class | x) in the order of `classes_`, of a model that tells classes or clusters."""
        still = Still(Source.like(self._fitted()))
        return self._gather(self._seen(x, context), lambda b: self.module_.infer(b, still).classes.exp()).numpy()

    @available
    def predict(self, x: object, context: object = None) -> np.ndarray:
        """(N,): the likeliest class, one of `classes_`, or the number of the likeliest cluster."""
        return self.classes_[self.predict_proba(x, context).argmax(1)]

    def inverse_transform(self, z: object, context: object = None) -> np.ndarray:
        """Codes (N, latent numbers) -> the mean of p(x | z), in the data's own units, shape and dtype."""
        model = self._fitted()
        codes = torch.as_tensor(np.asarray(z), dtype=Source.like(model).dtype)
        size = int(np.prod(model.latent.shape))
        if codes.dim() != 2 or codes.shape[1] != size:
            raise ValueError(f"expected codes (N, {size}), got {tuple(codes.shape)}: pass what transform gives")
        given = self._context(spread(context, len(codes), self.spec_), len(codes))
        device = next(model.parameters()).device
        with torch.no_grad():
            parts = [
                self.spec_.decode(model.decode(c.to(device).reshape(-1, *model.latent.shape), g).mean)
                for c, g in zip(codes.split(CHUNK), given)
            ]
        return np.concatenate(parts)

    def _context(self, context: object, rows: int) -> Iterator[Tensor | None]:
        """The context of rows to be decoded, as the model reads it, chunk by chunk."""
        read = Beside.of(rows, context=context).encoded(self.spec_)["context"]
        device = next(self._fitted().parameters()).device
        return repeat(None) if read is None else iter(read.to(device).split(CHUNK))

    def reconstruct(self, x: object, context: object = None) -> np.ndarray:
        """The mean of p(x | z) at the centre of q(z | x), in the data's own units, shape and dtype; deterministic.

        Missing cells are filled, but for those of series, (N, T) or (N, T, C), after their last step: that is padding.
        """
        rows, shape = self.inverse_transform(self.transform(x, context), context), self.spec_.shape
        ends = isinstance(self.module_.encoder, SequenceEncoder) and self.spec_.missing and len(shape) < 3
        if ends and rows.dtype.kind == "f":
            seen = self._seen(x, context)
            there = self._gather(seen, lambda b: until_last(b.mask.reshape(len(b.mask), shape[0], -1)))
            rows[there.numpy() == 0] = np.nan
        return rows

    def sample(
        self, n: int = 1, seed: int | None = None, mean: bool | None = None, context: object = None
    ) -> np.ndarray:
        """n new rows, in the data's own units, shape and dtype: z from the prior, then p(x | z).

        mean: take the mean of p(x | z) instead of a draw; None: only where log p is not a likelihood of the data
        (see `caveat_`), such as grey levels under the cross-entropy, whose draws would be black-and-white noise.
        context: of each row, or one for all; classes that are not given are drawn as often as fit met them.
        """
        model = self._fitted()
        if n < 1:
            raise ValueError(f"sample({n}): expected at least one row")
        seed = self.seed if seed is None else seed
        noise, given = Source.like(model, seed), self._context(sampled(context, n, seed, self.spec_), n)
        take_mean = self.caveat_ is not None if mean is None else mean
        rows = []
        with torch.no_grad():
            for start, own in zip(range(0, n, CHUNK), given):
                px = model.decode(model.generate(min(CHUNK, n - start), noise, own), own)
                rows.append(self.spec_.decode(px.mean if take_mean else px.draw(Scope.of(noise))))
        return np.concatenate(rows)

    def interpolate(
        self, x_a: object, x_b: object, steps: int = 10, path: str = "linear", context: object = None
    ) -> np.ndarray:
        """(N, steps, ...): from each row of x_a to that of x_b, along their codes and decoded, the ends among them.

        path: "linear", "spherical", or "geodesic", the shortest way by what the decoder makes of it, see
        `vaekit.tasks.interpolate`. context: that both rows of a pair have, where the model reads one.
        """
        a, b = (self._as_codes(self.transform(x, context)) for x in (x_a, x_b))
        way = partial(walks.interpolate, steps=steps, path=path)
        if path != "geodesic" or len(a) != len(b):
            return self._decoded(way(a, b), context)
        means = (partial(self._mean, context=own) for own in self._each_context(context, len(a)))
        pairs = zip(a.split(1), b.split(1), means)
        return self._decoded(torch.cat([way(*ends, decode=mean) for *ends, mean in pairs]), context)

    def traverse(
        self,
        x: object = None,
        dimensions: Sequence[int] | None = None,
        steps: int = 11,
        reach: float = 3.0,
        context: object = None,
    ) -> np.ndarray:
        """(N, dimensions, steps, ...): the codes of rows x, or the prior's centre, one dimension moved at a time.

        dimensions: which (None: all). It is moved from -reach to reach, in units of z, and the others are held.
        """
        if steps < 1:
            raise ValueError(f"steps={steps}: expected at least 1")
        centre = self._centre(context) if x is None else self._as_codes(self.transform(x, context))
        offsets = torch.linspace(-reach, reach, steps, device=centre.device, dtype=centre.dtype)
        return self._decoded(walks.traverse(centre, offsets, dimensions), context)

    def shift(
        self, x: object, present: object, absent: object, amount: float = 1.0, context: object = None
    ) -> np.ndarray:
        """Rows x with something added: their codes are moved by the mean code of the rows that have it (present) minus
        that of the rows that lack it (absent), times `amount`, and decoded. context: one for all rows."""
        rows = (self._as_codes(self.transform(r, context)) for r in (x, present, absent))
        return self._decoded(walks.shift(*rows, amount), context)

    def _as_codes(self, z: np.ndarray) -> Tensor:
        return torch.from_numpy(z).to(next(self._fitted().parameters()).device)

    def _centre(self, context: object = None) -> Tensor:
        """(1, latent numbers): the prior's centre."""
        model, own = self._fitted(), next(self._each_context(context, 1))
        with torch.no_grad():
            return model.generate(1, Still(Source.like(model)), own).flatten(1)

    def _each_context(self, context: object, rows: int) -> Iterator[Tensor | None]:
        """The context of each row by itself, (1, ...), as the model reads it."""
        for chunk in self._context(spread(context, rows, self.spec_), rows):
            yield from [None] * rows if chunk is None else chunk.split(1)

    def _mean(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Codes (N, latent numbers) -> the mean of p(x | z), in the likelihood's space; context: (1, ...)."""
        given = None if context is None else context.expand(len(z), *context.shape[1:])
        return self.module_.decode(z.reshape(-1, *self.module_.latent.shape), given).mean

    def _decoded(self, codes: Tensor, context: object = None) -> np.ndarray:
        """Codes (N, ..., latent numbers) -> rows (N, ..., *row)."""
        flat, given = codes.flatten(0, -2).cpu().numpy(), spread(context, len(codes), self.spec_)
        if given is not None:
            given = np.repeat(np.asarray(given), len(flat) // len(codes), 0)
        rows = self.inverse_transform(flat, given)
        return rows.reshape(*codes.shape[:-1], *rows.shape[1:])

    def posterior(self, x: object, context: object = None) -> torch.distributions.Distribution:
        """q(z | x) as a `torch.distributions` object, for a normal or categorical posterior."""
        model, rows = self._fitted(), self._seen(x, context)
        still = Still(Source.like(model))
        with torch.no_grad():
            chunks = [model.infer(batch, still).q for batch in rows.batches(CHUNK)]
        if not hasattr(chunks[0], "to_torch"):
            raise TypeError(f"the posterior of {type(model.latent).__name__} has no torch.distributions form")
        return pytree.tree_map(lambda *parts: torch.cat(parts), *chunks).to_torch()

    def score_samples(self, x: object, draws: int = 100, seed: int | None = None, context: object = None) -> np.ndarray:
        """(N,), nats: the importance-weighted bound of log p(x), with `draws` draws, in the data's units."""
        seed = self.seed if seed is None else seed
        return score_rows(self._fitted(), self._seen(x, context), draws=draws, seed=seed).bound.numpy()

    def score(self, x: object, y: object = None, context: object = None) -> float:
        """The mean of `score_samples`: for model selection."""
        return float(self.score_samples(x, context=context).mean())

    def evaluate(self, x: object, draws: int = 100, seed: int | None = None, context: object = None) -> Evaluation:
        """Figures on held-out rows with their standard errors: ELBO, distortion, rate, bound, bits per dimension."""
        model, rows = self._fitted(), self._seen(x, context)
        notes = [self.objective_.caveat] * bool(self.objective_.caveat)
        own = evaluate_rows(model, rows, draws=draws, seed=self.seed if seed is None else seed, notes=notes)
        members = self.__dict__.get("members_", [])
        if len(members) < 2:
            return own
        return own.among([m.evaluate(x, draws, seed, context) for m in members[1:]], diverged=self.seeds - len(members))

    def report(
        self, x: object, labels: object = None, *, name: str | None = None, draws: int = 32, context: object = None
    ) -> Report:
        """A page of pictures and figures on held-out rows: `.save(path)` writes one self-contained HTML file.

        labels: of the rows, to colour the codes by. name: of the data, for the heading.
        """
        from .report import make

        return make(self, x, labels, name=name, draws=draws, context=context)

    @property
    def classes_(self) -> np.ndarray:
        """The classes that `predict` chooses among: those of y in fit, or the numbers of clusters."""
        count = self._fitted().latent.classes
        if count is None:
            raise AttributeError("this VAE tells no classes: fit a recipe that does, such as m2, vade or mixture")
        return np.arange(count) if self.spec_.labels is None else np.asarray(self.spec_.labels.levels)

    @property
    def recipe_(self) -> Recipe:
        """The recipe in use: the one asked for, or the data's default."""
        return self._recipe(self.spec_)

    @property
    def caveat_(self) -> str | None:
        """Why log p is not a likelihood of these data; None where it is."""
        level = 0.5 if self.spec_.kind in ("bytes", "unit") else 0.0
        return self._fitted().likelihood.caveat(torch.full((1, *self.spec_.model_shape), level), self.spec_.integer)

    # -- files ---------------------------------------------------------------------------------------

    def save(self, path: str | Path) -> None:
        """Writes `config.json`, `model.safetensors` and `history.jsonl` into a folder; what was there is replaced."""
        from .saving import save

        save(self, path)


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


def _reading(decoder: nn.Module, likelihood: Likelihood, fixed: bool) -> Likelihood:
    """The likelihood that reads what the user's decoder ends in: probabilities, after a sigmoid.

    Raises ValueError where a decoder ends in an activation whose values are no logits, or a fixed likelihood reads
    logits where it gives probabilities.
    """
    ending = ends_in(decoder)
    if ending is None or getattr(likelihood, "reads", None) != "logits":
        return likelihood
    name = type(likelihood).__name__
    if ending != "sigmoid":
        raise ValueError(
            f"the decoder ends in {ending} but {name} reads logits, of any size: leave out its last activation, or "
            "pass a likelihood that reads such values, as Gaussian() does"
        )
    if fixed:
        raise ValueError(f'the decoder ends in sigmoid but {name} reads logits: pass {name}(reads="probs")')
    return type(likelihood)(**{**likelihood.arguments(), "reads": "probs"})
