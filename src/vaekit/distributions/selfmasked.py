"""Normal cells that are missing, or not, by what they hold."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from ..core import ForwardContext, record
from .base import Distribution
from .mixture import gumbel
from .normal import Normal

NODES = 40
"""Of the quadrature over what a missing cell may hold."""
CANDIDATES = 64
"""Draws that one of a missing cell is chosen from."""


@lru_cache(maxsize=8)
def hermite(device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Nodes and log weights of `E f(e)`, e ~ N(0, 1)."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(NODES)
    log_weights = np.log(weights) - math.log(math.sqrt(2 * math.pi))
    return tuple(torch.tensor(t, device=device, dtype=dtype) for t in (nodes, log_weights))


@record
class SelfMaskedNormal(Distribution):
    """`x ~ N(loc, scale^2)` in every cell, seen (s = 1) with a chance of `sigmoid(offset + slope x)`.

    `log_prob(x)` is `log p(x, s = 1)`; a cell that is missing counts, too: `log_cells` gives
    `log p(s = 0) = log E sigmoid(-offset - slope x)` for it, by Gauss-Hermite quadrature. What a missing cell is
    guessed by is `E[x | s = 0]`, and `draw_missing` draws from p(x | s = 0); `draw`, `mean` and `mode` are those of x
    whether it is seen or not. Ipsen et al. 2021, arXiv:2006.12871, self-masking.
    """

    loc: Tensor
    scale: Tensor
    offset: Tensor
    slope: Tensor

    @property
    def _x(self) -> Normal:
        return Normal(self.loc, self.scale)

    def log_prob(self, x: Tensor) -> Tensor:
        return self._x.log_prob(x) + logsigmoid(self.offset + self.slope * x)

    def _missing(self) -> tuple[Tensor, Tensor]:
        """The nodes, and the log of their weights times p(s = 0 | x), (B, *cells, nodes)."""
        nodes, log_weights = hermite(self.loc.device, self.loc.dtype)
        x = self.loc.unsqueeze(-1) + self.scale.unsqueeze(-1) * nodes
        return x, log_weights + logsigmoid(-self.offset.unsqueeze(-1) - self.slope.unsqueeze(-1) * x)

    @property
    def log_missing(self) -> Tensor:
        """(B, *cells): log p(s = 0)."""
        return self._missing()[1].logsumexp(-1)

    def log_cells(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return self.log_prob(x) if mask is None else torch.where(mask > 0, self.log_prob(x), self.log_missing)

    def draw(self, scope: ForwardContext, rows: int | None = None) -> Tensor:
        return self._x.draw(scope, rows)

    def draw_missing(self, scope: ForwardContext) -> Tensor:
        """One of 64 draws of x, with a chance in proportion to p(s = 0 | x)."""
        x = self.loc.unsqueeze(-1) + self.scale.unsqueeze(-1) * scope.randn((*self.loc.shape, CANDIDATES))
        keys = logsigmoid(-self.offset.unsqueeze(-1) - self.slope.unsqueeze(-1) * x) + gumbel(scope.rand(x.shape))
        return x.gather(-1, keys.argmax(-1, keepdim=True)).squeeze(-1)

    @property
    def mean(self) -> Tensor:
        return self.loc

    mode = mean

    @property
    def moments(self) -> Tensor:
        """(B, *cells): `E[x | s = 0]`."""
        x, log_weights = self._missing()
        return (log_weights.softmax(-1) * x).sum(-1)
