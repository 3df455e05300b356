"""What is remembered of a training, epoch by epoch, and how it is said in a line of text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from .autotune import ExecutionPlan

Record = dict[str, Any]
"""A line of history: the epoch, the steps taken, the training rows' figures, the held-out ones as `val_*`."""
ENDED = ("finished", "recovered", "stopped early", "time limit", "interrupted")
"""How the training of a model that is saved may have ended."""
COMPLETE = ENDED[:-1]
"""How a training ends whose weights may be chosen by the held-out rows."""
CUT = ("time limit", "interrupted")
"""How a training ends that can be resumed."""
BOOKKEEPING = ("epoch", "step", "lr", "skipped", "rolled_back", "epsilon", "seconds", "rows_per_second", "members")

TIMINGS = ("seconds", "rows_per_second")
"""What differs between two runs of the same training."""


def timeless(records: Sequence[Record]) -> list[Record]:
    """A history without what differs between two runs of the same training."""
    return [{name: value for name, value in record.items() if name not in TIMINGS} for record in records]


@dataclass
class TrainingResult:
    """How the training of one model went.

    history: a record per epoch. best, best_epoch: the best held-out figure and its epoch, 0 where none was scored.
    failed: the step since which it has diverged. rolled_back: the step of the state that it went back to; None where it
    never did. ended: "finished", "recovered" (finished, after it went back), "stopped early", "time limit",
    "interrupted" or "diverged"; None while it trains. pace: what it ran at. spent: the epsilon of a private training.
    """

    history: list[Record] = field(default_factory=list)
    best: float = -math.inf
    best_epoch: int = 0
    failed: int | None = None
    rolled_back: int | None = None
    ended: str | None = None
    pace: ExecutionPlan | None = None
    spent: float | None = None

    def add(self, record: Record) -> bool:
        """Takes a record in; whether it is the best so far."""
        self.history.append(record)
        if not any(name.startswith("val_") for name in record) or not worth(record) > self.best:
            return False
        self.best, self.best_epoch = worth(record), record["epoch"]
        return True

    def exhausted(self, patience: int | None) -> bool:
        """Whether the best epoch, and that of a return to an earlier state, are `patience` epochs past."""
        if patience is None or not self.history:
            return False
        since = [self.best_epoch, *(record["epoch"] for record in self.history if "rolled_back" in record)]
        return self.history[-1]["epoch"] - max(since) >= patience

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps; how it ended follows from it."""
        best = {"best": str(self.best), "best_epoch": self.best_epoch}
        return {"history": self.history, **best, "failed": self.failed, "rolled_back": self.rolled_back}

    @classmethod
    def of(cls, state: dict[str, Any]) -> Self:
        """The course that a `state` was taken of."""
        ended = None if state["failed"] is None else "diverged"
        best = float(state["best"]), state["best_epoch"]
        return cls(state["history"], *best, state["failed"], state["rolled_back"], ended)


def worth(record: Record) -> float:
    """What the best epoch is best at: the held-out ELBO, or, without a density, the held-out distortion."""
    return record["val_elbo"] if "val_elbo" in record else -record["val_distortion"]


def together(records: Sequence[Record]) -> Record:
    """One epoch of many members: means of their figures, their rows per second added up. Of one: its own record."""
    if len(records) == 1:
        return records[0]
    shared = {n: records[0][n] for n in ("epoch", "step", "seconds")}
    common = [n for n in records[0] if n not in BOOKKEEPING and all(n in r for r in records)]
    means = {n: sum(r[n] for r in records) / len(records) for n in common}
    if "skipped" in records[0]:
        shared["skipped"] = sum(r["skipped"] for r in records)
    speed = sum(r["rows_per_second"] for r in records)
    return {**shared, **means, "rows_per_second": round(speed, 1), "members": len(records)}


def histories(courses: Sequence[TrainingResult]) -> list[Record]:
    """`together`, epoch by epoch, of the members that were still training."""
    epochs = max(len(c.history) for c in courses)
    return [together([c.history[e] for c in courses if len(c.history) > e]) for e in range(epochs)]


def describe(record: Record, epochs: int) -> str:
    """A line of history as a line of text, with the speed and the time left."""
    left = duration(record["seconds"] * (epochs - record["epoch"]))
    return f"{place(record, epochs)}  {figures(record)}  {record['rows_per_second']:,.0f} rows/s  {left} left"


def place(record: Record, epochs: int) -> str:
    return f"epoch {record['epoch']:>{len(str(epochs))}}/{epochs}"


def figures(record: Record) -> str:
    """The figures of a line of history: the ELBO with its two parts, or what else is logged, and what is held out."""
    if {"elbo", "distortion", "rate"} <= record.keys():
        text = f"elbo {record['elbo']:.2f} (distortion {record['distortion']:.2f}, rate {record['rate']:.2f})"
    else:
        own = [n for n in record if n not in BOOKKEEPING and not n.startswith("val_")]
        text = "  ".join(f"{n.replace('_', ' ')} {record[n]:.2f}" for n in own)
    held = next((n for n in ("val_elbo", "val_distortion") if n in record), None)
    text = text if held is None else f"{text}  held-out {held.removeprefix('val_')} {record[held]:.2f}"
    text = f"{text}  {record['skipped']} steps skipped" if record.get("skipped") else text
    text = f"{text}  back to step {record['rolled_back']}" if "rolled_back" in record else text
    return f"mean of {record['members']}: {text}" if "members" in record else text


def duration(seconds: float) -> str:
    """Seconds as `42s`, `3m20s`, `2h05m`."""
    s = round(seconds)
    if s < 60:
        return f"{s}s"
    return f"{s // 60}m{s % 60:02d}s" if s < 3600 else f"{s // 3600}h{s % 3600 // 60:02d}m"
