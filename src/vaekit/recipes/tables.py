"""Tables: rows of columns of several kinds, with cells that are missing."""

from __future__ import annotations

from ..latents import FlowPrior, Latent, Normal
from ..likelihoods import of_table
from ..networks import MLP
from ..objectives import ELBO
from .recipe import Parts, likelihood_for, plain, recipe


@recipe("Nazabal et al. 2020, arXiv:1807.03653; Snelson et al. 2003, of warped columns", of_columns=True)
def table(latent_dim: int, hidden: tuple[int, ...] = (128, 128), components: int = 1) -> Parts:
    """A data frame as it comes: a likelihood of its own for every kind of column, missing cells left out."""
    return _of_columns(plain(latent_dim), hidden, components)


@recipe("Chen et al. 2017, arXiv:1611.02731; beta below 1: Higgins et al. 2017", of_columns=True)
def synthetic(latent_dim: int, beta: float = 0.1, hidden: tuple[int, ...] = (128, 128), components: int = 1) -> Parts:
    """A data frame to draw new rows of: codes that say much of a row, for a low beta, and a flow for their prior."""
    latent = Latent(Normal(latent_dim), FlowPrior())
    return _of_columns(latent, hidden, components, objective=ELBO(beta))


def _of_columns(latent: Latent, hidden: tuple[int, ...], components: int, objective: ELBO | None = None) -> Parts:
    hidden = tuple(hidden)
    return Parts(
        latent,
        MLP(hidden, heads=2, reads_mask=True),
        MLP(hidden[::-1]),
        likelihood=lambda spec: likelihood_for(spec) if spec.schema is None else of_table(spec.schema, components),
        objective=objective,
    )
