"""Other posteriors and priors of one vector of codes."""

from __future__ import annotations

from ..core import Ramp
from ..latents import (
    Binary,
    BinaryPrior,
    Categorical,
    Coupling,
    ExemplarPrior,
    FlowPrior,
    FullNormal,
    GaussianMixture,
    Hamiltonian,
    InverseAutoregressive,
    Laplace,
    LaplaceDirichlet,
    Latent,
    LogisticNormal,
    LowRankNormal,
    MaskedAutoregressive,
    Normal,
    PlanarFlow,
    PowerSpherical,
    RadialFlow,
    RiemannianHamiltonian,
    RiemannianMetric,
    SecondStage,
    SplineFlow,
    StandardLaplace,
    StandardNormal,
    StandardWrappedNormal,
    SylvesterFlow,
    UniformCategorical,
    UniformSphere,
    VampPrior,
    VonMisesFisher,
    WrappedNormal,
)
from ..latents.posteriors import Draws
from ..likelihoods import Bernoulli, Gaussian, Multinomial
from ..networks import MLP, BallMLP, TopicMixture
from ..objectives import ELBO, TwoStage
from .recipe import Parts, classic, dense, plain, recipe


@recipe("Kingma & Welling 2014, arXiv:1312.6114, with a full covariance")
def full_covariance(latent_dim: int, hidden: tuple[int, ...] = (128,)) -> Parts:
    """A normal posterior whose dimensions may be correlated."""
    return classic(Latent(FullNormal(latent_dim), StandardNormal()), hidden)


@recipe("Ong et al. 2018, arXiv:1701.03208")
def low_rank(latent_dim: int, rank: int = 1, hidden: tuple[int, ...] = (128,)) -> Parts:
    """A normal posterior whose dimensions may be correlated along `rank` directions."""
    return classic(Latent(LowRankNormal(latent_dim, rank), StandardNormal()), hidden)


@recipe("Kingma & Welling 2014, arXiv:1312.6114, section 2.4")
def laplace(latent_dim: int, hidden: tuple[int, ...] = (128,)) -> Parts:
    """A Laplace posterior and prior: codes with a sharp peak and heavy tails."""
    return classic(Latent(Laplace(latent_dim), StandardLaplace()), hidden, heads=2)


@recipe("Davidson et al. 2018, arXiv:1804.00891")
def spherical(latent_dim: int, hidden: tuple[int, ...] = (256, 128)) -> Parts:
    """A von Mises-Fisher posterior on the unit sphere in latent_dim dimensions, and its uniform prior."""
    return classic(Latent(VonMisesFisher(latent_dim), UniformSphere()), hidden)


@recipe("De Cao & Aziz 2020, arXiv:2006.04437")
def power_spherical(latent_dim: int, hidden: tuple[int, ...] = (256, 128)) -> Parts:
    """The same with the power spherical posterior, whose normaliser is closed."""
    return classic(Latent(PowerSpherical(latent_dim), UniformSphere()), hidden)


@recipe("Mathieu et al. 2019, arXiv:1901.06033; Nagano et al. 2019, arXiv:1902.02992")
def poincare(latent_dim: int, curvature: float = 1.0, hidden: tuple[int, ...] = (128,)) -> Parts:
    """Codes in the Poincaré ball, where distances grow towards the edge: room for trees."""
    latent, hidden = Latent(WrappedNormal(latent_dim, curvature), StandardWrappedNormal()), tuple(hidden)
    return Parts(latent, MLP(hidden, heads=2), BallMLP(hidden[::-1], curvature=curvature), Bernoulli())


@recipe("Srivastava & Sutton 2017, arXiv:1703.01488")
def topics(
    latent_dim: int,
    concentration: float = 0.1,
    mixture: bool = True,
    warm_up: int = 1000,
    hidden: tuple[int, ...] = (100,),
) -> Parts:
    """latent_dim topics of counted words, which a document mixes (LDA), or without `mixture` multiplies (ProdLDA)."""
    latent = Latent(LogisticNormal(latent_dim), LaplaceDirichlet(concentration))
    decoder = TopicMixture() if mixture else MLP(())
    return Parts(latent, MLP(tuple(hidden), heads=2), decoder, Multinomial(), ELBO(Ramp(1.0, warm_up)))


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


@recipe("Dai & Wipf 2019, arXiv:1903.05789")
def two_stage(
    latent_dim: int, second: tuple[int, ...] = (256, 256), beta: float = 1.0, hidden: tuple[int, ...] = (128,)
) -> Parts:
    """A prior that is a VAE over the codes, which themselves are held to N(0, I); the noise of x is learned."""
    latent, parts = Latent(Normal(latent_dim), SecondStage(second)), dict(heads=2, likelihood=Gaussian("shared"))
    return dense(latent, hidden, **parts, objective=TwoStage(beta))


@recipe("Caterini et al. 2018, arXiv:1805.11328")
def hamiltonian(latent_dim: int, steps: int = 3, hidden: tuple[int, ...] = (128,)) -> Parts:
    """The draw is carried towards the posterior by leapfrog steps."""
    return classic(Hamiltonian(plain(latent_dim), steps), hidden, heads=2)


@recipe("Chadebec et al. 2020, arXiv:2010.11518")
def riemannian(latent_dim: int, steps: int = 3, centres: int = 100, hidden: tuple[int, ...] = (128,)) -> Parts:
    """The same along a geometry that is learned from the codes of some training rows."""
    metric = RiemannianMetric(MLP(hidden), centres)
    return classic(RiemannianHamiltonian(plain(latent_dim), metric, steps), hidden, heads=2)


@recipe("Jang et al. 2017, arXiv:1611.01144; Maddison et al. 2017, arXiv:1611.00712")
def categorical(
    latent_dim: int, categories: int = 10, temperature: float = 0.5, hidden: tuple[int, ...] = (128,)
) -> Parts:
    """latent_dim categorical variables, relaxed in training and hard in evaluation."""
    return classic(Latent(Categorical(latent_dim, categories, temperature), UniformCategorical()), hidden)


@recipe("Bengio et al. 2013, arXiv:1308.3432; Jang et al. 2017, arXiv:1611.01144, section 2.2")
def straight_through(
    latent_dim: int, categories: int = 10, temperature: float = 0.5, hidden: tuple[int, ...] = (128,)
) -> Parts:
    """latent_dim categorical variables, hard in training too, whose gradient is that of a relaxed draw."""
    posterior = Categorical(latent_dim, categories, temperature, draws="straight-through")
    return classic(Latent(posterior, UniformCategorical()), hidden)


@recipe("Maddison et al. 2017, arXiv:1611.00712, appendix B")
def binary(
    latent_dim: int, temperature: float = 0.5, draws: Draws = "relaxed", hidden: tuple[int, ...] = (128,)
) -> Parts:
    """latent_dim bits, relaxed in training (or "straight-through") and hard in evaluation."""
    return classic(Latent(Binary(latent_dim, temperature, draws), BinaryPrior()), hidden)


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
