"""What every figure is drawn on: paper, colours, quiet axes and text."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

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


def panels_of(titles: Sequence[str], columns: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """Titled axes side by side, each `width` x `height` points with its margins."""
    columns = min(columns, len(titles))
    rows = -(-len(titles) // columns)
    figure, panels = empty(columns * width, rows * height), []
    for i, title in enumerate(titles):
        left, bottom = i % columns * width, (rows - 1 - i // columns) * height
        panels.append(axes_at(figure, left + 38, bottom + 32, width - 50, height - 62))
        place = ((left + 2) / (columns * width), (bottom + height - 18) / (rows * height))
        figure.text(*place, title, fontweight="bold", **text(10, INK))
    return figure, panels


def text(size: float, color: str) -> dict[str, object]:
    """Text that is never read as mathematics, whatever it holds."""
    return {"fontsize": size, "color": color, "parse_math": False, "usetex": False}


def name_axes(axes: Axes, x: str, y: str) -> None:
    axes.set_xlabel(x, labelpad=6, **text(9, MUTED))
    if y:
        axes.set_ylabel(y, labelpad=6, **text(9, MUTED))


def name_rows(axes: Axes, names: Sequence[str]) -> None:
    """A name to the left of each row of pictures."""
    for i, name in enumerate(names):
        place = {"xytext": (-6, 0), "xycoords": "axes fraction", "textcoords": "offset points"}
        at = (0, 1 - (i + 0.5) / len(names))
        axes.annotate(short(name, 10), at, ha="right", va="center", **place, **text(9, MUTED))


def short(name: str, most: int = 24) -> str:
    """A name on one line, cut where it is long."""
    name = " ".join(str(name).split())
    return name if len(name) <= most else f"{name[: most - 1]}…"


def number(value: float) -> str:
    return f"{value:.3g}".replace("-", "−")
