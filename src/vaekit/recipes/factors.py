"""A start from factor analysis: the best linear model of rows with gaps, in closed steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..core import Batch, Scope, Source
from ..distributions import sum_cells
from ..model import VAEModule, join
from ..networks import FactorEncoder, SkipMLP

STEPS, FITTING = 60, 300
"""Of expectation-maximisation, and of the gradient that brings the linear decoder to the codes."""
LEAST, RIDGE = 1e-2, 10.0
"""Share of a feature's variance that is noise at least; rows' worth of a prior N(0, noise) on each loading."""


@dataclass(frozen=True)
class Factors:
    """`x = W z + mu + noise`, z ~ N(0, I): loadings (F, d), mean (F,), noise (F,), its variances."""

    loadings: Tensor
    mean: Tensor
    noise: Tensor


def factor_analysis(x: Tensor, mask: Tensor, size: int, steps: int = STEPS, ridge: float = RIDGE) -> Factors:
    """Factors of rows (N, F) with gaps where mask is 0, by expectation-maximisation (Rubin & Thayer 1982; of seen cells
    only, as in Little & Rubin 2019, chapter 11).

    E: `q(z | x)` of each row from its seen cells. M: of each feature the regression on z over the rows that have it,
    with `ridge` rows' worth of shrinkage, and what is left as its noise.
    """
    x, mask = torch.where(mask > 0, x, 0.0).double(), mask.double()
    count = mask.sum(0).clamp(min=1)
    mean = x.sum(0) / count
    variance = ((x - mean).square() * mask).sum(0) / count
    least = LEAST * variance.clamp(min=1e-6)
    noise, generator = variance.clamp(min=1e-6).clone(), torch.Generator().manual_seed(0)
    start = torch.randn(x.shape[1], size, generator=generator, dtype=torch.float64).to(x.device)
    loadings, eye = 0.3 * variance.sqrt().unsqueeze(1) * start, torch.eye(size, dtype=x.dtype, device=x.device)
    shrink = ridge * torch.block_diag(eye, torch.zeros(1, 1, dtype=x.dtype, device=x.device))
    for _ in range(steps):
        scaled = loadings / noise.unsqueeze(1)
        squares = (loadings.unsqueeze(2) * scaled.unsqueeze(1)).flatten(1)
        covariance = torch.linalg.inv((mask @ squares).unflatten(1, (size, size)) + eye)
        z = (covariance @ (((x - mean) * mask) @ scaled).unsqueeze(2)).squeeze(2)
        known = torch.cat([z, torch.ones_like(z[:, :1])], 1)
        second = known.unsqueeze(2) * known.unsqueeze(1)
        second[:, :size, :size] += covariance
        gram = (mask.T @ second.flatten(1)).unflatten(1, (size + 1, size + 1))
        cross = x.T @ known
        fit = torch.linalg.solve(gram + shrink + 1e-9 * torch.eye(size + 1).to(gram), cross.unsqueeze(2)).squeeze(2)
        left = x.square().sum(0) - 2 * (fit * cross).sum(1) + torch.einsum("fi,fij,fj->f", fit, gram, fit)
        noise = torch.maximum(left / count, least)
        loadings, mean = fit[:, :size], fit[:, size]
    return Factors(loadings, mean, noise)


def start_from_factors(model: VAEModule, batch: Batch, seed: int) -> None:
    """Sets a `FactorEncoder` to the factor analysis of what it reads of these rows, and then brings the linear part of
    a `SkipMLP`, with what the likelihood learns, to the codes that it gives; other networks are left as they are."""
    encoder, decoder = model.encoder, model.decoder
    if not isinstance(encoder, FactorEncoder):
        return
    seen = torch.ones_like(batch.x) if batch.mask is None else batch.mask
    features = model.likelihood.features(batch.x, batch.mask).flatten(1)
    mask = seen.flatten(1)[:, encoder.owner[: len(encoder.owners)]]  # what is after them is context
    own = _own(features, mask, encoder.owners)
    factors = factor_analysis(features[:, own], mask[:, own], encoder.size)
    with torch.no_grad():
        noise = factors.noise.unsqueeze(1)
        for parameter, values in (
            (encoder.factors, factors.loadings / noise.sqrt()),
            (encoder.means, factors.loadings / noise),
            (encoder.shifts, -factors.mean.unsqueeze(1) * factors.loadings / noise),
        ):
            parameter.zero_()
            parameter[own] = values.to(parameter.dtype)
    if isinstance(decoder, SkipMLP):
        _fit_linear(model, batch, seed)


def _own(features: Tensor, mask: Tensor, owners: Sequence[int]) -> Tensor:
    """The places of the features that say something of their own: not those of a level beside its score among the
    others, which would take up the factors that columns have in common."""
    first: dict[int, int] = {}
    places = []
    for place, cell in enumerate(owners):
        leading = first.setdefault(cell, place)
        if place == leading or len(features[mask[:, leading] > 0, leading].unique()) <= 2:
            places.append(place)
    return torch.tensor(places, device=features.device)


def _fit_linear(model: VAEModule, batch: Batch, seed: int) -> None:
    learned = [*model.decoder.linear.parameters(), *model.likelihood.parameters()]
    with torch.no_grad():
        for p in model.decoder.linear.parameters():
            p.zero_()
    optimiser = torch.optim.Adam(learned, lr=0.05)
    schedule: Callable = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, FITTING)
    scope, context = Scope.of(Source.like(model, seed)), model.read(batch.context)
    with torch.no_grad():
        q = model.infer(replace(batch, weight=None), Source.like(model, seed)).q
    for _ in range(FITTING):
        parameters = model.decoder.linear(join(q.draw(scope), context))
        px = model.likelihood(parameters.reshape(len(parameters), *model.likelihood.in_shape))
        loss = -sum_cells(px.log_cells(batch.x, batch.mask)).mean()
        for p, g in zip(learned, torch.autograd.grad(loss, learned, allow_unused=True)):
            p.grad = g
        optimiser.step()
        schedule.step()
    for p in learned:
        p.grad = None
