"""p(x | z): what the decoder's numbers say about the data."""

from .autoregressive import Autoregressive
from .base import Likelihood
from .columns import CountColumns, Ordinal, Warped
from .counts import Multinomial, NegativeBinomial, Poisson, ZeroInflatedNegativeBinomial
from .levels import Categorical, DiscretisedLogisticMixture
from .mixed import Mixed
from .modalities import Modalities
from .real import Gaussian, SelfMaskedGaussian
from .reconstruction import MultiScaleSimilarity, Perceptual, ReconstructionLoss
from .table import of_table
from .unit import Bernoulli, ContinuousBernoulli

__all__ = [
    "Autoregressive",
    "Bernoulli",
    "Categorical",
    "ContinuousBernoulli",
    "CountColumns",
    "DiscretisedLogisticMixture",
    "Gaussian",
    "ReconstructionLoss",
    "Likelihood",
    "Mixed",
    "MultiScaleSimilarity",
    "Multinomial",
    "Modalities",
    "NegativeBinomial",
    "Ordinal",
    "Perceptual",
    "Poisson",
    "Warped",
    "of_table",
    "SelfMaskedGaussian",
    "ZeroInflatedNegativeBinomial",
]
