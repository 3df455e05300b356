"""Codes in the Poincaré ball, where there is room for trees."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .. import distributions as dist
from ..core import ForwardContext
from ..distributions.hyperbolic import FARTHEST, from_tangent, norm
from .posteriors import Posterior
from .priors import Prior


class WrappedNormal(Posterior):
    """A normal around mu in the Poincaré ball `c |z|^2 < 1`, laid along the geodesics from mu; c = `curvature`.

    Mathieu et al. 2019, arXiv:1901.06033; Nagano et al. 2019, arXiv:1902.02992. Reads the tangent at the origin that
    leads to mu, held within 8 / sqrt(c) of it, and log sigma^2 (within [-20, 4]).
    """

    space = "ball"

    def __init__(self, size: int, curvature: float = 1.0):
        super().__init__()
        self.size = size
        self.curvature = curvature

    @property
    def n_in(self) -> int:
        return 2 * self.size

    @property
    def shared(self) -> dict[str, object]:
        return {**super().shared, "curvature": self.curvature}

    def forward(self, evidence: Tensor) -> dist.WrappedNormal:
        tangent, log_var = evidence.chunk(2, -1)
        most = FARTHEST / math.sqrt(self.curvature)
        tangent = tangent * (most * torch.tanh(norm(tangent) / most) / norm(tangent))
        scale = (0.5 * log_var.clamp(-20.0, 4.0)).exp()
        return dist.WrappedNormal(from_tangent(tangent, self.curvature), scale, self.curvature)


class _InBall(Prior):
    """What the priors on the ball share; an open curvature is the posterior's."""

    space = "ball"
    zero: Tensor

    def __init__(self, curvature: float | None = None, size: int | None = None):
        super().__init__()
        self.curvature, self.size = curvature, size
        self.register_buffer("zero", torch.zeros(size or 0), persistent=False)


class StandardWrappedNormal(_InBall):
    """The wrapped normal of scale 1 around the origin of the Poincaré ball."""

    def forward(self, scope: ForwardContext, above: Tensor | None = None) -> dist.WrappedNormal:
        return dist.WrappedNormal(self.zero, torch.ones_like(self.zero), self.curvature or 1.0)


class UniformBall(_InBall):
    """Uniform on the ball, in its coordinates: with respect to the ball's own, unbounded volume it thins out.

    It thins out less than a `WrappedNormal` does, so that importance weights vary much where codes lie near the edge.
    """

    def forward(self, scope: ForwardContext, above: Tensor | None = None) -> dist.UniformBall:
        return dist.UniformBall(self.zero, (self.curvature or 1.0) ** -0.5)
