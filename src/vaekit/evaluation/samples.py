"""How far samples are from data: scores of plain arrays, of rows or of features of rows.

Every score compares made rows (M, D) with real ones (N, D). What it comes to between two real sets, the floor, belongs
beside it: `judge` gives both. None of them says whether training rows were copied; `nearest` shows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from ..core import LocalDraws, public
from ..data.arrays import unmasked
from .disentanglement import linear_probabilities
from .forest import Forest
from .metric import Metric, plain

PAIRS = 2**24
"""Distances that are held at a time."""
COLUMNS = 64
"""Columns that trees read."""
FEW = 1000
"""Rows of each kind that a judgement's classifier learns from and tells."""


def _rows(x: ArrayLike, name: str) -> Tensor:
    """(N, D) in fp32. Raises ValueError for anything else."""
    array = unmasked(x)
    array = array.reshape(len(array), -1) if array.ndim > 1 else array
    if array.ndim != 2 or len(array) < 2:
        raise ValueError(f"expected at least two rows as {name}, (N, ...), got an array of shape {np.shape(x)}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} has values that are not finite: leave those rows out")
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))


def _both(made: ArrayLike, real: ArrayLike) -> tuple[Tensor, Tensor]:
    a, b = _rows(made, "made"), _rows(real, "real")
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"made rows have {a.shape[1]} numbers, real ones {b.shape[1]}: bring both to one form")
    return a, b


def distances(a: Tensor, b: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Euclidean distances of some rows of a at a time from all of b."""
    size = max(1, PAIRS // len(b))
    for start in range(0, len(a), size):
        yield slice(start, start + size), torch.cdist(a[start : start + size], b)


def _radii(x: Tensor, k: int) -> Tensor:
    """(N,): from each row to its k-th neighbour, itself not counted."""
    if not 1 <= k < len(x):
        raise ValueError(f"k={k} neighbours among {len(x)} rows: expected at least 1 and fewer than there are rows")
    return torch.cat([d.kthvalue(k + 1, 1).values for _, d in distances(x, x)])


@dataclass(frozen=True)
class Neighbourhoods:
    """precision: the share of made rows within a real row's neighbourhood. recall: of real rows within a made row's.
    density: how many real neighbourhoods a made row lies in, over k: 1 is as dense as the data. coverage: the share of
    real rows with a made row in their neighbourhood."""

    precision: float
    recall: float
    density: float
    coverage: float


@public
def neighbourhoods(made: ArrayLike, real: ArrayLike, k: int = 5) -> Neighbourhoods:
    """Precision and recall (Kynkäänniemi et al. 2019, arXiv:1904.06991), density and coverage (Naeem et al. 2020,
    arXiv:2002.09797). A row's neighbourhood is the ball up to its k-th nearest row of its own kind."""
    a, b = _both(made, real)
    own, others = _radii(b, k), _radii(a, k)
    precise, inside, recalled, covered = [], 0, [], torch.zeros(len(b), dtype=torch.bool)
    for _, d in distances(a, b):
        within = d <= own
        precise.append(within.any(1))
        inside += int(within.sum())
        covered |= within.any(0)
    for _, d in distances(b, a):
        recalled.append((d <= others).any(1))
    share = [float(torch.cat(t).double().mean()) for t in (precise, recalled)]
    return Neighbourhoods(share[0], share[1], inside / (k * len(a)), float(covered.double().mean()))


@public
def kernel_distance(
    made: ArrayLike, real: ArrayLike, blocks: int = 50, size: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """The squared MMD by the kernel `(x y / D + 1)^3`, unbiased, and its standard error over blocks of `size` rows
    each.

    Bińkowski et al. 2018, arXiv:1801.01401, whose figure is of a certain network's features; here rows are taken as
    they are. Near 0 between samples of one distribution; it may be negative.
    """
    a, b = (t.double() for t in _both(made, real))
    size, generator = min(size, len(a), len(b)), np.random.default_rng(seed)
    found = []
    for _ in range(blocks):
        u, v = (t[torch.from_numpy(generator.permutation(len(t))[:size])] for t in (a, b))
        kernels = [((p @ q.T) / a.shape[1] + 1) ** 3 for p, q in ((u, u), (v, v), (u, v))]
        within = sum((m.sum() - m.diagonal().sum()) / (size * (size - 1)) for m in kernels[:2])
        found.append(float(within - 2 * kernels[2].mean()))
    return float(np.mean(found)), float(np.std(found, ddof=1) / math.sqrt(blocks)) if blocks > 1 else math.nan


@public
def frechet_distance(made: ArrayLike, real: ArrayLike) -> float:
    """`|m_a - m_b|^2 + tr(S_a + S_b - 2 (S_a S_b)^1/2)`, of the two sets' means and covariances.

    Dowson & Landau 1982. Of the numbers given: it is no "FID", which is of a certain network's features. It is biased
    upwards by few rows: compare sets of equal size.
    """
    a, b = (t.double() for t in _both(made, real))
    s_a, s_b = torch.cov(a.T).reshape(a.shape[1], -1), torch.cov(b.T).reshape(a.shape[1], -1)
    values, vectors = torch.linalg.eigh(s_a)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    cross = torch.linalg.eigvalsh(root @ s_b @ root).clamp(min=0).sqrt().sum()
    shift = (a.mean(0) - b.mean(0)).square().sum()
    return max(0.0, float(shift + s_a.trace() + s_b.trace() - 2 * cross))


@public
def classifier_test(made: ArrayLike, real: ArrayLike, folds: int = 5, seed: int = 0) -> float:
    """How often a classifier tells made from real rows, by cross-validation: .5 where nothing tells them apart.

    Lopez-Paz & Oquab 2017, arXiv:1610.06545; the better of trees, which read 64 principal components of wider rows, and
    a linear classifier. Of the larger set as many rows are taken as the smaller has.
    """
    a, b = (t.numpy() for t in _both(made, real))
    generator = np.random.default_rng(seed)
    n = min(len(a), len(b))
    if n < folds:
        raise ValueError(f"{n} rows for {folds} folds: expected at least a row of each kind for each fold")
    x = np.concatenate([t[generator.permutation(len(t))[:n]] for t in (a, b)])
    y, fold = np.repeat([0, 1], n), np.tile(generator.permutation(n) % folds, 2)
    right, narrow = np.zeros(2), _principal(x, seed)
    for f in range(folds):
        train, test = fold != f, fold == f
        told = [
            Forest(trees=20, seed=seed).fit(narrow[train], y[train]).predict(narrow[test]),
            linear_probabilities(x[train].astype(np.float64), y[train], x[test].astype(np.float64)).argmax(1),
        ]
        right += [(t == y[test]).sum() for t in told]
    return float(right.max() / (2 * n))


def _principal(x: NDArray, seed: int) -> NDArray:
    """(N, D) -> (N, at most 64): the first principal components, where there are more columns than that."""
    if x.shape[1] <= COLUMNS:
        return x
    with LocalDraws(seed):
        rows = torch.from_numpy(x - x.mean(0))
        return (rows @ torch.pca_lowrank(rows, q=min(COLUMNS, len(x)), center=False)[2]).numpy()


@public
def nearest(made: ArrayLike, training: ArrayLike) -> tuple[NDArray, NDArray]:
    """For each made row the training row nearest to it: which one it is, and how far (M,), (M,)."""
    a, b = _both(made, training)
    found = [d.min(1) for _, d in distances(a, b)]
    return torch.cat([m.indices for m in found]).numpy(), torch.cat([m.values for m in found]).numpy()


@public
def copied(made: ArrayLike, training: ArrayLike, test: ArrayLike) -> float:
    """The share of made rows that are closer to a training row than all but 1% of test rows are: .01 where nothing was
    copied, 1 where training rows were given back."""
    limit = np.quantile(nearest(test, training)[1], 0.01)
    return float((nearest(made, training)[1] <= limit).mean())


# -- all of them -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Features:
    """What rows are compared by: `of`, (N, ...) -> (N, F), and the name that figures by it bear.

    Figures by different features do not compare, nor do those of different weights of one network.
    """

    name: str
    of: Callable[[ArrayLike], ArrayLike]


@dataclass(frozen=True, repr=False)
class Judgement:
    """Scores of made rows against test rows, and the floor: of as many training rows against the same. Shows itself as
    a table; `to_dict` for machines. by: what rows were compared by. rows: made, test.
    """

    samples: dict[str, Metric]
    floor: dict[str, Metric]
    by: str
    rows: tuple[int, int]

    def to_dict(self) -> dict[str, object]:
        made, test = self.rows
        return {
            "compared_by": self.by,
            "rows": {"made": made, "test": test},
            "samples": plain(self.samples),
            "floor": plain(self.floor),
        }

    def __str__(self) -> str:
        made, test = self.rows
        lines = [f"{made:,} samples, and as many training rows as the floor, against {test:,} test rows, by {self.by}"]
        lines.append(f"  {'':<16}  {'samples':>18}  {'floor':>18}")
        for name, figure in self.samples.items():
            shown = (f"{f.value:.4f}" + (f" ± {f.error:.4f}" if f.error else "") for f in (figure, self.floor[name]))
            lines.append(f"  {name:<16}  {'  '.join(f'{text:>18}' for text in shown)}  {figure.meaning}")
        return "\n".join(lines)

    __repr__ = __str__


@public
def judge(
    made: ArrayLike,
    test: ArrayLike,
    training: ArrayLike,
    k: int = 5,
    seed: int = 0,
    features: Features | None = None,
) -> Judgement:
    """Every score of made rows against test rows, beside the floor: as many training rows against the same.

    features: what rows are compared by; None: as they are. Copies are looked for among the rows as they are, always.
    """
    generator = np.random.default_rng(seed)
    made, test, training = (unmasked(t) for t in (made, test, training))
    real = training[generator.permutation(len(training))[: len(made)]]
    by = features or Features("the rows as they are", lambda rows: rows)
    of_test = by.of(test)
    some = test[generator.permutation(len(test))[: len(made)]]
    share = copied(made, training, some)
    error = math.sqrt(share * (1 - share) / len(made))
    given_back = Metric(share, error, "", "closer to a training row than all but 1% of test rows are")
    return Judgement(
        {**_scores(by.of(made), of_test, by.name, k, seed), "copied": given_back},
        {**_scores(by.of(real), of_test, by.name, k, seed), "copied": replace(given_back, value=0.01, error=None)},
        by.name,
        (len(made), len(test)),
    )


def _scores(made: ArrayLike, real: ArrayLike, by: str, k: int, seed: int) -> dict[str, Metric]:
    near = neighbourhoods(made, real, k)
    few = np.asarray(made)[:FEW]  # as many of the real ones are drawn: those that come first may be of a kind
    told = classifier_test(few, real, seed=seed)
    error = math.sqrt(told * (1 - told) / (2 * min(len(few), len(np.asarray(real)))))
    return {
        "precision": Metric(near.precision, None, "", "made rows that lie among real ones"),
        "recall": Metric(near.recall, None, "", "real rows that lie among made ones"),
        "density": Metric(near.density, None, "", "real neighbourhoods that a made row lies in, of those expected"),
        "coverage": Metric(near.coverage, None, "", "real rows with a made row nearby"),
        "kernel_distance": Metric(*kernel_distance(made, real, seed=seed), "", f"squared MMD on {by}"),
        "frechet_distance": Metric(frechet_distance(made, real), None, "", f"Fréchet distance on {by}"),
        "classifier_test": Metric(told, error, "", "accuracy of a classifier that tells made from real; .5 is best"),
    }
