"""Figures of codes: where they lie, what each dimension carries, and how far they fill the prior."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from ...core import public
from ..paper import (
    ACCENT,
    INK,
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
    short,
    text,
)

LEFT = 54
"""Points left of a plane, for its axis' ticks and name."""
ACTIVE = 0.01
"""Nats of mean KL above which a unit is active."""
HELD = (0.5, 0.9, 0.99)
"""Shares of the prior's draws that its contours hold."""
CELLS = 48
"""Cells along each side of the plane on which the prior's draws are counted."""


@public
def latent_plane(
    codes: ArrayLike,
    labels: ArrayLike | None = None,
    names: Sequence[str] = ("z[0]", "z[1]"),
    prior: bool = False,
) -> Figure:
    """Codes (N, 2) as dots, or (N, 1) as dots spread upwards, coloured by label.

    At most ten groups have colours: the rarer share the last. Numbers of more than twelve different values are
    coloured by value. prior: draws the standard normal's circles at 1, 2 and 3 standard deviations.
    """
    codes = np.asarray(codes, dtype=float)
    if codes.ndim != 2 or codes.shape[1] not in (1, 2):
        raise ValueError(f"expected codes (N, 2) or (N, 1), got {codes.shape}: choose two columns")
    if labels is not None and len(labels) != len(codes):
        raise ValueError(f"expected a label per code, got {len(labels)} labels for {len(codes)} codes")
    spread = codes.shape[1] == 1
    if spread:
        codes = np.column_stack([codes, np.random.default_rng(0).uniform(-1, 1, len(codes))])
    values = None if labels is None else as_values(labels)
    groups, of_row = ([], np.zeros(len(codes), int)) if labels is None or values is not None else groups_of(labels)
    below = 36 + key_height(groups)
    plane = WIDTH - LEFT - 6
    figure = empty(WIDTH, plane + below + 6)
    axes = axes_at(figure, LEFT, below, plane, plane)
    color: object = [SERIES[g] for g in of_row] if groups else (ACCENT if values is None else values)
    scale = {} if values is None else {"cmap": "viridis"}
    dots = axes.scatter(*codes.T, s=9, c=color, alpha=0.75, linewidths=0, clip_on=False, **scale)
    if prior and not spread:
        for radius in (1, 2, 3):
            axes.add_patch(Circle((0, 0), radius, fill=False, edgecolor=MUTED, linewidth=0.7, linestyle=(0, (2, 3))))
    if spread:
        axes.set(yticks=[], ylim=(-1.6, 1.6))
        axes.spines["left"].set_visible(False)
    else:
        _square(axes, codes)
    name_axes(axes, names[0], "" if spread else names[1])
    if values is not None:
        bar = figure.colorbar(dots, ax=axes, cax=axes.inset_axes((0.7, 1.0, 0.3, 0.012)), orientation="horizontal")
        bar.outline.set_visible(False)
        bar.solids.set_alpha(1)
        bar.ax.tick_params(colors=MUTED, labelsize=8, length=0, pad=2)
    if groups:
        key(figure, groups)
        if not spread and len(groups) > 1:
            _name_groups(axes, codes, [short(g) for g in groups], of_row)
    return figure


def as_values(labels: ArrayLike) -> NDArray | None:
    """Labels that are numbers with more than twelve different values; None for names and classes."""
    labels = np.asarray(labels)
    return labels.astype(float) if labels.dtype.kind in "iuf" and len(np.unique(labels)) > 12 else None


def _name_groups(axes: Axes, codes: NDArray, names: Sequence[str], of_row: NDArray) -> None:
    """Each group's name in its middle, pushed apart where middles are close."""
    plate = {"boxstyle": "round,pad=0.2", "facecolor": PAPER, "edgecolor": "none", "alpha": 0.75}
    shown = [i for i, name in enumerate(names) if len(name) <= 12 and (of_row == i).any()]
    middles = np.array([np.median(codes[of_row == i], axis=0) for i in shown]).reshape(-1, 2)
    room = np.ptp(axes.get_xlim()) * 0.045
    for _ in range(100):
        apart = middles[:, None] - middles
        distance = np.maximum(np.hypot(*apart.T).T, 1e-9)
        push = np.maximum(room - distance, 0) * (distance > 1e-8)
        middles = middles + 0.25 * (apart / distance[..., None] * push[..., None]).sum(1)
    for i, middle in zip(shown, middles):
        axes.text(*middle, names[i], ha="center", va="center", fontweight="bold", bbox=plate, **text(10, INK))


def _square(axes: Axes, codes: NDArray) -> None:
    """The same scale along both axes, with room around all codes."""
    low, high = codes.min(0), codes.max(0)
    half = max(float((high - low).max()) / 2 * 1.06, 1e-6)
    middle = (low + high) / 2
    axes.set(xlim=(middle[0] - half, middle[0] + half), ylim=(middle[1] - half, middle[1] + half))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(6))


@public
def aggregate_plane(codes: ArrayLike, prior: ArrayLike, names: Sequence[str] = ("z[0]", "z[1]")) -> Figure:
    """Draws of the aggregate posterior (N, 2), as dots, over the lines that hold 50%, 90% and 99% of the prior's draws
    (M, 2).

    The aggregate posterior is `q(z) = E_x q(z | x)`: draw one z for each of many rows.
    """
    codes, prior = np.asarray(codes, dtype=float), np.asarray(prior, dtype=float)
    for given in (codes, prior):
        if given.ndim != 2 or given.shape[1] != 2 or len(given) < 2:
            raise ValueError(f"expected codes (N, 2) and draws of the prior (M, 2), got {codes.shape}, {prior.shape}")
    plane, keys = WIDTH - LEFT - 6, ("codes drawn from q(z | x)", "50, 90, 99% of the prior")
    below = 36 + key_height(keys)
    figure = empty(WIDTH, plane + below + 6)
    axes = axes_at(figure, LEFT, below, plane, plane)
    axes.scatter(*codes.T, s=7, color=ACCENT, alpha=0.6, linewidths=0, clip_on=False)
    _square(axes, np.concatenate([codes, prior]))
    edges = [np.linspace(*limits(), CELLS + 1) for limits in (axes.get_xlim, axes.get_ylim)]
    counts = np.histogram2d(*prior.T, bins=edges)[0]
    density = _smooth(counts)
    middles = [(e[1:] + e[:-1]) / 2 for e in edges]
    axes.contour(*middles, density.T, levels=_levels(density, counts), colors=INK, linewidths=(0.7, 1.0, 1.4))
    name_axes(axes, *names)
    key(figure, keys, (ACCENT, INK))
    return figure


def _smooth(counts: NDArray) -> NDArray:
    """Counts on a plane with each cell spread over its neighbours, twice by a binomial kernel of nine cells."""
    kernel = np.array([1, 8, 28, 56, 70, 56, 28, 8, 1]) / 256
    for axis in (0, 1, 0, 1):
        counts = np.apply_along_axis(np.convolve, axis, counts, kernel, mode="same")
    return counts


def _levels(density: NDArray, counts: NDArray) -> list[float]:
    """The densities above which cells hold the shares `HELD` of the counts, in rising order."""
    order = np.argsort(-density, axis=None, kind="stable")
    held = counts.reshape(-1)[order].cumsum() / counts.sum()
    return sorted({float(density.reshape(-1)[order[np.searchsorted(held, share)]]) for share in HELD})


@public
def unit_kl(kl: ArrayLike, names: Sequence[str] | None = None) -> Figure:
    """Mean KL per unit in nats, (units,), as bars on a logarithmic scale, the largest first, with the threshold."""
    kl = np.asarray(kl, dtype=float)
    if kl.ndim != 1 or not len(kl):
        raise ValueError(f"expected the mean KL of each unit, (units,), got shape {kl.shape}")
    names = [f"z[{i}]" for i in range(len(kl))] if names is None else list(names)
    order = np.argsort(-kl, kind="stable")
    step = min(22.0, max(4.0, 420 / len(kl)))
    figure = empty(WIDTH, step * len(kl) + 66)
    axes = axes_at(figure, 44, 34, WIDTH - 44 - 44, step * len(kl) + 8)
    floor = min(1e-3, ACTIVE / 2)
    shown, rows = np.maximum(kl[order], floor * 1.15), np.arange(len(kl))
    axes.barh(rows, shown - floor, left=floor, height=0.62, color=[ACCENT if k > ACTIVE else SOFT for k in kl[order]])
    axes.set(xscale="log", xlim=(floor, max(float(kl.max()) * 1.1, ACTIVE * 4)), ylim=(len(kl) - 0.5, -0.5))
    axes.minorticks_off()
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.axvline(ACTIVE, color=INK, linewidth=0.9, linestyle=(0, (3, 3)))
    axes.text(ACTIVE, 1.02, f"active above {ACTIVE:g}", transform=axes.get_xaxis_transform(), **text(9, MUTED))
    if step >= 11:
        axes.set_yticks(rows, [names[i] for i in order])
        for row, i in enumerate(order):
            at = (shown[row], row)
            axes.annotate(
                f"{kl[i]:.2f}" if kl[i] >= ACTIVE else f"{kl[i]:.1g}",
                at,
                (5, 0),
                textcoords="offset points",
                va="center",
                bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 0.5},
                **text(9, INK),
            )
    else:
        axes.set_yticks([])
    name_axes(axes, "mean KL, nats", "")
    return figure
