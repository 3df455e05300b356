"""Every figure of the report, as a function on arrays. None touches pyplot, so each may be drawn in any thread."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from .paper import (
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
    name_axes,
    name_rows,
    number,
    panels_of,
    short,
    text,
)
from .pictures import tiled

ACTIVE = 0.01
"""Nats of mean KL above which a unit is active."""


# -- images --------------------------------------------------------------------------------------


def image_grid(images: ArrayLike, columns: int = 8) -> Figure:
    """Pictures (N, H, W) or (N, H, W, 3), uint8 or floats in [0, 1], in rows of `columns`."""
    return _picture(np.asarray(images), columns)[0]


def reconstructions(x: ArrayLike, reconstruction: ArrayLike) -> Figure:
    """Originals above their reconstructions, pair by pair; pictures as in `image_grid`."""
    x, reconstruction = np.asarray(x), np.asarray(reconstruction)
    if x.shape != reconstruction.shape:
        raise ValueError(f"expected as many reconstructions as originals, got {reconstruction.shape} for {x.shape}")
    figure, axes = _picture(np.concatenate([x, reconstruction]), len(x), left=52)
    name_rows(axes, ["original", "model"])
    return figure


def decoded_grid(images: ArrayLike, ticks: ArrayLike, names: Sequence[str] = ("z[0]", "z[1]")) -> Figure:
    """What a plane of codes decodes to: n * n pictures, row by row from the top.

    ticks: (n,) or (2, n), the codes along each axis; the first rises to the right, the second upwards.
    """
    images, ticks = np.asarray(images), np.broadcast_to(np.asarray(ticks, dtype=float), (2, np.shape(ticks)[-1]))
    n = ticks.shape[1]
    if len(images) != n * n:
        raise ValueError(f"expected {n} x {n} = {n * n} pictures for {n} ticks, got {len(images)}")
    figure, axes = _picture(images, n, gap=0, left=44, bottom=36)
    shown = np.unique(np.linspace(0, n - 1, min(n, 5 if n % 2 else 4)).round().astype(int))
    axes.set_xticks(shown + 0.5, [number(ticks[0, i]) for i in shown])
    axes.set_yticks(n - shown - 0.5, [number(ticks[1, i]) for i in shown])
    name_axes(axes, *names)
    return figure


def traversals(images: ArrayLike, names: Sequence[str], ticks: ArrayLike | None = None) -> Figure:
    """One dimension of the code moved per row: pictures row by row, as many rows as names.

    ticks: the codes along a row, written below it.
    """
    images, names = np.asarray(images), list(names)
    if not names or len(images) % len(names):
        raise ValueError(f"expected as many pictures for each of the {len(names)} names, got {len(images)} in all")
    columns = len(images) // len(names)
    figure, axes = _picture(images, columns, left=52, bottom=0 if ticks is None else 22)
    name_rows(axes, names)
    if ticks is not None:
        shown = [0, columns // 2, columns - 1]
        axes.set_xticks([(i + 0.5) for i in shown], [number(np.asarray(ticks)[i]) for i in shown])
    return figure


def _picture(images: NDArray, columns: int, gap: int = 2, left: float = 0, bottom: float = 0) -> tuple[Figure, Axes]:
    """Pictures in a grid, pixel by pixel, with margins in points. The axes count its cells from the upper left."""
    pixels = tiled(images, columns, gap)
    width = WIDTH - left
    height = width * pixels.shape[0] / pixels.shape[1]
    figure = empty(WIDTH, height + bottom)
    axes = axes_at(figure, left, bottom, width, height)
    axes.imshow(pixels, interpolation="none", aspect="auto", extent=(0, columns, -(-len(images) // columns), 0))
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    return figure, axes


# -- codes ---------------------------------------------------------------------------------------


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
    groups, of_row = ([], np.zeros(len(codes), int)) if labels is None or values is not None else _groups(labels)
    keys, per_line = _key_columns(groups)
    below = 36 + 15 * -(-len(groups) // per_line) + (8 if groups else 0)
    plane = WIDTH - 44 - 6
    figure = empty(WIDTH, plane + below + 6)
    axes = axes_at(figure, 44, below, plane, plane)
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
        _key(figure, keys, per_line)
        if not spread and len(groups) > 1:
            _name_groups(axes, codes, keys, of_row)
    return figure


def as_values(labels: ArrayLike) -> NDArray | None:
    """Labels that are numbers with more than twelve different values; None for names and classes."""
    labels = np.asarray(labels)
    return labels.astype(float) if labels.dtype.kind in "iuf" and len(np.unique(labels)) > 12 else None


def _groups(labels: ArrayLike) -> tuple[list[str], NDArray]:
    """Names of at most ten groups, in order, and the group of each row."""
    labels = np.asarray(labels)
    kinds = np.unique(labels) if labels.dtype.kind in "biuf" else sorted({str(v) for v in labels})
    rows = [str(v) for v in labels]
    names = [str(k) for k in kinds]
    if len(names) > len(SERIES):
        often = {n for n, _ in Counter(rows).most_common(len(SERIES) - 1)}
        names = [*(n for n in names if n in often), "others"]
    place = {n: i for i, n in enumerate(names)}
    return names, np.array([place.get(r, len(names) - 1) for r in rows])


def _key_columns(groups: Sequence[str]) -> tuple[list[str], int]:
    """The groups' names, shortened, and how many fit beside one another below the plane."""
    keys = [short(g) for g in groups]
    widest = max((len(k) for k in keys), default=1)
    return keys, max(1, min(len(keys), int((WIDTH - 44) // (20 + 5.6 * widest))))


def _key(figure: Figure, names: Sequence[str], per_line: int) -> None:
    """Dots and names, in rows below the plane."""
    width, height = figure.get_size_inches() * 72
    lines = -(-len(names) // per_line)
    step = (WIDTH - 44) / per_line if lines > 1 else min((WIDTH - 44) / per_line, 72)
    for i, name in enumerate(names):
        x, y = 48 + i % per_line * step, 7 + 15 * (lines - 1 - i // per_line)
        dot = Line2D([x / width], [y / height], marker="o", markersize=5, color=SERIES[i], markeredgewidth=0)
        figure.add_artist(dot)
        figure.text((x + 8) / width, (y - 3) / height, name, **text(9, INK))


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
                **text(9, INK),
            )
    else:
        axes.set_yticks([])
    name_axes(axes, "mean KL, nats", "")
    return figure


# -- training ------------------------------------------------------------------------------------

CURVES = {"elbo": "ELBO", "distortion": "Distortion", "rate": "Rate"}
PANEL = {"width": 260.0, "height": 186.0}


def training_curves(history: Sequence[Mapping[str, float]], names: Sequence[str] | None = None) -> Figure:
    """ELBO, distortion and rate over epochs, in nats, a panel each: in training, and held out where there is one.

    history: a record per epoch, as in `VAE.history_`. names: the records to draw; None: those that are there.
    """
    names = curves_in(history) if names is None else list(names)
    if not names:
        raise ValueError("expected a history with elbo, distortion or rate in its records, got none: fit first")
    figure, panels = panels_of([f"{CURVES.get(n, n)}, nats" for n in names], columns=len(names), **PANEL)
    epochs = [r["epoch"] for r in history]
    for axes, name in zip(panels, names):
        kinds = (("training", name, SOFT), ("held-out", f"val_{name}", ACCENT))
        lines = []
        for label, key, color in kinds:
            if any(key in r for r in history):
                values = [r.get(key, np.nan) for r in history]
                lines += axes.plot(
                    epochs, values, color=color, linewidth=1.8, marker=_marker(epochs), markersize=3.2, label=label
                )
        _lines_key(axes, lines)
        _steady(axes)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        name_axes(axes, "epoch", "")
    return figure


def rate_distortion(history: Sequence[Mapping[str, float]]) -> Figure:
    """Where training stood after each epoch, rate across and distortion upwards, held out where there is that."""
    prefix = "val_" if any("val_rate" in r for r in history) else ""
    path = np.array([[r.get(f"{prefix}rate", np.nan), r.get(f"{prefix}distortion", np.nan)] for r in history])
    figure, (axes,) = panels_of(["Distortion against rate, nats"], columns=1, **PANEL)
    axes.plot(*path.T, color=SOFT, linewidth=1.8, marker=_marker(path), markersize=3.2)
    axes.plot(*path[-1:].T, color=ACCENT, marker="o", markersize=6, linestyle="none")
    _steady(axes)
    name_axes(axes, "rate; the last epoch in colour", "")
    return figure


def _marker(epochs: Sequence[object]) -> str:
    """A dot per epoch where there are few."""
    return "o" if len(epochs) < 16 else ""


def _lines_key(axes: Axes, lines: Sequence[Line2D]) -> None:
    """What the lines are, above their panel on the right."""
    place = {"loc": "lower right", "bbox_to_anchor": (1, 1.02), "borderpad": 0, "borderaxespad": 0.4}
    axes.legend(
        handles=lines, ncol=2, frameon=False, fontsize=9, labelcolor=MUTED, handlelength=1.2, handletextpad=0.5,
        columnspacing=1.2, **place,
    )  # fmt: skip


def _steady(axes: Axes) -> None:
    """Lines across instead of a vertical axis; what hardly moves is drawn as a level line."""
    axes.yaxis.grid(True, color=LINE, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines["left"].set_visible(False)
    for axis, limits, set_limits in (
        (axes.xaxis, axes.get_xlim(), axes.set_xlim),
        (axes.yaxis, axes.get_ylim(), axes.set_ylim),
    ):
        middle = sum(limits) / 2
        if abs(limits[1] - limits[0]) < 1e-3 * abs(middle):
            set_limits(middle - 0.05 * abs(middle), middle + 0.05 * abs(middle))
        axis.set_major_locator(MaxNLocator(5))
        axis.set_major_formatter(lambda value, _: f"{value:g}".replace("-", "−"))


def curves_in(history: Sequence[Mapping[str, float]]) -> list[str]:
    """Which of ELBO, distortion and rate a history holds."""
    return [n for n in CURVES if any(np.isfinite(r.get(n, np.nan)) for r in history)]


# -- columns of numbers ----------------------------------------------------------------------------


def histograms(data: ArrayLike, samples: ArrayLike, names: Sequence[str], columns: int = 4) -> Figure:
    """Each column of the data (N, D), filled, and of the model's samples (M, D), as a line; a panel each."""
    data, samples = np.asarray(data, dtype=float), np.asarray(samples, dtype=float)
    _check_columns(data, samples, names)
    figure, panels = panels_of([short(n) for n in names], columns, width=165, height=128)
    for axes, x, s in zip(panels, data.T, samples.T):
        x, s = x[~np.isnan(x)], s[~np.isnan(s)]
        if not len(x):
            continue
        bins = _bins(x, s)
        axes.hist(x, bins, weights=np.full(len(x), 1 / len(x)), color=SOFT)
        axes.hist(s, bins, weights=np.full(len(s), 1 / len(s)), histtype="step", color=ACCENT, linewidth=1.4)
        axes.spines["left"].set_visible(False)
        axes.set_yticks([])
        axes.xaxis.set_major_locator(MaxNLocator(3))
    return figure


def agreement(x: ArrayLike, reconstruction: ArrayLike, names: Sequence[str], columns: int = 4) -> Figure:
    """Each column of the data (N, D) against its reconstruction (N, D), with the line where both agree."""
    x, reconstruction = np.asarray(x, dtype=float), np.asarray(reconstruction, dtype=float)
    _check_columns(x, reconstruction, names)
    figure, panels = panels_of([short(n) for n in names], columns, width=165, height=150)
    for axes, a, b in zip(panels, x.T, reconstruction.T):
        axes.scatter(a, b, s=6, color=ACCENT, alpha=0.5, linewidths=0, clip_on=False)
        low, high = np.nanmin([a, b]), np.nanmax([a, b])
        axes.plot([low, high], [low, high], color=INK, linewidth=0.8, linestyle=(0, (3, 3)))
        axes.xaxis.set_major_locator(MaxNLocator(3))
        axes.yaxis.set_major_locator(MaxNLocator(3))
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
