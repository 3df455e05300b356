"""Classification trees on a few hundred levels per column, for the scores that read importances off them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.typing import NDArray

LEVELS = 256
"""Cells that a column is cut into, at its quantiles; a column of fewer values keeps them all."""


@dataclass
class Node:
    """A leaf says its classes' shares; a split sends rows whose level is at most `level` to the left."""

    shares: NDArray
    column: int = -1
    level: int = -1
    children: list[Node] = field(default_factory=list)


class Forest:
    """Trees on bootstrapped rows, by the Gini impurity (Breiman 2001), every column tried at every split.

    importance: (D,), the impurity that the splits on each column take away, as a share of what all splits do; zeros
    where nothing was split. Among columns that do equally well chance decides, so that twins share their importance.
    """

    def __init__(self, trees: int = 10, depth: int = 12, leaf: int = 5, seed: int = 0):
        self.trees, self.depth, self.leaf, self.seed = trees, depth, leaf, seed

    def fit(self, x: NDArray, y: NDArray) -> Self:
        """x: (N, D) numbers; y: (N,) classes 0..K-1."""
        self.edges = [_edges(column) for column in x.T]
        self.classes = int(y.max()) + 1
        self.gains = np.zeros(x.shape[1])
        levels, self._generator = self._levels(x), np.random.default_rng(self.seed)
        self.roots = []
        for _ in range(self.trees):
            drawn = self._generator.integers(len(x), size=len(x))
            self.roots.append(self._grow(levels[drawn], y[drawn], self.depth))
        total = self.gains.sum()
        self.importance = self.gains / total if total > 0 else self.gains
        return self

    def predict(self, x: NDArray) -> NDArray:
        """(N,): the class of the largest mean share over the trees."""
        levels, shares = self._levels(x), np.zeros((len(x), self.classes))
        for root in self.roots:
            _spread(root, levels, np.arange(len(x)), shares)
        return shares.argmax(1)

    def _levels(self, x: NDArray) -> NDArray:
        return np.stack([np.searchsorted(e, column, side="left") for e, column in zip(self.edges, x.T)], 1)

    def _grow(self, levels: NDArray, y: NDArray, depth: int) -> Node:
        counts = np.bincount(y, minlength=self.classes)
        node = Node(counts / len(y))
        if depth == 0 or counts.max() == len(y) or len(y) < 2 * self.leaf:
            return node
        gain, node.column, node.level = self._best(levels, y, counts)
        if node.column < 0:
            return node
        self.gains[node.column] += gain
        left = levels[:, node.column] <= node.level
        node.children = [self._grow(levels[side], y[side], depth - 1) for side in (left, ~left)]
        return node

    def _best(self, levels: NDArray, y: NDArray, counts: NDArray) -> tuple[float, int, int]:
        """The largest decrease of `n * Gini`, the column and the level of its split; column -1: none."""
        best, columns = (1e-9, -1, -1), levels.shape[1]
        cells = np.arange(columns) * LEVELS + levels  # those of one column after those of another
        table = np.bincount((cells * self.classes + y[:, None]).ravel(), minlength=columns * LEVELS * self.classes)
        below = table.reshape(columns, LEVELS, self.classes).cumsum(1)
        n = below.sum(2)
        fits = (n >= self.leaf) & (len(y) - n >= self.leaf)
        sides = np.square(below).sum(2) / np.maximum(n, 1)
        sides = sides + np.square(counts - below).sum(2) / np.maximum(len(y) - n, 1)
        gains = np.where(fits, sides - np.square(counts).sum() / len(y), 0.0)
        places = gains.argmax(1)
        for column in self._generator.permutation(columns):
            gain = float(gains[column, places[column]])
            if gain > best[0] * (1 + 1e-9):
                best = (gain, int(column), int(places[column]))
        return best


def _edges(column: NDArray) -> NDArray:
    """Between neighbouring levels: the middle of neighbouring values, or quantiles."""
    values = np.unique(column)
    if len(values) <= LEVELS:
        return (values[1:] + values[:-1]) / 2
    return np.unique(np.quantile(column, np.arange(1, LEVELS) / LEVELS))


def _spread(node: Node, levels: NDArray, rows: NDArray, shares: NDArray) -> None:
    """Adds the shares of each row's leaf."""
    if not node.children:
        shares[rows] += node.shares
        return
    left = levels[rows, node.column] <= node.level
    for child, side in zip(node.children, (left, ~left)):
        _spread(child, levels, rows[side], shares)
