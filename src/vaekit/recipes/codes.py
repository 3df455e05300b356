"""Other posteriors and priors of one vector of codes."""

from __future__ import annotations

from ..core import Ramp
from ..latents import (
    Categorical,
    Coupling,
    ExemplarPrior,
    FlowPrior,
    FullNormal,
    GaussianMixture,
    Hamiltonian,
    InverseAutoregressive,
    Latent,
    MaskedAutoregressive,
    Metric,
    Normal,
    PlanarFlow,
    RadialFlow,
    RiemannianHamiltonian,
    SplineFlow,
    StandardNormal,
    SylvesterFlow,
    UniformCategorical,
    VampPrior,
)
from ..networks import MLP
from ..objectives import ELBO
from .recipe import Parts, classic, plain, recipe


@recipe("Kingma & Welling 2014, arXiv:1312.6114, with a full covariance")
def full_covariance(latent_dim: int, hidden: tuple[int, ...] = (128,)) -> Parts:
    """A normal posterior whose dimensions may be correlated."""
    return classic(Latent(FullNormal(latent_dim), StandardNormal()), hidden)


@recipe("Rezende & Mohamed 2015, arXiv:1505.05770; Dinh et al. 2017, arXiv:1605.08803")
def flow(latent_dim: int, layers: int = 4, hidden: tuple[int, ...] = (128,)) -> Parts:
    """A posterior bent by affine coupling layers."""
    return classic(Latent(Coupling(latent_dim, layers), StandardNormal()), hidden)


@recipe("Rezende & Mohamed 2015, arXiv:1505.05770, equation 10")
def planar(latent_dim: int, layers: int = 8, hidden: tuple[int, ...] = (128,)) -> Parts:
    """A posterior bent across planes that the encoder gives."""
    return classic(Latent(PlanarFlow(latent_dim, layers), StandardNormal()), hidden)


@recipe("Rezende & Mohamed 2015, arXiv:1505.05770, equation 14")
def radial(latent_dim: int, layers: int = 8, hidden: tuple[int, ...] = (128,)) -> Parts:
    """A posterior drawn to or pushed from centres that the encoder gives."""
    return classic(Latent(RadialFlow(latent_dim, layers), StandardNormal()), hidden)


@recipe("van den Berg et al. 2018, arXiv:1803.05649")
def sylvester(latent_dim: int, layers: int = 4, reflections: int = 4, hidden: tuple[int, ...] = (128,)) -> Parts:
    """A posterior bent in all its dimensions at once, by matrices that the encoder gives."""
    return classic(Latent(SylvesterFlow(latent_dim, layers, reflections), StandardNormal()), hidden)


@recipe("Kingma et al. 2016, arXiv:1606.04934")
def iaf(latent_dim: int, layers: int = 4, hidden: tuple[int, ...] = (128,)) -> Parts:
    """A posterior bent by gated autoregressive layers: draws are fast."""
    return classic(Latent(InverseAutoregressive(latent_dim, layers), StandardNormal()), hidden)


@recipe("Papamakarios et al. 2017, arXiv:1705.07057")
def maf(latent_dim: int, layers: int = 4, hidden: tuple[int, ...] = (128,)) -> Parts:
    """A posterior bent by masked autoregressive layers: densities are fast."""
    return classic(Latent(MaskedAutoregressive(latent_dim, layers), StandardNormal()), hidden)


@recipe("Durkan et al. 2019, arXiv:1906.04032")
def spline(latent_dim: int, layers: int = 4, bins: int = 8, hidden: tuple[int, ...] = (128,)) -> Parts:
    """A posterior bent by autoregressive layers of rational-quadratic splines."""
    return classic(Latent(SplineFlow(latent_dim, layers, bins), StandardNormal()), hidden)


@recipe("Chen et al. 2017, arXiv:1611.02731")
def flow_prior(latent_dim: int, layers: int = 4, bins: int = 0, hidden: tuple[int, ...] = (128,)) -> Parts:
    """A prior of masked autoregressive layers, affine or of splines with `bins`, learned with the rest."""
    return classic(Latent(Normal(latent_dim), FlowPrior(layers, bins=bins)), hidden, heads=2)


@recipe("Caterini et al. 2018, arXiv:1805.11328")
def hamiltonian(latent_dim: int, steps: int = 3, hidden: tuple[int, ...] = (128,)) -> Parts:
    """The draw is carried towards the posterior by leapfrog steps."""
    return classic(Hamiltonian(plain(latent_dim), steps), hidden, heads=2)


@recipe("Chadebec et al. 2020, arXiv:2010.11518")
def riemannian(latent_dim: int, steps: int = 3, centres: int = 100, hidden: tuple[int, ...] = (128,)) -> Parts:
    """The same along a geometry that is learned from the codes of some training rows."""
    metric = Metric(MLP(hidden), centres)
    return classic(RiemannianHamiltonian(plain(latent_dim), metric, steps), hidden, heads=2)


@recipe("Jang et al. 2017, arXiv:1611.01144; Maddison et al. 2017, arXiv:1611.00712")
def categorical(
    latent_dim: int, categories: int = 10, temperature: float = 0.5, hidden: tuple[int, ...] = (128,)
) -> Parts:
    """latent_dim categorical variables, relaxed in training and hard in evaluation."""
    return classic(Latent(Categorical(latent_dim, categories, temperature), UniformCategorical()), hidden)


@recipe("Nalisnick et al. 2016; Dilokthanakul et al. 2016, arXiv:1611.02648")
def mixture(latent_dim: int, components: int = 10, hidden: tuple[int, ...] = (128,)) -> Parts:
    """A learned mixture of normals as the prior."""
    return classic(Latent(Normal(latent_dim), GaussianMixture(components)), hidden, heads=2)


@recipe("Norouzi et al. 2020, arXiv:2004.04795")
def exemplar(
    latent_dim: int, components: int = 500, warm_up: int = 5000, hidden: tuple[int, ...] = (300, 300)
) -> Parts:
    """The prior is a mixture around the codes of rows of the training data; the rate warms up."""
    latent = Latent(Normal(latent_dim), ExemplarPrior(components))
    return classic(latent, hidden, heads=2, objective=ELBO(Ramp(1.0, warm_up)))


@recipe("Tomczak & Welling 2018, arXiv:1705.07120")
def vamp(latent_dim: int, components: int = 500, warm_up: int = 5000, hidden: tuple[int, ...] = (300, 300)) -> Parts:
    """The prior is the aggregate posterior of learned pseudo-inputs; the rate warms up."""
    latent = Latent(Normal(latent_dim), VampPrior(components))
    return classic(latent, hidden, heads=2, objective=ELBO(Ramp(1.0, warm_up)))
