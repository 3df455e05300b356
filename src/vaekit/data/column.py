"""A column of a table: its kind, its values as the model's cells, and cells as values again."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .frames import Name, Raw
from .making import Made
from .marginals import Marginal
from .names import name_from_json, name_to_json

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
LEVELLED = ("ordinal", "boolean", "category")
"""The kinds of levels."""
SHOWN = 6


class SchemaWarning(UserWarning):
    """A column that is left out, or a value that stands in for another."""


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
        values = numbers(column, self.name, self.kind == "datetime")
        refuse_infinite(values, self.name)
        if self.kind == "count":
            seen = values[~np.isnan(values)]
            if len(seen) and (seen.min() < 0 or (seen != seen.round()).any()):
                raise ValueError(
                    f"column {self.name!r} holds counts, 0, 1, 2, ..., got {odd(seen)}: mend it, or pass "
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
        if values.dtype.kind == "f":
            refuse_infinite(values, self.name)
        place, numeric = {_key(level): float(k) for k, level in enumerate(self.levels)}, self._numeric
        met = different(values[column.seen])
        new = [v for v in met if _key(v, numeric) not in place]
        if new and self.kind == "ordinal" and met.dtype.kind == "f" and self._numeric:
            levels = np.array(self.levels, dtype=np.float64)
            place |= {_key(v): float(np.abs(levels - v).argmin()) for v in new}
            warnings.warn(
                f"column {self.name!r} has values that fit did not meet, such as {new[0]:g}: the nearest ones stand in",
                SchemaWarning, stacklevel=2,
            )  # fmt: skip
        elif new:
            listed = ", ".join(_shown(v) for v in new[:SHOWN])
            raise ValueError(
                f"column {self.name!r} has levels that fit did not meet: {listed}; it met {self.described}: mark them "
                "missing, or fit again with rows that have them"
            )
        if len(met):
            codes[column.seen] = _looked_up(values[column.seen], met, [place[_key(v, numeric)] for v in met])
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

    def constant(self, rows: int, absent: NDArray | None = None) -> Made:
        """The column of a constant; absent: (rows,), where it is missing."""
        if self.value is None:
            return self._made(np.full(rows, np.nan), np.zeros(rows, dtype=bool))
        value = np.datetime64(self.value, "us") if self.written == "constant" else self.value
        seen = np.ones(rows, dtype=bool) if absent is None else ~absent
        return self._made(np.full(rows, value, dtype=object if isinstance(value, str) else None), seen)

    def _made(self, values: NDArray, seen: NDArray) -> Made:
        return Made(self.name, values, seen, self.dtype, self.type_levels, self.type_ordered)

    # -- files -----------------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        own = {f.name: getattr(self, f.name) for f in fields(self)}
        given = {f.name: v for f in fields(self) if (v := own[f.name]) != f.default or f.default is MISSING}
        if self.marginal is not None:
            given["marginal"] = {"knots": list(self.marginal.knots), "scores": list(self.marginal.scores)}
        own = {n: list(v) if isinstance(v, tuple) else v for n, v in given.items()}
        return own | {"name": name_to_json(self.name)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Column:
        own = {n: tuple(v) if isinstance(v, list) else v for n, v in values.items()}
        if "marginal" in own:
            own["marginal"] = Marginal(*(tuple(own["marginal"][n]) for n in ("knots", "scores")))
        return cls(**own | {"name": name_from_json(own["name"])})


# -- values ---------------------------------------------------------------------------------------------


def numbers(column: Raw, name: Name, dated: bool = False) -> NDArray:
    """(N,), float64, NaN where missing: dates in seconds since 1970. Raises ValueError for what are no numbers."""
    values = column.values
    if dated:
        if values.dtype.kind == "O":
            try:
                words = np.where(column.seen, values, "NaT").astype(str)
                values = np.char.replace(words, " ", "T").astype("datetime64[us]")
            except ValueError as error:
                raise ValueError(f"column {name!r} holds dates, got {error}: write them as 2026-11-25") from None
        if values.dtype.kind != "M":
            if column.seen.any():
                raise ValueError(f"column {name!r} holds dates, got numbers: pass dates")
            return np.full(len(values), np.nan)
        seconds = values.astype("datetime64[us]").astype(np.int64) / 1e6
        return np.where(column.seen & ~np.isnat(values), seconds, np.nan)
    if values.dtype.kind in "OM":
        try:
            return np.array([float(v) if s else np.nan for v, s in zip(values, column.seen)])
        except (TypeError, ValueError):
            got = next(v for v, s in zip(values, column.seen) if s)
            raise ValueError(f"column {name!r} holds numbers, got {str(got)!r}: pass numbers, as in fit") from None
    return np.where(column.seen, values.astype(np.float64), np.nan)


def refuse_infinite(values: NDArray, name: Name) -> None:
    bad = np.isinf(values)
    if bad.any():
        raise ValueError(
            f"column {name!r} holds an infinity, first in row {int(bad.argmax())}: mend it, or mark it missing (NaN)"
        )


def odd(values: NDArray) -> str:
    odd = values[(values < 0) | (values != values.round())]
    return f"{(odd if len(odd) else values)[0]:g}"


def different(values: NDArray) -> NDArray:
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


def _key(level: Any, numeric: bool | None = None) -> Any:
    """Numbers of any type are one level: 1, 1.0 and True. numeric: whether the levels are numbers, None where this is
    one of them: words such as 1, 1.0 and True then stand for numbers, or else numbers for such words."""
    number = isinstance(level, (bool, int, float, np.number, np.bool_))
    if numeric and not number:
        try:
            return float(level == "True") if level in ("True", "False") else float(level)
        except ValueError:
            return level
    if numeric is False and number:
        whole = not isinstance(level, (bool, np.bool_)) and float(level).is_integer()
        return str(int(level) if whole else level)
    return float(level) if number else level


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
