"""How odd a row is by a model of p(x), which of its cells make it so, and how rarely a normal row is as odd.

Every row meets the same draws of z-noise, so a score depends on the row alone. The same call gives the same bits. In
another order or another batch a score differs by float32 rounding only: by less than 1e-5 of its size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from ..core import Batch, Source, ZeroNoise, public
from ..data.rows import AbstractRows
from ..model import VAEModule
from ..networks import evaluating
from ..suggest import nearest
from .likelihood import BUDGET

SCORES = ("bound", "elbo", "distortion", "error", "typicality")
"""What rows are scored by; see `anomaly_score`."""
WITH_CELLS = ("bound", "distortion", "error")
"""The scores that are sums over cells."""
DRAWS = 100
ORDERS = 16
"""Orders of a row's cells, and as many backwards, that an explanation is a mean over."""


class Alike:
    """Noise that is the same for each of so many rows."""

    def __init__(self, source: Source, rows: int):
        self.source, self.rows = source, rows

    def _each(self, draw: Callable[[Sequence[int]], Tensor], shape: Sequence[int]) -> Tensor:
        own = draw((shape[0] // self.rows, 1, *shape[1:]))
        return own.expand(-1, self.rows, *shape[1:]).flatten(0, 1)

    def randn(self, shape: Sequence[int]) -> Tensor:
        return self._each(self.source.randn, shape)

    def rand(self, shape: Sequence[int]) -> Tensor:
        return self._each(self.source.rand, shape)


@dataclass(frozen=True)
class Drawn:
    """Of a batch: log p(x | z) by cell (S, B, C) and log p(z) - log q(z | x) (S, B), fp64; the closed rate (B,) or
    its estimate; which cells are seen, (B, C)."""

    cells: Tensor
    log_ratio: Tensor
    rate: Tensor
    seen: Tensor

    @property
    def log_weight(self) -> Tensor:
        return self.cells.sum(2) + self.log_ratio


def _drawn(model: VAEModule, rows: AbstractRows, draws: int, seed: int) -> Iterator[Drawn]:
    if draws < 1:
        raise ValueError(f"draws={draws}: expected at least one draw per row")
    draws, numbers = draws if model.latent.ratio != "none" else 1, math.prod(model.likelihood.in_shape)
    budget = BUDGET.get(next(model.parameters()).device.type, BUDGET["cuda"])
    size = min(1024, max(1, budget // (numbers * draws)))
    at_once = max(1, min(draws, budget // (numbers * size)))
    for batch in rows.batches(size):
        noise, count, parts = Alike(Source.like(model, seed), len(batch.x)), len(batch.x), []
        x = model.likelihood.observe(batch.x, model.prior_scope(Alike(Source.like(model, seed), count)))
        batch = Batch(x, batch.mask, batch.context)
        for done in range(0, draws, at_once):
            out = model(batch, noise, draws=min(at_once, draws - done))
            ratio = torch.zeros_like(out.log_lik) if out.draw.log_ratio is None else out.draw.log_ratio
            rate = torch.zeros_like(out.log_lik) if out.draw.log_ratio is None else out.draw.rate
            cells = out.cells.flatten(1) if out.cells.dim() > 1 else out.cells.unsqueeze(1)
            parts.append([t.double().unflatten(0, (-1, count)) for t in (cells, ratio, rate)])
        cells, ratio, rate = (torch.cat(t) for t in zip(*parts))
        seen = torch.ones_like(cells[0]) if batch.mask is None else batch.mask.flatten(1).expand_as(cells[0]).double()
        yield Drawn(cells, ratio, rate.mean(0), seen)


def _log_mean(log_weight: Tensor) -> Tensor:
    return torch.logsumexp(log_weight, 0) - math.log(len(log_weight))


@public
@torch.no_grad()
def anomaly_score(
    model: VAEModule,
    rows: AbstractRows,
    score: str = "bound",
    *,
    draws: int = DRAWS,
    seed: int = 0,
    entropy: float | None = None,
) -> NDArray:
    """(N,), higher is odder; nats in the model's space, where the units of columns do not matter.

    - "bound", "elbo": minus the importance-weighted bound of log p(x), with `draws` draws, and minus the ELBO;
    - "distortion": -E log p(x | z);
    - "error": |x - x'|^2, x' the mean of p(x | z) at the code;
    - "typicality": |-log p(x) - entropy|, entropy the mean of the "bound" over normal rows (Nalisnick et al. 2019,
      arXiv:1906.02994).

    Cells that are missing add nothing, and each value of a table that fit did not see adds `log(n + 1)`, n the rows
    of fit, to any of these. Raises ValueError for another name, for the typicality without an entropy, and
    for the bounds of a point mass.
    """
    _known(model, score)
    if score == "typicality" and entropy is None:
        raise ValueError("the typicality is a distance from normal rows: pass some, normal=...")
    cost = 0.0 if rows.cost is None else rows.cost.sum(1)
    if score == "error":
        return _cells(model, rows, score, draws, seed).sum(1) + cost
    parts = []
    with evaluating(model):
        for drawn in _drawn(model, rows, draws, seed):
            own = {
                "distortion": lambda d: -d.cells.sum(2).mean(0),
                "elbo": lambda d: d.rate - d.cells.sum(2).mean(0),
            }.get(score, lambda d: -_log_mean(d.log_weight))
            parts.append(own(drawn).cpu())
    found = torch.cat(parts).numpy()
    return (np.abs(found - entropy) if score == "typicality" else found) + cost


def _known(model: VAEModule, score: str) -> None:
    if score not in SCORES:
        raise ValueError(f"unknown score {score!r}{nearest(score, SCORES)}: expected one of {', '.join(SCORES)}")
    if model.latent.ratio == "none" and score not in ("distortion", "error"):
        raise ValueError(f'a point mass has no {score}: use score="distortion" or "error"')


@public
@torch.no_grad()
def explain(
    model: VAEModule,
    rows: AbstractRows,
    score: str = "bound",
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> NDArray:
    """(N, C): what each cell of a row adds to its `anomaly_score`, which they sum to; 0 where a cell is missing. What
    values that fit did not see add is left out, see `AbstractRows.cost`.

    The distortion and the error are sums over cells as they are. -log p(x) is one by the chain rule, cell after cell,
    each given those before it: `sum_t -log p(x_t | x_<t)`, each term from the draws that the score is made of. The mean
    over orders, and each order backwards, is the Shapley value of the cell (Shapley 1953; sampled as by Castro et al.
    2009). It does not depend on where a cell stands, and what two cells tell alike is shared by both. That all weights
    `p(z) / q(z | x)` together are 1 on average only is shared by all cells.

    Raises ValueError for the scores that are no sums over cells, and for a likelihood of whole rows.
    """
    _known(model, score)
    if score not in WITH_CELLS:
        raise ValueError(f"the {score} is no sum over cells: explain one of {', '.join(WITH_CELLS)}")
    return _cells(model, rows, score, draws, seed)


def _cells(model: VAEModule, rows: AbstractRows, score: str, draws: int, seed: int) -> NDArray:
    parts = []
    with evaluating(model):
        if score == "error":
            still = ZeroNoise(Source.like(model))
            for batch in rows.batches(1024):
                apart = (batch.x - model.decode(model.infer(batch, still).z, batch.context).mean).square()
                parts.append((apart if batch.mask is None else apart * batch.mask).flatten(1).double().cpu())
            return torch.cat(parts).numpy()
        for drawn in _drawn(model, rows, draws, seed):
            if drawn.cells.shape[2] == 1 and math.prod(model.likelihood.shape) > 1:
                raise ValueError(
                    f"{type(model.likelihood).__name__} takes a row as one cell, so that its parts have no share: use "
                    "a likelihood of cells"
                )
            parts.append((-drawn.cells.mean(0) if score == "distortion" else shapley(drawn, seed)).cpu())
    return torch.cat(parts).numpy()


def shapley(drawn: Drawn, seed: int, orders: int = ORDERS) -> Tensor:
    """(B, C): the shares of cells in minus the bound."""
    cells, count = drawn.cells, drawn.cells.shape[2]
    generator, total = torch.Generator().manual_seed(seed), torch.zeros_like(cells[0])
    nothing = _log_mean(drawn.log_ratio)
    for _ in range(orders):
        forwards = torch.randperm(count, generator=generator).to(cells.device)
        for order in (forwards, forwards.flip(0)):
            through = _log_mean(drawn.log_ratio.unsqueeze(-1) + cells[:, :, order].cumsum(2))
            total[:, order] -= torch.diff(through, dim=1, prepend=nothing.unsqueeze(1)) / (2 * orders)
    return drawn.seen * (total - (nothing / drawn.seen.sum(1).clamp(min=1)).unsqueeze(1))


# -- how rare it is --------------------------------------------------------------------------------


@public
def p_values(scores: ArrayLike, normal: ArrayLike) -> NDArray:
    """(N,): `(1 + how many normal rows score at least as high) / (1 + M)`, by scores (M,) of normal rows.

    Conformal: for a normal row like these, which the model was not fitted to, a value of at most a has a chance of at
    most a, whatever the model (Vovk et al. 2005; Bates et al. 2023, arXiv:2104.08279). Raises ValueError without
    normal rows, or with NaN.
    """
    own, others = np.asarray(scores, dtype=np.float64), np.sort(np.asarray(normal, dtype=np.float64))
    if own.ndim != 1 or others.ndim != 1 or not len(others):
        raise ValueError(f"expected scores (N,) and those of normal rows (M,), got {own.shape}, {others.shape}")
    if np.isnan(own).any() or np.isnan(others).any():
        raise ValueError("scores are NaN: choose a score that this model has")
    return (1 + len(others) - np.searchsorted(others, own, "left")) / (1 + len(others))
