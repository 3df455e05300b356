"""What a model is worth on held-out rows: bounds of log p(x), with their errors."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn.modules.conv import _ConvNd

from ..core import Batch, Noise, Source, VAEOutput, public
from ..data.rows import AbstractRows
from ..model import VAEModule
from ..networks import evaluating
from ..training.autotune import is_traceable, worth_compiling
from ..training.compiled import Program, State
from .observed import Observed
from .progress import ProgressMonitor, Stopped

CODE_USE = {
    "perplexity": ("codes", "how many codes are in use, if all were used alike; a mean over the codebooks"),
    "unused_codes": ("", "the share of the codes that no held-out row takes"),
}
"""What is said of the use of codes: unit and meaning."""
LOW = 0.05
"""The share of the draws that count, by their weights, below which the bound is told to be loose."""
BUDGET = {"cpu": 2**21, "cuda": 2**26}
"""Numbers that one pass of evaluation may hold per tensor, by device: on the CPU they should stay in its caches."""


@dataclass(frozen=True)
class RowScores:
    """Per row, in nats: bound, the importance-weighted bound of log p(x) with k draws; elbo and its two parts, means
    over the same draws, so that no row has an elbo above its bound; ess, the effective sample size of the weights,
    between 1 and k. kl: (N, units), the closed KL, or None. For a point mass all but the distortion are NaN. usage: of
    every codebook, the shares (codes,) of the rows' positions that took each code. observed: the digest of x as it was
    binarised, None where it was not. floor: what no -log p of it can be below in expectation, None where that is not
    known."""

    k: int
    bound: Tensor
    elbo: Tensor
    distortion: Tensor
    rate: Tensor
    ess: Tensor
    kl: Tensor | None
    usage: tuple[Tensor, ...] = ()
    observed: str | None = None
    floor: Tensor | None = None


Weighed = tuple[Tensor, Tensor, Tensor, Tensor | None, tuple[Tensor, ...]]


def _weigh(draws: int, model: Callable[..., VAEOutput], state: State, batch: Batch, noise: Noise) -> Weighed:
    """log w, log p(x | z), rate, each (S, B), the closed KL of the first draw (B, units), and the use of codes; what a
    `Program` runs."""
    rows, out = len(batch.x), model(batch, noise, draws=draws)
    none = torch.full_like(out.log_lik, torch.nan)  # a point mass has neither weights nor a rate
    dense = out.draw.log_ratio is not None
    # Not the closed rate: beside the bound, both parts of the ELBO have to be of the same draws.
    parts = (out.log_weight, out.log_lik, -out.draw.log_ratio) if dense else (none, out.log_lik, none)
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
        self.convolves = device == "cpu" and any(isinstance(m, _ConvNd) for m in model.modules())
        self.model, self.program = model, Program(partial(_weigh, self.at_once), model, Source.like(model))
        self.passes = -(-len(rows) // self.rows) * -(-draws // self.at_once)
        self.compiled, self._trials = False, []

    def __call__(self, batch: Batch, noise: Noise) -> Iterator[Weighed]:
        """`_weigh` of all draws of an observed batch, some draws at a time: binarising a binary x leaves it as it is,
        so that every draw scores the same x."""
        for done in range(0, self.draws, self.at_once):
            count = min(self.at_once, self.draws - done)
            start = time.perf_counter()
            if self.compiled and count == self.at_once and len(batch.x) == self.rows:
                weighed = self.program(batch, noise)
            else:
                weighed = _weigh(count, self.model, self.program.state, batch, noise)
            self._decide(time.perf_counter() - start, batch)
            yield weighed

    def _decide(self, seconds: float, batch: Batch) -> None:
        """Compiles what is left if, at the speed of the first three passes, all of it takes longer than compiling;
        convolutions on a CPU gain nothing by it."""
        if len(self._trials) < 3:
            self._trials.append(seconds)
            if len(self._trials) == 3 and not self.convolves and is_traceable(self.model):
                seconds = min(self._trials) * self.passes
                self.compiled = worth_compiling(seconds, lambda: self.program.eager(batch, Source.like(self.model)))


@public
@torch.no_grad()
def score_rows(
    model: VAEModule, rows: AbstractRows, *, draws: int = 100, seed: int = 0, watch: ProgressMonitor | None = None
) -> RowScores:
    """Scores every row, in bounded memory, in the data's units.

    bound: `log 1/k sum_i w_i` with k = draws (Burda et al. 2016, arXiv:1509.00519): its expectation is below log
    p(x) and rises with k. The figures of a density include the Jacobian of the data's scaling, of the cells that are
    there. Rows that are binarised are so alike whatever the seed. watch: tells the cost; after Ctrl-C the rows that are
    done come back, if any.
    """
    if draws < 1:
        raise ValueError(f"draws={draws}: expected at least one draw per row")
    noise, weigh, watch = Source.like(model, seed), Scorer(model, rows, draws), watch or ProgressMonitor()
    observed = Observed(model, rows.batches(weigh.rows))
    parts: list[list[Tensor]] = [[], [], [], [], [], []]
    used: list[Tensor] = []
    jacobian: list[Tensor] = []
    with evaluating(model), watch.over(f"scoring {len(rows):,} rows with {draws} draws each", weigh.passes) as passed:
        try:
            for batch in observed:
                row, usage = _scored(batch, noise, weigh, passed)
                jacobian.append(rows.spec.log_jacobian_of(batch.mask, len(batch.x)))
                used = [a + b * len(batch.x) for a, b in zip(used or [0.0] * len(usage), usage)]
                for store, value in zip(parts, row):
                    store.append(value if value is None else value.cpu())
        except Stopped:
            if not parts[0]:
                raise KeyboardInterrupt from None
    bound, elbo, distortion, rate, ess = (torch.cat(p) for p in parts[:5])
    kl = torch.cat(parts[5]) if parts[5][0] is not None else None
    units = torch.cat(jacobian) if model.likelihood.density else 0.0
    usage = tuple(u / len(bound) for u in used)
    floor = None if observed.floor is None else observed.floor[: len(bound)]
    return RowScores(
        draws, bound + units, elbo + units, distortion - units, rate, ess, kl, usage, observed.digest, floor
    )


def _scored(
    batch: Batch, noise: Noise, weigh: Scorer, passed: Callable[[], None]
) -> tuple[list[Tensor | None], list[Tensor]]:
    """A batch's columns of `RowScores`, and its use of codes."""
    # Weights are summed in float64, on the host: rounding must not make a tight bound pass log p(x).
    total = squares = torch.full((len(batch.x),), -torch.inf, dtype=torch.float64)
    sums, kl_first = torch.zeros(3, len(batch.x), dtype=torch.float64), None
    for log_w, log_lik, rate, kl, usage in weigh(batch, noise):
        log_w = log_w.cpu().double()
        total = torch.logaddexp(total, torch.logsumexp(log_w, 0))
        squares = torch.logaddexp(squares, torch.logsumexp(2 * log_w, 0))
        sums = sums + torch.stack([log_w.sum(0), log_lik.cpu().double().sum(0), rate.cpu().double().sum(0)])
        kl_first = kl if kl_first is None else kl_first
        passed()
    means = sums / weigh.draws
    row = [total - math.log(weigh.draws), means[0], -means[1], means[2], (2 * total - squares).exp(), kl_first]
    return row, [share.cpu().double() for share in usage]  # codes are deterministic: the last draws say what all do
