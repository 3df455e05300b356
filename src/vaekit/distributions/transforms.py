"""Invertible maps, and the distribution that a chain of them makes of a normal."""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import softplus

from ..core import ForwardContext, FunctionalModule, record, static
from .base import Distribution, sum_cells
from .elementwise import Elementwise, soft_clamp
from .normal import Normal

LOG_EXPM1 = math.log(math.e - 1)
"""Its softplus is 1."""
HALVINGS = 60
"""Of the interval that a root lies in; in fp32 the last ones change nothing."""


class Transform(Protocol):
    """z (..., D) -> z' and back, each with log |det dz'/dz| (...,), the same number both ways."""

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]: ...

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]: ...


STEEPNESS = 3.0
"""Nats that bound the logarithm of the slope of one planar, radial or Sylvester unit."""
DISTANCE = 10.0
"""Bound on how far one planar or radial layer moves a draw."""
LOG_ALPHA = 5.0
"""Bound on -log alpha of a radial layer."""
ENTRY = 3.0
"""Bound on the entries of the triangular matrices of a Sylvester layer."""


def above_minus_one(x: Tensor) -> Tensor:
    """`exp(y) - 1`, y = log1p(x) for small x, kept within (-STEEPNESS, STEEPNESS): above -1, and 0 at 0.

    y is `log softplus(x + log(e - 1))`, which is x for very negative x and log x for very large x.
    """
    raised = x + LOG_EXPM1
    log = torch.where(raised < -15, raised, softplus(raised.clamp_min(-15)).log())
    return torch.expm1(soft_clamp(log, -STEEPNESS, STEEPNESS))


def shortened(x: Tensor, longest: float) -> Tensor:
    """Vectors (..., D) with the same direction and a length below `longest`; short ones hardly change."""
    length = (x.square().sum(-1, keepdim=True) + 1e-30).sqrt()
    return x * (longest * torch.tanh(length / longest) / length)


@record
class Planar:
    """`z' = z + u tanh(w z + b)`, Rezende & Mohamed 2015, arXiv:1505.05770, equation 10; u, w: (B, D); b: (B,).

    The part of u along w is replaced by one with w u > -1 (their appendix A.1, with a function that leaves 0 where it
    is). |u| stays below `DISTANCE`, and so does the distance by which a layer moves z. The inverse is a root in one
    dimension.
    """

    u: Tensor
    w: Tensor
    b: Tensor

    def _invertible(self) -> tuple[Tensor, Tensor]:
        """The u that is used, and w u."""
        u = shortened(self.u, DISTANCE)
        norm = (self.w.square().sum(-1, keepdim=True) + 1e-12).sqrt()
        unit = self.w / norm
        along = (unit * u).sum(-1, keepdim=True)
        slope = above_minus_one(along * norm)
        return u + (slope / norm - along) * unit, slope.squeeze(-1)

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        u, slope = self._invertible()
        height = torch.tanh((self.w * z).sum(-1) + self.b)
        return z + u * height.unsqueeze(-1), torch.log1p(slope * (1 - height.square()))

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        u, slope = self._invertible()
        target = (self.w * z).sum(-1)
        height = _height(target, slope, self.b)
        return z - u * height.unsqueeze(-1), torch.log1p(slope * (1 - height.square()))


def _height(target: Tensor, slope: Tensor, b: Tensor) -> Tensor:
    """tanh(a + b) where a + slope tanh(a + b) = target: bisection, then two steps of Newton with the gradient."""
    a = _root(target.detach(), slope.detach(), b.detach())
    for _ in range(2):
        height = torch.tanh(a + b)
        a = a - (a + slope * height - target) / (1 + slope * (1 - height.square()))
    return torch.tanh(a + b)


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

    centre: (B, D). log_alpha, raw_beta: (B,); alpha < `DISTANCE` and -alpha < beta < `DISTANCE` (their appendix A.2),
    so a layer moves z by less than `DISTANCE`. The inverse solves a quadratic.
    """

    centre: Tensor
    log_alpha: Tensor
    raw_beta: Tensor

    def _parameters(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """alpha and beta, z - c and its norm."""
        alpha = soft_clamp(self.log_alpha, -LOG_ALPHA, math.log(DISTANCE)).exp()
        beta = alpha * above_minus_one(self.raw_beta)
        beta = torch.where(beta < 0, beta, DISTANCE * torch.tanh(beta / DISTANCE))
        away = z - self.centre
        return alpha, beta, away, (away.square().sum(-1) + 1e-30).sqrt()

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
class Sylvester:
    """`z' = z + Q R tanh(S Q^T z + b)`, van den Berg et al. 2018, arXiv:1803.05649, equation 13, with as many units
    as dimensions: Q orthogonal, a product of Householder reflections (their section 4.2); R and S upper triangular.

    within: (B, D, D), R above its diagonal and S^T below, each entry within (-3, 3) by a soft clamp, so a layer moves z
    by less than `3 D^1.5`; its own diagonal, and `diagonal` (B, D), are those of R and S under a tanh, whose product
    stays above -0.95. b: (B, D). reflections: (B, H, D). The inverse solves for one
    dimension after another, from the last, each time the root of a planar layer.
    """

    within: Tensor
    diagonal: Tensor
    b: Tensor
    reflections: Tensor

    def _turned(self, z: Tensor, back: bool) -> Tensor:
        """Q z; back: Q^T z."""
        units = self.reflections / (self.reflections.square().sum(-1, keepdim=True) + 1e-30).sqrt()
        count = units.shape[-2]
        for k in range(count) if back else reversed(range(count)):
            unit = units[..., k, :]
            z = z - 2 * unit * (unit * z).sum(-1, keepdim=True)
        return z

    def _triangles(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """R and S without their diagonals, and these."""
        most = math.sqrt(-math.expm1(-STEEPNESS))  # the square is that of the slopes of other units
        r, s = (most * t.tanh() for t in (self.within.diagonal(dim1=-2, dim2=-1), self.diagonal))
        within = soft_clamp(self.within, -ENTRY, ENTRY)
        return within.triu(1), within.mT.triu(1), r, s

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        above, below, r, s = self._triangles()
        w = self._turned(z, back=True)
        height = torch.tanh(_times(below, w) + s * w + self.b)
        moved = z + self._turned(_times(above, height) + r * height, back=False)
        return moved, torch.log1p(r * s * (1 - height.square())).sum(-1)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        above, below, r, s = self._triangles()
        turned = self._turned(z, back=True)
        size = z.shape[-1]
        places = torch.eye(size, device=z.device, dtype=z.dtype)
        w = height = torch.zeros_like(turned + self.b)
        for k in reversed(range(size)):
            target = turned - _times(above, height)
            known = _times(below, w) + self.b
            here = _height(s[..., k] * target[..., k], (r * s)[..., k], known[..., k]).unsqueeze(-1)
            height = height + places[k] * here
            w = w + places[k] * (target - r * here)
        return self._turned(w, back=False), torch.log1p(r * s * (1 - height.square())).sum(-1)


def _times(matrix: Tensor, z: Tensor) -> Tensor:
    return (matrix @ z.unsqueeze(-1)).squeeze(-1)


@record
class Autoregressive:
    """`z'_i = elementwise(z_i)`, its parameters a network's of z_<i and the context: forward in one pass, back in D.

    context: (B, C).
    """

    context: Tensor
    network: FunctionalModule
    elementwise: Elementwise = static()

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        moved, log_slope = self.elementwise.forward(z, self.network(z, self.context))
        return moved, log_slope.sum(-1)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        # A pass settles at least one more dimension; the network reads zeros for those to come, so nothing overflows.
        order = self.network.parameters["order"]
        back = torch.zeros_like(z)
        for k in range(z.shape[-1]):
            settled = self.elementwise.inverse(z, self.network(back, self.context))[0]
            back = torch.where(order == k, settled, back)
        return back, self.forward(back)[1]


@record
class Placed:
    """`z' = loc + scale z`, loc and scale (B, D)."""

    loc: Tensor
    scale: Tensor

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return self.loc + self.scale * z, self.scale.log().sum(-1)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return (z - self.loc) / self.scale, self.scale.log().sum(-1)


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

    def draw(self, scope: ForwardContext, rows: int | None = None) -> Tensor:
        return self.draw_with_log_density(scope, rows)[0]

    def draw_with_log_density(self, scope: ForwardContext, rows: int | None = None) -> tuple[Tensor, Tensor]:
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
