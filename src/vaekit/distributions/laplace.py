"""The Laplace distribution."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..core import ForwardContext, record
from .base import LOG_2PI, Distribution, closed_form, per_row
from .normal import Normal


@record
class Laplace(Distribution):
    """`exp(-|x - loc| / scale) / (2 scale)` in every cell."""

    loc: Tensor
    scale: Tensor

    def log_prob(self, x: Tensor) -> Tensor:
        return -(x - self.loc).abs() / self.scale - self.scale.log() - math.log(2)

    def draw(self, scope: ForwardContext, rows: int | None = None) -> Tensor:
        u = scope.rand(per_row(self.loc.shape, rows)) - 0.5
        outside = (1 - 2 * u.abs()).clamp(min=torch.finfo(u.dtype).tiny)
        return self.loc - self.scale * u.sign() * outside.log()

    @property
    def mean(self) -> Tensor:
        return self.loc

    mode = mean

    def to_torch(self) -> torch.distributions.Distribution:
        """The same as a `torch.distributions` object, one event per row."""
        return torch.distributions.Independent(torch.distributions.Laplace(self.loc, self.scale), self.loc.dim() - 1)


@closed_form(Laplace, Laplace)
def _(q: Laplace, p: Laplace) -> Tensor:
    shift, ratio = (q.loc - p.loc).abs(), q.scale / p.scale
    return (ratio * (-shift / q.scale).exp() + shift / p.scale - ratio.log() - 1).flatten(1)


@closed_form(Laplace, Normal)
def _(q: Laplace, p: Normal) -> Tensor:
    second = (2 * q.scale.square() + (q.loc - p.loc).square()) / p.scale.square()
    return (0.5 * (second + LOG_2PI) + p.scale.log() - q.scale.log() - math.log(2) - 1).flatten(1)
