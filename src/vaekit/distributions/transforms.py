"""Invertible maps, and the distribution that a chain of them makes of a normal."""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

from ..core import Bound, Scope, record, static
from .base import Distribution, sum_cells
from .normal import Normal

HALVINGS = 60
"""Of the interval that a root lies in; in fp32 the last ones change nothing."""


class Transform(Protocol):
    """z (..., D) -> z' and back, each with log |det dz'/dz| (...,), the same number both ways."""

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]: ...

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]: ...


def above_minus_one(x: Tensor) -> Tensor:
    """`softplus(x + log(e - 1)) - 1`, which is greater than -1, and 0 at 0."""
    return softplus(x + math.log(math.e - 1)) - 1


@record
class Planar:
    """`z' = z + u tanh(w z + b)`, Rezende & Mohamed 2015, arXiv:1505.05770, equation 10; u, w: (B, D); b: (B,).

    u is moved along w so that w u > -1 (their appendix A.1, with a softplus that leaves 0 where it is). The inverse
    is a root in one dimension: bisection, then two steps of Newton, which also carry the gradient.
    """

    u: Tensor
    w: Tensor
    b: Tensor

    def _invertible(self) -> tuple[Tensor, Tensor]:
        """The u that is used, and w u."""
        before = (self.w * self.u).sum(-1, keepdim=True)
        norm = self.w.square().sum(-1, keepdim=True) + 1e-12
        u = self.u + (above_minus_one(before) - before) * self.w / norm
        return u, (self.w * u).sum(-1)

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        u, slope = self._invertible()
        height = torch.tanh((self.w * z).sum(-1) + self.b)
        return z + u * height.unsqueeze(-1), torch.log1p(slope * (1 - height.square()))

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        u, slope = self._invertible()
        target = (self.w * z).sum(-1)
        a = self._root(target.detach(), slope.detach(), self.b.detach())
        for _ in range(2):
            height = torch.tanh(a + self.b)
            a = a - (a + slope * height - target) / (1 + slope * (1 - height.square()))
        height = torch.tanh(a + self.b)
        return z - u * height.unsqueeze(-1), torch.log1p(slope * (1 - height.square()))

    @staticmethod
    def _root(target: Tensor, slope: Tensor, b: Tensor) -> Tensor:
        """a with a + slope tanh(a + b) = target, which lies within |slope| of target."""
        low, high = target - slope.abs(), target + slope.abs()
        for _ in range(HALVINGS):
            a = 0.5 * (low + high)
            under = a + slope * torch.tanh(a + b) < target
            low, high = torch.where(under, a, low), torch.where(under, high, a)
        return 0.5 * (low + high)


@record
class Radial:
    """`z' = z + beta (z - c) / (alpha + |z - c|)`, Rezende & Mohamed 2015, arXiv:1505.05770, equation 14.

    centre: (B, D). log_alpha, raw_beta: (B,); beta > -alpha (their appendix A.2). The inverse solves a quadratic.
    """

    centre: Tensor
    log_alpha: Tensor
    raw_beta: Tensor

    def _parameters(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """alpha and beta, z - c and its norm."""
        alpha = self.log_alpha.exp()
        away = z - self.centre
        return alpha, alpha * above_minus_one(self.raw_beta), away, (away.square().sum(-1) + 1e-30).sqrt()

    @staticmethod
    def _log_det(alpha: Tensor, beta: Tensor, radius: Tensor, size: int) -> Tensor:
        along = torch.log1p(beta * alpha / (alpha + radius).square())
        return (size - 1) * torch.log1p(beta / (alpha + radius)) + along

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        alpha, beta, away, radius = self._parameters(z)
        moved = z + (beta / (alpha + radius)).unsqueeze(-1) * away
        return moved, self._log_det(alpha, beta, radius, z.shape[-1])

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        alpha, beta, away, far = self._parameters(z)
        half = alpha + beta - far
        whole = half.abs() + (half.square() + 4 * alpha * far).sqrt()
        radius = torch.where(half > 0, 2 * alpha * far / whole, 0.5 * whole)
        back = self.centre + away / (1 + beta / (alpha + radius)).unsqueeze(-1)
        return back, self._log_det(alpha, beta, radius, z.shape[-1])


@record
class Autoregressive:
    """`z'_i = z_i exp(s_i) + t_i` with (s, t)_i = network(z_<i, context): forward in one pass, back in D.

    gated: `z' = g z + (1 - g) m`, g = sigmoid(s + 2), the inverse autoregressive flow of Kingma et al. 2016,
    arXiv:1606.04934, equation 14. s is kept within (-6, 6), without the gate within (-2, 2), so that the way back stays
    finite. context: (B, C).
    """

    context: Tensor
    network: Bound
    gated: bool = static()

    def _affine(self, z: Tensor) -> tuple[Tensor, Tensor]:
        s, t = self.network(z, self.context).chunk(2, -1)
        if not self.gated:
            return 2 * torch.tanh(s / 2), t
        s = 2 + 6 * torch.tanh(s / 6)
        return logsigmoid(s), torch.sigmoid(-s) * t

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        s, t = self._affine(z)
        return z * s.exp() + t, s.sum(-1)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        # A pass settles at least one more dimension; the network reads zeros for those to come, so nothing overflows.
        size = z.shape[-1]
        order = self.network.parameters["order"]
        back = torch.zeros_like(z)
        for k in range(size):
            s, t = self._affine(back)
            back = torch.where(order == k, (z - t) * (-s).exp(), back)
        return back, self._affine(back)[0].sum(-1)


@record
class Inverted:
    """A transform the other way round: an inverted `Autoregressive` is a masked autoregressive flow, whose density
    takes one pass and whose draw D (Papamakarios et al. 2017, arXiv:1705.07057)."""

    transform: Transform

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        z, log_det = self.transform.inverse(z)
        return z, -log_det

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        z, log_det = self.transform.forward(z)
        return z, -log_det


@record
class Flow(Distribution):
    """A normal pushed through transforms, the first first: `log q(z) = log base(z_0) - sum log |det|`. One cell a row.

    base: (B, D), or (D,) shared by all rows. The density of a draw costs no inverse
    (`draw_with_log_density`); elsewhere it takes each transform's inverse.
    """

    base: Normal
    transforms: tuple[Transform, ...]

    def draw(self, scope: Scope, rows: int | None = None) -> Tensor:
        return self.draw_with_log_density(scope, rows)[0]

    def draw_with_log_density(self, scope: Scope, rows: int | None = None) -> tuple[Tensor, Tensor]:
        z = self.base.draw(scope, rows)
        log_q = sum_cells(self.base.log_prob(z), z.dim() - 1)
        for transform in self.transforms:
            z, log_det = transform.forward(z)
            log_q = log_q - log_det
        return z, log_q

    def log_prob(self, x: Tensor) -> Tensor:
        total = torch.zeros_like(x[..., 0])
        for transform in reversed(self.transforms):
            x, log_det = transform.inverse(x)
            total = total - log_det
        cells = self.base.log_prob(x)
        return sum_cells(cells, cells.dim() - 1) + total

    @property
    def mean(self) -> Tensor:
        """The image of the base's mean: a deterministic representative, not the expectation."""
        z = self.base.loc
        for transform in self.transforms:
            z = transform.forward(z)[0]
        return z

    mode = mean
