"""p(x | z): what the decoder's numbers say about the data."""

from .base import Likelihood
from .counts import NegativeBinomial, Poisson
from .levels import Categorical, DiscretisedLogisticMixture
from .mixed import Mixed
from .modalities import Modalities
from .real import Gaussian
from .unit import Bernoulli, ContinuousBernoulli

__all__ = [
    "Bernoulli",
    "Categorical",
    "ContinuousBernoulli",
    "DiscretisedLogisticMixture",
    "Gaussian",
    "Likelihood",
    "Mixed",
    "Modalities",
    "NegativeBinomial",
    "Poisson",
]
