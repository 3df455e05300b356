"""Training from the first epoch to the last: held-out figures, early stopping, checkpoints, interruption."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from ..core import OwnGlobals
from ..data.rows import AbstractRows
from ..printable import printable
from ..storage import write_lines
from .autotune import ExecutionPlan, calibrate, is_traceable
from .autotune import check as check_pace
from .autotune import threads as using_threads
from .callbacks import Callback
from .checkpoint import Checkpoint
from .history import COMPLETE, TrainingResult, describe, histories, together
from .identity import identity
from .interruption import Interrupted, interruptible
from .learner import Ensemble, Learner
from .loop import Diverged, Training
from .recovery import CHECK_STEPS, Recovery
from .warmups import unfinished

log = logging.getLogger("vaekit")

CHECKPOINT_SECONDS = 60.0
"""A long epoch is checkpointed this often."""


class Display(Protocol):
    """Shows progress. `step` is called often and may do nothing; `epoch` gets the line of history, `tell` what is to be
    said at the end."""

    def start(self, training: Training) -> None: ...
    def step(self, training: Training, rows_per_second: float) -> None: ...
    def epoch(self, training: Training, record: dict[str, Any]) -> None: ...
    def stop(self) -> None: ...
    def tell(self, text: str) -> None: ...


class Silent:
    """Shows nothing."""

    def start(self, training: Training) -> None: ...
    def step(self, training: Training, rows_per_second: float) -> None: ...
    def epoch(self, training: Training, record: dict[str, Any]) -> None: ...
    def stop(self) -> None: ...
    def tell(self, text: str) -> None: ...


@torch.no_grad()
def held_out(
    learner: Learner | Ensemble, rows: AbstractRows, seeds: Sequence[int], batch_size: int = 512
) -> list[dict[str, float]]:
    """ELBO, distortion and rate on held-out rows, one draw each, always with the same noise: every member's, of a
    learner its own alone. Nats per row."""
    noise = learner.noise(seeds)
    sums: dict[str, Tensor] = {}
    for batch in rows.batches(batch_size):
        for name, mean in learner.score(batch, noise).items():
            sums[name] = sums.get(name, 0.0) + mean * len(batch.x)
    each = zip(*(total.reshape(-1).tolist() for total in sums.values()))
    return [{name: value / len(rows) for name, value in zip(sums, member)} for member in each]


def fit(
    training: Training,
    held: AbstractRows | None = None,
    *,
    patience: int | None = None,
    folder: Path | None = None,
    resume: bool = False,
    display: Display | None = None,
    threads: int | Literal["auto"] = "auto",
    compiled: bool | Literal["auto"] = "auto",
    settings: Mapping[str, Any] | None = None,
    deadline: float | None = None,
    callbacks: Sequence[Callback] = (),
) -> list[TrainingResult]:
    """Trains to the end, to early stopping, to the deadline or to Ctrl-C.

    Returns a `TrainingResult` per member; of a learner, one.

    held: held-out rows, scored after every epoch. patience: epochs without a better held-out ELBO after which training
    stops and the best weights come back. folder: of checkpoints and `history.jsonl`; with `resume` training goes on
    from there, at the same pace; it has to be the same training, see `identity`, whose `settings` these are. threads,
    compiled: of the steps; "auto" tries, see `calibrate`. deadline: the value of `time.perf_counter()` at which
    training stops. callbacks: called after each epoch. A training that diverges goes back to its last good state once,
    with a tenth of the learning rate (see `Recovery`); Diverged is raised when it diverges again. Then the learner has
    the weights of the last good state, and the last good checkpoint stays. The members of an ensemble stop and diverge
    each by itself, and training ends with the last of them. Of several processes the first one scores, shows and
    writes; all are given the same folder.
    """
    check_pace(threads, compiled)
    if patience is not None and held is None:
        raise ValueError(f"patience={patience} watches held-out rows, and there are none: set validation=0.1")
    seed = training.processes.seed(training.seeds[0])
    with OwnGlobals(seed) if training.draws_globally else nullcontext():
        watched = Trainer(training, held, patience, folder, display or Silent(), settings, deadline, callbacks)
        if resume:
            watched.resume()
        else:
            watched.begin()
        return watched.run(threads, compiled)


class Trainer:
    """A training with what is remembered about it: every member's course and best weights, its checkpoint."""

    def __init__(
        self,
        training: Training,
        held: AbstractRows | None,
        patience: int | None,
        folder: Path | None,
        display: Display,
        settings: Mapping[str, Any] | None = None,
        deadline: float | None = None,
        callbacks: Sequence[Callback] = (),
    ):
        self.training, self.held, self.patience, self.folder = training, held, patience, folder
        self.processes = training.processes
        self.display = display if self.processes.rank == 0 else Silent()
        self.checkpoint = None if folder is None else Checkpoint(folder, identity(training, held, settings))
        self.courses = [TrainingResult() for _ in training.seeds]
        self.best_weights: dict[str, Tensor] = {}
        self.saved = 0.0
        self.pace: ExecutionPlan | None = None
        self.deadline, self.callbacks, self.stopped = deadline, callbacks, False
        self.recovery = Recovery(training)

    def begin(self) -> None:
        if self.checkpoint is not None and self.processes.rank == 0:
            self.checkpoint.clear()

    def resume(self) -> None:
        """Goes back to the checkpoint, where there is one."""
        if self.checkpoint is None or not self.checkpoint.state.exists():
            return self.begin()
        self.courses, self.pace = self.checkpoint.load(self.training, self.recovery)
        if self.training.epoch > self.training.epochs:
            raise ValueError(
                f"{printable(self.checkpoint.state)} has trained {self.training.epoch} epochs, "
                f"epochs={self.training.epochs}: resume with as many or more"
            )
        self.best_weights = self.checkpoint.load_best(self.training, self.courses)
        self._stop_early()
        if any(len(self.courses[k].history) < self.training.epoch for k in self.active):
            raise ValueError(f"patience={self.patience}: a member stopped with less; resume with what it began with")
        self._write_history()  # a kill may have come between the checkpoint and this file

    @property
    def active(self) -> list[int]:
        """The members that are still training."""
        return [k for k, course in enumerate(self.courses) if course.ended is None]

    def _stop_early(self) -> None:
        """Ends the members whose best epoch is `patience` epochs past, all of them if a callback stopped training."""
        for k in self.active:
            if self.stopped or self.courses[k].exhausted(self.patience):
                self.courses[k].ended = "stopped early"

    def _set_pace(self, threads: int | Literal["auto"], compiled: bool | Literal["auto"]) -> ExecutionPlan:
        """The pace asked for; where it is "auto", the one this run began with, or else the fastest."""
        if self.pace is not None:
            threads = self.pace.threads if threads == "auto" else threads
            compiled = self.pace.compiled if compiled == "auto" else compiled
        if self.training.sharded is not None:
            if compiled is True:
                raise ValueError("steps of sharded weights are not compiled: pass one of sharded=True and compile=True")
            compiled = False
        self.pace = calibrate(self.training, threads, compiled, self._left)
        step = self.training.step
        step.compiled = self.pace.compiled
        alone_on_cuda = step.private is None and self.training.device.type == "cuda" and self.processes.size == 1
        step.captured = alone_on_cuda and compiled is not False and is_traceable(self.training.learner)
        return self.pace

    @property
    def _left(self) -> float:
        """Seconds to the deadline."""
        return math.inf if self.deadline is None else self.deadline - time.perf_counter()

    def run(self, threads: int | Literal["auto"], compiled: bool | Literal["auto"]) -> list[TrainingResult]:
        """Trains to the end, to early stopping, to the deadline or to Ctrl-C."""
        for line in unfinished(self.training):
            log.warning(line)
        self.processes.alike(steps=self.training.taken, run_folders=self.folder is not None)
        self.display.start(self.training)
        try:
            with interruptible(self.processes.size == 1) as asked:
                left = self._at_pace(threads, compiled, asked) if self.active else ""
        except Diverged as error:
            if self.checkpoint is not None and self.checkpoint.state.exists():
                error.add_note(f"the last good checkpoint is kept: {printable(self.checkpoint.state)}")
            raise
        finally:
            self.display.stop()
        for k in self.active:
            back = left == "finished" and self.courses[k].rolled_back is not None
            self.courses[k].ended = "recovered" if back else left
        self.training.step.settle()
        if self.training.sharded is not None:
            self.training.sharded.end()
        learner = self.training.learner
        if self.patience is not None:
            back = [k for k, course in enumerate(self.courses) if course.best_epoch and course.ended in COMPLETE]
            self._copy(self.best_weights, learner.state_dict(), back)
        learner.eval().to(memory_format=torch.contiguous_format)  # as a saved model comes back
        spent = self.training.spent
        return [replace(course, pace=self.pace, spent=spent) for course in self.courses]

    def _at_pace(self, threads: int | Literal["auto"], compiled: bool | Literal["auto"], asked: threading.Event) -> str:
        """Finds the pace, and trains at it; how those ended that are left."""
        try:
            pace = self._set_pace(threads, compiled)
            with using_threads(pace.threads):
                return self._train(asked)
        except Interrupted:  # before a step, or between two
            if self.pace is not None:
                self._save(stop=True)
            return "interrupted"

    def _train(self, asked: threading.Event) -> str:
        """Trains while a member does; how those ended that are left."""
        training = self.training
        self.saved = clock = time.perf_counter()
        since = training.taken
        for _ in training:
            seconds = time.perf_counter() - clock
            rows = min(training.batch_size * (training.taken - since), len(training.rows))
            if training.taken % CHECK_STEPS == 0:
                self._look(self.active)
            if training.epoch_ended:
                self._end_epoch(seconds, rows)
                clock, since = time.perf_counter(), training.taken
            else:
                self.display.step(training, len(self.active) * rows / max(seconds, 1e-9))
            due = time.perf_counter() - self.saved > CHECKPOINT_SECONDS
            interrupted, due, late = self.processes.agreed(asked.is_set(), due, self._left <= 0)
            if training.epoch_ended and not interrupted:
                self._stop_early()
            stop = interrupted or late or not self.active
            if training.epoch_ended or stop or due:
                self._save(stop)
            if stop:
                return "interrupted" if interrupted else "time limit"
        return "finished"

    def _look(self, members: Sequence[int], ending: bool = False) -> Collection[int]:
        """Lets members that have diverged go back, or ends them; returns those that went back.

        Raises Diverged for a learner that trains alone.
        """
        training, recovery = self.training, self.recovery
        back, failed = recovery.look(members, training.epoch >= training.epochs, ending)
        for k in back:
            self.courses[k].rolled_back = recovery.back[k]
        for k, fault in failed.items():
            if not isinstance(training.learner, Ensemble):
                raise recovery.diverged(k, fault)
            self.courses[k].failed, self.courses[k].ended = fault.step, "diverged"
            log.warning("member %d of %d diverged: %s", k, len(self.courses), fault.reason)
        return back.keys()

    def _look_before_stopping(self) -> None:
        """Judges the members that `patience` would end now, however few steps they took. One that has diverged goes
        back and continues, and its patience begins anew."""
        exhausted = [k for k in self.active if self.courses[k].exhausted(self.patience)]
        for k in self._look(exhausted, ending=True) if exhausted else ():
            self.courses[k].history[-1]["rolled_back"] = self.recovery.back[k]

    def _well(self, stop: bool) -> bool:
        """Whether the present state may be saved. Between looks nothing goes back, so that equal runs do at equal
        steps; a training that is cut short here gets the weights of the last good state."""
        if not stop and (self.training.epoch_ended or self.training.taken % CHECK_STEPS == 0):
            return True
        faults = self.recovery.faults(self.active, ending=stop)
        for k, fault in faults.items() if stop else ():
            self.recovery.leave(k, fault)
        return not faults

    def _end_epoch(self, seconds: float, rows: int) -> None:
        """Scores the held-out rows and keeps the best weights; a line of history for every member."""
        self._look(self.active)
        members = self.active
        if not members:
            return
        with self.training.step.averaged():
            better = self._judge(seconds, rows)
            if better:
                self._keep(better)
        self._look_before_stopping()
        record = together([self.courses[k].history[-1] for k in members])
        self.display.epoch(self.training, record)
        log.info(describe(record, self.training.epochs))
        if self.callbacks:
            self.stopped = self.processes.first(lambda: self._called(record))

    def _called(self, record: dict[str, Any]) -> bool:
        """Whether a callback wants training to stop. Each is called, whatever the others say."""
        answers = [callback.on_epoch_end(dict(record)) for callback in self.callbacks]
        return any(answer is True for answer in answers)

    def _judge(self, seconds: float, rows: int) -> list[int]:
        """Enters the epoch into the courses; the members that are better than ever."""
        training, speed = self.training, round(rows / max(seconds, 1e-9), 1)
        metrics, rate, better = training.metrics_each(), training.step.rate, []
        scores = [{}] * len(metrics)
        if self.held is not None:
            scores = self._scores()
        skipped = None if training.step.adam.skip is None else training.step.skipped
        for k in self.active:
            own = metrics[k] or self.recovery.figures(k)
            record = {"epoch": training.epoch, "step": training.taken, **own}
            if self._went_back(k):
                record["rolled_back"] = self.recovery.back[k]
            record["lr"] = rate[k] if isinstance(rate, tuple) else rate
            if skipped is not None:
                record["skipped"] = skipped[k]
            if training.spent is not None:
                record["epsilon"] = training.spent
            record["seconds"], record["rows_per_second"] = round(seconds, 3), speed
            if self.courses[k].add(record | {f"val_{n}": v for n, v in scores[k].items()}):
                better.append(k)
        return better

    def _went_back(self, member: int) -> bool:
        """Whether a member went back in the epoch that ends, which its history does not say yet."""
        return member in self.recovery.back and not any("rolled_back" in r for r in self.courses[member].history)

    def _scores(self) -> list[dict[str, float]]:
        """`held_out`, as the first process finds it; where the weights are spread, all have to take part."""
        score = partial(held_out, self.training.learner, self.held, self.training.seeds)
        found = None if self.training.sharded is None else score()
        return self.processes.first(lambda: found or score())

    def _keep(self, members: list[int]) -> None:
        """Keeps the weights that these members have now as their best."""
        now = self.training.weights()
        if not self.best_weights:
            self.best_weights = {n: t.detach().clone() for n, t in now.items()}
        self._copy(now, self.best_weights, members)
        if self.checkpoint is not None and self.processes.rank == 0:
            self.checkpoint.keep_best(self.best_weights, [course.best_epoch for course in self.courses])

    @torch.no_grad()
    def _copy(self, source: dict[str, Tensor], into: dict[str, Tensor], members: list[int]) -> None:
        """These members' weights; the other members' stay as they are."""
        stacked = isinstance(self.training.learner, Ensemble)
        for k in members:
            for name, tensor in into.items():
                (tensor[k] if stacked else tensor).copy_(source[name][k] if stacked else source[name])

    def _save(self, stop: bool) -> None:
        if not self._well(stop) or self.checkpoint is None:
            return
        self.checkpoint.save(self.training, self.recovery, self.courses, asdict(self.pace))
        self._write_history()
        self.saved = time.perf_counter()

    def _write_history(self) -> None:
        if self.processes.rank == 0:
            write_lines(self.folder / "history.jsonl", histories(self.courses))
