"""DATA on the command line: a built-in by its name, a file or a folder."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data import Annotated, datasets, files
from ..data.frames import container_of, read_csv, read_parquet, take
from ..data.lazy_rows import stored
from ..paths import expanded
from ..printable import listed, printable, printable_line
from ..suggest import nearest
from .arguments import FILES

OBS = "obs:"
"""What the name of a column of an `.h5ad` file begins with."""
BUILT_IN = ("mnist", "digits", "shapes")
SHAPES, SHAPES_TEST = 20_000, 2_000
LARGE = 2**30
"""Bytes of rows above which a source is not read whole, but as its rows are needed."""


@dataclass(frozen=True)
class Part:
    """Rows, their labels where these are known, what to call them, and what is given beside them.

    context: see `VAE.fit`. classes: labels that the model learns from. factors: what made the rows, by name. source:
    the file or folder that they are in.
    """

    x: Any
    labels: NDArray | None
    name: str
    context: NDArray | None = None
    classes: NDArray | None = None
    factors: dict[str, NDArray] | None = None
    source: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", printable_line(self.name))  # it is shown in messages and pages

    def first(self, count: int) -> Part:
        """So many rows of it at most."""
        if len(self.x) <= count:
            return self
        beside = {n: v if (v := getattr(self, n)) is None else v[:count] for n in ("labels", "context", "classes")}
        beside["factors"] = self.factors and {name: values[:count] for name, values in self.factors.items()}
        x = take(self.x, np.arange(count)) if container_of(self.x) else self.x[:count]
        return replace(self, x=x, name=f"the first {count:,} rows of {self.name}", **beside)


def is_built_in(data: str) -> bool:
    return data.partition(":")[0] in BUILT_IN


def train_and_test(data: str, seed: int) -> tuple[Part, Part | None]:
    """The training rows that `data` names and, of a built-in, its test set. The seed chooses the shapes."""
    if not is_built_in(data):
        return Part(read(data), None, Path(data).name, source=data), None
    name, _, count = data.partition(":")
    if name == "shapes":
        return _shapes(data, count, seed)
    if count:
        raise ValueError(f"{data}: only shapes takes a number of rows; pass {name}")
    train, test = (datasets.mnist if name == "mnist" else datasets.digits)(labels=True)
    return Part(*train, data), Part(*test, f"the test set of {data}")


def _shapes(data: str, count: str, seed: int) -> tuple[Part, Part]:
    total = math.prod(datasets.SHAPES_FACTORS.values())
    n, most = int(count) if count.isdecimal() else SHAPES if not count else 0, total - SHAPES_TEST
    if not 1 <= n <= most:
        raise ValueError(f"{data}: expected shapes:N with N random images for training, 1 to {most}")
    x, factors = datasets.shapes(np.random.default_rng(seed).permutation(total)[: n + SHAPES_TEST])
    named = zip((data, f"the test set of {data}"), (x[:n], x[n:]), (factors[:n], factors[n:]))
    train, test = (Part(r, f[:, 0], of, factors=dict(zip(datasets.SHAPES_FACTORS, f.T))) for of, r, f in named)
    return train, test


def read(source: str) -> Any:
    """The rows in a file or folder, those above `LARGE` bytes left where they are; of .csv and .parquet, a table.

    Raises FileNotFoundError, ValueError or ImportError; see `vaekit.data.files` and `vaekit.data.lazy_rows`.
    """
    path = expanded(source)
    if not path.exists() and path.suffix == "":
        raise FileNotFoundError(
            f"{printable(path.name)} is neither a built-in data set ({', '.join(BUILT_IN)}) nor a file or folder"
            f"{nearest(path.name, BUILT_IN)}"
        )
    if not path.exists():
        raise FileNotFoundError(f"expected {FILES}, but {printable(path)} does not exist")
    kind = path.suffix.lower() if path.is_file() else ""
    if kind == ".parquet" and path.stat().st_size <= LARGE:
        return read_parquet(path)
    if kind == ".h5ad":
        return stored(path)
    if path.is_dir() or kind == ".parquet" or (kind == ".npy" and path.stat().st_size > LARGE):
        rows = stored(path)
        return rows if rows.nbytes > LARGE else np.asarray(rows)
    if kind == ".csv":
        return read_csv(path)
    if path.is_file() and kind not in (".npy", ".npz"):
        raise ValueError(f"expected {FILES}, got {printable(path)}: save the rows as one of these")
    return files.read(path)


def _csv(path: Path) -> NDArray:
    """The columns of a .csv file, all of them numeric; an empty cell is NaN."""
    frame = read_csv(path)
    import pandas as pd

    words = [str(name) for name in frame.columns if not pd.api.types.is_numeric_dtype(frame[name])]
    if words:
        raise ValueError(
            f"expected columns of numbers in {printable(path)}, got {listed(words)}: encode or drop them first"
        )
    plain = frame.to_numpy()
    return frame.to_numpy(dtype=float, na_value=np.nan) if plain.dtype.kind not in "biuf" else plain


def beside(source: str | None, part: Part, flag: str) -> NDArray | None:
    """What a file holds, a built-in's own labels, or a column of an `.h5ad` file ("obs:NAME"), beside the rows of a
    part. Raises ValueError where there are none, or not as many."""
    if source is None:
        return None
    if source.startswith(OBS):
        if Path(part.source or "").suffix.lower() != ".h5ad":
            raise ValueError(
                f"--{flag} {printable(source)}: {part.name} is no .h5ad file, which has such columns; pass a file"
            )
        return Annotated(part.source).beside(source.removeprefix(OBS))
    if source == "own":
        if part.labels is None:
            raise ValueError(f"--{flag} own: {part.name} has no labels of its own; pass a file with one for each row")
        return np.asarray(part.labels)
    path = expanded(source)
    values = _words(path) if path.suffix.lower() == ".csv" else files.read(path)
    values = values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values
    if len(values) != len(part.x):
        raise ValueError(
            f"--{flag} {printable(path.name)} has {len(values)} rows, and {part.name} {len(part.x)}: pass as many"
        )
    return values


def _words(path: Path) -> NDArray:
    """A .csv of numbers, or of one column of words."""
    import pandas as pd

    frame = read_csv(path)
    whole = frame.shape[1] == 1 and not pd.api.types.is_numeric_dtype(frame.iloc[:, 0])
    return frame.iloc[:, 0].to_numpy(dtype=object) if whole else _csv(path)
