"""A column of a table: its kind, its values as the model's cells, and cells as values again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..printable import printable
from .frames import Name, Raw, as_python
from .marginals import Marginal
from .names import name_from_json, name_to_json
from .writer import Made

Kind = Literal["real", "positive", "count", "category", "ordinal", "boolean", "datetime", "constant", "identifier"]

KINDS: dict[str, str] = {
    "real": "real numbers",
    "positive": "positive numbers, skewed; whole ones may be 0",
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
    """A column that is left out or changed when it is read."""


class UnknownValueWarning(SchemaWarning):
    """Values that fit did not see and that are treated as missing."""


@dataclass(frozen=True)
class Column:
    """A column of a table.

    dtype: of the table that it came in. levels: of a category, an ordinal or a boolean, in the order of their codes.
    origin: a whole number that is subtracted before anything becomes a float, so that none is rounded: of whole numbers
    beyond 2^49, and, in microseconds, of dates with fractions of a second. low, high: the bounds of its values, less
    the origin. step: what its values are multiples of; None: they are not rounded. offset, scale: its cells are
    `(x - offset) / scale`. missing: the share of cells without a value. value: the only one of a constant; None: it has
    none. marginal: how its values are spread, see `Marginal`. shares: of its levels. written: the unit that dates are
    written in, where they are words. type_levels, type_ordered: of a categorical type.
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
    origin: int = 0

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
            return "always missing" if self.value is None else f"always {printable(self.value, 60)}"
        if self.levels:
            listed = ", ".join(shown(level) for level in self.levels[:SHOWN])
            return f"{listed}, ... ({len(self.levels)} levels)" if len(self.levels) > SHOWN else listed
        if self.kind == "datetime":
            return " to ".join(_date(end + self.origin / 1e6) for end in (self.low, self.high))
        ends = [f"{end:g}" if not self.origin else str(round(end) + self.origin) for end in (self.low, self.high)]
        return " to ".join(ends) + ("" if self.step is None else f", in steps of {self.step:g}")

    # -- values and cells ------------------------------------------------------------------------------

    def encode(self, column: Raw) -> NDArray:
        """(N,), float64: the cells, NaN where missing. Raises ValueError for values that the column cannot have."""
        cells, unknown = self.read(column)
        if unknown.any():
            raise ValueError(self._refusal(column, unknown))
        return cells

    def read(self, column: Raw) -> tuple[NDArray, NDArray]:
        """The cells (N,), NaN where missing, and (N,) which of these hold a value that the column cannot have.

        Raises ValueError for a column of another type: dates for numbers or levels, numbers for dates.
        """
        if self.levels:
            return self._coded(column, self.levels)
        if self.kind == "constant":
            return self._coded(column, () if self.value is None else (self.value,))
        values, unknown = parsed(column, self.name, self.kind == "datetime", self.origin)
        unknown |= np.isinf(values)
        with np.errstate(invalid="ignore", over="ignore"):
            if self.kind == "count":
                unknown |= (values < 0) | (values != values.round()) & ~np.isnan(values)
            if self.kind == "positive":
                unknown |= values <= self.offset
            cells = (values - self.offset) / self.scale
        return np.where(unknown, np.nan, cells), unknown

    def _refusal(self, column: Raw, unknown: NDArray) -> str:
        """Why values are refused, and what to do about it."""
        found = different(column.values[unknown])
        fix = 'correct it, mark it missing, or pass unknown="missing"'
        if self.levels:
            if any(isinstance(v, float) and np.isinf(v) for v in found.tolist()):
                return self._infinity(unknown)
            listed = ", ".join(shown(v) for v in found[:SHOWN])
            return (
                f"column {self.name!r} has levels that fit did not meet: {listed}; it met {self.described}: mark them "
                'missing, pass unknown="missing", or fit again with rows that have them'
            )
        if self.kind == "constant":
            return f"column {self.name!r} was {self.described} in fit, got {shown(found[0])}: {fix}"
        if found.dtype.kind == "O" and self.kind == "datetime":
            return f"column {self.name!r} holds dates, got {str(found[0])!r}: write them as 2026-11-25, or {fix}"
        values, no_number = parsed(column, self.name, self.kind == "datetime", self.origin)
        if no_number.any():
            got = str(column.values[no_number][0])
            return f"column {self.name!r} holds numbers, got {got!r}: pass numbers, as in fit, or {fix}"
        if np.isinf(values).any():
            return self._infinity(np.isinf(values))
        got, other = f"{values[unknown][0]:g}", f"fit again with columns={{{self.name!r}: 'real'}}"
        if self.kind == "count":
            return f"column {self.name!r} holds counts, 0, 1, 2, ..., got {got}: {fix}, or {other}"
        return f"column {self.name!r} held positive numbers in fit, got {got}: {fix}, or {other}"

    def _infinity(self, where: NDArray) -> str:
        return f"column {self.name!r} holds an infinity, first in row {int(where.argmax())}: mark it missing (NaN)"

    def _coded(self, column: Raw, levels: tuple) -> tuple[NDArray, NDArray]:
        """The numbers of levels (N,), NaN where missing or unknown, and (N,) where they are unknown."""
        values, codes = column.values, np.full(len(column.values), np.nan)
        if not levels:  # always missing in fit: all values are new
            return codes, column.seen.copy()
        dated = self.written == "constant"
        if values.dtype.kind == "M" and self.levels:
            raise ValueError(f"column {self.name!r} holds levels ({self.described}), got dates: pass the levels of fit")
        if dated and values.dtype.kind == "O":
            values = np.where(column.seen, values, "NaT")
        met = different(values[column.seen])
        numeric = all(isinstance(v, (bool, int, float)) for v in levels)
        place = {_key(level): float(k) for k, level in enumerate(levels)}
        if dated:
            known = [0.0 if _as_date(v) == np.datetime64(levels[0], "us") else -1.0 for v in met]
        else:
            known = [place.get(_key(v, numeric), -1.0) for v in met]
        if levels and numeric and met.dtype.kind == "f" and -1.0 in known:
            known = [_nearly(v, levels) if k < 0 else k for v, k in zip(met.tolist(), known)]
        if len(met):
            codes[column.seen] = _looked_up(values[column.seen], met, known)
        unknown = codes < 0
        return np.where(unknown, np.nan, codes), unknown

    def decode(self, cells: NDArray) -> Made:
        """Cells (N,) as values in the type that came in: rounded, in their bounds, one of the levels; missing where
        a cell is NaN."""
        seen = ~np.isnan(cells)
        known = np.where(seen, cells, 0.0)
        if self.levels:
            codes = known.round().clip(0, len(self.levels) - 1).astype(np.int64)
            return self._made(_array(self.levels)[codes], seen)
        with np.errstate(over="ignore"):
            values = np.where(seen, (known * self.scale + self.offset).clip(self.low, self.high), np.nan)
        if self.step is not None:
            values = (
                (values / self.step).round() * self.step
                if self.step >= 1
                else ((values * (unit := round(1 / self.step))).round() / unit)
            ).clip(self.low, self.high)
        if self.origin and self.kind != "datetime":
            return self._made(_added(np.where(seen, values, 0.0), self.origin), seen)
        if self.kind == "datetime":
            micros = (np.where(seen, values, 0.0) * 1e6).round().astype(np.int64) + self.origin
            dates = micros.astype("datetime64[us]")
            if self.written is not None:
                words = np.datetime_as_string(dates.astype(f"datetime64[{self.written}]"))
                return self._made(words.astype(object), seen)
            return self._made(dates, seen)
        return self._made(values, seen)

    def constant(self, rows: int, absent: NDArray | None = None) -> Made:
        """The column of a constant; absent: (rows,), where it is missing."""
        if self.value is None:
            dated = self.dtype.lower().startswith(("date", "timestamp"))
            nothing = np.datetime64("NaT", "us") if dated else np.nan
            return self._made(np.full(rows, nothing), np.zeros(rows, dtype=bool))
        value = np.datetime64(self.value, "us") if self.written == "constant" else self.value
        seen = np.ones(rows, dtype=bool) if absent is None else ~absent
        return self._made(np.repeat(_array((value,)), rows), seen)

    @property
    def centre(self) -> float:
        """The cell of a typical value: the median, the mean of counts, the most frequent level."""
        if self.levels:
            return float(np.argmax(self.shares)) if self.shares else 0.0
        return self.shares[0] if self.kind == "count" else 1.0 if self.kind == "positive" else 0.0

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


def numbers(column: Raw, name: Name, dated: bool = False, origin: int = 0) -> NDArray:
    """(N,), float64, NaN where missing: dates in seconds since 1970; less the origin, see `Column`. Raises ValueError
    for values that are not numbers."""
    values, wrong = parsed(column, name, dated, origin)
    if not wrong.any():
        return values
    got = str(column.values[wrong][0])
    if dated:
        _as_date(got, name)
    raise ValueError(f"column {name!r} holds numbers, got {got!r}: pass numbers, as in fit")


def parsed(column: Raw, name: Name, dated: bool = False, origin: int = 0) -> tuple[NDArray, NDArray]:
    """The same, NaN for values that are not numbers, and (N,) where these are. Raises ValueError for dates where
    numbers are expected, and for numbers where dates are."""
    values, wrong = column.values, np.zeros(len(column.values), dtype=bool)
    if not column.seen.any():
        return np.full(len(values), np.nan), wrong
    if dated and values.dtype.kind == "O":
        values, wrong = _dates(values, column.seen)
    if dated != (values.dtype.kind == "M"):
        if dated:
            raise ValueError(f"column {name!r} holds dates, got numbers: pass dates")
        if values.dtype.kind == "M":
            raise ValueError(f"column {name!r} holds numbers, got {str(values[column.seen][0])!r}: pass numbers")
    if dated:
        there = column.seen & ~wrong
        micros = np.where(there, values, np.datetime64(0, "us")).astype("datetime64[us]").astype(np.int64)
        return np.where(there, (micros - origin) / 1e6, np.nan), wrong
    if values.dtype.kind == "O":
        found = [_number(v, origin) if s else np.nan for v, s in zip(values, column.seen)]
        wrong = np.array([v is None for v in found], dtype=bool)
        return np.array([np.nan if v is None else v for v in found], dtype=np.float64), wrong
    return np.where(column.seen, _less(values, origin), np.nan), wrong


def _dates(words: NDArray, seen: NDArray) -> tuple[NDArray, NDArray]:
    """Words as dates, and where they are none."""
    try:
        return np.char.replace(np.where(seen, words, "NaT").astype(str), " ", "T").astype("datetime64[us]"), np.zeros(
            len(words), bool
        )
    except ValueError:
        dates = np.full(len(words), np.datetime64("NaT"), dtype="datetime64[us]")
        for i in np.flatnonzero(seen):
            dates[i] = _as_date(words[i])
        return dates, seen & np.isnat(dates)


def _as_date(word: Any, name: Name | None = None) -> np.datetime64:
    """A date, or a word as one; NaT for other words. Raises ValueError for these where the column's name is given."""
    try:
        return np.datetime64(word.replace(" ", "T") if isinstance(word, str) else word, "us")
    except (ValueError, TypeError) as error:
        if name is None:
            return np.datetime64("NaT", "us")
        raise ValueError(f"column {name!r} holds dates, got {error}: write them as 2026-11-25") from None


def _number(value: Any, origin: int) -> float | None:
    """A number, or a word as one, less the origin; None for what is none."""
    try:
        if origin and not isinstance(value, (float, np.floating)):
            return float(int(value) - origin)
    except (TypeError, ValueError, OverflowError):
        pass
    try:
        return float(value) - origin
    except (TypeError, ValueError, OverflowError):
        return None


def _less(values: NDArray, origin: int) -> NDArray:
    """Values less the origin, as float64; of whole numbers the difference is exact before it is rounded."""
    if values.dtype.kind not in "iu":
        return values.astype(np.float64) - origin
    start = np.uint64(origin % 2**64)
    low, high = np.iinfo(values.dtype).min, np.iinfo(values.dtype).max
    above = values >= min(max(origin, low), high) if origin <= high else np.zeros(len(values), dtype=bool)
    own = values.astype(np.uint64)  # modulo 2^64, as the differences are
    return np.where(above, (own - start).astype(np.float64), -(start - own).astype(np.float64))


def _added(values: NDArray, origin: int) -> NDArray:
    """Whole numbers (float64, from 0 on) and the origin, in a type that holds them exactly."""
    whole = values.round()
    most = int(whole.max(initial=0.0))
    if max(most, origin + most) < 2**63:
        return whole.astype(np.int64) + origin
    if origin >= 0:
        return whole.astype(np.uint64) + np.uint64(origin)
    return (whole.astype(np.uint64) + np.uint64(origin % 2**64)).view(np.int64)


def refuse_infinite(values: NDArray, name: Name) -> None:
    bad = np.isinf(values)
    if bad.any():
        raise ValueError(
            f"column {name!r} holds an infinity, first in row {int(bad.argmax())}: correct it, or mark it missing (NaN)"
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
        for read in ({"True": True, "False": False}.__getitem__, int, float):
            try:
                return read(level)
            except (KeyError, ValueError, TypeError):
                pass
        return level
    if numeric is False and number:
        whole = not isinstance(level, (bool, np.bool_)) and float(level).is_integer()
        return str(int(level) if whole else level)
    return as_python(level)


def _nearly(value: float, levels: tuple) -> float:
    """The number of the level that a value is but for rounding to single precision; -1 where there is none."""
    known = np.array(levels, dtype=np.float64)
    apart = np.abs(known - value)
    nearest = int(apart.argmin())
    return float(nearest) if apart[nearest] <= 2.0**-23 * abs(known[nearest]) else -1.0


def _array(levels: tuple) -> NDArray:
    """(N,): values of one kind as an array that holds them exactly."""
    if all(isinstance(v, bool) for v in levels):
        return np.array(levels)
    if all(isinstance(v, np.datetime64) for v in levels):
        return np.array(levels, dtype="datetime64[us]")
    if all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in levels):
        numbers = np.array(levels, dtype=np.float64)
        if all(float(v) == v for v in levels):
            return numbers
        return np.array(levels, dtype=np.int64 if max(levels) < 2**63 else np.uint64)
    array = np.empty(len(levels), dtype=object)
    array[:] = levels
    return array


def shown(level: Any) -> str:
    """A value in a message."""
    return f"{level:g}" if isinstance(level, float) else printable(level, 60)


def _date(seconds: float) -> str:
    return str(np.datetime64(int(seconds), "s")).replace("T00:00:00", "")
