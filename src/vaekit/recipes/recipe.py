"""What a recipe is, the table of them, and the parts that most are made of."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Self

from torch import nn

from ..constructors import check_values, checked_constructor
from ..core import Batch
from ..data.spec import DataSpec
from ..latents import AbstractLatent, Latent, Normal, StandardNormal
from ..likelihoods import (
    Bernoulli,
    ContinuousBernoulli,
    DiscretisedLogisticMixture,
    Gaussian,
    Likelihood,
    NegativeBinomial,
    of_table,
)
from ..model import VAEModule
from ..networks import MLP, ConvDecoder, ConvEncoder
from ..objectives import ELBO, Objective
from ..suggest import nearest


@checked_constructor
@dataclass(frozen=True)
class Pretraining:
    """What a model is trained for first, its prior being N(0, I), and for how many epochs, no more than are trained
    later; its own prior then starts from the codes it has."""

    objective: Objective
    epochs: int


@checked_constructor
@dataclass(frozen=True)
class Parts:
    """What a model is made of; sizes may be open. A part that is None is inferred from the data, or not needed.

    likelihood: one, or what makes one of the data's kind. start: what gives a new model its first weights, from a
    sample of the rows and a seed.
    """

    latent: AbstractLatent
    encoder: nn.Module
    decoder: nn.Module
    likelihood: Likelihood | Callable[[DataSpec], Likelihood] | None = None
    objective: Objective | None = None
    pretraining: Pretraining | None = None
    context: nn.Module | None = None
    start: Callable[[VAEModule, Batch, int], None] | None = None


Builder = Callable[..., Parts]


@checked_constructor
@dataclass(frozen=True)
class TrainingDefaults:
    """How a recipe is trained: what the estimator's settings of these names are where they are None.

    clip: the largest norm of a gradient, in nats per row. A very large `clip` of an estimator, such as 1e30, turns a
        recipe's off.
    """

    epochs: int = 50
    batch_size: int = 128
    lr: float = 1e-3
    schedule: str = "constant"
    clip: float | None = None


class Recipe:
    """A named model with its settings: `build(latent_dim, spec)` gives its parts, `regime(rows)` how it is trained."""

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
        builder = self._entry.builder
        own = check_values(f"recipes.{builder.__name__}", settings, builder, builder.__name__)
        self._settings = {**known, **own}

    @property
    def settings(self) -> Mapping[str, Any]:
        return MappingProxyType(self._settings)

    @property
    def paper(self) -> str:
        return self._entry.paper

    def build(self, latent_dim: int | None, spec: DataSpec) -> Parts:
        """The parts for data of this kind; latent_dim: None for the recipe's own."""
        return self.with_likelihood(self.parts(latent_dim, spec), spec)

    def parts(self, latent_dim: int | None, spec: DataSpec) -> Parts:
        """The parts; the likelihood may still be open, see `with_likelihood`."""
        latent_dim = self._entry.latent_dim(spec) if latent_dim is None else latent_dim
        return self._entry.builder(latent_dim, **self._settings)

    def with_likelihood(self, parts: Parts, spec: DataSpec) -> Parts:
        """The same parts with the likelihood for data of this kind, and an objective."""
        likelihood = parts.likelihood or likelihood_for
        if not isinstance(likelihood, Likelihood):
            likelihood = likelihood(spec)
        return replace(parts, likelihood=likelihood, objective=parts.objective or ELBO())

    def classes(self, latent_dim: int | None = None) -> int | None:
        """How many classes or clusters its latent has; None for a latent without classes."""
        return self._entry.builder(latent_dim or 2, **self._settings).latent.classes

    def regime(self, rows: int) -> TrainingDefaults:
        """How it is trained on so many rows."""
        return self._entry.regime(rows)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        return {"name": self.name, **self._settings}

    def set_params(self, **params: Any) -> Self:
        """Changes settings in place, as scikit-learn does."""
        self.__init__(params.pop("name", self.name), **{**self._settings, **params})
        return self

    def __reduce__(self) -> tuple[Callable[..., Recipe], tuple[str, dict[str, Any]]]:
        """For pickle and joblib: the name and the settings. The builder, a function that a recipe replaces in its
        module, cannot be pickled."""
        return _of_settings, (self.name, dict(self._settings))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Recipe) and self.get_params() == other.get_params()

    def __hash__(self) -> int:
        return hash(self.name)

    def __repr__(self) -> str:
        changed = {k: v for k, v in self._settings.items() if v != self._entry.defaults[k]}
        return f"recipes.{self._entry.builder.__name__}({', '.join(f'{k}={v!r}' for k, v in changed.items())})"


@dataclass(frozen=True)
class Entry:
    """A recipe in the table: its builder, paper, one-line description and the defaults of its settings.

    needs_context: whether it is fitted with context only. of_columns: whether its likelihood follows the data,
    and so a table's columns; where a recipe names one, a data frame is read as an array.
    latent_dim: of the data, how many numbers z has, and regime: of the number of rows, how it is trained, both where
    the estimator does not say.
    """

    builder: Builder
    paper: str
    needs_context: bool = False
    of_columns: bool = False
    latent_dim: Callable[[DataSpec], int] = lambda spec: 2
    regime: Callable[[int], TrainingDefaults] = lambda rows: TrainingDefaults()

    @property
    def summary(self) -> str:
        return (inspect.getdoc(self.builder) or "").split("\n")[0]

    @property
    def defaults(self) -> dict[str, Any]:
        return {n: p.default for n, p in inspect.signature(self.builder).parameters.items() if n != "latent_dim"}


RECIPES: dict[str, Entry] = {}
"""Every recipe by its name."""


def recipe(paper: str, **known: Any) -> Callable[[Builder], Callable[..., Recipe]]:
    """Enters a builder into the table; the name in the module becomes the maker of its `Recipe`. known: what else an
    `Entry` holds."""

    def enter(builder: Builder) -> Callable[..., Recipe]:
        name = builder.__name__.replace("_", "-")
        RECIPES[name] = Entry(builder, paper, **known)

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
        "bytes": lambda: DiscretisedLogisticMixture(levels=int(spec.top) + 1),
        "unit": ContinuousBernoulli,
        "real": lambda: Gaussian("per_dimension"),
        "count": NegativeBinomial,
        "table": lambda: of_table(spec.schema),
    }[spec.kind]()


def _of_settings(name: str, settings: dict[str, Any]) -> Recipe:
    return Recipe(name, **settings)


def plain(latent_dim: int) -> Latent:
    return Latent(Normal(latent_dim), StandardNormal())


def dense(latent: AbstractLatent, hidden: tuple[int, ...], heads: int = 1, **parts: Any) -> Parts:
    """The parts around a latent, with dense networks: `hidden` widths in, the same reversed out."""
    hidden = tuple(hidden)
    return Parts(latent, MLP(hidden, heads=heads), MLP(hidden[::-1]), **parts)


def classic(latent: AbstractLatent, hidden: tuple[int, ...], heads: int = 1, **parts: Any) -> Parts:
    """The same with the cross-entropy of the classic VAE."""
    return dense(latent, hidden, heads, likelihood=Bernoulli(), **parts)


def convolutional(latent: AbstractLatent, channels: tuple[int, ...], hidden: int | None, **parts: Any) -> Parts:
    """The parts around a latent, with convolutional networks: `channels` in, the same reversed out; hidden: the width
    of a dense layer beside the latent, or None."""
    channels = tuple(channels)
    return Parts(latent, ConvEncoder(channels, hidden), ConvDecoder(channels[::-1], hidden), **parts)
