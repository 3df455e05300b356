"""Increasing maps of one number each, whose parameters a network gives: what an autoregressive layer applies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, pad, softmax

EXPANSION = 2.0
"""Nats by which the affine layers of a flow may widen a draw, all layers together: a factor of 7.4."""
CONTRACTION = 6.0
"""Nats by which they may narrow it."""
SHIFT = 20.0
"""Bound on the shift of one affine layer."""


def soft_clamp(x: Tensor, low: float, high: float) -> Tensor:
    """Maps x smoothly into (low, high), low < 0 < high, with value 0 and slope 1 at 0."""
    return torch.where(x < 0, low * torch.tanh(x / low), high * torch.tanh(x / high))


class Elementwise(Protocol):
    """z (..., D) and `per` numbers for each of its dimensions, (..., per * D), to z' and log dz'/dz, both (..., D).

    Numbers of zero give the identity, but for a gate.
    """

    @property
    def per(self) -> int: ...

    def forward(self, z: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor]: ...

    def inverse(self, z: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor]: ...


@dataclass(frozen=True)
class Affine:
    """`z' = z exp(s) + t`, s within (-contraction, expansion) and t within (-shift, shift).

    The bounds are soft clamps, so the map stays smooth and its log-determinant exact. `Affine.of_layers` divides the
    total of a flow among its layers: the flow moves a draw z by at most a factor of exp(EXPANSION) and a constant,
    whatever the weights are.

    gated: `z' = g z + (1 - g) m`, Kingma et al. 2016, arXiv:1606.04934, equation 14, log g within (-contraction, 0)
    and `g = sigmoid(2 + s)` near s = 0, m within (-shift, shift).
    """

    contraction: float = CONTRACTION
    expansion: float = EXPANSION
    shift: float = SHIFT
    gated: bool = False
    per = 2

    @classmethod
    def of_layers(cls, layers: int, **settings: object) -> Affine:
        """One of so many layers."""
        return cls(CONTRACTION / layers, EXPANSION / layers, **settings)

    def _scale_and_shift(self, numbers: Tensor) -> tuple[Tensor, Tensor]:
        s, t = numbers.chunk(2, -1)
        t = soft_clamp(t, -self.shift, self.shift)
        if not self.gated:
            return soft_clamp(s, -self.contraction, self.expansion), t
        s = soft_clamp(logsigmoid(s + 2), -self.contraction, self.contraction)
        return s, -torch.expm1(s) * t

    def forward(self, z: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor]:
        s, t = self._scale_and_shift(numbers)
        return z * s.exp() + t, s

    def inverse(self, z: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor]:
        s, t = self._scale_and_shift(numbers)
        return (z - t) * (-s).exp(), s


@dataclass(frozen=True)
class Standardise:
    """`z' = (z - t) exp(-s)`: the inverse of an `Affine`, for layers that are read from the data to the noise."""

    affine: Affine
    per = 2

    def forward(self, z: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor]:
        moved, s = self.affine.inverse(z, numbers)
        return moved, -s

    def inverse(self, z: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor]:
        moved, s = self.affine.forward(z, numbers)
        return moved, -s


@dataclass(frozen=True)
class Spline:
    """A rational-quadratic spline of `bins` pieces over [-reach, reach], the identity beyond.

    Durkan et al. 2019, arXiv:1906.04032, equations 4 to 8. The numbers are the bins' widths, their heights (each a
    softmax, no bin smaller than a hundredth of all) and the logarithms of the slopes where they meet, within
    (-`steepest`, `steepest`). A layer never moves a number beyond the larger of |z| and `reach`. The inverse solves a
    quadratic.
    """

    bins: int
    reach: float = 5.0
    least = 1e-2
    steepest = 3.0

    @property
    def per(self) -> int:
        return 3 * self.bins - 1

    def _knots(self, sizes: Tensor) -> Tensor:
        """The ends of the bins, (..., bins + 1), from -reach to reach."""
        shares = self.least + (1 - self.least * self.bins) * softmax(sizes, -1)
        inner = 2 * self.reach * shares.cumsum(-1)[..., :-1] - self.reach
        return pad(pad(inner, (1, 0), value=-self.reach), (0, 1), value=self.reach)

    def _bin(self, z: Tensor, numbers: Tensor, back: bool) -> tuple[Tensor, ...]:
        """Of the bin that z, or z' on the way back, lies in: left end, width, lower end, height, slopes at its ends."""
        widths, heights, slopes = numbers.unflatten(-1, (self.per, -1)).movedim(-2, -1).tensor_split(
            (self.bins, 2 * self.bins), -1
        )  # fmt: skip
        x, y = self._knots(widths), self._knots(heights)
        slopes = pad(soft_clamp(slopes, -self.steepest, self.steepest).exp(), (1, 1), value=1.0)
        here = ((y if back else x)[..., 1:-1] <= z.unsqueeze(-1)).sum(-1, keepdim=True)

        def at(knots: Tensor, index: Tensor) -> Tensor:
            return knots.gather(-1, index).squeeze(-1)

        left, low = at(x, here), at(y, here)
        return left, at(x, here + 1) - left, low, at(y, here + 1) - low, at(slopes, here), at(slopes, here + 1)

    def _within(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Whether z lies where the spline is, and z moved there."""
        return z.abs() < self.reach, z.clamp(-self.reach, self.reach)

    @staticmethod
    def _log_slope(xi: Tensor, steep: Tensor, first: Tensor, last: Tensor) -> Tensor:
        rest = 1 - xi
        top = last * xi.square() + 2 * steep * xi * rest + first * rest.square()
        return 2 * steep.log() + top.log() - 2 * (steep + (first + last - 2 * steep) * xi * rest).log()

    def forward(self, z: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor]:
        inside, at = self._within(z)
        left, width, low, height, first, last = self._bin(at, numbers, back=False)
        steep, xi = height / width, (at - left) / width
        across = xi * (1 - xi)
        moved = low + height * (steep * xi.square() + first * across) / (steep + (first + last - 2 * steep) * across)
        log_slope = self._log_slope(xi, steep, first, last)
        return torch.where(inside, moved, z), torch.where(inside, log_slope, 0.0)

    def inverse(self, z: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor]:
        inside, at = self._within(z)
        left, width, low, height, first, last = self._bin(at, numbers, back=True)
        steep, up = height / width, at - low
        bend = up * (first + last - 2 * steep)
        a, b, c = height * (steep - first) + bend, height * first - bend, -steep * up
        xi = 2 * c / (-b - (b.square() - 4 * a * c).clamp_min(1e-30).sqrt())
        log_slope = self._log_slope(xi, steep, first, last)
        return torch.where(inside, left + width * xi, z), torch.where(inside, log_slope, 0.0)
