"""What the verbs write: arrays, tables of codes and sheets of images, each whole or not at all."""

from __future__ import annotations

import csv
import io
import math
import sys
from argparse import Namespace
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data.spec import DataSpec
from ..paths import expanded
from ..printable import printable, printable_lines
from ..report.pictures import displayable, shows_pictures, tiled
from ..storage import write_atomic

ACROSS = 20
"""Pairs of images in a row of a sheet."""


@dataclass(frozen=True)
class CommandResult:
    """What a verb has to say: as text, as JSON, and as an exit code."""

    text: str
    record: dict[str, Any]
    code: int = 0


def say(args: Namespace, text: str) -> None:
    """Tells on stderr what is being done, unless it is to be quiet."""
    if not args.quiet:
        print(printable_lines(text), file=sys.stderr, flush=True)


def written(args: Namespace, path: Path, rows: int, what: str) -> CommandResult:
    """What a verb says that wrote a file."""
    return CommandResult(f"{what}: {printable(path)}", {"run": args.run, "output": str(path), "rows": rows})


def chosen(output: str | None, default: Path, *kinds: str) -> Path:
    """Where to write. Raises ValueError where the name does not end in one of the kinds."""
    path = default.expanduser() if output is None else expanded(output)
    if path.suffix.lower() not in kinds:
        raise ValueError(f"--output {printable(path)}: expected a name that ends in {', '.join(kinds)}")
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
        buffer.write(csv_of(names, codes))
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
        rows.to_csv(buffer, index=False, errors="backslashreplace")  # a lone surrogate has no bytes
    else:
        rows.to_parquet(buffer, index=False)
    write_atomic(path, buffer.getvalue())


def csv_of(names: Iterable[object], numbers: NDArray) -> bytes:
    """A .csv of numbers (N, D), to nine digits, under names, which are quoted where they have to be.

    Values are written as they are: a name that begins with = is a formula to a spreadsheet, and is not changed, since a
    table that is read back must be the same.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([str(name) for name in names])
    writer.writerows([f"{value:.9g}" for value in row] for row in numbers.tolist())
    return text.getvalue().encode(errors="backslashreplace")


TABLES = (".csv", ".parquet", ".npy", ".npz")
"""What rows of any kind are written as."""


def columns(path: Path, values: dict[str, NDArray]) -> None:
    """Columns of numbers side by side, (N,) each, under their names; as .npy and .npz the array of them."""
    stacked = np.stack([np.asarray(v, dtype=np.float64) for v in values.values()], 1)
    if path.suffix.lower() in (".npy", ".npz"):
        array(path, x=stacked)
    elif path.suffix.lower() == ".csv":
        write_atomic(path, csv_of(values, stacked))
    else:
        frame(path, _pandas().DataFrame(dict(zip(values, stacked.T))))


def rows(path: Path, made: Any, several: bool) -> None:
    """Rows, or several fillings of them, whose number is then the first column of a table.

    Raises ValueError for a table as an array, and for rows of more than one dimension as a table.
    """
    kind, parts = path.suffix.lower(), list(made) if several else [made]
    if hasattr(parts[0], "columns"):
        if kind not in (".csv", ".parquet"):
            raise ValueError(f"--output {printable(path)}: a table is written as .csv or .parquet")
        whole = [t.assign(imputation=i) if several else t for i, t in enumerate(parts, 1)]
        return frame(path, _pandas().concat(whole))
    if kind in (".npy", ".npz"):
        return array(path, x=np.asarray(made))
    if parts[0].ndim != 2:
        raise ValueError(
            f"--output {printable(path)}: rows of shape {parts[0].shape[1:]} are no columns; write .npy or .npz"
        )
    numbered = [{"imputation": np.full(len(t), i)} if several else {} for i, t in enumerate(parts, 1)]
    named = [own | {f"x{j}": column for j, column in enumerate(t.T)} for own, t in zip(numbered, parts)]
    return columns(path, {name: np.concatenate([own[name] for own in named]) for name in named[0]})


def _pandas() -> Any:
    try:
        import pandas as pd
    except ImportError as error:
        raise ImportError('tables need pandas: pip install "vaekit[tables]"') from error
    return pd


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
        raise ValueError(f"--output {printable(path)}: rows of shape {spec.shape} are no pictures; write .npy or .npz")
    return displayable(rows, spec)


def _png(path: Path, pixels: NDArray) -> None:
    from matplotlib.image import imsave

    buffer = io.BytesIO()
    imsave(buffer, pixels, format="png")
    write_atomic(path, buffer.getvalue())
