"""Classes and context: known, known in part, and found."""

from __future__ import annotations

from typing import Literal

from ..latents import (
    Categorical,
    Conditional,
    GaussianMixture,
    Labelled,
    Ladder,
    LadderLevel,
    Latent,
    Normal,
    Prior,
    StandardNormal,
    UniformCategorical,
)
from ..networks import MLP
from ..objectives import ELBO, ClassELBO
from .recipe import Parts, Pretraining, TrainingDefaults, classic, plain, recipe


@recipe("Sohn et al. 2015, NeurIPS", needs_context=True)
def conditional(latent_dim: int, hidden: tuple[int, ...] = (128,)) -> Parts:
    """The classic given a context, which encoder and decoder read: p(x | z, context)."""
    return classic(plain(latent_dim), hidden, heads=2)


@recipe("Sohn et al. 2015, NeurIPS, equation 4", needs_context=True)
def conditional_prior(latent_dim: int, hidden: tuple[int, ...] = (128,)) -> Parts:
    """The same with a prior that reads the context, too: p(z | context)."""
    return classic(Latent(Normal(latent_dim), Conditional(MLP(hidden[-1:]), Normal(latent_dim))), hidden, heads=2)


def under_a_class(latent_dim: int, classes: int, prior: Prior, hidden: tuple[int, ...]) -> Ladder:
    """A class above a normal code: q(y | x) q(z | x, y), the decoder reads both."""
    top = LadderLevel(Labelled(Latent(Categorical(1, classes), UniformCategorical())), MLP(hidden[-1:]))
    return Ladder([top, LadderLevel(Latent(Normal(latent_dim), prior), MLP(hidden[-1:]))], width=hidden[-1])


@recipe("Kingma et al. 2014, arXiv:1406.5298, M2")
def m2(latent_dim: int, classes: int = 10, alpha: float = 0.1, hidden: tuple[int, ...] = (500,)) -> Parts:
    """A class, known for some rows, above a code that is independent of it: predicts the others' classes."""
    latent = under_a_class(latent_dim, classes, StandardNormal(), tuple(hidden))
    return classic(latent, hidden, objective=ClassELBO(alpha))


@recipe("Jiang et al. 2017, arXiv:1611.05148", regime=lambda rows: TrainingDefaults(lr=2e-3))
def vade(
    latent_dim: int,
    clusters: int = 10,
    pretraining: int = 40,
    covariance: Literal["diagonal", "full"] = "full",
    hidden: tuple[int, ...] = (500, 500),
) -> Parts:
    """Clusters: an autoencoder first, then a mixture fitted to its codes as the prior of a VAE."""
    latent = Latent(Normal(latent_dim), GaussianMixture(clusters, "fitted", covariance))
    return classic(latent, hidden, heads=2, pretraining=Pretraining(ELBO(0.05), pretraining))


@recipe("Dilokthanakul et al. 2016, arXiv:1611.02648; Kingma et al. 2014, arXiv:1406.5298, without labels")
def gm_vae(latent_dim: int, clusters: int = 10, hidden: tuple[int, ...] = (500,)) -> Parts:
    """Clusters: a class above a code that is normal given it, the class summed out."""
    latent = under_a_class(latent_dim, clusters, Conditional(MLP(()), Normal(latent_dim)), tuple(hidden))
    return classic(latent, hidden, objective=ClassELBO())
