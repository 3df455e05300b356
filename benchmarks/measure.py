"""What every benchmark shares: a process's clock, a record of the machine, medians, ratios and their table.

Only the standard library: it runs in every environment, and the parent stays small (a child's peak memory starts from
its parent's).
"""

from __future__ import annotations

import os
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from importlib import metadata

PACKAGES = ("vaekit", "torch", "pythae", "keras", "tensorflow-cpu", "jax", "numpy")


class Skipped(Exception):
    """This contender cannot run here; the message says why."""


class Clock:
    """The marks of one training: `begin`, after each step `step`, after each epoch `epoch`."""

    def __init__(self, started: float):
        self.started = started
        self.epochs: list[tuple[float, float]] = []
        self.first_step: float | None = None
        self.peak_mb = 0.0
        self.begin()

    def begin(self) -> None:
        self.mark = time.perf_counter(), time.process_time()

    def step(self) -> None:
        if self.first_step is None:
            self.first_step = time.time() - self.started

    def epoch(self, seconds: float | None = None) -> None:
        """An epoch ended; seconds: as the contender itself measured it."""
        wall, cpu = time.perf_counter(), time.process_time()
        self.epochs.append((wall - self.mark[0] if seconds is None else seconds, cpu - self.mark[1]))
        self.peak_mb = peak_mb()
        self.begin()

    def figures(self, steps: int) -> dict[str, float]:
        """Medians over the epochs after the first, which is given apart; steps: in an epoch."""
        if not self.epochs:
            return {}
        later = self.epochs[1:] or self.epochs
        seconds, cpu = (statistics.median(column) for column in zip(*later))
        figures = {"epoch": seconds, "step_ms": 1000 * seconds / steps, "cpu": cpu, "peak_mb": self.peak_mb}
        return figures | {"first_epoch": self.epochs[0][0], "first_step": self.first_step}


def peak_mb() -> float:
    """The most memory that this process has held, in MB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def seconds_of(run: Callable[[], object], times: int = 5, warm: bool = True) -> float:
    """The median of several calls, after one that warms up."""
    if warm:
        run()
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        run()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def versions() -> dict[str, str]:
    """Of the packages that matter here, where they are installed."""
    installed = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            installed[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return installed


def machine() -> dict[str, object]:
    try:
        with open("/proc/cpuinfo") as lines:
            cpu = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")
    except OSError:
        cpu = platform.processor()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "system": platform.system(),
        "architecture": platform.machine(),
        "cpu": cpu,
        "cores": os.cpu_count(),
        "memory_gib": round(memory, 1),
    }


def standard_error(values: Sequence[float]) -> float:
    """Of the mean of these; 0 of one alone."""
    return statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else 0.0


def ratio(of: Iterable[dict], to: Iterable[dict], figure: str) -> float | None:
    """The median over rounds of the ratio within the round."""
    pairs = [(a[figure], b[figure]) for a, b in zip(of, to) if a.get(figure) and b.get(figure)]
    return statistics.median(a / b for a, b in pairs) if pairs else None


def median(rounds: Iterable[dict], figure: str) -> float | None:
    values = [r[figure] for r in rounds if r.get(figure) is not None]
    return statistics.median(values) if values else None


COLUMNS = {
    "epoch": ("s/epoch", ".3f"),
    "step_ms": ("ms/step", ".2f"),
    "seconds": ("s", ".3f"),
    "cpu": ("cpu s/epoch", ".2f"),
    "first_epoch": ("first epoch, s", ".2f"),
    "first_step": ("to first step, s", ".2f"),
    "imports": ("imports, s", ".2f"),
    "wall": ("process, s", ".1f"),
    "peak_mb": ("peak, MB", ".0f"),
    "held_out": ("held out, nats", ".1f"),
}
"""Figures by their name in the results: heading and format."""


def table(figure: str, rounds: dict[str, list[dict]], reference: str) -> str:
    """Contenders x medians as a Markdown table: `figure` first, with its ratios to the reference and to the floor."""
    others = [
        n for n in COLUMNS if n not in ("epoch", "step_ms", figure) and any(n in r for t in rounds.values() for r in t)
    ]
    head = ["", COLUMNS[figure][0], f"x {reference}", "x floor", *(COLUMNS[n][0] for n in others)]
    lines = [head]
    for name, taken in rounds.items():
        ratios = [ratio(taken, rounds.get(to, []), figure) for to in (reference, "floor")]
        cells = [written(median(taken, figure), COLUMNS[figure][1]), *(written(r, ".2f") for r in ratios)]
        lines.append([name, *cells, *(written(median(taken, n), COLUMNS[n][1]) for n in others)])
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    rule = ["-" * widths[0], *("-" * (w - 1) + ":" for w in widths[1:])]
    rows = [[line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:]))] for line in lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in (rows[0], rule, *rows[1:]))


def written(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)
