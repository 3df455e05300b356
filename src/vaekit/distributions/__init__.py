"""The families: small frozen records of tensors, and the table of their closed KLs."""

from .base import KL, Distribution, closed_form, kl, per_row, sum_cells
from .codes import CodeGrid
from .columns import Ordinals, WarpedLogistics
from .counts import Multinomial, NegativeBinomial, Poisson
from .flow import CouplingFlow
from .hyperbolic import UniformBall, WrappedNormal
from .joint import Joint
from .laplace import Laplace
from .levels import Categorical, DiscretisedLogisticMixture
from .library import Library, ZeroInflated, zero_inflated_negative_binomial
from .marginal import Marginal
from .mixture import Mixture, gumbel
from .normal import AutoregressiveNormal, Delta, LowRankNormal, MultivariateNormal, Normal
from .onehot import OneHot
from .reconstruction import Judged
from .selfmasked import SelfMaskedNormal
from .simplex import LogisticNormal
from .spherical import PowerSpherical, UniformSphere, VonMisesFisher
from .transforms import Flow
from .unit import Bernoulli, ContinuousBernoulli

__all__ = [
    "KL",
    "AutoregressiveNormal",
    "Bernoulli",
    "Categorical",
    "CodeGrid",
    "CouplingFlow",
    "ContinuousBernoulli",
    "Delta",
    "DiscretisedLogisticMixture",
    "Distribution",
    "Flow",
    "Joint",
    "Judged",
    "Marginal",
    "Laplace",
    "Library",
    "LogisticNormal",
    "LowRankNormal",
    "Mixture",
    "Multinomial",
    "MultivariateNormal",
    "NegativeBinomial",
    "Normal",
    "OneHot",
    "Ordinals",
    "Poisson",
    "PowerSpherical",
    "SelfMaskedNormal",
    "UniformBall",
    "UniformSphere",
    "VonMisesFisher",
    "WarpedLogistics",
    "WrappedNormal",
    "ZeroInflated",
    "closed_form",
    "gumbel",
    "kl",
    "per_row",
    "sum_cells",
    "zero_inflated_negative_binomial",
]
