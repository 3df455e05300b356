"""What the settings of estimators may be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import nn

from . import likelihoods, objectives
from .data.unknown import UNKNOWN
from .latents import AbstractLatent
from .likelihoods import Likelihood
from .networks import Network, is_keras
from .networks.initialise import SCHEMES
from .objectives import Objective
from .recipes import RECIPES, Recipe
from .settings import (
    Choice,
    Device,
    Flag,
    Instance,
    Number,
    Refused,
    Rule,
    Whole,
    optional,
    public_classes,
)
from .training.adam import RULES as OF_ADAM
from .training.pace import RULES as OF_PACE
from .training.privacy import Privacy


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
