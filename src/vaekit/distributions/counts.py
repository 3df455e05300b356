"""Distributions over counts, in the saddle-point form that keeps its digits in fp32 (Loader 2000).

With `S(x) = log Gamma(x + 1) - x log x + x` and the deviance `D(x, m) = x log(x / m) + m - x >= 0`, the large
terms that cancel in the textbook formulas never appear: Poisson is -S(x) - D(x, rate), and the negative
binomial is written likewise.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..core import ForwardContext, record, static
from .base import Distribution, broadcast, per_row
from .unit import horner

STIRLING = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360)
"""The correction to Stirling's formula: `1/(12 x) - 1/(360 x^3) + ...`"""
ODD = tuple(1 / k for k in range(3, 17, 2))
"""`log((1 + s) / (1 - s)) = 2 s + 2 s^3 (1/3 + s^2/5 + ...)`"""
PROPOSALS = 8


@record
class Poisson(Distribution):
    """`log p(x) = x log_rate - exp(log_rate) - log x!`, x = 0, 1, 2, ...; log_rate is held within +-40."""

    log_rate: Tensor

    def log_prob(self, x: Tensor) -> Tensor:
        rate = bounded_exp(self.log_rate)
        some = torch.where(x > 0, x, 1.0)
        deviance = torch.where(x > 0, some * excess((rate - some) / some, rate / some), rate)
        return -stirling_rest(x) - deviance

    def draw(self, scope: ForwardContext, rows: int | None = None) -> Tensor:
        return poisson_quantile(scope.rand(per_row(self.log_rate.shape, rows)), self.mean)

    @property
    def mean(self) -> Tensor:
        return bounded_exp(self.log_rate)

    @property
    def mode(self) -> Tensor:
        return self.mean.floor()


@record
class NegativeBinomial(Distribution):
    """Counts of mean mu and inverse dispersion theta: variance `mu + mu^2 / theta`; theta -> inf: Poisson.

    `p(x) = Gamma(x + theta) / (Gamma(theta) x!) (theta / (theta + mu))^theta (mu / (theta + mu))^x`. Both
    logarithms are held within +-40. Draws are Poisson with a gamma-distributed rate.
    """

    log_mean: Tensor
    log_theta: Tensor

    def log_prob(self, x: Tensor) -> Tensor:
        mean, theta = bounded_exp(self.log_mean), bounded_exp(self.log_theta)
        total, some = theta + mean, torch.where(x > 0, x, 1.0)
        p, q = theta / total, mean / total
        failures = theta * excess((x - mean) / total, (x + theta) / total)
        successes = some * excess(p * (mean - some) / some, q * (some + theta) / some)
        deviance = failures + torch.where(x > 0, successes, theta * q)
        combinations = stirling_rest(x + theta) - stirling_rest(theta) - stirling_rest(x)
        return combinations - torch.log1p(x / theta) - deviance

    def draw(self, scope: ForwardContext, rows: int | None = None) -> Tensor:
        theta = bounded_exp(self.log_theta).expand(self._shape)
        gamma = draw_gamma(theta.expand(per_row(self._shape, rows)), scope)
        return poisson_quantile(scope.rand(gamma.shape), self.mean * gamma / theta)

    @property
    def _shape(self) -> torch.Size:
        return broadcast(self.log_mean.shape, self.log_theta.shape)

    @property
    def mean(self) -> Tensor:
        return bounded_exp(self.log_mean).expand(self._shape)

    @property
    def mode(self) -> Tensor:
        return (self.mean - self.mean / bounded_exp(self.log_theta)).clamp(min=0).floor()


@record
class Multinomial(Distribution):
    """How often each of V words stands in a document: `log N! - sum_v log x_v! + sum_v x_v log softmax(logits)_v`.

    logits: (B, *V). N, the sum of x, is given by x; `total` is that of documents that are drawn. One cell per row,
    since the counts share N. With a mask, the counts of the words where it is 1, given how many these are together:
    the probabilities of these words are divided by their sum.
    """

    logits: Tensor
    total: int = static()

    def log_prob(self, x: Tensor) -> Tensor:
        return self.log_cells(x)

    def log_cells(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        logits = self.logits
        if mask is not None:
            x, logits = torch.where(mask > 0, x, 0.0), torch.where(mask > 0, logits, -1e30)
        x, log_p = x.flatten(1), logits.flatten(1).log_softmax(1)
        words = x.sum(1, keepdim=True)
        some = torch.where(x > 0, x, 1.0)
        surprise = torch.where(x > 0, some * ((some / words.clamp(min=1)).log() - log_p), 0.0)
        return stirling_rest(words.squeeze(1)) - (stirling_rest(x) + surprise).sum(1)

    def draw(self, scope: ForwardContext, rows: int | None = None) -> Tensor:
        u = scope.rand((len(self.logits), self.total))
        below = self.logits.flatten(1).softmax(1).cumsum(1)
        words = torch.searchsorted(below, u * below[:, -1:]).clamp(max=below.shape[1] - 1)
        return torch.zeros_like(below).scatter_add(1, words, torch.ones_like(u)).reshape(self.logits.shape)

    @property
    def mean(self) -> Tensor:
        return self.total * self.logits.flatten(1).softmax(1).reshape(self.logits.shape)


def bounded_exp(log: Tensor) -> Tensor:
    return log.clamp(-40, 40).exp()


def stirling_rest(x: Tensor) -> Tensor:
    """`S(x) = log Gamma(x + 1) - x log x + x = log(2 pi x) / 2 + 1 / (12 x) - ...`, x >= 0; S(0) = 0."""
    small, large = x.clamp(max=10), x.clamp(min=10)
    exact = torch.lgamma(small + 1) - small * small.clamp(min=torch.finfo(x.dtype).tiny).log() + small
    series = 0.5 * torch.log(2 * math.pi * large) + horner(large.pow(-2), STIRLING[: digits(x)]) / large
    return torch.where(x < 10, exact, series)


def excess(v: Tensor, ratio: Tensor) -> Tensor:
    """`v - log(1 + v)`, `ratio` = 1 + v without its rounding error; near 0 a series keeps the digits."""
    near = v.abs() < 0.25
    small = torch.where(near, v, 0.0)
    s = small / (2 + small)
    square = s.square()
    series = s * (small - 2 * square * horner(square, ODD[: digits(v)]))
    return torch.where(near, series, v - torch.where(near, 1.0, ratio).log())


def digits(x: Tensor) -> int:
    """How many terms of a series reach the last digit."""
    return 7 if x.dtype == torch.float64 else 3


def poisson_quantile(u: Tensor, rate: Tensor) -> Tensor:
    """The least k with `P(X <= k) = Q(k + 1, rate) >= u`, by a fixed number of bisections."""
    reach = 12 * rate.sqrt() + 40
    low, high = (rate - reach).clamp(min=0).floor(), (rate + reach).ceil()
    low, high = low.expand_as(u), high.expand_as(u)
    for _ in range(20):  # 2^20 covers the bracket of rates up to 1e9
        middle = ((low + high) / 2).floor()
        reached = torch.special.gammaincc(middle + 1, rate) >= u
        low, high = torch.where(reached, low, middle + 1), torch.where(reached, middle, high)
    return high


def draw_gamma(shape: Tensor, scope: ForwardContext) -> Tensor:
    """One gamma(shape, 1) per cell: the first accepted of a fixed number of proposals.

    Each is accepted with probability >= .95; that none is (below 1e-10), the first stands in.
    Marsaglia & Tsang 2000, with the boost `gamma(a) = gamma(a + 1) u^(1/a)`.
    """
    d = (shape + 2 / 3).unsqueeze(-1)
    normal, u = (noise((*shape.shape, PROPOSALS)) for noise in (scope.randn, scope.rand))
    boost = scope.rand(shape.shape)
    c = normal / (9 * d).sqrt()
    v = 3 * c + 3 * c.square() + c**3  # (1 + c)^3 = 1 + v
    positive = c > -1
    v = torch.where(positive, v, 0.0)
    accepted = positive & (u.log() < normal.square() / 2 - d * excess(v, 1 + v))
    first = accepted.to(torch.uint8).argmax(-1, keepdim=True)
    gamma = (d * (1 + v.gather(-1, first))).squeeze(-1)
    return gamma * boost.clamp(min=torch.finfo(boost.dtype).tiny).pow(1 / shape)
