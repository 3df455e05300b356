"""How close synthetic rows come to the rows that were learned from: whether those were copied."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray

from .columns import Columns
from .metric import Metric

PAIRS = 2**22
"""Distances that are held at a time."""
MOST = 5000
"""Rows of each table that distances are taken of."""
SAME = 1e-6
"""Distances that differ by less are the same: they are sums of fp32."""
DIGITS = 7
"""Significant digits in which two numbers agree that are the same."""


def places(table: Columns, learned: Columns) -> NDArray:
    """(N, F): rows as points whose L1 distance, over the number of columns, is that of `distances`."""
    parts = []
    for i, levels in enumerate(learned.levels):
        own, of = table.values[:, i], np.sort(learned.values[:, i][~np.isnan(learned.values[:, i])])
        gap = np.isnan(own)
        if levels is not None:
            known = np.where(gap, len(levels), own).astype(np.int64)
            parts.append(0.5 * np.eye(len(levels) + 1)[known])
            continue
        if len(of):
            met, first, count = np.unique(of, return_index=True, return_counts=True)
            rank = np.interp(own, met, (first + 0.5 * count) / len(of))
        else:
            rank = np.zeros(len(own))
        parts += [np.where(gap, 0.5, rank)[:, None], 0.5 * gap[:, None]]
    return np.concatenate(parts, 1)


def distances(table: Columns, learned: Columns, among: Columns) -> NDArray:
    """(N,): from each row to the nearest of `among`, a mean over columns in [0, 1].

    Of a column of levels it is 0 for the same and 1 for others, as Gower 1971 has it; of numbers the share of learned
    rows between the two, so that neither units nor tails count; of a gap beside a value 1, or up to 1.
    """
    a, b = (torch.from_numpy(places(t, learned)).float() for t in (table, among))
    size = max(1, PAIRS // len(b))
    near = [torch.cdist(part, b, p=1).min(1).values for part in a.split(size)]
    return torch.cat(near).double().numpy() / len(learned.names)


def same(table: Columns, learned: Columns) -> NDArray:
    """(N,): whether a row is one of those learned from, in every cell, numbers to seven significant digits."""
    known = {row.tobytes() for row in _rounded(learned.values)}
    return np.array([row.tobytes() in known for row in _rounded(table.values)])


def _rounded(values: NDArray) -> NDArray:
    with np.errstate(divide="ignore", invalid="ignore"):
        unit = 10.0 ** (np.floor(np.log10(np.abs(values))) + 1 - DIGITS)
        short = np.round(values / unit) * unit
    short = np.where(np.isfinite(short), short, np.where(np.isnan(values), np.nan, 0.0)) + 0.0
    return np.ascontiguousarray(np.float32(short))


def closeness(synthetic: Columns, learned: Columns, held: Columns, seed: int = 0) -> dict[str, tuple[Metric, Metric]]:
    """Figures of synthetic rows, each beside its floor: what it is for rows that were held out, (M, D), which no model
    has seen."""
    generator = np.random.default_rng(seed)
    copies = "rows that equal a learned one in every cell"
    equal = tuple(share(same(t, learned), copies) for t in (synthetic, held))
    synthetic, learned, held = (t[generator.permutation(len(t))[:MOST]] for t in (synthetic, learned, held))
    apart = tuple(distances(t, learned, learned) for t in (synthetic, held))
    far = "distance from the nearest learned row, in [0, 1]"
    n = min(len(learned), len(held))
    to_learned, to_held = (distances(synthetic, learned, t[:n]) for t in (learned, held))
    nearer = (to_learned < to_held - SAME) + 0.5 * (np.abs(to_learned - to_held) <= SAME)
    side = "rows nearer to a learned row than to as many held-out ones, a tie counting half"
    return {
        "distance": tuple(Metric.mean(torch.from_numpy(t), "", far) for t in apart),
        "nearer": (Metric.mean(torch.from_numpy(nearer), "", side), Metric(0.5, None, "", side)),
        "copied": equal,
    }


def share(which: NDArray, meaning: str) -> Metric:
    """The share of rows, and its standard error."""
    p = float(which.mean())
    return Metric(p, math.sqrt(p * (1 - p) / len(which)), "", meaning)
