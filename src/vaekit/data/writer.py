"""Tables given back: in the container that they came in, each column in the type that it had."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .frames import ARROW_DATES, ARROW_WORDS
from .names import Name, column_index


@dataclass(frozen=True)
class Made:
    """A column to be given back: its values, which of them are there, the type it came in and its levels."""

    name: Name
    values: NDArray
    seen: NDArray
    dtype: str
    levels: tuple | None = None
    ordered: bool = False

    def keeping(self, values: NDArray, where: NDArray, container: str) -> Made:
        """The column with values (N,) in some places, in a type of the container that holds them, too."""
        kinds = {"number" if own.dtype.kind in "iuf" else own.dtype.kind for own in (self.values, values)}
        kinds |= {type(v).__name__ for v in values[where] if values.dtype.kind == "O"} - {"str"}
        seen = self.seen | where
        if len(kinds) > 1:
            own = np.where(where, _objects(replace(self, values=values, seen=where)), _objects(self))
            if container in ("polars", "pyarrow"):
                own = np.array([None if v is None else str(v) for v in own], dtype=object)
            return Made(self.name, own, seen, ANYTHING[container])
        own, dtype = np.where(where, values, self.values), self.dtype
        if own.dtype.kind == "f" and not _fits(values[where], dtype):
            dtype = NUMBERS[container]
        new = () if self.levels is None else sorted(set(values[where].tolist()) - set(self.levels))
        levels = None if self.levels is None else (*self.levels, *new)
        return Made(self.name, own, seen, dtype, levels, self.ordered)


ANYTHING = {"pandas": "object", "polars": "String", "pyarrow": "string", "numpy": "O"}
"""A type that holds values of any kind, or them as words."""
NUMBERS = {"pandas": "float64", "polars": "Float64", "pyarrow": "double", "numpy": "<f8"}


def _fits(values: NDArray, dtype: str) -> bool:
    """Whether a type holds these numbers: one of whole numbers only those within its limits."""
    name = dtype.lower().partition("[")[0]
    if not re.fullmatch(r"u?int\d+|[<>|=][iu]\d", name):
        return True
    limits = np.iinfo(name)
    return bool(((values == np.round(values)) & (values >= limits.min) & (values <= limits.max)).all())


def build(container: str, columns: Sequence[Made], axis: tuple | None = None) -> Any:
    """A table as it came: of this container, each column in its own type, or, where cells are missing and that type
    has no way to say so, in the next that has. axis: see `names.column_index`."""
    if container == "pandas":
        return _to_pandas(columns, axis)
    return {"polars": _to_polars, "pyarrow": _to_arrow, "numpy": _to_numpy}[container](columns)


def _objects(made: Made) -> NDArray:
    values = np.empty(len(made.values), dtype=object)
    values[:] = made.values.tolist()
    values[~made.seen] = None
    return values


def _to_pandas(columns: Sequence[Made], axis: tuple | None) -> Any:
    import pandas as pd

    frame = pd.DataFrame({place: _pandas_column(made) for place, made in enumerate(columns)})
    frame.columns = column_index([made.name for made in columns], axis)
    return frame


def _pandas_type(name: str) -> Any:
    """A pandas type by its name; of sparse types pandas reads no fill value but its own."""
    if not name.startswith("Sparse["):
        return name
    import pandas as pd

    kind, _, fill = name.removeprefix("Sparse[").removesuffix("]").partition(", ")
    value = fill == "True" if kind == "bool" else float(fill or "nan")
    return pd.SparseDtype(kind, value if kind == "bool" or np.isnan(value) else np.dtype(kind).type(value))


def _pandas_column(made: Made) -> Any:
    import pandas as pd

    whole = bool(made.seen.all())
    if made.dtype.startswith("decimal"):  # of Arrow's, whose digits are counted
        made = replace(made, dtype="double[pyarrow]")
    if made.dtype in (*ARROW_WORDS, "null[pyarrow]"):
        import pyarrow as pa

        return pd.Series(_objects(made), dtype=pd.ArrowDtype(pa.type_for_alias(made.dtype.partition("[")[0])))
    if made.dtype == "category":
        return pd.Series(pd.Categorical(_objects(made), categories=list(made.levels or ()), ordered=made.ordered))
    if made.values.dtype.kind == "M" and made.dtype.startswith(ARROW_DATES):
        dates = _arrow_column(replace(made, dtype=made.dtype.removesuffix("[pyarrow]")))
        return pd.Series(pd.arrays.ArrowExtensionArray(dates))
    if made.values.dtype.kind == "M":
        values = np.where(made.seen, made.values, np.datetime64("NaT"))
        if made.dtype == "date":
            return pd.Series(values.astype("datetime64[D]").astype(object), dtype=object)
        column = pd.Series(values)
        if made.dtype.startswith("datetime64[") and "," in made.dtype:
            return column.dt.tz_localize("UTC").astype(made.dtype)
        return column.astype(made.dtype)
    if whole:
        values = made.values
        if made.dtype.lower().startswith(("int", "uint")):  # int64, Int64 or int64[pyarrow]
            values = _clipped(values, np.dtype(made.dtype.lower().partition("[")[0]))
        return pd.Series(values, dtype=object if values.dtype.kind == "O" else None).astype(_pandas_type(made.dtype))
    if made.values.dtype.kind == "f" and made.dtype not in ("object", "str", "string"):
        values = np.where(made.seen, made.values, np.nan)
        plain = made.dtype.startswith(("int", "uint")) and "[" not in made.dtype
        column = pd.Series(values)
        return column if plain or made.dtype == "bool" else column.astype(_pandas_type(made.dtype))
    return pd.Series(_objects(made), dtype="object" if made.dtype == "bool" else made.dtype)


def _clipped(values: NDArray, dtype: np.dtype) -> NDArray:
    """Whole numbers in a type of whole numbers, drawn in to its limits."""
    if values.dtype.kind != "f":
        return values.astype(dtype)
    limits = np.iinfo(dtype)
    top = float(limits.max) if float(limits.max) <= limits.max else np.nextafter(float(limits.max), 0)
    return values.round().clip(float(limits.min), top).astype(dtype)


def _to_polars(columns: Sequence[Made]) -> Any:
    import polars as pl

    return pl.DataFrame([_polars_column(made) for made in columns])


def _polars_column(made: Made) -> Any:
    import polars as pl

    kind, _, rest = made.dtype.partition("(")
    if made.values.dtype.kind == "M":
        values = pl.Series(
            str(made.name), np.where(made.seen, made.values, np.datetime64("NaT")).astype("datetime64[us]")
        )
        if kind != "Datetime":
            return values.cast(getattr(pl, kind))
        zone = rest.rpartition("time_zone=")[2].strip("')")
        unit = rest.partition("time_unit='")[2][:2]
        values = values.cast(pl.Datetime(unit))
        return values if zone in ("", "None") else values.dt.replace_time_zone("UTC").dt.convert_time_zone(zone)
    values = pl.Series(str(made.name), _objects(made).tolist(), strict=False)
    if kind == "Enum":
        return values.cast(pl.Enum(list(made.levels)))
    if kind == "Decimal":
        return values.cast(pl.Float64)
    return values.cast(getattr(pl, kind))


def _to_arrow(columns: Sequence[Made]) -> Any:
    import pyarrow as pa

    return pa.table({str(made.name): _arrow_column(made) for made in columns})


def _arrow_column(made: Made) -> Any:
    import pyarrow as pa

    if made.dtype.startswith("dictionary"):
        held = made.dtype.partition("values=")[2].partition(",")[0]
        kind = None if made.seen.any() else pa.type_for_alias(held)  # no value shows it
        return pa.array(_objects(made).tolist(), kind).dictionary_encode()
    if made.dtype == "null":
        return pa.nulls(len(made.values))
    if made.values.dtype.kind == "M":
        column = pa.array(made.values.astype("datetime64[us]"), mask=~made.seen)
        unit, _, zone = made.dtype.removeprefix("timestamp[").removesuffix("]").partition(", tz=")
        if made.dtype.startswith("date"):
            return column.cast(pa.type_for_alias(made.dtype.partition("[")[0]), safe=False)
        return column.cast(pa.timestamp(unit), safe=False).cast(pa.timestamp(unit, zone or None))
    kind = pa.type_for_alias(made.dtype) if not made.dtype.startswith("decimal") else pa.float64()
    values = made.values
    if made.dtype.startswith(("int", "uint")):
        values = _clipped(np.where(made.seen, values, 0), np.dtype(made.dtype))
    return pa.array(values, mask=~made.seen).cast(kind, safe=False)


def _to_numpy(columns: Sequence[Made]) -> NDArray:
    typed = [_numpy_column(made) for made in columns]
    table = np.empty(len(typed[0]), dtype=[(str(made.name), values.dtype) for made, values in zip(columns, typed)])
    for made, values in zip(columns, typed):
        table[str(made.name)] = values
    return table


def _numpy_column(made: Made) -> NDArray:
    dtype = np.dtype(made.dtype) if made.dtype != "date" else np.dtype("O")
    if made.values.dtype.kind == "M":
        values = np.where(made.seen, made.values, np.datetime64("NaT"))
        return values.astype("datetime64[D]").astype(object) if dtype.kind == "O" else values.astype(dtype)
    if dtype.kind == "O" or (not made.seen.all() and dtype.kind in "bUS"):
        return _objects(made)
    if dtype.kind in "iu" and made.seen.all():
        return _clipped(made.values, dtype)
    if dtype.kind in "iuf":
        return np.where(made.seen, made.values, np.nan).astype(dtype if dtype.kind == "f" else np.float64)
    return made.values.astype(dtype)
