"""Latent variables: posterior families, priors, and the units that join them."""

from .codebook import Codebook as Codebook
from .flows import FlowPrior as FlowPrior
from .flows import InverseAutoregressive as InverseAutoregressive
from .flows import MaskedAutoregressive as MaskedAutoregressive
from .flows import PlanarFlow as PlanarFlow
from .flows import RadialFlow as RadialFlow
from .hamiltonian import Hamiltonian as Hamiltonian
from .ladder import Ladder as Ladder
from .ladder import Rung as Rung
from .latent import AbstractLatent as AbstractLatent
from .latent import Latent as Latent
from .posteriors import Binary as Binary
from .posteriors import Categorical as Categorical
from .posteriors import Coupling as Coupling
from .posteriors import FullNormal as FullNormal
from .posteriors import Normal as Normal
from .posteriors import PointMass as PointMass
from .posteriors import Posterior as Posterior
from .priors import BinaryPrior as BinaryPrior
from .priors import Conditional as Conditional
from .priors import ExemplarPrior as ExemplarPrior
from .priors import GaussianMixture as GaussianMixture
from .priors import Prior as Prior
from .priors import StandardNormal as StandardNormal
from .priors import UniformCategorical as UniformCategorical
from .priors import VampPrior as VampPrior
