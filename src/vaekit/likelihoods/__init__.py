"""p(x | z): what the decoder's numbers say about the data."""

from .autoregressive import Autoregressive
from .base import Likelihood
from .counts import Multinomial, NegativeBinomial, Poisson, ZeroInflatedNegativeBinomial
from .judged import Judge, MultiScaleSimilarity, Perceptual
from .levels import Categorical, DiscretisedLogisticMixture
from .mixed import Mixed
from .modalities import Modalities
from .real import Gaussian
from .unit import Bernoulli, ContinuousBernoulli

__all__ = [
    "Autoregressive",
    "Bernoulli",
    "Categorical",
    "ContinuousBernoulli",
    "DiscretisedLogisticMixture",
    "Gaussian",
    "Judge",
    "Likelihood",
    "Mixed",
    "MultiScaleSimilarity",
    "Multinomial",
    "Modalities",
    "NegativeBinomial",
    "Perceptual",
    "Poisson",
    "ZeroInflatedNegativeBinomial",
]
