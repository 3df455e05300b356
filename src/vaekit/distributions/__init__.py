"""The families: small frozen records of tensors, and the table of their closed KLs."""

from .base import KL, Distribution, closed_form, kl, per_row, sum_cells
from .counts import NegativeBinomial, Poisson
from .flow import CouplingFlow
from .joint import Joint
from .levels import Categorical, DiscretisedLogisticMixture
from .mixture import Mixture, gumbel
from .normal import AutoregressiveNormal, Delta, MultivariateNormal, Normal
from .onehot import OneHot
from .transforms import Flow
from .unit import Bernoulli, ContinuousBernoulli

__all__ = [
    "KL",
    "AutoregressiveNormal",
    "Bernoulli",
    "Categorical",
    "CouplingFlow",
    "ContinuousBernoulli",
    "Delta",
    "DiscretisedLogisticMixture",
    "Distribution",
    "Flow",
    "Joint",
    "Mixture",
    "MultivariateNormal",
    "NegativeBinomial",
    "Normal",
    "OneHot",
    "Poisson",
    "closed_form",
    "gumbel",
    "kl",
    "per_row",
    "sum_cells",
]
