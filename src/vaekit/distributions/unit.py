"""Distributions on the unit interval: Bernoulli and its continuous namesake."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..core import ForwardContext, record, static
from .base import Distribution, closed_form, per_row, straight_through

SINHC = (1 / 6, -1 / 180, 1 / 2835, -1 / 37800, 1 / 467775, -691 / 3831077250, 2 / 127702575)
"""`log(sinh h / h) = h^2/6 - h^4/180 + ...`: the coefficients of h^2, h^4, ..."""


@record
class Bernoulli(Distribution):
    """`p = sigmoid(logits)` in every cell: `log p(x) = x logits - log(1 + exp(logits))`.

    Linear in x, so that grey levels in [0, 1] give minus the cross-entropy. A draw is hard, or, with a temperature,
    the relaxed `sigmoid((logits + logistic) / temperature)`, the binary Concrete of Maddison et al. 2017,
    arXiv:1611.00712; straight: the hard draw of the same noise, with the gradient of the relaxed one.
    """

    logits: Tensor
    temperature: Tensor | None = None
    straight: bool = static(default=False)

    def log_prob(self, x: Tensor) -> Tensor:
        # The fastest exact form of those tried on CPU, forward and backward together.
        return (x - 1) * self.logits + F.logsigmoid(self.logits)

    def draw(self, scope: ForwardContext, rows: int | None = None) -> Tensor:
        u = scope.rand(per_row(self.logits.shape, rows))
        hard = (u < self.mean).to(self.logits.dtype)
        if self.temperature is None:
            return hard
        u = u.clamp(torch.finfo(u.dtype).tiny, 1 - torch.finfo(u.dtype).eps)
        relaxed = ((self.logits - torch.logit(u)) / self.temperature).sigmoid()
        return straight_through(hard, relaxed) if self.straight else relaxed

    @property
    def mean(self) -> Tensor:
        return self.logits.sigmoid()

    @property
    def mode(self) -> Tensor:
        return (self.logits > 0).to(self.logits.dtype)

    def to_torch(self) -> torch.distributions.Distribution:
        """The same as a `torch.distributions` object, one event per row."""
        return torch.distributions.Independent(torch.distributions.Bernoulli(logits=self.logits), self.logits.dim() - 1)


@closed_form(Bernoulli, Bernoulli)
def _(q: Bernoulli, p: Bernoulli) -> Tensor:
    ones = q.mean * (F.logsigmoid(q.logits) - F.logsigmoid(p.logits))
    zeros = (1 - q.mean) * (F.logsigmoid(-q.logits) - F.logsigmoid(-p.logits))
    return (ones + zeros).flatten(1)


@record
class ContinuousBernoulli(Distribution):
    """`log p(x) = (x - 1/2) l - log(sinh(l/2) / (l/2))`, x in [0, 1], `lambda = sigmoid(l)`, l the logits.

    The same as x log lambda + (1 - x) log(1 - lambda) + log C(lambda), without the pole that C has at 1/2.
    Loaiza-Ganem & Cunningham 2019, arXiv:1907.06845, equation 8.
    """

    logits: Tensor

    def log_prob(self, x: Tensor) -> Tensor:
        return (x - 0.5) * self.logits - log_sinhc(self.logits / 2)

    def draw(self, scope: ForwardContext, rows: int | None = None) -> Tensor:
        """The inverse of the cdf `expm1(l x) / expm1(l)` at one uniform per cell, reparameterised."""
        u = scope.rand(per_row(self.logits.shape, rows))
        eps = torch.finfo(u.dtype).eps
        u = u.clamp(eps, 1 - eps)
        flat = self.logits.abs() < 1e-3
        steep = torch.where(flat, 1.0, self.logits)
        # At -|l| nothing overflows; the other half is its mirror image.
        below = torch.where(steep > 0, 1 - u, u)
        y = torch.log1p(below * torch.expm1(-steep.abs())) / -steep.abs()
        inverse = torch.where(steep > 0, 1 - y, y)
        series = u + self.logits / 2 * u * (1 - u) * (1 + self.logits / 3 * (1 - 2 * u))
        return torch.where(flat, series, inverse).clamp(0, 1)

    @property
    def mean(self) -> Tensor:
        return 0.5 + 0.5 * langevin(self.logits / 2)

    @property
    def mode(self) -> Tensor:
        """The end with the higher density."""
        return (self.logits > 0).to(self.logits.dtype)


def log_sinhc(h: Tensor) -> Tensor:
    """`log(sinh(h) / h)`, with correct gradients through 0."""
    near = h.abs() < 0.25
    a = torch.where(near, 1.0, h).abs()
    far = a + torch.log1p(-torch.exp(-2 * a)) - torch.log(2 * a)
    square = torch.where(near, h, 0.0).square()
    return torch.where(near, square * horner(square, SINHC), far)


def langevin(h: Tensor) -> Tensor:
    """`coth(h) - 1/h`, the derivative of `log_sinhc`."""
    near = h.abs() < 0.25
    a, small = torch.where(near, 1.0, h), torch.where(near, h, 0.0)
    derivative = tuple(2 * n * c for n, c in enumerate(SINHC, 1))
    return torch.where(near, small * horner(small.square(), derivative), 1 / torch.tanh(a) - 1 / a)


def horner(x: Tensor, coefficients: tuple[float, ...]) -> Tensor:
    """`c_0 + c_1 x + c_2 x^2 + ...`"""
    total = torch.full_like(x, coefficients[-1])
    for c in reversed(coefficients[:-1]):
        total = total * x + c
    return total
