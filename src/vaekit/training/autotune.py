"""How a training runs best on this machine: with how many threads, and compiled or not, tried on its first batches."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from ..core import Component
from ..settings import Either, Flag, Rule, Whole, checked
from .compiled import operations
from .interruption import breakable
from .learner import Ensemble
from .loop import Training
from .threads import threads

log = logging.getLogger("vaekit")

WORTH_TRYING = 2.0
"""Seconds of training below which nothing is tried."""
FEWEST_STEPS = 100
"""Steps below which nothing is tried: a trial takes at least two steps with every number of threads."""
WORTH_COMPILING = 75.0
"""Seconds of training above which compiling a step of `USUAL_OPERATIONS` is tried: it takes about 20 and saves a good
third. Both grow with the number of operations."""
USUAL_OPERATIONS = 200
TRIAL_STEPS, TRIAL_SECONDS = 6, 0.1
RULES: dict[str, Rule] = {
    "threads": Either(Whole(1, "a number of threads, at least 1"), ("auto",)),
    "compile": Either(Flag(), ("auto",)),
}
"""What the settings that choose a pace may be."""


@dataclass(frozen=True)
class ExecutionPlan:
    """threads: of the operations on the CPU. compiled: whether steps run as a compiled program."""

    threads: int
    compiled: bool

    def __str__(self) -> str:
        threads = "1 thread" if self.threads == 1 else f"{self.threads} threads"
        return f"{threads}, compiled" if self.compiled else threads


def check(threads: int | Literal["auto"], compiled: bool | Literal["auto"]) -> None:
    """Raises ValueError for what is no pace."""
    checked("threads", threads, RULES["threads"])
    checked("compile", compiled, RULES["compile"])


def calibrate(
    training: Training, threads: int | Literal["auto"], compiled: bool | Literal["auto"], limit: float = math.inf
) -> ExecutionPlan:
    """The fastest way to run a training, where it was not asked for one.

    Small matrices are often slower on all cores than on one, and many times slower on cores that are busy, so numbers
    of threads are tried (1, 2, 4, ... to torch's own) for a tenth of a second each, on the first batch; then, for a
    long training, compiling. Trials leave the training as it was, so that its result is that of a training told to run
    like this from the start. A training of less than two seconds or 100 steps, or on another device than the CPU, is
    not tried. limit: seconds that the training may take. Ctrl-C ends the trials at once.
    """
    most = training.processes.threads
    asked = ExecutionPlan(most if threads == "auto" else threads, compiled is True)
    left = training.epochs * training.batches - training.taken
    if training.device.type != "cpu" or "auto" not in (threads, compiled) or left < FEWEST_STEPS:
        return asked
    with training.as_it_was(), breakable(training.processes.size == 1):
        seconds = {asked: _seconds(training, asked)}
        if min(seconds[asked] * left, limit) < WORTH_TRYING:
            return asked
        counts = [n for n in (2**i for i in range(most.bit_length())) if n < most] if threads == "auto" else []
        seconds |= {pace: _seconds(training, pace) for pace in (ExecutionPlan(n, asked.compiled) for n in counts)}
        best = min(seconds, key=seconds.get)
        expected = min(seconds[best] * left, limit)
        if (
            compiled == "auto"
            and is_traceable(training.learner)
            and worth_compiling(expected, lambda: training.try_step(False))
        ):
            log.info("compiling the step, which takes 20 seconds or so: compile=False does without")
            faster = ExecutionPlan(best.threads, True)
            seconds[faster] = _seconds(training, faster)
            best = min(seconds, key=seconds.get)
    log.info(
        "a step takes %s; trains with the fastest", "  ".join(f"{1e3 * s:.2f} ms ({p})" for p, s in seconds.items())
    )
    return best


def _seconds(training: Training, pace: ExecutionPlan) -> float:
    """The shortest of a few steps at this pace."""
    with threads(pace.threads):
        took: list[float] = []
        while len(took) <= 1 or (len(took) < TRIAL_STEPS and sum(took[1:]) < TRIAL_SECONDS):  # the first call prepares
            before = time.perf_counter()
            training.try_step(pace.compiled)
            took.append(training.processes.largest(time.perf_counter() - before))
    failed = training.step.program.failure is not None and pace.compiled
    return training.processes.largest(float("inf") if failed else min(took[1:]))


def worth_compiling(seconds: float, run: Callable[[], Any]) -> bool:
    """Whether work of so many seconds is long enough to compile what `run` runs once."""
    if not seconds > WORTH_COMPILING:
        return False
    return seconds > WORTH_COMPILING * max(1.0, operations(run) / USUAL_OPERATIONS)


def is_traceable(learner: nn.Module) -> bool:
    """Whether every module is known to be a pure function of its input: a component, or a plain layer of torch's."""
    learner = learner.pattern if isinstance(learner, Ensemble) else learner
    plain = (nn.Sequential, nn.ModuleList, nn.Flatten, nn.Unflatten, nn.Linear, nn.Conv2d, nn.ConvTranspose2d)
    return all(
        isinstance(m, (Component, *plain)) or type(m).__module__ == "torch.nn.modules.activation"
        for m in learner.modules()
        if m is not learner
    )
