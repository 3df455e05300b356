"""The settings of a `VAE`: their defaults, the values that they may have, and what follows from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np
import torch
from torch import nn

from .. import likelihoods, objectives
from ..data.inference import Columns
from ..data.spec import DataSpec
from ..data.unknown import UNKNOWN, Unknown
from ..latents import AbstractLatent
from ..likelihoods import Likelihood
from ..networks import Network, is_keras
from ..networks.initialise import SCHEMES
from ..objectives import Objective
from ..recipes import RECIPES, Recipe, as_recipe
from ..recipes.recipe import TrainingDefaults
from ..settings import (
    Choice,
    Device,
    Flag,
    Instance,
    Number,
    Refused,
    Rule,
    Whole,
    checked,
    optional,
    public_classes,
)
from .adam import RULES as OF_ADAM
from .adam import Adam
from .autotune import RULES as OF_PACE
from .distributed import join
from .privacy import Privacy


class RecipeName:
    """The name of a recipe, or a recipe."""

    expected = 'the name of a recipe, such as "vae", or a recipe with settings, such as vk.recipes.beta_vae(beta=6)'

    def read(self, value: Any) -> str | Recipe:
        if isinstance(value, Recipe):
            return value
        if isinstance(value, str):
            return Recipe(value).name  # raises ValueError, with the nearest name, for an unknown one
        name = getattr(value, "__name__", "").replace("_", "-")
        raise Refused(f"call it, vk.recipes.{value.__name__}()" if name in RECIPES else "")


class OwnNetwork:
    """A torch module or a Keras model."""

    expected = "a network, such as vk.networks.MLP((256, 128)) or a torch.nn.Module of your own"

    def read(self, value: Any) -> Any:
        if isinstance(value, type):
            raise Refused(f"it is a class, call it, {value.__name__}(...)")
        if isinstance(value, nn.Module) or is_keras(value):
            return value
        raise Refused


class Validation:
    """A share of the rows, or rows."""

    expected = "a share of the rows in [0, 1), or rows to hold out"

    def read(self, value: Any) -> Any:
        share = Number(0.0, 1.0, open_high=True)
        if value is None or isinstance(value, (bool, int, float, np.generic)):
            return value if value is None else share.read(value)
        if isinstance(value, str) and value.replace(".", "", 1).isdigit():
            return share.read(value)  # a number in quotes is no file
        if callable(value) or isinstance(value, Mapping):
            raise Refused
        return value


OF_VAE: dict[str, Rule] = {
    "latent_dim": optional(Whole(1)),
    "recipe": optional(RecipeName()),
    "encoder": optional(OwnNetwork()),
    "decoder": optional(OwnNetwork()),
    "latent": optional(
        Instance(
            (AbstractLatent,),
            "a latent, such as vk.latents.Latent(vk.latents.Normal(2), vk.latents.StandardNormal())",
        )
    ),
    "likelihood": optional(
        Instance(
            (Likelihood,),
            "a likelihood, such as vk.likelihoods.Bernoulli()",
            "vk.likelihoods",
            public_classes(likelihoods, Likelihood),
        )
    ),
    "objective": optional(
        Instance(
            (Objective,),
            "an objective, such as vk.objectives.ELBO()",
            "vk.objectives",
            public_classes(objectives, Objective),
        )
    ),
    "context": optional(Instance((Network,), "a network, such as vk.networks.MLP((128,))")),
    "epochs": optional(Whole(0)),
    "batch_size": optional(Whole(1)),
    "lr": optional(OF_ADAM["lr"]),
    "schedule": optional(OF_ADAM["schedule"]),
    **{name: OF_ADAM[name] for name in ("warmup", "clip", "skip", "average", "weight_decay")},
    "privacy": optional(Instance((Privacy,), "a budget, such as vk.training.Privacy(epsilon=3.0)")),
    "columns": optional(Instance((Mapping,), 'kinds of columns by name, such as {"age": "count"}')),
    "unknown": UNKNOWN,
    "validation": Validation(),
    "patience": optional(Whole(1)),
    "initialiser": Choice(SCHEMES),
    "missing": Flag(),
    "warm_start": Flag(),
    "precision": Choice(("fp32", "bf16")),
    **OF_PACE,
    "device": Device(),
    "seed": Whole(0),
    "seeds": optional(Whole(1, "a number of seeds, at least 1")),
    "sharded": Flag(),
    "verbose": Flag(),
}
"""The settings of `vaekit.VAE`."""


@dataclass(frozen=True, eq=False)
class VAEConfig:
    """The settings of a `VAE`, which documents them. Immutable.

    The parts in it are those that were passed; whoever trains with a config copies them.
    """

    latent_dim: int | None = None
    recipe: str | Recipe | None = None
    encoder: nn.Module | None = None
    decoder: nn.Module | None = None
    latent: AbstractLatent | None = None
    likelihood: Likelihood | None = None
    objective: Objective | None = None
    context: Network | None = None
    epochs: int | None = None
    batch_size: int | None = None
    lr: float | None = None
    schedule: str | None = None
    warmup: int = 0
    clip: float | None = None
    skip: float | None = None
    average: float | None = None
    weight_decay: float = 0.0
    privacy: Privacy | None = None
    columns: Columns | None = None
    unknown: Unknown = "missing"
    validation: float | object = 0.1
    patience: int | None = None
    initialiser: str = "glorot"
    missing: bool = False
    warm_start: bool = False
    precision: str = "fp32"
    threads: int | str = "auto"
    compile: bool | str = "auto"
    device: str = "auto"
    seed: int = 0
    seeds: int | None = None
    sharded: bool = False
    verbose: bool = False

    @classmethod
    def checked(cls, settings: Mapping[str, Any]) -> Self:
        """The config of these settings, numbers as plain Python.

        Raises
        ------
        SettingError
            If a setting has a value that it cannot have.
        """
        return cls(**{name: checked(name, value, OF_VAE[name]) for name, value in settings.items()})

    def settings(self) -> dict[str, Any]:
        """The settings by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    # -- what follows from them ------------------------------------------------------------------------

    def recipe_for(self, spec: DataSpec) -> Recipe:
        """The recipe: the one asked for, or the default for such data."""
        default = "vae" if spec.is_image and spec.kind in ("bytes", "unit", "binary") else "auto"
        return as_recipe(self.recipe or ("table" if spec.schema is not None else default))

    def regime(self, spec: DataSpec, rows: int) -> TrainingDefaults:
        """Epochs, batch size, learning rate, schedule and clipping: the recipe's, replaced by the given ones."""
        given = {name: getattr(self, name) for name in vars(TrainingDefaults())}
        own = self.recipe_for(spec).regime(rows)
        return replace(own, **{name: value for name, value in given.items() if value is not None})

    def adam(self, regime: TrainingDefaults) -> Adam:
        """The optimiser."""
        names = ("weight_decay", "warmup", "skip", "average")
        clip = regime.clip if self.privacy is None else self.clip  # private gradients are clipped row by row
        return Adam(regime.lr, schedule=regime.schedule, clip=clip, **{name: getattr(self, name) for name in names})

    @property
    def reads_tables(self) -> bool:
        """Whether a data frame is read column by column. A named likelihood reads it as an array."""
        return self.likelihood is None and RECIPES[as_recipe(self.recipe or "table").name].of_columns

    @property
    def share_held_out(self) -> bool:
        """Whether `validation` is a share of the rows, or none, and not rows."""
        return isinstance(self.validation, (int, float, type(None)))

    @property
    def several_seeds(self) -> bool:
        return self.in_use("seeds")

    def in_use(self, name: str) -> bool:
        """Whether a setting that others exclude is on."""
        return getattr(self, name) not in ((None, 1) if name == "seeds" else (None, False))

    @property
    def low_precision(self) -> torch.dtype | None:
        return torch.bfloat16 if self.precision == "bf16" else None

    def torch_device(self) -> torch.device:
        if self.device != "auto":
            return torch.device(self.device)
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")

    # -- combinations that are refused -----------------------------------------------------------------

    def check_training(self) -> None:
        """Raise ValueError for settings that exclude one another."""
        if self.warm_start and self.several_seeds:
            raise ValueError(f"seeds={self.seeds} trains several models, warm_start=True goes on from one: drop one")
        if self.privacy is not None:
            self._check_privacy()

    def _check_privacy(self) -> None:
        why = {
            "patience": "the best epoch is chosen by held-out rows, which are not private: pass patience=None",
            "warm_start": "what the weights have spent before would come on top: fit anew",
            "seeds": "every model spends by itself: fit one",
            "sharded": "the gradients of rows are taken by one process: pass sharded=False",
        }
        for name, reason in why.items():
            if self.in_use(name):
                raise ValueError(f"privacy with {name}={getattr(self, name)!r}: {reason}")
        if self.compile is True:
            raise ValueError("the steps of a private training are not compiled: drop one of privacy and compile=True")
        if join().size > 1:
            raise ValueError("a private training runs in one process: the rows of a batch are drawn by one")

    def pace(self) -> dict[str, Any]:
        """Arguments of `training.fit`."""
        compiled = self.compile if self.privacy is None else False
        settings = {"initialiser": self.initialiser}
        return {"patience": self.patience, "threads": self.threads, "compiled": compiled, "settings": settings}
