"""Moments of a sample of training rows, from which the numbers of a likelihood start."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

SMALLEST = 0.5
"""What a cell in which only zeros were seen counts as, in all rows of the sample together."""


def moments(x: Tensor, mask: Tensor | None = None, shared: Sequence[int] = ()) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, variance and number of values of each cell of rows (B, *shape), each of `shape`, in float64.

    Parameters
    ----------
    x : Tensor of shape (B, *shape)
        Rows of the sample.
    mask : Tensor of shape (B, *shape) or None
        1 where a cell is present. A cell that is missing in every row takes the values of all cells.
    shared : sequence of int
        Axes of a row over which one value is wanted, because the decoder has one bias for all of them.
    """
    values = x.double()
    seen = torch.ones_like(values) if mask is None else (mask > 0).double().expand_as(values)
    values = torch.where(seen > 0, values, 0.0)
    axes = (0, *(1 + axis for axis in shared))
    mean, variance, count = _over(values, seen, axes)
    overall = _over(values, seen, tuple(range(values.dim())))
    found = [torch.where(count > 0, own, of_all) for own, of_all in zip((mean, variance), overall)]
    return found[0].expand(x.shape[1:]), found[1].expand(x.shape[1:]), count.expand(x.shape[1:])


def _over(values: Tensor, seen: Tensor, axes: tuple[int, ...]) -> tuple[Tensor, Tensor, Tensor]:
    count = seen.sum(axes, keepdim=True)
    mean = values.sum(axes, keepdim=True) / count.clamp(min=1)
    squares = torch.where(seen > 0, (values - mean).square(), 0.0).sum(axes, keepdim=True)
    return tuple(t.squeeze(0) for t in (mean, squares / count.clamp(min=1), count))


def stacked(*parameters: Tensor) -> Tensor:
    """Parameters of each cell, (C, ...) each, as the decoder gives them: (parameters * C, ...)."""
    return torch.cat(parameters).float()
