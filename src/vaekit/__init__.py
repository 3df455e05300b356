"""vaekit: the variational-autoencoder kit.

One small set of parts from which every VAE is composed, trained fast, judged honestly and put to work.
`import vaekit as vk; vae = vk.VAE(latent_dim=2).fit(x)`.
"""

__version__ = "0.1.0"

from . import distributions as distributions
from . import latents as latents
from . import likelihoods as likelihoods
from . import networks as networks
from . import objectives as objectives
from . import recipes as recipes
from .core import Cycle as Cycle
from .core import Ramp as Ramp
from .data import datasets as datasets
from .estimator import VAE as VAE
from .estimator import load as load
from .model import VAEModule as VAEModule
from .training import Adam as Adam
from .training import train as train
