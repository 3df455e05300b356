"""What a fitted model does: codes, rows, scores and walks, over arrays in their own units."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from .core import Batch, Noise, Scope, Source, Still
from .data.beside import Beside, sampled, spread
from .data.rows import AbstractRows, as_rows
from .data.spec import DataSpec
from .data.stored import Stored, as_data
from .evaluation import (
    Baselines,
    Detector,
    Evaluation,
    Figure,
    Health,
    Watch,
    annealed,
    baselines,
    evaluate_rows,
    health,
    representation,
    score_rows,
)
from .evaluation.annealed import check_annealing, with_annealing
from .evaluation.baselines import measure_of, reconstruction_error
from .evaluation.health import FEWEST
from .evaluation.observed import Observed
from .evaluation.samples import Features, Judgement, judge
from .manners import Manners, NotFittedError, available
from .model import VAEModule
from .networks import SequenceEncoder
from .networks.sequences import until_last
from .objectives import Objective
from .tasks import walks
from .training.fitting import interruptible

if TYPE_CHECKING:
    from .report import Report

CHUNK = 1024
"""Rows per pass when predicting: memory stays bounded for any number of rows."""


class Fitted(Manners):
    """The half of an estimator that uses its model; `fit` is the other half's.

    It reads the settings `seed`, `seeds`, `missing`, `patience` and `verbose`, and what fit leaves: `module_`,
    `objective_`, `spec_`, `history_`, `ended_`, `best_epoch_`.
    """

    seed: int
    seeds: int | None
    missing: bool
    patience: int | None
    verbose: bool
    module_: VAEModule
    objective_: Objective
    spec_: DataSpec
    history_: list[dict[str, Any]]
    ended_: str
    best_epoch_: int

    def _rows(self, x: object) -> tuple[Tensor | Stored, str]:
        return as_data(x, allow_missing=self.missing)

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

    def evaluate(
        self,
        x: object,
        draws: int = 100,
        seed: int | None = None,
        context: object = None,
        against: object = None,
        ais: int = 0,
        bracket: int = 0,
        betas: int = 500,
    ) -> Evaluation:
        """Figures on held-out rows with their standard errors: ELBO, distortion, rate, bound, bits per dimension; what
        they depend on; and the model's health.

        against: training rows (N, ...), to fit simple models to, which then stand beside this one; see
        `vaekit.evaluation.baselines`. ais: so many rows, the first ones, are scored by annealed importance sampling,
        too, beside the bound of these; bracket: so many rows of the model's own are bracketed by bidirectional Monte
        Carlo; betas: their temperatures. Work of more than a minute is told beforehand, and Ctrl-C ends it with the
        figures of the rows that are done.
        Raises ValueError for ais or bracket of codes that gradients cannot move.
        """
        model, rows, own_seed = self._fitted(), self._seen(x, context), self.seed if seed is None else seed
        if ais or bracket:
            check_annealing(model)
        notes = [self.objective_.caveat] * bool(self.objective_.caveat)
        simple = None if against is None else self._baselines(x, against)  # refuses what does not compare at once
        with interruptible() as asked:
            watch = Watch(asked, self.verbose)
            own = evaluate_rows(model, rows, draws=draws, seed=own_seed, notes=notes, watch=watch)
            own = replace(own, health=self._health(rows, own_seed) if len(rows) >= FEWEST else None)
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

    def health(self, x: object, seed: int | None = None, context: object = None) -> Health:
        """What is wrong with the model, if anything, and what to try, by held-out rows; see
        `vaekit.evaluation.health`."""
        return self._health(self._seen(x, context), self.seed if seed is None else seed)

    def _health(self, rows: AbstractRows, seed: int, **settings: Any) -> Health:
        back = self.patience is not None and self.best_epoch_ and self.ended_ in ("finished", "stopped early")
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
            watch, seed = Watch(asked, self.verbose), self.seed if seed is None else seed
            return annealed(self._fitted(), rows, **settings, seed=seed, watch=watch).numpy()

    def _baselines(self, x: object, against: object) -> Baselines:
        """Simple models of training rows, of the measure that this model's log p has."""
        measure = measure_of(self.module_.likelihood, self.spec_)
        rows = [self._explained(t) if self._binarises else t for t in (against, x)]
        return baselines(*rows, measure=measure, latents=int(np.prod(self.module_.latent.shape)), seed=self.seed)

    def _among(self, simple: Baselines, own: Evaluation, x: object, context: object) -> Baselines:
        """Simple models with this one's figures first."""
        scored = ("log_likelihood", "bits_per_dim") if simple.measure else ()
        mine = {name: own.figures[name] for name in scored if name in own.figures}
        if "ppca" in simple.figures and not self._binarises:
            apart = torch.from_numpy(np.asarray(x).astype(np.float64) - self.reconstruct(x, context)).flatten(1)
            mine["reconstruction_error"] = reconstruction_error(apart / torch.tensor(simple.scale))
        return simple.beside("this model", f"{int(np.prod(self.module_.latent.shape))} latents", mine)

    @property
    def _binarises(self) -> bool:
        return getattr(self.module_.likelihood, "binarise", None) is not None

    def _explained(self, x: object) -> np.ndarray:
        """Rows as a likelihood that binarises them explains them, 0 and 1: the same that this model is scored on."""
        batches = Observed(self.module_, self._seen(x).batches(CHUNK))
        return torch.cat([batch.x.to(torch.uint8).cpu() for batch in batches]).numpy()

    def probe(self, x: object, y: object, test: object, y_test: object, seed: int | None = None) -> dict[str, Figure]:
        """What the codes are worth: two probes, trained on rows x of classes y, and clusters, on test rows; by name.

        See `vaekit.evaluation.representation`, which reads codes, for context and real values.
        """
        seed = self.seed if seed is None else seed
        return representation.representation(self.transform(x), y, self.transform(test), y_test, seed)

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
        return judge(self.sample(n, seed, context=context), test, training, features=features, seed=self.seed)

    def detector(self, normal: object, draws: int = 20, seed: int | None = None) -> Detector:
        """What scores rows by how odd they are beside normal ones (M, ...), such as fit held out; see `Detector`.

        `detector(x)` is (N,), higher is odder, by the score that was chosen without an odd row at hand.
        """
        seed = self.seed if seed is None else seed
        return Detector.of(self._fitted(), self._seen, normal, draws=draws, seed=seed)

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

    @property
    def classes_(self) -> np.ndarray:
        """The classes that `predict` chooses among: those of y in fit, or the numbers of clusters."""
        count = self._fitted().latent.classes
        if count is None:
            raise AttributeError("this VAE tells no classes: fit a recipe that does, such as m2, vade or mixture")
        return np.arange(count) if self.spec_.labels is None else np.asarray(self.spec_.labels.levels)

    @property
    def caveat_(self) -> str | None:
        """Why log p is not a likelihood of these data; None where it is."""
        level = 0.5 if self.spec_.kind in ("bytes", "unit") else 0.0
        return self._fitted().likelihood.caveat(torch.full((1, *self.spec_.model_shape), level), self.spec_.integer)

    def save(self, path: str | Path) -> None:
        """Writes `config.json`, `model.safetensors` and `history.jsonl` into a folder; what was there is replaced."""
        from .saving import save

        save(self, path)
