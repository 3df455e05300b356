"""What every figure is drawn on: paper, colours, quiet axes and text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from ..printable import printable

PAPER, INK, MUTED, LINE = "#fdfdfb", "#1c1f23", "#6a7078", "#e1e1da"
ACCENT, SOFT = "#0b6f8a", "#c3c8cd"
SERIES = (
    "#432b72", "#e2b639", "#05d3b3", "#d96c68", "#afb8f3", "#0c4805", "#a163d2", "#708005", "#5c283c", "#3d7d90",
)  # fmt: skip
"""Ten colours for groups: at least 22 apart in CIELAB in normal, protan, deutan and tritan vision, as simulated by
Machado et al. 2009. The last is also that of "others"."""

WIDTH = 400.0
"""Points across a figure that stands alone."""


def empty(width: float, height: float) -> Figure:
    """Empty paper, its size in points."""
    return Figure(figsize=(width / 72, height / 72), dpi=144, facecolor=PAPER)


def axes_at(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    """Quiet axes at a place in points."""
    across, up = figure.get_size_inches() * 72
    axes = figure.add_axes((left / across, bottom / up, width / across, height / up), facecolor="none")
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set(color=LINE, linewidth=0.8)
    axes.tick_params(colors=MUTED, labelsize=9, length=0, pad=4, which="both")
    return axes


def panels_of(
    titles: Sequence[str], columns: int, width: float, height: float, foot: float = 0
) -> tuple[Figure, list[Axes]]:
    """Titled axes side by side, each `width` x `height` points with its margins, and room at the foot for a key."""
    columns = min(columns, len(titles))
    rows = -(-len(titles) // columns)
    figure, panels = empty(columns * width, rows * height + foot), []
    for i, title in enumerate(titles):
        left, bottom = i % columns * width, (rows - 1 - i // columns) * height + foot
        panels.append(axes_at(figure, left + 38, bottom + 32, width - 50, height - 62))
        place = ((left + 2) / (columns * width), (bottom + height - 18) / (rows * height + foot))
        figure.text(*place, title, fontweight="bold", **text(10, INK))
    return figure, panels


def text(size: float, color: str) -> dict[str, object]:
    """Text that is never read as mathematics, whatever it holds."""
    return {"fontsize": size, "color": color, "parse_math": False, "usetex": False}


def name_axes(axes: Axes, x: str, y: str) -> None:
    axes.set_xlabel(x, labelpad=6, **text(9, MUTED))
    if y:
        axes.set_ylabel(y, labelpad=6, **text(9, MUTED))


def name_rows(axes: Axes, names: Sequence[str], right: bool = False) -> None:
    """A name to the left, or to the right, of each row of pictures."""
    place = {"xycoords": "axes fraction", "textcoords": "offset points", "va": "center"}
    side = {"xytext": (6, 0), "ha": "left"} if right else {"xytext": (-6, 0), "ha": "right"}
    for i, name in enumerate(names):
        axes.annotate(name, (float(right), 1 - (i + 0.5) / len(names)), **side, **place, **text(9, MUTED))


def room(names: Sequence[str]) -> float:
    """Points that the longest of some names takes beside a row."""
    return 12 + 5.4 * max(map(len, names))


def key_columns(names: Sequence[str], width: float = WIDTH) -> int:
    """How many of a key's names fit beside one another."""
    widest = max((len(short(name)) for name in names), default=1)
    return max(1, min(len(names), int((width - 44) // (20 + 5.6 * widest))))


def key_height(names: Sequence[str], width: float = WIDTH) -> float:
    """Points that a key of these names takes."""
    return 15 * -(-len(names) // key_columns(names, width)) + 8 if names else 0


def key(figure: Figure, names: Sequence[str], colors: Sequence[str] = SERIES, left: float = 48) -> None:
    """Dots and names, in rows at the foot of a figure."""
    width, height = figure.get_size_inches() * 72
    keys, per_line = [short(name) for name in names], key_columns(names, width)
    lines = -(-len(keys) // per_line)
    step = min((width - left) / per_line, max(72, 20 + 5.6 * max(map(len, keys))))
    for i, name in enumerate(keys):
        x, y = left + i % per_line * step, 7 + 15 * (lines - 1 - i // per_line)
        dot = Line2D([x / width], [y / height], marker="o", markersize=5, color=colors[i], markeredgewidth=0)
        figure.add_artist(dot)
        figure.text((x + 8) / width, (y - 3) / height, name, **text(9, INK))


def lines_key(axes: Axes, lines: Sequence[Line2D]) -> None:
    """What the lines are, above their panel on the right."""
    place = {"loc": "lower right", "bbox_to_anchor": (1, 1.02), "borderpad": 0, "borderaxespad": 0.4}
    axes.legend(
        handles=lines, ncol=2, frameon=False, fontsize=9, labelcolor=MUTED, handlelength=1.2, handletextpad=0.5,
        columnspacing=1.2, **place,
    )  # fmt: skip


def steady(axes: Axes) -> None:
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
        axis.set_major_formatter(lambda value, _: signed(value))


def groups_of(labels: ArrayLike, as_they_come: bool = False) -> tuple[list[str], NDArray]:
    """Names of at most ten groups, in order, and the group of each row: the rarer share the last.

    as_they_come: in the order in which they first appear, instead of that of their names or numbers.
    """
    labels = np.asarray(labels)
    rows = [str(v) for v in labels]
    if as_they_come:
        names = list(dict.fromkeys(rows))
    else:
        names = [str(k) for k in np.unique(labels)] if labels.dtype.kind in "biuf" else sorted(set(rows))
    if len(names) > len(SERIES):
        often = {n for n, _ in Counter(rows).most_common(len(SERIES) - 1)}
        names = [*(n for n in names if n in often), "others"]
    place = {n: i for i, n in enumerate(names)}
    return names, np.array([place.get(r, len(names) - 1) for r in rows])


def short(name: str, most: int = 25) -> str:
    """A name on one line, cut where it is long."""
    name = printable(" ".join(str(name).split()))
    return name if len(name) <= most else f"{name[: most - 1]}…"


def number(value: float) -> str:
    return signed(float(f"{value:.3g}"))


def signed(value: float) -> str:
    return f"{value:g}".replace("-", "−")
