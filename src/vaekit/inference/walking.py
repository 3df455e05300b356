"""Walks in the latent space: between rows, along dimensions, along the direction of a feature."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..core import Source, ZeroNoise, public
from ..data.covariates import spread
from ..fitted import FittedVAE
from ..tasks import walks
from .codes import as_codes, encode
from .decoding import contexts, decoded, like


@public
def interpolate(
    fitted: FittedVAE, x_a: object, x_b: object, steps: int = 10, path: str = "linear", context: object = None
) -> Any:
    """Interpolate between rows: walk from each row of x_a to that of x_b through their codes.

    Parameters
    ----------
    x_a, x_b : array or table
        Start and end rows, as many of each.
    steps : int, default=10
        Rows per walk, both ends included.
    path : {"linear", "spherical", "geodesic"}, default="linear"
        ``"geodesic"`` is the shortest path by what the decoder makes of it, see `vaekit.tasks.interpolate`.
    context : array or None, default=None
        Context of both rows of a pair, for a model that reads one.

    Returns
    -------
    ndarray of shape (N, steps, ...) or table
        For a table, a table of ``N * steps`` rows; each index label of x_a is repeated.
    """
    a, b = (_codes(fitted, x, context) for x in (x_a, x_b))
    way = partial(walks.interpolate, steps=steps, path=path)
    if path != "geodesic" or len(a) != len(b):
        return _decoded(fitted, way(a, b), context, x_a)
    means = (partial(_mean, fitted, context=own) for own in _each_context(fitted, context, len(a)))
    pairs = zip(a.split(1), b.split(1), means)
    return _decoded(fitted, torch.cat([way(*ends, decode=mean) for *ends, mean in pairs]), context, x_a)


@public
def traverse(
    fitted: FittedVAE,
    x: object = None,
    dimensions: Sequence[int] | None = None,
    steps: int = 11,
    reach: float = 3.0,
    context: object = None,
) -> Any:
    """Decode codes that move along one dimension at a time.

    Parameters
    ----------
    x : array, table or None, default=None
        Rows whose codes are moved. ``None`` starts at the center of the prior.
    dimensions : sequence of int or None, default=None
        Dimensions of z to move. ``None`` takes all.
    steps : int, default=11
        Positions per dimension, from ``-reach`` to ``reach`` in units of z. The other dimensions are kept.
    reach : float, default=3.0
        Largest offset.
    context : array or None, default=None
        Context of the rows, for a model that reads one.

    Returns
    -------
    ndarray of shape (N, dimensions, steps, ...) or table
        For a table, a table with the rows of each walk in order; each index label of x is repeated.
    """
    if steps < 1:
        raise ValueError(f"steps={steps}: expected at least 1")
    centre = _centre(fitted, context) if x is None else _codes(fitted, x, context)
    offsets = torch.linspace(-reach, reach, steps, device=centre.device, dtype=centre.dtype)
    return _decoded(fitted, walks.traverse(centre, offsets, dimensions), context, x)


@public
def shift(
    fitted: FittedVAE, x: object, present: object, absent: object, amount: float = 1.0, context: object = None
) -> Any:
    """Add a feature to rows: move their codes by the difference of two mean codes, and decode them.

    Parameters
    ----------
    x : array or table
        Rows to change.
    present, absent : array or table
        Rows that have the feature, and rows that lack it.
    amount : float, default=1.0
        Factor of the difference.
    context : array or None, default=None
        One context for all rows, for a model that reads one.

    Returns
    -------
    ndarray of shape (N, ...) or table
        A table for a table; a pandas frame keeps the index of x.
    """
    rows = (_codes(fitted, r, context) for r in (x, present, absent))
    return _decoded(fitted, walks.shift(*rows, amount), context, x)


def _codes(fitted: FittedVAE, x: object, context: object) -> Tensor:
    return as_codes(fitted, encode(fitted, x, context))


def _centre(fitted: FittedVAE, context: object = None) -> Tensor:
    """(1, latent numbers): the prior's centre."""
    model, own = fitted.module, next(_each_context(fitted, context, 1))
    with torch.no_grad():
        return model.generate(1, ZeroNoise(Source.like(model)), own).flatten(1)


def _each_context(fitted: FittedVAE, context: object, rows: int) -> Iterator[Tensor | None]:
    """The context of each row by itfitted: FittedVAE, (1, ...), as the model reads it."""
    for chunk in contexts(fitted, spread(context, rows, fitted.spec), rows):
        yield from [None] * rows if chunk is None else chunk.split(1)


def _mean(fitted: FittedVAE, z: Tensor, context: Tensor | None = None) -> Tensor:
    """Codes (N, latent numbers) -> the mean of p(x | z), in the likelihood's space; context: (1, ...)."""
    given = None if context is None else context.expand(len(z), *context.shape[1:])
    return fitted.module.decode(z.reshape(-1, *fitted.module.latent.shape), given).mean


def _decoded(fitted: FittedVAE, codes: Tensor, context: object = None, x: object = None) -> Any:
    """Codes (N, ..., latent numbers) of rows x -> rows (N, ..., *row); of a table, one after the other."""
    flat, given = codes.flatten(0, -2).cpu().numpy(), spread(context, len(codes), fitted.spec)
    if given is not None:
        given = np.repeat(np.asarray(given), len(flat) // len(codes), 0)
    rows = decoded(fitted, flat, given)
    if fitted.spec.schema is None:
        rows = rows.reshape(*codes.shape[:-1], *rows.shape[1:])
    return like(fitted, fitted.preprocessor.aligned(x, None)[0], rows, len(flat) // len(codes))
