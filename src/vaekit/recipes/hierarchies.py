"""Codes above codes."""

from __future__ import annotations

from ..latents import Conditional, Ladder, Latent, Normal, Rung
from ..networks import MLP
from ..objectives import ELBO
from .recipe import Parts, classic, plain, recipe


@recipe("Sønderby et al. 2016, arXiv:1602.02282; Kingma et al. 2016, arXiv:1606.04934")
def ladder(
    latent_dim: int,
    rungs: int = 2,
    free_bits: float = 0.5,
    width: int = 128,
    hidden: tuple[int, ...] = (128,),
) -> Parts:
    """A hierarchy of `rungs` codes of latent_dim numbers, each given those above it."""
    top = Rung(plain(latent_dim), MLP((width,)))
    lower = [
        Rung(Latent(Normal(latent_dim), Conditional(MLP((width,)), Normal(latent_dim))), MLP((width,)))
        for _ in range(rungs - 1)
    ]
    return classic(Ladder([top, *lower], width), hidden, objective=ELBO(free_bits=free_bits))
