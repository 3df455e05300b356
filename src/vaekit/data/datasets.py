"""Built-in data sets, shipped or rendered and never downloaded; binarising and naming arrays."""

from __future__ import annotations

import hashlib
import lzma
import math
from functools import cache
from importlib import resources
from typing import Literal, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..core import importing, public
from .frames import container_of, table_digest
from .lazy_rows import LazyRows

Labelled = tuple[NDArray, NDArray]


# -- handwritten digits ----------------------------------------------------------------------------


@overload
def mnist(labels: Literal[False] = False) -> tuple[NDArray, NDArray]: ...
@overload
def mnist(labels: Literal[True]) -> tuple[Labelled, Labelled]: ...
@public
def mnist(labels: bool = False) -> tuple[NDArray, NDArray] | tuple[Labelled, Labelled]:
    """MNIST in its official split: `x_train, x_test`, uint8 (60000, 28, 28) and (10000, 28, 28).

    With `labels=True`, `(x_train, y_train), (x_test, y_test)`, labels int64 in 0..9.
    It ships with the package, bit-identical to the official files (LeCun et al. 1998, CC BY-SA 3.0).
    Every call returns fresh copies.
    """
    x_train, x_test = (_mnist_file(f"{part}-images-idx3-ubyte").copy() for part in ("train", "t10k"))
    if not labels:
        return x_train, x_test
    y_train, y_test = (_mnist_file(f"{part}-labels-idx1-ubyte").astype(np.int64) for part in ("train", "t10k"))
    return (x_train, y_train), (x_test, y_test)


@cache
def _mnist_file(name: str) -> NDArray:
    """The array in an IDX file: two zero bytes, type (8: uint8), rank, big-endian sizes, then the values."""
    content = lzma.decompress(resources.files(__package__).joinpath("mnist", f"{name}.xz").read_bytes())
    rank = content[3]
    shape = np.frombuffer(content, dtype=">u4", count=rank, offset=4)
    return np.frombuffer(content, dtype=np.uint8, offset=4 + 4 * rank).reshape(shape)


@overload
def digits(labels: Literal[False] = False) -> tuple[NDArray, NDArray]: ...
@overload
def digits(labels: Literal[True]) -> tuple[Labelled, Labelled]: ...
@public
def digits(labels: bool = False) -> tuple[NDArray, NDArray] | tuple[Labelled, Labelled]:
    """scikit-learn's 8 x 8 digits: `x_train, x_test`, float32 (1437, 8, 8) and (360, 8, 8).

    Values are k/16 for k = 0..16, so in [0, 1]; the first 1437 images train, the last 360 test.
    With `labels=True`, `(x_train, y_train), (x_test, y_test)`, labels int64 in 0..9.
    Raises ImportError without scikit-learn.
    """
    try:
        with importing():
            from sklearn.datasets import load_digits
    except ImportError as error:
        raise ImportError('datasets.digits() needs scikit-learn: pip install "vaekit[sklearn]"') from error
    bunch = load_digits()
    x, y = (bunch.images / 16).astype(np.float32), bunch.target.astype(np.int64)
    if labels:
        return (x[:1437], y[:1437]), (x[1437:], y[1437:])
    return x[:1437], x[1437:]


# -- shapes with known factors ---------------------------------------------------------------------

SHAPES_FACTORS: dict[str, int] = {"shape": 3, "scale": 6, "orientation": 40, "x": 32, "y": 32}
"""The factors of `shapes` and how many values each takes, in index order."""

_SIZES = tuple(SHAPES_FACTORS.values())
_COUNT = math.prod(_SIZES)
_SIDE, _REACH = 64, 16  # pixels: the image's side; from the middle of a sprite to its edge


@public
def shapes(index: ArrayLike | None = None) -> tuple[NDArray, NDArray]:
    """Binary 64 x 64 images of one shape each, and the factors that made them.

    In the manner of dSprites (Matthey et al. 2017), rendered here: not its pixels. There are 737,280:
    shape (square, ellipse, heart) x scale (0.5, 0.6, ..., 1) x orientation (2 pi k/40, anticlockwise)
    x horizontal position (32) x vertical position (32).

    `index` is 1-d integers in row-major order of the factors (y varies fastest); None means all, 3 GB.
    Returns `x` uint8 {0, 1} (N, 64, 64) and `factors` int64 (N, 5), columns as in `SHAPES_FACTORS`.

    A pixel is 1 where its centre lies in the shape. At scale 1 the square has side 22.6 pixels, the ellipse
    axes of 31.2 and 15.6, and the heart is (a^2 + b^2 - 1)^3 <= a^2 b^3 with 12.7 pixels to the unit. The
    shape turns about pixel (row 16 + y, column 16 + x), the heart about (0, 0.245) of its own plane, and
    reaches at most 16 pixels from there, so nothing is ever cut off.

    Images are distinct but for symmetry: a square turned by 90 degrees (10 orientations apart) and an
    ellipse by 180 (20 apart) are the same image, which leaves 430,080 distinct ones.

    Raises ValueError for an index outside 0..737279 or not 1-d integers.
    """
    index = _integers(np.arange(_COUNT) if index is None else index, name="index", shape=(None,))
    if index.size and not 0 <= (worst := _farthest(index, _COUNT)) < _COUNT:
        raise ValueError(f"shapes has indices 0..{_COUNT - 1}, got {worst}: choose from range({_COUNT})")
    factors = np.stack(np.unravel_index(index, _SIZES), axis=1).astype(np.int64, copy=False)
    sprite, x, y = index // (32 * 32), factors[:, 3], factors[:, 4]
    images = np.zeros((len(index), _SIDE, _SIDE), dtype=np.uint8)
    box = (2 * _REACH + 1, 2 * _REACH + 1)
    windows = np.lib.stride_tricks.sliding_window_view(images, box, axis=(1, 2), writeable=True)
    for start in range(0, len(index), 1024):  # bounds the memory of the gathered sprites
        rows = np.arange(start, min(start + 1024, len(index)))
        windows[rows, y[rows], x[rows]] = _sprites()[sprite[rows]]
    return images, factors


@public
def shapes_index(factors: ArrayLike) -> NDArray:
    """The index of each row of `factors` (N, 5) in `shapes`: the inverse of its second result, int64 (N,).

    Raises ValueError for factors that are not (N, 5) integers or lie outside `SHAPES_FACTORS`.
    """
    factors = _integers(factors, name="factors", shape=(None, len(_SIZES)))
    for (name, size), column in zip(SHAPES_FACTORS.items(), factors.T, strict=True):
        if column.size and not 0 <= (worst := _farthest(column, size)) < size:
            raise ValueError(f"the factor {name!r} takes 0..{size - 1}, got {worst}: see SHAPES_FACTORS")
    return np.ravel_multi_index(tuple(factors.T), _SIZES).astype(np.int64, copy=False)


@cache
def _sprites() -> NDArray:
    """Every shape, scale and orientation about the centre of a 33 x 33 window, uint8 (720, 33, 33)."""
    u = np.arange(-_REACH, _REACH + 1, dtype=np.float64)
    u, v = u[None, :], -u[:, None]  # v points up
    sprites = []
    for shape, period in (("square", 10), ("ellipse", 20), ("heart", 40)):
        for scale in np.arange(5, 11) / 10:
            for k in range(40):
                turn = 2 * np.pi * (k % period) / 40  # the remainder makes symmetric images equal bit for bit
                a = (u * np.cos(turn) + v * np.sin(turn)) / scale
                b = (v * np.cos(turn) - u * np.sin(turn)) / scale
                sprites.append(_covers(shape, a, b))
    return np.stack(sprites).astype(np.uint8)


def _covers(shape: str, a: NDArray, b: NDArray) -> NDArray:
    """Whether the shape at scale 1 and orientation 0 covers the points (a, b), in pixels from its centre."""
    if shape == "square":
        return np.maximum(np.abs(a), np.abs(b)) <= 11.3
    if shape == "ellipse":
        return (a / 15.6) ** 2 + (b / 7.8) ** 2 <= 1
    a, b = a / 12.7, b / 12.7 + 0.245
    return (a**2 + b**2 - 1) ** 3 <= a**2 * b**3


def _integers(values: ArrayLike, name: str, shape: tuple[int | None, ...]) -> NDArray:
    """`values` as int64 of the given shape (None: any size), or ValueError."""
    array = np.asarray(values)
    fits = array.ndim == len(shape) and all(want in (None, got) for want, got in zip(shape, array.shape, strict=True))
    if array.dtype.kind not in "iu" or not fits:
        wanted = "(N,)" if len(shape) == 1 else f"(N, {shape[1]})"
        got = f"{array.dtype} of shape {array.shape}"
        raise ValueError(f"{name} must be integers of shape {wanted}, got {got}: pass a NumPy integer array")
    return array.astype(np.int64)


def _farthest(values: NDArray, size: int) -> int:
    """The value that lies farthest outside 0..size-1, if any does."""
    low, high = int(values.min()), int(values.max())
    return low if low < 0 else high if high >= size else 0


# -- binary images, and names for arrays -----------------------------------------------------------


@public
def binarise(x: ArrayLike, seed: int = 0) -> NDArray:
    """Static stochastic binarisation: each value of `x` drawn once as Bernoulli(grey level), uint8 {0, 1}.

    `x`, of any shape, is uint8 (P(1) = x/255), floats in [0, 1] (P(1) = x) or bool (unchanged). One PCG64
    stream under `seed` is read in row-major order, so the draw is the same on every machine, and `digest`
    names it. Raises ValueError for other values or types.
    """
    x = np.asarray(x)
    if x.dtype.kind not in "fb" and x.dtype != np.uint8:
        raise ValueError(f"binarise reads uint8, floats in [0, 1] or bool, got {x.dtype}: convert x first")
    if x.dtype.kind == "f" and x.size and not (x.min() >= 0 and x.max() <= 1):
        raise ValueError(
            f"floats to binarise must lie in [0, 1], got {x.min():g} to {x.max():g}: rescale, or impute NaN"
        )
    scale = 255.0 if x.dtype == np.uint8 else 1.0
    noise, levels = np.random.Generator(np.random.PCG64(seed)), x.reshape(-1)
    drawn = np.empty(levels.shape, dtype=np.uint8)
    for start in range(0, levels.size, 1 << 20):  # bounds the memory of the noise; the stream is the same
        block = levels[start : start + (1 << 20)]
        drawn[start : start + (1 << 20)] = noise.random(block.size) < block / scale
    return drawn.reshape(x.shape)


@public
def digest(x: ArrayLike | LazyRows) -> str:
    """SHA-256 (hexadecimal) of the dtype, shape and values of an array: its name in a report.

    The same on machines of either byte order and for any memory layout, and for rows in memory or stored, which are
    read once; of a table, that of its columns by name. Raises ValueError for object arrays.
    """
    if container_of(x) is not None:
        return table_digest(x)
    x = x if isinstance(x, LazyRows) else np.asarray(x)
    if x.dtype.hasobject:
        raise ValueError(f"digest reads arrays of plain values, got dtype {x.dtype}: convert x to numbers first")
    dtype = x.dtype.newbyteorder("<")
    sha = hashlib.sha256(f"{dtype.str} {x.shape}".encode())
    for part in x.pieces() if isinstance(x, LazyRows) else [x]:
        sha.update(np.ascontiguousarray(part.astype(dtype, copy=False)).reshape(-1).view(np.uint8))
    return sha.hexdigest()
