"""The user's own networks, of which a file holds the weights only: which are needed, and which were passed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from .core import Component, trainable_copy
from .networks import is_keras
from .printable import printable
from .storage import StorageError
from .suggest import nearest

Given = Any
"""A module, a part that contains modules, a list of modules, or modules by their saved path."""


def assigned(saved: Mapping[str, str], given: Mapping[str, Given], path: Path) -> dict[str, nn.Module]:
    """The module for every saved path, found in what the user passed to `load`.

    saved: class names by path, in the order of the description. given: by the name of a setting (`encoder`), or by a
    saved path; see `load`. Raises TypeError for a name that the file does not hold, StorageError where modules are
    missing.
    """
    groups: dict[str, list[str]] = {}
    for own in saved:
        groups.setdefault(own.split(".")[0], []).append(own)
    found: dict[str, nn.Module] = {}
    for name, value in given.items():
        if name in groups:
            found |= _of_group(name, groups[name], value)
        elif (exact := next((p for p in saved if name in (p, p.removesuffix(".module"))), None)) is not None:
            found[exact] = value
        else:
            known = [*groups, *saved]
            raise TypeError(f"{printable(path)} holds no module of your own named {name!r}{nearest(name, known)}")
    missing = [own for own in saved if own not in found]
    if missing:
        raise StorageError(_request(path, saved, groups, missing))
    for own, module in found.items():
        if not isinstance(module, nn.Module):
            raise TypeError(f"{own}: expected a torch or Keras module, got {type(module).__name__}")
    return found


def copied(modules: Mapping[str, nn.Module]) -> dict[str, nn.Module]:
    """Copies, as in fit: what was passed in stays as it is (a Keras model is only read). One module that was passed
    twice is one module again."""
    each = {id(m): m if is_keras(m) else trainable_copy(m) for m in modules.values()}
    return {path: each[id(m)] for path, m in modules.items()}


def _of_group(name: str, paths: list[str], value: Given) -> dict[str, nn.Module]:
    if isinstance(value, Mapping):
        return {own: _named(value, own) for own in paths if _named(value, own) is not None}
    if isinstance(value, nn.ModuleList) or (isinstance(value, Sequence) and not isinstance(value, str)):
        if len(value) != len(paths):
            raise TypeError(f"{name}: expected {len(paths)} modules, {_listed(paths)}, got {len(value)}")
        return dict(zip(paths, value))
    if isinstance(value, Component):
        return {own: _inside(value, own, name) for own in paths}
    if len(paths) > 1:
        raise TypeError(
            f"{name}: expected {len(paths)} modules, {_listed(paths)}, got one: pass a list of them in this order"
        )
    return {paths[0]: value}


def _named(value: Mapping[str, nn.Module], path: str) -> nn.Module | None:
    return value.get(path, value.get(path.removesuffix(".module")))


def _inside(part: Component, path: str, name: str) -> nn.Module:
    """The module at a saved path of a part that is built like the saved one."""
    here: Any = part
    for piece in path.split(".")[1:]:
        if piece == "module" and not isinstance(here, Component):
            break  # it was put into an adapter when the model was built
        try:
            here = here[int(piece)] if isinstance(here, (list, tuple, nn.ModuleList)) else getattr(here, piece)
        except (AttributeError, IndexError, ValueError):
            raise TypeError(
                f"{name}: this {type(part).__name__} has no {path.removeprefix(f'{name}.')}, which the saved one has: "
                "pass a part of the same structure, or the modules themselves"
            ) from None
    return here


def _request(path: Path, saved: Mapping[str, str], groups: Mapping[str, list[str]], missing: list[str]) -> str:
    names = sorted({own.split(".")[0] for own in missing})
    wanted = [f"{n}=..." if len(groups[n]) == 1 else f"{n}=[{', '.join(['...'] * len(groups[n]))}]" for n in names]
    text = f"{path} holds only the weights of your own modules: pass them in again, load(path, {', '.join(wanted)})"
    told = [f"{own.removesuffix('.module')} ({saved[own]})" for n in names if len(groups[n]) > 1 for own in groups[n]]
    return f"{text}; in this order: {', '.join(told[:8])}" if told else text


def _listed(paths: list[str]) -> str:
    return ", ".join(own.removesuffix(".module") for own in paths[:8])
