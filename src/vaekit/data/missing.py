"""Rows of the user's with gaps: a row of which some columns are given, and gaps filled by the rows of a model."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..printable import listed
from ..suggest import nearest
from .arrays import as_numbers
from .frames import Raw, as_exact, container_of, is_there, names_of, opened, raw
from .schema import Schema
from .writer import Made, build

Place = int | str | tuple[int, ...]


def partial_row(given: Mapping[Place, Any], shape: tuple[int, ...], names: Sequence[str] | None = None) -> NDArray:
    """(1, *shape), float64: the given cells, and NaN elsewhere.

    given: values by the number of a column, by its name where columns have names, or by the place of a cell, (i, j).
    Raises ValueError for a cell that is not there.
    """
    row = np.full((1, *shape), np.nan)
    for place, value in given.items():
        known = list(names) if names is not None else []
        if isinstance(place, str):
            if place not in known:
                fix = f"expected one of {listed(known)}" if known else "these rows have no names: give a number"
                raise ValueError(f"given: unknown column {place!r}{nearest(place, known)}: {fix}")
            place = known.index(place)
        index = place if isinstance(place, tuple) else (place,)
        if len(index) != len(shape) or not all(0 <= i < size for i, size in zip(index, shape)):
            raise ValueError(f"given: there is no cell {place} in rows of {shape}: expected a place within them")
        row[(0, *index)] = value
    return row


def partial_cells(given: Mapping[Any, Any], schema: Schema) -> NDArray:
    """(1, C): the cells of a table's row of which these columns are known, and NaN elsewhere.

    Raises ValueError for a column that is not modelled, and for a value that a column cannot have.
    """
    places = {c.name: i for i, c in enumerate(schema.cells)}
    cells = np.full((1, len(places)), np.nan)
    for name, value in given.items():
        if name not in places:
            raise ValueError(
                f"given: unknown column {name!r}{nearest(str(name), map(str, places))}: expected one of "
                f"{', '.join(map(str, places))}"
            )
        column = schema.cells[places[name]]
        cells[0, places[name]] = column.encode(Raw(_array(value), np.ones(1, dtype=bool), column.dtype))[0]
    return cells


def with_given(schema: Schema, cells: NDArray, given: Mapping[Any, Any], absent: NDArray | None = None) -> Any:
    """Cells (N, C) as a table whose given columns hold just these values; absent: as in `Schema.decode`."""
    made = schema.made(cells, absent)
    fixed = [replace(m, values=np.repeat(_array(given[m.name]), len(cells))) if m.name in given else m for m in made]
    return build(schema.container, fixed, schema.axis)


def with_unknown(schema: Schema, cells: NDArray, table: object, unknown: NDArray | None) -> Any:
    """Cells (N, C) as a table, in which the values of `table` that fit did not see, (N, C + K), stay as they are."""
    made = schema.made(cells)
    if unknown is None:
        return build(schema.container, made, schema.axis)
    table = opened(table)
    names, places = names_of(table), {c.name: i for i, c in enumerate((*schema.cells, *schema.constants))}
    kept = []
    for own in made:
        where = unknown[:, places[own.name]]
        if where.any():
            column = raw(table, names.index(own.name), own.name, mixed=True)
            values = column.values if column.given is None else column.given
            own = own.keeping(values, where, schema.container)
        kept.append(own)
    return build(schema.container, kept, schema.axis)


def numbers(schema: Schema, values: NDArray) -> Any:
    """Numbers (N, C + K), one for each cell and each constant, as a table of such under the columns' names, in their
    order."""
    places = {c.name: i for i, c in enumerate((*schema.cells, *schema.constants))}
    kinds = {"pandas": "float64", "polars": "Float64", "pyarrow": "double", "numpy": "float64"}
    seen, kind = np.ones(len(values), dtype=bool), kinds[schema.container]
    names = [c.name for c in schema.columns if c.name in places]
    columns = [Made(name, values[:, places[name]], seen, kind) for name in names]
    return build(schema.container, columns, schema.axis)


def _array(value: Any) -> NDArray:
    """(1,): a value as tables hold it."""
    if isinstance(value, datetime.date | np.datetime64):
        return np.array([value], dtype="datetime64[us]")
    array = np.array([value])
    if array.dtype.kind in "iu":
        return as_exact(array, np.ones(1, dtype=bool))
    return array.astype({"U": object}.get(array.dtype.kind, array.dtype))


def filled(x: Any, made: Any) -> Any:
    """Rows x with their missing cells replaced by those of `made`; all other cells are as they were, bit for bit.

    x and `made` may be tables of different libraries: what comes back is of that of x.
    """
    kind = container_of(x)
    if kind is None:
        array = as_numbers(x)
        return np.where(np.isnan(array), made.astype(array.dtype), array) if array.dtype.kind == "f" else array.copy()
    made = made if kind == container_of(made) else _converted(made, kind)
    return {"pandas": _pandas, "polars": _polars, "pyarrow": _arrow, "numpy": _structured}[kind](x, made)


def _converted(table: Any, kind: str) -> Any:
    """A table as one of another library."""
    own = container_of(table)
    if own == "numpy":  # objects as lists, whose types other libraries infer
        columns = {name: table[name] for name in table.dtype.names}
        table = {name: v.tolist() if v.dtype.kind == "O" else v for name, v in columns.items()}
    if kind == "polars":
        import polars as pl

        return {"pyarrow": pl.from_arrow, "pandas": pl.from_pandas, "numpy": pl.DataFrame}[own](table)
    if kind == "pyarrow":
        import pyarrow as pa

        if own == "polars":
            return table.to_arrow()
        return pa.table(table) if own == "numpy" else pa.Table.from_pandas(table, preserve_index=False)
    import pandas as pd

    frame = table.to_pandas() if own in ("polars", "pyarrow") else pd.DataFrame(table)
    return frame if kind == "pandas" else frame.to_records(index=False)


def _pandas(x: Any, made: Any) -> Any:
    out = x.copy()
    for name in [n for n in made.columns if n in x.columns]:
        gap = x[name].isna()
        if bool(gap.any()):
            own, new = x[name], made[name].set_axis(x.index)
            plain = own.dtype == new.dtype or (own.dtype.kind == "f" and new.dtype.kind in "iuf")
            out[name] = (own if plain else own.astype(object)).where(~gap, new)
    return out


def _polars(x: Any, made: Any) -> Any:
    new = []
    for name in [n for n in made.columns if n in x.columns]:
        own = x[name].fill_nan(None) if x[name].dtype.is_float() else x[name]
        new.append(own.zip_with(own.is_not_null(), made[name].cast(own.dtype)))
    return x.with_columns(new)


def _arrow(x: Any, made: Any) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    for place, name in enumerate(x.column_names):
        if name not in made.column_names:
            continue
        own = x[name]
        seen = pc.is_valid(own)
        if pa.types.is_floating(own.type):
            seen = pc.and_(seen, pc.invert(pc.fill_null(pc.is_nan(own), False)))
        x = x.set_column(place, name, pc.if_else(seen, own, made[name].cast(own.type, safe=False)))
    return x


def _structured(x: NDArray, made: NDArray) -> NDArray:
    out = np.ma.getdata(x).copy()
    for name in [n for n in made.dtype.names if n in x.dtype.names]:
        own = np.ma.getdata(x[name])
        if own.dtype.kind == "O":
            gap = np.array([not is_there(v) for v in own], dtype=bool)
        else:
            gap = np.isnat(own) if own.dtype.kind == "M" else np.isnan(own) if own.dtype.kind == "f" else False
        gap = gap | np.ma.getmaskarray(x[name])
        out[name] = np.where(gap, made[name], own)
    return out
