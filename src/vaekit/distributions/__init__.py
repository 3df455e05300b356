"""The families: small frozen records of tensors, and the table of their closed KLs."""

from .base import KL, Distribution, closed_form, kl, per_row, sum_cells
from .codes import CodeGrid
from .counts import NegativeBinomial, Poisson
from .flow import CouplingFlow
from .joint import Joint
from .judged import Judged
from .levels import Categorical, DiscretisedLogisticMixture
from .marginal import Marginal
from .mixture import Mixture, gumbel
from .normal import Delta, MultivariateNormal, Normal
from .onehot import OneHot
from .transforms import Flow
from .unit import Bernoulli, ContinuousBernoulli

__all__ = [
    "KL",
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
