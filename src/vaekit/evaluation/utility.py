"""What classifiers and regressors make of synthetic rows: whether they tell them from real ones, and what they learn
of them. scikit-learn fits them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core import importing, without_warnings
from .columns import Columns
from .detection import roc_auc
from .metric import Metric

FOLDS = 5
MOST = 20_000
"""Rows of each kind that a two-sample test learns from and tells, and that a target is learned from."""
LEVELS = 255
"""Levels up to which trees read a column as a set of these."""
RESAMPLED = 200
"""Resamples of the test rows behind a standard error."""


def needs_sklearn() -> None:
    """Raises ImportError where scikit-learn is not installed."""
    try:
        with importing():
            import sklearn.compose
            import sklearn.ensemble
            import sklearn.linear_model  # noqa: F401
    except ImportError as error:
        raise ImportError('judging by classifiers needs scikit-learn: pip install "vaekit[sklearn]"') from error


@contextmanager
def _quiet() -> Iterator[None]:
    from sklearn.exceptions import ConvergenceWarning

    with without_warnings(category=ConvergenceWarning):
        yield


def _boosting(table: Columns, regression: bool, seed: int) -> Any:
    """Gradient-boosted histograms, which know levels and gaps."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    few = [own is not None and len(own) <= LEVELS for own in table.levels]
    kind = HistGradientBoostingRegressor if regression else HistGradientBoostingClassifier
    return kind(categorical_features=few if any(few) else None, random_state=seed)


def _linear(table: Columns, regression: bool, seed: int) -> Any:
    """Logistic or ridge regression on standardised numbers, levels one-hot, and which cells are missing."""
    from sklearn.compose import make_column_transformer
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.pipeline import make_pipeline

    last = Ridge() if regression else LogisticRegression(max_iter=500, random_state=seed)
    return make_pipeline(_prepared(table, make_column_transformer), last)


def _prepared(table: Columns, make: Callable[..., Any]) -> Any:
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    levels = np.flatnonzero(table.is_level)
    numbers = np.flatnonzero(~table.is_level)
    filled = SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True)
    parts = [(make_pipeline(filled, StandardScaler()), numbers)] if len(numbers) else []
    parts += [(OneHotEncoder(handle_unknown="ignore"), levels)] if len(levels) else []
    return make(*parts)


def _forest(table: Columns, regression: bool, seed: int) -> Any:
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

    return (RandomForestRegressor if regression else RandomForestClassifier)(random_state=seed)


class _Learner:
    """A model of scikit-learn, to which a column without a single value in the rows that it learns from is constant."""

    def __init__(self, model: Any, x: NDArray, y: NDArray):
        self.empty = np.isnan(x).all(0)
        with _quiet():
            self.model = model.fit(self._read(x), y)

    def _read(self, x: NDArray) -> NDArray:
        return np.where(self.empty, 0.0, x)

    def predict(self, x: NDArray) -> NDArray:
        return self.model.predict(self._read(x))

    def probabilities(self, x: NDArray) -> NDArray:
        return self.model.predict_proba(self._read(x))


# -- told apart ------------------------------------------------------------------------------------------


def two_sample_test(synthetic: Columns, real: Columns, seed: int = 0) -> Metric:
    """How well a classifier tells synthetic rows from real ones it has not learned from: the area under the ROC curve,
    by five-fold cross-validation over as many rows of each; .5 where nothing tells them apart, 1 where all does.

    The better of gradient-boosted histograms and logistic regression. Lopez-Paz & Oquab 2017, arXiv:1610.06545, who
    take the accuracy, which is mostly less. Raises ValueError for fewer than five rows of a kind.
    """
    needs_sklearn()
    generator = np.random.default_rng(seed)
    n = min(len(synthetic), len(real), MOST)
    if n < FOLDS:
        raise ValueError(f"{n} rows for {FOLDS} folds: expected at least a row of each kind for each fold")
    a, b = (t[generator.permutation(len(t))[:n]] for t in (synthetic, real))
    x, y = np.concatenate([a.values, b.values]), np.repeat([1, 0], n)
    fold, told = np.concatenate([generator.permutation(n) % FOLDS for _ in range(2)]), []
    for make in (_boosting, _linear):
        scores = np.empty(2 * n)
        for f in range(FOLDS):
            test = fold == f
            fitted = _Learner(make(real, False, seed), x[~test], y[~test])
            # Ranks within the fold: each fold's classifier has a scale of its own.
            scores[test] = _ranked(fitted.probabilities(x[test])[:, 1])
        told.append(roc_auc(scores, y))
    best = max(told, key=lambda f: f.value)
    return Metric(best.value, best.error, "", "ROC-AUC of a classifier that tells synthetic from real rows; .5 is best")


def _ranked(scores: NDArray) -> NDArray:
    _, place, count = np.unique(scores, return_inverse=True, return_counts=True)
    return (count.cumsum() - 0.5 * (count - 1))[place] / len(scores)


# -- learned from ----------------------------------------------------------------------------------------


def learned_target(table: Columns, test: Columns, target: int, seed: int = 0) -> Metric:
    """What can be learned from a table of the column in this place, by real test rows: for levels the area under the
    ROC curve, over classes each against the rest a mean, for numbers R^2; a mean over linear or logistic regression, a
    random forest and gradient-boosted histograms.

    Train on synthetic, test on real (Esteban et al. 2017, arXiv:1706.02633). Its standard error is of the test rows, by
    the bootstrap. Rows without a target are left aside.
    """
    needs_sklearn()
    generator = np.random.default_rng(seed)
    levels, y, y_test = test.levels[target], table.values[:, target], test.values[:, target]
    keep, known = np.flatnonzero(~np.isnan(y)), ~np.isnan(y_test)
    if not len(keep) or not known.any():
        raise ValueError(f"target={table.names[target]!r}: no row has a value of it in one of the tables: leave it out")
    keep = keep[generator.permutation(len(keep))[:MOST]]
    table, test, y, y_test = table.without(target)[keep], test.without(target)[known], y[keep], y_test[known]
    of, told = ("R^2" if levels is None else "ROC-AUC"), _told(table, y, test, levels, seed)
    score = (lambda s, t: _r2(s, t)) if levels is None else _auc
    found = np.mean([score(s, y_test) for s in told])
    again = []
    for _ in range(RESAMPLED):
        rows = generator.integers(len(y_test), size=len(y_test))
        again.append(np.mean([score(s[rows], y_test[rows]) for s in told]))
    error = float(np.nanstd(again, ddof=1))
    return Metric(float(found), error, "", f"{of} on real test rows, mean of three models trained on these")


def _told(table: Columns, y: NDArray, test: Columns, levels: tuple | None, seed: int) -> list[NDArray]:
    """What each model says of the test rows: values (N,), or the probability of each level (N, K)."""
    out = []
    for make in (_linear, _forest, _boosting):
        if levels is None:
            out.append(_Learner(make(table, True, seed), table.values, y).predict(test.values))
            continue
        told, classes = np.zeros((len(test), len(levels))), np.unique(y)
        if len(classes) == 1:  # nothing to learn
            told[:, classes.astype(int)] = 1.0
        else:
            fitted = _Learner(make(table, False, seed), table.values, y)
            told[:, fitted.model.classes_.astype(int)] = fitted.probabilities(test.values)
        out.append(told)
    return out


def _r2(told: NDArray, y: NDArray) -> float:
    spread = np.square(y - y.mean()).sum()
    return float(1 - np.square(y - told).sum() / spread) if spread > 0 else float("nan")


def _auc(told: NDArray, y: NDArray) -> float:
    """Of two levels one area; of more, the mean over those that are met."""
    own = [k for k in range(told.shape[1]) if 0 < (y == k).sum() < len(y)]
    if not own:
        return float("nan")
    return float(np.mean([_area(told[:, k], y == k) for k in (own[-1:] if told.shape[1] == 2 else own)]))


def _area(scores: NDArray, positive: NDArray) -> float:
    ranks = _ranked(scores) * len(scores)
    m = positive.sum()
    return float((ranks[positive].sum() - m * (m + 1) / 2) / (m * (len(scores) - m)))
