"""Progress on a terminal and in notebooks (rich), or as plain lines in a log."""

from __future__ import annotations

import sys
from typing import Any, TextIO

from .fitting import Display, Silent, describe, figures
from .loop import Training


class Lines:
    """A line per epoch: for logs and pipes."""

    def __init__(self, stream: TextIO | None = None):
        self.stream = stream or sys.stderr

    def start(self, training: Training) -> None: ...
    def step(self, training: Training, rows_per_second: float) -> None: ...

    def epoch(self, training: Training, record: dict[str, Any]) -> None:
        print(describe(record, training.epochs), file=self.stream, flush=True)

    def stop(self) -> None: ...


class Bar:
    """A bar over all steps with the latest figures beside it, on a terminal or in a notebook."""

    REDRAW = 20
    """Steps between two redraws: looking at the clock every step would cost more than it shows."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

        self.progress = Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(bar_width=24),
            TaskProgressColumn(),
            TextColumn("{task.fields[figures]}"),
            TextColumn("{task.fields[speed]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )

    def start(self, training: Training) -> None:
        self.task = self.progress.add_task(
            "fit",
            total=training.epochs * training.batches,
            completed=training.taken,
            epoch=f"{training.epoch}/{training.epochs}",
            figures="",
            speed="",
        )
        self.progress.start()

    def step(self, training: Training, rows_per_second: float) -> None:
        if training.taken % self.REDRAW == 0:
            self.progress.update(self.task, completed=training.taken, speed=f"{rows_per_second:,.0f} rows/s")

    def epoch(self, training: Training, record: dict[str, Any]) -> None:
        self.progress.update(
            self.task,
            completed=training.taken,
            epoch=f"{training.epoch}/{training.epochs}",
            figures=figures(record),
            speed=f"{record['rows_per_second']:,.0f} rows/s",
        )

    def stop(self) -> None:
        self.progress.stop()


def display_for(verbose: bool) -> Display:
    """A bar on a terminal or in a notebook, lines elsewhere (or without rich), nothing if not verbose."""
    if not verbose:
        return Silent()
    notebook = "ipykernel" in sys.modules
    if not (notebook or sys.stderr.isatty()):
        return Lines()
    try:
        return Bar()
    except ImportError:
        return Lines()
