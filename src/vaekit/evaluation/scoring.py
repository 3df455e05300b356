"""Scores of rows by a fitted model: log-likelihood, anomaly scores, their explanation."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core import public
from ..data.missing import numbers
from ..data.rows import AbstractRows
from ..fitted import FittedVAE
from ..inference.decoding import like
from . import anomaly
from .detection import Detector
from .likelihood import score_rows


@public
def score_samples(
    fitted: FittedVAE, x: object, draws: int = 100, seed: int | None = None, context: object = None
) -> NDArray:
    """Return the importance-weighted bound of log p(x) per row, in nats.

    A value of a table that fit did not see counts as one that had a chance of ``1 / (n + 1)``, n the rows of fit.

    Parameters
    ----------
    x : array, sparse matrix, table or path
        Rows like those of fit.
    draws : int, default=100
        Draws of z per row. More draws give a tighter bound.
    seed : int or None, default=None
        Random seed. ``None`` uses the estimator's `seed`.
    context : array or None, default=None
        Context of the rows, for a model that reads one.

    Returns
    -------
    ndarray of shape (N,)
        In the units of the data.

    References
    ----------
    Burda, Grosse and Salakhutdinov 2016, arXiv:1509.00519, equation 8.
    """
    rows = fitted.rows(x, context)
    bound = score_rows(fitted.module, rows, draws=draws, seed=fitted.seed_or(seed)).bound.numpy()
    return bound if rows.cost is None else bound - rows.cost.sum(1)


@public
def score(fitted: FittedVAE, x: object, y: object = None, context: object = None) -> float:
    """Return the mean of `score_samples`, for model selection.

    Parameters
    ----------
    x : array, sparse matrix, table or path
        Rows like those of fit.
    y : object
        Ignored.
    context : array or None, default=None
        Context of the rows, for a model that reads one.

    Returns
    -------
    float
        Nats per row.
    """
    return float(score_samples(fitted, x, context=context).mean())


@public
def anomaly_score(
    fitted: FittedVAE,
    x: object,
    score: str = "bound",
    *,
    draws: int = anomaly.DRAWS,
    seed: int | None = None,
    context: object = None,
    normal: object = None,
    entropy: float | None = None,
) -> NDArray:
    """Return how anomalous rows are; higher is more anomalous. Deterministic for a seed.

    Each value of a table that fit did not see adds ``log(n + 1)``, n the rows of fit, whatever the score.

    Parameters
    ----------
    x : array, table or path
        Rows like those of fit.
    score : {"bound", "elbo", "distortion", "error", "typicality"}, default="bound"
        The score, see `vaekit.evaluation.anomaly.anomaly_score`.
    draws : int
        Draws of z per row.
    seed : int or None, default=None
        Random seed. ``None`` uses the estimator's `seed`.
    context : array or None, default=None
        Context of the rows, for a model that reads one.
    normal : array, table or None, default=None
        For ``"typicality"``: normal rows, such as ``held_out(x)``, from whose mean ``"bound"`` it is a distance.
    entropy : float or None, default=None
        For ``"typicality"``: that mean, where it is known.

    Returns
    -------
    ndarray of shape (N,)
    """
    settings = {"draws": draws, "seed": fitted.seed_or(seed)}
    if score == "typicality" and entropy is None and normal is not None:
        entropy = float(anomaly_score(fitted, normal, "bound", **settings).mean())
    return anomaly.anomaly_score(fitted.module, fitted.rows(x, context), score, entropy=entropy, **settings)


@public
def explain(
    fitted: FittedVAE,
    x: object,
    score: str = "bound",
    *,
    draws: int = anomaly.DRAWS,
    seed: int | None = None,
    context: object = None,
) -> Any:
    """Share the `anomaly_score` of each row among its cells.

    Parameters
    ----------
    x : array or table
        Rows like those of fit.
    score : {"bound", "distortion", "error"}, default="bound"
        The score to explain, see `vaekit.evaluation.anomaly.explain`.
    draws : int
        Draws of z per row.
    seed : int or None, default=None
        Random seed. ``None`` uses the estimator's `seed`.
    context : array or None, default=None
        Context of the rows, for a model that reads one.

    Returns
    -------
    ndarray of shape (N, ...) or table
        Numbers that sum to the score of each row. A table for a table; a pandas frame keeps its index.
    """
    spec = fitted.spec
    x, context = fitted.preprocessor.aligned(x, context)
    rows = fitted.rows(x, context)
    shares = anomaly.explain(fitted.module, rows, score, draws=draws, seed=fitted.seed_or(seed))
    if spec.schema is not None:
        shares = np.pad(shares, ((0, 0), (0, len(spec.schema.constants))))
        return like(fitted, x, numbers(spec.schema, shares if rows.cost is None else shares + rows.cost))
    shares = shares.reshape(len(shares), *spec.model_shape)
    shares = np.moveaxis(shares, 1, -1) if spec.channels_last else shares
    return like(fitted, x, shares.reshape(-1, *spec.shape))


@public
def outlier_probability(
    fitted: FittedVAE,
    x: object,
    normal: object,
    score: str = "bound",
    *,
    draws: int = anomaly.DRAWS,
    seed: int | None = None,
    context: object = None,
) -> NDArray:
    """Return 1 - p per row, p the conformal p-value by normal rows that the model was not fitted to.

    At most a share a of normal rows has 1 - p of 1 - a or more, however good the model is.

    Parameters
    ----------
    x : array, table or path
        Rows like those of fit.
    normal : array or table
        Normal rows (M, ...), such as ``held_out(x)``.
    score : str, default="bound"
        The score, as in `anomaly_score`.
    draws : int
        Draws of z per row.
    seed : int or None, default=None
        Random seed. ``None`` uses the estimator's `seed`.
    context : array or None, default=None
        Context of both sets of rows, for a model that reads one.

    Returns
    -------
    ndarray of shape (N,)

    See Also
    --------
    vaekit.evaluation.anomaly.p_values
    """
    settings = {"draws": draws, "seed": seed, "context": context, "normal": normal}
    return 1 - anomaly.p_values(*(anomaly_score(fitted, rows, score, **settings) for rows in (x, normal)))


@public
def detector(fitted: FittedVAE, normal: object, draws: int = 20, seed: int | None = None) -> Detector:
    """Return a scorer of rows whose score is chosen by normal rows, without an anomalous one at hand.

    Parameters
    ----------
    normal : array or table
        Normal rows (M, ...), such as ``held_out(x)``.
    draws : int, default=20
        Draws of z per row.
    seed : int or None, default=None
        Random seed. ``None`` uses the estimator's `seed`.

    Returns
    -------
    Detector
        ``detector(x)`` has shape (N,); higher is more anomalous.
    """
    read = partial(_rows, fitted)
    return Detector.of(fitted.module, read, fitted.numbers(normal), draws=draws, seed=fitted.seed_or(seed))


def _rows(fitted: FittedVAE, x: object) -> AbstractRows:
    """Rows of a table, or the `numbers` of such rows, as the model reads them; others as they are."""
    plain = isinstance(x, np.ndarray) and not x.dtype.names
    return fitted.over_numbers().rows(x if plain else fitted.numbers(x))
