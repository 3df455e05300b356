"""Figures of pictures: grids of them, and pictures in rows that have names.

Pictures are (N, H, W) or (N, H, W, 3), uint8 or floats in [0, 1].
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from ...core import public
from ..paper import MUTED, WIDTH, axes_at, empty, name_axes, name_rows, number, room, short, text
from ..pictures import tiled


@public
def image_grid(images: ArrayLike, columns: int = 8) -> Figure:
    """Pictures in rows of `columns`."""
    return _picture(np.asarray(images), columns)[0]


@public
def picture_rows(names: Sequence[str], rows: Sequence[ArrayLike], below: Sequence[str] = ()) -> Figure:
    """Rows of as many pictures, a name beside each, so that pictures of one thing stand in one column.

    below: a few letters under each column. Raises ValueError for rows of different shapes, or another number of names.
    """
    keys, pictures = [short(name, 16) for name in names], [np.asarray(images) for images in rows]
    if len({p.shape for p in pictures}) != 1 or len(keys) != len(pictures):
        told = ", ".join(str(p.shape) for p in pictures) or "none"
        raise ValueError(f"expected rows of as many pictures of one size for {len(keys)} names, got {told}")
    columns = len(pictures[0])
    if len(below) not in (0, columns):
        raise ValueError(f"expected a text below each of the {columns} columns, got {len(below)}")
    figure, axes = _picture(np.concatenate(pictures), columns, left=max(52, room(keys)), bottom=18 * bool(below))
    name_rows(axes, keys)
    for i, note in enumerate(below):
        place = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points", "ha": "center", "va": "top"}
        axes.annotate(note, (i + 0.5, 0), xytext=(0, -6), **place, **text(9, MUTED))
    return figure


@public
def reconstructions(x: ArrayLike, reconstruction: ArrayLike, scores: ArrayLike | None = None) -> Figure:
    """Originals above their reconstructions, pair by pair, with the score (N,) of each below."""
    if np.shape(x) != np.shape(reconstruction):
        raise ValueError(
            f"expected as many reconstructions as originals, got {np.shape(reconstruction)} for {np.shape(x)}"
        )
    below = () if scores is None else [f"{score:.0f}".replace("-", "−") for score in np.asarray(scores)]
    return picture_rows(("original", "model"), (x, reconstruction), below)


@public
def neighbours(made: ArrayLike, nearest: ArrayLike, distances: ArrayLike) -> Figure:
    """Made pictures above the training picture nearest to each, with their distances (N,) below."""
    return picture_rows(("sample", "nearest"), (made, nearest), [number(d) for d in np.asarray(distances)])


@public
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


@public
def traversals(
    images: ArrayLike, names: Sequence[str], ticks: ArrayLike | None = None, beside: Sequence[str] = ()
) -> Figure:
    """One dimension of the code moved per row: pictures row by row, as many rows as names.

    ticks: the codes along a row, written below it. beside: a few words to the right of each row.
    """
    images, names, beside = np.asarray(images), [short(n, 10) for n in names], [short(b, 16) for b in beside]
    if not names or len(images) % len(names):
        raise ValueError(f"expected as many pictures for each of the {len(names)} names, got {len(images)} in all")
    if len(beside) not in (0, len(names)):
        raise ValueError(f"expected a word beside each of the {len(names)} rows, got {len(beside)}")
    columns = len(images) // len(names)
    right = room(beside) if beside else 0
    figure, axes = _picture(images, columns, left=52, bottom=0 if ticks is None else 22, right=right)
    name_rows(axes, names)
    name_rows(axes, beside, right=True)
    if ticks is not None:
        shown = [0, columns // 2, columns - 1]
        axes.set_xticks([(i + 0.5) for i in shown], [number(np.asarray(ticks)[i]) for i in shown])
    return figure


def _picture(
    images: NDArray, columns: int, gap: int = 2, left: float = 0, bottom: float = 0, right: float = 0
) -> tuple[Figure, Axes]:
    """Pictures in a grid, pixel by pixel, with margins in points. The axes count its cells from the upper left."""
    pixels = tiled(images, columns, gap)
    width = WIDTH - left - right
    height = width * pixels.shape[0] / pixels.shape[1]
    figure = empty(WIDTH, height + bottom)
    axes = axes_at(figure, left, bottom, width, height)
    axes.imshow(pixels, interpolation="none", aspect="auto", extent=(0, columns, -(-len(images) // columns), 0))
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    return figure, axes
