"""Counts: cells x genes, documents x words, of rows that were read at different depths."""

from __future__ import annotations

from ..core import Ramp
from ..latents import Conditional, Normal
from ..likelihoods import Likelihood, NegativeBinomial, ZeroInflatedNegativeBinomial
from ..likelihoods.counts import Dispersion, Library
from ..networks import MLP, LibraryDecoder
from ..objectives import ELBO, ClassELBO
from .labels import under_a_class
from .recipe import Parts, plain, recipe


def counted(library: Library | None, zero_inflated: bool, dispersion: Dispersion) -> Likelihood:
    family = ZeroInflatedNegativeBinomial if zero_inflated else NegativeBinomial
    return family(dispersion, library)


@recipe("Lopez et al. 2018, Nature Methods 15, 1053")
def counts(
    latent_dim: int,
    library: Library | None = "observed",
    zero_inflated: bool = False,
    dispersion: Dispersion = "per_dimension",
    warm_up: int = 400,
    hidden: tuple[int, ...] = (128,),
) -> Parts:
    """Counts (scVI): a negative binomial around a row's total, known or latent, times the shares that its code tells.

    With library="latent" the first number of the code is the log of the total, beside latent_dim others.
    """
    hidden, latent = tuple(hidden), library == "latent"
    decoder = LibraryDecoder(hidden[::-1]) if latent else MLP(hidden[::-1])
    likelihood = counted(library, zero_inflated, dispersion)
    objective = ELBO(Ramp(1.0, warm_up))
    return Parts(plain(latent_dim + latent), MLP(hidden, heads=2), decoder, likelihood, objective)


@recipe("Xu et al. 2021, Molecular Systems Biology 17, e9620; Kingma et al. 2014, arXiv:1406.5298")
def count_classes(
    latent_dim: int,
    classes: int = 10,
    alpha: float = 50.0,
    zero_inflated: bool = False,
    dispersion: Dispersion = "per_dimension",
    hidden: tuple[int, ...] = (128,),
) -> Parts:
    """The same under a class, known for some rows (scANVI): predicts the others', such as types of cells."""
    prior = Conditional(MLP(()), Normal(latent_dim))
    latent = under_a_class(latent_dim, classes, prior, tuple(hidden))
    likelihood = counted("observed", zero_inflated, dispersion)
    return Parts(latent, MLP(tuple(hidden)), MLP(tuple(hidden)[::-1]), likelihood, ClassELBO(alpha))
