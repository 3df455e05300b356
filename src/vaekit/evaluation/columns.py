"""Tables of one form as columns of numbers and of levels: what synthetic and real rows are compared in."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..suggest import nearest

Name = Hashable
FEW = 20
"""Different numbers, at most, that count as levels where each is met `REPEATED` times on average."""
REPEATED = 5
SHOWN = 6


@dataclass(frozen=True)
class Columns:
    """Rows as columns: values (N, D), float64, numbers as they are and levels by their place in `levels`, NaN where a
    cell is missing. levels: of each column, None where it holds numbers."""

    names: tuple[Name, ...]
    values: NDArray
    levels: tuple[tuple | None, ...]

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, rows: NDArray | slice) -> Columns:
        return Columns(self.names, self.values[rows], self.levels)

    @property
    def is_level(self) -> NDArray:
        """(D,): which columns hold levels."""
        return np.array([own is not None for own in self.levels])

    def place(self, name: Name) -> int:
        """Raises ValueError, with the nearest name, where there is no such column."""
        if name not in self.names:
            raise ValueError(f"the tables have no column {name!r}{nearest(str(name), map(str, self.names))}")
        return self.names.index(name)

    def without(self, place: int) -> Columns:
        """All columns but one."""
        left = [i for i in range(len(self.names)) if i != place]
        return Columns(tuple(self.names[i] for i in left), self.values[:, left], tuple(self.levels[i] for i in left))


def as_columns(tables: Mapping[str, object], levels: Sequence[Name] | None = None) -> dict[str, Columns]:
    """Tables by what they are ("real", ...), the first of which says what the columns are, in one form.

    A table is a pandas or polars data frame, an Arrow table, a mapping of names to arrays, a structured array or an
    array (N, D). levels: names of the columns that hold levels; None: words, truth values, categories, and numbers of
    which there are few, each met often. Raises ValueError, with the column's name, for tables that differ in their
    columns, columns of different kinds and infinities.
    """
    raw = {what: read_table(table, what) for what, table in tables.items()}
    first, own = next(iter(raw.items()))
    names = tuple(own)
    for name in levels or ():
        if name not in own:
            raise ValueError(f"levels={name!r}: the tables have no such column{nearest(str(name), map(str, names))}")
    for what, table in raw.items():
        lost, more = [n for n in names if n not in table], [n for n in table if n not in own]
        if lost or more:
            raise ValueError(
                f"the columns of {what} are not those of {first}: it lacks {_listed(lost)} and has {_listed(more)} "
                "besides: pass tables of the same columns"
            )
    parts = [_column(n, {w: t[n] for w, t in raw.items()}, levels) for n in names]
    kinds = tuple(own for _, own in parts)
    return {w: Columns(names, np.stack([cells[w] for cells, _ in parts], 1), kinds) for w in raw}


def _listed(names: Sequence[Name]) -> str:
    return ", ".join(map(str, names[:SHOWN])) + ", ..." * (len(names) > SHOWN) if names else "none"


def read_table(table: object, what: str) -> dict[Name, NDArray]:
    """The columns of a table by name, whatever holds them. Raises ValueError for two of one name and uneven ones."""
    if isinstance(table, Mapping):
        pairs = [(n, np.asarray(v)) for n, v in table.items()]
    elif hasattr(table, "column_names"):  # Arrow
        pairs = [(n, c.to_numpy(zero_copy_only=False)) for n, c in zip(table.column_names, table.columns)]
    elif hasattr(table, "get_columns"):  # polars
        pairs = [(c.name, c.to_numpy()) for c in table.get_columns()]
    elif hasattr(table, "iloc"):  # pandas
        pairs = [(n, _of_pandas(table.iloc[:, i])) for i, n in enumerate(table.columns)]
    else:
        array = np.asarray(table)
        if array.dtype.names is not None:
            pairs = [(n, array[n]) for n in array.dtype.names]
        elif array.ndim == 2:
            pairs = [(f"x[{i}]", array[:, i]) for i in range(array.shape[1])]
        else:
            raise ValueError(f"expected {what} as a table, or rows (N, D), got an array of shape {array.shape}")
    columns = dict(pairs)
    if len(columns) < len(pairs):
        twice = [n for i, (n, _) in enumerate(pairs) if n in [m for m, _ in pairs[:i]]]
        raise ValueError(f"{what} has two columns of the name {twice[0]!r}: rename one")
    sizes = {len(c) for c in columns.values()}
    if len(sizes) != 1 or min(sizes) < 2:
        got = "no columns" if not sizes else f"columns of {', '.join(map(str, sorted(sizes)))} rows"
        raise ValueError(f"expected at least two rows in {what}, as many in every column, got {got}")
    return columns


def _of_pandas(column: Any) -> NDArray:
    """pandas' own types with gaps as objects, or floats, with NaN."""
    kind = column.dtype.kind if hasattr(column.dtype, "kind") else "O"
    if kind in "iuf":
        return column.to_numpy(dtype=np.float64, na_value=np.nan)
    return column.to_numpy() if kind in "bmM" and not column.isna().any() else column.astype(object).to_numpy()


def _column(
    name: Name, raw: Mapping[str, NDArray], levels: Sequence[Name] | None
) -> tuple[dict[str, NDArray], tuple | None]:
    """A column of every table as numbers, and its levels, where it has any."""
    cells = {what: _numbers(values) for what, values in raw.items()}
    words = [what for what, own in cells.items() if own is None]
    if words or (name in levels if levels is not None else _are_few(next(iter(cells.values())))):
        if words and len(words) < len(cells) and not all(_blank(raw[w]) for w in cells if w not in words):
            other = next(w for w in cells if w not in words)
            raise ValueError(
                f"column {name!r} holds words in {words[0]} and numbers in {other}: bring both to one type"
            )
        return _coded(raw if words else cells)
    for what, own in cells.items():
        if np.isinf(own).any():
            raise ValueError(f"column {name!r} of {what} has infinities: mark those cells missing (NaN)")
    return cells, None


def _blank(values: NDArray) -> bool:
    return not _seen(values).any()


def _seen(values: NDArray) -> NDArray:
    """(N,): which cells are there."""
    if values.dtype.kind == "f":
        return ~np.isnan(values)
    if values.dtype.kind in "mM":
        return ~np.isnat(values)
    if values.dtype.kind == "O":
        return np.array([v is not None and type(v).__name__ != "NAType" and v == v for v in values], dtype=bool)
    return np.ones(len(values), dtype=bool)


def _numbers(values: NDArray) -> NDArray | None:
    """(N,), float64 with NaN for gaps, dates in days; None where the values are no numbers."""
    seen = _seen(values)
    if values.dtype.kind == "O":
        kinds = {type(v) for v in values[seen]}
        if any(issubclass(k, (str, bool, np.bool_)) for k in kinds):
            return None
        dates = bool(kinds) and all(hasattr(v, "year") or isinstance(v, np.datetime64) for v in values[seen])
        values = np.array([v if s else ("NaT" if dates else np.nan) for v, s in zip(values, seen)], dtype=object)
        values = values.astype("datetime64[us]" if dates else np.float64)
    if values.dtype.kind in "mM":
        days = values.astype(f"{'datetime' if values.dtype.kind == 'M' else 'timedelta'}64[us]").astype(np.int64)
        return np.where(seen, days / 86_400e6, np.nan)
    return values.astype(np.float64) if values.dtype.kind in "iuf" else None


def _are_few(numbers: NDArray) -> bool:
    seen = numbers[~np.isnan(numbers)]
    found = len(np.unique(seen))
    return found <= min(FEW, len(seen) / REPEATED) and bool(np.isfinite(seen).all())


def _coded(raw: Mapping[str, NDArray]) -> tuple[dict[str, NDArray], tuple]:
    """Levels of all tables, in their order, and the cells as their places."""
    seen = {what: _seen(values) for what, values in raw.items()}
    own = {what: [_plain(v) for v in raw[what][seen[what]]] for what in raw}
    met = sorted({v for values in own.values() for v in values}, key=lambda v: (isinstance(v, str), v))
    place, cells = {v: float(i) for i, v in enumerate(met)}, {}
    for what, values in own.items():
        cells[what] = np.full(len(raw[what]), np.nan)
        cells[what][seen[what]] = [place[v] for v in values]
    return cells, tuple(met)


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
