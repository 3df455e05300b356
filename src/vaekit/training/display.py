"""Progress on a terminal (rich), in a notebook, or as plain lines in a log."""

from __future__ import annotations

import sys
import time
from html import escape
from typing import Any, TextIO

from ..core import importing
from ..printable import printable_lines
from .history import describe, figures, place
from .loop import Training
from .trainer import Display, Silent


class Lines:
    """A line per epoch: for logs and pipes."""

    def __init__(self, stream: TextIO | None = None):
        self.stream = stream or sys.stderr

    def start(self, training: Training) -> None: ...
    def step(self, training: Training, rows_per_second: float) -> None: ...

    def epoch(self, training: Training, record: dict[str, Any]) -> None:
        self.tell(describe(record, training.epochs))

    def stop(self) -> None: ...

    def tell(self, text: str) -> None:
        print(printable_lines(text), file=self.stream, flush=True)


class Bar:
    """A line per epoch above a bar with the speed and the time left, on a terminal."""

    REDRAW = 20
    """Steps between two redraws: looking at the clock every step would cost more than it shows."""

    def __init__(self) -> None:
        with importing():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

        self.progress = Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(bar_width=24),
            TaskProgressColumn(),
            TextColumn("{task.fields[speed]}"),
            TimeRemainingColumn(compact=True),
            TextColumn("left"),
            console=Console(stderr=True),
        )

    def start(self, training: Training) -> None:
        for earlier in self.progress.task_ids:
            self.progress.remove_task(earlier)
        self.task = self.progress.add_task(
            "fit",
            total=training.epochs * training.batches,
            completed=training.taken,
            epoch=f"{training.epoch}/{training.epochs}",
            speed="",
        )
        self.progress.start()

    def step(self, training: Training, rows_per_second: float) -> None:
        if training.taken % self.REDRAW == 0:
            self._update(training, rows_per_second)

    def epoch(self, training: Training, record: dict[str, Any]) -> None:
        self.tell(f"{place(record, training.epochs)}  {figures(record)}")
        self._update(training, record["rows_per_second"])

    def _update(self, training: Training, rows_per_second: float) -> None:
        epoch, speed = f"{training.epoch}/{training.epochs}", f"{rows_per_second:,.0f} rows/s"
        self.progress.update(self.task, completed=training.taken, epoch=epoch, speed=speed)

    def stop(self) -> None:
        self.progress.stop()

    def tell(self, text: str) -> None:
        self.progress.console.print(printable_lines(text), highlight=False, markup=False)


class Notebook:
    """The latest lines under a bar, in one output of a notebook that is redrawn."""

    LATEST = 8
    """Epochs that are shown."""
    SECONDS = 0.5
    """Between two redraws within an epoch."""

    def start(self, training: Training) -> None:
        from IPython.display import HTML, display

        self.html, self.lines, self.drawn = HTML, [], time.perf_counter()
        self.output = display(HTML(""), display_id=True)
        self._draw(training, "")

    def step(self, training: Training, rows_per_second: float) -> None:
        if time.perf_counter() - self.drawn > self.SECONDS:
            self._draw(training, f"{rows_per_second:,.0f} rows/s")

    def epoch(self, training: Training, record: dict[str, Any]) -> None:
        self.lines = [*self.lines[1 - self.LATEST :], describe(record, training.epochs)]
        self._draw(training, f"{record['rows_per_second']:,.0f} rows/s")

    def _draw(self, training: Training, speed: str) -> None:
        self.drawn, steps = time.perf_counter(), max(1, training.epochs * training.batches)
        bar = f'<progress value="{training.taken}" max="{steps}" style="width: 20em"></progress>'
        lines = escape("\n".join(self.lines))
        self.output.update(
            self.html(f"{bar} epoch {training.epoch}/{training.epochs} {speed}<pre style='margin: 0'>{lines}</pre>")
        )

    def stop(self) -> None: ...

    def tell(self, text: str) -> None:
        print(printable_lines(text))


def display_for(verbose: bool) -> Display:
    """A bar on a terminal, a redrawn output in a notebook, lines elsewhere; nothing if not verbose."""
    if not verbose:
        return Silent()
    if "ipykernel" in sys.modules:
        return Notebook()
    if not sys.stderr.isatty():
        return Lines()
    try:
        return Bar()
    except ImportError:
        return Lines()
