"""Missing cells filled from those that are there."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from .. import tasks
from ..core import public
from ..data.containers import is_frame
from ..data.frames import as_table
from ..data.missing import filled
from ..fitted import FittedVAE
from ..tasks.weighing import DRAWS
from .decoding import in_units, like


@public
def impute(
    fitted: FittedVAE,
    x: object,
    n: int | None = None,
    *,
    draws: int = DRAWS,
    seed: int | None = None,
    context: object = None,
) -> Any:
    """Fill missing cells; the other cells stay as they are, bit for bit.

    A model that was fitted to complete rows fills missing cells, too, but its encoder has never seen one: look at the
    effective sample size that `complete` returns.

    Parameters
    ----------
    x : array, table or path
        Rows like those of fit, missing cells as NaN or as the container marks them.
    n : int or None, default=None
        ``None`` fills each cell with one value: the mean of numbers and the most probable level, given the other cells.
        A number fills the rows n times with draws from p(missing | seen), for multiple imputation.
    draws : int
        Draws of z per row, see `vaekit.tasks.impute`.
    seed : int or None, default=None
        Random seed. ``None`` uses the estimator's `seed`.
    context : array or None, default=None
        Context of the rows, for a model that reads one.

    Returns
    -------
    ndarray of shape (N, ...) or table
        With n an ndarray of shape (n, N, ...), or a list of n tables.

    See Also
    --------
    complete
    """
    rows, settings = fitted.rows(x, context, gaps=True), {"draws": draws, "seed": fitted.seed_or(seed)}
    if n is None:
        return _filled(fitted, x, tasks.impute(fitted.module, rows, **settings).x)
    each = [_filled(fitted, x, own) for own in tasks.complete(fitted.module, rows, n, **settings).x]
    return each if fitted.spec.schema is not None or is_frame(x) else np.stack(each)


@public
def complete(
    fitted: FittedVAE, x: object, *, draws: int = DRAWS, seed: int | None = None, context: object = None
) -> tuple[Any, NDArray]:
    """Fill missing cells with one draw from p(missing | seen), and say how far to trust it.

    By importance resampling, see `vaekit.tasks.complete`. The cells that are there stay as they are.

    Parameters
    ----------
    x : array, table or path
        Rows like those of fit, missing cells as NaN or as the container marks them.
    draws : int
        Draws of z per row.
    seed : int or None, default=None
        Random seed. ``None`` uses the estimator's `seed`.
    context : array or None, default=None
        Context of the rows, for a model that reads one.

    Returns
    -------
    rows : ndarray of shape (N, ...) or table
        The completed rows.
    effective : ndarray of shape (N,)
        Effective sample sizes, between 1 and `draws`. Near 1, the draw is little better than a guess, and more draws
        help.

    See Also
    --------
    impute
    """
    rows = fitted.rows(x, context, gaps=True)
    made = tasks.complete(fitted.module, rows, draws=draws, seed=fitted.seed_or(seed))
    return _filled(fitted, x, made.x[0]), made.effective.numpy()


def _filled(fitted: FittedVAE, x: object, cells: Tensor) -> Any:
    """Rows x, their missing cells replaced by cells (N, *model_shape)."""
    x = fitted.preprocessor.aligned(x, None)[0] if fitted.spec.schema is None else as_table(x)
    return filled(x, like(fitted, x, in_units(fitted, cells)))
