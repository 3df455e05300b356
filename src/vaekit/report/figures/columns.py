"""Figures of rows of numbers: their columns, and single rows as profiles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from ...core import public
from ..paper import ACCENT, INK, SERIES, SOFT, key, key_height, lines_key, name_axes, panels_of, short

SMALL = {"width": 165.0, "height": 128.0}


@public
def histograms(
    data: ArrayLike,
    samples: ArrayLike | Mapping[str, ArrayLike],
    names: Sequence[str],
    columns: int = 4,
    keyed: bool = True,
) -> Figure:
    """Each column of the data (N, D), filled, and of the model's samples (M, D), as a line; a panel each.

    samples: of several models, by name, each in a colour of its own; keyed: with these names at the foot.
    """
    several = isinstance(samples, Mapping)
    data, made = np.asarray(data, dtype=float), list(samples.values()) if several else [samples]
    made = [np.asarray(s, dtype=float) for s in made]
    for s in made:
        _check_columns(data, s, names)
    keys = list(samples) if several and keyed else []
    width = SMALL["width"] * min(columns, len(names))
    figure, panels = panels_of([short(n) for n in names], columns, **SMALL, foot=key_height(keys, width))
    for i, (axes, x) in enumerate(zip(panels, data.T)):
        x, drawn = x[~np.isnan(x)], [s[~np.isnan(s[:, i]), i] for s in made]
        if not len(x):
            continue
        bins = _bins(x, np.concatenate(drawn))
        axes.hist(x, bins, weights=np.full(len(x), 1 / len(x)), color=SOFT)
        for s, color in zip(drawn, SERIES if several else [ACCENT]):
            axes.hist(s, bins, weights=np.full(len(s), 1 / max(len(s), 1)), histtype="step", color=color, linewidth=1.4)
        axes.spines["left"].set_visible(False)
        axes.set_yticks([])
        axes.xaxis.set_major_locator(MaxNLocator(3))
    if keys:
        key(figure, keys, left=40)
    return figure


@public
def agreement(x: ArrayLike, reconstruction: ArrayLike, names: Sequence[str], columns: int = 4) -> Figure:
    """Each column of the data (N, D) against its reconstruction (N, D), with the line where both agree."""
    x, reconstruction = np.asarray(x, dtype=float), np.asarray(reconstruction, dtype=float)
    _check_columns(x, reconstruction, names)
    figure, panels = panels_of([short(n) for n in names], columns, width=165, height=150)
    for axes, a, b in zip(panels, x.T, reconstruction.T):
        axes.scatter(a, b, s=6, color=ACCENT, alpha=0.5, linewidths=0, clip_on=False)
        found = np.concatenate([a[~np.isnan(a)], b[~np.isnan(b)]])
        if not len(found):
            continue
        low, high = found.min(), found.max()
        axes.plot([low, high], [low, high], color=INK, linewidth=0.8, linestyle=(0, (3, 3)))
        axes.xaxis.set_major_locator(MaxNLocator(3))
        axes.yaxis.set_major_locator(MaxNLocator(3))
    return figure


@public
def profiles(
    x: ArrayLike,
    reconstruction: ArrayLike | Mapping[str, ArrayLike],
    titles: Sequence[str],
    columns: int = 2,
    axis: str = "column",
    keyed: bool = True,
) -> Figure:
    """Rows (N, D) across their columns or steps, in grey, and their reconstructions (N, D), as lines; a panel per row.

    reconstruction: of several models, by name, each in a colour of its own; keyed: with these names at the foot. NaN
    leaves a gap. axis: what is across. Raises ValueError for arrays of other shapes, or another number of titles.
    """
    several = isinstance(reconstruction, Mapping)
    x, again = np.asarray(x, dtype=float), list(reconstruction.values()) if several else [reconstruction]
    again = [np.asarray(a, dtype=float) for a in again]
    if x.ndim != 2 or any(a.shape != x.shape for a in again) or len(titles) != len(x):
        shapes = ", ".join(str(a.shape) for a in again)
        raise ValueError(
            f"expected rows (N, D), reconstructions like them, N titles, got {x.shape}, {shapes}, {len(titles)}"
        )
    keys = list(reconstruction) if several and keyed else []
    width = 260.0 * min(columns, len(titles))
    figure, panels = panels_of(titles, columns, width=260.0, height=140.0, foot=key_height(keys, width))
    places, marker = np.arange(x.shape[1]), "o" if x.shape[1] <= 32 else ""
    for i, axes in enumerate(panels):
        lines = axes.plot(places, x[i], color=SOFT, linewidth=3, marker=marker, markersize=5, label="row")
        for a, color in zip(again, SERIES if several else [ACCENT]):
            lines += axes.plot(places, a[i], color=color, linewidth=1.4, marker=marker, markersize=3, label="model")
        if not several:
            lines_key(axes, lines)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(3))
        name_axes(axes, axis, "")
    if keys:
        key(figure, keys, left=40)
    return figure


def _check_columns(a: NDArray, b: NDArray, names: Sequence[str]) -> None:
    if a.ndim != 2 or b.ndim != 2 or not a.shape[1] == b.shape[1] == len(names):
        raise ValueError(f"expected rows of {len(names)} columns, a name each, got {a.shape} and {b.shape}")


def _bins(x: NDArray, samples: NDArray) -> NDArray:
    """Edges around each of a few values of x, or 30 bins over nearly all of x and the samples."""
    values = np.unique(x)
    if len(values) <= 12:
        half = np.diff(values).min() / 2 if len(values) > 1 else 0.5
        edges = np.concatenate([values - half, values + half])
        return edges[np.argsort(edges)][np.r_[True, np.diff(np.sort(edges)) > half * 1e-6]]
    low = min(np.quantile(x, 0.002), np.quantile(samples, 0.01))
    high = max(np.quantile(x, 0.998), np.quantile(samples, 0.99))
    return np.linspace(low, high, 31)
