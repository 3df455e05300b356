"""What codes are worth to others: probes, and whether a map keeps neighbours, on plain arrays.

Codes are numbers (N, D), such as posterior means; labels (N,) are whole numbers or words. A probe is trained on some
rows and judged on others, so its figure has a standard error over the latter.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from ..core import public
from .clusters import adjusted_rand_index, as_codes, cluster_accuracy, kmeans, normalised_mutual_information
from .disentanglement import linear_probabilities
from .metric import Metric
from .samples import distances


def _labelled(codes: ArrayLike, labels: ArrayLike, name: str = "codes") -> tuple[NDArray, NDArray]:
    """Codes, and labels as they are. Raises ValueError where there is not one class to each row."""
    z, y = as_codes(codes, name), np.asarray(labels)
    if y.shape != (len(z),):
        raise ValueError(f"expected a label for each of {len(z)} rows of {name}, got shape {y.shape}")
    if y.dtype.kind == "f" and (y != np.round(y)).any():
        raise ValueError("labels are classes: probe real values with ridge_probe")
    return z, y


def _train_and_test(
    codes: ArrayLike, labels: ArrayLike, test_codes: ArrayLike, test_labels: ArrayLike
) -> tuple[NDArray, NDArray, NDArray, NDArray]:
    z, y = _labelled(codes, labels)
    z_test, y_test = _labelled(test_codes, test_labels, "test codes")
    _same_width(z, z_test)
    return z, y, z_test, y_test


def _same_width(z: NDArray, z_test: NDArray) -> None:
    if z.shape[1] != z_test.shape[1]:
        raise ValueError(f"codes have {z.shape[1]} numbers, test codes {z_test.shape[1]}: take both from one model")


def _right(told: NDArray, y: NDArray, meaning: str) -> Metric:
    return Metric.mean(torch.from_numpy(told == y), "", meaning)


# -- probes ----------------------------------------------------------------------------------------


@public
def linear_probe(
    codes: ArrayLike, labels: ArrayLike, test_codes: ArrayLike, test_labels: ArrayLike, penalty: float = 1e-3
) -> Metric:
    """The accuracy on test rows of multinomial logistic regression, `log p(y | z) = W z + b - log sum exp`.

    On standardised codes, `mean cross-entropy + penalty |W|^2` at its minimum. The error is over test rows. Raises
    ValueError for labels of one class only.
    """
    z, y, z_test, y_test = _train_and_test(codes, labels, test_codes, test_labels)
    classes = np.unique(y)
    if len(classes) < 2:
        raise ValueError(f"every row is labelled {classes[0]}: give rows of at least two classes")
    told = classes[linear_probabilities(z, y, z_test, penalty).argmax(1)]
    return _right(told, y_test, "accuracy of a linear classifier of the codes")


@public
def neighbour_probe(
    codes: ArrayLike, labels: ArrayLike, test_codes: ArrayLike, test_labels: ArrayLike, k: int = 10
) -> Metric:
    """The accuracy on test rows of the vote of the k nearest training codes; of a tie the first class wins.

    Codes are taken as they are: distances are Euclidean. The error is over test rows.
    """
    z, y, z_test, y_test = _train_and_test(codes, labels, test_codes, test_labels)
    if not 1 <= k <= len(z):
        raise ValueError(f"k={k} neighbours among {len(z)} rows: expected at least 1 and no more than there are rows")
    classes, index = np.unique(y, return_inverse=True)
    voters = torch.from_numpy(index)
    told = []
    for _, away in distances(torch.from_numpy(z_test), torch.from_numpy(z)):
        votes = torch.nn.functional.one_hot(voters[away.topk(k, 1, largest=False).indices], len(classes))
        told.append(votes.sum(1).argmax(1))
    return _right(classes[torch.cat(told).numpy()], y_test, f"accuracy of the vote of the {k} nearest training codes")


@public
def ridge_probe(
    codes: ArrayLike, values: ArrayLike, test_codes: ArrayLike, test_values: ArrayLike, penalty: float = 1e-3
) -> Metric:
    """`R^2 = 1 - sum (v - v')^2 / sum (v - mean v)^2` on test rows, of ridge regression of values (N,) or (N, F).

    On standardised codes, `mean |v - W z - b|^2 + penalty |W|^2` at its minimum; of several values, the mean of their
    R^2. The error is that of a ratio of means over test rows, to first order. Raises ValueError for values that do not
    vary.
    """
    z, z_test = as_codes(codes), as_codes(test_codes, "test codes")
    _same_width(z, z_test)
    v, v_test = (np.asarray(t, dtype=np.float64) for t in (values, test_values))
    v, v_test = (t[:, None] if t.ndim == 1 else t for t in (v, v_test))
    if len(v) != len(z) or len(v_test) != len(z_test) or v.ndim != 2 or v.shape[1:] != v_test.shape[1:]:
        raise ValueError(f"expected values (N,) or (N, F) beside codes, got {v.shape} and, for test, {v_test.shape}")
    spread = np.square(v_test - v_test.mean(0))
    if not (np.isfinite(v).all() and np.isfinite(v_test).all() and (spread.mean(0) > 0).all()):
        raise ValueError("values are not finite, or do not vary among the test rows: leave those rows or columns out")
    mean, scale = z.mean(0), np.maximum(z.std(0), 1e-12)
    features, new = (z - mean) / scale, (z_test - mean) / scale
    gram = features.T @ features / len(z) + penalty * np.eye(z.shape[1])
    weight = np.linalg.solve(gram, features.T @ (v - v.mean(0)) / len(z))
    lost = np.square(v_test - v.mean(0) - new @ weight)
    share = lost.mean(0) / spread.mean(0)
    influence = ((lost - share * spread) / spread.mean(0)).mean(1)
    error = float(influence.std(ddof=1) / np.sqrt(len(influence)))
    return Metric(float(1 - share.mean()), error, "", "R^2 of a linear regression on the codes")


# -- maps ------------------------------------------------------------------------------------------


@public
def trustworthiness(x: ArrayLike, points: ArrayLike, k: int = 5) -> float:
    """Whether neighbours on a map (N, 2) are neighbours in the data (N, ...): in [0, 1], 1 where all are.

    Venna & Kaski 2001: `1 - 2 / (N k (2N - 3k - 1)) sum_i sum_j max(0, r(i, j) - k)`, over the k nearest j of i on the
    map, r the rank of j among i's neighbours in the data, from 1.
    """
    high, low = torch.from_numpy(as_codes(x, "x")), torch.from_numpy(as_codes(points, "points"))
    n = len(high)
    if len(low) != n:
        raise ValueError(f"x has {n} rows, the map {len(low)} points: give a point to each row")
    if not 1 <= k < n / 2:
        raise ValueError(f"k={k} neighbours among {n} rows: expected at least 1 and fewer than half of them")
    missed = 0
    for rows, far in distances(high, high):
        own = torch.arange(rows.start, rows.start + len(far)).unsqueeze(1)
        near = torch.cdist(low[rows], low)
        far.scatter_(1, own, -1.0), near.scatter_(1, own, torch.inf)
        ranks = far.argsort(dim=1, stable=True).argsort(dim=1)  # the row itself has rank 0
        closest = near.topk(k, 1, largest=False).indices
        missed += int((ranks.gather(1, closest) - k).clamp(min=0).sum())
    return 1 - 2 / (n * k * (2 * n - 3 * k - 1)) * missed


@public
def continuity(x: ArrayLike, points: ArrayLike, k: int = 5) -> float:
    """Whether neighbours in the data are neighbours on the map: `trustworthiness` the other way round."""
    return trustworthiness(points, x, k)


@public
def map_figures(x: ArrayLike, points: ArrayLike, k: int = 5, most: int = 2000) -> dict[str, Metric]:
    """Both of these, of the first `most` rows (N, ...) and their places on a map (N, 2), by name."""
    x, points = np.asarray(x)[:most], np.asarray(points)[:most]
    among = f"of {k} among {len(x):,} rows"
    kept = {
        "trustworthiness": (trustworthiness(x, points, k), f"neighbours on the map are so in the data, {among}"),
        "continuity": (continuity(x, points, k), f"neighbours in the data are so on the map, {among}"),
    }
    return {name: Metric(value, None, "", meaning) for name, (value, meaning) in kept.items()}


def _apart(rows: object, k: int = 5) -> bool:
    """Whether rows have distances from one another, and more than 2 k of them."""
    if not isinstance(rows, (np.ndarray, torch.Tensor)) or len(rows) <= 2 * k:
        return False
    rows = np.asarray(rows)
    return rows.dtype.kind in "biuf" and bool(np.isfinite(rows).all())


@public
def representation(
    codes: ArrayLike,
    labels: ArrayLike,
    test_codes: ArrayLike,
    test_labels: ArrayLike,
    seed: int = 0,
    *,
    test: ArrayLike | None = None,
) -> dict[str, Metric]:
    """Every figure of codes with labels, by name: the two probes, trained on `codes`, and k-means of the test codes
    into as many clusters as there are classes.

    test: the rows of the test codes; with them `map_figures` of codes of two numbers, where the rows are an array
    whose distances mean something: of numbers, without gaps.
    """
    z_test, y_test = _labelled(test_codes, test_labels, "test codes")
    found = kmeans(z_test, len(np.unique(y_test)), seed=seed).labels
    shared, ari = normalised_mutual_information(found, y_test), adjusted_rand_index(found, y_test)
    kept = map_figures(test, z_test) if z_test.shape[1] == 2 and _apart(test) else {}
    return {
        "linear_probe": linear_probe(codes, labels, test_codes, test_labels),
        "neighbour_probe": neighbour_probe(codes, labels, test_codes, test_labels),
        "cluster_accuracy": cluster_accuracy(found, y_test),
        "cluster_information": Metric(shared, None, "", "normalised mutual information of clusters and classes"),
        "cluster_rand": Metric(ari, None, "", "adjusted Rand index of clusters and classes, 0 at chance"),
        **kept,
    }
