"""Increasing maps of one number each, whose parameters a network gives: what an autoregressive layer applies."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, pad, softmax, softplus


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
    """`z' = z exp(s) + t`.

    gated: `z' = g z + (1 - g) m`, g = sigmoid(s + 2), Kingma et al. 2016, arXiv:1606.04934, equation 14. s is kept
    within (-6, 6), without the gate within (-2, 2), so that the way back stays finite.
    """

    gated: bool = False
    per = 2

    def _scale_and_shift(self, numbers: Tensor) -> tuple[Tensor, Tensor]:
        s, t = numbers.chunk(2, -1)
        if not self.gated:
            return 2 * torch.tanh(s / 2), t
        s = 2 + 6 * torch.tanh(s / 6)
        return logsigmoid(s), torch.sigmoid(-s) * t

    def forward(self, z: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor]:
        s, t = self._scale_and_shift(numbers)
        return z * s.exp() + t, s

    def inverse(self, z: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor]:
        s, t = self._scale_and_shift(numbers)
        return (z - t) * (-s).exp(), s


@dataclass(frozen=True)
class Spline:
    """A rational-quadratic spline of `bins` pieces over [-reach, reach], the identity beyond.

    Durkan et al. 2019, arXiv:1906.04032, equations 4 to 8. The numbers are the bins' widths, their heights (each a
    softmax, no bin smaller than a hundredth of all) and the slopes where they meet (at least a hundredth). The
    inverse solves a quadratic.
    """

    bins: int
    reach: float = 5.0
    least = 1e-2

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
        slopes = self.least + (1 - self.least) * softplus(slopes + math.log(math.e - 1))
        slopes = pad(slopes, (1, 1), value=1.0)
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
