"""Codes held to the prior by other means than the rate, deterministic ones among them."""

from __future__ import annotations

from ..latents import Latent, PointMass, StandardNormal
from ..objectives import RAE, WAE
from .recipe import Parts, classic, plain, recipe


@recipe("Ghosh et al. 2020, arXiv:1903.12436")
def rae(latent_dim: int, beta: float = 0.01, decoder_l2: float = 0.0, hidden: tuple[int, ...] = (128,)) -> Parts:
    """A deterministic autoencoder whose codes are kept small: no noise, no likelihood of x."""
    return classic(Latent(PointMass(latent_dim), StandardNormal()), hidden, objective=RAE(beta, decoder_l2))


@recipe("Tolstikhin et al. 2018, arXiv:1711.01558")
def wae(latent_dim: int, weight: float = 100.0, kernel: str = "imq", hidden: tuple[int, ...] = (128,)) -> Parts:
    """A deterministic autoencoder whose codes together follow the prior: the Wasserstein autoencoder, by MMD."""
    return classic(Latent(PointMass(latent_dim), StandardNormal()), hidden, objective=WAE(weight, kernel=kernel))


@recipe("Zhao et al. 2017, arXiv:1706.02262")
def info_vae(
    latent_dim: int,
    alpha: float = 0.0,
    weight: float = 100.0,
    kernel: str = "imq",
    hidden: tuple[int, ...] = (128,),
) -> Parts:
    """The rate weighed by 1 - alpha, and the distance (MMD) of all codes together to the prior by `weight`."""
    return classic(plain(latent_dim), hidden, heads=2, objective=WAE(weight, 1 - alpha, kernel))
