"""What the columns of a table are, told from their values."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .column import KINDS, LEVELLED, Column, Kind, different, numbers, odd, refuse_infinite
from .frames import Name, Raw, as_python
from .marginals import FINE, LEAST, Marginal, centre_and_spread, resolution, skewness

FEW, SOME = 20, 256
"""Different numbers, at most, that count as ordered levels where each is met REPEATED, or OFTEN, times on average."""
REPEATED, OFTEN = 5, 50
MANY = 1000
"""Levels above which a column of words is left out, unless it is said to be a category."""
ISO = re.compile(r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?)?")

Columns = Mapping[Name, str | Sequence[Any]]
"""What a user says of columns: a kind by the column's name, or the ordered levels of an ordinal one."""


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
        refuse_infinite(column.values, name)
    distinct = different(seen)
    if len(distinct) <= 1:
        if given not in (None, "constant"):
            raise ValueError(f"columns={{{name!r}: {given!r}}}: the column holds {len(distinct)} values, a constant")
        value = distinct[0] if len(distinct) else None
        dated = isinstance(value, np.datetime64)
        plain = str(value) if dated else as_python(value)
        return replace(common, value=plain, written="constant" if dated else None)
    kind = given or _kind(column, seen, distinct)
    if kind == "constant":
        raise ValueError(f"columns={{{name!r}: 'constant'}}: it has several values; 'identifier' leaves a column out")
    if kind == "identifier":
        return replace(common, kind="identifier")
    if kind in LEVELLED:
        return _levelled(common, column, learned, kind, None)
    if column.values.dtype.kind == "O":
        if kind != "datetime":
            raise ValueError(
                f"columns={{{name!r}: {kind!r}}}: it holds words, such as {str(seen[0])!r}: make it numbers"
            )
        common = replace(common, written=_unit(name, seen))
    return _measured(common, column, learned, kind)


def kind_of(column: Raw) -> Kind:
    """What a column is, unless more is known of it."""
    seen = column.values[column.seen]
    return _kind(column, seen, different(seen))


def _kind(column: Raw, seen: NDArray, distinct: NDArray) -> Kind:
    if len(distinct) <= 1:
        return "constant"
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
    if column.whole and len(distinct) == len(seen) > FEW and int(distinct[-1]) - int(distinct[0]) == len(seen) - 1:
        return "identifier"  # the rows' own numbers
    if whole and distinct[0] == 0 and distinct[-1] < 1e6:
        return "count"
    if few:
        return "ordinal"
    if whole and distinct[0] == 1 and distinct[-1] < 1e4:
        return "count"
    numbers = seen.astype(np.float64)
    wide = distinct[0] > 0 and float(distinct[-1]) > 2 * float(distinct[0])  # else a logarithm is a line
    if wide and abs(skewness(np.log(numbers))) < abs(skewness(numbers / np.abs(numbers).max())) - 0.25:
        return "positive"
    return "real"


def _levelled(common: Column, column: Raw, learned: NDArray, kind: Kind, levels: tuple | None) -> Column:
    seen = column.values[column.seen]
    if seen.dtype.kind == "M":
        raise ValueError(f"column {common.name!r} holds dates, which are no levels: make it words first")
    met = tuple(as_python(v) for v in different(seen))
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
    everything = numbers(column, common.name, kind == "datetime")  # refuses other values
    own = replace(common, kind=kind, origin=_origin(column, everything, kind))
    everything = numbers(column, own.name, kind == "datetime", own.origin) if own.origin else everything
    seen = everything[~np.isnan(everything)]
    low, high = float(seen.min()), float(seen.max())
    if kind in ("count", "positive"):
        least = 0 if kind == "count" else np.finfo(float).tiny
        if low < least or (kind == "count" and (seen != seen.round()).any()):
            raise ValueError(f"columns={{{own.name!r}: {kind!r}}}: expected {KINDS[kind]}, got {odd(seen)}")
    values = everything[learned]
    values = values[~np.isnan(values)]
    if not len(values) or values.min() == values.max():
        values = seen  # too few values to take a scale from
    if kind == "count":
        return replace(
            own, low=low, high=high, step=1.0, marginal=None, shares=(float(values.mean()), float(values.var()))
        )
    step = _step(column, seen, kind)
    offset, scale = centre_and_spread(values)
    if kind == "positive":
        offset = -max(step or 1.0, 1.0) if (seen == seen.round()).all() else 0.0  # a whole number may be 0
        scale = float(np.median(values)) - offset
    high = min(high, MOST) if own.origin else high
    own = replace(own, low=low, high=high, step=step, offset=offset, scale=scale)
    return replace(own, marginal=_marginal(own, values))


MOST = float(np.nextafter(2.0**64, 0))
"""Above the origin: what lies between it and the largest whole number of 64 bits."""


def _origin(column: Raw, values: NDArray, kind: Kind) -> int:
    """What is subtracted from the values before they become floats; see `Column`."""
    if kind == "datetime":
        seconds = values[~np.isnan(values)]
        return int(np.floor(seconds.min())) * 10**6 if (seconds % 1 != 0).any() else 0
    return int(column.values[column.seen].min()) if kind == "real" and column.values.dtype.kind in "iu" else 0


def _step(column: Raw, values: NDArray, kind: Kind) -> float | None:
    """What all values are multiples of; None where they are not rounded."""
    if kind == "datetime":
        known = (86400.0, 3600.0, 60.0, 1.0, 1e-3)
        return next((s for s in known if (np.abs(values / s - (values / s).round()) < 1e-9).all()), 1e-6)
    found = resolution(values, PRECISION.get(column.dtype.removesuffix("[pyarrow]").lstrip("<>=").lower(), 2.0**-52))
    return max(found or 1.0, 1.0) if column.whole else found


PRECISION = dict.fromkeys(("float16", "halffloat", "f2"), 2.0**-10) | dict.fromkeys(
    ("float32", "float", "f4"), 2.0**-23
)
"""Of types of numbers that are not double."""


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


def _unit(name: Name, words: NDArray) -> str:
    """The unit that dates are written in."""
    if not all(ISO.fullmatch(str(w)) for w in words):
        raise ValueError(
            f"column {name!r}: expected dates written as 2026-11-25, got {str(words[0])!r}: parse them first"
        )
    longest = max(len(str(w)) for w in words)
    return "D" if longest == 10 else "m" if longest == 16 else "s" if longest == 19 else "us"
