"""The modified Bessel functions that normalise a von Mises-Fisher distribution, without under- or overflow."""

from __future__ import annotations

import math
from fractions import Fraction

import torch
from torch import Tensor

from .unit import horner

Coefficients = tuple[float, ...]


def debye(terms: int) -> tuple[list[Coefficients], list[Coefficients]]:
    """D_1, D_2, ... of `log I_m(m x) ~ m eta - log(2 pi m sqrt(1 + x^2)) / 2 + sum_k D_k(p) / m^k`, p = (1 + x^2)^-1/2,
    and p D_k'.

    DLMF 10.41.3 and 10.41.9 for the logarithm: with a = p^2 (1 - p^2) / 2, `D_1' = (1 - 5 p^2) / 8` and
    `D_{k+1}' = (a D_k')' + a sum_{i+j=k} D_i' D_j'`. Each is p^k times a polynomial in p^2 of degree k, whose
    coefficients are given.
    """
    half = Fraction(1, 2)
    slopes: list[dict[int, Fraction]] = [{0: Fraction(1, 8), 2: Fraction(-5, 8)}]
    for k in range(1, terms):
        following: dict[int, Fraction] = {}
        for power, c in slopes[-1].items():
            following[power + 1] = following.get(power + 1, 0) + half * c * (power + 2)
            following[power + 3] = following.get(power + 3, 0) - half * c * (power + 4)
        for i in range(k - 1):
            for first, c in slopes[i].items():
                for second, e in slopes[k - 2 - i].items():
                    power = first + second
                    following[power + 2] = following.get(power + 2, 0) + half * c * e
                    following[power + 4] = following.get(power + 4, 0) - half * c * e
        slopes.append(following)
    ordered = [sorted(slope.items()) for slope in slopes]
    return (
        [tuple(float(c / (power + 1)) for power, c in slope) for slope in ordered],
        [tuple(float(c) for _, c in slope) for slope in ordered],
    )


TERMS = 8
SERIES, SLOPES = debye(TERMS)


def bessel(kappa: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Of kappa >= 0 and the sphere in `size` dimensions, with m = size / 2 - 1:

    - `log E exp(kappa (t - 1))` for t a coordinate of a uniform point, log Gamma(m + 1) (2 / kappa)^m I_m(kappa)
      less kappa;
    - its slope above -1, `A = I_{m+1}(kappa) / I_m(kappa)`;
    - `kappa (1 - A)`, which would lose its digits.

    Debye's uniform expansion at an order of at least 8 (fp32) or 24 (fp64), then the recurrence down to m, which is
    stable. Nothing is subtracted that is not as small as the result.
    """
    terms, least = (8, 24) if kappa.dtype == torch.float64 else (4, 8)
    steps = max(0, math.ceil(least - (size / 2 - 1)))
    order = size / 2 - 1 + steps
    square = kappa.square()
    root = (order**2 + square).sqrt()
    p = order / root
    series, slope = torch.zeros_like(p), torch.zeros_like(p)
    for k in range(terms):
        power = (p / order) ** (k + 1)
        series = series + power * horner(p.square(), SERIES[k]) - sum(SERIES[k]) / order ** (k + 1)
        slope = slope + power * horner(p.square(), SLOPES[k])
    log = -order * (kappa + square / (root + order)) / (root + kappa)
    log = log - order * torch.log1p(square / (2 * order * (root + order)))
    log = log - 0.5 * (root / order).log() + series
    over = 1 / (order + root) - (0.5 + slope) / root.square()
    rest = kappa * (order + order**2 / (root + kappa)) / (order + root) + square * (0.5 + slope) / root.square()
    for step in range(steps):
        first = 2 * (order - step)
        whole = first + square * over
        log = log + torch.log1p(square * over / first)
        over, rest = 1 / whole, kappa * (first - rest) / whole
    return log, kappa * over, rest


def gamma_gap(x: Tensor, b: float) -> tuple[Tensor, Tensor]:
    """`log Gamma(x) - log Gamma(x + b)` and its slope in x, for x > 0 and b >= 0; large x lose no digits."""
    y, shift = x + b, 10
    value, slope = torch.zeros_like(x), torch.zeros_like(x)
    for i in range(shift):
        value = value + torch.log1p(b / (x + i))
        slope = slope - b / ((x + i) * (y + i))
    x, y = x + shift, y + shift
    value = value - (x - 0.5) * torch.log1p(b / x) - b * y.log() + b + _stirling(x) - _stirling(y)
    return value, slope - torch.log1p(b / x) - b / (2 * x * y) + _stirling_slope(x) - _stirling_slope(y)


def _stirling(x: Tensor) -> Tensor:
    return horner(x.pow(-2), (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188)) / x


def _stirling_slope(x: Tensor) -> Tensor:
    return -horner(x.pow(-2), (1 / 12, -1 / 120, 1 / 252, -1 / 240, 1 / 132)) / x.square()
