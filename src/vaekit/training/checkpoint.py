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
