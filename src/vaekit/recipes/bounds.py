"""Tighter bounds."""

from __future__ import annotations

from ..likelihoods import Bernoulli
from ..objectives import IWAE
from .recipe import Parts, dense, plain, recipe


@recipe("Burda et al. 2016, arXiv:1509.00519")
def iwae(latent_dim: int, k: int = 5, hidden: tuple[int, ...] = (200, 200)) -> Parts:
    """The bound of k importance-weighted draws, on binarised data."""
    return dense(plain(latent_dim), hidden, 2, likelihood=Bernoulli(binarise="dynamic"), objective=IWAE(k))


@recipe("Tucker et al. 2019, arXiv:1810.04152")
def dreg(latent_dim: int, k: int = 5, hidden: tuple[int, ...] = (200, 200)) -> Parts:
    """IWAE whose encoder learns by the doubly reparameterised gradient."""
    objective = IWAE(k, gradient="dreg")
    return dense(plain(latent_dim), hidden, 2, likelihood=Bernoulli(binarise="dynamic"), objective=objective)


@recipe("Mattei & Frellsen 2019, arXiv:1812.02633")
def miwae(latent_dim: int, k: int = 20, hidden: tuple[int, ...] = (128, 128)) -> Parts:
    """The importance-weighted bound over observed cells: for data with missing ones (missing=True)."""
    return dense(plain(latent_dim), hidden, heads=2, objective=IWAE(k))
