"""Checks of what functions are given, by their annotations."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from .settings import Device, Flag, Number, Rule, Whole, checked, optional

F = TypeVar("F", bound=Callable[..., Any])

LEAST = {
    **dict.fromkeys(("n", "draws", "steps", "k", "batch_size", "chains", "betas", "folds", "starts", "bins"), 1),
    **dict.fromkeys(("votes", "size", "most", "members", "clusters"), 1),
}
"""The least value of whole-numbered arguments, by name; of all others 0."""


RULES: dict[str, Rule] = {"max_seconds": Number(0.0, open_low=True, words="a positive number of seconds")}
"""The rules of arguments with bounds of their own, by name."""


def rule_for(name: str, annotation: object) -> Rule | None:
    """The rule of an argument by its name and annotation; None where it is not a number, a flag or a device."""
    kinds = str(annotation).replace(" ", "").split("|")
    rules: dict[str, Rule] = {"int": Whole(LEAST.get(name, 0)), "float": RULES.get(name, Number()), "bool": Flag()}
    if name == "device":
        return Device(auto="torch.device" not in kinds)
    rest = [kind for kind in kinds if kind != "None"]
    if len(rest) != 1 or rest[0] not in rules:
        return None
    return optional(rules[rest[0]]) if "None" in kinds else rules[rest[0]]


def check_arguments(function: F) -> F:
    """Checks the numbers, flags and devices that a function is given, by its annotations; see `rule_for`."""
    parameters = inspect.signature(function).parameters.values()
    places = [(i, p.name, rule) for i, p in enumerate(parameters) if (rule := rule_for(p.name, p.annotation))]
    if not places:
        return function

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        given = list(args)
        for place, name, rule in places:
            if name in kwargs:
                kwargs[name] = checked(name, kwargs[name], rule)
            elif place < len(given):
                given[place] = checked(name, given[place], rule)
        return function(*given, **kwargs)

    return call
