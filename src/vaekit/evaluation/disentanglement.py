"""How well single codes stand for single factors of the data: scores of plain arrays.

Every score reads codes (N, D), numbers such as posterior means, and factors (N, F), whole numbers, what is known to
have made the rows. All lie in [0, 1], higher is better, and a seed decides what is random in them. The scores
disagree with one another (Locatello et al. 2019, arXiv:1811.12359): give several, over several seeds of training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from ..core import importing, public
from .forest import Forest

BINS = 20
FEW = 64
"""Distinct values up to which a code is taken for discrete and kept as it is."""


def _arrays(codes: ArrayLike, factors: ArrayLike) -> tuple[NDArray, NDArray]:
    """Codes as fp64, and factors as classes 0..K-1 each. Raises ValueError for arrays that are no such table."""
    z, v = np.asarray(codes, dtype=np.float64), np.asarray(factors)
    if z.ndim != 2 or v.ndim != 2 or len(z) != len(v) or len(z) < 2:
        raise ValueError(
            f"expected codes (N, D) and factors (N, F) of the same N rows, got {z.shape} and {v.shape}: give a row to "
            "each datum, and a column to each code or factor"
        )
    if not np.isfinite(z).all():
        raise ValueError("the codes have values that are not finite: leave those rows out")
    if not (np.issubdtype(v.dtype, np.integer) or v.dtype == bool or (v == np.round(v)).all()):
        raise ValueError("factors are whole numbers, one per level: bin real ones first, np.digitize(v, edges)")
    return z, np.stack([np.unique(column, return_inverse=True)[1] for column in v.T], 1)


def _halves(n: int, seed: int) -> tuple[NDArray, NDArray]:
    """Two halves of the rows, by chance."""
    order = np.random.default_rng(seed).permutation(n)
    return order[: n // 2], order[n // 2 :]


def _cells(column: NDArray, bins: int = BINS) -> NDArray:
    """Which of `bins` equal cells of its range each number lies in; where values are few, which of them it is."""
    values, index = np.unique(column, return_inverse=True)
    if len(values) <= FEW:
        return index
    low, high = column.min(), column.max()
    return np.minimum(((column - low) / max(high - low, 1e-300) * bins).astype(int), bins - 1)


def entropy(classes: NDArray) -> float:
    """Nats, of the shares of the classes."""
    shares = np.bincount(classes) / len(classes)
    return float(-(shares[shares > 0] * np.log(shares[shares > 0])).sum())


@public
def mutual_information(codes: ArrayLike, factors: ArrayLike, bins: int = BINS) -> NDArray:
    """(D, F), nats: of each code, cut into `bins` equal cells, with each factor, from their joint frequencies.

    A code of at most 64 distinct values is not cut.
    """
    z, v = _arrays(codes, factors)
    cut = [_cells(column, bins) for column in z.T]
    classes = v.max(0) + 1
    return np.array(
        [[entropy(c) + entropy(f) - entropy(c * k + f) if k > 1 else 0.0 for f, k in zip(v.T, classes)] for c in cut]
    )


def _gap(scores: NDArray) -> NDArray:
    """(F,): by how much the best code of each factor is ahead of the second."""
    ordered = np.sort(np.vstack([scores, np.zeros((1, scores.shape[1]))]), 0)
    return ordered[-1] - ordered[-2]


@public
def mig(codes: ArrayLike, factors: ArrayLike, bins: int = BINS) -> float:
    """Mutual information gap: `mean_k (I(z_j1; v_k) - I(z_j2; v_k)) / H(v_k)`, j1 and j2 the two best codes of v_k.

    Chen et al. 2018, arXiv:1802.04942. Factors of one level are left out.
    """
    _, v = _arrays(codes, factors)
    entropies = np.array([entropy(column) for column in v.T])
    varied = entropies > 0
    if not varied.any():
        return 0.0
    return float((_gap(mutual_information(codes, factors, bins))[varied] / entropies[varied]).mean())


@public
def sap(codes: ArrayLike, factors: ArrayLike, seed: int = 0) -> float:
    """Separated attribute predictability: the mean over factors of the gap between the accuracies of the two best
    codes.

    Kumar et al. 2018, arXiv:1711.00848. A single code predicts a factor by thresholds half-way between the means of
    its levels, set on half of the rows; its accuracy on the other half is the mean over levels, counted from chance
    (0) to 1. With plain accuracies, as others give it, a perfect code of a factor of K levels could have no more than
    1 - 1/K.
    """
    z, v = _arrays(codes, factors)
    train, test = _halves(len(z), seed)
    scores = [[_by_thresholds(c[train], f[train], c[test], f[test]) for f in v.T] for c in z.T]
    return float(_gap(np.array(scores)).mean())


def _by_thresholds(c: NDArray, f: NDArray, c_test: NDArray, f_test: NDArray) -> float:
    """Balanced accuracy, 0 at chance."""
    levels = np.unique(f)
    means = np.array([c[f == k].mean() for k in levels])
    order = np.argsort(means, kind="stable")
    told = levels[order][np.searchsorted((means[order][1:] + means[order][:-1]) / 2, c_test)]
    right, chance = np.mean([(told[f_test == k] == k).mean() for k in np.unique(f_test)]), 1 / len(levels)
    return max(0.0, float(right - chance) / (1 - chance)) if len(levels) > 1 else 0.0


@dataclass(frozen=True)
class DCI:
    """disentanglement: whether a code serves one factor; completeness: whether a factor is served by one code;
    informativeness: how well all codes predict the factors; importance: (D, F), columns that sum to 1.
    """

    disentanglement: float
    completeness: float
    informativeness: float
    importance: NDArray


@public
def dci(codes: ArrayLike, factors: ArrayLike, seed: int = 0) -> DCI:
    """Disentanglement, completeness, informativeness, from the importances R_jk of codes in trees that predict
    factors.

    Eastwood & Williams 2018, ICLR: `D = sum_j rho_j (1 - H_F(R_j.))`, `C = mean_k (1 - H_D(R_.k))`, entropies of rows
    and columns as shares, in the base that makes a uniform one 1; rho_j is code j's share of all importance.
    Informativeness is the mean accuracy on the half of the rows that the trees have not seen.
    """
    z, v = _arrays(codes, factors)
    train, test = _halves(len(z), seed)
    forests = [Forest(seed=seed).fit(z[train], column[train]) for column in v.T]
    importance = np.stack([f.importance for f in forests], 1)
    accuracy = np.mean([(f.predict(z[test]) == column[test]).mean() for f, column in zip(forests, v.T)])
    if importance.sum() == 0:
        return DCI(0.0, 0.0, float(accuracy), importance)
    rho = importance.sum(1) / importance.sum()
    told = importance.sum(0) > 0
    disentanglement = float((rho * _one_sided(importance)).sum())
    return DCI(disentanglement, float(_one_sided(importance.T)[told].mean()), float(accuracy), importance)


def _one_sided(table: NDArray) -> NDArray:
    """(rows,): 1 minus the entropy of each row's shares, 1 where one entry has all, 0 where all are equal."""
    if table.shape[1] == 1:
        return np.ones(len(table))
    shares = table / np.maximum(table.sum(1, keepdims=True), 1e-300)
    entropies = -(shares * np.log(np.where(shares > 0, shares, 1.0))).sum(1)
    return 1 - entropies / np.log(table.shape[1])


def _varied(v: NDArray) -> NDArray:
    """The factors that have more than one level. Raises ValueError where none has."""
    found = np.flatnonzero(v.max(0) > 0)
    if not len(found):
        raise ValueError("every factor has one level only: give rows in which something varies")
    return found


def _fixed(v: NDArray, count: int, size: int, generator: np.random.Generator) -> tuple[NDArray, NDArray]:
    """`count` times a factor (count,), and `size` rows that agree in it (count, size)."""
    chosen = generator.choice(_varied(v), count)
    groups = {k: [np.flatnonzero(v[:, k] == level) for level in range(v[:, k].max() + 1)] for k in np.unique(chosen)}
    level = [v[generator.integers(len(v)), k] for k in chosen]
    return chosen, np.stack([generator.choice(groups[k][a], size) for k, a in zip(chosen, level)])


@public
def factor_vae_score(
    codes: ArrayLike, factors: ArrayLike, votes: int = 2000, size: int = 64, dead: float = 0.05, seed: int = 0
) -> float:
    """How often the code that varies least while one factor is held fixed tells which factor it was.

    Kim & Mnih 2018, arXiv:1802.05983. Each vote takes `size` rows that agree in one factor; its code is that of the
    smallest variance relative to the variance over all rows; a code's factor is the one of most of its votes, by
    which as many new votes are judged. Codes whose variance is at most `dead` are left out, as if codes had the scale
    of N(0, I).
    """
    z, v = _arrays(codes, factors)
    alive = z.var(0) > dead
    if not alive.any():
        return 0.0
    z = z[:, alive] / z[:, alive].std(0)
    generator = np.random.default_rng(seed)
    table = []
    for _ in range(2):
        chosen, rows = _fixed(v, votes, size, generator)
        counts = np.zeros((z.shape[1], v.shape[1]))
        np.add.at(counts, (z[rows].var(1).argmin(1), chosen), 1)
        table.append(counts)
    return float(table[1][np.arange(z.shape[1]), table[0].argmax(1)].sum() / votes)


@public
def beta_vae_score(codes: ArrayLike, factors: ArrayLike, votes: int = 2000, size: int = 64, seed: int = 0) -> float:
    """How well a linear classifier tells which factor pairs of rows agree in, from `mean |z_a - z_b|` over `size`
    pairs.

    Higgins et al. 2017, ICLR. Codes are divided by their standard deviations; half of the votes train, half judge.
    """
    z, v = _arrays(codes, factors)
    z = z / np.maximum(z.std(0), 1e-12)
    chosen, rows = _fixed(v, 2 * votes, 2 * size, np.random.default_rng(seed))
    apart = np.abs(z[rows[:, :size]] - z[rows[:, size:]]).mean(1)
    told = linear_probabilities(apart[:votes], chosen[:votes], apart[votes:]).argmax(1)
    return float((np.unique(chosen[:votes])[told] == chosen[votes:]).mean())


def linear_probabilities(x: NDArray, y: NDArray, x_test: NDArray, penalty: float = 1e-3) -> NDArray:
    """(N, classes of y): multinomial logistic regression on standardised columns, by L-BFGS in fp64."""
    mean, scale = x.mean(0), np.maximum(x.std(0), 1e-12)
    features, new = (torch.from_numpy((t - mean) / scale) for t in (x, x_test))
    classes, index = np.unique(y, return_inverse=True)
    target = torch.from_numpy(index)
    weight = torch.zeros(x.shape[1], len(classes), dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(len(classes), dtype=torch.float64, requires_grad=True)
    with importing():  # torch's optimisers import its compiler
        optimiser = torch.optim.LBFGS([weight, bias], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        value = torch.nn.functional.cross_entropy(features @ weight + bias, target) + penalty * weight.square().sum()
        value.backward()
        return value

    optimiser.step(loss)
    with torch.no_grad():
        return (new @ weight + bias).softmax(1).numpy()


@public
def modularity(codes: ArrayLike, factors: ArrayLike, bins: int = BINS) -> float:
    """Whether each code depends on one factor: `mean_j (1 - sum_{k not best} I_jk^2 / (I_j,best^2 (F - 1)))`.

    Ridgeway & Mozer 2018, arXiv:1802.05312; I is `mutual_information`. A code that knows no factor counts 0.
    """
    squares = np.square(mutual_information(codes, factors, bins))
    best = squares.max(1)
    rest = (squares.sum(1) - best) / np.maximum(best * max(squares.shape[1] - 1, 1), 1e-300)
    return float(np.where(best > 1e-20, 1 - rest, 0.0).mean())


@public
def explicitness(codes: ArrayLike, factors: ArrayLike, seed: int = 0) -> float:
    """Whether a linear classifier of all codes finds each level of each factor: the mean of `2 AUC - 1` over levels.

    Ridgeway & Mozer 2018, arXiv:1802.05312, with their normalisation of the area under the ROC curve; on the half of
    the rows that the classifier has not seen.
    """
    z, v = _arrays(codes, factors)
    train, test = _halves(len(z), seed)
    areas = []
    for k in _varied(v):
        told = linear_probabilities(z[train], v[train, k], z[test])
        areas += [
            area_under_roc(told[:, i], v[test, k] == level)
            for i, level in enumerate(np.unique(v[train, k]))
            if 0 < (v[test, k] == level).sum() < len(test)
        ]
    return float(2 * np.mean(areas) - 1)


def area_under_roc(scores: NDArray, positive: NDArray) -> float:
    """The share of (positive, negative) pairs in which the positive has the higher score; a tie counts half."""
    order, n = ranks(scores), positive.sum()
    return float((order[positive].sum() - n * (n + 1) / 2) / (n * (len(scores) - n)))


def ranks(values: NDArray) -> NDArray:
    """1..N, equal values sharing their mean."""
    _, index, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = counts.cumsum()
    return (last - (counts - 1) / 2)[index]


@public
def irs(codes: ArrayLike, factors: ArrayLike, quantile: float = 0.99) -> float:
    """Interventional robustness: how little a code moves while its factor is fixed and all others change.

    Suter et al. 2019, arXiv:1811.00007: `1 - E_a[max |z_j - E(z_j | v_k = a)|] / max |z_j - E z_j|`, for each code
    the best factor, codes weighed by their range. The maximum over rows of one level is taken as a `quantile`.
    """
    z, v = _arrays(codes, factors)
    reach = np.abs(z - z.mean(0)).max(0)
    z, reach = z[:, reach > 0], reach[reach > 0]
    if not len(reach):
        return 0.0
    robust = []
    for column in v.T:
        groups = [z[column == level] for level in range(column.max() + 1)]
        moved = np.mean([np.quantile(np.abs(g - g.mean(0)), quantile, axis=0) for g in groups], 0)
        robust.append(1 - moved / reach)
    return float(np.average(np.max(robust, 0), weights=reach))


@public
def udr(codes: Sequence[ArrayLike], rates: Sequence[ArrayLike] | None = None, active: float = 0.01) -> NDArray:
    """(M,): for each of M models trained from different seeds, how far the others' codes are its own but for order
    and sign; it needs no factors. The model of the highest value is the one to take.

    Duan et al. 2020, arXiv:1905.12614, by rank correlations: `R_ij = |corr(rank z_i, rank z'_j)|`; a pair's value is
    the mean over both models' informative codes of `max^2 R / sum R`, a model's the median over its pairs. codes: (N,
    D) each, of the same rows. rates: the mean KL of each dimension (D,) in nats; dimensions of at most `active` nats
    are left out.
    """
    every = [np.asarray(z, dtype=np.float64) for z in codes]
    if len(every) < 2 or any(z.ndim != 2 or len(z) != len(every[0]) for z in every):
        raise ValueError("udr compares at least two models' codes (N, D) of the same N rows: train more seeds")
    kept = [z.std(0) > 0 if rates is None else np.asarray(r) > active for z, r in zip(every, rates or every)]
    ranked = []
    for z, keep in zip(every, kept):
        order = np.stack([ranks(column) for column in z[:, keep].T], 1) if keep.any() else np.zeros((len(z), 0))
        centred = order - order.mean(0)
        ranked.append(centred / np.maximum(np.sqrt(np.square(centred).sum(0)), 1e-300))

    def alike(a: NDArray, b: NDArray) -> float:
        if not a.shape[1] or not b.shape[1]:
            return 0.0
        r = np.abs(a.T @ b)
        return float(np.mean([np.mean(t.max(0) ** 2 / np.maximum(t.sum(0), 1e-300)) for t in (r, r.T)]))

    pairs = [[alike(a, b) for j, b in enumerate(ranked) if j != i] for i, a in enumerate(ranked)]
    return np.median(pairs, 1)


@public
def disentanglement(codes: ArrayLike, factors: ArrayLike, seed: int = 0) -> dict[str, float]:
    """All the scores that read factors, by name."""
    trees = dci(codes, factors, seed)
    return {
        "mig": mig(codes, factors),
        "sap": sap(codes, factors, seed),
        "dci_disentanglement": trees.disentanglement,
        "dci_completeness": trees.completeness,
        "dci_informativeness": trees.informativeness,
        "factor_vae": factor_vae_score(codes, factors, seed=seed),
        "beta_vae": beta_vae_score(codes, factors, seed=seed),
        "modularity": modularity(codes, factors),
        "explicitness": explicitness(codes, factors, seed),
        "irs": irs(codes, factors),
    }
