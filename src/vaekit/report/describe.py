"""A fitted VAE in words: its composition in one line, its parts as a tree, its settings and circumstances."""

from __future__ import annotations

import inspect
import platform
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..core import Component, Hyper
from ..data.datasets import digest
from ..data.lazy_rows import LazyRows
from ..data.spec import DataSpec
from ..fitted import FittedVAE
from ..recipes import RECIPES, Recipe
from ..training.config import VAEConfig
from ..training.history import duration

SAID = ("hidden", "channels")
"""Sizes that are worth a word even where they are the defaults."""
MOST_SHOWN = 6
"""Numbers of a setting that are shown one by one, at most."""
OWN = ("encoder", "decoder", "latent", "likelihood", "objective")


def title(vae: FittedVAE) -> tuple[str, str]:
    """The recipe's name, and what it is in a sentence."""
    given = [n for n in OWN if getattr(vae.config, n) is not None]
    name = vae.recipe.name
    if {"latent", "likelihood"} <= set(given):
        return "own parts", "A model composed of parts of your own."
    summary = RECIPES[name].summary.replace("`", "")
    return name, f"{summary} Its {_listed(given)} replaced by own parts." if given else summary


def composition(vae: FittedVAE) -> str:
    """The parts in one line: encoder, latent, decoder, likelihood, objective."""
    model = vae.module
    parts = (model.encoder, model.latent, model.decoder, model.likelihood, vae.objective)
    return " · ".join(part_line(p) for p in parts)


def part_line(part: nn.Module, but: Sequence[str] = ()) -> str:
    """A part with the settings that are not its defaults, and the parts inside it: `Latent(Normal(2), ...)`.

    but: names of settings that are left out.
    """
    children, chosen = _split(part)
    inside = [part_line(c, but) for c in children.values()]
    shown = inside + [
        t for n, t in chosen.items() if not n.endswith("shape") and not t.startswith("size=") and n not in but
    ]
    return f"{type(part).__name__}({', '.join(shown)})" if shown else type(part).__name__


def _split(part: nn.Module) -> tuple[dict[str, nn.Module], dict[str, str]]:
    """The parts that a part was built from by name, and its other arguments but for defaults, as text by name."""
    children: dict[str, nn.Module] = {}
    chosen: dict[str, str] = {}
    arguments = part.arguments() if isinstance(part, Component) else {}
    parameters = inspect.signature(type(part).__init__).parameters
    for name, value in arguments.items():
        default = parameters[name].default
        if isinstance(value, (nn.ModuleList, list, tuple)) and len(value) and isinstance(value[0], nn.Module):
            children |= {f"{name}[{i}]": v for i, v in enumerate(value)}
        elif isinstance(value, nn.Module) and type(value) is not Hyper:
            children[name] = value
        elif default is inspect.Parameter.empty or name in SAID:
            chosen[name] = _value(value)
        elif not _is(value, default):
            chosen[name] = f"{name}={_value(value)}"
    return children, chosen


def _is(value: Any, default: Any) -> bool:
    value = float(value.value) if type(value) is Hyper else value
    return value is default or (_plain(value) and _plain(default) and value == default)


def _plain(value: Any) -> bool:
    return isinstance(value, (bool, int, float, str, tuple, list))


def _value(value: Any) -> str:
    """A setting in a few letters."""
    if isinstance(value, Hyper) and type(value) is Hyper:
        return f"{float(value.value):g}"
    if isinstance(value, Recipe):
        return repr(value)
    if isinstance(value, nn.Module):
        return part_line(value)
    if isinstance(value, Tensor):
        return f"{float(value):g}" if value.dim() == 0 else f"tensor {tuple(value.shape)}"
    if not (value is None or _plain(value)):
        return f"{type(value).__name__} {getattr(value, 'shape', '')}".strip()
    if isinstance(value, (tuple, list)):
        return _sequence(value)
    text = repr(value)
    return text if len(text) <= 48 else f"{text[:47]}…"


def _sequence(value: Sequence[Any]) -> str:
    """Few values in few digits; of many, as the knots and levels of columns are, their number."""
    if (count := _count(value)) > MOST_SHOWN:
        return f"{count} values"
    inside = [_sequence(v) if isinstance(v, (tuple, list)) else _number(v) for v in value]
    text = ", ".join(inside)
    return f"[{text}]" if isinstance(value, list) else f"({text},)" if len(inside) == 1 else f"({text})"


def _count(value: Any) -> int:
    return sum(map(_count, value)) if isinstance(value, (tuple, list)) else 1


def _number(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else repr(value)


def tree(vae: FittedVAE) -> str:
    """The parts, one a line, nested, each with its number of parameters where it has any."""
    model = vae.module
    named = [(n, getattr(model, n)) for n in ("encoder", "latent", "decoder", "likelihood")]
    lines = [line for name, part in [*named, ("objective", vae.objective)] for line in _branch(name, part, 0)]
    widest = max(len(f"{count:,}") for _, count in lines)
    return "\n".join(f"{f'{count:,}' if count else '':>{widest}}  {text}" for text, count in lines)


def _branch(name: str, part: nn.Module, depth: int) -> Iterator[tuple[str, int]]:
    """Lines (text, parameters) of a part and of the parts it was built from."""
    children, chosen = _split(part)
    inside = f"({', '.join(chosen.values())})" if chosen else ""
    yield f"{'  ' * depth}{name}  {type(part).__name__}{inside}", sum(p.numel() for p in part.parameters())
    for key, child in children.items():
        yield from _branch(key, child, depth + 1)


def settings(vae: FittedVAE) -> dict[str, str]:
    """The estimator's parameters."""
    return {name: _value(value) for name, value in vae.config.settings().items()}


def changed(vae: FittedVAE) -> list[str]:
    """The names of the parameters that are not at their defaults."""
    defaults = VAEConfig().settings()
    return [n for n, v in vae.config.settings().items() if not _is(v, defaults[n])]


def circumstances(vae: FittedVAE, x: NDArray | LazyRows) -> dict[str, str]:
    """The data, the training and the versions behind a report."""
    from .. import __version__

    model = vae.module
    return {
        "data": data_line(vae.spec, x),
        "SHA-256 of the data": digest(x),
        "parameters": f"{sum(p.numel() for p in model.parameters()):,}",
        "training": training(vae),
        **({} if vae.privacy is None else {"privacy": vae.privacy}),
        "device": str(next((p.device for p in model.parameters()), "cpu")),
        "seed": str(vae.config.seed),
        "versions": f"vaekit {__version__}, torch {torch.__version__}, numpy {np.__version__}, "
        f"python {platform.python_version()}",
    }


def training(vae: FittedVAE) -> str:
    """`50 epochs, finished, 1 min 3 s`."""
    history = vae.history
    seconds = sum(r.get("seconds", 0.0) for r in history)
    trained = f"{len(history)} epoch{'s' * (len(history) != 1)}, {vae.ended}"
    return f"{trained}, {duration(seconds)}" if history else "no record of it"


def differing(models: Mapping[str, FittedVAE]) -> dict[str, dict[str, str]]:
    """What is not the same of all models: parts, settings and training, by its name, of each model."""
    told = {
        name: {
            "recipe": title(vae)[0],
            **{n: part_line(part) for n, part in vae.module.named_children() if n in OWN},
            "objective": part_line(vae.objective),
            **{n: v for n, v in settings(vae).items() if n not in ("recipe", *OWN)},
            "parameters": f"{sum(p.numel() for p in vae.module.parameters()):,}",
            "training": training(vae),
        }
        for name, vae in models.items()
    }
    names = list(dict.fromkeys(n for own in told.values() for n in own))
    found = {n: {name: own.get(n, "–") for name, own in told.items()} for n in names}
    return {n: values for n, values in found.items() if len(set(values.values())) > 1}


def data_line(spec: DataSpec, x: NDArray | LazyRows) -> str:
    """`10,000 rows of 28 × 28, uint8, 8-bit levels 0..255`."""
    gaps = ", with missing values" if spec.missing else ""
    shape = " × ".join(map(str, spec.shape))
    return f"{len(x):,} rows of {shape}, {x.dtype}, {spec.content}{gaps}"


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
