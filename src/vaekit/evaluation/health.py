"""What is wrong with a model, if anything: measured on a few rows, judged by `verdicts.diagnose`."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..core import Batch, Ramp, Source, public
from ..data.rows import AbstractRows
from ..model import VAEModule
from ..networks import evaluating
from ..objectives import Objective
from ..objectives.base import code_use
from .diagnostics import Diagnostics, for_the_elbo
from .likelihood import BUDGET, CODE_USE
from .metric import Metric, plain, table
from .verdicts import Verdict, diagnose

ROWS = 1000
"""Rows that are looked at, or all where there are fewer: random ones, so that nothing costs more than seconds."""
FEWEST = 50
"""Fewer rows than these say nothing: among them a share of .2 may be an accident."""


@dataclass(frozen=True, repr=False)
class Health:
    """figures and what they come to, verdicts; left_out: why a figure is not there. rows: how many were looked at, on:
    which, "held-out" or "training"."""

    figures: dict[str, Metric]
    verdicts: tuple[Verdict, ...]
    rows: int
    on: str
    kl_per_unit: list[float] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)

    def __getitem__(self, name: str) -> float:
        return self.figures[name].value

    @property
    def names(self) -> tuple[str, ...]:
        """Of the verdicts."""
        return tuple(verdict.name for verdict in self.verdicts)

    def to_dict(self) -> dict[str, object]:
        verdicts = [{"name": v.name, "said": v.said, "remedies": list(v.remedies)} for v in self.verdicts]
        own = {"figures": plain(self.figures), "kl_per_unit": self.kl_per_unit, "left_out": self.left_out}
        return {"rows": self.rows, "on": self.on, "verdicts": verdicts, **own}

    def in_two_lines(self) -> str:
        """What was measured in a line, and in another the verdicts, each with the first thing to try."""
        f, told = self.figures, []
        told += [f"{n} {f[n].value:.1f}" for n in ("rate", "distortion") if n in f]
        told += [f"{f['active_units'].value:.0f} {f['active_units'].unit} units active"] if "active_units" in f else []
        if "information" in f:
            told.append(f"I(x; z) at least {f['information'].value:.1f}")
        told += [f"holes {f['holes'].value:.0%}"] if "holes" in f else []
        verdicts = "; ".join(verdict.brief for verdict in self.verdicts)
        return f"health on {self.rows:,} {self.on} rows: {', '.join(told)}\n{verdicts}"

    def __str__(self) -> str:
        return self.text()

    def text(self, without: Collection[str] = ()) -> str:
        """The figures, but for some, what is left out, and the verdicts."""
        figures = {n: f for n, f in self.figures.items() if n not in without}
        lines = [f"health, on {self.rows:,} {self.on} rows", *table(figures)]
        for name, reason in self.left_out.items():
            lines += textwrap.wrap(f"no {name}: {reason}", 88, initial_indent="  ", subsequent_indent="    ")
        for verdict in self.verdicts:
            lines += textwrap.wrap(f"verdict: {verdict}", 88, initial_indent="  ", subsequent_indent="    ")
        return "\n".join(lines)

    __repr__ = __str__


@public
@torch.no_grad()
def health(
    model: VAEModule,
    rows: AbstractRows,
    *,
    objective: Objective | None = None,
    history: Sequence[Mapping[str, Any]] = (),
    ended: str | None = None,
    kept: int | None = None,
    seed: int = 0,
    most: int = ROWS,
    on: str = "held-out",
) -> Health:
    """Looks at a model on `most` random rows at most, with one draw each, in bounded memory.

    objective: what it was trained for. history: a record per epoch, for what training came to; `ended`, how; kept: the
    epoch whose weights the model has, None: the last. on: what the rows are, for the text. Every latent is looked at in
    the ways that it allows; `Health.left_out` says which it does not, and why. Only noise of its own is drawn, and
    nothing of the model changes. Raises ValueError for fewer than 50 rows.
    """
    if len(rows) < FEWEST:
        raise ValueError(f"health is looked for in at least {FEWEST} rows, got {len(rows)}: pass more")
    cells = math.prod(rows.spec.shape)
    with evaluating(model):
        look = Diagnostics(model, objective, _few(rows, seed, most), Source.like(model, seed))
        figures, left_out = {**look.rate_and_distortion(), **look.decoder()}, {}
        for name, measured in look.measures().items():
            found = measured(figures) if look.finite else "the codes of some rows are not finite"
            if isinstance(found, str):
                left_out[name] = found
            else:
                figures |= found
    figures |= _code_use(look.usage) | _course(history, ended, kept, cells) | _steps(history, model, objective)
    figures |= _stall(history, kept, objective, figures)
    values = {n: f.value for n, f in figures.items()} | _ending(history, ended)
    values |= {} if look.kl is None else {"units": look.kl.shape[1]}
    values |= {"cells": cells}
    values |= {"behind_error": figures["behind"].error or 0.0} if "behind" in figures else {}
    per_unit = [] if look.kl is None else look.kl.mean(0).tolist()
    return Health(figures, diagnose(values), len(look.z), on, per_unit, left_out)


def _ending(history: Sequence[Mapping[str, Any]], ended: str | None) -> dict[str, float]:
    """How training ended: the epochs, where that is known, 1.0 where it diverged, and the step that it went back to."""
    found: dict[str, float] = {"epochs": len(history)} if history or ended is not None else {}
    found |= {"ended_diverged": 1.0} if ended == "diverged" else {}
    back = [record["rolled_back"] for record in history if record.get("rolled_back") is not None]
    return found | ({"rolled_back": float(back[-1])} if back else {})


def _steps(history: Sequence[Mapping[str, Any]], model: VAEModule, objective: Objective | None) -> dict[str, Metric]:
    """The share of steps that were left out, in all and lately, and how much of a warm-up was still to come."""
    if not history or "step" not in history[-1]:
        return {}
    last, found = history[-1], {}
    taken = last["step"]
    if taken and "skipped" in last:
        late = history[-1 - max(1, len(history) // 5)] if len(history) > 1 else {"step": 0, "skipped": 0}
        share = max(0.0, (last["skipped"] - late.get("skipped", 0)) / max(1, taken - late["step"]))
        found["skipped"] = Metric(last["skipped"] / taken, None, "", "share of the steps that were left out")
        found["skipped_lately"] = Metric(share, None, "", "the same over the last fifth of the epochs")
    parts = [*model.modules(), *([] if objective is None else objective.modules())]
    longest = max((part.steps for part in parts if isinstance(part, Ramp)), default=0)
    if longest > taken:
        left = Metric(1 - taken / longest, None, "", f"share of a warm-up of {longest:,} steps that was still to come")
        found["warm_up_left"] = left
    return found


def _few(rows: AbstractRows, seed: int, most: int) -> Iterator[Batch]:
    """Random rows, some at a time."""
    index = rows.order(seed, 0)[:most]
    cells, kind = math.prod(rows.spec.shape), rows.device.type
    size = max(1, min(256, BUDGET.get(kind, BUDGET["cuda"]) // cells))
    return rows.stream(index.split(size))


def _code_use(usage: Sequence[Tensor]) -> dict[str, Metric]:
    """Perplexity and unused codes of the shares that codes were used by."""
    return {name: Metric(float(value), None, *CODE_USE[name]) for name, value in code_use(usage).items()}


def _course(history: Sequence[Mapping[str, Any]], ended: str | None, kept: int | None, cells: int) -> dict[str, Metric]:
    """How training went: what it still gained at its end, and what of its gain held-out rows do not have."""
    own, held = _curve(history, ""), _curve(history, "val_")
    found, watched = {}, held or own
    late = max(1, len(watched) // 5)
    if len(watched) > 2 * late and ended != "stopped early":
        gained, last, before = _gain(watched), watched[-late:], watched[-2 * late : -late]
        brought = (sum(last) - sum(before)) / late**2
        meaning = "of all gained since the first epoch, what each of the last ones brought"
        found["rising"] = Metric(brought / gained if gained > 0 else 0.0, None, "", meaning)
    if watched and watched[-1] < watched[0]:
        fallen = (watched[0] - watched[-1]) / max(cells, abs(watched[0]))
        found["fallen"] = Metric(fallen, None, "", "loss of ELBO since the first epoch, as a share of its size then")
    if own and held:
        place = (kept or len(own)) - 1
        gap, gained = own[place] - held[place], _gain(own)
        found["overfit_gap"] = Metric(gap, None, "nats", "the ELBO in training less that of held-out rows, as logged")
        if gained > 0:
            found["lost"] = Metric(gap / gained, None, "", "the same as a share of what training gained")
    return found


def _stall(
    history: Sequence[Mapping[str, Any]], kept: int | None, objective: Objective | None, figures: Mapping[str, Metric]
) -> dict[str, Metric]:
    """The share of epochs in which the model was no better than independent cells.

    Those are as far from the final model on the rows of the history as on the rows that are looked at.
    """
    names = ("elbo", "distortion") if for_the_elbo(objective) else ("distortion",)
    watched = _curve(history, "val_", names) or _curve(history, "", names)
    if not watched or "behind" not in figures:
        return {}
    level = watched[(kept or len(watched)) - 1] + figures["behind"].value
    share = sum(value <= level for value in watched) / len(watched)
    return {"stalled": Metric(share, None, "", "share of the epochs in which it was no better than independent cells")}


def _curve(
    history: Sequence[Mapping[str, Any]], prefix: str, names: Sequence[str] = ("elbo", "distortion")
) -> list[float]:
    """The ELBO over epochs, less the distortion where there is none."""
    for name, sign in ((name, -1.0 if name == "distortion" else 1.0) for name in names):
        if history and all(isinstance(record.get(prefix + name), (int, float)) for record in history):
            return [sign * record[prefix + name] for record in history]
    return []


def _gain(curve: Sequence[float]) -> float:
    return max(curve) - curve[0]
