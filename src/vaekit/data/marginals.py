"""The distribution of one column of numbers by itself: its resolution, and the map that makes it normal."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

DIGITS = 9
"""Digits within the range of a column up to which its numbers count as rounded."""
LOWEST_EXPONENT = -300
"""Of a step: powers of ten further below are not all numbers."""
KNOTS = 64
"""Pieces of the map to normal scores, at most."""
PER_KNOT = 8
"""Values that a piece stands for, at least."""
FINE = 1e-3
"""The resolution of a column that is not rounded, in units of its spread."""
LEAST = 4e-6
"""The finest resolution that single precision tells apart, in these units."""
STRAIGHT, STEEP = 0.9, 20.0
"""R^2 of a column's normal probability plot from which on its map is a straight line, unless a piece is so many times
as steep, as one of a value is that is met again and again."""
FLAT = 1e-4
"""The rise of the map where there are no values, per piece."""


def resolution(values: NDArray, precision: float = 2.0**-52) -> float | None:
    """The largest power of ten that all values are multiples of, within the relative `precision` of their type.

    None where the values have more than `DIGITS` digits within their range, or more than their type holds. Rounding to
    the step never makes two different values equal, nor another value zero.
    """
    distinct = np.unique(values)
    largest = float(np.abs(distinct).max(initial=0.0))
    if largest == 0 or not np.isfinite(largest):
        return None
    half = float(distinct[-1] / 2 - distinct[0] / 2)  # of the range, which may exceed the largest number
    top = int(np.floor(np.log10(max(half or largest / 2, 5e-324)) + np.log10(2)))
    few = distinct[:: max(1, len(distinct) // 1000)]
    for exponent in range(top, max(top - DIGITS, LOWEST_EXPONENT - 1), -1):
        most = float(_ticks(np.array([largest]), exponent)[0])
        if (4 * precision + 12 * 2.0**-52) * most > 0.05:
            return None
        if all(_are_multiples(values, exponent, precision, most) for values in (few, distinct)):
            return float(f"1e{exponent}")
    return None


def _ticks(values: NDArray, exponent: int) -> NDArray:
    """Values in units of a power of ten."""
    with np.errstate(over="ignore"):
        return values * 10.0**-exponent if exponent <= 0 else values / 10.0**exponent


def _are_multiples(values: NDArray, exponent: int, precision: float, most: float) -> bool:
    """Whether ascending values are multiples of a power of ten that stay apart, and none becomes zero."""
    ticks = _ticks(values, exponent)
    whole = ticks.round()
    if (np.abs(ticks - whole) > 4 * precision * np.abs(ticks) + 12 * 2.0**-52 * most).any():
        return False
    return bool((np.diff(whole) > 0).all() and ((whole != 0) == (values != 0)).all())


def skewness(values: NDArray) -> float:
    apart = values - values.mean()
    spread = apart.std()
    return float((apart**3).mean() / spread**3) if spread > 0 else 0.0


def centre_and_spread(values: NDArray) -> tuple[float, float]:
    """The median, and half the width of the middle 68%: what the standard deviation of a normal column would be, and
    unlike it finite in the heaviest tails. Where that is 0, the standard deviation."""
    low, middle, high = np.quantile(values, (0.16, 0.5, 0.84))
    spread = high / 2 - low / 2
    if not spread > 0:
        apart = values / 2 - middle / 2
        largest = max(float(np.abs(apart).max()), 1e-300)
        spread = 2 * largest * (apart / largest).std()
    return float(middle), float(spread) if 0 < spread < np.inf else 1.0


@dataclass(frozen=True)
class Marginal:
    """An increasing, piecewise linear map from a column u to normal scores, `y = T(u)`, with `u = T^-1(y)`.

    knots, scores: the ends of the pieces, and their images, of equal number. The first and the last piece lead on
    beyond the values that were met, which lie between the second knot and the last but one.
    """

    knots: tuple[float, ...]
    scores: tuple[float, ...]

    @classmethod
    def of(cls, lower: NDArray, upper: NDArray, counts: NDArray) -> Marginal:
        """Of values that are known to lie between lower and upper (ascending), each met so many times.

        A value that is met often is a piece of its own, as high as its share is great, so that it is met as often
        again; the others share pieces of equal probability.
        """
        total = int(counts.sum())
        upto = counts.cumsum()
        below = upto - counts
        pieces = int(np.clip(total // PER_KNOT, 2, KNOTS))
        heavy = np.flatnonzero(counts * pieces > total)
        spread = np.searchsorted(upto, np.linspace(0, total, pieces + 1)[1:-1])
        light = np.setdiff1d(np.unique(spread), heavy)
        ends = np.concatenate([[lower[0], upper[-1]], lower[heavy], upper[heavy], lower[light]])
        shares = np.concatenate([[0, total], below[heavy], upto[heavy], below[light]])
        order = np.lexsort((shares, ends))
        ends, shares = ends[order], shares[order]
        apart = np.concatenate([[True], np.diff(ends) > LEAST / 2 * (1 + np.abs(ends[1:]))])
        ends, shares = ends[apart], np.maximum.accumulate(shares[apart])
        scores = torch.special.ndtri(torch.from_numpy((shares + 0.5) / (total + 1))).numpy()
        scores = scores + FLAT * np.arange(len(scores))
        middle = float(np.interp(0.5 * scores[0] + 0.5 * scores[-1], scores, ends))
        half = 0.5 * (scores[-1] - scores[0])
        left, right = ((half / max(gap, 1e-12)) for gap in (middle - ends[0], ends[-1] - middle))
        width = float(ends[-1] - ends[0])
        knots = np.concatenate([[ends[0] - width], ends, [ends[-1] + width]])
        scores = np.concatenate([[scores[0] - min(left, 4.0) * width], scores, [scores[-1] + min(right, 4.0) * width]])
        return cls(tuple(knots.tolist()), tuple(scores.tolist())).simplest()

    def simplest(self) -> Marginal:
        """A straight line, where the pieces nearly are one (the criterion of Shapiro & Francia 1972), or else itself.

        What the other columns say of such a column is nearer to a line in it than in its ranks, whose spacing is that
        of the few values that were met.
        """
        knots, scores = (np.array(t[1:-1]) for t in (self.knots, self.scores))
        slope, start = np.polyfit(knots, scores, 1)
        steepest = (np.diff(scores) / np.diff(knots)).max()
        if np.corrcoef(knots, scores)[0, 1] ** 2 < STRAIGHT or steepest > STEEP * slope:
            return self
        width = knots[-1] - knots[0]
        ends = np.array([knots[0] - width, knots[0], knots[-1], knots[-1] + width])
        return Marginal(tuple(ends.tolist()), tuple((start + slope * ends).tolist()))
