"""Codes on the unit sphere."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .. import distributions as dist
from ..core import ForwardContext
from ..distributions.spherical import Rotational, unit
from .posteriors import Posterior
from .priors import Prior

MOST = 10_000.0
"""Of a concentration."""
SPREAD = 2.0
"""Root mean square, over the sphere, of the numbers that a decoder reads; see docs/experiments.md."""


class _Spherical(Posterior):
    """Reads a direction, divided by its norm, and one number k: kappa = exp(k), at most 10,000.

    The decoder reads 2 sqrt(size) z, as numbers of size 1 / sqrt(size) teach it late. size: numbers in z, one more than
    the sphere has dimensions.
    """

    space = "sphere"
    family: type[Rotational]

    def __init__(self, size: int):
        super().__init__()
        if size < 2:
            raise ValueError(f"{type(self).__name__}(size=1): the sphere in one dimension is two points; use size >= 2")
        self.size = size

    @property
    def n_in(self) -> int:
        return self.size + 1

    def forward(self, evidence: Tensor) -> Rotational:
        direction, k = evidence.split([self.size, 1], -1)
        return self.family(unit(direction), k.squeeze(-1).clamp(max=math.log(MOST)).exp())

    def emit(self, z: Tensor) -> Tensor:
        return SPREAD * math.sqrt(self.size) * z


class VonMisesFisher(_Spherical):
    """`q(z) = exp(kappa mu z) / C(kappa)` on the unit sphere in `size` dimensions.

    Davidson et al. 2018, arXiv:1804.00891, whose sphere S^m has size = m + 1. Reads mu, divided by its norm, and one
    number k: kappa = exp(k), at most 10,000, where the paper takes 1 + softplus(k), which reaches the hundreds late.
    The decoder reads 2 sqrt(size) z.
    """

    family = dist.VonMisesFisher


class PowerSpherical(_Spherical):
    """`q(z) = (1 + mu z)^kappa / C(kappa)` on the unit sphere in `size` dimensions; its normaliser is closed.

    De Cao & Aziz 2020, arXiv:2006.04437. Reads what `VonMisesFisher` does.
    """

    family = dist.PowerSpherical


class UniformSphere(Prior):
    """The uniform distribution on the unit sphere."""

    space = "sphere"
    zero: Tensor

    def __init__(self, size: int | None = None):
        super().__init__()
        self.size = size
        self.register_buffer("zero", torch.zeros(size or 0), persistent=False)

    def forward(self, scope: ForwardContext, above: Tensor | None = None) -> dist.UniformSphere:
        return dist.UniformSphere(self.zero)
