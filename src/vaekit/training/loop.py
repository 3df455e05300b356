"""The loop over epochs and batches: a generator that yields between steps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..core import Source, Terms
from ..data.rows import Rows, as_tensor
from ..data.spec import DataSpec
from ..model import VAEModule
from ..networks import evaluating
from ..objectives import ELBO, Objective
from .adam import Adam
from .learner import Ensemble, Learner
from .step import Step


class Diverged(ArithmeticError):
    """The loss stopped being finite."""


class Training:
    """A learner (or an ensemble), its rows and its place in them. Iterate over it: it yields itself after each step.

    The order of rows is a function of the seed and the epoch, the noise of the seed and the place, so that `state`
    and `restore` continue a run bit for bit. seeds: one per member, for an ensemble.
    """

    def __init__(
        self,
        learner: Learner | Ensemble,
        rows: Rows,
        epochs: int = 50,
        batch_size: int = 128,
        adam: Adam | None = None,
        seed: int = 0,
        seeds: list[int] | None = None,
    ):
        if epochs < 0 or batch_size < 1:
            raise ValueError(f"epochs={epochs}, batch_size={batch_size}: expected epochs >= 0 and batch_size >= 1")
        if isinstance(learner, Learner):
            learner.to(memory_format=torch.channels_last)  # of what has four dimensions: convolutions run faster
        self.learner, self.rows, self.epochs = learner, rows, epochs
        self.batch_size = min(batch_size, len(rows))
        self.batches = -(-len(rows) // self.batch_size)
        self.step = Step(learner, adam, total_steps=max(1, epochs * self.batches))
        self.seeds = seeds if seeds is not None else [seed]
        self.noise = learner.noise(self.seeds)
        self.epoch = self.batch = 0
        self.terms: Terms | None = None
        self.names: list[str] = []
        self.sums: Tensor | None = None
        self._order: tuple[int, Tensor] | None = None

    @property
    def taken(self) -> int:
        """Steps taken."""
        return self.step.taken

    @property
    def device(self) -> torch.device:
        return self.learner.get_buffer("step").device

    @property
    def epoch_ended(self) -> bool:
        return self.batch == 0

    def order(self, epoch: int) -> Tensor:
        """The order of rows in an epoch: (N,), or (K, N) for an ensemble whose members have their own."""
        if self._order is None or self._order[0] != epoch:
            shared = not isinstance(self.learner, Ensemble) or self.learner.shared_rows
            orders = [
                np.random.default_rng([seed, epoch]).permutation(len(self.rows))
                for seed in (self.seeds[:1] if shared else self.seeds)
            ]
            order = torch.from_numpy(orders[0] if shared else np.stack(orders))
            self._order = epoch, order.to(self.rows.x.device)
        return self._order[1]

    def __iter__(self) -> Iterator[Training]:
        self.learner.train()
        while self.epoch < self.epochs:
            start = self.batch * self.batch_size
            index = self.order(self.epoch)[..., start : start + self.batch_size]
            if self.batch == 0:
                self.sums = None
            self.terms = self.step(self.rows.batch(index), self.noise)
            self._count(index.shape[-1])
            self.batch += 1
            if self.batch == self.batches:
                self.epoch, self.batch = self.epoch + 1, 0
            yield self

    def _count(self, rows: int) -> None:
        self.names = list(self.terms.metrics)
        means = torch.stack(list(self.terms.metrics.values()))
        self.sums = means * rows if self.sums is None else self.sums + means * rows

    def metrics(self) -> dict[str, float]:
        """The epoch's means so far (over the rows seen). Reads the device."""
        if self.sums is None:
            return {}
        seen = len(self.rows) if self.batch == 0 else self.batch * self.batch_size
        return {name: float(value.mean()) / seen for name, value in zip(self.names, self.sums.cpu())}

    @contextmanager
    def as_it_was(self) -> Iterator[None]:
        """Puts everything back that steps taken inside have changed."""
        tensors, place = self.state()
        tensors, mode = {n: t.clone() for n, t in tensors.items()}, self.learner.training
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            try:
                yield
            finally:
                self.restore(tensors, place)
                self.learner.train(mode)

    def try_step(self, compiled: bool) -> None:
        """One step on the first rows of the epoch."""
        self.learner.train()
        self.step.compiled = compiled
        self.step(self.rows.batch(self.order(self.epoch)[..., : self.batch_size]), self.noise)

    def check(self) -> None:
        """Raises Diverged if a loss was not finite; in an ensemble, if no member is left. Reads the device."""
        bad = self.learner.get_buffer("first_bad")
        if bool((bad >= 0).all()):
            first, lr = int(bad.max()), ", ".join(f"{lr:g}" for lr in self.step.adam.rates)
            raise Diverged(
                f"the loss is not finite since step {first} (epoch {first // self.batches + 1}); likely causes: "
                f"a learning rate that is too high (lr={lr}; try a tenth, or clip=1.0), values "
                "outside the range the likelihood expects, or a decoder scale that collapses to zero"
            )

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Everything that continuing needs: tensors and plain values."""
        tensors = {
            **{f"learner/{n}": t for n, t in self.learner.state_dict().items()},
            **{f"optimiser/{n}": t for n, t in self.step.state().items()},
            **({} if self.sums is None else {"sums": self.sums}),
            "noise": self.noise.state,
        }
        place = {"epoch": self.epoch, "batch": self.batch, "taken": self.taken, "rows": len(self.rows)}
        return tensors, {**place, "batch_size": self.batch_size, "seeds": self.seeds, "metrics": self.names}

    def restore(self, tensors: dict[str, Tensor], place: dict[str, Any]) -> None:
        """Continues from a `state`. Raises ValueError if rows, batch size or seeds are not those it was taken with."""
        for name, now in (("rows", len(self.rows)), ("batch_size", self.batch_size), ("seeds", self.seeds)):
            if place[name] != now:
                raise ValueError(f"the checkpoint was taken with {name}={place[name]}, this run has {name}={now}")

        def part(prefix: str) -> dict[str, Tensor]:
            return {n.removeprefix(f"{prefix}/"): t for n, t in tensors.items() if n.startswith(f"{prefix}/")}

        self.learner.load_state_dict(part("learner"))
        self.step.restore(part("optimiser"), place["taken"])
        self.names, self.sums = place["metrics"], tensors["sums"].to(self.device) if "sums" in tensors else None
        self.noise.state = tensors["noise"]
        self.epoch, self.batch = place["epoch"], place["batch"]


def train(
    model: VAEModule,
    x: object,
    objective: Objective | None = None,
    *,
    epochs: int = 50,
    batch_size: int = 128,
    adam: Adam | None = None,
    seed: int = 0,
    device: str | torch.device = "cpu",
) -> Iterator[Training]:
    """Trains a model on rows `x`, yielding after each step: the loop body is yours.

    `x` is an array or tensor (N, ...); what it holds is inferred. Sizes left open in the model are settled; the
    settled model that is being trained is `training.learner.model`. Raises ValueError for data that the model's
    likelihood cannot explain.

        for training in vk.train(model, x, vk.objectives.ELBO(), epochs=3):
            if training.epoch_ended:
                print(training.epoch, training.metrics())
    """
    learner, rows = assemble(model, x, objective or ELBO(), seed=seed, device=device)
    yield from Training(learner, rows, epochs, batch_size, adam, seed)


def assemble(
    model: VAEModule, x: object, objective: Objective, *, seed: int, device: str | torch.device = "cpu"
) -> tuple[Learner, Rows]:
    """A learner whose open sizes fit the data and which has seen a sample of them, and the rows it reads."""
    tensor, dtype = as_tensor(x)
    spec = DataSpec.infer(tensor, dtype).for_likelihood(model.likelihood.support, tensor)
    rows = Rows(tensor.to(device), spec)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        learner = Learner(model.settled(spec.model_shape), objective).to(device)
        prepare(learner.model, rows, seed)
    return learner, rows


def prepare(model: VAEModule, rows: Rows, seed: int, sample: int = 2048) -> None:
    """Shows the model a random sample of the rows, once before its first step."""
    chosen = np.random.default_rng([seed, 2**31]).permutation(len(rows))[:sample]
    batch = rows.batch(torch.from_numpy(np.sort(chosen)).to(rows.x.device))
    model.likelihood.check(batch.x)
    with evaluating(model):
        model.prepare(batch, Source.like(model, seed + 1))
