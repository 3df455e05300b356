"""What an evaluation says: figures with their errors, what they depend on, and what is wrong with the model."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..printable import printable_lines

if TYPE_CHECKING:
    from .baselines import Baselines
    from .health import Health
    from .protocol import Protocol


@dataclass(frozen=True)
class Figure:
    """A measured number: its value, its standard error over rows (None where it has none), unit and meaning."""

    value: float
    error: float | None
    unit: str
    meaning: str

    def __str__(self) -> str:
        error = "" if self.error is None else f" ± {self.error:.2g}"
        return f"{self.value:.4f}{error} {self.unit}".rstrip()

    @classmethod
    def mean(cls, values: Tensor, unit: str, meaning: str) -> Figure:
        """The mean over rows and its standard error."""
        values = values.double()
        error = float(values.std() / math.sqrt(len(values))) if len(values) > 1 else None
        return cls(float(values.mean()), error, unit, meaning)


@dataclass(frozen=True, repr=False)
class Evaluation:
    """Figures on held-out rows. Shows itself as a table; `to_dict` for machines.

    protocol: what the figures depend on, by which `compare` tells whether two evaluations can stand side by side.
    health: what is wrong with the model, if anything, and what to try. baselines: what simple models make of the same
    rows, beside this one. per_row: (N,) of each figure that is a mean over
    rows. interrupted: whether rows are missing because of Ctrl-C. spread: of a model that is one of several `seeds`,
    the means over these, with their standard errors over the seeds. on: what the rows are, "held-out", or "training"
    where most of them are rows that the model was trained on.
    """

    figures: dict[str, Figure]
    rows: int
    draws: int
    kl_per_unit: list[float] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    spread: dict[str, Figure] = field(default_factory=dict)
    seeds: int = 1
    protocol: Protocol | None = None
    health: Health | None = None
    baselines: Baselines | None = None
    interrupted: bool = False
    per_row: dict[str, Tensor] = field(default_factory=dict, compare=False)
    on: str = "held-out"

    def __getitem__(self, name: str) -> float:
        return self.figures[name].value

    def among(self, others: Sequence[Evaluation], diverged: int = 0) -> Evaluation:
        """The same beside those of other seeds on the same rows: with the means over all but those that diverged."""
        every = (self, *others)
        left_out = [f"of the seeds, {diverged} diverged and {'is' if diverged == 1 else 'are'} left out"] * bool(
            diverged
        )
        means = {
            name: Figure.mean(torch.tensor([e[name] for e in every], dtype=torch.float64), f.unit, "over the seeds")
            for name, f in self.figures.items()
        }
        return replace(self, spread=means, seeds=len(every), notes=[*self.notes, *left_out])

    def to_dict(self) -> dict[str, object]:
        more = {"seeds": self.seeds, "spread": plain(self.spread)} if self.spread else {}
        more |= {} if self.protocol is None else {"protocol": self.protocol.to_dict()}
        more |= {} if self.health is None else {"health": self.health.to_dict()}
        more |= {} if self.baselines is None else {"baselines": self.baselines.to_dict()}
        return {
            "rows": self.rows,
            "on": self.on,
            "draws": self.draws,
            "figures": plain(self.figures),
            "kl_per_unit": self.kl_per_unit,
            "notes": self.notes,
            **more,
        }

    def __str__(self) -> str:
        lines = [f"{self.rows:,} {self.on} rows, k = {self.draws} draws per row", *table(self.figures)]
        if self.spread:
            lines.append(f"{self.seeds} seeds, of which this model is the first: mean ± standard error over the seeds")
            lines += table({n: replace(f, meaning="") for n, f in self.spread.items()})
        lines += [] if self.baselines is None else [str(self.baselines)]
        for note in self.notes:
            lines += textwrap.wrap(f"note: {note}", 88, initial_indent="  ", subsequent_indent="        ")
        lines += [] if self.health is None else [self.health.text(without=self.figures)]
        lines += [] if self.protocol is None else [str(self.protocol)]
        return printable_lines("\n".join(lines))

    __repr__ = __str__


def plain(figures: dict[str, Figure]) -> dict[str, dict[str, object]]:
    """Figures for JSON, which knows no NaN: None for what is not finite."""
    return {n: {"value": known(f.value), "error": known(f.error), "unit": f.unit} for n, f in figures.items()}


def known(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def table(figures: dict[str, Figure]) -> list[str]:
    """A line for each figure: its name, value, error, unit and meaning."""
    names = max(map(len, figures), default=0)
    return [f"  {name:<{names}}  {_shown(f):<26}  {f.meaning}".rstrip() for name, f in figures.items()]


def _shown(f: Figure) -> str:
    error = "" if f.error is None else f" ± {f.error:.3f}"
    return f"{f.value:9.3f}{error} {f.unit}"
