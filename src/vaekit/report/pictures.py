"""Rows of image data as pictures: levels to display, and many pictures as one exact array of pixels."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ..data.spec import DataSpec

SMALLEST = 4
"""Image-shaped rows with a side below this many pixels are shown as columns of numbers."""


def shows_pictures(spec: DataSpec) -> bool:
    """Whether rows of these data are worth looking at as pictures."""
    return spec.is_image and min(_layout(spec)[0]) >= SMALLEST


def _layout(spec: DataSpec) -> tuple[tuple[int, int], int | None]:
    """(height, width), and the axis of the channels in a row (None: there are none)."""
    shape = spec.shape
    if len(shape) == 2:
        return (shape[0], shape[1]), None
    last = shape[-1] in (1, 3, 4) and shape[0] not in (1, 3, 4)
    return (shape[:2], 2) if last else (shape[1:], 0)


def displayable(x: NDArray, spec: DataSpec) -> NDArray:
    """Rows in the data's own units -> levels (N, H, W, 1 or 3), uint8: black is the least value, white the greatest.

    The range is that of the kind of data, such as 0..255 for 8-bit images, of numbers that have none that of the
    training data. A missing value is mid-grey; a fourth channel (opacity) is left out.
    """
    low, high = (0.0, spec.top) if math.isfinite(spec.top) else (spec.low, spec.high)
    levels = (np.asarray(x, dtype=np.float64) - low) / max(high - low, 1e-12)
    axis = _layout(spec)[1]
    levels = levels[..., None] if axis is None else np.moveaxis(levels, axis + 1, -1)
    levels = levels[..., :3] if levels.shape[-1] >= 3 else levels[..., :1]
    return (np.nan_to_num(levels, nan=0.5).clip(0, 1) * 255).round().astype(np.uint8)


def as_levels(images: NDArray) -> NDArray:
    """(N, H, W), (N, H, W, 1) or (N, H, W, 3), uint8 or floats in [0, 1] -> (N, H, W, 1 or 3) uint8.

    Raises ValueError for another shape.
    """
    images = np.asarray(images)
    images = images[..., None] if images.ndim == 3 else images
    if images.ndim != 4 or images.shape[-1] not in (1, 3):
        raise ValueError(
            f"expected pictures (N, H, W) or (N, H, W, 3), got shape {images.shape}: move the channels last"
        )
    if images.dtype == np.uint8:
        return images
    return (np.nan_to_num(images.astype(np.float64), nan=0.5).clip(0, 1) * 255).round().astype(np.uint8)


def tiled(images: NDArray, columns: int, gap: int = 2, width: int = 1200) -> NDArray:
    """Pictures (N, H, W, 1 or 3) in rows of `columns`, as pixels (rows, columns, 4) uint8 with transparent gaps.

    Each pixel is repeated a whole number of times while the whole stays within `width`; pictures too large for it
    are averaged over whole blocks.
    """
    images = as_levels(images)
    side = columns * images.shape[2]
    if side <= width:
        images = images.repeat(width // side, axis=1).repeat(width // side, axis=2)
    else:
        images = _averaged(images, -(-side // width))
    count, height, across = images.shape[:3]
    rows = -(-count // columns)
    canvas = np.zeros((rows * (height + gap), columns * (across + gap), 4), dtype=np.uint8)
    for i, image in enumerate(images):
        top, left = i // columns * (height + gap), i % columns * (across + gap)
        canvas[top : top + height, left : left + across, :3] = image
        canvas[top : top + height, left : left + across, 3] = 255
    return canvas[: canvas.shape[0] - gap, : canvas.shape[1] - gap]


def _averaged(images: NDArray, block: int) -> NDArray:
    count, height, width, channels = images.shape
    block = min(block, height, width)
    cut = images[:, : height // block * block, : width // block * block]
    blocks = cut.reshape(count, height // block, block, width // block, block, channels)
    return blocks.mean((2, 4)).round().astype(np.uint8)
