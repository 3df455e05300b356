"""A start from factor analysis: the best linear model of rows with gaps, in closed steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..core import Batch, ForwardContext, Source
from ..distributions import sum_cells
from ..model import VAEModule, join
from ..networks import FactorEncoder, SkipMLP

STEPS, FITTING = 60, 300
"""Of expectation-maximisation, and of the gradient that brings the linear decoder to the codes."""
RATE = 0.05
"""The first learning rate of that gradient; it falls as half a cosine."""
LEAST, RIDGE = 1e-2, 10.0
"""Share of the variance that is noise at least, in every direction of a column; rows' worth of a prior N(0, noise) on
each loading."""


@dataclass(frozen=True)
class Block:
    """Columns of as many features each: `places` (C, w) are theirs among all features, `columns` (C,) theirs among all
    columns, and `noise` (C, w, w) covariances of what factors leave of them."""

    columns: Tensor
    places: Tensor
    noise: Tensor


@dataclass(frozen=True)
class Factors:
    """`x = W z + mu + noise`, z ~ N(0, I): loadings (F, d), mean (F,), and the noise, of every column its own."""

    loadings: Tensor
    mean: Tensor
    blocks: list[Block]

    def whitened(self) -> Tensor:
        """(F, d): `L_c^-1 W_c` of every column c, `L_c L_c^T` its noise's covariance."""
        return self._solved(lambda loadings, root: torch.linalg.solve_triangular(root, loadings, upper=False))

    def told(self) -> Tensor:
        """(F, d): `Psi_c^-1 W_c` of every column c, Psi_c its noise's covariance."""
        return self._solved(torch.cholesky_solve)

    def _solved(self, solve: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        made = torch.empty_like(self.loadings)
        for block in self.blocks:
            made[block.places] = solve(self.loadings[block.places], torch.linalg.cholesky(block.noise))
        return made


def factor_analysis(
    x: Tensor,
    mask: Tensor,
    size: int,
    owners: Sequence[int] | None = None,
    steps: int = STEPS,
    ridge: float = RIDGE,
) -> Factors:
    """Factors of rows (N, F) with gaps where mask is 0, by expectation-maximisation (Rubin & Thayer 1982; of seen cells
    only, as in Little & Rubin 2019, chapter 11).

    owners: the number of each feature's column. Features of a column are seen together, and their noise is free within
    it, so that factors are what columns have in common and not what binds the levels of one (Browne 1979, "The
    maximum-likelihood solution in inter-battery factor analysis", for two columns); None: a column per feature.

    E: `q(z | x)` of each row from its seen cells. M: of each column the regression on z over the rows that have it,
    with `ridge` rows' worth of shrinkage, and what is left as its noise, in every direction `LEAST` of the variance.
    """
    x, mask = torch.where(mask > 0, x, 0.0).double(), mask.double()
    count = mask.sum(0).clamp(min=1)
    mean = x.sum(0) / count
    variance = (((x - mean).square() * mask).sum(0) / count).clamp(min=1e-6)
    generator, eye = torch.Generator().manual_seed(0), torch.eye(size, dtype=x.dtype, device=x.device)
    start = torch.randn(x.shape[1], size, generator=generator, dtype=torch.float64).to(x.device)
    blocks = _blocks(range(x.shape[1]) if owners is None else owners, variance)
    seen = torch.empty(len(x), sum(len(b.columns) for b in blocks), dtype=x.dtype, device=x.device)
    for b in blocks:
        seen[:, b.columns] = mask[:, b.places[:, 0]]
    squares_of_x = [torch.einsum("ncv,ncw->cvw", x[:, b.places], x[:, b.places]) for b in blocks]
    shrink = torch.block_diag(ridge * eye, torch.zeros(1, 1).to(eye)) + 1e-9 * torch.eye(size + 1).to(eye)
    found = Factors(0.3 * variance.sqrt().unsqueeze(1) * start, mean, blocks)
    for _ in range(steps):
        told, squares = found.told(), torch.empty(seen.shape[1], size, size).to(x)
        for b in found.blocks:
            squares[b.columns] = found.loadings[b.places].mT @ told[b.places]
        covariance = torch.linalg.inv((seen @ squares.flatten(1)).unflatten(1, (size, size)) + eye)
        z = (covariance @ (((x - found.mean) * mask) @ told).unsqueeze(2)).squeeze(2)
        known = torch.cat([z, torch.ones_like(z[:, :1])], 1)
        second = known.unsqueeze(2) * known.unsqueeze(1)
        second[:, :size, :size] += covariance
        grams, crosses = (seen.T @ second.flatten(1)).unflatten(1, (size + 1, size + 1)), x.T @ known
        fit, blocks = torch.empty_like(crosses), []
        for b, square in zip(found.blocks, squares_of_x):
            gram, cross = grams[b.columns], crosses[b.places]
            own = fit[b.places] = torch.linalg.solve(gram + shrink, cross.mT).mT
            both = own @ cross.mT
            left = (square - both - both.mT + own @ gram @ own.mT) / count[b.places].unsqueeze(2)
            blocks.append(replace(b, noise=_at_least(LEAST, left, variance[b.places])))
        found = Factors(fit[:, :size], fit[:, size], blocks)
    return found


def _at_least(share: float, covariance: Tensor, variance: Tensor) -> Tensor:
    """Covariances (C, w, w) that have in every direction this share of the variances (C, w) or more."""
    scale = variance.sqrt().unsqueeze(2)
    values, vectors = torch.linalg.eigh(covariance / (scale * scale.mT))
    return scale * scale.mT * ((vectors * values.clamp(min=share).unsqueeze(1)) @ vectors.mT)


def _blocks(owners: Sequence[int], variance: Tensor) -> list[Block]:
    """Columns of equal width together, each with independent noise."""
    places: dict[int, list[int]] = {}
    for place, owner in enumerate(owners):
        places.setdefault(owner, []).append(place)
    by_width: dict[int, list[tuple[int, list[int]]]] = {}
    for column, own in enumerate(places.values()):
        by_width.setdefault(len(own), []).append((column, own))
    blocks = []
    for same in by_width.values():
        columns, own = (torch.tensor(told, device=variance.device) for told in zip(*same))
        blocks.append(Block(columns, own, variance[own].diag_embed()))
    return blocks


def start_from_factors(model: VAEModule, batch: Batch, seed: int) -> None:
    """Sets a `FactorEncoder` to the factor analysis of what it reads of these rows, and then brings the linear part of
    a `SkipMLP`, with what the likelihood learns, to the codes that it gives; other networks are left as they are."""
    encoder, decoder = model.encoder, model.decoder
    if not isinstance(encoder, FactorEncoder):
        return
    seen = torch.ones_like(batch.x) if batch.mask is None else batch.mask
    features = model.likelihood.features(batch.x, batch.mask).flatten(1)
    own = len(encoder.owners)  # what is after them is context
    found = factor_analysis(features, seen.flatten(1)[:, encoder.owner[:own]], encoder.size, encoder.owners)
    told = found.told()
    with torch.no_grad():
        for parameter, values in (
            (encoder.factors, found.whitened()),
            (encoder.means, told),
            (encoder.shifts, -found.mean.unsqueeze(1) * told),
        ):
            parameter.zero_()
            parameter[:own] = values.to(parameter.dtype)
    if isinstance(decoder, SkipMLP):
        _fit_linear(model, batch, seed)


def _fit_linear(model: VAEModule, batch: Batch, seed: int) -> None:
    learned = [*model.decoder.linear.parameters(), *model.likelihood.parameters()]
    with torch.no_grad():
        for p in model.decoder.linear.parameters():
            p.zero_()
    move = _adam(learned)
    scope, context = ForwardContext.of(Source.like(model, seed)), model.read(batch.context)
    with torch.no_grad():
        q = model.infer(replace(batch, weight=None), Source.like(model, seed)).q
    for step in range(FITTING):
        parameters = model.decoder.linear(join(q.draw(scope), context))
        px = model.likelihood(parameters.reshape(len(parameters), *model.likelihood.in_shape))
        loss = -sum_cells(px.log_cells(batch.x, batch.mask)).mean()
        rate = 0.5 * RATE * (1 + math.cos(math.pi * step / FITTING))
        move(torch.autograd.grad(loss, learned, allow_unused=True), rate)


def _adam(parameters: list[Tensor]) -> Callable[[Sequence[Tensor | None], float], None]:
    """A step of Adam from gradients and a learning rate; a parameter without a gradient stays.

    The first optimiser of `torch.optim` in a process imports the compiler of torch, which takes seconds.
    """
    first, second = ([torch.zeros_like(p) for p in parameters] for _ in range(2))
    counts = [torch.zeros((), device=p.device) for p in parameters]

    @torch.no_grad()
    def move(gradients: Sequence[Tensor | None], rate: float) -> None:
        moved = [i for i, g in enumerate(gradients) if g is not None]
        p, m, v, steps = ([tensors[i] for i in moved] for tensors in (parameters, first, second, counts))
        torch._foreach_add_(steps, 1)
        # fmt: off
        torch._fused_adam_(
            p, [gradients[i].contiguous() for i in moved], m, v, [], steps, lr=rate, beta1=0.9, beta2=0.999,
            weight_decay=0.0, eps=1e-8, amsgrad=False, maximize=False,
        )
        # fmt: on

    return move
