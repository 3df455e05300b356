"""Settings that are more than a word: `--set name=value`, `--columns name=kind`, `--epsilon`."""

from __future__ import annotations

import inspect
import json
import types
import typing
from collections.abc import Callable, Sequence
from typing import Any

from ..data.column import KINDS
from ..data.inference import Columns
from ..latents import FlowPrior, GaussianMixture, PixelPrior, Prior, SecondStage, TransformerPrior, VampPrior
from ..recipes import RECIPES, Recipe
from ..suggest import nearest
from ..training import Privacy

PRIORS: dict[str, tuple[type[Prior], dict[str, Any]]] = {
    "mixture": (GaussianMixture, {"components": 20}),
    "flow": (FlowPrior, {}),
    "vamp": (VampPrior, {"components": 500}),
    "two-stage": (SecondStage, {}),
    "pixels": (PixelPrior, {}),
    "transformer": (TransformerPrior, {}),
}
"""The priors of `arguments.PRIORS`, with the settings that they do not have by themselves."""
SETTLED = ("size", "inputs_shape", "grid", "codes")
"""Settings of priors that follow from the model."""


def recipe(name: str | None, assignments: Sequence[str]) -> Recipe | None:
    """A recipe with its settings. Raises ValueError or TypeError for unknown names and values of another kind."""
    if name is None and assignments:
        raise ValueError(f"--set {assignments[0]} sets a recipe: name it with --recipe, see `vaekit recipes`")
    if name is None:
        return None
    given = dict(assignment.split("=", 1) for assignment in assignments)
    declared = kinds(Recipe(name).name)
    Recipe(name, **{n: text for n, text in given.items() if n not in declared})  # refuses unknown names
    return Recipe(name, **{n: value(n, text, declared[n]) for n, text in given.items()})


def kinds(name: str) -> dict[str, str]:
    """The settings of a recipe, each with its kind as the recipe declares it."""
    return {n: kind for n, kind in _kinds(RECIPES[name].builder).items() if n in RECIPES[name].defaults}


def _kinds(function: Callable[..., Any]) -> dict[str, str]:
    """The annotations of a function's arguments, with the options of each Literal written out."""
    hints = typing.get_type_hints(inspect.unwrap(function))
    parameters = inspect.signature(function).parameters
    return {n: _written(str(p.annotation), hints.get(n, Any)) for n, p in parameters.items()}


def _written(annotation: str, hint: Any) -> str:
    parts = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    if not any(typing.get_origin(part) is typing.Literal for part in parts):
        return annotation
    options = [
        " | ".join(map(json.dumps, typing.get_args(part)))
        if typing.get_origin(part) is typing.Literal
        else "None"
        if part is type(None)
        else part.__name__
        for part in parts
    ]
    return " | ".join(options)


def prior(name: str, assignments: Sequence[str]) -> Prior:
    """A prior with its settings. Raises ValueError or TypeError for unknown names and values of another kind."""
    made, settings = PRIORS[name]
    kinds = {n: kind for n, kind in _kinds(made.__init__).items() if n not in ("self", *SETTLED)}
    given = dict(assignment.split("=", 1) for assignment in assignments)
    for n in given:
        if n not in kinds:
            raise TypeError(f"prior {name!r} takes no {n!r}{nearest(n, kinds)}; it takes: {', '.join(kinds)}")
    return made(**{**settings, **{n: value(n, text, kinds[n]) for n, text in given.items()}})


def columns(assignments: Sequence[str]) -> Columns | None:
    """What a user says of a table's columns, from NAME=KIND,NAME=KIND; a comma may be part of a name. Raises ValueError
    for a kind that is none."""
    said: dict[str, Any] = {}
    for assignment in assignments:
        before = ""
        for part in assignment.split(","):
            name, sign, kind = (before + part).rpartition("=")
            if not sign:
                before += part + ","
                continue
            before = ""
            if "/" not in kind and kind not in KINDS:
                raise ValueError(
                    f"--columns {name}={kind}: expected one of {', '.join(KINDS)}, or ordered levels such as S/M/L"
                    f"{nearest(kind, KINDS)}"
                )
            said[name.strip()] = _levels(kind) if "/" in kind else kind
        if before:
            raise ValueError(f"--columns {assignment}: expected NAME=KIND,NAME=KIND,..., got {before[:-1]!r} without =")
    return said or None


def _levels(text: str) -> list[Any]:
    """Levels in their order, as numbers where all of them are."""
    words = text.split("/")
    try:
        return [float(word) for word in words]
    except ValueError:
        return words


def privacy(epsilon: float | None, delta: float | None, clip: float | None) -> Privacy | None:
    """Raises ValueError for a delta without an epsilon."""
    if epsilon is None and delta is not None:
        raise ValueError(f"--delta {delta:g} is of a private training: give --epsilon, too")
    given = {name: v for name, v in (("delta", delta), ("clip", clip)) if v is not None}
    return None if epsilon is None else Privacy(epsilon, **given)


def value(name: str, text: str, kind: str, flag: str = "--set") -> Any:
    """A setting of a recipe as the kind of value that it is. Raises ValueError for another kind."""
    if kind.endswith(" | None"):
        return None if text == "None" else value(name, text, kind.removesuffix(" | None"), flag)
    try:
        return READERS.get(kind, _number_or_word if kind.startswith("float | ") else _anything)(text)
    except ValueError as error:
        raise ValueError(f"{flag} {name}={text}: expected {WORDS.get(kind, kind)}, got {text!r}") from error


def _integers(text: str) -> tuple[int, ...]:
    return tuple(int(word) for word in text.strip("()[] ").split(",") if word.strip())


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(float(word) for word in _words(text))


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip(" \"'") for word in text.strip("()[] ").split(",") if word.strip())


def _number_or_word(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _anything(text: str) -> Any:
    """JSON where it is JSON (lists as tuples), else the text."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return tuple(value) if isinstance(value, list) else value


def _truth(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError
    return text.lower() == "true"


READERS: dict[str, Callable[[str], Any]] = {
    "int": int,
    "bool": _truth,
    "float": float,
    "tuple[int, ...]": _integers,
    "Sequence[int]": _integers,
    "tuple[float, ...]": _numbers,
    "tuple[str, ...]": _words,
    "str": str,
}
WORDS = {
    "int": "a whole number",
    "bool": "True or False",
    "float": "a number",
    "tuple[int, ...]": "whole numbers such as 300,300",
    "tuple[float, ...]": "numbers such as 1,20",
}
WORDS["Sequence[int]"] = WORDS["tuple[int, ...]"]
