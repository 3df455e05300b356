"""Training from the first epoch to the last: held-out figures, early stopping, checkpoints, interruption."""

from __future__ import annotations

import logging
import math
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from ..core import Source
from ..data.rows import Rows
from ..model import VAEModule
from ..networks import evaluating
from ..objectives.base import summary
from ..storage import read_tensors, write_lines, write_tensors
from .checkpoint import Checkpoint
from .loop import Diverged, Training
from .pace import Pace, calibrate
from .pace import threads as using_threads

log = logging.getLogger("vaekit")

CHECKPOINT_SECONDS = 60.0
"""A long epoch is checkpointed this often."""
CHECK_STEPS = 500
"""How often, within an epoch, the host looks whether the loss is still finite."""


class Display(Protocol):
    """Shows progress. `step` is called often and may do nothing; `epoch` gets the line of history."""

    def start(self, training: Training) -> None: ...
    def step(self, training: Training, rows_per_second: float) -> None: ...
    def epoch(self, training: Training, record: dict[str, Any]) -> None: ...
    def stop(self) -> None: ...


class Silent:
    """Shows nothing."""

    def start(self, training: Training) -> None: ...
    def step(self, training: Training, rows_per_second: float) -> None: ...
    def epoch(self, training: Training, record: dict[str, Any]) -> None: ...
    def stop(self) -> None: ...


@torch.no_grad()
def held_out(model: VAEModule, rows: Rows, seed: int, batch_size: int = 512) -> dict[str, float]:
    """ELBO, distortion and rate on held-out rows, one draw each, always with the same noise. Nats per row."""
    noise = Source.like(model, seed)
    sums: dict[str, Tensor] = {}
    with evaluating(model):
        for batch in rows.batches(batch_size):
            for name, mean in summary(model(batch, noise), batch.weight).items():
                sums[name] = sums.get(name, 0.0) + mean * len(batch.x)
    return {name: float(total) / len(rows) for name, total in sums.items()}


@contextmanager
def interruptible() -> Iterator[threading.Event]:
    """Ctrl-C sets the event instead of breaking off in the middle of a step; a second one breaks off."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def ask(signum: int, frame: object) -> None:
        signal.signal(signal.SIGINT, before)
        asked.set()

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)


def fit(
    training: Training,
    held: Rows | None = None,
    *,
    patience: int | None = None,
    folder: Path | None = None,
    resume: bool = False,
    display: Display | None = None,
    seed: int = 0,
    threads: int | Literal["auto"] = "auto",
    compiled: bool | Literal["auto"] = "auto",
) -> dict[str, Any]:
    """Trains to the end, to early stopping or to Ctrl-C; returns `history` (a record per epoch), how it `ended`,
    the `best_epoch` and the `pace` it ran at.

    held: held-out rows, scored after every epoch. patience: epochs without a better held-out ELBO after which
    training stops and the best weights come back. folder: of checkpoints and `history.jsonl`; with `resume` training
    goes on from there, at the same pace. threads, compiled: of the steps; "auto" tries, see `calibrate`. Raises
    Diverged when the loss stops being finite; the last good checkpoint stays.
    """
    if patience is not None and held is None:
        raise ValueError(f"patience={patience} watches held-out rows, and there are none: set validation=0.1")
    device = training.rows.x.device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        watched = Watched(training, held, patience, folder, display or Silent(), seed)
        if resume:
            watched.resume()
        else:
            watched.begin()
        return watched.run(threads, compiled)


class Watched:
    """A training with what is remembered about it: its history, its best epoch and weights, its checkpoint."""

    def __init__(
        self,
        training: Training,
        held: Rows | None,
        patience: int | None,
        folder: Path | None,
        display: Display,
        seed: int,
    ):
        self.training, self.held, self.patience, self.folder = training, held, patience, folder
        self.display, self.seed = display, seed
        self.checkpoint = None if folder is None else Checkpoint(folder / "checkpoint")
        self.history: list[dict[str, Any]] = []
        self.best, self.best_epoch, self.best_weights = -math.inf, 0, {}
        self.saved = 0.0
        self.pace: Pace | None = None

    def begin(self) -> None:
        if self.checkpoint is not None:
            self.checkpoint.clear()

    def resume(self) -> None:
        """Goes back to the checkpoint, where there is one."""
        if self.checkpoint is None or not self.checkpoint.state.exists():
            return self.begin()
        memory = self.checkpoint.load(self.training)
        self.history, self.best, self.best_epoch = memory["history"], float(memory["best"]), memory["best_epoch"]
        self.pace = Pace(**memory["pace"])
        if self.checkpoint.best.exists():
            self.best_weights = read_tensors(self.checkpoint.best)[0]
        self._write_history()  # a kill may have come between the checkpoint and this file

    @property
    def exhausted(self) -> bool:
        """Whether the best epoch is `patience` epochs past."""
        waited = self.training.epoch - self.best_epoch
        return self.patience is not None and bool(self.history) and waited >= self.patience

    def _set_pace(self, threads: int | Literal["auto"], compiled: bool | Literal["auto"]) -> Pace:
        """The pace asked for; where it is "auto", the one this run began with, or else the fastest."""
        if self.pace is not None:
            threads = self.pace.threads if threads == "auto" else threads
            compiled = self.pace.compiled if compiled == "auto" else compiled
        self.pace = calibrate(self.training, threads, compiled)
        self.training.step.compiled = self.pace.compiled
        return self.pace

    def run(self, threads: int | Literal["auto"] = 1, compiled: bool | Literal["auto"] = False) -> dict[str, Any]:
        """Trains to the end, to early stopping or to Ctrl-C."""
        self.display.start(self.training)
        try:
            with interruptible() as asked, using_threads(self._set_pace(threads, compiled).threads):
                ended = "stopped early" if self.exhausted else self._train(asked)
        except Diverged as error:
            if self.checkpoint is not None and self.checkpoint.state.exists():
                error.add_note(f"the last good checkpoint is kept: {self.checkpoint.state}")
            raise
        finally:
            self.display.stop()
        learner = self.training.learner
        if self.patience is not None and self.best_weights and ended != "interrupted":
            learner.load_state_dict(self.best_weights)
        learner.eval().to(memory_format=torch.contiguous_format)  # as a saved model comes back
        return {"history": self.history, "ended": ended, "best_epoch": self.best_epoch, "pace": self.pace}

    def _train(self, asked: threading.Event) -> str:
        training = self.training
        self.saved = clock = time.perf_counter()
        since = training.taken
        for _ in training:
            seconds = time.perf_counter() - clock
            rows = min(training.batch_size * (training.taken - since), len(training.rows))
            if training.taken % CHECK_STEPS == 0:
                training.check()
            if training.epoch_ended:
                self._end_epoch(seconds, rows)
                clock, since = time.perf_counter(), training.taken
            else:
                self.display.step(training, rows / max(seconds, 1e-9))
            stop = asked.is_set() or (training.epoch_ended and self.exhausted)
            if training.epoch_ended or stop or time.perf_counter() - self.saved > CHECKPOINT_SECONDS:
                self._save()
            if stop:
                return "interrupted" if asked.is_set() else "stopped early"
        return "finished"

    def _end_epoch(self, seconds: float, rows: int) -> None:
        """Scores the held-out rows and keeps the best weights; a line of history."""
        training = self.training
        training.check()
        record: dict[str, Any] = {"epoch": training.epoch, "step": training.taken, **training.metrics()}
        record["lr"] = training.step.rate
        record["seconds"], record["rows_per_second"] = round(seconds, 3), round(rows / max(seconds, 1e-9), 1)
        if self.held is not None:
            scores = held_out(training.learner.model, self.held, self.seed)
            record |= {f"val_{n}": v for n, v in scores.items()}
            if _worth(record) > self.best:
                self.best, self.best_epoch = _worth(record), training.epoch
                self.best_weights = {n: t.detach().clone() for n, t in training.learner.state_dict().items()}
                if self.checkpoint is not None:
                    write_tensors(self.checkpoint.best, self.best_weights)
        self.history.append(record)
        self.display.epoch(training, record)
        log.info(describe(record, training.epochs))

    def _save(self) -> None:
        if self.checkpoint is None:
            return
        self.training.check()
        memory = {"history": self.history, "best": str(self.best), "best_epoch": self.best_epoch}
        memory["pace"] = asdict(self.pace)
        self.checkpoint.save(self.training, memory)
        self._write_history()
        self.saved = time.perf_counter()

    def _write_history(self) -> None:
        write_lines(self.folder / "history.jsonl", self.history)


def _worth(record: dict[str, Any]) -> float:
    """What the best epoch is best at: the held-out ELBO, or, without a density, the held-out distortion."""
    return record["val_elbo"] if "val_elbo" in record else -record["val_distortion"]


def describe(record: dict[str, Any], epochs: int) -> str:
    """A line of history as a line of text, with the speed and the time left."""
    left = duration(record["seconds"] * (epochs - record["epoch"]))
    return f"{place(record, epochs)}  {figures(record)}  {record['rows_per_second']:,.0f} rows/s  {left} left"


def place(record: dict[str, Any], epochs: int) -> str:
    return f"epoch {record['epoch']:>{len(str(epochs))}}/{epochs}"


BOOKKEEPING = ("epoch", "step", "lr", "seconds", "rows_per_second")


def figures(record: dict[str, Any]) -> str:
    """The figures of a line of history: the ELBO with its two parts, or what else is logged, and what is held out."""
    if {"elbo", "distortion", "rate"} <= record.keys():
        text = f"elbo {record['elbo']:.2f} (distortion {record['distortion']:.2f}, rate {record['rate']:.2f})"
    else:
        own = [n for n in record if n not in BOOKKEEPING and not n.startswith("val_")]
        text = "  ".join(f"{n.replace('_', ' ')} {record[n]:.2f}" for n in own)
    held = next((n for n in ("val_elbo", "val_distortion") if n in record), None)
    return text if held is None else f"{text}  held-out {held.removeprefix('val_')} {record[held]:.2f}"


def duration(seconds: float) -> str:
    """Seconds as `42s`, `3m20s`, `2h05m`."""
    s = round(seconds)
    if s < 60:
        return f"{s}s"
    return f"{s // 60}m{s % 60:02d}s" if s < 3600 else f"{s // 3600}h{s % 3600 // 60:02d}m"
