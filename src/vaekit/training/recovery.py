"""Detecting a diverged training, and going back to its last good state."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .learner import Ensemble

if TYPE_CHECKING:
    from .loop import Diverged, Training

log = logging.getLogger("vaekit")

CHECK_STEPS = 500
"""How often, within an epoch, the host reads the counters of the device."""
WINDOW = 100
"""Steps after which a training is judged by its recent steps, at least."""
SHORTEST = 10
"""Steps after which a training that was judged before is judged again where it ends, at least."""
LOWER = 0.1
"""Factor of the learning rate after going back."""
SOME = 512
"""Rows by which a member is described that has seen none since it went back."""
KEPT = ("learner/", "optimiser/")
"""The parts of a `Training.state` that belong to a good state."""
COUNTS = ("/skipped", "/count")
"""Of these, what continues where a member goes back."""


@dataclass(frozen=True)
class Fault:
    """Why a member counts as diverged, and since which step. hopeless: whether a lower rate cannot help."""

    step: int
    reason: str
    hopeless: bool = False


State = dict[str, Tensor]


class Recovery:
    """The last good state of a training, to which every member may go back once, with a tenth of the learning rate.

    A member has diverged if its loss is not finite, or if in most of the recent steps it was left out (`Adam.skip`) or
    its loss was far above its start (`Learner.far`). Going back restores its weights and its optimiser. The place in
    the rows, the schedule and the noise continue, and the other members of an ensemble are not touched. Looks happen at
    given steps, so that equal runs go back at equal steps.

    A state is good once the steps after it were, too: weights may be lost before the loss shows it. So two are kept,
    `good` and `later`, in the memory of the host. steps: of every member, after which steps they were taken.
    """

    def __init__(self, training: Training):
        self.training = training
        self.back: dict[int, int] = {}
        """The members that went back, and the step of the state that they went back to."""
        self.good, self.later = self._present(), self._present()
        members = len(training.seeds)
        self.steps = [[training.taken] * 2 for _ in range(members)]
        self.windows, self.before = [training.taken] * members, self._counts()

    # -- the good state ------------------------------------------------------------------------------

    def _present(self) -> State:
        tensors, _ = self.training.state()
        kept = {n: t.detach().to("cpu", copy=True) for n, t in tensors.items() if n.startswith(KEPT)}
        if isinstance(self.training.learner, Ensemble):  # whose members share counts of steps, but not the states kept
            members = len(self.training.seeds)
            return {n: t if t.dim() else t.expand(members).clone() for n, t in kept.items()}
        return kept

    def _keep(self, members: Collection[int]) -> None:
        """The states kept before are good ones, and the present ones may become so."""
        tensors, _ = self.training.state()
        for k in members:
            self._copy(self.later, self.good, k)
            self._copy(tensors, self.later, k)
            self.steps[k] = [self.steps[k][1], self.training.taken]

    @torch.no_grad()
    def _copy(self, source: State, into: State, member: int) -> None:
        """A member's part of a state."""
        stacked = isinstance(self.training.learner, Ensemble)
        for name, tensor in into.items():
            own = source[name]
            if stacked:
                tensor, own = tensor[member], own[member] if own.dim() else own
            tensor.copy_(own)

    def _begin_windows(self, members: Collection[int]) -> None:
        now = self._counts() if members else []
        for k in members:
            self.windows[k], self.before[k] = self.training.taken, now[k]

    def _counts(self) -> list[list[list[float]]]:
        """Of each member: steps left out and steps taken by every player, and last steps with a loss far above the
        start, and the others."""
        learner, moments = self.training.learner, self.training.step.moments.values()
        members = len(self.training.seeds)
        left_out = [torch.stack([m.skipped, m.count.expand(members)]) for m in moments if m.skipped is not None]
        far, steps = (learner.get_buffer(name).reshape(-1).float() for name in ("far", "step"))
        return torch.stack([*left_out, torch.stack([far, steps - far])]).permute(2, 0, 1).tolist()

    # -- looking -------------------------------------------------------------------------------------

    def faults(self, members: Collection[int], ending: bool = False) -> dict[int, Fault]:
        """The members that have diverged. Reads the device.

        ending: whether their training is about to end. Then fewer steps are enough to judge it.
        """
        failures = self.training.failures()
        judged = [k for k in members if self._judged(k, ending)]
        found = self._by_recent_steps(judged) if judged else {}
        for k in members:
            if failures[k] >= 0:
                found[k] = Fault(failures[k], f"the loss is not finite since step {failures[k]}", failures[k] == 0)
        return found

    def _judged(self, member: int, ending: bool = False) -> bool:
        """Whether a member has taken enough steps to be judged by them. One that ends unjudged is judged by any."""
        ends = min(SHORTEST, WINDOW) if self.steps[member][1] else 1
        return self.training.taken - self.windows[member] >= (ends if ending else WINDOW)

    def _by_recent_steps(self, members: Collection[int]) -> dict[int, Fault]:
        counts, found = self._counts(), {}
        for k in members:
            reason = self._reason(torch.tensor(counts[k]) - torch.tensor(self.before[k]), k)
            if reason is not None:
                found[k] = Fault(self.windows[k], reason)
        return found

    def _reason(self, counts: Tensor, member: int) -> str | None:
        """What was wrong in most steps of a member's window; None where nothing was. counts: as in `_counts`."""
        of = f"of the last {self.training.taken - self.windows[member]} steps"
        share = counts[:, 0] / counts.sum(1).clamp(min=1)
        if share[-1] > 0.5:
            return f"the loss was far above its start in {int(counts[-1, 0])} {of}"
        if len(share) > 1 and share[:-1].max() > 0.5:
            skip = self.training.step.adam.skip
            return f"{int(counts[:-1, 0].max())} {of} were left out, their gradient's norm above skip={skip:g}"
        return None

    # -- going back ----------------------------------------------------------------------------------

    def look(
        self, members: Collection[int], ended: bool = False, ending: bool = False
    ) -> tuple[dict[int, Fault], dict[int, Fault]]:
        """Lets diverged members go back, and keeps the state of the others; those that went back, those that cannot.

        ended: whether no steps are left. ending: whether training is about to end, with steps left for one that goes
        back.
        """
        faults = self.faults(members, ended or ending)
        back = {k: fault for k, fault in faults.items() if self._may_go_back(k, fault, ended)}
        well = [k for k in members if k not in faults and self._judged(k)]
        for k in back:
            self._lower(k, faults[k])
        for k in faults:
            self.restore(k)
        if well:
            self._keep(well)
        self._begin_windows([*faults, *well])
        return back, {k: fault for k, fault in faults.items() if k not in back}

    def _may_go_back(self, member: int, fault: Fault, ended: bool) -> bool:
        """Once, unless there is no trained state to end with. A private training may not choose by its rows."""
        nothing = self.steps[member][0] == 0 and (ended or fault.hopeless)
        return member not in self.back and not nothing and self.training.step.private is None

    def _lower(self, member: int, fault: Fault) -> None:
        training = self.training
        self.back[member] = self.steps[member][0]
        training.step.scale_rate(member, LOWER)
        lr, back = training.step.rates[member], self.back[member]
        log.warning("%s diverged, %s: it goes back to step %d, with lr=%.3g", self._who(member), fault.reason, back, lr)

    def _who(self, member: int) -> str:
        members = len(self.training.seeds)
        return f"member {member} of {members}" if members > 1 else "training"

    def leave(self, member: int, fault: Fault) -> None:
        """Gives a member whose training is cut short while it diverges the last good state, and says so."""
        said = "%s was cut short while it diverged, %s: it has the weights of step %d"
        log.warning(said, self._who(member), fault.reason, self.steps[member][0])
        self.restore(member)

    @torch.no_grad()
    def restore(self, member: int) -> None:
        """Gives a member the weights and the optimiser of the last good state; its counts of steps continue."""
        training = self.training
        training.forget(member)
        self._copy(self.good, self.later, member)
        self.steps[member][1] = self.steps[member][0]
        good = {n: t for n, t in self._unbiased(member).items() if not n.endswith(COUNTS)}
        if isinstance(training.learner, Ensemble):
            live = training.state()[0]
            return self._copy(good, {n: live[n] for n in good}, member)
        weights, optimiser = ({n.removeprefix(p): t for n, t in good.items() if n.startswith(p)} for p in KEPT)
        training.set_weights(weights)
        training.step.restore({**training.step.state(), **optimiser}, training.taken)

    def _unbiased(self, member: int) -> State:
        """The good state with moments that Adam's correction for the count of now makes what it made them then."""
        found = dict(self.good)
        for who, moments in self.training.step.moments.items():
            then, now = (
                float(t.reshape(-1)[member % t.numel()]) for t in (self.good[f"optimiser/{who}/count"], moments.count)
            )
            for kind, beta in zip(("first", "second"), moments.adam.betas):
                scale = (1 - beta**now) / (1 - beta**then) if then else 1.0
                places = [n for n in found if n.startswith(f"optimiser/{who}/{kind}/")]
                found |= {n: found[n] * scale for n in places}
        return found

    def figures(self, member: int) -> dict[str, float]:
        """What the learner's weights come to on some of the rows: of a member that has seen none since it went back."""
        training = self.training
        batch = training.rows.batch(torch.arange(min(SOME, len(training.rows)), device=training.rows.device))
        with torch.no_grad():
            found = training.learner.score(batch, training.learner.noise(training.seeds))
        return {name: float(value.reshape(-1)[member]) for name, value in found.items()}

    def diverged(self, member: int, fault: Fault) -> Diverged:
        """The error that ends the training of a member."""
        again = ""
        if member in self.back:
            again = f" after it went back to step {self.back[member]} with a tenth of the learning rate"
        return self.training.diverged(fault.reason, fault.step, again)

    # -- checkpoints ---------------------------------------------------------------------------------

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """What a checkpoint keeps of it: tensors `good/...`, and `later/...` unless these are the present ones."""
        kept = {"good": self.good, "later": self.later}
        if all(later == self.training.taken for _, later in self.steps):
            del kept["later"]
        tensors = {f"{which}/{n}": t for which, own in kept.items() for n, t in own.items()}
        place = {"steps": self.steps, "windows": self.windows, "before": self.before}
        return tensors, place | {"back": {str(k): step for k, step in self.back.items()}}

    def resume(self, tensors: dict[str, Tensor], place: dict[str, Any]) -> None:
        """Continues from a `state`, once the training has been restored."""
        self.good, self.later = (self._read(tensors, which) for which in ("good", "later"))
        for k in place["back"]:
            self.training.step.scale_rate(int(k), LOWER)
        self.steps, self.windows, self.before = place["steps"], place["windows"], place["before"]
        self.back = {int(k): step for k, step in place["back"].items()}

    def _read(self, tensors: dict[str, Tensor], which: str) -> State:
        own = {n.removeprefix(f"{which}/"): t.to("cpu") for n, t in tensors.items() if n.startswith(f"{which}/")}
        return own or self._present()


def guarded(training: Training) -> Iterator[Training]:
    """Yields a learner's training after each step, as it does by itself, and lets it go back where it diverges.

    Raises Diverged where it cannot; the learner then has the weights of the last good state.
    """
    recovery = Recovery(training)
    for _ in training:
        yield training
        if training.epoch_ended or training.taken % CHECK_STEPS == 0:
            _, failed = recovery.look([0], training.epoch >= training.epochs)
            for k, fault in failed.items():
                raise recovery.diverged(k, fault)
