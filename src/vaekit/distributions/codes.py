"""Grids of whole numbers, each given those before it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..core import ForwardContext, FunctionalModule, record, static
from .base import Distribution
from .levels import Categorical


@record
class CodeGrid(Distribution):
    """`prod_k p(i_k | i_<k)` over grids of indices, row by row from the first; x: (B, *grid), one cell per index.

    network: one-hot indices (B, *grid, codes) to logits (B, *grid, codes), those of an index reading the indices before
    it only. log_prob takes one pass of the network, a draw as many as the grid has places.
    """

    network: FunctionalModule
    grid: tuple[int, ...] = static()
    codes: int = static()

    def _logits(self, x: Tensor) -> Tensor:
        like = next(iter(self.network.parameters.values()))
        return self.network((x.unsqueeze(-1) == torch.arange(self.codes, device=x.device)).to(like.dtype))

    def log_prob(self, x: Tensor) -> Tensor:
        return Categorical(self._logits(x)).log_prob(x)

    def draw(self, scope: ForwardContext, rows: int | None = None) -> Tensor:
        """(rows, *grid), whole numbers; a place takes the code at which the sum of its probabilities passes u."""
        u = scope.rand((rows or 1, math.prod(self.grid)))
        place = torch.arange(u.shape[1], device=u.device)
        x = torch.zeros_like(u, dtype=torch.int64)
        for k in range(u.shape[1]):
            logits = self._logits(x.unflatten(1, self.grid)).flatten(1, -2)[:, k]
            under = logits.softmax(-1).cumsum(-1) <= u[:, k : k + 1]
            x = torch.where(place == k, under.sum(-1, keepdim=True).clamp(max=self.codes - 1), x)
        return x.unflatten(1, self.grid)
