"""Normalising flows: a base distribution pushed through invertible networks."""

from __future__ import annotations

import torch
from torch import Tensor

from ..core import Bound, Scope, record
from .base import Distribution, sum_cells
from .normal import Normal


@record
class CouplingFlow(Distribution):
    """A normal pushed through affine coupling layers (Dinh et al. 2017, arXiv:1605.08803); one cell per row.

    Each layer keeps half of the dimensions, by turns the even and the odd, and moves the others:
    `z' = z exp(s) + t` with (s, t) = layer(kept half, context). log q(z) = log base(f^-1(z)) - sum s, exact in
    both directions. base: (B, D). context: (B, C). A layer gives 2 D numbers; `s` is kept within (-2, 2).
    """

    base: Normal
    context: Tensor
    layers: tuple[Bound, ...]

    def _move(self, index: int, z: Tensor) -> tuple[Tensor, Tensor]:
        moved = (torch.arange(z.shape[-1], device=z.device) % 2 == index % 2).to(z.dtype)
        kept = z * (1 - moved)
        batch = torch.broadcast_shapes(z.shape[:-1], self.context.shape[:-1])
        read = torch.cat([kept.expand(*batch, -1), self.context.expand(*batch, -1)], -1)
        s, t = self.layers[index](read).chunk(2, -1)
        return moved * 2 * torch.tanh(s / 2), moved * t

    def draw(self, scope: Scope, rows: int | None = None) -> Tensor:
        z = self.base.draw(scope, rows)
        for index in range(len(self.layers)):
            s, t = self._move(index, z)
            z = z * s.exp() + t
        return z

    def log_prob(self, x: Tensor) -> Tensor:
        log_det = torch.zeros_like(x[..., 0])
        for index in reversed(range(len(self.layers))):
            s, t = self._move(index, x)
            x, log_det = (x - t) * (-s).exp(), log_det + s.sum(-1)
        cells = self.base.log_prob(x)
        return sum_cells(cells, cells.dim() - 1) - log_det

    @property
    def mean(self) -> Tensor:
        """The image of the base's mean: a deterministic representative, not the expectation."""
        z = self.base.loc
        for index in range(len(self.layers)):
            s, t = self._move(index, z)
            z = z * s.exp() + t
        return z

    mode = mean
