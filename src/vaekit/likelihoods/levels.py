"""Likelihoods of whole numbers 0..levels-1: 8-bit pixels, categories."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .. import distributions
from .base import Likelihood, masked
from .moments import moments, stacked

LOWEST_LOG_SCALE = -7.0
"""For 256 levels and fewer; for more levels it is as much of a level."""
NARROWEST = 0.02
"""Scale that a cell starts from at least, on levels coded to [-1, 1]: a cell of one level may have others elsewhere."""


class Levels(Likelihood):
    """What the likelihoods of levels share: the encoder reads `x / (levels - 1)`."""

    support = "levels"
    fix = "pass whole numbers below levels, or build it with levels=(the highest value + 1)"

    def __init__(self, levels: int, shape: tuple[int, ...] | None = None):
        super().__init__(shape)
        self.levels = levels

    def features(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return masked(x / (self.levels - 1), mask)

    def check(self, x: Any) -> None:
        top = self.levels - 1
        self._refuse_outside(x, 0, top, f"whole numbers 0..{top}", whole=True)


class Categorical(Levels):
    """Each level with a probability of its own: the decoder gives `levels` logits per cell.

    x: the index of the level. one_hot: whether the encoder reads a number per level, stacked as the logits are, instead
    of one; of a column of a table (see `Mixed`) it always does.
    """

    def __init__(self, levels: int = 256, one_hot: bool = False, shape: tuple[int, ...] | None = None):
        super().__init__(levels, shape)
        self.one_hot = one_hot

    @property
    def per_cell(self) -> int:
        return self.levels

    def distribution(self, parameters: Tensor) -> distributions.Categorical:
        return distributions.Categorical(parameters.unflatten(1, (self.levels, -1)).movedim(1, -1))

    @property
    def features_shape(self) -> tuple[int, ...]:
        return self.in_shape if self.one_hot else super().features_shape

    def features(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        if not self.one_hot:
            return super().features(x, mask)
        level = torch.arange(self.levels, device=x.device).reshape(-1, *[1] * (x.dim() - 1))
        one_hot = (x.unsqueeze(1) == level).to(x.dtype)
        return masked(one_hot, None if mask is None else mask.unsqueeze(1)).flatten(1, 2)

    @property
    def column_features_shape(self) -> tuple[int, ...]:
        return self.in_shape

    @property
    def column_owners(self) -> tuple[int, ...]:
        return tuple(i // self.levels for i in range(math.prod(self.in_shape)))

    def column_features(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        one_hot = (x.unsqueeze(-1) == torch.arange(self.levels, device=x.device)).to(x.dtype)
        return masked(one_hot, None if mask is None else mask.unsqueeze(-1)).flatten(1)


class DiscretisedLogisticMixture(Levels):
    """Each cell a mixture of logistics cut into levels: neighbouring levels have similar probabilities.

    The decoder gives logits, means (on levels coded to [-1, 1]) and log scales, `components` of each per
    cell; a softplus keeps log scales above -7, or less for more than 256 levels. Salimans et al. 2017,
    arXiv:1701.05517, without its dependence of colours.
    """

    def __init__(self, components: int = 10, levels: int = 256, shape: tuple[int, ...] | None = None):
        super().__init__(levels, shape)
        self.components = components

    @property
    def per_cell(self) -> int:
        return 3 * self.components

    def start(self, x: Tensor, mask: Tensor | None = None, shared: Sequence[int] = ()) -> Tensor:
        """Start every component at the mean and the standard deviation of its cell."""
        mean, variance, _ = moments(2 * x / (self.levels - 1) - 1, mask, shared)
        wanted = (variance.sqrt() * math.sqrt(3) / math.pi).clamp(min=NARROWEST).log()  # of a logistic
        log_scale = self._lowest + torch.expm1(wanted - self._lowest).log()
        each = (torch.zeros_like(mean), mean, log_scale)
        return stacked(*(own for own in each for _ in range(self.components)))

    @property
    def _lowest(self) -> float:
        return LOWEST_LOG_SCALE - max(0.0, math.log((self.levels - 1) / 255))

    def distribution(self, parameters: Tensor) -> distributions.DiscretisedLogisticMixture:
        split = parameters.unflatten(1, (3, self.components, -1)).movedim(2, -1)
        logits, loc, log_scale = split.unbind(1)
        log_scale = self._lowest + F.softplus(log_scale - self._lowest)
        return distributions.DiscretisedLogisticMixture(logits, loc, log_scale, self.levels)
