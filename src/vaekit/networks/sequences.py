"""Encoders and decoders of series.

A row is (T, C), T steps of C numbers, or (K, T, C), K planes of such: the numbers that a likelihood reads per cell, or
what an encoder reads of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor, nn

from .network import Network, Shape, as_shape
from .steps import Steps

POSITIONS = 32
"""Numbers that tell a step its place."""
SLOWEST = 1000
"""Steps in which the slowest of them turns by about one radian; the fastest turns by one in each."""


def series_shape(shape: Shape) -> tuple[int, int, int]:
    """(K, T, C); a series (T, C) is one plane. Raises ValueError where a row has no steps."""
    if len(shape) not in (2, 3):
        got = "flat rows" if len(shape) < 2 else f"rows of {shape}"
        raise ValueError(
            f"expected series of (T, C), T steps of C numbers, got {got}: give rows of one number a step as "
            "x[..., None], of shape (N, T, 1), or use an MLP"
        )
    return (1, *shape) if len(shape) == 2 else tuple(shape)


def steps_of(planes: Tensor) -> Tensor:
    """(B, K, T, C) -> (B, T, K C)."""
    return planes.movedim(1, 2).flatten(2)


def planes_of(steps: Tensor, planes: int) -> Tensor:
    """(B, T, K C) -> (B, K, T, C)."""
    return steps.unflatten(-1, (planes, -1)).movedim(2, 1)


def places(steps: Tensor) -> Tensor:
    """(T, POSITIONS): sines and cosines of the places of steps (B, T, n), from the first on.

    Vaswani et al. 2017, arXiv:1706.03762, section 3.5. They do not depend on how many steps follow.
    """
    half = POSITIONS // 2
    rates = torch.exp(torch.arange(half, device=steps.device, dtype=steps.dtype) * (-math.log(SLOWEST) / half))
    angles = torch.arange(steps.shape[1], device=steps.device, dtype=steps.dtype)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], -1)


class Placed(nn.Module):
    """(B, T, n_in) -> (B, T, width): `W x_t (1 + U p_t) + V p_t`, steps that know their places p_t.

    With the product, what is said once, as a code is, differs from step to step before any layer is reached; a wave of
    any phase, for instance, is linear in it. Not a component: loops over steps would take minutes to compile.
    """

    def __init__(self, n_in: int, width: int):
        super().__init__()
        self.read = nn.Linear(n_in, width)
        self.place = nn.Linear(POSITIONS, 2 * width)

    def forward(self, steps: Tensor) -> Tensor:
        shift, factor = self.place(places(steps)).chunk(2, -1)
        return self.read(steps) * (1 + factor) + shift


def until_last(seen: Tensor) -> Tensor:
    """(B, T, C), 1 where a cell is there -> (B, T), 1 up to the last step of which something is."""
    return (seen > 0.5).any(-1).flip(1).to(seen.dtype).cumsum(1).flip(1).clamp(max=1)


class SequenceEncoder(Network):
    """Series -> `out_shape`, by `steps` over all of it, pooled.

    It reads the mask: the first plane of a row says which cells are there. The row ends with the last step of which
    something is; what follows is padding, and neither its content nor its length changes anything. A gap before the
    end is a step like another, of which the mask is told.

    >>> SequenceEncoder(Recurrent(8), in_shape=(2, 9, 3), out_shape=4)(torch.ones(5, 2, 9, 3)).shape
    torch.Size([5, 4])
    """

    reads_mask = True

    def __init__(
        self,
        steps: Steps,
        in_shape: int | Sequence[int] | None = None,
        out_shape: int | Sequence[int] | None = None,
    ):
        super().__init__(in_shape, out_shape)
        self.steps = steps
        if self.in_shape is not None:
            planes, _, columns = series_shape(self.in_shape)
        if not self.open:
            self.enter = Placed(planes * columns, steps.width)
            self.steps = steps.resolve_shapes(n_in=steps.width)
            self.give = nn.Linear(steps.width, prod(self.out_shape))

    def run(self, x: Tensor) -> Tensor:
        planes = x.reshape(len(x), *series_shape(self.in_shape))
        there = until_last(planes[:, 0])
        return self.give(self.steps.pooled(self.steps(self.enter(steps_of(planes)), there), there))


class SequenceDecoder(Network):
    """Flat codes -> series `out_shape`, by `steps` whose step t reads the code, its place, and what is before it.

    No step reads a later one, so that the first steps are the same however many follow. reads: the shape, (K, T, C),
    of what it may be told beside the code, `decoder(z, before)`: step t reads `before[:, :, :t + 1]` only; the steps
    may be fewer than those of `out_shape`, and as many come out.

    >>> SequenceDecoder(Recurrent(8), in_shape=4, out_shape=(9, 3))(torch.zeros(5, 4)).shape
    torch.Size([5, 9, 3])
    """

    def __init__(
        self,
        steps: Steps,
        reads: Sequence[int] | None = None,
        in_shape: int | Sequence[int] | None = None,
        out_shape: int | Sequence[int] | None = None,
    ):
        super().__init__(in_shape, out_shape)
        self.steps, self.reads = steps, as_shape(reads)
        if self.out_shape is not None:
            planes, _, columns = series_shape(self.out_shape)
        if not self.open:
            told = 0 if self.reads is None else self.reads[0] * self.reads[2]
            self.enter = Placed(prod(self.in_shape) + told, steps.width)
            self.steps = steps.resolve_shapes(n_in=steps.width)
            self.give = nn.Linear(steps.width, planes * columns)

    @property
    def output_layer(self) -> nn.Linear | None:
        return None if self.open else self.give

    @property
    def shared_axes(self) -> tuple[int, ...]:
        """Steps: all of them are given by one layer."""
        return () if self.out_shape is None else (len(self.out_shape) - 2,)

    def forward(self, x: Tensor, before: Tensor | None = None) -> Tensor:
        if self.reads is None:
            return super().forward(x)
        codes = x.flatten(1)[:, None].expand(-1, before.shape[2], -1)
        return self._series(torch.cat([codes, steps_of(before)], -1))

    def run(self, x: Tensor) -> Tensor:
        length = series_shape(self.out_shape)[1]
        return self._series(x.flatten(1)[:, None].expand(-1, length, -1))

    def _series(self, steps: Tensor) -> Tensor:
        return planes_of(self.give(self.steps(self.enter(steps))), series_shape(self.out_shape)[0])
