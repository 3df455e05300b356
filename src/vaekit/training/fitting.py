"""Training from the first epoch to the last: held-out figures, early stopping, checkpoints, interruption."""

from __future__ import annotations

import logging
import math
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from ..core import Source
from ..data.rows import Rows
from ..model import VAEModule
from ..objectives.base import summary
from ..storage import StorageError, read_tensors, write_lines, write_tensors
from .loop import Diverged, Training

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
    model.eval()
    noise = Source.like(model, seed)
    sums: dict[str, Tensor] = {}
    for batch in rows.batches(batch_size):
        for name, mean in summary(model(batch, noise), batch.weight).items():
            sums[name] = sums.get(name, 0.0) + mean * len(batch.x)
    model.train()
    return {name: float(total) / len(rows) for name, total in sums.items()}


class Checkpoint:
    """The place training can go on from: `state.safetensors`, and `best.safetensors`, the best held-out weights."""

    def __init__(self, folder: Path):
        self.state, self.best = folder / "state.safetensors", folder / "best.safetensors"

    def save(self, training: Training, memory: dict[str, Any]) -> None:
        tensors, place = training.state()
        # torch's own generators: what a user's module, such as dropout, draws from.
        tensors |= {f"torch/{device}": state for device, state in _torch_noise(training.rows.x.device).items()}
        write_tensors(self.state, tensors, {"place": place, **memory})

    def clear(self) -> None:
        """Forgets another run's place: a kill before the first checkpoint must not leave it to be resumed from."""
        self.state.unlink(missing_ok=True)
        self.best.unlink(missing_ok=True)

    def load(self, training: Training) -> dict[str, Any]:
        """Brings training back to the saved place; returns what was remembered with it."""
        tensors, metadata = read_tensors(self.state)
        if "place" not in metadata:
            raise StorageError(f"{self.state} is not a checkpoint of vaekit's")
        training.restore(tensors, metadata.pop("place"))
        torch.set_rng_state(tensors["torch/cpu"])
        if "torch/cuda" in tensors and training.rows.x.is_cuda:
            torch.cuda.set_rng_state(tensors["torch/cuda"], training.rows.x.device)
        return metadata


def _torch_noise(device: torch.device) -> dict[str, Tensor]:
    states = {"cpu": torch.get_rng_state()}
    return states | {"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else states


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
) -> dict[str, Any]:
    """Trains to the end, to early stopping or to Ctrl-C; returns `history` (a record per epoch) and how it `ended`.

    held: held-out rows, scored after every epoch. patience: epochs without a better held-out ELBO after which
    training stops and the best weights come back. folder: of checkpoints and `history.jsonl`; with `resume` training
    goes on from there. Raises Diverged when the loss stops being finite; the last good checkpoint stays.
    """
    if patience is not None and held is None:
        raise ValueError(f"patience={patience} watches held-out rows, and there are none: set validation=0.1")
    device = training.rows.x.device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        return _fit(training, held, patience, folder, resume, display or Silent(), seed)


def _fit(
    training: Training,
    held: Rows | None,
    patience: int | None,
    folder: Path | None,
    resume: bool,
    display: Display,
    seed: int,
) -> dict[str, Any]:
    learner = training.learner
    checkpoint = None if folder is None else Checkpoint(folder / "checkpoint")
    memory: dict[str, Any] = {"history": [], "best": -math.inf, "best_epoch": 0}
    best: dict[str, Tensor] = {}
    if resume and checkpoint is not None and checkpoint.state.exists():
        memory = checkpoint.load(training)
        memory["best"] = float(memory["best"])
        best = read_tensors(checkpoint.best)[0] if checkpoint.best.exists() else {}
        _write_history(folder, memory["history"])  # a kill may have come between the checkpoint and this file
    elif checkpoint is not None:
        checkpoint.clear()
    exhausted = _exhausted(memory, training.epoch, patience)
    ended = "stopped early" if exhausted else "finished"
    display.start(training)
    saved = clock = time.perf_counter()
    since = training.taken
    try:
        with interruptible() as asked:
            if exhausted:
                training.epochs = training.epoch
            for _ in training:
                now = time.perf_counter()
                if training.epoch_ended:
                    training.check()
                    record = _record(training, held, seed, (training.taken - since), now - clock)
                    memory["history"].append(record)
                    if held is not None and _worth(record) > memory["best"]:
                        memory |= {"best": _worth(record), "best_epoch": training.epoch}
                        best = {n: t.detach().clone() for n, t in learner.state_dict().items()}
                        if checkpoint is not None:
                            write_tensors(checkpoint.best, best)
                    display.epoch(training, record)
                    log.info(describe(record, training.epochs))
                    clock, since = time.perf_counter(), training.taken
                else:
                    display.step(training, training.batch_size * (training.taken - since) / max(now - clock, 1e-9))
                if training.taken % CHECK_STEPS == 0:
                    training.check()
                stop = asked.is_set() or (training.epoch_ended and _exhausted(memory, training.epoch, patience))
                if checkpoint is not None and (training.epoch_ended or stop or now - saved > CHECKPOINT_SECONDS):
                    training.check()
                    checkpoint.save(training, _plain(memory))
                    _write_history(folder, memory["history"])
                    saved = time.perf_counter()
                if stop:
                    ended = "interrupted" if asked.is_set() else "stopped early"
                    break
    except Diverged as error:
        if checkpoint is not None and checkpoint.state.exists():
            error.add_note(f"the last good checkpoint is kept: {checkpoint.state}")
        raise
    finally:
        display.stop()
    if patience is not None and best and ended != "interrupted":
        learner.load_state_dict(best)
    learner.eval()
    return {"history": memory["history"], "ended": ended, "best_epoch": memory["best_epoch"]}


def _worth(record: dict[str, Any]) -> float:
    """What the best epoch is best at: the held-out ELBO, or, without a density, the held-out distortion."""
    return record["val_elbo"] if "val_elbo" in record else -record["val_distortion"]


def _exhausted(memory: dict[str, Any], epoch: int, patience: int | None) -> bool:
    return patience is not None and bool(memory["history"]) and epoch - memory["best_epoch"] >= patience


def _record(training: Training, held: Rows | None, seed: int, steps: int, seconds: float) -> dict[str, Any]:
    record: dict[str, Any] = {"epoch": training.epoch, "step": training.taken, **training.metrics()}
    record["lr"] = training.step.adam.rate(training.taken - 1, training.step.total_steps)
    record["seconds"] = round(seconds, 3)
    record["rows_per_second"] = round(min(steps * training.batch_size, len(training.rows)) / max(seconds, 1e-9), 1)
    if held is not None:
        record |= {f"val_{n}": v for n, v in held_out(training.learner.model, held, seed).items()}
    return record


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


def _plain(memory: dict[str, Any]) -> dict[str, Any]:
    return {**memory, "best": str(memory["best"])}


def _write_history(folder: Path, history: list[dict[str, Any]]) -> None:
    write_lines(folder / "history.jsonl", history)
