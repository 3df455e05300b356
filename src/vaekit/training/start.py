"""How a new model meets its rows: it starts at their moments, and sees a sample of them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from torch import nn

from ..core import Batch, Source
from ..data.rows import AbstractRows
from ..model import VAEModule
from ..networks import evaluating

CELLS = 2**22
"""Cells that a model is started from, at most: their moments take a few copies in float64."""


def sample_of(rows: AbstractRows, seed: int, size: int = 2048) -> Batch:
    """A random sample of the rows, in their order: what a new model is started from and shown."""
    return rows.batch(rows.order(seed, 2**31)[:size].sort().values)


def start(model: VAEModule, sample: Batch, seed: int, kept: Collection[nn.Module] = ()) -> None:
    """Start a new model at the moments of a sample of the rows; networks in `kept` keep their weights."""
    model.likelihood.check(sample.x)
    every = max(1, sample.x.numel() // CELLS)
    some = replace(sample, x=sample.x[::every], mask=None if sample.mask is None else sample.mask[::every])
    model.start(some, Source.like(model, seed + 1), kept)


def prepare(model: VAEModule, sample: Batch, seed: int) -> None:
    """Show the model a sample of the rows, once before its first step."""
    model.likelihood.check(sample.x)
    with evaluating(model):
        model.prepare(sample, Source.like(model, seed + 1))
