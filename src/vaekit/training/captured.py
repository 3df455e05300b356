"""A whole step as one CUDA graph: launched at once, where the host would need longer to launch its parts."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from ..core import Batch, LossOutput, Noise, Recorder
from .compiled import Given
from .learner import Ensemble, Learner

log = logging.getLogger("vaekit")
T = TypeVar("T")

WARM_UP = 3
"""Steps that are run as they are before the capture: libraries allocate on their first calls."""


class Captured:
    """`captured(batch, noise, factor)` replays `take(batch, noise, factor)`, the whole step of a learner.

    What a graph reads stays in one place, so the batch, its noise and the schedule's factor are copied there first. A
    batch of fewer rows is filled up with rows of weight 0, which change nothing. The first steps, and all of them
    where a step cannot be captured (this is said once), are taken as they are.
    """

    def __init__(self, take: Callable[[Batch, Noise, float | Tensor], LossOutput], learner: Learner | Ensemble):
        self.take, self.learner = take, learner
        self.rows_at = 1 if isinstance(learner, Ensemble) and not learner.shared_rows else 0
        self.taken, self.failed = 0, False
        self.graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, batch: Batch, noise: Noise, factor: float) -> LossOutput:
        if self.failed:
            return self.take(batch, noise, factor)
        if self.taken < WARM_UP:
            self.taken += 1
            return aside(lambda: self.take(batch, noise, factor))
        if self.graph is None or batch.x.shape[self.rows_at] > self.batch.x.shape[self.rows_at]:
            try:
                self._capture(batch)
            except RuntimeError as error:
                self.failed = True
                log.warning("steps are not captured as a CUDA graph, which failed here (%s)", str(error).split("\n")[0])
                return self.take(batch, noise, factor)
        self._load(batch)
        for number, (kind, shape) in zip(self.numbers, self.asked):
            number.copy_(getattr(noise, kind)(shape))
        self.factor.fill_(factor)
        self.graph.replay()
        return pytree.tree_map_only(Tensor, torch.clone, self.terms)  # the next replay writes over them

    def _capture(self, batch: Batch) -> None:
        weight = torch.ones(batch.x.shape[: self.rows_at + 1], device=batch.x.device, dtype=batch.x.dtype)
        self.batch = pytree.tree_map_only(Tensor, torch.clone, replace(batch, weight=weight))
        recorder = Recorder(self.learner.noise())

        def dry() -> None:
            with torch.no_grad():
                self.learner(self.batch, recorder)

        aside(dry)
        self.asked, self.numbers = recorder.requests, recorder.tape
        self.factor = torch.ones((), device=batch.x.device)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self.terms = self.take(self.batch, Given(self.numbers), self.factor)
        self.graph = graph

    def _load(self, batch: Batch) -> None:
        rows, size = batch.x.shape[self.rows_at], self.batch.x.shape[self.rows_at]
        for name in ("x", "mask", "context"):
            if getattr(batch, name) is not None:
                getattr(self.batch, name).narrow(self.rows_at, 0, rows).copy_(getattr(batch, name))
        real = self.batch.weight.narrow(self.rows_at, 0, rows)
        real.fill_(1.0) if batch.weight is None else real.copy_(batch.weight)
        self.batch.weight.narrow(self.rows_at, rows, size - rows).zero_()


def aside(run: Callable[[], T]) -> T:
    """Runs on a stream of its own, as what comes before a capture has to."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        result = run()
    torch.cuda.current_stream().wait_stream(stream)
    return result
