"""Names of columns: any hashable value that a file can hold, and the labels of a pandas column index."""

from __future__ import annotations

import datetime
import math
import zoneinfo
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

Name = Hashable
"""A string, a number, a truth value, None, a date, a time, or a tuple of these."""


def plain_name(name: object) -> Name:
    """The name as Python has it. Raises TypeError for a type that a file cannot hold, ValueError for NaN and NaT."""
    if isinstance(name, np.generic) and not isinstance(name, np.datetime64 | np.timedelta64):
        name = name.item()
    if isinstance(name, tuple):
        return tuple(plain_name(part) for part in name)
    if name != name or (isinstance(name, float) and not math.isfinite(name)):
        raise ValueError(f"a column is named {name!r}: give it another name, frame.columns = frame.columns.map(str)")
    if name is None or isinstance(name, str | bool | int | float | datetime.date):
        return name
    raise TypeError(
        f"a column is named {name!r}, a {type(name).__name__}: expected words, numbers, dates or tuples of these as "
        "names; frame.columns = frame.columns.map(str) makes them words"
    )


def name_to_json(name: Name) -> Any:
    """The name as JSON: strings and whole numbers as they are, others as an object that says their type."""
    if isinstance(name, tuple):
        return {"tuple": [name_to_json(part) for part in name]}
    if isinstance(name, datetime.datetime):
        zone = getattr(name.tzinfo, "key", getattr(name.tzinfo, "zone", None))
        return {"datetime": [name.isoformat(), zone]}
    return {"date": name.isoformat()} if isinstance(name, datetime.date) else name


def name_from_json(value: Any) -> Name:
    """What `name_to_json` wrote. Raises TypeError for other values."""
    kinds = {"tuple": _tuple, "datetime": _datetime, "date": datetime.date.fromisoformat}
    try:
        if not isinstance(value, dict):
            return plain_name(value)
        ((kind, content),) = value.items()
        return kinds[kind](content)
    except (ValueError, KeyError, OSError) as error:
        raise TypeError(f"a column is named {value!r}, which is not a name ({error})") from None


def _tuple(parts: list) -> tuple:
    return tuple(name_from_json(part) for part in parts)


def _datetime(content: list) -> datetime.datetime:
    """A point in time, with the nanoseconds of a pandas `Timestamp` if pandas is there."""
    text, zone = content
    try:
        import pandas as pd
    except ImportError:
        point = datetime.datetime.fromisoformat(text)
        return point if zone is None else point.astimezone(zoneinfo.ZoneInfo(zone))
    return pd.Timestamp(text) if zone is None else pd.Timestamp(text).tz_convert(zone)


def axis_of(table: Any) -> tuple | None:
    """The names of the levels of a pandas frame's column index; None for a plain index without a name."""
    labels = tuple(plain_name(name) for name in table.columns.names)
    return None if labels == (None,) else labels


def column_index(names: Sequence[Name], axis: tuple | None) -> Any:
    """The pandas column index with these names, whose levels have the names `axis`."""
    import pandas as pd

    if axis is not None and len(axis) > 1:
        return pd.MultiIndex.from_tuples(names, names=axis)
    settings = {"name": axis[0] if axis else None, "tupleize_cols": False}
    try:
        return pd.Index(list(names), **settings)
    except UnicodeEncodeError:  # a lone surrogate, which pandas' own strings cannot hold
        return pd.Index(list(names), dtype=object, **settings)
