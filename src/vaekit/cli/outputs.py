"""What the verbs write: arrays, tables of codes and sheets of images, each whole or not at all."""

from __future__ import annotations

import io
import math
import sys
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data.spec import DataSpec
from ..report.pictures import displayable, shows_pictures, tiled
from ..storage import write_atomic

ACROSS = 20
"""Pairs of images in a row of a sheet."""


@dataclass(frozen=True)
class Outcome:
    """What a verb has to say: as text, as JSON, and as an exit code."""

    text: str
    record: dict[str, Any]
    code: int = 0


def say(args: Namespace, text: str) -> None:
    """Tells on stderr what is being done, unless it is to be quiet."""
    if not args.quiet:
        print(text, file=sys.stderr, flush=True)


def chosen(output: str | None, default: Path, *kinds: str) -> Path:
    """Where to write. Raises ValueError where the name does not end in one of the kinds."""
    path = default if output is None else Path(output).expanduser()
    if path.suffix.lower() not in kinds:
        raise ValueError(f"--output {path}: expected a name that ends in {', '.join(kinds)}")
    return path


def array(path: Path, **arrays: NDArray) -> None:
    """A .npz of all arrays, or a .npy of the last."""
    buffer = io.BytesIO()
    if path.suffix.lower() == ".npz":
        np.savez(buffer, **arrays)
    else:
        np.save(buffer, list(arrays.values())[-1])
    write_atomic(path, buffer.getvalue())


def table(path: Path, codes: NDArray) -> None:
    """Codes (N, D) as a table with the columns z0, z1, ... Raises ImportError where .parquet has no writer."""
    buffer = io.BytesIO()
    names = [f"z{i}" for i in range(codes.shape[1])]
    if path.suffix.lower() == ".csv":
        np.savetxt(buffer, codes, fmt="%.9g", delimiter=",", header=",".join(names), comments="")
    else:
        try:
            import pandas as pd

            pd.DataFrame(codes, columns=names).to_parquet(buffer)
        except ImportError as error:
            raise ImportError('writing .parquet needs pandas and pyarrow: pip install "vaekit[tables]"') from error
    write_atomic(path, buffer.getvalue())


def frame(path: Path, rows: Any) -> None:
    """A table as .csv or .parquet, as the end of the name says."""
    buffer = io.BytesIO()
    if path.suffix.lower() == ".csv":
        rows.to_csv(buffer, index=False)
    else:
        rows.to_parquet(buffer, index=False)
    write_atomic(path, buffer.getvalue())


def suffix(spec: DataSpec) -> str:
    """How rows of these data are written by default."""
    return ".png" if shows_pictures(spec) else ".npy" if spec.schema is None else ".csv"


def sheet(path: Path, rows: NDArray, spec: DataSpec, below: NDArray | None = None, across: int | None = None) -> None:
    """Image rows as one picture: in lines of `across` (None: a square), or each above its counterpart in `below`."""
    images = _images(path, rows, spec)
    if below is None:
        return _png(path, tiled(images, across or math.ceil(math.sqrt(len(images)))))
    across = min(ACROSS, len(images))
    filler = np.full((-len(images) % across, *images.shape[1:]), 255, np.uint8)
    pair = (np.concatenate([part, filler]) for part in (images, _images(path, below, spec)))
    stacked = np.stack([part.reshape(-1, across, *part.shape[1:]) for part in pair], axis=1)
    return _png(path, tiled(stacked.reshape(-1, *images.shape[1:]), across))


def _images(path: Path, rows: NDArray, spec: DataSpec) -> NDArray:
    if not shows_pictures(spec):
        raise ValueError(f"--output {path}: rows of shape {spec.shape} are no pictures; write .npy or .npz")
    return displayable(rows, spec)


def _png(path: Path, pixels: NDArray) -> None:
    from matplotlib.image import imsave

    buffer = io.BytesIO()
    imsave(buffer, pixels, format="png")
    write_atomic(path, buffer.getvalue())
