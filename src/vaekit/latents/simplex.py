"""Codes that are proportions, as of the topics of a document."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .. import distributions as dist
from ..core import ForwardContext
from .posteriors import Posterior, log_variance
from .priors import Prior


class LogisticNormal(Posterior):
    """`z = softmax(h)`, h ~ N(mu, diag sigma^2): reads mu and log sigma^2, the latter kept within [-20, 6].

    Srivastava & Sutton 2017, arXiv:1703.01488. size: K proportions, which sum to 1.
    """

    space = "simplex"

    def __init__(self, size: int):
        super().__init__()
        if not isinstance(size, int) or size < 2:
            raise ValueError(f"LogisticNormal(size={size!r}): expected at least 2 proportions: one alone is always 1")
        self.size = size

    @property
    def n_in(self) -> int:
        return 2 * self.size

    def forward(self, evidence: Tensor) -> dist.LogisticNormal:
        mu, log_var = evidence.chunk(2, -1)
        return dist.LogisticNormal(mu, (0.5 * log_variance(log_var)).exp())


class LaplaceDirichlet(Prior):
    """The logistic normal closest to a symmetric Dirichlet of this concentration: of variance (1 - 1 / K) / alpha.

    Laplace's approximation in the basis of the softmax, Srivastava & Sutton 2017, arXiv:1703.01488, equation 4. A small
    concentration alpha makes documents of few topics.
    """

    space = "simplex"
    zero: Tensor

    def __init__(self, concentration: float = 1.0, size: int | None = None):
        super().__init__()
        if not concentration > 0:
            raise ValueError(f"LaplaceDirichlet(concentration={concentration}): expected a number above 0")
        self.concentration, self.size = concentration, size
        self.register_buffer("zero", torch.zeros(size or 0), persistent=False)

    def forward(self, scope: ForwardContext, above: Tensor | None = None) -> dist.LogisticNormal:
        variance = (1 - 1 / self.zero.shape[-1]) / self.concentration
        return dist.LogisticNormal(self.zero, torch.full_like(self.zero, math.sqrt(variance)))
