"""Tables: rows of columns of several kinds, with cells that are missing."""

from __future__ import annotations

from ..likelihoods import of_table
from ..networks import MLP
from .recipe import Parts, likelihood_for, plain, recipe


@recipe("Nazabal et al. 2020, arXiv:1807.03653; Snelson et al. 2003, of warped columns")
def table(latent_dim: int, hidden: tuple[int, ...] = (128, 128), components: int = 1) -> Parts:
    """A data frame as it comes: a likelihood of its own for every kind of column, missing cells left out."""
    hidden = tuple(hidden)
    return Parts(
        plain(latent_dim),
        MLP(hidden, heads=2, reads_mask=True),
        MLP(hidden[::-1]),
        likelihood=lambda spec: likelihood_for(spec) if spec.schema is None else of_table(spec.schema, components),
    )
