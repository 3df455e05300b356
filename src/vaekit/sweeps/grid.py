"""Which models a sweep trains: every combination of the swept settings, with every seed."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

from ..core import Component
from ..estimators import VAE
from ..recipes import as_recipe
from ..settings import Whole, checked
from ..suggest import nearest


@dataclass(frozen=True)
class Combination:
    """Swept settings by name, with one value each, and how these are shown."""

    values: dict[str, Any]
    shown: dict[str, Any]

    def of(self, vae: VAE) -> VAE:
        """A new estimator with these settings instead of its own."""
        return vae.__sklearn_clone__().set_params(**self.values)

    def folder(self, number: int, seed: int) -> str:
        """`003-beta=4-lr=0.001-seed=0`: of letters that every file system takes."""
        settings = "-".join(f"{short(name)}={text(value)}" for name, value in self.shown.items())
        safe = re.sub(r"[^\w.=+-]+", "_", settings)[:80]
        return "-".join(filter(None, [f"{number:03}", safe, f"seed={seed}"]))


KEPT = {
    "seed": "pass seeds=[...]",
    "seeds": "pass seeds=8 to the sweep itself",
    "validation": "all members are compared on the same held-out rows; set it on the estimator",
    "warm_start": "all members start anew",
    "verbose": "it is of the sweep as a whole; set it on the estimator",
}
"""What cannot be swept, and what to do instead."""


def seed_list(vae: VAE, seeds: int | Sequence[int]) -> list[int]:
    """The seeds of a sweep: so many from the estimator's own, or those given."""
    first = checked("seed", vae.seed, Whole(0))
    if isinstance(seeds, (str, bytes, Mapping)) or not isinstance(seeds, Iterable):
        count = checked("seeds", seeds, Whole(1, "a number of seeds, at least 1, or a list of them"))
        return list(range(first, first + count))
    given = [checked(f"seeds[{i}]", seed, Whole(0)) for i, seed in enumerate(seeds)]
    if not given:
        raise ValueError("seeds=[]: expected at least one seed")
    _refuse_twice("seeds", given)
    return given


def combinations(vae: VAE, over: Mapping[str, Iterable[Any]] | None) -> list[Combination]:
    """Every combination of the values in `over`, the last name the fastest; one empty one where nothing is swept.

    Raises ValueError for a name that is no setting, for what is no list of values, and for a value that stands twice.
    """
    values = {name: _values(vae, name, given) for name, given in (over or {}).items()}
    labels = {name: _labels(several) for name, several in values.items()}
    pairs = itertools.product(*(zip(values[name], labels[name]) for name in values))
    return [
        Combination(dict(zip(values, (v for v, _ in chosen))), dict(zip(values, (t for _, t in chosen))))
        for chosen in pairs
    ]


def _values(vae: VAE, name: str, given: Any) -> list[Any]:
    known = vae.get_params(deep=False)
    if vae.recipe is not None:
        known |= {f"recipe__{setting}": value for setting, value in as_recipe(vae.recipe).settings.items()}
    if name in KEPT:
        raise ValueError(f"{name} cannot be swept: {KEPT[name]}")
    if name not in known and not (name.startswith("recipe__") and vae.recipe is None):
        raise ValueError(f"unknown setting {name!r}{_near(name, known)} of {type(vae).__name__}")
    if isinstance(given, (str, bytes, Component)) or not isinstance(given, Iterable):
        raise ValueError(f"{name}={given!r}: expected a list of values to sweep over, such as [{given!r}]")
    values = list(given)
    if not values:
        raise ValueError(f"{name}=[]: expected at least one value to sweep over")
    _refuse_twice(name, [id(v) if _has_weights(v) else shown(v) for v in values])
    return values


def _has_weights(value: Any) -> bool:
    return isinstance(value, nn.Module) and any(True for _ in value.parameters())


def _near(name: str, known: Iterable[str]) -> str:
    """The nearest setting; one of the recipe's is found without its prefix, too."""
    own = f"recipe__{name}"
    return f' (did you mean "{own}"?)' if own in known else nearest(name, known)


def _refuse_twice(name: str, values: Sequence[Any]) -> None:
    twice = next((v for i, v in enumerate(values) if v in values[:i]), None)
    if twice is not None:
        raise ValueError(f"{name}: {twice} stands twice; name every value once")


def _labels(values: Sequence[Any]) -> list[Any]:
    """The values as JSON and a table hold them; modules that look alike are numbered."""
    labels = [shown(value) for value in values]
    return [
        f"{label} {labels[:i].count(label) + 1}" if labels.count(label) > 1 else label for i, label in enumerate(labels)
    ]


def shown(value: Any) -> Any:
    """A value as JSON holds it: numbers and words as they are, anything else as text."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # JSON has none
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return ",".join(str(shown(v)) for v in value)
    if isinstance(value, Component):
        from ..report.describe import part_line  # brings the page's figures with it

        return part_line(value)
    return type(value).__name__ if isinstance(value, nn.Module) else repr(value)


def text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def short(name: str) -> str:
    return name.removeprefix("recipe__")
