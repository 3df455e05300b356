"""Checkpoints: everything that continuing a training bit for bit needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..storage import StorageError, read_tensors, write_tensors
from .loop import Training


class Checkpoint:
    """The place training can go on from: `state.safetensors`, and `best.safetensors`, the best held-out weights."""

    def __init__(self, folder: Path):
        self.state, self.best = folder / "state.safetensors", folder / "best.safetensors"

    def save(self, training: Training, memory: dict[str, Any]) -> None:
        tensors, place = training.state()
        processes = training.processes
        # torch's own generators: what a user's module, such as dropout, draws from.
        own = {"noise": tensors["noise"]}
        if training.draws_globally:
            own |= {f"torch/{device}": state for device, state in _torch_noise(training.device).items()}
        for name, state in own.items():
            tensors |= {_of(rank, name): t for rank, t in enumerate(processes.each(state))}
        if processes.rank == 0:
            write_tensors(self.state, tensors, {"place": place, "processes": processes.size, **memory})

    def clear(self) -> None:
        """Forgets another run's place: a kill before the first checkpoint must not leave it to be resumed from."""
        self.state.unlink(missing_ok=True)
        self.best.unlink(missing_ok=True)

    def load(self, training: Training) -> dict[str, Any]:
        """Brings training back to the saved place; returns what was remembered with it.

        With another number of processes than it was saved by, their noise begins anew from the seed and the place.
        """
        tensors, metadata = read_tensors(self.state)
        if "place" not in metadata:
            raise StorageError(f"{self.state} is not a checkpoint of vaekit's")
        training.restore(tensors, metadata.pop("place"))
        if metadata.pop("processes", 1) != training.processes.size:
            seed = training.renew_noise()
            if training.draws_globally:
                torch.manual_seed(seed)
            return metadata
        noise, *torch_noise = (_of(training.processes.rank, name) for name in ("noise", "torch/cpu", "torch/cuda"))
        training.noise.state = tensors[noise]
        if training.draws_globally:
            torch.set_rng_state(tensors[torch_noise[0]])
        if training.draws_globally and torch_noise[1] in tensors and training.device.type == "cuda":
            torch.cuda.set_rng_state(tensors[torch_noise[1]], training.device)
        return metadata


def _of(rank: int, name: str) -> str:
    """Where the state of a process's noise is kept: the first one's by its plain name."""
    return f"process/{rank}/{name}" if rank else name


def _torch_noise(device: torch.device) -> dict[str, Tensor]:
    states = {"cpu": torch.get_rng_state()}
    return states | {"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else states
