"""Checks values read from a file against the type hints of what they are passed to."""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

SHOWN = 60
NUMBERS = (bool, int, float)


def hints_of(target: Callable[..., Any] | type) -> dict[str, Any]:
    """The resolved type hints of a class or function; empty where one of them cannot be resolved."""
    try:
        return typing.get_type_hints(target)
    except (NameError, TypeError, AttributeError):
        return {}


def fits(value: Any, hint: Any) -> bool:
    """Whether a value can be passed where this hint is given. Hints that are not understood accept every value.

    Kinds of numbers are not told apart: a constructor may take 1e4 for 10000, and 1 for True.
    """
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is None or hint is type(None):
        return value is None
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, part) for part in args)
    if origin is typing.Literal:
        return any(value == option for option in args)
    if hint in NUMBERS:
        return isinstance(value, NUMBERS)
    if (origin or hint) in (list, tuple, Sequence):
        return _fits_sequence(value, args)
    if (origin or hint) in (dict, Mapping):
        return isinstance(value, Mapping)
    if origin is None and isinstance(hint, type) and hint not in (object, Any):
        return isinstance(value, hint)
    return True


def _fits_sequence(value: Any, args: tuple[Any, ...]) -> bool:
    if isinstance(value, (str, bytes, Mapping)) or not hasattr(value, "__len__") or not hasattr(value, "__iter__"):
        return False
    if not args:
        return True
    if len(args) == 1 or args[-1] is Ellipsis:
        if typing.get_origin(args[0]) is None and all(type(v) in (*NUMBERS, str) for v in value):
            value = {type(v): v for v in value}.values()  # of a million numbers, one of each type
        return all(fits(v, args[0]) for v in value)
    return len(value) == len(args) and all(fits(v, hint) for v, hint in zip(value, args))


def check_arguments(name: str, arguments: Mapping[str, Any], target: Callable[..., Any]) -> None:
    """Raises TypeError, with the argument's name, for a value that does not fit the hint of its parameter."""
    hints = hints_of(target)
    for argument, value in arguments.items():
        if argument in hints and not fits(value, hints[argument]):
            raise TypeError(f"{name}({argument}={shown(value)}): expected {written(hints[argument])}")


def check_record(record: Any, name: str) -> None:
    """The same for the fields of a dataclass, and of the dataclasses that it contains."""
    hints = hints_of(type(record))
    for field in fields(record):
        value = getattr(record, field.name)
        if not fits(value, hints.get(field.name, Any)):
            raise TypeError(f"{name}.{field.name} = {shown(value)}: expected {written(hints[field.name])}")
        for place, inner in _records(value):
            check_record(inner, f"{name}.{field.name}{place}")


def _records(value: Any) -> Iterator[tuple[str, Any]]:
    if is_dataclass(value):
        yield "", value
    elif isinstance(value, tuple):
        yield from ((f"[{i}]", v) for i, v in enumerate(value) if is_dataclass(v))


def shown(value: Any) -> str:
    """The repr of a value, cut to a length that a message can hold."""
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def written(hint: Any) -> str:
    """A hint as it is written in source code."""
    return hint.__name__ if isinstance(hint, type) and not typing.get_args(hint) else str(hint).replace("typing.", "")
