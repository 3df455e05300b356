"""Cells that are missing, from those that are there: p(missing | seen) by importance-weighted draws of z.

Mattei & Frellsen 2019, arXiv:1812.02633, equations 10 to 12, with draws from the prior among those from q.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..core import Batch, ForwardContext, Source, public
from ..data.rows import AbstractRows
from ..model import VAEModule
from ..networks import evaluating
from .weighing import DRAWS, FROM_PRIOR, Mean, Resampled, Weigher


@dataclass(frozen=True)
class Completed:
    """Whole rows in the model's space, on the host: the seen cells as they were, the missing ones filled.

    x: (N, *X), or (n, N, *X) of n completions. effective: (N,), the effective sample size of the weights, between 1
    and `draws`.
    """

    x: Tensor
    effective: Tensor
    draws: int


@public
@torch.no_grad()
def impute(
    model: VAEModule, rows: AbstractRows, *, draws: int = DRAWS, seed: int = 0, from_prior: float = FROM_PRIOR
) -> Completed:
    """Fills each missing cell by one value: of numbers `E[x | seen]`, of levels the likeliest.

    `sum_s w_s E[x | z_s] / sum_s w_s`, w as in `Weigher`; of levels their probabilities are averaged so. The same for
    the same seed. Raises ValueError as `Weigher` does.
    """
    weigher, noise = Weigher(model, rows, draws, from_prior), Source.like(model, seed)
    parts, sizes = [], []
    with evaluating(model):
        for batch in weigher.batches:
            mean = Mean()
            for drawn in weigher(batch, noise):
                mean.add(drawn.log_weight, drawn.px.moments)
            parts.append(_filled(batch, drawn.px.guess(mean.value).unsqueeze(0))[0].cpu())
            sizes.append(mean.effective.cpu())
    return Completed(torch.cat(parts), torch.cat(sizes), weigher.draws)


@public
@torch.no_grad()
def complete(
    model: VAEModule,
    rows: AbstractRows,
    n: int = 1,
    *,
    draws: int = DRAWS,
    seed: int = 0,
    from_prior: float = FROM_PRIOR,
) -> Completed:
    """n completions of each row, drawn from p(missing | seen): z by importance resampling, then x from p(x | z).

    Nothing is rejected. Few effective draws mean that the completions of a row share few z. x: (n, N, *X).
    """
    if n < 1:
        raise ValueError(f"n={n}: expected at least one completion")
    weigher, noise = Weigher(model, rows, draws, from_prior, per_draw=n), Source.like(model, seed)
    parts, sizes = [], []
    with evaluating(model):
        for batch in weigher.batches:
            mean, kept = Mean(), Resampled(n, noise)
            for drawn in weigher(batch, noise):
                log_weight = drawn.log_weight
                kept.add(log_weight, drawn.z)
                mean.add(log_weight, ())
            each = [_drawn(model, batch, z, noise) for z in kept.z.unbind(0)]
            parts.append(_filled(batch, torch.stack(each)).cpu())
            sizes.append(mean.effective.cpu())
    return Completed(torch.cat(parts, 1), torch.cat(sizes), weigher.draws)


@public
@torch.no_grad()
def sample_given(
    model: VAEModule,
    row: AbstractRows,
    n: int,
    *,
    draws: int = 4096,
    seed: int = 0,
    from_prior: float = FROM_PRIOR,
    mean: bool = False,
) -> Completed:
    """n completions of a single row, which share its `draws` draws of z: (n, *X). mean: of p(x | z), not a draw."""
    weigher, noise = Weigher(model, row, draws, from_prior), Source.like(model, seed)
    batch = next(iter(weigher.batches))
    with evaluating(model):
        weights, codes, sized = [], [], Mean()
        for drawn in weigher(batch, noise):
            weights.append(drawn.log_weight[:, 0])
            codes.append(drawn.z)
            sized.add(drawn.log_weight, ())
        chances, z, parts = torch.cat(weights).softmax(0), torch.cat(codes), []
        ends = chances.cumsum(0)
        for start in range(0, n, weigher.rows * weigher.at_once):
            count = min(n - start, weigher.rows * weigher.at_once)
            places = torch.searchsorted(ends, noise.rand((count,)).double()).clamp(max=len(ends) - 1)
            alike = Batch(*(None if t is None else t.expand(count, *t.shape[1:]) for t in _known(batch)))
            parts.append(
                _filled(alike, _drawn(model, alike, z[places], noise, mean, missing=False).unsqueeze(0))[0].cpu()
            )
    return Completed(torch.cat(parts), sized.effective.cpu(), weigher.draws)


def _known(batch: Batch) -> tuple[Tensor, Tensor | None, Tensor | None]:
    return batch.x, batch.mask, batch.context


def _drawn(
    model: VAEModule, batch: Batch, z: Tensor, noise: Source, mean: bool = False, missing: bool = True
) -> Tensor:
    px = model.decode(z, batch.context)
    return (
        px.mean if mean else px.draw_missing(ForwardContext.of(noise)) if missing else px.draw(ForwardContext.of(noise))
    )


def _filled(batch: Batch, x: Tensor) -> Tensor:
    """x: (n, B, *X) -> the same, with the cells that were seen as they were."""
    return batch.x.expand_as(x) if batch.mask is None else torch.where(batch.mask > 0, batch.x, x)
