"""From codes, and from rows through their codes, to rows in the units of the data."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import repeat
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..core import Batch, Source, ZeroNoise, public
from ..data.arrays import from_array, unmasked
from ..data.containers import framed, indexed
from ..data.covariates import Covariates, spread
from ..data.frames import joined
from ..data.missing import with_unknown
from ..distributions import Distribution, Library
from ..fitted import CHUNK, FittedVAE
from ..networks import SequenceEncoder
from ..networks.sequences import until_last
from .codes import encode


@public
def decode(fitted: FittedVAE, z: object, context: object = None) -> Any:
    """Decode codes into the mean of p(x | z), in the units, shape and dtype of the data.

    Parameters
    ----------
    z : array or DataFrame of shape (N, latent numbers)
        Codes as `transform` returns them.
    context : array or None, default=None
        Context of each row, or of all rows.

    Returns
    -------
    ndarray of shape (N, ...) or table
        A model of a table returns a table of the container that fit read; it has the most probable level of a
        category. A pandas table keeps the index of the codes, if these are a pandas frame.
    """
    return indexed(decoded(fitted, z, context), z)


def decoded(fitted: FittedVAE, z: object, context: object = None) -> Any:
    """The same without an index."""
    return joined([fitted.spec.decode(part) for part in _cells(fitted, z, context)])


def _cells(fitted: FittedVAE, z: object, context: object) -> list[Tensor]:
    """The cells that codes (N, latent numbers) decode to, some rows at a time, in the likelihood's space."""
    model, size = fitted.module, fitted.latent_size
    codes = from_array(unmasked(z)).to(Source.like(model).dtype)
    if codes.dim() != 2 or codes.shape[1] != size:
        raise ValueError(f"expected codes (N, {size}), got {tuple(codes.shape)}: pass what transform gives")
    if not bool(codes.isfinite().all()):
        row, column = (~codes.isfinite()).nonzero()[0].tolist()
        raise ValueError(
            f"expected finite codes, got {codes[row, column]} in row {row}, dimension {column}: pass what "
            "transform gives"
        )
    given = contexts(fitted, spread(context, len(codes), fitted.spec), len(codes))
    with torch.no_grad():
        return [
            point_estimate(fitted, model.decode(c.to(fitted.device).reshape(-1, *model.latent.shape), g))
            for c, g in zip(codes.split(CHUNK), given)
        ]


def point_estimate(fitted: FittedVAE, px: Distribution) -> Tensor:
    """Point estimate per cell: the mean, or the representative value of the column for tables."""
    return px.mean if fitted.spec.schema is None else fitted.spec.schema.finite(px.representative)


def finite(fitted: FittedVAE, cells: Tensor) -> Tensor:
    """Cells that the model made; for tables, values that are not finite are replaced, see `Schema.finite`."""
    return cells if fitted.spec.schema is None else fitted.spec.schema.finite(cells)


def in_units(fitted: FittedVAE, cells: Tensor) -> Any:
    """Cells (N, *model_shape) in the units of the data; binary cells are rounded."""
    cells = finite(fitted, cells)
    return fitted.spec.decode(cells.round() if fitted.spec.kind == "binary" else cells)


def contexts(fitted: FittedVAE, context: object, rows: int) -> Iterator[Tensor | None]:
    """The context of rows to be decoded, as the model reads it, chunk by chunk."""
    read = Covariates.of(rows, context=context).encoded(fitted.spec)["context"]
    return repeat(None) if read is None else iter(read.to(fitted.device).split(CHUNK))


def like(fitted: FittedVAE, x: object, rows: Any, repeats: int = 1) -> Any:
    """Rows of the model, `repeats` for each row of x, in the container of x and with its index."""
    return framed(rows, x) if fitted.spec.schema is None and repeats == 1 else indexed(rows, x, repeats)


@public
def reconstruct(fitted: FittedVAE, x: object, context: object = None) -> Any:
    """Encode and decode rows: the mean of p(x | z) at the center of q(z | x). Deterministic.

    A likelihood with a library uses the library of each row. Missing cells are filled, except those of series,
    (N, T) or (N, T, C), after their last step, which are padding. A value of a table that fit did not see stays
    as it is.

    Parameters
    ----------
    x : array, sparse matrix, table or path
        Rows like those of fit.
    context : array or None, default=None
        Context of the rows, for a model that reads one.

    Returns
    -------
    ndarray of shape (N, ...) or table
        Rows in the units, shape and dtype of the data. A table for a table; a pandas frame keeps its index.
    """
    x, context = fitted.preprocessor.aligned(x, context)
    return like(fitted, x, reconstructed(fitted, x, context))


def reconstructed(fitted: FittedVAE, x: object, context: object = None) -> Any:
    """The same without an index, of rows that `Preprocessor.aligned` gives."""
    if fitted.spec.schema is not None:
        return _reconstructed_table(fitted, x, context)
    if getattr(fitted.module.likelihood, "library", None):
        return fitted.spec.decode(_at_library(fitted, x, context, lambda px, own: px.at(own).mean))
    rows, shape = decoded(fitted, encode(fitted, x, context), context), fitted.spec.shape
    ends = isinstance(fitted.module.encoder, SequenceEncoder) and fitted.spec.missing and len(shape) < 3
    if ends and rows.dtype.kind == "f":
        seen = fitted.rows(x, context)
        there = fitted.gather(seen, lambda b: until_last(b.mask.reshape(len(b.mask), shape[0], -1)))
        rows[there.numpy() == 0] = np.nan
    return rows


def _reconstructed_table(fitted: FittedVAE, x: object, context: object) -> Any:
    rows = fitted.rows(x, context)
    codes = fitted.gather(rows, fitted.codes).numpy()
    cells = torch.cat(_cells(fitted, codes, context)).cpu().double().numpy()
    return with_unknown(fitted.spec.schema, cells, x, rows.unknown)


@public
def expected(
    fitted: FittedVAE, x: object, library: float | None = 1e4, context: object = None, under: object = None
) -> Any:
    """Return the counts that rows are expected to have if all had one library. Deterministic.

    This is ``l softmax(decoder(z))`` at the center of q(z | x), scvi-tools' ``get_normalized_expression``. Zeros
    that a zero-inflated likelihood adds to the counts are left out.

    Parameters
    ----------
    x : array, sparse matrix, AnnData, table or path
        Rows like those of fit.
    library : float or None, default=1e4
        Total of the counts, l. ``None`` takes each row's own, ``1`` gives shares of the total.
    context : array or None, default=None
        Context of the rows, for a model that reads one.
    under : array or None, default=None
        Context to decode with instead, such as another batch: one for all rows, or one for each.

    Returns
    -------
    ndarray of shape (N, D) or DataFrame
        Real numbers. A frame for a frame, with its index and columns.

    Raises
    ------
    ValueError
        If the likelihood has no library.
    """
    likelihood = fitted.module.likelihood
    if getattr(likelihood, "library", None) is None:
        raise ValueError(
            f"{type(likelihood).__name__} tells no shares of a library: fit recipe='counts', or give the "
            "likelihood library='observed'"
        )
    if library is not None and not library > 0:
        raise ValueError(f"library={library}: expected a total above 0, or None for the rows' own")

    def means(px: Library, own: Tensor) -> Tensor:
        return px.shares * (own.exp() if library is None else library)

    x, context = fitted.preprocessor.aligned(x, context)
    return like(fitted, x, _at_library(fitted, x, context, means, under).numpy())


def _at_library(
    fitted: FittedVAE, x: object, context: object, f: Callable[[Library, Tensor], Tensor], under: object = None
) -> Tensor:
    """f of p(x | z) at the center of q(z | x), and the log libraries of the rows."""
    model, still, seen = fitted.module, ZeroNoise(Source.like(fitted.module)), fitted.rows(x, context)
    given: Iterator[Tensor | None] = repeat(None)
    if under is not None:
        other = spread(fitted.preprocessor.aligned(x, under)[1], len(seen), fitted.spec)
        given = contexts(fitted, other, len(seen))

    def of(batch: Batch) -> Tensor:
        own = next(given)
        px = model.decode(model.infer(batch, still).z, batch.context if own is None else own)
        return f(px, px.own_library(batch.x, batch.mask))

    return fitted.gather(seen, of)
