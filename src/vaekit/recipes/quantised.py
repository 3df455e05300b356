"""Codes from a codebook."""

from __future__ import annotations

from ..latents import Codebook
from .recipe import Parts, classic, recipe


@recipe("van den Oord et al. 2017, arXiv:1711.00937")
def vq(latent_dim: int, codes: int = 256, positions: int = 8, hidden: tuple[int, ...] = (256,)) -> Parts:
    """`positions` codes per row, each the nearest of a codebook of vectors of latent_dim numbers."""
    return classic(Codebook(codes, latent_dim, positions), hidden)
