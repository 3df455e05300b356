"""`vaekit recipes`: the named models and their settings."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from ..recipes import RECIPES, Recipe
from .outputs import CommandResult
from .runs import as_json
from .settings import kinds


def recipes(args: Namespace) -> CommandResult:
    if args.name is None:
        width = max(map(len, RECIPES))
        lines = [f"{name:<{width}}  {e.summary}\n{'':<{width}}  {e.paper}" for name, e in RECIPES.items()]
        return CommandResult("\n".join(lines), {"recipes": [_described(name) for name in RECIPES]})
    name = Recipe(args.name).name  # refuses an unknown one
    entry, declared = RECIPES[name], kinds(name)
    lines = [f"{name}: {entry.summary}", entry.paper, "", "settings (--set NAME=VALUE):"]
    width = max(map(len, entry.defaults), default=0)
    lines += [f"  {n:<{width}}  {_shown(v)}  ({declared[n]})" for n, v in entry.defaults.items()]
    return CommandResult("\n".join(lines), _described(name))


def _described(name: str) -> dict[str, Any]:
    entry = RECIPES[name]
    return as_json({"name": name, "summary": entry.summary, "paper": entry.paper, "settings": entry.defaults})


def _shown(value: Any) -> str:
    """A default as `--set` reads it."""
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
