"""The result of an evaluation: metrics with their errors, what they depend on, and what is wrong with the model."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ..printable import printable_lines
from .baselines import Baselines
from .health import Health
from .metric import Metric, plain, table
from .protocol import Protocol


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

    figures: dict[str, Metric]
    rows: int
    draws: int
    kl_per_unit: list[float] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    spread: dict[str, Metric] = field(default_factory=dict)
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
            name: Metric.mean(torch.tensor([e[name] for e in every], dtype=torch.float64), f.unit, "over the seeds")
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
