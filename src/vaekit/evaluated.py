"""What a fitted model is worth: scores of rows, figures with their errors, and a page of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from .data.frames import Name, columns_of
from .data.gaps import numbers
from .data.rows import AbstractRows
from .evaluation import (
    Baselines,
    Detector,
    Evaluation,
    Figure,
    Health,
    Watch,
    annealed,
    baselines,
    disentanglement,
    evaluate_rows,
    health,
    oddness,
    representation,
    score_rows,
)
from .evaluation.annealed import check_annealing, with_annealing
from .evaluation.baselines import independent_baseline, measure_of, reconstruction_error
from .evaluation.cost import MOST, affordable_draws
from .evaluation.health import FEWEST
from .evaluation.observed import Observed
from .evaluation.samples import Features, Judgement, judge
from .evaluation.tables import TableJudgement, judge_table
from .evaluation.trained_rows import TrainedRows
from .fitted import CHUNK, Fitted
from .training.history import COMPLETE
from .training.interruption import interruptible

if TYPE_CHECKING:
    from .report import Report

WITHOUT_GAPS = (
    "this model keeps no patterns of gaps, so that the new rows are whole: column_pairs, missing_cells and told_apart "
    "see it"
)

FEW_TRAINED = 0.02
"""The share of the rows of an evaluation that were trained on above which a note says so."""


class Evaluated(Fitted):
    """The part of an estimator that judges its model.

    It reads the settings `patience` and `verbose`, too, and of what fit leaves `history_`, `ended_`,
    `best_epoch_`, `epsilon_` and `trained_rows_`.
    """

    patience: int | None
    verbose: bool
    epsilon_: float | None
    history_: list[dict[str, Any]]
    ended_: str
    best_epoch_: int
    trained_rows_: TrainedRows | None

    def score_samples(self, x: object, draws: int = 100, seed: int | None = None, context: object = None) -> np.ndarray:
        """(N,), nats: the importance-weighted bound of log p(x), with `draws` draws, in the data's units.

        A value of a table that fit did not see counts as one that had a chance of `1 / (n + 1)`, n the rows of fit.
        """
        rows = self._seen(x, context)
        bound = score_rows(self._fitted(), rows, draws=draws, seed=self._seed(seed)).bound.numpy()
        return bound if rows.cost is None else bound - rows.cost.sum(1)

    def score(self, x: object, y: object = None, context: object = None) -> float:
        """The mean of `score_samples`: for model selection."""
        return float(self.score_samples(x, context=context).mean())

    def evaluate(
        self,
        x: object,
        draws: int | None = 100,
        seed: int | None = None,
        context: object = None,
        against: object = None,
        ais: int = 0,
        bracket: int = 0,
        betas: int = 500,
    ) -> Evaluation:
        """Figures on held-out rows with their standard errors: ELBO, distortion, rate, bound, bits per dimension; what
        they depend on; and the model's health.

        draws: per row; None: 100, or fewer where these would take more than a minute or so, which a note tells.
        against: training rows (N, ...), to fit simple models to, which then stand beside this one; see
        `vaekit.evaluation.baselines`. ais: so many rows, the first ones, are scored by annealed importance sampling,
        too, beside the bound of these; bracket: so many rows of the model's own are bracketed by bidirectional Monte
        Carlo; betas: their temperatures. Work of more than a minute is told beforehand, and Ctrl-C ends it with the
        figures of the rows that are done.
        Raises ValueError for ais or bracket of codes that gradients cannot move.
        """
        model, rows, own_seed = self._fitted(), self._seen(x, context), self._seed(seed)
        if ais or bracket:
            check_annealing(model)
        notes = [note for note in (self.objective_.caveat, self.privacy_) if note]
        if draws is None and (draws := affordable_draws(model, rows)) < MOST:
            notes.append(
                f"{draws} draws a row, not {MOST}, which would take long: pass draws={MOST} for a tighter bound"
            )
        on, trained = self._provenance(rows)
        notes += [] if trained is None else [trained]
        simple = None if against is None else self._baselines(x, against)  # refuses what does not compare at once
        with interruptible() as asked:
            watch = Watch(asked, self.verbose)
            own = evaluate_rows(model, rows, draws=draws, seed=own_seed, notes=notes, watch=watch)
            own = replace(own, on=on, health=self._health(rows, own_seed, on=on) if len(rows) >= FEWEST else None)
            own = with_annealing(own, model, rows, ais, bracket, betas=betas, seed=own_seed, watch=watch)
        if simple is not None and not own.interrupted:
            own = replace(own, baselines=self._among(simple, own, x, context))
        members = self.__dict__.get("members_", [])
        if len(members) < 2 or own.interrupted:
            return own
        others: list[Evaluation] = []
        for member in members[1:]:
            others.append(member.evaluate(x, draws, seed, context, None, ais, bracket, betas))
            if others[-1].interrupted:
                return replace(own, interrupted=True, notes=["interrupted: the other seeds are left out", *own.notes])
        return own.among(others, diverged=self.seeds - len(members))

    @property
    def privacy_(self) -> str | None:
        """What the weights have spent of their privacy, in a sentence; None for a model that is not private."""
        if self.privacy is None:
            return None
        return (
            f"the weights are private, epsilon = {self.epsilon_:.3g} at delta = {self.privacy.delta:g}; what was read "
            "off the rows beside (levels, bounds and scales of columns), and figures of rows, are not"
        )

    def health(self, x: object, seed: int | None = None, context: object = None) -> Health:
        """What is wrong with the model, if anything, and what to try, by held-out rows; see
        `vaekit.evaluation.health`."""
        rows = self._seen(x, context)
        return self._health(rows, self._seed(seed), on=self._provenance(rows)[0])

    def _provenance(self, rows: AbstractRows) -> tuple[str, str | None]:
        """Whether rows are "held-out" or "training" rows, and a note where some of them were trained on."""
        kept = self.trained_rows_
        share = 0.0 if kept is None else kept.share(rows)
        if share <= FEW_TRAINED:
            return "held-out", None
        note = f"about {share:.0%} of these rows were trained on: figures of new rows are worse; see held_out(x)"
        return ("training" if share > 0.5 else "held-out"), note

    def _health(self, rows: AbstractRows, seed: int, **settings: Any) -> Health:
        back = self.patience is not None and self.best_epoch_ and self.ended_ in COMPLETE
        course = {"history": self.history_, "ended": self.ended_, "kept": self.best_epoch_ if back else None}
        return health(self._fitted(), rows, objective=self.objective_, seed=seed, **course, **settings)

    def annealed(
        self,
        x: object,
        *,
        chains: int = 16,
        betas: int = 500,
        steps: int = 10,
        seed: int | None = None,
        context: object = None,
    ) -> np.ndarray:
        """(N,), nats: log p(x) by annealed importance sampling, which needs no encoder; see
        `vaekit.evaluation.annealed`. A few hundred rows are plenty: it is a thousand times as dear as the bound. Ctrl-C
        ends it with the rows that are done."""
        rows, settings = self._seen(x, context), {"chains": chains, "betas": betas, "steps": steps}
        with interruptible() as asked:
            watch, seed = Watch(asked, self.verbose), self._seed(seed)
            return annealed(self._fitted(), rows, **settings, seed=seed, watch=watch).numpy()

    def _baselines(self, x: object, against: object) -> Baselines:
        """Simple models of training rows, of the measure that this model's log p has."""
        measure = measure_of(self.module_.likelihood, self.spec_)
        if measure == "mixed":
            return independent_baseline(self.module_.likelihood, self._seen(against), self._seen(x), self.seed)
        rows = [self._explained(t) if self._binarises else self._named(t, None)[0] for t in (against, x)]
        return baselines(*rows, measure=measure, latents=int(np.prod(self.module_.latent.shape)), seed=self.seed)

    def _among(self, simple: Baselines, own: Evaluation, x: object, context: object) -> Baselines:
        """Simple models with this one's figures first."""
        scored = ("log_likelihood", "bits_per_dim") if simple.measure else ()
        mine = {name: own.figures[name] for name in scored if name in own.figures}
        if "ppca" in simple.figures and not self._binarises:
            apart = torch.from_numpy(self._dense(x) - self._reconstructed(*self._named(x, context))).flatten(1)
            mine["reconstruction_error"] = reconstruction_error(apart / torch.tensor(simple.scale, dtype=torch.float64))
        return simple.beside("this model", f"{int(np.prod(self.module_.latent.shape))} latents", mine)

    def _dense(self, x: object) -> np.ndarray:
        """Rows in their own units, whole, in fp64."""
        return np.asarray(self._rows(self._named(x, None)[0])[0]).astype(np.float64)

    @property
    def _binarises(self) -> bool:
        return getattr(self.module_.likelihood, "binarise", None) is not None

    def _explained(self, x: object) -> np.ndarray:
        """Rows as a likelihood that binarises them explains them, 0 and 1: the same that this model is scored on."""
        batches = Observed(self.module_, self._seen(x).batches(CHUNK))
        return torch.cat([batch.x.to(torch.uint8).cpu() for batch in batches]).numpy()

    def probe(self, x: object, y: object, test: object, y_test: object, seed: int | None = None) -> dict[str, Figure]:
        """What the codes are worth: two probes, trained on rows x of classes y, and clusters, on test rows; by name.

        Of codes of two numbers, whether they keep neighbours, too. See `vaekit.evaluation.representation`, which reads
        codes, for context and real values.
        """
        codes, seed = (self._encoded(x), self._encoded(test)), self._seed(seed)
        return representation.representation(codes[0], y, codes[1], y_test, seed, test=test)

    def disentanglement(
        self, x: object, factors: object, seed: int | None = None, context: object = None
    ) -> dict[str, float]:
        """How well single codes stand for single factors (N, F), whole numbers that made the rows: scores in [0, 1], by
        name; see `vaekit.evaluation.disentanglement`."""
        return disentanglement.disentanglement(self._encoded(x, context), factors, self._seed(seed))

    def judge_samples(
        self,
        test: object,
        training: object,
        n: int = 2000,
        *,
        features: Features | None = None,
        seed: int | None = None,
        context: object = None,
    ) -> Judgement:
        """n samples against test rows, beside the floor of as many training rows; see `vaekit.evaluation.samples`.

        features: what rows are compared by, such as `vaekit.evaluation.DIGITS`; None: as they are. context: as in
        `sample`.
        """
        seed = self._seed(seed)
        return judge(self.sample(n, seed, context=context), test, training, features=features, seed=seed)

    def judge_table(
        self,
        training: object,
        test: object = None,
        *,
        target: Name | None = None,
        n: int | None = None,
        seed: int | None = None,
    ) -> TableJudgement:
        """New rows of a table beside the rows that it was fitted to and test rows; see `vaekit.evaluation.judge_table`.

        n: how many; None: as many as there are training rows. The columns are what the schema says, and where these
        had gaps, so have the new rows, see `sample(gaps=True)`; a note tells where the model does not know which.
        Raises ValueError for a model that was not fitted to a table.
        """
        self._fitted()
        if self.spec_.schema is None:
            raise ValueError("judge_table is of models of tables, this one was fitted to an array: use judge_samples")
        seed = self._seed(seed)
        own = [c for c in self.spec_.schema.columns if c.kind != "identifier"]
        real = {"training": training} | ({} if test is None else {"test": test})
        tables = {what: columns_of(table) for what, table in real.items()}
        kept = {what: {c.name: t[c.name] for c in own if c.name in t} for what, t in tables.items()}
        count = n or max((len(c.values) for c in kept["training"].values()), default=0)
        levels = [c.name for c in own if c.levels]
        known = self.spec_.patterns is not None or not self.spec_.gappy
        made = self.sample(count, seed, gaps=known)
        found = judge_table(kept["training"], made, test=kept.get("test"), target=target, levels=levels, seed=seed)
        return found if known else replace(found, notes=(*found.notes, WITHOUT_GAPS))

    def detector(self, normal: object, draws: int = 20, seed: int | None = None) -> Detector:
        """What scores rows by how odd they are beside normal ones (M, ...), such as fit held out; see `Detector`.

        `detector(x)` is (N,), higher is odder, by the score that was chosen without an odd row at hand.
        """
        seed = self._seed(seed)
        self._fitted()
        return Detector.of(self.module_, self._seen_as_numbers, self.numbers(normal), draws=draws, seed=seed)

    def _seen_as_numbers(self, x: object) -> AbstractRows:
        """Rows of a table, or the `numbers` of such rows, as the model reads them; others as they are."""
        plain = isinstance(x, np.ndarray) and not x.dtype.names
        return self.over_numbers()._seen(x if plain else self.numbers(x))

    def anomaly_score(
        self,
        x: object,
        score: str = "bound",
        *,
        draws: int = oddness.DRAWS,
        seed: int | None = None,
        context: object = None,
        normal: object = None,
        entropy: float | None = None,
    ) -> np.ndarray:
        """(N,): how odd rows are, higher is odder; the same to the bit at the next call.

        score: "bound", "elbo", "distortion", "error" or "typicality", see `vaekit.evaluation.oddness.anomaly_score`.
        The last is a distance from normal rows: pass some, such as `held_out(x)`, or their mean "bound" as entropy.
        Each value of a table that fit did not see adds `log(n + 1)`, n the rows of fit, whatever the score.
        """
        settings = {"draws": draws, "seed": self._seed(seed)}
        if score == "typicality" and entropy is None and normal is not None:
            entropy = float(self.anomaly_score(normal, "bound", **settings).mean())
        rows = self._seen(x, context)
        return oddness.anomaly_score(self._fitted(), rows, score, entropy=entropy, **settings)

    def explain(
        self,
        x: object,
        score: str = "bound",
        *,
        draws: int = oddness.DRAWS,
        seed: int | None = None,
        context: object = None,
    ) -> Any:
        """Share the `anomaly_score` of each row among its cells.

        Parameters
        ----------
        x : array or table
            Rows like those of fit.
        score : {"bound", "distortion", "error"}, default="bound"
            The score to explain, see `vaekit.evaluation.oddness.explain`.
        draws : int
            Draws of z per row.
        seed : int or None, default=None
            Random seed. ``None`` uses the estimator's `seed`.
        context : array or None, default=None
            Context of the rows, for a model that reads one.

        Returns
        -------
        ndarray of shape (N, ...) or table
            Numbers that sum to the score of each row. A table for a table; a pandas frame keeps its index.
        """
        x, context = self._named(x, context)
        rows = self._seen(x, context)
        shares = oddness.explain(self._fitted(), rows, score, draws=draws, seed=self._seed(seed))
        if self.spec_.schema is not None:
            shares = np.pad(shares, ((0, 0), (0, len(self.spec_.schema.constants))))
            shares = numbers(self.spec_.schema, shares if rows.cost is None else shares + rows.cost)
            return self._like(x, shares)
        shares = shares.reshape(len(shares), *self.spec_.model_shape)
        shares = np.moveaxis(shares, 1, -1) if self.spec_.channels_last else shares
        return self._like(x, shares.reshape(-1, *self.spec_.shape))

    def outlier_probability(
        self,
        x: object,
        normal: object,
        score: str = "bound",
        *,
        draws: int = oddness.DRAWS,
        seed: int | None = None,
        context: object = None,
    ) -> np.ndarray:
        """(N,): 1 - p, p the conformal p-value by normal rows (M, ...) that the model was not fitted to.

        Of normal rows a share of at most a has 1 - p of 1 - a or more, whatever the model is worth; see
        `vaekit.evaluation.oddness.p_values`.
        """
        settings = {"draws": draws, "seed": seed, "context": context, "normal": normal}
        return 1 - oddness.p_values(*(self.anomaly_score(rows, score, **settings) for rows in (x, normal)))

    def report(
        self,
        x: object,
        labels: object = None,
        *,
        factors: Mapping[str, object] | None = None,
        train: object = None,
        others: Mapping[str, object] | None = None,
        name: str | None = None,
        draws: int = 32,
        context: object = None,
    ) -> Report:
        """A page of pictures and figures on held-out rows: `.save(path)` writes one self-contained HTML file.

        labels: of the rows, for colours and classes. factors: what made them, (N,) each, by name. train: the training
        rows. others: rows of other data, by name. name: of the data, for the heading. See `vaekit.report.make`.
        """
        from .report import make

        known = {"factors": factors, "train": train, "others": others, "context": context}
        return make(self, x, labels, name=name, draws=draws, **known)
