"""How alike two tables are: the shapes of their columns, the pairs, the shares of missing cells.

Each likeness is in [0, 1], 1 where the two agree. Definitions are those of SDMetrics (DataCebo), in which published
figures of synthetic tables are told.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from .columns import Columns

BINS = 10
"""Of numbers beside levels, equal in width over the range of the real rows."""


def column_shapes(synthetic: Columns, real: Columns) -> NDArray:
    """(D,): of numbers `1 - sup |F_synthetic - F_real|`, one less the Kolmogorov-Smirnov statistic; of levels
    `1 - 1/2 sum |p_synthetic - p_real|`, one less the total variation; missing cells left out. NaN where a column has
    no cell in one of the tables.

    `KSComplement` and `TVComplement` of SDMetrics, whose mean over columns is its "column shapes".
    """
    found = np.empty(len(real.names))
    for i, levels in enumerate(real.levels):
        a, b = (t.values[:, i][~np.isnan(t.values[:, i])] for t in (synthetic, real))
        if not len(a) or not len(b):
            found[i] = np.nan
        elif levels is None:
            found[i] = 1 - kolmogorov_smirnov(a, b)
        else:
            found[i] = 1 - total_variation(*(np.bincount(t.astype(np.int64), minlength=len(levels)) for t in (a, b)))
    return found


def kolmogorov_smirnov(a: NDArray, b: NDArray) -> float:
    """`sup_x |F_a(x) - F_b(x)|` of two samples (N,), (M,)."""
    a, b = np.sort(a), np.sort(b)
    both = np.concatenate([a, b])
    upto = (np.searchsorted(t, both, side="right") / len(t) for t in (a, b))
    return float(np.abs(next(upto) - next(upto)).max())


def total_variation(a: NDArray, b: NDArray) -> float:
    """`1/2 sum |p - q|` of the shares of two vectors of counts."""
    return float(0.5 * np.abs(a / a.sum() - b / b.sum()).sum())


def pair_trends(synthetic: Columns, real: Columns) -> NDArray:
    """(D, D), symmetric, NaN on the diagonal: of two columns of numbers `1 - |r_synthetic - r_real| / 2`, r Pearson's
    correlation over the rows that have both; of others `1 - 1/2 sum |p_synthetic - p_real|` over the cells of their
    contingency table, numbers in ten bins of equal width over the real range, gaps as a level of their own. NaN where a
    correlation is not defined.

    `CorrelationSimilarity` and `ContingencySimilarity` of SDMetrics, whose mean over pairs is its "column pair
    trends".
    """
    d = len(real.names)
    found, edges = np.full((d, d), np.nan), [_edges(real.values[:, i]) for i in range(d)]
    a, b = (np.stack([_binned(t, i, edges[i]) for i in range(d)], 1) for t in (synthetic, real))
    sizes = 1 + np.maximum(a.max(0), b.max(0))
    r_a, r_b = _correlations(synthetic), _correlations(real)
    for i in range(d):
        for j in range(i):
            if real.levels[i] is None and real.levels[j] is None:
                like = 1 - abs(r_a[i, j] - r_b[i, j]) / 2
            else:
                cells = (t[:, i] * sizes[j] + t[:, j] for t in (a, b))
                like = 1 - total_variation(*(np.bincount(c, minlength=sizes[i] * sizes[j]) for c in cells))
            found[i, j] = found[j, i] = like
    return found


def _edges(values: NDArray) -> NDArray:
    seen = values[~np.isnan(values)]
    return np.histogram_bin_edges(seen, BINS)[1:-1] if len(seen) else np.zeros(0)


def _binned(table: Columns, column: int, edges: NDArray) -> NDArray:
    """(N,): the place of each cell in the contingency table, a gap first."""
    values = table.values[:, column]
    gaps = np.isnan(values)
    known = np.where(gaps, 0.0, values)
    places = np.searchsorted(edges, known, side="right") if table.levels[column] is None else known.astype(np.int64)
    return np.where(gaps, 0, 1 + places)


def _correlations(table: Columns) -> NDArray:
    """(D, D) of the columns of numbers, each pair over the rows that have both; NaN for others."""
    numbers = np.flatnonzero(~table.is_level)
    found, x = np.full((len(table.names),) * 2, np.nan), table.values[:, numbers]
    if not len(numbers):
        return found
    seen = (~np.isnan(x)).astype(np.float64)
    x = np.nan_to_num(x - np.nan_to_num(_nanmean(x, seen)))
    n = np.maximum(seen.T @ seen, 1)
    mean, square = (x.T @ seen) / n, ((x * x).T @ seen) / n  # of i over the rows that have j, too
    spread = np.sqrt(np.maximum(square - mean**2, 0))
    with np.errstate(divide="ignore", invalid="ignore"):
        r = ((x.T @ x) / n - mean * mean.T) / (spread * spread.T)
    found[np.ix_(numbers, numbers)] = np.where(np.isfinite(r), r.clip(-1, 1), np.nan)
    return found


def _nanmean(x: NDArray, seen: NDArray) -> NDArray:
    return np.where(seen > 0, x, 0.0).sum(0) / np.maximum(seen.sum(0), 1)


def missing_rates(synthetic: Columns, real: Columns) -> NDArray:
    """(D,): one less the difference of the shares of missing cells, `MissingValueSimilarity` of SDMetrics."""
    return 1 - np.abs(np.isnan(synthetic.values).mean(0) - np.isnan(real.values).mean(0))


def spread(score: Callable[[Columns, Columns], float], a: Columns, b: Columns, seed: int, times: int = 20) -> float:
    """The standard error of a score of two tables, by the bootstrap over the rows of both (Efron 1979)."""
    generator = np.random.default_rng(seed)
    found = [score(*(t[generator.integers(len(t), size=len(t))] for t in (a, b))) for _ in range(times)]
    return float(np.std(found, ddof=1))
