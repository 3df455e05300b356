"""Tables of one form as columns of numbers and of levels: what synthetic and real rows are compared in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..data.column import LEVELLED, numbers
from ..data.frames import Name, Raw, columns_of
from ..data.inference import kind_of
from ..printable import listed
from ..suggest import nearest

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

    A table is a pandas or polars data frame, an Arrow table, a structured array, the path of a .csv or .parquet file, a
    mapping of names to arrays or an array (N, D). levels: names of the columns that hold levels; None: words, and the
    columns of which `Schema.infer` says so. Dates are seconds since 1970. Raises ValueError, with the column's name,
    for tables that differ in their columns, columns of different kinds and infinities, TypeError for types that are not
    understood.
    """
    raw = {what: _read(table, what) for what, table in tables.items()}
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
    return listed(names, SHOWN)


def _read(table: object, what: str) -> dict[Name, Raw]:
    try:
        columns = columns_of(table)
    except (TypeError, ValueError) as error:
        raise (TypeError if isinstance(error, TypeError) else ValueError)(f"{what}: {error}") from error
    sizes = {len(c.values) for c in columns.values()}
    if len(sizes) != 1 or min(sizes) < 2:
        got = "no columns" if not sizes else f"columns of {', '.join(map(str, sorted(sizes)))} rows"
        raise ValueError(f"expected at least two rows in {what}, as many in every column, got {got}")
    return columns


def _column(
    name: Name, raw: Mapping[str, Raw], levels: Sequence[Name] | None
) -> tuple[dict[str, NDArray], tuple | None]:
    """A column of every table as numbers, and its levels, where it has any."""
    for what, own in raw.items():
        if own.values.dtype.kind == "f" and np.isinf(own.values).any():
            raise ValueError(f"column {name!r} of {what} has infinities: mark those cells missing (NaN)")
    kind = kind_of(next((own for own in raw.values() if own.seen.any()), next(iter(raw.values()))))
    if kind == "datetime" and name not in (levels or ()):
        return {what: numbers(own, name, dated=True) for what, own in raw.items()}, None
    words = [what for what, own in raw.items() if _holds_words(own)]
    others = [what for what, own in raw.items() if what not in words and own.seen.any()]
    if words and others:
        raise ValueError(f"column {name!r} holds words in {words[0]}, but not in {others[0]}: bring both to one type")
    if words or (kind in LEVELLED if levels is None else name in levels):
        return _coded(raw)
    exact = [own.values[own.seen] for own in raw.values() if own.values.dtype.kind in "iu" and own.seen.any()]
    origin = min((int(values.min()) for values in exact), default=0)  # else float64 would make them equal
    return {what: numbers(own, name, origin=origin) for what, own in raw.items()}, None


def _holds_words(column: Raw) -> bool:
    return column.values.dtype.kind == "O" and any(isinstance(v, str) for v in column.values[column.seen])


def _coded(raw: Mapping[str, Raw]) -> tuple[dict[str, NDArray], tuple]:
    """Levels of all tables, in their order, and the cells as their places."""
    met = sorted({v for own in raw.values() for v in own.values[own.seen].tolist()})
    place, cells = {v: float(i) for i, v in enumerate(met)}, {}
    for what, own in raw.items():
        cells[what] = np.full(len(own.values), np.nan)
        cells[what][own.seen] = [place[v] for v in own.values[own.seen].tolist()]
    return cells, tuple(met)
