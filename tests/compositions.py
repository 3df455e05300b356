"""The compositions that the laws are tried on: every latent, likelihood and objective, small and in fp64."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from vaekit import latents as lt
from vaekit import likelihoods as lk
from vaekit import objectives as ob
from vaekit.core import Batch, Cycle, FunctionalModule, Ramp, record
from vaekit.data import Schema
from vaekit.distributions import Distribution
from vaekit.model import VAEModule
from vaekit.networks import (
    MLP,
    ConvDecoder,
    ConvEncoder,
    PartDecoder,
    PartEncoder,
    Recurrent,
    SequenceDecoder,
    SequenceEncoder,
    TemporalConv,
    Transformer,
)

CELLS = 5


def plain(size: int = 2) -> lt.Latent:
    return lt.Latent(lt.Normal(size), lt.StandardNormal())


def lower(size: int, prior: lt.Prior | None = None) -> lt.LadderLevel:
    prior = prior or lt.Conditional(MLP((6,)), lt.Normal(size))
    return lt.LadderLevel(lt.Latent(lt.Normal(size), prior), MLP((6,)))


def stirred(latent: lt.AbstractLatent) -> lt.AbstractLatent:
    """With weights that are not those it begins with, so that what begins at zero says something."""
    with torch.no_grad():
        for parameter in latent.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return latent


def calmed(latent: lt.TopDown) -> lt.TopDown:
    """With a posterior that is nearer to the prior, so that weights do not vary too much."""
    with torch.no_grad():
        for name, parameter in latent.named_parameters():
            parameter.mul_(0.5 if ".posterior." in name else 1.0)
    return latent


def labelled(classes: int) -> lt.LadderLevel:
    return lt.LadderLevel(lt.Labelled(lt.Latent(lt.Categorical(1, classes), lt.UniformCategorical())), MLP((6,)))


class Wide(lt.WrappedNormal):
    """Wider than it reads: a uniform ball thins out less towards its edge, and the weights would vary too much."""

    def forward(self, evidence):
        q = super().forward(evidence)
        return replace(q, scale=4 * q.scale)


def hard_bits(prior: lt.Prior) -> lt.LadderLevel:
    return lt.LadderLevel(lt.Latent(lt.Binary(2, draws="hard"), prior), MLP((6,)))


def bits_below() -> lt.Conditional:
    return lt.Conditional(MLP((6,)), lt.Binary(2))


@record
class Chain(Distribution):
    """`prod_i p(x_i | x_<i, z)`: binary cells, each given those before it, by a network that the record holds."""

    features: torch.Tensor
    network: FunctionalModule

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
        return Chain(parameters, FunctionalModule.of(self.network))


LATENTS: dict[str, Callable[[], lt.AbstractLatent]] = {
    "normal": plain,
    "committed": lambda: lt.Latent(lt.CommittedNormal(2, 0.1), lt.StandardNormal()),
    "autoregressive prior": lambda: lt.Latent(lt.Normal(4), lt.AutoregressivePrior(2, 0.3)),
    "full normal": lambda: lt.Latent(lt.FullNormal(3), lt.StandardNormal()),
    "low rank": lambda: lt.Latent(lt.LowRankNormal(3, rank=2), lt.StandardNormal()),
    "low rank and vamp": lambda: lt.Latent(lt.LowRankNormal(2), lt.VampPrior(4)),
    "laplace": lambda: lt.Latent(lt.Laplace(2), lt.StandardLaplace()),
    "laplace, normal": lambda: lt.Latent(lt.Laplace(2), lt.StandardNormal()),
    "von mises-fisher": lambda: lt.Latent(lt.VonMisesFisher(3), lt.UniformSphere()),
    "power spherical": lambda: lt.Latent(lt.PowerSpherical(2), lt.UniformSphere()),
    "von mises-fisher and vamp": lambda: lt.Latent(lt.VonMisesFisher(3), lt.VampPrior(4)),
    "wrapped normal": lambda: lt.Latent(lt.WrappedNormal(2), lt.StandardWrappedNormal()),
    "wrapped normal in a uniform ball": lambda: lt.Latent(Wide(2, curvature=0.5), lt.UniformBall()),
    "wrapped normal and vamp": lambda: lt.Latent(lt.WrappedNormal(2), lt.VampPrior(4)),
    "logistic normal": lambda: lt.Latent(lt.LogisticNormal(3), lt.LaplaceDirichlet(0.5)),
    "logistic normal and vamp": lambda: lt.Latent(lt.LogisticNormal(3), lt.VampPrior(4)),
    "flow": lambda: lt.Latent(lt.Coupling(3, layers=2, hidden=6, context=2), lt.StandardNormal()),
    "planar": lambda: lt.Latent(lt.PlanarFlow(2, layers=2), lt.StandardNormal()),
    "planar and vamp": lambda: lt.Latent(lt.PlanarFlow(2, layers=2), lt.VampPrior(4)),
    "radial": lambda: lt.Latent(lt.RadialFlow(3, layers=2), lt.StandardNormal()),
    "sylvester": lambda: lt.Latent(lt.SylvesterFlow(3, layers=2, reflections=2), lt.StandardNormal()),
    "iaf": lambda: lt.Latent(lt.InverseAutoregressive(3, layers=2, hidden=6, context=2), lt.StandardNormal()),
    "maf and its prior": lambda: lt.Latent(
        lt.MaskedAutoregressive(2, layers=2, hidden=6, context=2), lt.FlowPrior(layers=2, hidden=6)
    ),
    "spline and its prior": lambda: lt.Latent(
        lt.SplineFlow(2, layers=2, bins=4, hidden=6, context=2), lt.FlowPrior(layers=2, hidden=6, bins=4)
    ),
    "categorical": lambda: lt.Latent(lt.Categorical(2, 3), lt.UniformCategorical()),
    "binary": lambda: lt.Latent(lt.Binary(3), lt.BinaryPrior()),
    "binary, straight-through": lambda: lt.Latent(
        lt.Binary(3, Ramp(0.5, 10, start=1.0), "straight-through"), lt.BinaryPrior(learned=True)
    ),
    "binary, hard": lambda: lt.Latent(lt.Binary(3, draws="hard"), lt.BinaryPrior(learned=True)),
    "binary, hard, in a ladder": lambda: lt.Ladder([hard_bits(lt.BinaryPrior()), hard_bits(bits_below())], width=6),
    "product of experts": lambda: lt.Latent(lt.ProductOfExperts(2), lt.StandardNormal()),
    "joint expert": lambda: lt.Latent(lt.JointExpert(2), lt.StandardNormal()),
    "mixture of experts": lambda: lt.Latent(lt.MixtureOfExperts(2), lt.StandardNormal()),
    "mixture of products, and vamp": lambda: lt.Latent(lt.MixtureOfExperts(2, products=True), lt.VampPrior(3)),
    "mixture prior": lambda: lt.Latent(lt.Normal(2), lt.GaussianMixture(4)),
    "mixture prior, full": lambda: lt.Latent(lt.Normal(2), lt.GaussianMixture(3, covariance="full")),
    "vamp": lambda: lt.Latent(lt.Normal(2), lt.VampPrior(4)),
    "exemplars": lambda: lt.Latent(lt.Normal(2), lt.ExemplarPrior(4)),
    "flow and vamp": lambda: lt.Latent(lt.Coupling(2, layers=2, hidden=6, context=2), lt.VampPrior(4)),
    "full normal and vamp": lambda: lt.Latent(lt.FullNormal(2), lt.VampPrior(4)),
    "ladder": lambda: lt.Ladder([lt.LadderLevel(plain(), MLP((6,))), lower(3)], width=6),
    "ladder of vamps": lambda: lt.Ladder(
        [lt.LadderLevel(lt.Latent(lt.Normal(2), lt.VampPrior(4)), MLP((6,))), lower(2, lt.VampPrior(3))], width=6
    ),
    "ladder over a codebook": lambda: lt.Ladder(
        [lt.LadderLevel(lt.Codebook(4, 2, positions=2), MLP((6,))), lower(2)], width=6
    ),
    "very deep": lambda: calmed(stirred(lt.TopDown(((1, 1), (2, 2)), channels=1, width=4, bottleneck=3))),
    "labelled": lambda: lt.Ladder([labelled(3), lower(2)], width=6),
    "codebook": lambda: lt.Codebook(4, 2, positions=3),
    "codebook turned": lambda: lt.Codebook(4, 2, positions=3, gradient="rotation"),
    "codebook and pixels": lambda: lt.Codebook(4, 2, positions=3, prior=lt.PixelPrior(4, layers=2)),
    "codebook and transformer": lambda: lt.Codebook(4, 2, positions=3, prior=lt.TransformerPrior(4, 1, heads=2)),
    "codebook of residuals": lambda: lt.ResidualCodebook(2, 4, 2, positions=2, prior=lt.TransformerPrior(4, 1, 2)),
    "finite scalar codebook": lambda: lt.FiniteScalar((4, 3), positions=2, prior=lt.TransformerPrior(4, 1, 2)),
    "lookup-free codebook": lambda: lt.LookupFree(3, positions=2),
    "second stage": lambda: lt.Latent(lt.Normal(2), lt.SecondStage((6,))),
    "hamiltonian": lambda: lt.Hamiltonian(plain(), steps=2),
    "hamiltonian over a vamp": lambda: lt.Hamiltonian(lt.Latent(lt.Normal(2), lt.VampPrior(4)), steps=2, tempering=0.7),
    "hamiltonian over a ladder": lambda: lt.Hamiltonian(
        lt.Ladder([lt.LadderLevel(plain(), MLP((6,))), lower(2)], width=6), steps=2
    ),
    "riemannian hamiltonian": lambda: lt.RiemannianHamiltonian(plain(), lt.RiemannianMetric(MLP((4,)), 5), steps=2),
    "riemannian hamiltonian over a vamp": lambda: lt.RiemannianHamiltonian(
        lt.Latent(lt.FullNormal(2), lt.VampPrior(4)),
        lt.RiemannianMetric(MLP((4,)), 5),
        steps=2,
        tempering=0.7,
        iterations=1,
    ),
}

POINTS: dict[str, Callable[[], lt.AbstractLatent]] = {
    "point mass": lambda: lt.Latent(lt.PointMass(2), lt.StandardNormal()),
    "point mass, mixture prior": lambda: lt.Latent(lt.PointMass(2), lt.GaussianMixture(3)),
}
"""Latents without a density, for objectives that need none."""
EXPERTS = [latent for latent in LATENTS if "expert" in latent or "products" in latent]
"""Of rows in two parts: the encoder has a network for each, the decoder too."""

OBJECTIVES: dict[str, Callable[[], ob.Objective]] = {
    "elbo": ob.ELBO,
    "warm-up, free bits": lambda: ob.ELBO(Ramp(1.0, 10), free_bits=0.05),
    "cyclical": lambda: ob.ELBO(Cycle(1.0, 10)),
    "capacity": lambda: ob.ELBO(beta=10.0, capacity=Ramp(2.0, 10)),
    "iwae": lambda: ob.IWAE(3),
    "iwae stl": lambda: ob.IWAE(3, gradient="stl"),
    "iwae dreg": lambda: ob.IWAE(3, gradient="dreg"),
    "iwae vimco": lambda: ob.IWAE(3, gradient="vimco"),
    "iwae mixed": lambda: ob.IWAE(2, m=2, elbo=0.3),
    "iwae partial": lambda: ob.IWAE(2, gradient="partial", m=2),
    "subsets": lambda: ob.PartsELBO(Ramp(1.0, 10), subsets=1, weights=(1.0, 2.0)),
    "joint": lambda: ob.JointELBO(0.5),
    "expert iwae": lambda: ob.ExpertIWAE(2, weights=(0.5, 2.0)),
    "total correlation": lambda: ob.TotalCorrelation(4.0),
    "total correlation, stratified": lambda: ob.TotalCorrelation(4.0, "stratified", rows=20),
    "dip": lambda: ob.DIP(1),
    "dip, of draws": lambda: ob.DIP(2),
    "wae": lambda: ob.WAE(weight=3.0),
    "info": lambda: ob.WAE(rate=0.5, kernel="rbf"),
    "two-stage": ob.TwoStage,
    "prior alone": ob.PriorFit,
    "class elbo": lambda: ob.ClassELBO(alpha=2.0),
    "factor": lambda: ob.FactorTC(MLP((6,), activation="leaky_relu"), gamma=3.0),
    "aae": lambda: ob.AAE(MLP((6,)), weight=2.0),
    "vae-gan": lambda: ob.VAEGAN(MLP((6,), "tanh", out_shape=4), MLP((6,)), gamma=0.5, turns=2),
    "lagging": lambda: ob.Lagging(ob.ELBO(beta=2.0), turns=3, until=9),
    "rae": lambda: ob.RAE(beta=0.5, decoder_l2=0.1),
    "rae gradient": lambda: ob.RAE(beta=0.5, gradient_penalty=0.3),
}

ENTANGLED = [latent for latent in LATENTS if any(w in latent for w in ("vamp", "hamiltonian", "exemplar", "deep"))]
DISCRETE = [latent for latent in LATENTS if latent.startswith(("categorical", "binary"))]
HARD = [latent for latent in LATENTS if "hard" in latent]
DIMENSION_BY_DIMENSION = (
    "normal",
    "committed",
    "autoregressive prior",
    "mixture prior",
    "mixture prior, full",
    "vamp",
    "exemplars",
    "second stage",
)
LEARNING_PRIORS = ("vamp", "exemplar", "prior", "stage", "pixels", "transformer", "residuals", "finite")
LEARN_NONE = ("hamiltonian", "autoregressive")
LEARN_A_PRIOR = [n for n in LATENTS if any(w in n for w in LEARNING_PRIORS) and not any(w in n for w in LEARN_NONE)]
OF_PARTS = {
    "subsets": EXPERTS,
    "joint": ["product of experts", "joint expert"],
    "expert iwae": ["mixture of experts"],
}
REFUSED = {(objective, latent) for objective in ("iwae dreg", "iwae partial") for latent in ENTANGLED} | {
    (objective, latent)
    for objective in OBJECTIVES
    for latent in LATENTS
    if (objective.startswith(("total correlation", "dip", "two-stage")) and latent not in DIMENSION_BY_DIMENSION)
    or (objective in ("two-stage", "prior alone") and latent not in LEARN_A_PRIOR)
    or (objective == "class elbo" and latent != "labelled")
    or (objective == "iwae vimco") != (latent in HARD)
    or latent not in OF_PARTS.get(objective, LATENTS)
}
REFUSED |= {("factor", latent) for latent in LATENTS if LATENTS[latent]().space in ("sphere", "ball", "simplex")}
"""(objective, latent) that are refused with a reason."""


def chosen(objective: str) -> list[str]:
    """Latents for an objective: two of different kinds; all of those that the ELBO and objectives of parts take."""
    taken = [latent for latent in LATENTS if (objective, latent) not in REFUSED]
    if objective in ("elbo", "iwae vimco", *OF_PARTS):
        return taken
    place = list(OBJECTIVES).index(objective)
    common = [latent for latent in ("ladder", "vamp", "codebook") if latent in taken]
    second = common[place % len(common)] if common else taken[-1]
    spread = taken[:: len(taken) // 5] if objective == "iwae dreg" else taken[:1]
    return list(dict.fromkeys([*spread, second]))


PAIRS = [(objective, latent) for objective in OBJECTIVES for latent in chosen(objective)]
PAIRS += list(zip(("aae", "rae", "rae gradient", "wae"), 2 * list(POINTS)))
"""Pairs for the laws: every latent with the ELBO (VIMCO where draws are hard), every objective with latents of two
kinds, and the objectives that need no density with point masses."""

KINDS_OF_COLUMNS: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "real": lambda g, n: g.normal(3, 20, n),
    "rounded": lambda g, n: np.where(g.random(n) < 0.3, 0.0, g.normal(3, 20, n)).round(1),
    "positive": lambda g, n: np.exp(g.normal(6, 1, n)),
    "positive, rounded": lambda g, n: np.exp(g.normal(6, 0.5, n)).round(),
    "count": lambda g, n: np.concatenate([[0.0], g.negative_binomial(2, 0.3, n - 1)]),
    "ordinal": lambda g, n: np.resize([1.0, 2.0, 3.0, 5.0, 9.0], n),
    "category": lambda g, n: np.resize(["Bern", "Lima", "Oslo", "Rome"], n).astype(object),
}
"""How a column of each kind is made."""


def table(*kinds: str, components: int = 1) -> lk.Mixed:
    """The likelihood of a table with a column of each of these kinds."""
    g = np.random.default_rng(0)
    columns = [KINDS_OF_COLUMNS[kind](g, 200) for kind in kinds]
    return lk.of_table(Schema.infer(np.rec.fromarrays(columns).view(np.ndarray)), components)


LIKELIHOODS: dict[str, Callable[[], lk.Likelihood]] = {
    "bernoulli": lk.Bernoulli,
    "bernoulli probs": lambda: lk.Bernoulli(reads="probs"),
    "bernoulli dynamic": lambda: lk.Bernoulli(binarise="dynamic"),
    "continuous bernoulli": lk.ContinuousBernoulli,
    "gaussian": lk.Gaussian,
    "gaussian shared": lambda: lk.Gaussian("shared"),
    "gaussian per dimension": lambda: lk.Gaussian("per_dimension"),
    "gaussian per output": lambda: lk.Gaussian("per_output"),
    "gaussian optimal": lambda: lk.Gaussian("optimal"),
    "gaussian tanh": lambda: lk.Gaussian(mean="tanh"),
    "categorical": lambda: lk.Categorical(levels=4),
    "logistic mixture": lambda: lk.DiscretisedLogisticMixture(2, levels=4),
    "a decoder that reads x": Autoregressive,
    "categorical, one-hot": lambda: lk.Categorical(levels=4, one_hot=True),
    "autoregressive": lambda: lk.Autoregressive(lk.Bernoulli(), SequenceDecoder(Recurrent(4)), 3, dropout=0.5),
    "autoregressive, of levels": lambda: lk.Autoregressive(
        lk.Categorical(levels=4, one_hot=True), SequenceDecoder(Transformer(4, 1, 2)), 3
    ),
    "autoregressive, of reals": lambda: lk.Autoregressive(
        lk.Gaussian("per_dimension"), SequenceDecoder(TemporalConv(4, 2)), 3, dropout=0.5
    ),
    "poisson": lk.Poisson,
    "multinomial": lambda: lk.Multinomial(total=7),
    "negative binomial": lk.NegativeBinomial,
    "negative binomial of a library": lambda: lk.NegativeBinomial(library="observed"),
    "zero-inflated, of a latent library": lambda: lk.ZeroInflatedNegativeBinomial("per_output", "latent"),
    "modalities": lambda: lk.Modalities(lk.Gaussian("per_output"), widths=(1, 3, 1)),
    "modalities, mixed": lambda: lk.Modalities(
        lk.Mixed([lk.Gaussian("optimal", shape=(2,)), lk.Categorical(4, shape=(3,))])
    ),
    "mixed": lambda: lk.Mixed(
        [lk.Gaussian("optimal", shape=(2,)), lk.Categorical(4, shape=(2,)), lk.Poisson(shape=(1,))]
    ),
    "warped": lambda: table(*["real", "rounded"] * 2, "rounded").parts[0],
    "warped, of logarithms": lambda: table(*["positive", "positive, rounded"] * 2, "positive", components=2).parts[0],
    "ordinal": lambda: lk.Ordinal(
        [4, 5, 4, 9, 4], [[0.1, 0.2, 0.3, 0.4], [0.2] * 5, [0.25] * 4, [0.1] * 9, [0.25] * 4]
    ),
    "count columns": lambda: lk.CountColumns([0.5, 3.0, 20.0, 4.0, 9.0], [0.5, 40.0, 19.0, 5.0, 100.0]),
    "table": lambda: table("rounded", "positive", "count", "ordinal", "category"),
}
COLUMNS = ("warped", "warped, of logarithms", "ordinal", "count columns", "table")
"""The likelihoods of the columns of a table."""
TOGETHER = ("a decoder that reads x", "autoregressive", "multinomial", "of a library", "latent library", "modalities")
"""In the names of likelihoods whose cells are not independent given z, or that only pass others on."""


def rows(likelihood: lk.Likelihood, n: int = 6, cells: int = CELLS, seed: int = 0) -> torch.Tensor:
    """n rows within a likelihood's support, fp64."""
    if isinstance(likelihood, lk.Modalities):
        likelihood = likelihood.likelihood
    if isinstance(likelihood, lk.Mixed):
        return torch.cat([rows(part, n, part.shape[0], seed + i) for i, part in enumerate(likelihood.parts)], 1)
    generator = torch.Generator().manual_seed(seed)
    levels = torch.randint(0, 4, (n, cells), generator=generator, dtype=torch.int64).double()
    unit = torch.rand(n, cells, generator=generator, dtype=torch.float64)
    if isinstance(likelihood, lk.Warped):
        step = likelihood.steps_table.double()
        x = unit + 0.5 if likelihood.positive else 4 * unit - 2
        return torch.where(step > 0, (x / step).round() * step, x)
    return {
        "unit": (unit > 0.5).double(),
        "signed": 2 * unit - 1,
        "real": 2 * unit - 1,
        "count": levels,
        "levels": levels,
        "columns": levels,
    }[likelihood.support]


def every_value(likelihood: lk.Likelihood) -> tuple[torch.Tensor, torch.Tensor]:
    """(G, D), (G, D): all values of each cell, or points that cover them, and what each of them stands for."""
    cells = likelihood.shape[0]
    if isinstance(likelihood, lk.Warped):
        step, unit = likelihood.steps_table.double(), likelihood.scales_table.double().exp()
        u = torch.arange(-16_000, 16_000, dtype=torch.float64).unsqueeze(1).expand(-1, cells) * 1e-3
        x, width = (u.exp(), u.exp() * 1e-3) if likelihood.positive else (4 * u, torch.full_like(u, 4e-3))
        ticks = torch.arange(len(u), dtype=torch.float64).unsqueeze(1) + (1 if likelihood.positive else -len(u) // 2)
        return torch.where(step > 0, ticks * step, x), torch.where(step > 0, 1.0, width * unit)
    most = {"unit": 2, "levels": 4, "count": 3000}.get(likelihood.support)
    if isinstance(likelihood, lk.Ordinal):
        most = max(likelihood.levels)
    if isinstance(likelihood, lk.ContinuousBernoulli) or most is None:
        low, high = (0, 1) if likelihood.support == "unit" else (-40, 40)
        edges = torch.linspace(low, high, 16_001, dtype=torch.float64)
        x, width = (edges[1:] + edges[:-1]) / 2, edges.diff()
    else:
        x, width = torch.arange(most, dtype=torch.float64), torch.ones(most, dtype=torch.float64)
    return x.unsqueeze(1).expand(-1, cells), width.unsqueeze(1).expand(-1, cells)


def numbers(likelihood: lk.Likelihood, n: int = 1, seed: int = 0) -> torch.Tensor:
    """n rows of what a decoder may give a likelihood, fp64."""
    generator = torch.Generator().manual_seed(seed)
    given = 0.5 * torch.randn(n, *likelihood.in_shape, generator=generator, dtype=torch.float64)
    return given.sigmoid() if getattr(likelihood, "reads", "") == "probs" else given


def build(
    latent: str = "normal", likelihood: str = "bernoulli", seed: int = 0, context: int = 0, cells: int = CELLS
) -> VAEModule:
    """A small dense model in fp64, prepared on a few rows."""
    torch.manual_seed(seed)
    encoder, decoder, own = MLP((8,)), MLP((8,)), LIKELIHOODS[likelihood]()
    if latent in EXPERTS:
        joint = MLP((6,)) if latent == "joint expert" else None
        encoder, decoder = PartEncoder([MLP((6,)), MLP((6,))], joint), PartDecoder([MLP((6,)), MLP((6,))])
        own = lk.Modalities(own)
    model = VAEModule(encoder, {**LATENTS, **POINTS}[latent](), decoder, own)
    model = model.resolve_shapes((cells,), context).double()
    if latent in EXPERTS:  # wide ones: weights of narrow ones have no variance to tell an error by
        for expert in model.encoder.networks:
            expert.layers[-1].bias.data[model.latent.posterior.size :] += 1.0
    return model


def batch(model: VAEModule, n: int = 6, seed: int = 0, masked: bool = False) -> Batch:
    x = rows(model.likelihood, n, model.likelihood.shape[0], seed)
    mask = (torch.rand(x.shape, generator=torch.Generator().manual_seed(seed + 1)) > 0.3).double() if masked else None
    return Batch(x, mask)


def conv() -> VAEModule:
    torch.manual_seed(0)
    model = VAEModule(ConvEncoder((4, 8), 16), plain(), ConvDecoder((8, 4), 16), lk.Bernoulli())
    return model.resolve_shapes((1, 8, 8)).double()


STEPS = {
    "gru": lambda: Recurrent(6),
    "lstm": lambda: Recurrent(6, layers=2, cell="lstm"),
    "temporal convolution": lambda: TemporalConv(6, layers=2),
    "transformer": lambda: Transformer(6, layers=2, heads=2),
}


def series(steps: str, length: int = 7, latent: str = "normal") -> VAEModule:
    """A model of series of 3 numbers a step."""
    torch.manual_seed(0)
    networks = SequenceEncoder(STEPS[steps]()), LATENTS[latent](), SequenceDecoder(STEPS[steps]())
    return VAEModule(*networks, lk.Gaussian()).resolve_shapes((1, length, 3)).double()


def spatial_codebook() -> VAEModule:
    torch.manual_seed(0)
    model = VAEModule(ConvEncoder((4, 8)), lt.Codebook(8, 4), ConvDecoder((8, 4)), lk.Bernoulli())
    return model.resolve_shapes((1, 8, 8)).double()
