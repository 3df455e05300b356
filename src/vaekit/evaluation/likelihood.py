"""What a model is worth on held-out rows: bounds of log p(x), with their errors."""

from __future__ import annotations

import math
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..core import Batch, Noise, Pass, Scope, Source
from ..data.rows import AbstractRows
from ..model import VAEModule
from ..networks import evaluating
from ..objectives.base import code_use
from ..training.compiled import Program, State
from ..training.pace import WORTH_COMPILING, ours

if TYPE_CHECKING:
    from .baselines import Baselines

CODE_USE = {
    "perplexity": ("codes", "how many codes are in use, if all were used alike; a mean over the codebooks"),
    "unused_codes": ("", "the share of the codes that no held-out row takes"),
}
"""What is said of the use of codes: unit and meaning."""
BUDGET = {"cpu": 2**21, "cuda": 2**26}
"""Numbers that one pass of evaluation may hold per tensor, by device: on the CPU they should stay in its caches."""


@dataclass(frozen=True)
class Figure:
    """A measured number: its value, its standard error over rows (None where it has none), unit and meaning."""

    value: float
    error: float | None
    unit: str
    meaning: str

    def __str__(self) -> str:
        error = "" if self.error is None else f" ± {self.error:.2g}"
        return f"{self.value:.4f}{error} {self.unit}".rstrip()

    @classmethod
    def mean(cls, values: Tensor, unit: str, meaning: str) -> Figure:
        """The mean over rows and its standard error."""
        values = values.double()
        error = float(values.std() / math.sqrt(len(values))) if len(values) > 1 else None
        return cls(float(values.mean()), error, unit, meaning)


@dataclass(frozen=True)
class RowScores:
    """Per row, in nats: bound, the importance-weighted bound of log p(x) with k draws; elbo and its two parts,
    means over the draws; ess, the effective sample size of the weights, between 1 and k. kl: (N, units) or None.
    For a point mass all but the distortion are NaN. usage: of every codebook, the shares (codes,) of the rows'
    positions that took each code."""

    k: int
    bound: Tensor
    elbo: Tensor
    distortion: Tensor
    rate: Tensor
    ess: Tensor
    kl: Tensor | None
    usage: tuple[Tensor, ...] = ()


@dataclass(frozen=True, repr=False)
class Evaluation:
    """Figures on held-out rows. Shows itself as a table; `to_dict` for machines.

    spread: of a model that is one of several `seeds`, the means over these, with their standard errors over the seeds.
    baselines: what simple models make of the same rows, beside this one.
    """

    figures: dict[str, Figure]
    rows: int
    draws: int
    kl_per_unit: list[float] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    spread: dict[str, Figure] = field(default_factory=dict)
    seeds: int = 1
    baselines: Baselines | None = None

    def __getitem__(self, name: str) -> float:
        return self.figures[name].value

    def among(self, others: Sequence[Evaluation], diverged: int = 0) -> Evaluation:
        """The same beside those of other seeds on the same rows: with the means over all but those that diverged."""
        every = (self, *others)
        left_out = [f"of the seeds, {diverged} diverged and {'is' if diverged == 1 else 'are'} left out"] * bool(
            diverged
        )
        means = {
            name: Figure.mean(torch.tensor([e[name] for e in every], dtype=torch.float64), f.unit, "over the seeds")
            for name, f in self.figures.items()
        }
        return replace(self, spread=means, seeds=len(every), notes=[*self.notes, *left_out])

    def to_dict(self) -> dict[str, object]:
        spread = {"seeds": self.seeds, "spread": plain(self.spread)} if self.spread else {}
        beside = {"baselines": self.baselines.to_dict()} if self.baselines else {}
        return {
            "rows": self.rows,
            "draws": self.draws,
            "figures": plain(self.figures),
            "kl_per_unit": self.kl_per_unit,
            "notes": self.notes,
            **spread,
            **beside,
        }

    def __str__(self) -> str:
        names = max(len(n) for n in self.figures)
        lines = [f"{self.rows:,} held-out rows, k = {self.draws} draws per row"]
        lines += [f"  {name:<{names}}  {_shown(f):<26}  {f.meaning}" for name, f in self.figures.items()]
        if self.spread:
            lines.append(f"{self.seeds} seeds, of which this model is the first: mean ± standard error over the seeds")
            lines += [f"  {name:<{names}}  {_shown(f)}" for name, f in self.spread.items()]
        if self.baselines:
            lines.append(str(self.baselines))
        for note in self.notes:
            lines += textwrap.wrap(f"note: {note}", 88, initial_indent="  ", subsequent_indent="        ")
        return "\n".join(lines)

    __repr__ = __str__


def plain(figures: dict[str, Figure]) -> dict[str, dict[str, object]]:
    return {n: {"value": f.value, "error": f.error, "unit": f.unit} for n, f in figures.items()}


def _shown(f: Figure) -> str:
    error = "" if f.error is None else f" ± {f.error:.3f}"
    return f"{f.value:9.3f}{error} {f.unit}"


Weighed = tuple[Tensor, Tensor, Tensor, Tensor | None, tuple[Tensor, ...]]


def _weigh(draws: int, model: Callable[..., Pass], state: State, batch: Batch, noise: Noise) -> Weighed:
    """log w, log p(x | z), rate, each (S, B), the closed KL of the first draw (B, units), and the use of codes; what a
    `Program` runs."""
    rows, out = len(batch.x), model(batch, noise, draws=draws)
    none = torch.full_like(out.log_lik, torch.nan)  # a point mass has neither weights nor a rate
    dense = out.draw.log_ratio is not None
    parts = (out.log_weight, out.log_lik, out.draw.rate) if dense else (none, out.log_lik, none)
    first = None if out.draw.kl is None else out.draw.kl[:rows]
    return *(t.unflatten(0, (draws, rows)) for t in parts), first, out.draw.usage


class Scorer:
    """Passes over batches of rows, so many draws at a time that they stay small; long work is compiled."""

    def __init__(self, model: VAEModule, rows: AbstractRows, draws: int):
        cells, device = math.prod(rows.spec.shape), next(model.parameters()).device.type
        budget = BUDGET.get(device, BUDGET["cuda"])
        # Enough draws of a row at a time that reading it again for the next ones does not count.
        self.rows = min(512, max(1, budget // (cells * min(draws, 128))))
        self.at_once, self.draws = max(1, min(draws, budget // (cells * self.rows))), draws
        self.model, self.program = model, Program(partial(_weigh, self.at_once), model, Source.like(model))
        self.passes = -(-len(rows) // self.rows) * -(-draws // self.at_once)
        self.compiled, self._trials = False, []

    def __call__(self, batch: Batch, noise: Noise) -> Iterator[Weighed]:
        """`_weigh` of all draws of a batch, some draws at a time."""
        # Binarising a binary x leaves it as it is, so every draw scores the same x.
        batch = replace(batch, x=self.model.likelihood.observe(batch.x, Scope.of(noise)), weight=None, label=None)
        for done in range(0, self.draws, self.at_once):
            count = min(self.at_once, self.draws - done)
            start = time.perf_counter()
            if self.compiled and count == self.at_once and len(batch.x) == self.rows:
                weighed = self.program(batch, noise)
            else:
                weighed = _weigh(count, self.model, self.program.state, batch, noise)
            self._decide(time.perf_counter() - start)
            yield weighed

    def _decide(self, seconds: float) -> None:
        """Compiles what is left if, at the speed of the first three passes, all of it takes longer than compiling."""
        if len(self._trials) < 3:
            self._trials.append(seconds)
            long = len(self._trials) == 3 and min(self._trials) * self.passes > WORTH_COMPILING
            self.compiled = long and ours(self.model)


@torch.no_grad()
def score_rows(model: VAEModule, rows: AbstractRows, *, draws: int = 100, seed: int = 0) -> RowScores:
    """Scores every row, in bounded memory, in the data's units.

    bound: `log 1/k sum_i w_i` with k = draws (Burda et al. 2016, arXiv:1509.00519): its expectation is below log
    p(x) and rises with k. The figures of a density include the Jacobian of the data's scaling.
    """
    if draws < 1:
        raise ValueError(f"draws={draws}: expected at least one draw per row")
    noise, weigh = Source.like(model, seed), Scorer(model, rows, draws)
    parts: list[list[Tensor]] = [[], [], [], [], [], []]
    used: list[Tensor] = []
    with evaluating(model):
        for batch in rows.batches(weigh.rows):
            # Weights are summed in float64, on the host: rounding must not make a tight bound pass log p(x).
            total = squares = torch.full((len(batch.x),), -torch.inf, dtype=torch.float64)
            sums, kl_first = torch.zeros(3, len(batch.x), dtype=torch.float64), None
            for log_w, log_lik, rate, kl, usage in weigh(batch, noise):
                log_w = log_w.cpu().double()
                total = torch.logaddexp(total, torch.logsumexp(log_w, 0))
                squares = torch.logaddexp(squares, torch.logsumexp(2 * log_w, 0))
                sums = sums + torch.stack([log_w.sum(0), log_lik.cpu().double().sum(0), rate.cpu().double().sum(0)])
                kl_first = kl if kl_first is None else kl_first
            # Codes are deterministic: the last draws say what all do.
            shares = [share.cpu().double() * len(batch.x) / len(rows) for share in usage]
            used = [a + b for a, b in zip(used, shares)] if used else shares
            means = sums / draws
            row = [total - math.log(draws), means[0], -means[1], means[2], (2 * total - squares).exp(), kl_first]
            for store, value in zip(parts, row):
                store.append(value if value is None else value.cpu())
    bound, elbo, distortion, rate, ess = (torch.cat(p) for p in parts[:5])
    kl = torch.cat(parts[5]) if parts[5][0] is not None else None
    jacobian = rows.spec.log_jacobian if model.likelihood.density else 0.0
    elbo = -distortion - (rate if kl is None else kl.double().sum(1))
    return RowScores(draws, bound + jacobian, elbo + jacobian, distortion - jacobian, rate, ess, kl, tuple(used))


def evaluate_rows(
    model: VAEModule, rows: AbstractRows, *, draws: int = 100, seed: int = 0, notes: Sequence[str] = ()
) -> Evaluation:
    """A model's figures on held-out rows: ELBO and its parts, the importance-weighted bound, bits per dimension.

    notes: what is to be said beside its own.
    """
    scores = score_rows(model, rows, draws=draws, seed=seed)
    dims = math.prod(rows.spec.shape)
    caveat = model.likelihood.caveat(rows.batch(slice(0, 256)).x, rows.spec.integer)
    figures = {"distortion": Figure.mean(scores.distortion, "nats", "-E log p(x | z), the cost of reconstruction")}
    notes = list(notes)
    if model.latent.ratio == "none":
        notes.append("the posterior is a point mass: there is no rate and no bound of log p(x)")
    else:
        figures = {
            "elbo": Figure.mean(scores.elbo, "nats", "evidence lower bound, -distortion - rate"),
            **figures,
            "rate": Figure.mean(scores.rate, "nats", "KL(q(z | x) || p(z)), the cost of the code"),
            "log_likelihood": Figure.mean(scores.bound, "nats", f"importance-weighted bound, k = {draws}"),
            "ess": Figure.mean(scores.ess, "draws", f"effective sample size, of {draws}"),
        }
        if caveat is None and not rows.spec.missing:
            figures["bits_per_dim"] = Figure.mean(
                -scores.bound / (dims * math.log(2)),
                "bits",
                "the bound per dimension" + (", of a density" if model.likelihood.density else ", a code length"),
            )
    if caveat:
        notes.append(caveat)
    if model.latent.ratio == "bound":
        notes.append("the codes are deterministic: the bound charges -log p(codes) by the prior and is loose")
    units = [] if scores.kl is None else scores.kl.double().mean(0).tolist()
    if units:
        active = sum(kl > 0.01 for kl in units)
        figures["active_units"] = Figure(
            float(active), None, f"of {len(units)}", "units with a mean KL above 0.01 nats"
        )
    for name, value in code_use(scores.usage).items():
        figures[name] = Figure(float(value), None, *CODE_USE[name])
    return Evaluation(figures, len(rows), draws, units, notes)
