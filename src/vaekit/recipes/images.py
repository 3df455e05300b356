"""Images measured by other means than the likelihood of each pixel."""

from __future__ import annotations

from ..likelihoods import Bernoulli, MultiScaleSimilarity, Perceptual
from ..networks import MLP, ConvEncoder
from ..objectives import VAEGAN
from .recipe import Parts, convolutional, plain, recipe


@recipe("Snell et al. 2017, arXiv:1511.06409; Wang et al. 2003")
def ms_ssim(
    latent_dim: int, weight: float = 1.0, channels: tuple[int, ...] = (32, 64, 128), hidden: int = 256
) -> Parts:
    """Images compared by their structure at several scales (MS-SSIM) in place of a likelihood: there is no ELBO."""
    return convolutional(plain(latent_dim), channels, hidden, likelihood=MultiScaleSimilarity(weight))


@recipe("Hou et al. 2017, arXiv:1610.00291; He et al. 2016, arXiv:1606.04801")
def perceptual(
    latent_dim: int,
    weight: float = 1000.0,
    features: tuple[int, ...] = (32, 64),
    channels: tuple[int, ...] = (32, 64, 128),
    hidden: int = 256,
) -> Parts:
    """Images compared by what a fixed convolutional network of random weights sees in them: there is no ELBO.

    Hou et al. take a network trained on photographs; pass yours as `likelihood=vk.likelihoods.Perceptual(network)`.
    """
    likelihood = Perceptual(ConvEncoder(tuple(features), None), weight)
    return convolutional(plain(latent_dim), channels, hidden, likelihood=likelihood)


@recipe("Larsen et al. 2016, arXiv:1512.09300")
def vae_gan(
    latent_dim: int,
    gamma: float = 1.0,
    turns: int = 4,
    critic: tuple[int, ...] = (32, 64),
    channels: tuple[int, ...] = (32, 64, 128),
    hidden: int = 256,
) -> Parts:
    """Images compared by what a critic sees in them, who learns to tell them from reconstructions and samples."""
    features = ConvEncoder(tuple(critic), None, "leaky_relu")
    objective = VAEGAN(features, MLP((hidden,), "leaky_relu"), gamma, turns)
    return convolutional(plain(latent_dim), channels, hidden, likelihood=Bernoulli(), objective=objective)
