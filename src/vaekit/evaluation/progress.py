"""Long work: told beforehand how long, shown how far, ended early by Ctrl-C with what is done by then."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event
from typing import Any

from ..core import importing
from ..training.history import duration

log = logging.getLogger("vaekit")

TOLD = 60.0
"""Seconds above which the cost is told beforehand."""
SHOWN = 5.0
"""Seconds above which a bar is shown on a terminal."""
TRIALS = 3
"""Passes after which the time is estimated, by the fastest of them."""


class Stopped(Exception):
    """Ctrl-C was pressed during a pass."""


class ProgressMonitor:
    """Watches work that consists of many passes. stop: is set by Ctrl-C. shown: whether to print on stderr."""

    def __init__(self, stop: Event | None = None, shown: bool = False):
        self.stop, self.shown = stop or Event(), shown

    @contextmanager
    def over(self, what: str, passes: int) -> Iterator[Callable[[], None]]:
        """What is to be called after each of so many passes; it raises Stopped after Ctrl-C."""
        work = _Work(what, passes, self)
        try:
            yield work.passed
        finally:
            work.close()


class _Work:
    def __init__(self, what: str, passes: int, watch: ProgressMonitor):
        self.what, self.passes, self.watch, self.done = what, passes, watch, 0
        self.clock, self.fastest, self.bar = time.perf_counter(), float("inf"), None

    def passed(self) -> None:
        now = time.perf_counter()
        self.fastest, self.clock = min(self.fastest, now - self.clock), now
        self.done += 1
        if self.done == TRIALS:
            self._tell(self.fastest * self.passes)
        if self.bar is not None:
            self.bar.update(self.bar.task_ids[0], completed=self.done)
        if self.watch.stop.is_set():
            raise Stopped

    def _tell(self, seconds: float) -> None:
        if seconds > TOLD:
            told = f"{self.what} takes about {duration(seconds)}; Ctrl-C ends it early with what is done by then"
            if self.watch.shown:
                print(told, file=sys.stderr, flush=True)
            else:
                log.warning(told)
        if seconds > SHOWN and self.watch.shown and sys.stderr.isatty():
            self.bar = _bar()
            self.bar.add_task(self.what, total=self.passes)
            self.bar.start()

    def close(self) -> None:
        if self.bar is not None:
            self.bar.stop()


def _bar() -> Any:
    """A bar with the time left that goes away at the end."""
    with importing():
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), TimeRemainingColumn(compact=True))
    return Progress(*columns, TextColumn("left"), console=Console(stderr=True), transient=True)
