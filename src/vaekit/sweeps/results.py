"""What a sweep found: a record per model, means over seeds with their errors, and the best configuration."""

from __future__ import annotations

import math
import textwrap
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import torch

from .. import __version__, storage
from ..core import public_methods
from ..estimators import VAE
from ..evaluation import Metric
from ..printable import printable_lines
from ..suggest import nearest
from ..training.stacks import Member
from .grid import short, text

METRICS = {
    "elbo": (1, "nats"),
    "distortion": (-1, "nats"),
    "rate": (0, "nats"),
    "log_likelihood": (1, "nats"),
    "bits_per_dim": (-1, "bits"),
    "active_units": (0, ""),
}
"""The figures that are compared: whether more of it is better (1), or less (-1), or neither (0), and the unit."""
OF_MEMBERS = ("configuration", "seed", "folder", "ended", "epoch", "best_epoch", "diverged_at", *METRICS)
"""What a record holds beside the swept settings."""


def record_of(beginning: dict[str, Any], member: Member) -> dict[str, Any]:
    """A member's record: its settings, how its training ended, and its figures on the rows it was watched on."""
    course = member.course
    if course is None:
        return {**beginning, "ended": "not begun", "epoch": 0, "best_epoch": 0, "diverged_at": None}
    went = {"ended": course.ended, "epoch": len(course.history), "best_epoch": course.best_epoch}
    record = {**beginning, **went, "diverged_at": course.failed}
    if not course.history or course.ended == "diverged":
        return record
    back = member.config.patience is not None and course.best_epoch and course.ended != "interrupted"
    last = course.history[course.best_epoch - 1 if back else -1]
    found = {n: last.get(f"val_{n}") if member.held is not None else last.get(n) for n in METRICS}
    return {**record, **{n: v for n, v in found.items() if v is not None and math.isfinite(v)}}


@dataclass(frozen=True)
class Configuration:
    """One combination of the swept settings, over its seeds.

    figures: means over the seeds that did not diverge, each with its standard error over these seeds (None for one).
    """

    settings: dict[str, Any]
    seeds: list[int]
    diverged: int
    figures: dict[str, Metric]


@public_methods
@dataclass(frozen=True, repr=False)
class SweepResult:
    """The models of a sweep and their metrics. Prints as a table with a line per configuration.

    rows: a record per model: the swept settings, `seed`, `folder`, how its training `ended` ("diverged" with the step,
    `diverged_at`), and its figures. vaes: the fitted models in the same order; None where one diverged or was not
    begun. on: the rows that the figures were taken on. notes: what to know before figures are compared.
    """

    rows: list[dict[str, Any]]
    vaes: list[VAE | None]
    on: str
    folder: Path | None = None
    plan: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @classmethod
    def of(
        cls, rows: list[dict[str, Any]], vaes: list[VAE | None], on: str, folder: Path | None, plan: dict[str, Any]
    ) -> Self:
        return cls(rows, vaes, on, folder, plan, _notes([vae for vae in vaes if vae is not None]))

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def swept(self) -> list[str]:
        """The names of the swept settings."""
        return [name for name in self.rows[0] if name not in OF_MEMBERS]

    @property
    def metrics(self) -> list[str]:
        """The figures that there are."""
        return [name for name in METRICS if any(name in row for row in self.rows)]

    @property
    def ended(self) -> str:
        """ "interrupted" where Ctrl-C ended it, otherwise "finished"."""
        return "interrupted" if any(row["ended"] in ("interrupted", "not begun") for row in self.rows) else "finished"

    @property
    def configurations(self) -> list[Configuration]:
        found = []
        for number in range(self.rows[-1]["configuration"] + 1):
            rows = [row for row in self.rows if row["configuration"] == number]
            figures = {}
            for name in self.metrics:
                values = [row[name] for row in rows if name in row]
                if values:
                    mean = torch.tensor(values, dtype=torch.float64)
                    figures[name] = Metric.mean(mean, METRICS[name][1], "mean over seeds")
            settings = {name: rows[0][name] for name in self.swept}
            diverged = sum(row["ended"] == "diverged" for row in rows)
            found.append(Configuration(settings, [row["seed"] for row in rows], diverged, figures))
        return found

    def best_configuration(self, metric: str | None = None) -> int:
        """The number of the configuration whose mean over seeds is best.

        metric: of METRICS, one that is better for being more or less; None: the bound where it was evaluated, else the
        ELBO, else the distortion. A configuration of which a seed diverged is chosen only where there is no other.
        Raises ValueError where no model has such a figure.
        """
        better = [name for name in self.metrics if METRICS[name][0]]
        if metric is None:
            metric = next((n for n in ("log_likelihood", "elbo", "distortion") if n in better), None)
        if metric not in better:
            said = f"{metric!r}{nearest(metric, better)}" if metric else "a metric"
            raise ValueError(f"{said}: expected one of {', '.join(better) or 'none: no model was fitted'}")
        sign, candidates = METRICS[metric][0], self.configurations
        scored = [i for i, c in enumerate(candidates) if metric in c.figures]
        whole = [i for i in scored if not candidates[i].diverged] or scored
        return max(whole, key=lambda i: sign * candidates[i].figures[metric].value)

    def best(self, metric: str | None = None) -> VAE:
        """The fitted VAE of `best_configuration(metric)`: that of its first seed, `vae.seed`.

        The configuration is chosen by its mean over seeds. The best of its seeds would look better than it is.
        """
        number = self.best_configuration(metric)
        return next(v for v, row in zip(self.vaes, self.rows) if row["configuration"] == number and v is not None)

    def evaluate(self, x: object, draws: int = 100, *, name: str | None = None) -> Self:
        """The same sweep with figures on other rows, such as the test set: `VAE.evaluate` of every model.

        These have the bound of log p(x), with `draws` draws, bits per dimension and active units, too. With a run
        folder, the table there becomes this one. name: of the rows, for the table.
        """
        rows, count = [], 0
        for row, vae in zip(self.rows, self.vaes):
            row = {n: v for n, v in row.items() if n not in METRICS}
            if vae is not None:
                evaluation = vae.evaluate(x, draws=draws)
                if evaluation.interrupted:
                    raise KeyboardInterrupt
                count = evaluation.rows
                row |= {n: f.value for n, f in evaluation.figures.items() if n in METRICS and math.isfinite(f.value)}
            rows.append(row)
        told = replace(self, rows=rows, on=f"{count:,} {name or 'rows'}, k = {draws} draws per row")
        told.save()
        return told

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it; a figure that there is not is left out."""
        configurations = [
            {
                "settings": c.settings,
                "seeds": c.seeds,
                "diverged": c.diverged,
                "figures": {n: {"mean": f.value, "error": f.error, "unit": f.unit} for n, f in c.figures.items()},
            }
            for c in self.configurations
        ]
        best = {n: self.best_configuration(n) for n in self.metrics if METRICS[n][0]}
        told = {"on": self.on, "ended": self.ended, "configurations": configurations, "best": best}
        return {**told, "members": self.rows, "notes": self.notes}

    def save(self) -> None:
        """Writes `sweep.json` and `sweep.txt` into the run folder, where there is one."""
        if self.folder is not None:
            head = {"format": storage.FORMAT, "vaekit": __version__, "plan": self.plan}
            storage.write_json(self.folder / "sweep.json", {**head, **self.to_dict()})
            storage.write_atomic(self.folder / "sweep.txt", f"{self}\n".encode())

    def __str__(self) -> str:
        count, seeds = len(self.configurations), len(self.configurations[0].seeds)
        what = f"{_counted(len(self), 'model')}: {_counted(count, 'configuration')} of {_counted(seeds, 'seed')}"
        means = "mean ± standard error over the seeds, " if seeds > 1 else ""
        told = [what, f"on {self.on}; {means}* the best", *self._table(), *self._failures()]
        for note in self.notes:
            told += textwrap.wrap(f"note: {note}", 100, subsequent_indent="      ")
        return printable_lines("\n".join(told))

    __repr__ = __str__

    def _table(self) -> list[str]:
        """A line per configuration, in columns; of seeds that diverged, how many are left."""
        metrics = self.metrics
        best = {name: self.best_configuration(name) for name in metrics if METRICS[name][0]}
        units = [", ".join(filter(None, (name, METRICS[name][1]))) for name in metrics]
        lines = [[*map(short, self.swept), "seeds", *units]]
        for number, c in enumerate(self.configurations):
            seeds = f"{len(c.seeds) - c.diverged} of {len(c.seeds)}" if c.diverged else str(len(c.seeds))
            figures = [_cell(c.figures.get(name), best.get(name) == number) for name in metrics]
            lines.append([*(text(v) for v in c.settings.values()), seeds, *figures])
        widths = [max(map(len, column)) for column in zip(*lines)]
        return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines]

    def _failures(self) -> list[str]:
        """A line for each model whose training did not come to its end."""
        lines = []
        for row in self.rows:
            if row["ended"] not in ("finished", "stopped early"):
                at = f" at step {row['diverged_at']}" if row["ended"] == "diverged" else ""
                who = ", ".join([*(f"{short(name)} {text(row[name])}" for name in self.swept), f"seed {row['seed']}"])
                lines.append(f"{row['ended']}{at}: {who}")
        return lines


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"


def _cell(figure: Metric | None, best: bool) -> str:
    if figure is None:
        return "-"
    error = "" if figure.error is None else f" ± {_number(figure.error)}"
    return f"{_number(figure.value)}{error}{' *' * best}"


def _number(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 1e6 else f"{value:.3g}"


def _notes(vaes: list[VAE]) -> list[str]:
    """What to know before figures are compared."""
    caveats = list(dict.fromkeys(vae.caveat_ for vae in vaes if vae.caveat_ is not None))
    likelihoods = {f"{type(part).__name__} {part.arguments()}" for part in (vae.module_.likelihood for vae in vaes)}
    if len(likelihoods) > 1:
        caveats.append("the likelihoods differ: figures of one are no measure for those of another")
    return caveats
