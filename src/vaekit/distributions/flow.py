"""Normalising flows: a base distribution pushed through invertible networks."""

from __future__ import annotations

import torch
from torch import Tensor

from ..core import ForwardContext, FunctionalModule, record
from .base import Distribution, sum_cells
from .elementwise import Affine
from .normal import Normal


@record
class CouplingFlow(Distribution):
    """A normal pushed through affine coupling layers (Dinh et al. 2017, arXiv:1605.08803); one cell per row.

    Each layer keeps half of the dimensions, by turns the even and the odd, and moves the others:
    `z' = z exp(s) + t` with (s, t) = layer(kept half, context), both bounded as `Affine` has them. log q(z) =
    log base(f^-1(z)) - sum s, exact in both directions. base: (B, D). context: (B, C). A layer gives 2 D numbers.
    """

    base: Normal
    context: Tensor
    layers: tuple[FunctionalModule, ...]

    def _layer(self, index: int, z: Tensor) -> tuple[Tensor, Affine]:
        """The numbers of a layer, zero (the identity) for the dimensions that it keeps, and the map that reads them."""
        moved = (torch.arange(z.shape[-1], device=z.device) % 2 == index % 2).to(z.dtype)
        kept = z * (1 - moved)
        batch = torch.broadcast_shapes(z.shape[:-1], self.context.shape[:-1])
        read = torch.cat([kept.expand(*batch, -1), self.context.expand(*batch, -1)], -1)
        numbers = self.layers[index](read) * moved.repeat(2)
        return numbers, Affine.of_layers((len(self.layers) + 1) // 2)

    def draw(self, scope: ForwardContext, rows: int | None = None) -> Tensor:
        return self.draw_with_log_density(scope, rows)[0]

    def draw_with_log_density(self, scope: ForwardContext, rows: int | None = None) -> tuple[Tensor, Tensor]:
        z = self.base.draw(scope, rows)
        log_q = sum_cells(self.base.log_prob(z), z.dim() - 1)
        for index in range(len(self.layers)):
            numbers, affine = self._layer(index, z)
            z, s = affine.forward(z, numbers)
            log_q = log_q - s.sum(-1)
        return z, log_q

    def log_prob(self, x: Tensor) -> Tensor:
        log_det = torch.zeros_like(x[..., 0])
        for index in reversed(range(len(self.layers))):
            numbers, affine = self._layer(index, x)
            x, s = affine.inverse(x, numbers)
            log_det = log_det + s.sum(-1)
        cells = self.base.log_prob(x)
        return sum_cells(cells, cells.dim() - 1) - log_det

    @property
    def mean(self) -> Tensor:
        """The image of the base's mean: a deterministic representative, not the expectation."""
        z = self.base.loc
        for index in range(len(self.layers)):
            numbers, affine = self._layer(index, z)
            z = affine.forward(z, numbers)[0]
        return z

    mode = mean
