"""Rows that come back in the container of the rows that were passed, with their index and their columns."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .frames import container_of, names_of

FRAMES = ("pandas", "polars", "pyarrow")
"""Containers with named columns that a model of arrays reads, too."""


def is_frame(x: object) -> bool:
    """Whether x is a pandas or polars data frame or an Arrow table."""
    return container_of(x) in FRAMES


def collected(x: Any) -> Any:
    """A lazy polars frame in memory; other data as they are. Raises ValueError for a single column, a Series."""
    if type(x).__name__ == "Series" and type(x).__module__.partition(".")[0] in FRAMES:
        raise ValueError(f"expected a table, got a Series of {len(x)} values: pass series.to_frame()")
    return x.collect() if container_of(x) == "polars" and type(x).__name__ == "LazyFrame" else x


def indexed(made: Any, x: object, repeats: int = 1) -> Any:
    """A table with the index and the column labels of x, if both are pandas; `repeats` rows for each row of x."""
    if container_of(made) != "pandas" or type(x).__module__.partition(".")[0] != "pandas":
        return made
    if len(made) == len(x.index) * repeats:
        made.index = x.index if repeats == 1 else x.index.repeat(repeats)
    if container_of(x) is None:
        return made
    names = names_of(x)
    if all(name in names for name in made.columns):
        made.columns = x.columns[[names.index(name) for name in made.columns]]
    return made


def framed(rows: NDArray, x: object) -> Any:
    """Rows (N, D) as a frame like x: its container, index and column labels. Other shapes stay arrays."""
    kind = container_of(x)
    if kind not in FRAMES or rows.ndim != 2 or rows.shape[1] != x.shape[1]:
        return rows
    if kind == "pandas":
        import pandas as pd

        return pd.DataFrame(rows, index=x.index, columns=x.columns)
    names = names_of(x)
    if kind == "polars":
        import polars as pl

        return pl.DataFrame({str(name): np.ascontiguousarray(own) for name, own in zip(names, rows.T)})
    import pyarrow as pa

    return pa.table({str(name): pa.array(np.ascontiguousarray(own)) for name, own in zip(names, rows.T)})
