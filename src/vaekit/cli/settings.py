"""`--set name=value`: a recipe's settings, read as the kind of value that the recipe declares."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Sequence
from typing import Any

from ..recipes import RECIPES, Recipe


def recipe(name: str | None, assignments: Sequence[str]) -> Recipe | None:
    """A recipe with its settings. Raises ValueError or TypeError for unknown names and values of another kind."""
    if name is None and assignments:
        raise ValueError(f"--set {assignments[0]} sets a recipe: name it with --recipe, see `vaekit recipes`")
    if name is None:
        return None
    given = dict(assignment.split("=", 1) for assignment in assignments)
    Recipe(name, **given)  # refuses unknown names
    return Recipe(name, **{n: value(n, text, kinds(name)[n]) for n, text in given.items()})


def kinds(name: str) -> dict[str, str]:
    """The settings of a recipe, each with its kind as the recipe declares it."""
    parameters = inspect.signature(RECIPES[name].builder).parameters
    return {n: str(p.annotation) for n, p in parameters.items() if n in RECIPES[name].defaults}


def value(name: str, text: str, kind: str, flag: str = "--set") -> Any:
    """A setting of a recipe as the kind of value that it is. Raises ValueError for another kind."""
    try:
        return READERS.get(kind, _anything)(text)
    except ValueError as error:
        raise ValueError(f"{flag} {name}={text}: expected {WORDS.get(kind, kind)}, got {text!r}") from error


def _integers(text: str) -> tuple[int, ...]:
    return tuple(int(word) for word in text.strip("()[] ").split(",") if word.strip())


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


READERS: dict[str, Callable[[str], Any]] = {
    "int": int,
    "int | None": int,
    "float": float,
    "tuple[int, ...]": _integers,
    "float | str": _number_or_word,
    "str": str,
}
WORDS = {
    "int": "a whole number",
    "int | None": "a whole number",
    "float": "a number",
    "tuple[int, ...]": "whole numbers such as 300,300",
}
