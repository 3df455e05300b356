"""New rows: unconditional, given a context, given some of their cells."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..core import ForwardContext, Source, public
from ..data.covariates import sampled
from ..data.frames import joined
from ..data.missing import partial_cells, partial_row, with_given
from ..fitted import CHUNK, FittedVAE
from ..tasks import sample_given
from .decoding import contexts, finite, in_units, point_estimate

log = logging.getLogger("vaekit")

GIVEN_DRAWS = 4096
"""Draws of z for the columns that `sample` is given; as many as there are rows, if these are more."""
FEW = 30
"""Effective draws below which `sample(given=...)` warns."""
GAPS = 2**31 + 3
"""Added to the seed for the missing cells of samples, so that the other cells are the same with and without."""


@public
def sample(
    fitted: FittedVAE,
    n: int = 1,
    seed: int | None = None,
    mean: bool | None = None,
    context: object = None,
    given: Mapping[Any, Any] | None = None,
    gaps: bool = False,
) -> Any:
    """Draw new rows from the model: z from the prior, then x from p(x | z).

    Parameters
    ----------
    n : int, default=1
        Number of rows.
    seed : int or None, default=None
        Random seed. ``None`` uses the estimator's `seed`.
    mean : bool or None, default=None
        Whether to take the mean of p(x | z) instead of a draw. ``None`` does so only where log p is not a likelihood
        of the data, see `caveat_`: draws of grey levels under the cross-entropy would be black-and-white noise.
    context : array or None, default=None
        Context of each row, or one for all. Classes that are not given are drawn by their frequencies in fit.
    given : dict or None, default=None
        Values of some columns, by number or name. The other columns are drawn from p(others | given), by importance
        resampling, see `vaekit.tasks.sample_given`. Warns if few draws have weight.
    gaps : bool, default=False
        Whether cells are missing as in the training rows. The patterns of missing cells that fit kept are drawn
        independently of the values, unless the likelihood models when a cell is missing, as `SelfMaskedGaussian` does.
        Given columns are never missing. The other cells are the same with and without.

    Returns
    -------
    ndarray of shape (n, ...) or table
        Rows in the units, shape and dtype of the data. Tables come back as tables, with the types, levels, bounds and
        rounding of the training data.

    Raises
    ------
    ValueError
        If ``n < 1``; or with `gaps` if the training rows had missing cells whose patterns were not kept, as with
        `privacy`.
    """
    if n < 1:
        raise ValueError(f"sample({n}): expected at least one row")
    model, seed = fitted.module, fitted.seed_or(seed)
    if given is not None:
        return _sample_given(fitted, given, n, seed, mean, context, gaps)
    holes = _patterns(fitted, n, seed) if gaps else None
    noise, known = Source.like(model, seed), contexts(fitted, sampled(context, n, seed, fitted.spec), n)
    take_mean = _takes_mean(fitted, mean)
    rows = []
    with torch.no_grad():
        for start, own in zip(range(0, n, CHUNK), known):
            px = model.decode(model.generate(min(CHUNK, n - start), noise, own), own)
            x = point_estimate(fitted, px) if take_mean else finite(fitted, px.draw(ForwardContext.of(noise)))
            absent = None if holes is None else holes[start : start + len(x)]
            rows.append(fitted.spec.decode(*_with_missing(fitted, x, absent, seed, start)))
    return joined(rows)


def _takes_mean(fitted: FittedVAE, mean: bool | None) -> bool:
    return fitted.caveat is not None if mean is None else mean


def _patterns(fitted: FittedVAE, n: int, seed: int, seen: NDArray | tuple[int, ...] = ()) -> NDArray | None:
    """(n, cells), bool: patterns of missing cells in which the cells `seen` are there; None where fit met none."""
    if not fitted.spec.gappy:
        return None
    if fitted.spec.patterns is not None:
        return fitted.spec.patterns.draw(n, [seed, GAPS], seen)
    raise ValueError(
        "gaps=True: expected a model that keeps the patterns of gaps in the rows of fit, got one that was saved "
        "before these were kept, or trained with privacy, where they would tell of single rows: fit again without "
        "privacy, or draw whole rows, gaps=False"
    )


def _with_missing(
    fitted: FittedVAE, x: Tensor, gaps: NDArray | None, seed: int, start: int = 0
) -> tuple[Tensor, NDArray | None]:
    """Rows (B, *model_shape) from the `start`-th on with missing cells (B, cells), as `DataSpec.decode` reads them.

    NaN marks a missing cell; the second value says where the `partial` columns of a table are absent.
    """
    if gaps is None:
        return x, None
    spec, cells = fitted.spec, math.prod(fitted.spec.shape)
    gone = spec.laid_out(torch.from_numpy(gaps[:, :cells]).reshape(-1, *spec.shape))
    chance = fitted.module.likelihood.chance_seen(x.to(fitted.device))
    if chance is not None:
        drawn = torch.from_numpy(np.random.default_rng([seed, GAPS, start]).random(chance.shape))
        gone = torch.where(chance.cpu().isnan(), gone, drawn >= chance.cpu())
    return x.cpu().masked_fill(gone, torch.nan), gaps[:, cells:]


def _sample_given(
    fitted: FittedVAE,
    given: Mapping[Any, Any],
    n: int,
    seed: int,
    mean: bool | None,
    context: object,
    gaps: bool,
) -> Any:
    spec = fitted.spec
    names = None if fitted.feature_names is None else np.array(fitted.feature_names, dtype=object)
    row = partial_row(given, spec.shape, names) if spec.schema is None else partial_cells(given, spec.schema)
    holes = _patterns(fitted, n, seed, np.flatnonzero(~np.isnan(row))) if gaps else None
    take_mean = _takes_mean(fitted, mean)
    how = {"device": fitted.device, "check": fitted.module.likelihood.check}
    rows = fitted.preprocessor.placed(torch.from_numpy(row), context, spec.with_missing(), **how)
    settings = {"draws": max(GIVEN_DRAWS, n), "seed": seed, "mean": take_mean}
    made = sample_given(fitted.module, rows, n, **settings)
    effective = float(made.effective)
    if effective < FEW:
        log.warning(
            "sample(given=...): of %d draws %.1f count, so that rows are alike: the given values are unlikely "
            "together, or the model does not know how they go together",
            made.draws,
            effective,
        )
    x, absent = _with_missing(fitted, finite(fitted, made.x), holes, seed)
    if spec.schema is not None:
        return with_given(spec.schema, x.double().numpy(), given, absent)
    drawn = spec.decode(x) if take_mean else in_units(fitted, x)
    return np.where(np.isnan(row), drawn, row).astype(drawn.dtype)
