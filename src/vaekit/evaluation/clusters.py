"""Clusters of codes, and how far they are the classes of labels, on plain arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from ..core import public
from .metric import Metric
from .samples import distances

ROUNDS = 300
"""Of k-means, at most."""


def as_codes(codes: ArrayLike, name: str = "codes") -> NDArray:
    """(N, D) in fp64. Raises ValueError for anything else."""
    z = np.asarray(codes, dtype=np.float64)
    z = z.reshape(len(z), -1) if z.ndim > 1 else z
    if z.ndim != 2 or len(z) < 2:
        raise ValueError(f"expected {name} (N, D) of at least two rows, got shape {z.shape}: give a row to each datum")
    if not np.isfinite(z).all():
        raise ValueError(f"{name} has values that are not finite: leave those rows out")
    return z


@dataclass(frozen=True)
class Clusters:
    """labels: (N,), 0..K-1. centres: (K, D). inertia: the sum of squared distances of rows from their centres."""

    labels: NDArray
    centres: NDArray
    inertia: float


@public
def kmeans(codes: ArrayLike, clusters: int, starts: int = 10, seed: int = 0) -> Clusters:
    """The clustering of least inertia among `starts` of k-means, each begun by k-means++.

    Lloyd 1982; Arthur & Vassilvitskii 2007. Each goes on until no row changes its cluster. A cluster that loses all its
    rows stays where it was. Raises ValueError for more clusters than rows.
    """
    z, generator = torch.from_numpy(as_codes(codes)), np.random.default_rng(seed)
    if not 1 <= clusters <= len(z) or starts < 1:
        raise ValueError(
            f"{clusters} clusters of {len(z)} rows, {starts} starts: expected at least 1, and rows for all"
        )
    return min((_lloyd(z, clusters, generator) for _ in range(starts)), key=lambda found: found.inertia)


def _lloyd(z: Tensor, clusters: int, generator: np.random.Generator) -> Clusters:
    centres = z[[int(generator.integers(len(z)))]]
    distance = (z - centres[0]).square().sum(1)
    for _ in range(clusters - 1):
        shares = distance.numpy() + 1e-300
        row = int(generator.choice(len(z), p=shares / shares.sum()))
        centres = torch.cat([centres, z[[row]]])
        distance = torch.minimum(distance, (z - z[row]).square().sum(1))
    labels = torch.full((len(z),), -1)
    for _ in range(ROUNDS):
        nearest = torch.cat([d.argmin(1) for _, d in distances(z, centres)])
        if torch.equal(nearest, labels):
            break
        labels = nearest
        counts = torch.bincount(labels, minlength=clusters).unsqueeze(1)
        sums = torch.zeros_like(centres).index_add(0, labels, z)
        centres = torch.where(counts > 0, sums / counts.clamp(min=1), centres)
    return Clusters(labels.numpy(), centres.numpy(), float((z - centres[labels]).square().sum()))


def contingency(clusters: ArrayLike, labels: ArrayLike) -> NDArray:
    """(clusters, classes): how many rows of each cluster are of each class, both in ascending order."""
    a, b = np.asarray(clusters), np.asarray(labels)
    if a.ndim != 1 or a.shape != b.shape or not len(a):
        raise ValueError(f"expected clusters (N,) and labels (N,) of the same rows, got {a.shape} and {b.shape}")
    (rows, i), (columns, j) = (np.unique(t, return_inverse=True) for t in (a, b))
    return np.bincount(i * len(columns) + j, minlength=len(rows) * len(columns)).reshape(len(rows), len(columns))


@public
def best_assignment(worth: ArrayLike) -> tuple[NDArray, NDArray]:
    """Rows and columns, one of each to a pair, whose sum of `worth` (R, C) is the largest: min(R, C) pairs.

    Kuhn 1955, by shortest augmenting paths (Jonker & Volgenant 1987), in O(min(R, C)^2 max(R, C)).
    """
    table = np.asarray(worth, dtype=np.float64)
    if table.ndim != 2 or not table.size or not np.isfinite(table).all():
        raise ValueError(f"expected a table (R, C) of finite numbers, got shape {table.shape}")
    if len(table) > table.shape[1]:
        columns, rows = best_assignment(table.T)
        order = rows.argsort()
        return rows[order], columns[order]
    row_of, column_of = np.full(table.shape[1], -1), np.full(len(table), -1)
    prices = np.zeros(len(table)), np.zeros(table.shape[1])
    for row in range(len(table)):
        column, before = _shortest_path(-table, row, row_of, column_of, prices)
        while column >= 0:  # back along the path, each row takes the column that it was left by
            at = row_of[column] = before[column]
            column, column_of[at] = column_of[at], column
            if at == row:
                break
    return np.arange(len(table)), column_of


def _shortest_path(
    cost: NDArray, row: int, row_of: NDArray, column_of: NDArray, prices: tuple[NDArray, NDArray]
) -> tuple[int, NDArray]:
    """The free column at the end of the cheapest chain of exchanges that begins with `row`, and the row that each
    column is reached from. The prices of rows and columns are kept such that none pays more than its pair costs."""
    of_row, of_column = prices
    shortest, before = np.full(len(row_of), np.inf), np.full(len(row_of), -1)
    reached, at, paid, column = np.zeros(len(row_of), dtype=bool), row, 0.0, -1
    while at >= 0:
        through = paid + cost[at] - of_row[at] - of_column
        shorter = ~reached & (through < shortest)
        shortest[shorter], before[shorter] = through[shorter], at
        column = int(np.where(reached, np.inf, shortest).argmin())
        paid, reached[column], at = shortest[column], True, row_of[column]
    of_row[row] += paid
    passed = np.flatnonzero(reached & (row_of >= 0))
    of_row[row_of[passed]] += paid - shortest[passed]
    of_column[reached] -= paid - shortest[reached]
    return column, before


@public
def cluster_accuracy(clusters: ArrayLike, labels: ArrayLike) -> Metric:
    """The share of rows whose cluster is that of their class under the best one-to-one assignment of clusters to
    classes (Yang et al. 2010). Rows of clusters that are left over count as wrong."""
    table = contingency(clusters, labels)
    index = np.unique(np.asarray(labels), return_inverse=True)[1]
    rows, columns = best_assignment(table)
    class_of = np.full(len(table), -1)
    class_of[rows] = columns
    told = class_of[np.unique(np.asarray(clusters), return_inverse=True)[1]]
    return Metric.mean(torch.from_numpy(told == index), "", "accuracy of clusters under the best assignment to classes")


@public
def normalised_mutual_information(clusters: ArrayLike, labels: ArrayLike) -> float:
    """`2 I(c; y) / (H(c) + H(y))`, in [0, 1]; 1 where both are of one class only (Strehl & Ghosh 2002)."""
    joint = contingency(clusters, labels) / len(np.asarray(labels))

    def entropy(p: NDArray) -> float:
        return float(-(p[p > 0] * np.log(p[p > 0])).sum())

    h_c, h_y = entropy(joint.sum(1)), entropy(joint.sum(0))
    return max(0.0, 2 * (h_c + h_y - entropy(joint)) / (h_c + h_y)) if h_c + h_y > 0 else 1.0


@public
def adjusted_rand_index(clusters: ArrayLike, labels: ArrayLike) -> float:
    """The share of pairs of rows on which both agree, corrected so that chance is 0 and agreement 1.

    Hubert & Arabie 1985: `(S - E) / ((A + B) / 2 - E)`, E = A B / pairs, of the pairs together in both (S), in clusters
    (A), in classes (B).
    """
    table = contingency(clusters, labels)

    def pairs(counts: NDArray) -> float:
        return float((counts * (counts - 1) / 2).sum())

    both, a, b, all_pairs = pairs(table), pairs(table.sum(1)), pairs(table.sum(0)), pairs(table.sum(keepdims=True))
    expected = a * b / max(all_pairs, 1.0)
    return (both - expected) / ((a + b) / 2 - expected) if (a + b) / 2 != expected else 1.0
