"""Codes held to the prior by other means than the rate, deterministic ones among them."""

from __future__ import annotations

from ..latents import Latent, PointMass, StandardNormal
from ..likelihoods import Bernoulli
from ..networks import MLP, Spectral
from ..objectives import AAE, RAE, WAE
from ..objectives.aggregate import Kernel
from .recipe import Parts, classic, plain, recipe


@recipe("Ghosh et al. 2020, arXiv:1903.12436")
def rae(latent_dim: int, beta: float = 0.01, decoder_l2: float = 0.0, hidden: tuple[int, ...] = (128,)) -> Parts:
    """A deterministic autoencoder whose codes are kept small: no noise, no likelihood of x."""
    return classic(Latent(PointMass(latent_dim), StandardNormal()), hidden, objective=RAE(beta, decoder_l2))


@recipe("Ghosh et al. 2020, arXiv:1903.12436, gradient penalty")
def rae_gp(latent_dim: int, beta: float = 0.01, gradient: float = 10.0, hidden: tuple[int, ...] = (128,)) -> Parts:
    """The same with a decoder kept smooth by a penalty on its derivative by the code."""
    latent = Latent(PointMass(latent_dim), StandardNormal())
    return classic(latent, hidden, objective=RAE(beta, gradient_penalty=gradient))


@recipe("Ghosh et al. 2020, arXiv:1903.12436, spectral normalisation")
def rae_sn(latent_dim: int, beta: float = 1e-4, hidden: tuple[int, ...] = (128,)) -> Parts:
    """The same with a decoder kept smooth by layers of largest singular value 1."""
    latent, hidden = Latent(PointMass(latent_dim), StandardNormal()), tuple(hidden)
    return Parts(latent, MLP(hidden), Spectral(MLP(hidden[::-1])), Bernoulli(), RAE(beta))


@recipe("Tolstikhin et al. 2018, arXiv:1711.01558")
def wae(latent_dim: int, weight: float = 100.0, kernel: Kernel = "imq", hidden: tuple[int, ...] = (128,)) -> Parts:
    """A deterministic autoencoder whose codes together follow the prior: the Wasserstein autoencoder, by MMD."""
    return classic(Latent(PointMass(latent_dim), StandardNormal()), hidden, objective=WAE(weight, kernel=kernel))


@recipe("Makhzani et al. 2015, arXiv:1511.05644")
def aae(
    latent_dim: int, weight: float = 10.0, critic: tuple[int, ...] = (256, 256), hidden: tuple[int, ...] = (128,)
) -> Parts:
    """The rate replaced by a critic, to whom all codes together look like draws of the prior."""
    objective = AAE(MLP(tuple(critic), activation="leaky_relu"), weight)
    return classic(plain(latent_dim), hidden, heads=2, objective=objective)


@recipe("Tolstikhin et al. 2018, arXiv:1711.01558, WAE-GAN")
def wae_gan(
    latent_dim: int, weight: float = 10.0, critic: tuple[int, ...] = (256, 256), hidden: tuple[int, ...] = (128,)
) -> Parts:
    """A deterministic autoencoder whose codes together follow the prior: the Wasserstein autoencoder, by a critic."""
    objective = AAE(MLP(tuple(critic), activation="leaky_relu"), weight)
    return classic(Latent(PointMass(latent_dim), StandardNormal()), hidden, objective=objective)


@recipe("Zhao et al. 2017, arXiv:1706.02262")
def info_vae(
    latent_dim: int,
    alpha: float = 0.0,
    weight: float = 100.0,
    kernel: Kernel = "imq",
    hidden: tuple[int, ...] = (128,),
) -> Parts:
    """The rate weighed by 1 - alpha, and the distance (MMD) of all codes together to the prior by `weight`."""
    return classic(plain(latent_dim), hidden, heads=2, objective=WAE(weight, 1 - alpha, kernel))
