"""Checkpoints: everything that continuing a training bit for bit needs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..storage import StorageError, inside, mismatches, read_tensors, write_tensors
from ..typecheck import check_arguments, fits, shown
from .autotune import ExecutionPlan
from .history import TrainingResult
from .identity import Identity, check_same, digest_of
from .loop import Training
from .recovery import Recovery

FORMAT = 1
"""The version of a checkpoint's format; a later one is refused."""
THREADS = 4096
RECORDED = frozenset({"epoch", "step", "seconds", "rows_per_second"})
"""What every record of a history has."""


class Checkpoint:
    """The place training can go on from: `state.safetensors`, and `best.safetensors`, the best held-out weights.

    Both hold a format version, the digest of their content and what the training is, see `identity`: a changed file
    is refused, and so is a training with other rows, settings, seeds or parts.
    """

    def __init__(self, folder: Path, identity: Identity):
        home = inside(folder, "checkpoint")
        self.state, self.best, self.identity = home / "state.safetensors", home / "best.safetensors", identity

    def save(
        self, training: Training, recovery: Recovery, courses: list[TrainingResult], pace: Mapping[str, Any]
    ) -> None:
        tensors, place = training.state()
        earlier, returns = recovery.state()
        tensors |= earlier
        processes = training.processes
        # torch's own generators: what a user's module, such as dropout, draws from.
        own = {"noise": tensors["noise"]}
        if training.draws_globally:
            own |= {f"torch/{device}": state for device, state in _torch_noise(training.device).items()}
        for name, state in own.items():
            tensors |= {_of(rank, name): t for rank, t in enumerate(processes.each(state))}
        if processes.rank == 0:
            memory = {"courses": [course.state() for course in courses], "pace": pace, "place": place}
            memory["recovery"] = returns
            head = {"format": FORMAT, "identity": self.identity, "processes": processes.size}
            write_tensors(self.state, tensors, {**head, **memory})

    def keep_best(self, weights: Mapping[str, Tensor], epochs: list[int]) -> None:
        """Writes the best weights of every member, which are those of these epochs."""
        write_tensors(
            self.best, weights, {"format": FORMAT, "identity": digest_of(self.identity), "best_epochs": epochs}
        )

    def clear(self) -> None:
        """Forgets another run's place: a kill before the first checkpoint must not leave it to be resumed from."""
        self.state.unlink(missing_ok=True)
        self.best.unlink(missing_ok=True)

    def load(self, training: Training, recovery: Recovery) -> tuple[list[TrainingResult], ExecutionPlan]:
        """Brings training and recovery back to the saved place; returns the courses of the members and the pace.

        With another number of processes than it was saved by, their noise begins anew from the seed and the place.
        Raises StorageError for a damaged file, ValueError for the checkpoint of another training.
        """
        tensors, metadata = self._read(self.state)
        if not {"identity", "place", "processes", "courses", "pace", "recovery"} <= set(metadata):
            raise StorageError(f"{self.state} is not a checkpoint of vaekit's")
        check_same(metadata["identity"], self.identity, self.state)
        try:
            _check_place(metadata["place"], training)
            courses, pace = _courses(metadata["courses"], training), _pace(metadata["pace"])
            training.restore(tensors, metadata["place"])
            recovery.resume(tensors, metadata["recovery"])
            self._restore_noise(training, tensors, metadata["processes"])
        except Exception as error:  # torch refuses wrong tensors in its own ways
            text = " ".join(str(error).split())[:300]
            raise StorageError(f"{self.state} does not fit this training: {type(error).__name__}: {text}") from error
        return courses, pace

    def load_best(self, training: Training, courses: list[TrainingResult]) -> dict[str, Tensor]:
        """The best weights; empty where none were kept. Raises StorageError for those of another training."""
        if not self.best.exists():
            if any(course.best_epoch for course in courses):
                raise StorageError(f"{self.best} is missing: bring it back, or begin a new run")
            return {}
        weights, metadata = self._read(self.best)
        if metadata.get("identity") != digest_of(self.identity):
            raise StorageError(f"{self.best} belongs to another training: remove it, and begin a new run")
        epochs = metadata.get("best_epochs")
        wanted = [course.best_epoch for course in courses]
        # Newer ones are those of an epoch that is trained again: they are written before the place is.
        if not fits(epochs, list[int]) or len(epochs) != len(wanted) or any(e < w for e, w in zip(epochs, wanted)):
            raise StorageError(f"{self.best} holds the weights of epochs {shown(epochs)}, expected those of {wanted}")
        if problems := mismatches(training.weights(), weights):
            raise StorageError(f"{self.best} does not fit this training: {problems[0]}")
        return weights

    def _read(self, path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors, metadata = read_tensors(path)
        version = metadata.get("format")
        if not isinstance(version, int) or not 1 <= version <= FORMAT:
            raise StorageError(f"{path} has format {shown(version)}, this vaekit resumes from up to {FORMAT}")
        return tensors, metadata

    def _restore_noise(self, training: Training, tensors: Mapping[str, Tensor], processes: int) -> None:
        if processes != training.processes.size:
            seed = training.renew_noise()
            if training.draws_globally:
                torch.manual_seed(seed)
            return
        noise, *torch_noise = (_of(training.processes.rank, name) for name in ("noise", "torch/cpu", "torch/cuda"))
        training.noise.state = tensors[noise]
        if training.draws_globally:
            torch.set_rng_state(tensors[torch_noise[0]])
        if training.draws_globally and torch_noise[1] in tensors and training.device.type == "cuda":
            torch.cuda.set_rng_state(tensors[torch_noise[1]], training.device)


def _check_place(place: Mapping[str, Any], training: Training) -> None:
    """Raises ValueError for a place that this training does not come to."""
    epoch, batch, taken = (place[name] for name in ("epoch", "batch", "taken"))
    if not all(isinstance(n, int) for n in (epoch, batch, taken)):
        raise TypeError(f"place {shown(place)}: expected whole numbers")
    if epoch < 0 or not 0 <= batch < training.batches or taken != epoch * training.batches + batch:
        raise ValueError(f"place {shown(place)}: expected one of {training.batches} batches of an epoch")


def _courses(states: Any, training: Training) -> list[TrainingResult]:
    if not isinstance(states, list) or len(states) != len(training.seeds):
        raise ValueError(f"courses {shown(states)}: expected one for each of {len(training.seeds)} models")
    courses = [TrainingResult.of(state) for state in states]
    for course in courses:
        if not fits(course.history, list[dict]) or not fits(course.best_epoch, int):
            raise TypeError(f"courses {shown(states)}: expected records")
        if not all(set(record) >= RECORDED and fits([*record.values()], list[float]) for record in course.history):
            raise ValueError(f"courses {shown(states)}: expected numbers, among them {', '.join(sorted(RECORDED))}")
        if not all(fits(step, int | None) for step in (course.failed, course.rolled_back)):
            raise TypeError(f"courses {shown(states)}: expected steps as whole numbers")
    return courses


def _pace(state: Mapping[str, Any]) -> ExecutionPlan:
    check_arguments("pace", state, ExecutionPlan.__init__)
    pace = ExecutionPlan(**state)
    if not isinstance(pace.threads, int) or not 1 <= pace.threads <= THREADS:
        raise ValueError(f"pace {pace}: expected 1 to {THREADS} threads")
    return pace


def _of(rank: int, name: str) -> str:
    """Where the state of a process's noise is kept: the first one's by its plain name."""
    return f"process/{rank}/{name}" if rank else name


def _torch_noise(device: torch.device) -> dict[str, Tensor]:
    states = {"cpu": torch.get_rng_state()}
    return states | {"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else states
