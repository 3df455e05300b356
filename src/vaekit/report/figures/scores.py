"""Figures of scores: how rows and models stand by their likelihood, and which class was told for which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from ...core import public
from ..paper import (
    ACCENT,
    INK,
    LINE,
    MUTED,
    PAPER,
    SERIES,
    SOFT,
    WIDTH,
    axes_at,
    empty,
    groups_of,
    key,
    key_height,
    name_axes,
    room,
    short,
    signed,
    text,
)

SETS = (SOFT, ACCENT, SERIES[3], SERIES[1], SERIES[0])
"""Colours of sets of rows; the first is filled."""
BINS = 40


@public
def distributions(scores: Mapping[str, ArrayLike], name: str) -> Figure:
    """How the scores of several sets of rows spread: the first set filled, the others as lines, each of area one.

    name: of the scores, with their unit. The outermost cells hold what lies beyond them. Raises ValueError for more
    than five sets, or for one without a finite score.
    """
    sets = {n: np.asarray(s, dtype=float).reshape(-1) for n, s in scores.items()}
    if not 1 <= len(sets) <= len(SETS):
        raise ValueError(f"expected one to {len(SETS)} sets of scores, got {len(sets)}")
    for n, s in sets.items():
        if not np.isfinite(s).any():
            raise ValueError(f"expected scores of {n}, got {len(s)}, none of which is finite")
    sets = {n: s[np.isfinite(s)] for n, s in sets.items()}
    low = min(np.quantile(s, 0.005) for s in sets.values())
    high = max(np.quantile(s, 0.995) for s in sets.values())
    edges = np.linspace(low, high if high > low else low + 1, BINS + 1)
    foot = key_height(list(sets))
    figure = empty(WIDTH, 190 + foot)
    axes = axes_at(figure, 10, 40 + foot, WIDTH - 26, 140)
    for i, (s, color) in enumerate(zip(sets.values(), SETS)):
        style = {"color": color} if i == 0 else {"histtype": "step", "color": color, "linewidth": 1.6}
        axes.hist(s.clip(edges[0], edges[-1]), edges, weights=np.full(len(s), 1 / len(s)), **style)
    axes.spines["left"].set_visible(False)
    axes.set_yticks([])
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.xaxis.set_major_formatter(lambda value, _: signed(value))
    name_axes(axes, name, "")
    key(figure, list(sets), SETS, left=14)
    return figure


@public
def rate_distortion(rate: ArrayLike, distortion: ArrayLike, groups: Sequence[object] | None = None) -> Figure:
    """Models on the plane of rate (N,) and distortion (N,), in nats, with lines of equal ELBO, `-(rate + distortion)`.

    groups: of the models, such as the values of a setting: each has a colour, and a ring where its mean lies. On such
    a line models buy distortion with rate at par; lower left is better (Alemi et al. 2018, arXiv:1711.00464).
    """
    points = np.column_stack([np.asarray(v, dtype=float).reshape(-1) for v in (rate, distortion)])
    if not len(points) or not np.isfinite(points).all():
        raise ValueError(f"expected a finite rate and distortion of each model, got {points.tolist()}")
    if groups is not None and len(groups) != len(points):
        raise ValueError(f"expected a group for each of the {len(points)} models, got {len(groups)}")
    names, of_row = ([], np.zeros(len(points), int)) if groups is None else groups_of([str(g) for g in groups], True)
    foot = key_height(names)
    figure = empty(WIDTH, 300 + foot)
    axes = axes_at(figure, 52, 42 + foot, WIDTH - 52 - 80, 236)
    _limits(axes, points)
    _equal_elbo(axes)
    for group in range(max(len(names), 1)):
        own, color = points[of_row == group], SERIES[group] if names else ACCENT
        axes.scatter(*own.T, s=26, color=color, linewidths=0, alpha=0.9, clip_on=False, zorder=3)
        if len(own) > 1 and names:
            axes.scatter(*own.mean(0), s=130, facecolors="none", edgecolors=color, linewidths=1.4, zorder=4)
    name_axes(axes, "rate, nats", "distortion, nats")
    if names:
        key(figure, names, left=52)
    return figure


def _limits(axes: Axes, points: NDArray) -> None:
    """Room around all points, and some even where they lie on one another."""
    low, high = points.min(0), points.max(0)
    around = np.maximum((high - low) * 0.15, np.maximum(np.abs(points).max(0) * 0.01, 1e-3))
    low, high = low - around, high + around
    axes.set(xlim=(max(low[0], min(points[:, 0].min(), 0.0)), high[0]), ylim=(low[1], high[1]))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(5))
        axis.set_major_formatter(lambda value, _: signed(value))


def _equal_elbo(axes: Axes) -> None:
    """Lines of equal ELBO, named where they leave the axes: on the right, above, or else below."""
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    for total in MaxNLocator(6).tick_values(left + bottom, right + top):
        if not left + bottom < total < right + top:
            continue
        axes.plot([left, right], [total - left, total - right], color=LINE, linewidth=1, zorder=1)
        name, place = f"ELBO {signed(-total)}", {"textcoords": "offset points", **text(8, MUTED)}
        if bottom <= total - right <= top:
            axes.annotate(
                name, (right, total - right), (5, 0), textcoords="offset points", va="center", **text(8, MUTED)
            )
        elif left <= total - top <= right:
            axes.annotate(name, (total - top, top), (0, 4), ha="center", **place)
        else:
            axes.annotate(name, (total - bottom, bottom), (2, 4), **place)
    axes.set(xlim=(left, right), ylim=(bottom, top))


@public
def differences(values: ArrayLike, errors: ArrayLike, names: Sequence[str], title: str) -> Figure:
    """Differences (N,) from a reference at 0, each with bars of one and of two standard errors (N,); a line each."""
    values, errors = (np.asarray(v, dtype=float).reshape(-1) for v in (values, errors))
    if not len(values) == len(errors) == len(names) > 0:
        raise ValueError(f"expected a value, an error, a name each, got {len(values)}, {len(errors)}, {len(names)}")
    keys = [short(n, 20) for n in names]
    left = room(keys)
    figure = empty(WIDTH, 24.0 * len(values) + 62)
    axes = axes_at(figure, left, 40, WIDTH - left - 20, 24.0 * len(values))
    lines = np.arange(len(values))
    axes.axvline(0, color=INK, linewidth=0.9, linestyle=(0, (3, 3)))
    axes.errorbar(values, lines, xerr=2 * errors, fmt="none", ecolor=SOFT, elinewidth=3)
    axes.errorbar(values, lines, xerr=errors, fmt="o", color=ACCENT, markersize=5, elinewidth=3, markeredgewidth=0)
    axes.set(ylim=(len(values) - 0.5, -0.5))
    axes.set_yticks(lines, keys)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.xaxis.set_major_formatter(lambda value, _: signed(value))
    axes.spines["left"].set_visible(False)
    name_axes(axes, title, "")
    return figure


@public
def confusion(labels: ArrayLike, told: ArrayLike) -> Figure:
    """How often rows of each label (N,) were told (N,) to be of each class or cluster: shares of the label's rows.

    Columns stand in the order of the labels; clusters, which have other names, by the label that most of theirs have.
    Raises ValueError for another number of labels than told.
    """
    labels, told = ([str(v) for v in np.asarray(a).reshape(-1)] for a in (labels, told))
    if len(labels) != len(told) or not labels:
        raise ValueError(f"expected what was told for each of the {len(labels)} labels, got {len(told)}")
    rows, columns = _in_order(labels), _in_order(told)
    counts = np.zeros((len(rows), len(columns)))
    np.add.at(counts, ([rows.index(v) for v in labels], [columns.index(v) for v in told]), 1)
    if not set(columns) <= set(rows):
        order = np.lexsort((-counts.max(0), counts.argmax(0)))
        counts, columns = counts[:, order], [columns[i] for i in order]
    return shares(counts / counts.sum(1, keepdims=True), rows, columns, ("told", "label"))


def _in_order(names: Sequence[str]) -> list[str]:
    """Different names, numbers by their value."""
    return sorted(set(names), key=lambda n: (0, float(n), "") if n.lstrip("-").isdigit() else (1, 0.0, n))


@public
def shares(values: ArrayLike, rows: Sequence[str], columns: Sequence[str], names: tuple[str, str]) -> Figure:
    """A table of shares in [0, 1], (rows, columns), each cell as dark as its share, in percent; names: of the columns
    and of the rows.
    """
    values = np.asarray(values, dtype=float)
    if values.shape != (len(rows), len(columns)) or not values.size:
        raise ValueError(f"expected shares ({len(rows)}, {len(columns)}), a name each, got {values.shape}")
    keys = [short(r, 14) for r in rows]
    left = room(keys) + 14
    width = WIDTH - left - 8
    step = width / len(columns)
    tall = float(np.clip(step, 18, 34))
    figure = empty(WIDTH, tall * len(rows) + 54)
    axes = axes_at(figure, left, 48, width, tall * len(rows))
    axes.set(xlim=(0, len(columns)), ylim=(len(rows), 0))
    for i, j in np.ndindex(values.shape):
        share = float(np.clip(np.nan_to_num(values[i, j]), 0, 1))
        axes.add_patch(Rectangle((j, i), 1, 1, facecolor=ACCENT, alpha=share, linewidth=0))
        if share >= 0.005 and step >= 20:
            color = PAPER if share > 0.55 else INK
            axes.text(j + 0.5, i + 0.5, f"{100 * share:.0f}", ha="center", va="center", **text(9, color))
    most = max(2, int(step // 5))
    axes.set_yticks(np.arange(len(rows)) + 0.5, keys)
    axes.set_xticks(np.arange(len(columns)) + 0.5, [short(c, most) for c in columns])
    axes.spines[:].set_visible(False)
    name_axes(axes, *names)
    return figure
