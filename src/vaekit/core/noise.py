"""Noise: seeded, checkpointed, recorded and replayed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from .peers import ALONE, Peers, peers_of


class Noise(Protocol):
    """Where a forward pass takes its random numbers from."""

    def randn(self, shape: Sequence[int]) -> Tensor: ...
    def rand(self, shape: Sequence[int]) -> Tensor: ...


class Source:
    """Seeded noise on one device. `state` is a tensor that brings the source back to this very point.

    peers: the processes that the rows of a batch are spread over, each with a source of its own.
    """

    peers: Peers = ALONE

    def __init__(self, seed: int = 0, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32):
        self.device, self.dtype = torch.device(device), dtype
        self.generator = torch.Generator(self.device).manual_seed(seed)

    @classmethod
    def like(cls, module: nn.Module, seed: int = 0) -> Source:
        """A source on the device and in the floating type of a module's parameters (float32 where it has none)."""
        p = next((p for p in module.parameters() if p.is_floating_point()), torch.empty(0))
        return cls(seed, p.device, p.dtype)

    def randn(self, shape: Sequence[int]) -> Tensor:
        return torch.randn(tuple(shape), generator=self.generator, device=self.device, dtype=self.dtype)

    def rand(self, shape: Sequence[int]) -> Tensor:
        return torch.rand(tuple(shape), generator=self.generator, device=self.device, dtype=self.dtype)

    @property
    def state(self) -> Tensor:
        return self.generator.get_state()

    @state.setter
    def state(self, value: Tensor) -> None:
        self.generator.set_state(value.cpu().clone())  # torch reads a view from the beginning of its storage


class ZeroNoise:
    """The noise that is none: every draw becomes its distribution's centre, so that predictions are deterministic."""

    def __init__(self, like: Source):
        self.like = like

    def randn(self, shape: Sequence[int]) -> Tensor:
        return torch.zeros(tuple(shape), device=self.like.device, dtype=self.like.dtype)

    def rand(self, shape: Sequence[int]) -> Tensor:
        return torch.full(tuple(shape), 0.5, device=self.like.device, dtype=self.like.dtype)


class Recorder:
    """Passes a noise through and keeps what was drawn: `requests` (kind, shape) and `tape` (the numbers)."""

    def __init__(self, noise: Noise):
        self.noise, self.peers = noise, peers_of(noise)
        self.requests: list[tuple[str, tuple[int, ...]]] = []
        self.tape: list[Tensor] = []

    def _note(self, kind: str, shape: Sequence[int]) -> Tensor:
        self.requests.append((kind, tuple(shape)))
        self.tape.append(getattr(self.noise, kind)(shape))
        return self.tape[-1]

    def randn(self, shape: Sequence[int]) -> Tensor:
        return self._note("randn", shape)

    def rand(self, shape: Sequence[int]) -> Tensor:
        return self._note("rand", shape)


class ReplayNoise:
    """Replays recorded numbers in order. Raises ValueError when asked for another shape than was recorded."""

    def __init__(self, tape: Sequence[Tensor]):
        self.remaining = list(tape)

    def _next(self, shape: Sequence[int]) -> Tensor:
        if not self.remaining or tuple(self.remaining[0].shape) != tuple(shape):
            got = tuple(self.remaining[0].shape) if self.remaining else "an empty tape"
            raise ValueError(f"the replayed noise holds {got} where {tuple(shape)} is asked for: record it anew")
        return self.remaining.pop(0)

    randn = rand = _next
