"""What a model is worth on held-out rows: bounds of log p(x), with their errors."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..core import Batch, Scope, Source
from ..data.rows import Rows
from ..model import VAEModule
from ..networks import evaluating

BUDGET = 2**24
"""Numbers that one pass of evaluation may hold per tensor: draws are taken in chunks below it."""


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
    For a point mass all but the distortion are NaN."""

    k: int
    bound: Tensor
    elbo: Tensor
    distortion: Tensor
    rate: Tensor
    ess: Tensor
    kl: Tensor | None


@dataclass(frozen=True, repr=False)
class Evaluation:
    """Figures on held-out rows. Shows itself as a table; `to_dict` for machines."""

    figures: dict[str, Figure]
    rows: int
    draws: int
    kl_per_unit: list[float] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __getitem__(self, name: str) -> float:
        return self.figures[name].value

    def to_dict(self) -> dict[str, object]:
        figures = {n: {"value": f.value, "error": f.error, "unit": f.unit} for n, f in self.figures.items()}
        return {
            "rows": self.rows,
            "draws": self.draws,
            "figures": figures,
            "kl_per_unit": self.kl_per_unit,
            "notes": self.notes,
        }

    def __str__(self) -> str:
        names = max(len(n) for n in self.figures)
        lines = [f"{self.rows:,} held-out rows, k = {self.draws} draws per row"]
        for name, f in self.figures.items():
            error = "" if f.error is None else f" ± {f.error:.3f}"
            lines.append(f"  {name:<{names}}  {f'{f.value:9.3f}{error} {f.unit}':<26}  {f.meaning}")
        for note in self.notes:
            lines += textwrap.wrap(f"note: {note}", 88, initial_indent="  ", subsequent_indent="        ")
        return "\n".join(lines)

    __repr__ = __str__


@torch.no_grad()
def _chunks(
    model: VAEModule, batch: Batch, noise: Source, draws: int
) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor | None]]:
    """log w, log p(x | z), rate, each (S, B), and the closed KL of the first chunk; S draws at a time."""
    rows = len(batch.x)
    at_once = max(1, min(draws, BUDGET // max(1, batch.x[0].numel() * rows)))
    # Binarising a binary x leaves it as it is, so every draw scores the same x.
    batch = Batch(model.likelihood.observe(batch.x, Scope.of(noise)), batch.mask, batch.context)
    done = 0
    while done < draws:
        s = min(at_once, draws - done)
        out = model(batch, noise, draws=s)
        kl = out.draw.kl[:rows] if done == 0 and out.draw.kl is not None else None
        none = torch.full_like(out.log_lik, torch.nan)  # a point mass has neither weights nor a rate
        dense = out.draw.log_ratio is not None
        parts = (out.log_weight, out.log_lik, out.draw.rate) if dense else (none, out.log_lik, none)
        yield *(t.unflatten(0, (s, rows)) for t in parts), kl
        done += s


def score_rows(model: VAEModule, rows: Rows, *, draws: int = 100, seed: int = 0, batch_size: int = 512) -> RowScores:
    """Scores every row, in bounded memory, in the data's units.

    bound: `log 1/k sum_i w_i` with k = draws (Burda et al. 2016, arXiv:1509.00519): its expectation is below log
    p(x) and rises with k. The figures of a density include the Jacobian of the data's scaling.
    """
    if draws < 1:
        raise ValueError(f"draws={draws}: expected at least one draw per row")
    noise = Source.like(model, seed)
    parts: list[list[Tensor]] = [[], [], [], [], [], []]
    with evaluating(model):
        for batch in rows.batches(batch_size):
            # Weights are summed in float64, on the host: rounding must not make a tight bound pass log p(x).
            total = squares = torch.full((len(batch.x),), -torch.inf, dtype=torch.float64)
            sums, kl_first = torch.zeros(3, len(batch.x), dtype=torch.float64), None
            for log_w, log_lik, rate, kl in _chunks(model, batch, noise, draws):
                log_w = log_w.cpu().double()
                total = torch.logaddexp(total, torch.logsumexp(log_w, 0))
                squares = torch.logaddexp(squares, torch.logsumexp(2 * log_w, 0))
                sums = sums + torch.stack([log_w.sum(0), log_lik.cpu().double().sum(0), rate.cpu().double().sum(0)])
                kl_first = kl if kl is not None else kl_first
            means = sums / draws
            row = [total - math.log(draws), means[0], -means[1], means[2], (2 * total - squares).exp(), kl_first]
            for store, value in zip(parts, row):
                store.append(value if value is None else value.cpu())
    bound, elbo, distortion, rate, ess = (torch.cat(p) for p in parts[:5])
    kl = torch.cat(parts[5]) if parts[5][0] is not None else None
    jacobian = rows.spec.log_jacobian if model.likelihood.density else 0.0
    elbo = -distortion - (rate if kl is None else kl.double().sum(1))
    return RowScores(draws, bound + jacobian, elbo + jacobian, distortion - jacobian, rate, ess, kl)


def evaluate_rows(model: VAEModule, rows: Rows, *, draws: int = 100, seed: int = 0) -> Evaluation:
    """A model's figures on held-out rows: ELBO and its parts, the importance-weighted bound, bits per dimension."""
    scores = score_rows(model, rows, draws=draws, seed=seed)
    dims = math.prod(rows.spec.shape)
    caveat = model.likelihood.caveat(rows.batch(slice(0, 256)).x, rows.spec.integer)
    figures = {"distortion": Figure.mean(scores.distortion, "nats", "-E log p(x | z), the cost of reconstruction")}
    notes: list[str] = []
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
        notes.append("the codes are deterministic: the bound charges log(codes) per position and is loose")
    units = [] if scores.kl is None else scores.kl.double().mean(0).tolist()
    if units:
        active = sum(kl > 0.01 for kl in units)
        figures["active_units"] = Figure(
            float(active), None, f"of {len(units)}", "units with a mean KL above 0.01 nats"
        )
    return Evaluation(figures, len(rows), draws, units, notes)
