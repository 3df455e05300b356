"""Rows of several parts, such as an image and its label, any of which may be missing."""

from __future__ import annotations

from ..core import Ramp
from ..latents import JointExpert, Latent, MixtureOfExperts, Posterior, ProductOfExperts, StandardNormal
from ..likelihoods import Bernoulli, Categorical, Gaussian, Likelihood, Mixed, Modalities, NegativeBinomial, Poisson
from ..networks import MLP, PartDecoder, PartEncoder
from ..objectives import ExpertIWAE, JointELBO, Objective, PartsELBO
from ..suggest import nearest
from .recipe import Parts, recipe

KINDS = {
    "bernoulli": Bernoulli,
    "gaussian": lambda shape: Gaussian("per_dimension", shape=shape),
    "poisson": Poisson,
    "negative-binomial": NegativeBinomial,
}
"""What a part may be, by name; "categorical-10" besides, for whole numbers below 10."""


def likelihood_of(kind: str, width: int) -> Likelihood:
    """The likelihood of a part. Raises ValueError for a name that is none."""
    name, _, levels = kind.partition("-")
    if name == "categorical" and levels.isdigit():
        return Categorical(int(levels), shape=(width,))
    if kind not in KINDS:
        known = [*KINDS, "categorical-10"]
        raise ValueError(f"a part of kind {kind!r}{nearest(kind, known)}: expected one of {', '.join(known)}")
    return KINDS[kind](shape=(width,))


def of_parts(
    posterior: type[Posterior],
    latent_dim: int,
    widths: tuple[int, ...] | None,
    kinds: tuple[str, ...] | None,
    hidden: tuple[int, ...],
    objective: Objective,
    **settings: bool,
) -> Parts:
    """A dense network in and one out for each part; without widths, the two halves of whatever the rows are."""
    if (widths is None) != (kinds is None) or (widths and len(widths) != len(kinds)):
        raise ValueError(
            f"widths={widths}, kinds={kinds}: give both or none, a number of columns and a kind for each part, such as "
            'widths=(784, 1), kinds=("bernoulli", "categorical-10")'
        )
    likelihood = Bernoulli() if widths is None else Mixed([likelihood_of(k, w) for k, w in zip(kinds, widths)])
    hidden, count = tuple(hidden), 2 if widths is None else len(widths)
    joint = MLP(hidden, heads=2) if posterior is JointExpert else None
    return Parts(
        Latent(posterior(latent_dim, count, **settings), StandardNormal()),
        PartEncoder([MLP(hidden, heads=2) for _ in range(count)], joint),
        PartDecoder([MLP(hidden[::-1]) for _ in range(count)]),
        Modalities(likelihood),
        objective,
    )


@recipe("Suzuki et al. 2016, arXiv:1611.01891, JMVAE-kl")
def jmvae(
    latent_dim: int,
    alpha: float = 0.1,
    widths: tuple[int, ...] | None = None,
    kinds: tuple[str, ...] | None = None,
    weights: tuple[float, ...] | None = None,
    hidden: tuple[int, ...] = (200, 200),
) -> Parts:
    """Rows of parts: an encoder of all of them, and one of each that learns to say the same."""
    return of_parts(JointExpert, latent_dim, widths, kinds, hidden, JointELBO(alpha, weights))


@recipe("Wu & Goodman 2018, arXiv:1802.05335")
def mvae(
    latent_dim: int,
    subsets: int = 0,
    warm_up: int = 5000,
    widths: tuple[int, ...] | None = None,
    kinds: tuple[str, ...] | None = None,
    weights: tuple[float, ...] | None = None,
    hidden: tuple[int, ...] = (200, 200),
) -> Parts:
    """Rows of parts: the posterior is the product of what each part that is there says; the rate warms up."""
    objective = PartsELBO(Ramp(1.0, warm_up), subsets, weights=weights)
    return of_parts(ProductOfExperts, latent_dim, widths, kinds, hidden, objective)


@recipe("Shi et al. 2019, arXiv:1911.03393")
def mmvae(
    latent_dim: int,
    k: int = 10,
    widths: tuple[int, ...] | None = None,
    kinds: tuple[str, ...] | None = None,
    weights: tuple[float, ...] | None = None,
    hidden: tuple[int, ...] = (200, 200),
) -> Parts:
    """Rows of parts: the posterior is the mixture of what each part that is there says."""
    return of_parts(MixtureOfExperts, latent_dim, widths, kinds, hidden, ExpertIWAE(k, weights))


@recipe("Sutter et al. 2021, arXiv:2105.02470")
def mopoe(
    latent_dim: int,
    widths: tuple[int, ...] | None = None,
    kinds: tuple[str, ...] | None = None,
    weights: tuple[float, ...] | None = None,
    hidden: tuple[int, ...] = (200, 200),
) -> Parts:
    """Rows of parts: the posterior is the mixture, over all sets of parts that are there, of their products."""
    objective = PartsELBO(alone=False, weights=weights)
    return of_parts(MixtureOfExperts, latent_dim, widths, kinds, hidden, objective, products=True)
