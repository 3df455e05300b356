"""Tables: rows of columns of several kinds, with cells that are missing."""

from __future__ import annotations

import math

from ..data.spec import DataSpec
from ..latents import FlowPrior, Latent, NaturalNormal, StandardNormal
from ..likelihoods import of_table
from ..networks import FactorEncoder, SkipMLP
from ..objectives import IWAE
from .factors import start_from_factors
from .recipe import Parts, TrainingDefaults, likelihood_for, recipe

MOST_LATENTS = 16
DRAWS = 5
"""Of z for each row and step."""
EPOCHS, VISITS, FEWEST_EPOCHS = 60, 6_000_000, 10
"""Of a table; how often its rows are visited in all, at most, and in how many epochs at least."""
CLIP = 100.0
"""Largest norm of a gradient, twenty times that of ordinary tables: a few extreme cells of a heavy tail must not fill
Adam's second moments, which would stop learning for thousands of steps."""
BATCH, LARGEST_BATCH, BATCHES = 128, 4096, 256
"""Rows in a batch: the power of 2 that makes `BATCHES` of them an epoch or more, within these bounds."""


def latents(spec: DataSpec) -> int:
    """As many as there are columns, 16 at most."""
    return min(MOST_LATENTS, math.prod(spec.shape))


def regime(rows: int) -> TrainingDefaults:
    """60 epochs of batches of 128; of 65,536 rows or more in larger ones, of more than 100,000 fewer epochs."""
    epochs = max(FEWEST_EPOCHS, min(EPOCHS, VISITS // max(rows, 1)))
    batch_size = max(BATCH, min(LARGEST_BATCH, 2 ** (rows // BATCHES).bit_length() // 2))
    return TrainingDefaults(epochs, batch_size, lr=2e-3, schedule="cosine", clip=CLIP)


@recipe(
    "Rubin & Thayer 1982; Mattei & Frellsen 2019, arXiv:1812.02633; Ma et al. 2019, arXiv:1809.11142; Chen et al. "
    "2017, arXiv:1611.02731",
    of_columns=True,
    latent_dim=latents,
    regime=regime,
)
def table(latent_dim: int, hidden: tuple[int, ...] = (64,), components: int = 1, flow: int = 4) -> Parts:
    """A data frame as it comes, gaps and all: begins as the factor analysis of what is seen, and learns the rest.

    flow: layers of the prior's flow; 0: N(0, I).
    """
    hidden = tuple(hidden)
    return Parts(
        Latent(NaturalNormal(latent_dim), FlowPrior(flow) if flow else StandardNormal()),
        FactorEncoder(hidden=hidden),
        SkipMLP(hidden[::-1]),
        likelihood=lambda spec: likelihood_for(spec) if spec.schema is None else of_table(spec.schema, components),
        objective=IWAE(DRAWS),
        start=start_from_factors,
    )
