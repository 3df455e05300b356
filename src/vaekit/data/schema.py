"""What the columns of a table are, how they get into the model's cells, and how they come out again."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..suggest import nearest
from .frames import Made, Name, Raw, as_table, build, container_of, names_of, raw
from .marginals import FINE, LEAST, Marginal, centre_and_spread, resolution, skewness

Kind = Literal["real", "positive", "count", "category", "ordinal", "boolean", "datetime", "constant", "identifier"]

KINDS: dict[str, str] = {
    "real": "real numbers",
    "positive": "positive numbers, skewed",
    "count": "counts from 0",
    "category": "one of some levels",
    "ordinal": "one of some ordered levels",
    "boolean": "true or false",
    "datetime": "points in time",
    "constant": "one value, or none",
    "identifier": "a name of the row: left out",
}
ORDER = ("real", "datetime", "positive", "count", "ordinal", "boolean", "category")
"""The kinds that are modelled, in the order of their cells."""
FEW, SOME = 20, 256
"""Different numbers, at most, that count as ordered levels where each is met REPEATED, or OFTEN, times on average."""
REPEATED, OFTEN = 5, 50
MANY = 1000
"""Levels above which a column of words is left out, unless it is said to be a category."""
SHOWN = 6
ISO = re.compile(r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?)?")

Columns = Mapping[Name, str | Sequence[Any]]
"""What a user says of columns: a kind by the column's name, or the ordered levels of an ordinal one."""


class SchemaWarning(UserWarning):
    """A column that is left out."""


@dataclass(frozen=True)
class Column:
    """A column of a table.

    dtype: of the table that it came in. levels: of a category, an ordinal or a boolean, in the order of their codes.
    low, high: the bounds of its values. step: what its values are multiples of; None: they are not rounded. offset,
    scale: its cells are `(x - offset) / scale`. missing: the share of cells without a value. value: the only one of a
    constant; None: it has none. marginal: how its values are spread, see `Marginal`. shares: of its levels. written:
    the unit that dates are written in, where they are words. type_levels, type_ordered: of a categorical type.
    """

    name: Name
    kind: Kind
    dtype: str
    levels: tuple = ()
    low: float = 0.0
    high: float = 1.0
    step: float | None = None
    offset: float = 0.0
    scale: float = 1.0
    missing: float = 0.0
    value: Any = None
    marginal: Marginal | None = None
    shares: tuple[float, ...] = ()
    written: str | None = None
    type_levels: tuple | None = None
    type_ordered: bool = False

    @property
    def modelled(self) -> bool:
        """Whether it has a cell in the model."""
        return self.kind not in ("constant", "identifier")

    @property
    def described(self) -> str:
        """Its levels, or its bounds and rounding, in a few words."""
        if self.kind == "identifier":
            return "left out"
        if self.kind == "constant":
            return "always missing" if self.value is None else f"always {self.value}"
        if self.levels:
            shown = ", ".join(_shown(level) for level in self.levels[:SHOWN])
            return f"{shown}, ... ({len(self.levels)} levels)" if len(self.levels) > SHOWN else shown
        if self.kind == "datetime":
            return f"{_date(self.low)} to {_date(self.high)}"
        return f"{self.low:g} to {self.high:g}" + ("" if self.step is None else f", in steps of {self.step:g}")

    # -- values and cells ------------------------------------------------------------------------------

    def encode(self, column: Raw) -> NDArray:
        """(N,), float64: the cells, NaN where missing. Raises ValueError for values that the column cannot have."""
        if self.levels:
            return self._coded(column)
        values = _numbers(column, self)
        _refuse_infinite(values, self.name)
        if self.kind == "count":
            seen = values[~np.isnan(values)]
            if len(seen) and (seen.min() < 0 or (seen != seen.round()).any()):
                raise ValueError(
                    f"column {self.name!r} holds counts, 0, 1, 2, ..., got {_odd(seen)}: mend it, or pass "
                    f"columns={{{self.name!r}: 'real'}} and fit again"
                )
        if self.kind == "positive" and len(seen := values[~np.isnan(values)]) and seen.min() <= 0:
            raise ValueError(
                f"column {self.name!r} held positive numbers in fit, got {seen.min():g}: mend it, mark it missing, or "
                f"fit again with columns={{{self.name!r}: 'real'}}"
            )
        with np.errstate(over="ignore"):
            return (values - self.offset) / self.scale

    @property
    def _numeric(self) -> bool:
        return all(isinstance(v, (int, float)) for v in self.levels)

    def _coded(self, column: Raw) -> NDArray:
        values, codes = column.values, np.full(len(column.values), np.nan)
        if values.dtype.kind == "M":
            raise ValueError(f"column {self.name!r} holds levels ({self.described}), got dates: pass the levels of fit")
        place = {_key(level): float(k) for k, level in enumerate(self.levels)}
        met = _distinct(values[column.seen])
        new = [v for v in met if _key(v) not in place]
        if new and self.kind == "ordinal" and met.dtype.kind == "f" and self._numeric:
            levels = np.array(self.levels, dtype=np.float64)
            place |= {_key(v): float(np.abs(levels - v).argmin()) for v in new}
            warnings.warn(
                f"column {self.name!r} has values that fit did not meet, such as {new[0]:g}: the nearest ones stand in",
                SchemaWarning, stacklevel=2,
            )  # fmt: skip
        elif new:
            listed = ", ".join(str(v) for v in new[:SHOWN])
            raise ValueError(
                f"column {self.name!r} has levels that fit did not meet: {listed}; it met {self.described}: mark them "
                "missing, or fit again with rows that have them"
            )
        if len(met):
            codes[column.seen] = _looked_up(values[column.seen], met, [place[_key(v)] for v in met])
        return codes

    def decode(self, cells: NDArray) -> Made:
        """Cells (N,) as values in the type that came in: rounded, in their bounds, one of the levels; missing where
        a cell is NaN."""
        seen = ~np.isnan(cells)
        known = np.where(seen, cells, 0.0)
        if self.levels:
            codes = known.round().clip(0, len(self.levels) - 1).astype(np.int64)
            return self._made(_array(self.levels)[codes], seen)
        values = known * self.scale + self.offset
        if self.step is not None:
            values = (
                (values / self.step).round() * self.step
                if self.step >= 1
                else ((values * (unit := round(1 / self.step))).round() / unit)
            )
        values = np.where(seen, values.clip(self.low, self.high), np.nan)
        if self.kind == "datetime":
            dates = (np.where(seen, values, 0.0) * 1e6).round().astype(np.int64).astype("datetime64[us]")
            if self.written is not None:
                words = np.datetime_as_string(dates.astype(f"datetime64[{self.written}]"))
                return self._made(words.astype(object), seen)
            return self._made(dates, seen)
        return self._made(values, seen)

    def constant(self, rows: int) -> Made:
        """The column of a constant."""
        if self.value is None:
            return self._made(np.full(rows, np.nan), np.zeros(rows, dtype=bool))
        value = np.datetime64(self.value, "us") if self.written == "constant" else self.value
        return self._made(np.full(rows, value, dtype=object if isinstance(value, str) else None), np.ones(rows, bool))

    def _made(self, values: NDArray, seen: NDArray) -> Made:
        return Made(self.name, values, seen, self.dtype, self.type_levels, self.type_ordered)

    # -- files -----------------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        own = {f.name: getattr(self, f.name) for f in fields(self)}
        given = {f.name: v for f in fields(self) if (v := own[f.name]) != f.default or f.default is MISSING}
        if self.marginal is not None:
            given["marginal"] = {"knots": list(self.marginal.knots), "scores": list(self.marginal.scores)}
        return {n: list(v) if isinstance(v, tuple) else v for n, v in given.items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Column:
        own = {n: tuple(v) if isinstance(v, list) else v for n, v in values.items()}
        if "marginal" in own:
            own["marginal"] = Marginal(*(tuple(own["marginal"][n]) for n in ("knots", "scores")))
        return cls(**own)


@dataclass(frozen=True)
class Schema:
    """The columns of a table, as they came, and whose table it was (`container`).

    `encode` gives the cells of the model, (N, C): a column for each that is modelled, in the order of `cells`, kinds
    side by side; `decode` gives a table back.

        schema = vk.data.Schema.infer(frame, {"age": "count"})
        print(schema)
    """

    columns: tuple[Column, ...]
    container: str
    rows: int = 0
    cells: tuple[Column, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        modelled = [c for c in self.columns if c.modelled]
        ordered = sorted(modelled, key=lambda c: (ORDER.index(c.kind), len(c.levels)))
        object.__setattr__(self, "cells", tuple(ordered))

    @classmethod
    def infer(cls, table: object, columns: Columns | None = None, learned: NDArray | None = None) -> Schema:
        """The schema of a pandas or polars data frame, an Arrow table, a structured array, or a .csv or .parquet file.

        columns: what is known better, by name: a kind, or the ordered levels of an ordinal column; "identifier" leaves
        a column out. learned: (N,), the rows that scales and spreads are taken from; None: all. Kinds and levels are
        those of all rows. Warns of columns that are left out. Raises TypeError for what is no table and for types that
        are not understood, ValueError for infinities, two columns of one name, no rows or columns, and for kinds that
        a column cannot be.
        """
        table = _as_table(table)
        names, container = names_of(table), container_of(table)
        rows = table.num_rows if container == "pyarrow" else len(table)
        if rows == 0:
            raise ValueError(
                f"Found array with 0 sample(s) (shape=(0, {len(names)})) while a minimum of 1 is required."
            )
        given = dict(columns or {})
        for name, kind in given.items():
            if name not in names:
                raise ValueError(
                    f"columns={{{name!r}: ...}}: the table has no such column{nearest(str(name), map(str, names))}"
                )
            if isinstance(kind, str) and kind not in KINDS:
                raise ValueError(
                    f"columns={{{name!r}: {kind!r}}}: expected one of {', '.join(KINDS)}, or ordered levels"
                    f"{nearest(kind, KINDS)}"
                )
        learned = np.ones(rows, dtype=bool) if learned is None else np.asarray(learned, dtype=bool)
        found = tuple(infer_column(n, raw(table, i, n), given.get(n), learned) for i, n in enumerate(names))
        schema = cls(found, container, rows)
        if not schema.cells:
            raise ValueError(f"no column of the table can be modelled:\n{schema}")
        for c in found:
            if c.kind == "identifier" and c.name not in given:
                warnings.warn(
                    f"column {c.name!r} names the rows and is left out: columns={{{c.name!r}: 'category'}} models it",
                    SchemaWarning, stacklevel=2,
                )  # fmt: skip
        return schema

    @property
    def names(self) -> list[Name]:
        """Of all columns, as they came."""
        return [c.name for c in self.columns]

    def column(self, name: Name) -> Column:
        """Raises KeyError, with the nearest name, where there is none."""
        for c in self.columns:
            if c.name == name:
                return c
        raise KeyError(f"the table has no column {name!r}{nearest(str(name), map(str, self.names))}")

    def encode(self, table: object) -> NDArray:
        """(N, C), float64: a cell for each column that is modelled, in the order of `cells`, NaN where it is missing.

        Columns may come in another order, in other types and in another container; others than those of fit are left
        aside. Raises ValueError, with the column's name, for a column that is not there and for values that it cannot
        have.
        """
        table = _as_table(table)
        names = names_of(table)
        place = {n: i for i, n in enumerate(names)}
        lost = [c.name for c in self.columns if c.modelled and c.name not in place]
        if lost:
            raise ValueError(
                f"the table has no column {', '.join(map(repr, lost[:SHOWN]))}, which fit read; it has "
                f"{', '.join(map(str, names[:SHOWN]))}{', ...' if len(names) > SHOWN else ''}: pass it, empty if it is "
                "not known"
            )
        rows = table.num_rows if container_of(table) == "pyarrow" else len(table)
        if rows == 0:
            raise ValueError(
                f"Found array with 0 sample(s) (shape=(0, {len(names)})) while a minimum of 1 is required."
            )
        cells = np.empty((rows, len(self.cells)))
        for i, c in enumerate(self.cells):
            cells[:, i] = c.encode(raw(table, place[c.name], c.name))
        return cells

    def decode(self, cells: NDArray) -> Any:
        """Cells (N, C) as a table like the one that came in, without the columns that were left out; a cell that is
        NaN is missing there."""
        cells = np.asarray(cells, dtype=np.float64)
        if cells.ndim != 2 or cells.shape[1] != len(self.cells):
            raise ValueError(f"expected cells (N, {len(self.cells)}), got {cells.shape}: pass what encode gives")
        place = {c.name: i for i, c in enumerate(self.cells)}
        kept = [c for c in self.columns if c.kind != "identifier"]
        made = [c.decode(cells[:, place[c.name]]) if c.modelled else c.constant(len(cells)) for c in kept]
        return build(self.container, made)

    def numbers(self, table: object) -> NDArray:
        """(N, C), float64: the cells in the columns' own units, levels by their number, dates in seconds since 1970."""
        offset, scale = (np.array(values) for values in zip(*((c.offset, c.scale) for c in self.cells)))
        return self.encode(table) * scale + offset

    def rows_of(self, table: object) -> Tensor:
        """(N, C), fp32: the cells, for the model; what lies farther out than 1e30 is drawn in to there."""
        return torch.from_numpy(self.encode(table).clip(-1e30, 1e30).astype(np.float32))

    @property
    def missing(self) -> bool:
        """Whether cells were missing."""
        return any(c.missing > 0 for c in self.cells)

    def to_dict(self) -> dict[str, Any]:
        return {"container": self.container, "rows": self.rows, "columns": [c.to_dict() for c in self.columns]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Schema:
        return cls(tuple(Column.from_dict(c) for c in values["columns"]), values["container"], values["rows"])

    def __str__(self) -> str:
        lines = [("column", "kind", "type", "missing", "values")]
        lines += [
            (str(c.name), c.kind, c.dtype, f"{c.missing:.1%}" if c.missing else "", c.described) for c in self.columns
        ]
        widths = [max(map(len, cells)) for cells in zip(*lines)]
        return "\n".join("  ".join(c.ljust(w) for c, w in zip(line, widths)).rstrip() for line in lines)


# -- what a column is -----------------------------------------------------------------------------------


def infer_column(name: Name, column: Raw, given: str | Sequence[Any] | None, learned: NDArray) -> Column:
    """The column of these values. given: what it is said to be. learned: the rows that scales are taken from."""
    common = Column(
        name, "constant", column.dtype, missing=float(1 - column.seen.mean()),
        type_levels=column.levels, type_ordered=column.ordered,
    )  # fmt: skip
    if given is not None and not isinstance(given, str):
        return _levelled(common, column, learned, "ordinal", tuple(given))
    if given == "identifier":
        return replace(common, kind="identifier")
    seen = column.values[column.seen]
    if seen.dtype.kind == "f":
        _refuse_infinite(column.values, name)
    distinct = _distinct(seen)
    if len(distinct) <= 1:
        if given not in (None, "constant"):
            raise ValueError(f"columns={{{name!r}: {given!r}}}: the column holds {len(distinct)} values, a constant")
        value = distinct[0] if len(distinct) else None
        dated = isinstance(value, np.datetime64)
        plain = str(value) if dated else value.item() if isinstance(value, np.generic) else value
        return replace(common, value=plain, written="constant" if dated else None)
    kind = given or _kind(column, seen, distinct)
    if kind == "constant":
        raise ValueError(f"columns={{{name!r}: 'constant'}}: it has several values; 'identifier' leaves a column out")
    if kind == "identifier":
        return replace(common, kind="identifier")
    if kind in ("category", "ordinal", "boolean"):
        return _levelled(common, column, learned, kind, None)
    if column.values.dtype.kind == "O":
        if kind != "datetime":
            raise ValueError(
                f"columns={{{name!r}: {kind!r}}}: it holds words, such as {str(seen[0])!r}: make it numbers"
            )
        common = replace(common, written=_unit(name, seen))
    return _measured(common, column, learned, kind)


def _kind(column: Raw, seen: NDArray, distinct: NDArray) -> Kind:
    """What values of more than one kind are."""
    most, times = len(distinct), len(seen) / len(distinct)
    few = (most <= FEW and times >= REPEATED) or (most <= SOME and times >= OFTEN)
    if column.levels is not None or column.dtype.startswith(("Categorical", "Enum", "dictionary")):
        return "ordinal" if column.ordered else "category"
    if seen.dtype.kind == "b":
        return "boolean"
    if seen.dtype.kind == "M":
        return "datetime"
    if seen.dtype.kind == "O":
        if all(ISO.fullmatch(v) for v in distinct[:1000]) and all(ISO.fullmatch(v) for v in distinct):
            return "datetime"
        apart = len(distinct) > max(FEW, len(seen) // 2)
        return "identifier" if apart or len(distinct) > MANY else "category"
    if len(distinct) == 2 and distinct[0] == 0 and distinct[1] == 1:
        return "boolean"
    whole = bool((distinct == distinct.round()).all())
    if column.whole and len(distinct) == len(seen) > FEW and distinct[-1] - distinct[0] == len(seen) - 1:
        return "identifier"  # the rows' own numbers
    if whole and distinct[0] == 0 and distinct[-1] < 1e6:
        return "count"
    if few:
        return "ordinal"
    if whole and distinct[0] == 1 and distinct[-1] < 1e4:
        return "count"
    if distinct[0] > 0 and abs(skewness(np.log(seen))) < abs(skewness(seen / np.abs(seen).max())) - 0.25:
        return "positive"
    return "real"


def _levelled(common: Column, column: Raw, learned: NDArray, kind: Kind, levels: tuple | None) -> Column:
    seen = column.values[column.seen]
    if seen.dtype.kind == "M":
        raise ValueError(f"column {common.name!r} holds dates, which are no levels: make it words first")
    met = tuple(v.item() if isinstance(v, np.generic) else v for v in _distinct(seen))
    if levels is None and column.levels is not None:
        levels = tuple(v for v in column.levels if v in set(met)) if kind == "category" else column.levels
    levels = met if levels is None else levels
    if kind == "boolean" and len(levels) != 2:
        raise ValueError(f"columns={{{common.name!r}: 'boolean'}}: expected two values, got {len(levels)}")
    new = [v for v in met if v not in set(levels)]
    if new:
        raise ValueError(
            f"columns={{{common.name!r}: [...]}} leaves out the level {new[0]!r}, which the column has: add it"
        )
    own = replace(common, kind=kind, levels=levels)
    codes = own.encode(Raw(column.values[learned], column.seen[learned], column.dtype))
    counts = np.bincount(codes[~np.isnan(codes)].astype(np.int64), minlength=len(levels)) + 0.5
    return replace(own, shares=tuple((counts / counts.sum()).tolist()))


def _measured(common: Column, column: Raw, learned: NDArray, kind: Kind) -> Column:
    """A column of numbers or dates with its bounds, rounding, scale and spread."""
    own = replace(common, kind=kind)
    everything = _numbers(column, own)
    values = everything[learned]
    values = values[~np.isnan(values)]
    if not len(values):
        values = everything[~np.isnan(everything)]
    low, high = float(values.min()), float(values.max())
    if kind in ("count", "positive"):
        least = 0 if kind == "count" else np.finfo(float).tiny
        if low < least or (kind == "count" and (values != values.round()).any()):
            raise ValueError(f"columns={{{own.name!r}: {kind!r}}}: expected {KINDS[kind]}, got {_odd(values)}")
    if kind == "count":
        return replace(
            own, low=0.0, high=high, step=1.0, marginal=None, shares=(float(values.mean()), float(values.var()))
        )
    if kind == "datetime":
        step = next(
            (s for s in (86400.0, 3600.0, 60.0, 1.0, 1e-3) if (np.abs(values / s - (values / s).round()) < 1e-9).all()),
            1e-6,
        )
    else:
        step = resolution(values, 2.0**-23 if "32" in column.dtype or column.dtype == "<f4" else 2.0**-52)
    offset, scale = centre_and_spread(values)
    if kind == "positive":
        offset, scale = 0.0, offset
    own = replace(own, low=low, high=high, step=step, offset=offset, scale=scale)
    return replace(own, marginal=_marginal(own, values))


def _marginal(column: Column, values: NDArray) -> Marginal:
    distinct, counts = np.unique((values - column.offset) / column.scale, return_counts=True)
    lower, upper = edges(distinct, column)
    return Marginal.of(lower, upper, counts)


def edges(cells: NDArray, column: Column) -> tuple[NDArray, NDArray]:
    """What a cell is known to lie between, on the axis of the marginal: half a step either way, of the logarithm of a
    positive column; no finer than `LEAST`, or than `FINE` where the column is not rounded."""
    half = 0.0 if column.step is None else column.step / column.scale / 2
    u, lower, upper = cells, cells - half, cells + half
    if column.kind == "positive":
        u = np.log(cells)
        lower, upper = np.log(np.maximum(lower, cells / 2)), np.log(np.maximum(lower, cells / 2) + 2 * half)
    least = FINE if column.step is None else LEAST * (1 + np.abs(u))
    narrow = upper - lower < least
    return np.where(narrow, u - least / 2, lower), np.where(narrow, u + least / 2, upper)


# -- values ---------------------------------------------------------------------------------------------


def _as_table(table: object) -> Any:
    found = as_table(table)
    if found is None:
        from .frames import read_parquet

        if isinstance(table, str) and table.endswith(".parquet"):
            return read_parquet(table)
        raise TypeError(
            f"expected a table (a pandas or polars data frame, an Arrow table, a structured array, or the path of a "
            f".csv or .parquet file), got {type(table).__name__}: name the columns, pandas.DataFrame(x, columns=[...])"
        )
    return found


def _numbers(column: Raw, of: Column) -> NDArray:
    """(N,), float64, NaN where missing: numbers as they are, dates in seconds since 1970."""
    values = column.values
    if of.kind == "datetime":
        if values.dtype.kind == "O":
            try:
                words = np.where(column.seen, values, "NaT").astype(str)
                values = np.char.replace(words, " ", "T").astype("datetime64[us]")
            except ValueError as error:
                raise ValueError(f"column {of.name!r} holds dates, got {error}: write them as 2026-11-25") from None
        if values.dtype.kind != "M":
            if column.seen.any():
                raise ValueError(f"column {of.name!r} holds dates, got numbers: pass dates")
            return np.full(len(values), np.nan)
        seconds = values.astype("datetime64[us]").astype(np.int64) / 1e6
        return np.where(column.seen & ~np.isnat(values), seconds, np.nan)
    if values.dtype.kind in "OM":
        try:
            return np.array([float(v) if s else np.nan for v, s in zip(values, column.seen)])
        except (TypeError, ValueError):
            got = next(v for v, s in zip(values, column.seen) if s)
            raise ValueError(f"column {of.name!r} holds numbers, got {str(got)!r}: pass numbers, as in fit") from None
    return np.where(column.seen, values.astype(np.float64), np.nan)


def _refuse_infinite(values: NDArray, name: Name) -> None:
    bad = np.isinf(values)
    if bad.any():
        raise ValueError(
            f"column {name!r} holds an infinity, first in row {int(bad.argmax())}: mend it, or mark it missing (NaN)"
        )


def _odd(values: NDArray) -> str:
    odd = values[(values < 0) | (values != values.round())]
    return f"{(odd if len(odd) else values)[0]:g}"


def _unit(name: Name, words: NDArray) -> str:
    """The unit that dates are written in."""
    if not all(ISO.fullmatch(str(w)) for w in words):
        raise ValueError(
            f"column {name!r}: expected dates written as 2026-11-25, got {str(words[0])!r}: parse them first"
        )
    longest = max(len(str(w)) for w in words)
    return "D" if longest == 10 else "m" if longest == 16 else "s" if longest == 19 else "us"


def _distinct(values: NDArray) -> NDArray:
    """The different values, ascending."""
    if values.dtype.kind != "O":
        return np.unique(values)
    found = sorted(set(values.tolist()))  # sorting all of a million words would take its time
    distinct = np.empty(len(found), dtype=object)
    distinct[:] = found
    return distinct


def _looked_up(values: NDArray, met: NDArray, codes: list[float]) -> NDArray:
    """Values by their codes, which are those of the different values met, ascending."""
    if values.dtype.kind != "O":
        return np.array(codes)[np.searchsorted(met, values)]
    return np.fromiter(map(dict(zip(met.tolist(), codes)).__getitem__, values.tolist()), np.float64, len(values))


def _key(level: Any) -> Any:
    """Numbers of any type are one level: 1, 1.0 and True."""
    return float(level) if isinstance(level, (bool, int, float, np.number, np.bool_)) else level


def _array(levels: tuple) -> NDArray:
    if all(isinstance(v, bool) for v in levels):
        return np.array(levels)
    if all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in levels):
        return np.array(levels, dtype=np.float64)
    array = np.empty(len(levels), dtype=object)
    array[:] = levels
    return array


def _shown(level: Any) -> str:
    return f"{level:g}" if isinstance(level, float) else str(level)


def _date(seconds: float) -> str:
    return str(np.datetime64(int(seconds), "s")).replace("T00:00:00", "")
