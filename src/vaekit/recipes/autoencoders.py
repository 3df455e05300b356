"""Deterministic codes, regularised where a VAE makes noise."""

from __future__ import annotations

from ..latents import Latent, PointMass, StandardNormal
from ..objectives import RAE
from .recipe import Parts, classic, recipe


@recipe("Ghosh et al. 2020, arXiv:1903.12436")
def rae(latent_dim: int, beta: float = 0.01, decoder_l2: float = 0.0, hidden: tuple[int, ...] = (128,)) -> Parts:
    """A deterministic autoencoder whose codes are kept small: no noise, no likelihood of x."""
    return classic(Latent(PointMass(latent_dim), StandardNormal()), hidden, objective=RAE(beta, decoder_l2))
