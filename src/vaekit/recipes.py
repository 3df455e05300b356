"""Named models: each a choice of parts, in one short function with its paper.

A recipe is called with its own settings and gives a `Recipe`; the estimator adds the number of latents and the data:
`vk.VAE(recipe=vk.recipes.beta_vae(beta=6), latent_dim=10)`. Its name alone, "beta-vae", means its defaults.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Self

from torch import nn

from .core import Ramp
from .data.spec import DataSpec
from .latents import (
    AbstractLatent,
    Categorical,
    Codebook,
    Conditional,
    Coupling,
    FullNormal,
    GaussianMixture,
    Hamiltonian,
    Ladder,
    Latent,
    Normal,
    PointMass,
    Rung,
    StandardNormal,
    UniformCategorical,
    VampPrior,
)
from .likelihoods import (
    Bernoulli,
    ContinuousBernoulli,
    DiscretisedLogisticMixture,
    Gaussian,
    Likelihood,
    NegativeBinomial,
)
from .networks import MLP, ConvDecoder, ConvEncoder, ResidualDecoder, ResidualEncoder
from .objectives import ELBO, IWAE, RAE, FactorTC, Objective
from .suggest import nearest


@dataclass(frozen=True)
class Parts:
    """What a model is made of; sizes may be open. A part that is None is inferred from the data."""

    latent: AbstractLatent
    encoder: nn.Module
    decoder: nn.Module
    likelihood: Likelihood | None = None
    objective: Objective | None = None


Builder = Callable[..., Parts]


class Recipe:
    """A named model with its settings: `build(latent_dim, spec)` gives its parts."""

    def __init__(self, name: str, **settings: Any):
        if name not in RECIPES:
            raise ValueError(f"unknown recipe {name!r}{nearest(name, RECIPES)}; there are: {', '.join(RECIPES)}")
        self._entry = RECIPES[name]
        known = self._entry.defaults
        for setting in settings:
            if setting not in known:
                raise TypeError(
                    f"recipe {name!r} takes no {setting!r}{nearest(setting, known)}; it takes: {', '.join(known)}"
                )
        self.name = name
        self._settings = {**known, **settings}

    @property
    def settings(self) -> Mapping[str, Any]:
        return MappingProxyType(self._settings)

    @property
    def paper(self) -> str:
        return self._entry.paper

    def build(self, latent_dim: int, spec: DataSpec) -> Parts:
        parts = self._entry.builder(latent_dim, **self._settings)
        return Parts(
            parts.latent,
            parts.encoder,
            parts.decoder,
            parts.likelihood or likelihood_for(spec),
            parts.objective or ELBO(),
        )

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        return {"name": self.name, **self._settings}

    def set_params(self, **params: Any) -> Self:
        """Changes settings in place, as scikit-learn does."""
        self.__init__(params.pop("name", self.name), **{**self._settings, **params})
        return self

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Recipe) and self.get_params() == other.get_params()

    def __hash__(self) -> int:
        return hash(self.name)

    def __repr__(self) -> str:
        changed = {k: v for k, v in self._settings.items() if v != self._entry.defaults[k]}
        return f"recipes.{self._entry.builder.__name__}({', '.join(f'{k}={v!r}' for k, v in changed.items())})"


@dataclass(frozen=True)
class Entry:
    """A recipe in the table: its builder, paper, one-line description and the defaults of its settings."""

    builder: Builder
    paper: str

    @property
    def summary(self) -> str:
        return (inspect.getdoc(self.builder) or "").split("\n")[0]

    @property
    def defaults(self) -> dict[str, Any]:
        return {n: p.default for n, p in inspect.signature(self.builder).parameters.items() if n != "latent_dim"}


RECIPES: dict[str, Entry] = {}
"""Every recipe by its name."""


def recipe(paper: str) -> Callable[[Builder], Callable[..., Recipe]]:
    """Enters a builder into the table; the name in the module becomes the maker of its `Recipe`."""

    def enter(builder: Builder) -> Callable[..., Recipe]:
        name = builder.__name__.replace("_", "-")
        RECIPES[name] = Entry(builder, paper)

        def make(**settings: Any) -> Recipe:
            return Recipe(name, **settings)

        parameters = [p for n, p in inspect.signature(builder).parameters.items() if n != "latent_dim"]
        make.__name__ = make.__qualname__ = builder.__name__
        make.__doc__ = f"{inspect.getdoc(builder)}\n\n{paper}."
        make.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in parameters], return_annotation=Recipe
        )
        return make

    return enter


def as_recipe(recipe: str | Recipe) -> Recipe:
    return recipe if isinstance(recipe, Recipe) else Recipe(recipe)


def likelihood_for(spec: DataSpec) -> Likelihood:
    """The likelihood that data of this kind have by default."""
    return {
        "binary": Bernoulli,
        "bytes": DiscretisedLogisticMixture,
        "unit": ContinuousBernoulli,
        "real": lambda: Gaussian("per_dimension"),
        "count": NegativeBinomial,
    }[spec.kind]()


def plain(latent_dim: int) -> Latent:
    return Latent(Normal(latent_dim), StandardNormal())


def dense(latent: AbstractLatent, hidden: tuple[int, ...], heads: int = 1, **parts: Any) -> Parts:
    """The parts around a latent, with dense networks: `hidden` widths in, the same reversed out."""
    hidden = tuple(hidden)
    return Parts(latent, MLP(hidden, heads=heads), MLP(hidden[::-1]), **parts)


def classic(latent: AbstractLatent, hidden: tuple[int, ...], heads: int = 1, **parts: Any) -> Parts:
    """The same with the cross-entropy of the classic VAE."""
    return dense(latent, hidden, heads, likelihood=Bernoulli(), **parts)


# -- the classic, and its likelihoods --------------------------------------------------------------


@recipe("Kingma & Welling 2014, arXiv:1312.6114")
def vae(latent_dim: int, hidden: tuple[int, ...] = (128,)) -> Parts:
    """The classic: dense ReLU networks, a normal code, sigmoid out, cross-entropy plus KL."""
    return classic(plain(latent_dim), hidden, heads=2)


@recipe("Kingma & Welling 2014, arXiv:1312.6114")
def vae_tanh(latent_dim: int, hidden: tuple[int, ...] = (128,), scale: float | str = 1.0) -> Parts:
    """The classic for data in [-1, 1]: tanh out, Gaussian likelihood."""
    return dense(plain(latent_dim), hidden, heads=2, likelihood=Gaussian(scale, mean="tanh"))


@recipe("Kingma & Welling 2014, arXiv:1312.6114; the likelihood follows the data")
def auto(latent_dim: int, hidden: tuple[int, ...] = (128,)) -> Parts:
    """Dense networks and a normal code; the likelihood is a proper one of the kind of data."""
    return dense(plain(latent_dim), hidden, heads=2)


@recipe("Salakhutdinov & Murray 2008; Burda et al. 2016, arXiv:1509.00519")
def binarised(latent_dim: int, hidden: tuple[int, ...] = (200, 200)) -> Parts:
    """Grey levels as probabilities, drawn anew at each pass: the benchmark's binarised digits."""
    return dense(plain(latent_dim), hidden, heads=2, likelihood=Bernoulli(binarise="dynamic"))


@recipe("Kingma & Welling 2014, arXiv:1312.6114, with convolutions")
def conv(latent_dim: int, channels: tuple[int, ...] = (32, 64, 128), hidden: int = 256) -> Parts:
    """Convolutional networks for images of at least 8 x 8, any number of channels; cross-entropy."""
    return Parts(
        plain(latent_dim),
        ConvEncoder(tuple(channels), hidden),
        ConvDecoder(tuple(channels)[::-1], hidden),
        Bernoulli(),
    )


@recipe("He et al. 2016, arXiv:1603.05027; Salimans et al. 2017, arXiv:1701.05517")
def residual(latent_dim: int, channels: tuple[int, ...] = (32, 64, 128), blocks: int = 1) -> Parts:
    """Residual convolutional networks; the likelihood follows the data (8-bit images: mixture of logistics)."""
    return Parts(
        plain(latent_dim),
        ResidualEncoder(tuple(channels), blocks),
        ResidualDecoder(tuple(channels)[::-1], blocks),
    )


# -- the rate weighed differently ------------------------------------------------------------------


@recipe("Higgins et al. 2017, ICLR")
def beta_vae(latent_dim: int, beta: float = 4.0, hidden: tuple[int, ...] = (128,)) -> Parts:
    """The rate weighed by beta: above 1 for codes that are simpler and less dependent."""
    return classic(plain(latent_dim), hidden, heads=2, objective=ELBO(beta))


@recipe("Bowman et al. 2016, arXiv:1511.06349")
def warm_up(latent_dim: int, steps: int = 5000, hidden: tuple[int, ...] = (128,)) -> Parts:
    """The rate's weight rises from 0 to 1 over the first steps, against collapse."""
    return classic(plain(latent_dim), hidden, heads=2, objective=ELBO(Ramp(1.0, steps)))


@recipe("Kingma et al. 2016, arXiv:1606.04934")
def free_bits(latent_dim: int, nats: float = 0.1, hidden: tuple[int, ...] = (128,)) -> Parts:
    """Each dimension may spend some nats for nothing, against collapse."""
    return classic(plain(latent_dim), hidden, heads=2, objective=ELBO(free_bits=nats))


@recipe("Burgess et al. 2018, arXiv:1804.03599")
def annealed(
    latent_dim: int, capacity: float = 25.0, steps: int = 25000, gamma: float = 1000.0, hidden: tuple[int, ...] = (128,)
) -> Parts:
    """The rate is drawn to a capacity that rises over training, for disentangled codes."""
    objective = ELBO(beta=gamma, capacity=Ramp(capacity, steps))
    return classic(plain(latent_dim), hidden, heads=2, objective=objective)


@recipe("Kim & Mnih 2018, arXiv:1802.05983")
def factor_vae(
    latent_dim: int, gamma: float = 6.0, critic: tuple[int, ...] = (256, 256), hidden: tuple[int, ...] = (128,)
) -> Parts:
    """A critic estimates the total correlation of the codes, which costs gamma."""
    objective = FactorTC(MLP(tuple(critic), activation="leaky_relu"), gamma)
    return classic(plain(latent_dim), hidden, heads=2, objective=objective)


# -- tighter bounds --------------------------------------------------------------------------------


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


# -- posteriors and priors -------------------------------------------------------------------------


@recipe("Kingma & Welling 2014, arXiv:1312.6114, with a full covariance")
def full_covariance(latent_dim: int, hidden: tuple[int, ...] = (128,)) -> Parts:
    """A normal posterior whose dimensions may be correlated."""
    return classic(Latent(FullNormal(latent_dim), StandardNormal()), hidden)


@recipe("Rezende & Mohamed 2015, arXiv:1505.05770; Dinh et al. 2017, arXiv:1605.08803")
def flow(latent_dim: int, layers: int = 4, hidden: tuple[int, ...] = (128,)) -> Parts:
    """A posterior bent by affine coupling layers."""
    return classic(Latent(Coupling(latent_dim, layers), StandardNormal()), hidden)


@recipe("Caterini et al. 2018, arXiv:1805.11328")
def hamiltonian(latent_dim: int, steps: int = 3, hidden: tuple[int, ...] = (128,)) -> Parts:
    """The draw is carried towards the posterior by leapfrog steps."""
    return classic(Hamiltonian(plain(latent_dim), steps), hidden, heads=2)


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


@recipe("Tomczak & Welling 2018, arXiv:1705.07120")
def vamp(latent_dim: int, components: int = 500, warm_up: int = 5000, hidden: tuple[int, ...] = (300, 300)) -> Parts:
    """The prior is the aggregate posterior of learned pseudo-inputs; the rate warms up."""
    latent = Latent(Normal(latent_dim), VampPrior(components))
    return classic(latent, hidden, heads=2, objective=ELBO(Ramp(1.0, warm_up)))


@recipe("Sønderby et al. 2016, arXiv:1602.02282; Kingma et al. 2016, arXiv:1606.04934")
def ladder(
    latent_dim: int,
    rungs: int = 2,
    free_bits: float = 0.5,
    width: int = 128,
    hidden: tuple[int, ...] = (128,),
) -> Parts:
    """A hierarchy of `rungs` codes of latent_dim numbers, each given those above it."""
    top = Rung(plain(latent_dim), MLP((width,)))
    lower = [
        Rung(Latent(Normal(latent_dim), Conditional(MLP((width,)), Normal(latent_dim))), MLP((width,)))
        for _ in range(rungs - 1)
    ]
    return classic(Ladder([top, *lower], width), hidden, objective=ELBO(free_bits=free_bits))


@recipe("van den Oord et al. 2017, arXiv:1711.00937")
def vq(latent_dim: int, codes: int = 256, positions: int = 8, hidden: tuple[int, ...] = (256,)) -> Parts:
    """`positions` codes per row, each the nearest of a codebook of vectors of latent_dim numbers."""
    return classic(Codebook(codes, latent_dim, positions), hidden)


@recipe("Ghosh et al. 2020, arXiv:1903.12436")
def rae(latent_dim: int, beta: float = 0.01, decoder_l2: float = 0.0, hidden: tuple[int, ...] = (128,)) -> Parts:
    """A deterministic autoencoder whose codes are kept small: no noise, no likelihood of x."""
    return classic(Latent(PointMass(latent_dim), StandardNormal()), hidden, objective=RAE(beta, decoder_l2))
