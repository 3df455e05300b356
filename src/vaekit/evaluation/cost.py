"""What scoring a row costs, and how many draws that allows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from ..core import Source
from ..data.rows import AbstractRows
from ..model import VAEModule
from ..networks import evaluating

WORK = 10**12
"""Products that scoring may take unasked: about a minute of one core."""
FEWEST, MOST = 10, 100
"""Draws per row, at least, whatever they cost, and where nothing speaks against more."""


@torch.no_grad()
def products(model: VAEModule, rows: AbstractRows) -> int:
    """Products of numbers that one draw of one row takes, by the layers that torch has: linear ones and convolutions.

    The encoder is left out, as it reads a row once for many draws.
    """
    read_once = set(model.encoder.modules())
    with evaluating(model), _counted(m for m in model.modules() if m not in read_once) as counts:
        model(rows.batch(slice(0, 1)), Source.like(model, 0))
    return sum(counts)


@contextmanager
def _counted(modules: Iterable[nn.Module]) -> Iterator[list[int]]:
    """What the layers among these take while it is open."""
    counts: list[int] = []
    layers = [m for m in modules if isinstance(m, (nn.Linear, _ConvNd))]
    handles = [m.register_forward_hook(_count(counts)) for m in layers]
    try:
        yield counts
    finally:
        for handle in handles:
            handle.remove()


def _count(counts: list[int]) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
    def count(layer: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> None:
        if isinstance(layer, _ConvTransposeNd):  # each number of the input meets its channel's weights
            counts.append(given[0].numel() * layer.weight[0].numel())
        else:  # each number of the output is made of its channel's weights
            counts.append(out.numel() * layer.weight[0].numel())

    return count


def affordable_draws(model: VAEModule, rows: AbstractRows, most: int = MOST) -> int:
    """`most` draws a row, or as many as come to `WORK` products for all rows, but no fewer than `FEWEST`.

    It depends on the model and the number of rows alone, never on the machine, so that a figure comes back.
    """
    each = products(model, rows) * len(rows)
    return most if each == 0 else min(most, max(FEWEST, math.floor(WORK / each)))
