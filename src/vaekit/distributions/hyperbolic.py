"""Distributions on the Poincaré ball, the points of R^d with c |z|^2 < 1, of curvature -c.

All densities are taken with respect to the Lebesgue measure of the coordinates z, in which a uniform prior is one, too;
one with respect to the ball's own volume is less by d log lambda(z), lambda(z) = 2 / (1 - c |z|^2).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..core import ForwardContext, record, static
from .base import LOG_2PI, Distribution, per_row
from .spherical import unit

FARTHEST = 8.0
"""How far from the origin means lie at most, in units of 1 / sqrt(c): coordinates near the edge have no digits left."""


def norm(x: Tensor) -> Tensor:
    """(..., 1), above 0, so that its gradient is finite."""
    return (x.square().sum(-1, keepdim=True) + 1e-30).sqrt()


def from_tangent(v: Tensor, c: float) -> Tensor:
    """The point that the geodesic from the origin along v reaches after |v|, lengths being those of the ball."""
    s = math.sqrt(c) * norm(v)
    return torch.tanh(0.5 * s) / s * v


def to_tangent(z: Tensor, c: float) -> Tensor:
    """The inverse of `from_tangent`."""
    s = (math.sqrt(c) * norm(z)).clamp(max=1 - torch.finfo(z.dtype).eps)
    return 2 * torch.atanh(s) / s * z


def gap(z: Tensor, c: float) -> Tensor:
    """(..., 1): 1 - c |z|^2, above 0."""
    return (1 - c * z.square().sum(-1, keepdim=True)).clamp(min=torch.finfo(z.dtype).eps)


def log_sinh_ratio(s: Tensor) -> Tensor:
    """log(sinh(s) / s), s >= 0."""
    near = s < 0.1
    square, far = torch.where(near, s, 0.0).square(), torch.where(near, 1.0, s)
    series = square * (1 / 6 - square * (1 / 180 - square * (1 / 2835)))
    return torch.where(near, series, far + torch.log(-torch.expm1(-2 * far) / (2 * far)))


@record
class WrappedNormal(Distribution):
    """`z = exp_mu(v / lambda(mu))`, v ~ N(0, diag scale^2), on the Poincaré ball; one cell per row.

    Nagano et al. 2019, arXiv:1902.02992; in the ball: Mathieu et al. 2019, arXiv:1901.06033, section 3.2. With y the v
    that leads to z and s = sqrt(c) |y|: `log p(z) = log N(y; 0, scale^2) - (d - 1) log(sinh(s) / s) + d log lambda(z)`.
    loc: (B, D) in the ball. c: minus its curvature.
    """

    loc: Tensor
    scale: Tensor
    c: float = static()

    def log_prob(self, x: Tensor) -> Tensor:
        here, there = gap(self.loc, self.c), gap(x, self.c)
        way = x - self.loc
        square = way.square().sum(-1, keepdim=True)
        aim = here * way - self.c * self.loc * square  # along the geodesic from loc to x
        distance = 2 / math.sqrt(self.c) * torch.asinh((self.c * (square + 1e-30) / (here * there)).sqrt())
        return self._log_density(aim / norm(aim) * distance, there.squeeze(-1))

    def _log_density(self, y: Tensor, there: Tensor) -> Tensor:
        size = self.loc.shape[-1]
        flat = (-0.5 * (y / self.scale).square() - self.scale.log() - 0.5 * LOG_2PI).sum(-1)
        bent = log_sinh_ratio(math.sqrt(self.c) * norm(y).squeeze(-1))
        return flat - (size - 1) * bent + size * (math.log(2) - there.log())

    def draw(self, scope: ForwardContext, rows: int | None = None) -> Tensor:
        return self.draw_with_log_density(scope, rows)[0]

    def draw_with_log_density(self, scope: ForwardContext, rows: int | None = None) -> tuple[Tensor, Tensor]:
        y = self.scale * scope.randn(per_row(self.loc.shape, rows))
        w, c = from_tangent(y, self.c), self.c
        along = (self.loc * w).sum(-1, keepdim=True)
        squares = self.loc.square().sum(-1, keepdim=True), w.square().sum(-1, keepdim=True)
        over = 1 + 2 * c * along + c**2 * squares[0] * squares[1]
        z = ((1 + 2 * c * along + c * squares[1]) * self.loc + (1 - c * squares[0]) * w) / over  # Möbius addition
        half = 0.5 * math.sqrt(c) * norm(y)
        there = (gap(self.loc, c) / torch.cosh(half.clamp(max=40)).square() / over).squeeze(-1)
        return z, self._log_density(y, there)

    @property
    def mean(self) -> Tensor:
        """loc: the Fréchet mean, not the expectation of the coordinates."""
        return self.loc

    mode = mean


@record
class UniformBall(Distribution):
    """Uniform on the ball |z| < radius; zero: (D,) zeros, for shape and type."""

    zero: Tensor
    radius: float = static()

    def log_prob(self, x: Tensor) -> Tensor:
        size = self.zero.shape[-1]
        volume = size / 2 * math.log(math.pi) - math.lgamma(size / 2 + 1) + size * math.log(self.radius)
        return torch.zeros_like(x[..., 0]) - volume

    def draw(self, scope: ForwardContext, rows: int | None = None) -> Tensor:
        shape = per_row(self.zero.shape, rows)
        far = scope.rand((*shape[:-1], 1)) ** (1 / shape[-1])
        return self.radius * far * unit(scope.randn(shape))

    @property
    def mean(self) -> Tensor:
        return self.zero

    mode = mean
