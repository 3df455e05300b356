"""The compositions that the laws are tried on: every latent, likelihood and objective, small and in fp64."""

from collections.abc import Callable

import torch

from vaekit import latents as lt
from vaekit import likelihoods as lk
from vaekit import objectives as ob
from vaekit.core import Batch, Bound, Cycle, Ramp, record
from vaekit.distributions import Distribution
from vaekit.model import VAEModule
from vaekit.networks import MLP, ConvDecoder, ConvEncoder

CELLS = 5


def plain(size: int = 2) -> lt.Latent:
    return lt.Latent(lt.Normal(size), lt.StandardNormal())


def lower(size: int, prior: lt.Prior | None = None) -> lt.Rung:
    prior = prior or lt.Conditional(MLP((6,)), lt.Normal(size))
    return lt.Rung(lt.Latent(lt.Normal(size), prior), MLP((6,)))


@record
class Chain(Distribution):
    """`prod_i p(x_i | x_<i, z)`: binary cells, each given those before it, by a network that the record holds."""

    features: torch.Tensor
    network: Bound

    def _logits(self, x):
        return self.network(x, self.features)

    def log_prob(self, x):
        logits = self._logits(x)
        return (x - 1) * logits + torch.nn.functional.logsigmoid(logits)

    def draw(self, scope, rows=None):
        u = scope.rand(self.features.shape)
        x = torch.zeros_like(self.features)
        for i in range(x.shape[1]):
            here = (torch.arange(x.shape[1], device=x.device) == i).to(x.dtype)
            x = x + here * (u < torch.sigmoid(self._logits(x))).to(x.dtype)
        return x

    @property
    def mean(self):
        return torch.sigmoid(self._logits(torch.full_like(self.features, 0.5)))


class Causal(torch.nn.Module):
    """logit_i from x_<i and the features, by one masked layer."""

    def __init__(self, cells):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.randn(cells, cells))

    def forward(self, x, features):
        return features + x @ self.weight.triu(1)


class Autoregressive(lk.Likelihood):
    """A decoder that reads x."""

    support = "unit"

    def __init__(self, shape=None):
        super().__init__(shape)
        self.network = None if shape is None else Causal(shape[0])

    def distribution(self, parameters):
        return Chain(parameters, Bound.of(self.network))


LATENTS: dict[str, Callable[[], lt.AbstractLatent]] = {
    "normal": plain,
    "full normal": lambda: lt.Latent(lt.FullNormal(3), lt.StandardNormal()),
    "flow": lambda: lt.Latent(lt.Coupling(3, layers=2, hidden=6, context=2), lt.StandardNormal()),
    "planar": lambda: lt.Latent(lt.PlanarFlow(2, layers=2), lt.StandardNormal()),
    "planar and vamp": lambda: lt.Latent(lt.PlanarFlow(2, layers=2), lt.VampPrior(4)),
    "radial": lambda: lt.Latent(lt.RadialFlow(3, layers=2), lt.StandardNormal()),
    "iaf": lambda: lt.Latent(lt.InverseAutoregressive(3, layers=2, hidden=6, context=2), lt.StandardNormal()),
    "maf and its prior": lambda: lt.Latent(
        lt.MaskedAutoregressive(2, layers=2, hidden=6, context=2), lt.FlowPrior(layers=2, hidden=6)
    ),
    "categorical": lambda: lt.Latent(lt.Categorical(2, 3), lt.UniformCategorical()),
    "mixture prior": lambda: lt.Latent(lt.Normal(2), lt.GaussianMixture(4)),
    "vamp": lambda: lt.Latent(lt.Normal(2), lt.VampPrior(4)),
    "exemplars": lambda: lt.Latent(lt.Normal(2), lt.ExemplarPrior(4)),
    "flow and vamp": lambda: lt.Latent(lt.Coupling(2, layers=2, hidden=6, context=2), lt.VampPrior(4)),
    "full normal and vamp": lambda: lt.Latent(lt.FullNormal(2), lt.VampPrior(4)),
    "ladder": lambda: lt.Ladder([lt.Rung(plain(), MLP((6,))), lower(3)], width=6),
    "ladder of vamps": lambda: lt.Ladder(
        [lt.Rung(lt.Latent(lt.Normal(2), lt.VampPrior(4)), MLP((6,))), lower(2, lt.VampPrior(3))], width=6
    ),
    "ladder over a codebook": lambda: lt.Ladder(
        [lt.Rung(lt.Codebook(4, 2, positions=2), MLP((6,))), lower(2)], width=6
    ),
    "codebook": lambda: lt.Codebook(4, 2, positions=3),
    "hamiltonian": lambda: lt.Hamiltonian(plain(), steps=2),
    "hamiltonian over a vamp": lambda: lt.Hamiltonian(lt.Latent(lt.Normal(2), lt.VampPrior(4)), steps=2, tempering=0.7),
    "hamiltonian over a ladder": lambda: lt.Hamiltonian(
        lt.Ladder([lt.Rung(plain(), MLP((6,))), lower(2)], width=6), steps=2
    ),
}

POINTS: dict[str, Callable[[], lt.AbstractLatent]] = {
    "point mass": lambda: lt.Latent(lt.PointMass(2), lt.StandardNormal()),
    "point mass, mixture prior": lambda: lt.Latent(lt.PointMass(2), lt.GaussianMixture(3)),
}
"""Latents without a density, for objectives that need none."""

OBJECTIVES: dict[str, Callable[[], ob.Objective]] = {
    "elbo": ob.ELBO,
    "warm-up, free bits": lambda: ob.ELBO(Ramp(1.0, 10), free_bits=0.05),
    "cyclical": lambda: ob.ELBO(Cycle(1.0, 10)),
    "capacity": lambda: ob.ELBO(beta=10.0, capacity=Ramp(2.0, 10)),
    "iwae": lambda: ob.IWAE(3),
    "iwae stl": lambda: ob.IWAE(3, gradient="stl"),
    "iwae dreg": lambda: ob.IWAE(3, gradient="dreg"),
    "iwae mixed": lambda: ob.IWAE(2, m=2, elbo=0.3),
    "iwae partial": lambda: ob.IWAE(2, gradient="partial", m=2),
    "total correlation": lambda: ob.TotalCorrelation(4.0),
    "total correlation, stratified": lambda: ob.TotalCorrelation(4.0, "stratified", rows=20),
    "dip": lambda: ob.DIP(1),
    "dip, of draws": lambda: ob.DIP(2),
    "wae": lambda: ob.WAE(weight=3.0),
    "info": lambda: ob.WAE(rate=0.5, kernel="rbf"),
    "factor": lambda: ob.FactorTC(MLP((6,), activation="leaky_relu"), gamma=3.0),
    "aae": lambda: ob.AAE(MLP((6,)), weight=2.0),
    "vae-gan": lambda: ob.VAEGAN(MLP((6,), "tanh", out_shape=4), MLP((6,)), gamma=0.5, turns=2),
    "lagging": lambda: ob.Lagging(ob.ELBO(beta=2.0), turns=3, until=9),
    "rae": lambda: ob.RAE(beta=0.5, decoder_l2=0.1),
    "rae gradient": lambda: ob.RAE(beta=0.5, gradient_penalty=0.3),
}

ENTANGLED = [latent for latent in LATENTS if any(w in latent for w in ("vamp", "hamiltonian", "exemplar"))]
DIMENSION_BY_DIMENSION = ("normal", "mixture prior", "vamp", "exemplars")
REFUSED = {(objective, latent) for objective in ("iwae dreg", "iwae partial") for latent in ENTANGLED} | {
    (objective, latent)
    for objective in OBJECTIVES
    for latent in LATENTS
    if objective.startswith(("total correlation", "dip")) and latent not in DIMENSION_BY_DIMENSION
}
"""(objective, latent) that are refused with a reason."""
PAIRS = [
    (objective, latent)
    for objective in OBJECTIVES
    for latent in LATENTS
    if (objective in ("elbo", "iwae dreg", "factor") or latent in ("normal", "vamp", "ladder", "codebook"))
    and (objective, latent) not in REFUSED
] + [(objective, latent) for objective in ("aae", "rae", "rae gradient", "wae") for latent in POINTS]
"""What the laws are held to: every latent with three kinds of objective, every objective with four kinds of latent, and
those that need no density with point masses."""

LIKELIHOODS: dict[str, Callable[[], lk.Likelihood]] = {
    "bernoulli": lk.Bernoulli,
    "bernoulli probs": lambda: lk.Bernoulli(reads="probs"),
    "bernoulli dynamic": lambda: lk.Bernoulli(binarise="dynamic"),
    "continuous bernoulli": lk.ContinuousBernoulli,
    "gaussian": lk.Gaussian,
    "gaussian shared": lambda: lk.Gaussian("shared"),
    "gaussian per dimension": lambda: lk.Gaussian("per_dimension"),
    "gaussian per output": lambda: lk.Gaussian("per_output"),
    "gaussian tanh": lambda: lk.Gaussian(mean="tanh"),
    "categorical": lambda: lk.Categorical(levels=4),
    "logistic mixture": lambda: lk.DiscretisedLogisticMixture(2, levels=4),
    "a decoder that reads x": Autoregressive,
    "poisson": lk.Poisson,
    "negative binomial": lk.NegativeBinomial,
    "mixed": lambda: lk.Mixed(
        [lk.Gaussian("per_dimension", shape=(2,)), lk.Categorical(4, shape=(2,)), lk.Poisson(shape=(1,))]
    ),
}


def rows(likelihood: lk.Likelihood, n: int = 6, cells: int = CELLS, seed: int = 0) -> torch.Tensor:
    """n rows within a likelihood's support, fp64."""
    generator = torch.Generator().manual_seed(seed)
    levels = torch.randint(0, 4, (n, cells), generator=generator, dtype=torch.int64).double()
    unit = torch.rand(n, cells, generator=generator, dtype=torch.float64)
    return {
        "unit": (unit > 0.5).double(),
        "signed": 2 * unit - 1,
        "real": 2 * unit - 1,
        "count": levels,
        "levels": levels,
        "columns": levels,
    }[likelihood.support]


def build(
    latent: str = "normal", likelihood: str = "bernoulli", seed: int = 0, context: int = 0, cells: int = CELLS
) -> VAEModule:
    """A small dense model in fp64, prepared on a few rows."""
    torch.manual_seed(seed)
    model = VAEModule(MLP((8,)), {**LATENTS, **POINTS}[latent](), MLP((8,)), LIKELIHOODS[likelihood]())
    model = model.settled((cells,), context).double()
    return model


def batch(model: VAEModule, n: int = 6, seed: int = 0, masked: bool = False) -> Batch:
    x = rows(model.likelihood, n, model.likelihood.shape[0], seed)
    mask = (torch.rand(x.shape, generator=torch.Generator().manual_seed(seed + 1)) > 0.3).double() if masked else None
    return Batch(x, mask)


def conv() -> VAEModule:
    torch.manual_seed(0)
    model = VAEModule(ConvEncoder((4, 8), 16), plain(), ConvDecoder((8, 4), 16), lk.Bernoulli())
    return model.settled((1, 8, 8)).double()


def spatial_codebook() -> VAEModule:
    torch.manual_seed(0)
    model = VAEModule(ConvEncoder((4, 8)), lt.Codebook(8, 4), ConvDecoder((8, 4)), lk.Bernoulli())
    return model.settled((1, 8, 8)).double()
