"""The loop over epochs and batches: a generator that yields between steps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from ..constructors import checked_constructor
from ..core import Batch, LossOutput, OwnGlobals, may_draw
from ..data.rows import AbstractRows
from .adam import Adam
from .distributed import Processes, join
from .learner import Ensemble, Learner
from .sharded import Sharded
from .step import Step


class Diverged(ArithmeticError):
    """Training diverged: the loss is not finite or far above its start, or most steps were left out.

    step: since which step; None where it is not known.
    """

    def __init__(self, message: str, step: int | None = None):
        super().__init__(message)
        self.step = step


@checked_constructor
class Training:
    """A learner (or an ensemble), its rows and its place in them. Iterate over it: it yields itself after each step.

    The order of rows is a function of the seed and the epoch, the noise of the seed and the place, so that `state`
    and `restore` continue a run bit for bit. seeds: one per member, for an ensemble. processes: those that have a share
    of every batch each and all build the same training; None: those of `join`. sharded: whether several processes
    spread the weights of encoder and decoder over them; see `Sharded`.
    """

    def __init__(
        self,
        learner: Learner | Ensemble,
        rows: AbstractRows,
        epochs: int = 50,
        batch_size: int = 128,
        adam: Adam | None = None,
        seed: int = 0,
        seeds: list[int] | None = None,
        processes: Processes | None = None,
        sharded: bool = False,
    ):
        if isinstance(learner, Learner):
            learner.to(memory_format=torch.channels_last)  # of what has four dimensions: convolutions run faster
        self.learner, self.rows, self.epochs = learner, rows, epochs
        self.batch_size = min(batch_size, len(rows))
        self.batches = -(-len(rows) // self.batch_size)
        if len(rows) % self.batch_size == 1 and self.batches > 1 and _normalises_batches(learner):
            self.batches -= 1  # one row has no variance: it joins the batch before
        self.processes = join() if processes is None else processes
        self.seeds = seeds if seeds is not None else [seed]
        self.processes.meet(learner, rows=len(rows), epochs=epochs, batch_size=self.batch_size, seed=self.seeds[0])
        self.sharded = Sharded(learner, self.processes) if sharded and self.processes.size > 1 else None
        steps = max(1, epochs * self.batches)
        self.step = Step(learner, adam, total_steps=steps, processes=self.processes, sharded=self.sharded)
        self.noise = self.processes.among(learner.noise([self.processes.seed(s) for s in self.seeds]))
        self.epoch = self.batch = 0
        self.terms: LossOutput | None = None
        self.names: list[str] = []
        self.sums: Tensor | None = None
        self.missed = [0] * len(self.seeds)
        """Rows of this epoch that a member's figures leave out, because it went back since."""
        self._order: tuple[int, Tensor] | None = None

    @property
    def taken(self) -> int:
        """Steps taken."""
        return self.step.taken

    @property
    def draws_globally(self) -> bool:
        """Whether a module or a data set of the user's takes part, which may draw from the global generators."""
        learner = self.learner.pattern if isinstance(self.learner, Ensemble) else self.learner
        return may_draw(learner) or may_draw(self.rows)

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
            orders = [self.rows.order(seed, epoch) for seed in (self.seeds[:1] if shared else self.seeds)]
            self._order = epoch, orders[0] if shared else torch.stack(orders)
        return self._order[1]

    def __iter__(self) -> Iterator[Training]:
        self.learner.train()
        while self.epoch < self.epochs:
            indices = map(self.processes.own, self._indices())
            with closing(self.rows.stream(indices)) as batches:
                for batch in batches:
                    if self.batch == 0:
                        self.sums, self.missed = None, [0] * len(self.seeds)
                    rows = self._expected(batch)
                    self.terms = self.step(self.processes.weighed(batch, rows), self.noise)
                    self._count(rows)
                    self.batch += 1
                    if self.batch == self.batches:
                        self.epoch, self.batch = self.epoch + 1, 0
                    place = self.epoch, self.batch
                    yield self
                    if place != (self.epoch, self.batch):  # restored, to another place
                        break

    def _indices(self) -> Iterator[Tensor]:
        """The rows of each batch that is left in this epoch."""
        order = self.order(self.epoch)
        for i in range(self.batch, self.batches):
            yield order[..., i * self.batch_size : self._end(i)]

    def _expected(self, batch: Batch) -> int:
        """How many rows the batch has, over all processes."""
        return self._end(self.batch) - self.batch * self.batch_size

    def _end(self, batch: int) -> int:
        """The place in the order after the last row of a batch."""
        return len(self.rows) if batch == self.batches - 1 else (batch + 1) * self.batch_size

    def _count(self, rows: int) -> None:
        self.names = list(self.terms.metrics)
        means = torch.stack(list(self.terms.metrics.values()))
        self.sums = means * rows if self.sums is None else self.sums + means * rows

    def metrics(self) -> dict[str, float]:
        """The epoch's means so far (over the rows seen, and over an ensemble's members). Reads the device."""
        each = [figures for figures in self.metrics_each() if figures] or [{}]
        return {name: sum(m[name] for m in each) / len(each) for name in each[0]}

    def metrics_each(self) -> list[dict[str, float]]:
        """The same of every member; of a learner, its own alone. Nothing of a member that has just gone back."""
        if self.sums is None:
            return [{} for _ in self.seeds]
        sums = self.sums.reshape(len(self.names), -1).T.tolist()
        seen = [self._seen - missed for missed in self.missed]
        return [{n: v / rows for n, v in zip(self.names, own)} if rows else {} for own, rows in zip(sums, seen)]

    @property
    def _seen(self) -> int:
        """Rows of the epoch so far."""
        return len(self.rows) if self.batch == 0 else self.batch * self.batch_size

    def forget(self, member: int) -> None:
        """Leaves what a member has seen in this epoch out of its figures."""
        if self.sums is not None:
            sums = self.sums.reshape(len(self.names), -1).clone()
            sums[:, member] = 0.0
            self.sums, self.missed[member] = sums.reshape(self.sums.shape), self._seen

    @property
    def spent(self) -> float | None:
        """The epsilon that a private training has spent; None where it is not private."""
        return None

    def failures(self) -> list[int]:
        """Every member's first step whose loss was not finite, -1 where there is none. Reads the device."""
        counts = torch.stack([self.learner.get_buffer(name).reshape(-1) for name in ("first_bad", "step")])
        # A member that went back has counted fewer steps than were taken.
        return [bad if bad < 0 else self.taken - own + bad for bad, own in counts.T.tolist()]

    def renew_noise(self) -> int:
        """Begins this process's noise anew, from its seed and the steps taken; returns the seed that makes."""
        seeds = [self.processes.seed(s, self.taken) for s in self.seeds]
        self.noise.state = self.learner.noise(seeds).state
        return seeds[0]

    @contextmanager
    def as_it_was(self) -> Iterator[None]:
        """Puts everything back that steps taken inside have changed."""
        tensors, place = self.state()
        tensors, mode = {n: t.clone() for n, t in tensors.items()}, self.learner.training
        with OwnGlobals(self.seeds[0]) if self.draws_globally else nullcontext():
            try:
                yield
            finally:
                self.restore(tensors, place)
                self.learner.train(mode)

    def try_step(self, compiled: bool) -> None:
        """One step on the first rows of the epoch."""
        self.learner.train()
        self.step.compiled = compiled
        index = self.processes.own(self.order(self.epoch)[..., : self.batch_size])
        self.step(self.processes.weighed(self.rows.batch(index), self.batch_size), self.noise)

    def check(self) -> None:
        """Raises Diverged if a loss was not finite; in an ensemble, if no member is left. Reads the device."""
        bad = self.failures()
        if min(bad) >= 0:
            raise self.diverged(f"the loss is not finite since step {max(bad)}", max(bad))

    def diverged(self, reason: str, step: int, before: str = "") -> Diverged:
        """The error of a training that has diverged since this step. before: what was tried before."""
        lr = ", ".join(f"{lr:g}" for lr in self.step.rates)
        return Diverged(
            f"{reason} (epoch {step // self.batches + 1}){before}; likely causes: a learning rate that is too high "
            f"(lr={lr}; try a tenth, or clip=1.0), values outside the range the likelihood expects, or a decoder scale "
            "that collapses to zero",
            step,
        )

    def weights(self) -> dict[str, Tensor]:
        """The learner's state by name; of a sharded one the whole, on the host, for which all processes have to ask."""
        state = self.learner.state_dict()
        return state if self.sharded is None else self.sharded.whole(state)

    def set_weights(self, weights: dict[str, Tensor]) -> None:
        self.learner.load_state_dict(weights if self.sharded is None else self.sharded.parts(weights))

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Everything that continuing needs: tensors and plain values."""
        tensors = {
            **{f"learner/{n}": t for n, t in self.weights().items()},
            **{f"optimiser/{n}": t for n, t in self.step.state().items()},
            **({} if self.sums is None else {"sums": self.sums}),
            "noise": self.noise.state,
        }
        place = {"epoch": self.epoch, "batch": self.batch, "taken": self.taken, "rows": len(self.rows)}
        place |= {"batch_size": self.batch_size, "seeds": self.seeds, "metrics": self.names, "missed": [*self.missed]}
        return tensors, place

    def restore(self, tensors: dict[str, Tensor], place: dict[str, Any]) -> None:
        """Continues from a `state`. Raises ValueError if rows, batch size or seeds are not those it was taken with."""
        for name, now in (("rows", len(self.rows)), ("batch_size", self.batch_size), ("seeds", self.seeds)):
            if place[name] != now:
                raise ValueError(f"the checkpoint was taken with {name}={place[name]}, this run has {name}={now}")

        def part(prefix: str) -> dict[str, Tensor]:
            return {n.removeprefix(f"{prefix}/"): t for n, t in tensors.items() if n.startswith(f"{prefix}/")}

        self.set_weights(part("learner"))
        self.step.restore(part("optimiser"), place["taken"])
        self.names, self.sums = place["metrics"], tensors["sums"].to(self.device) if "sums" in tensors else None
        self.noise.state, self.missed = tensors["noise"], list(place["missed"])
        self.epoch, self.batch = place["epoch"], place["batch"]


def _normalises_batches(learner: Learner | Ensemble) -> bool:
    """Whether a layer normalises by the statistics of a batch, which needs two rows at least."""
    one = learner.pattern if isinstance(learner, Ensemble) else learner
    return any(isinstance(m, _BatchNorm) for m in one.modules())
