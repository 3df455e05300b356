"""Tables of the user's: data frames, Arrow tables, structured arrays and files of these, column by column."""

from __future__ import annotations

import datetime
import decimal
import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..paths import expanded, regular_file
from ..printable import listed, printable
from .limits import FileError, check_size, reading
from .names import Name, axis_of, plain_name

ARROW_WORDS = ("string[pyarrow]", "large_string[pyarrow]")
"""Words of Arrow's in a pandas data frame."""
ARROW_DATES = ("date32", "date64", "timestamp")
"""Dates of Arrow's in a pandas data frame: how the names of their types begin."""
LONGEST_LINE, MOST_COLUMNS = 2**26, 2**18
"""Of the first line of a .csv file: its bytes and columns, above which it is refused. pandas makes objects of each."""
CONTAINERS = ("pandas", "polars", "pyarrow", "numpy")
"""Whose tables are read; "numpy" stands for structured arrays."""


@dataclass(frozen=True)
class Raw:
    """A column as it came: its values, which of them are there, and the name of its type.

    values: bool, float64, datetime64 or, of words, object; int64 or uint64 for whole numbers that float64 would round.
    whole: of a type of whole numbers. levels: of a categorical type; ordered: whether it says that these have an order.
    note: what reading the column has changed, to be warned about. given: the values as they came, where they were of
    several kinds and are read as words.
    """

    values: NDArray
    seen: NDArray
    dtype: str
    whole: bool = False
    levels: tuple | None = None
    ordered: bool = False
    note: str | None = None
    given: NDArray | None = None


def container_of(x: object) -> str | None:
    """Whose table `x` is; None where it is none."""
    if isinstance(x, np.ndarray):
        return "numpy" if x.dtype.names else None
    for cls in type(x).__mro__:
        home = cls.__module__.partition(".")[0]
        if home in ("pandas", "polars") and cls.__name__ in ("DataFrame", "LazyFrame"):
            return home
        if home == "pyarrow" and cls.__name__ in ("Table", "RecordBatch"):
            return home
    return None


def as_table(x: object) -> Any:
    """A table, in memory, that `x` is or names; None where it is none.

    A path names one if it ends in .csv, or in .parquet and holds more than numbers without gaps, which are read as
    rows of numbers, batch by batch. Raises ValueError for a damaged file, ImportError without pandas.
    """
    if isinstance(x, (str, Path)):
        path = expanded(x)
        if path.suffix.lower() == ".csv" and path.exists():
            return read_csv(path)
        return read_parquet(path) if path.suffix.lower() == ".parquet" and path.exists() and _is_mixed(path) else None
    if container_of(x) is None:
        return None
    return x.collect() if type(x).__name__ == "LazyFrame" else x


def opened(x: object) -> Any:
    """The table, in memory, that `x` is or names. Raises TypeError for anything else, and as `as_table` does."""
    if isinstance(x, (str, Path)) and not expanded(x).exists():
        raise FileNotFoundError(f"expected a .csv or .parquet file, but {printable(x)} does not exist")
    found = as_table(x)
    if found is None and isinstance(x, (str, Path)) and Path(x).suffix.lower() == ".parquet":
        found = read_parquet(expanded(x))
    if found is None:
        raise TypeError(
            f"expected a table (a pandas or polars data frame, an Arrow table, a structured array, or the path of a "
            f".csv or .parquet file), got {type(x).__name__}: name the columns, pandas.DataFrame(x, columns=[...])"
        )
    return found


SEPARATORS = {b";": "semicolons", b"\t": "tabs", b"|": "vertical bars"}
NO_UTF8 = '{} is not encoded as UTF-8: save it as UTF-8, or pass pandas.read_csv(path, encoding="latin-1")'


def read_csv(path: Path) -> Any:
    """A .csv file as a pandas data frame; a first line of numbers is no line of names."""
    try:
        import pandas as pd
    except ImportError as error:
        raise ImportError('reading .csv needs pandas: pip install "vaekit[tables]"') from error
    if not path.exists():
        raise FileNotFoundError(f"expected a .csv file, but {printable(path)} does not exist")
    path = regular_file(path)
    with reading(path, ".csv"):
        _check_csv(path)
        try:
            frame = pd.read_csv(path, low_memory=False)  # in pieces, one column could get two types
        except UnicodeDecodeError:
            raise FileError(NO_UTF8.format(printable(path))) from None
        if len(frame.columns) and all(_is_number(name) for name in frame.columns):
            frame = pd.read_csv(path, low_memory=False, header=None)
            frame.columns = [str(name) for name in frame.columns]
        if not frame.index.equals(pd.RangeIndex(len(frame))):  # pandas takes the first column as row names
            raise FileError(
                f"the rows of {printable(path)} have more cells than its first line has names: name every column, or "
                "leave out the names of the rows"
            )
        return frame


def _check_csv(path: Path) -> None:
    """Raises FileError for a file that is larger than the memory that is free, and for one that is a single line of
    more columns than a table has."""
    check_size(2 * path.stat().st_size, path)
    with path.open("rb") as file:
        first, second = file.readline(LONGEST_LINE), file.readline(LONGEST_LINE)
    if not first:
        raise FileError(f"{printable(path)} is empty: expected a line of names and a line for each row")
    if first.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise FileError(NO_UTF8.format(printable(path)))
    for mark, name in SEPARATORS.items():
        if b"," not in first and 0 < first.count(mark) == second.count(mark):
            raise FileError(
                f"{printable(path)} separates its cells by {name}: write commas, or pass "
                f"pandas.read_csv(path, sep={mark.decode()!r})"
            )
    if len(first) == LONGEST_LINE or first.count(b",") >= MOST_COLUMNS:
        raise FileError(
            f"the first line of {printable(path)} has {len(first):,} characters or more, which names more than "
            f"{MOST_COLUMNS:,} columns: write a row a line, or save an array, np.save"
        )


def read_parquet(path: Path) -> Any:
    """A .parquet file as a pandas data frame."""
    from .parquet import check_table

    try:
        import pandas as pd
    except ImportError as error:
        raise ImportError('reading .parquet needs pandas and pyarrow: pip install "vaekit[tables]"') from error
    check_table(path)
    with reading(path, ".parquet"):
        return pd.read_parquet(path, engine="pyarrow")


def _is_mixed(path: Path) -> bool:
    """Whether a Parquet file holds more than numbers without gaps."""
    from .parquet import column_kinds

    numbers, gaps = column_kinds(path)
    return not all(numbers) or gaps


def _is_number(name: object) -> bool:
    try:
        float(str(name))
    except ValueError:
        return False
    return True


def names_of(table: Any) -> list[Name]:
    """The names of the columns. Raises ValueError for two of one name, for no columns, and as `plain_name` does."""
    kind = container_of(table)
    if kind == "numpy":
        names = list(table.dtype.names)
    else:
        names = list(table.column_names if kind == "pyarrow" else table.columns)
    names = [plain_name(n) for n in names]
    twice = [str(n) for n, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(f"two columns are named {listed(twice)}: give each column a name of its own")
    if not names:
        raise ValueError(f"0 feature(s) (shape=({len(table)}, 0)) while a minimum of 1 is required.")
    return names


def column_axis(table: Any) -> tuple | None:
    """The names of the levels of a pandas frame's column index; None for other tables and a plain index."""
    return axis_of(table) if container_of(table) == "pandas" else None


def raw(table: Any, place: int, name: Name, mixed: bool = False) -> Raw:
    """The column at a place. Raises TypeError for a type that is not understood, with the column's name.

    mixed: read a column of words, numbers, dates and truth values together as words; otherwise it is not understood.
    """
    readers = {"pandas": _of_pandas, "polars": _of_polars, "pyarrow": _of_arrow, "numpy": _of_numpy}
    return _named(name, readers[container_of(table)], table, place, mixed)


def columns_of(table: object) -> dict[Name, Raw]:
    """Every column by its name: of a table or the path of one, of a mapping of names to columns (arrays, or as `Raw`),
    or of an array (N, D). Raises ValueError for other arrays, and as `names_of` and `raw` do."""
    if isinstance(table, Mapping):
        return {n: v if isinstance(v, Raw) else _named(n, _of_array, np.asanyarray(v)) for n, v in table.items()}
    if container_of(table) is not None or isinstance(table, (str, Path)):
        table = opened(table)
        return {name: raw(table, place, name) for place, name in enumerate(names_of(table))}
    array = np.asarray(table)
    if array.ndim != 2:
        raise ValueError(f"expected a table, or rows (N, D), got an array of shape {array.shape}")
    names = [f"x[{i}]" for i in range(array.shape[1])]
    return {name: _named(name, _of_array, column) for name, column in zip(names, array.T)}


class Unreadable(TypeError):
    """A column of a type that is not understood."""


def _named(name: Name, read: Callable[..., Raw], *source: Any) -> Raw:
    try:
        return read(*source)
    except Unreadable as error:
        raise TypeError(f"column {name!r}: {error}") from None


def _of_pandas(table: Any, place: int, mixed: bool = False) -> Raw:
    import pandas as pd

    column = table.iloc[:, place]
    kind, dtype = column.dtype, str(column.dtype)
    seen = column.notna().to_numpy(dtype=bool)
    if isinstance(kind, pd.CategoricalDtype):
        levels = tuple(as_python(v) for v in kind.categories)
        kinds = {_kind(level) for level in levels}
        if len(kinds) > 1 or kinds - {"words", "numbers", "truth values"}:
            raise Unreadable(
                f"its categories are {' and '.join(sorted(kinds))}: make them words, column.cat.rename_categories(str)"
            )
        words = column.astype(object).to_numpy(dtype=object)
        return Raw(words, seen, "category", levels=levels, ordered=kind.ordered)
    if pd.api.types.is_bool_dtype(kind):
        return Raw(column.fillna(False).to_numpy(dtype=bool), seen, dtype)
    if pd.api.types.is_complex_dtype(kind):
        raise Unreadable("complex numbers: pass real and imaginary parts as two columns")
    if pd.api.types.is_integer_dtype(kind):
        signed = pd.api.types.is_signed_integer_dtype(kind)
        values = column.to_numpy(dtype=np.int64 if signed else np.uint64, na_value=0)
        return Raw(as_exact(values, seen), seen, dtype, whole=True)
    if pd.api.types.is_numeric_dtype(kind):
        return Raw(column.to_numpy(dtype=np.float64, na_value=np.nan), seen, dtype)
    if isinstance(kind, pd.ArrowDtype) and dtype.startswith(ARROW_DATES):
        import pyarrow as pa

        return replace(_of_arrow(pa.table({"dates": pa.array(column)}), 0), dtype=dtype)
    if isinstance(kind, pd.DatetimeTZDtype):
        column = column.dt.tz_convert("UTC").dt.tz_localize(None)
    if pd.api.types.is_datetime64_any_dtype(column.dtype):
        dates = column.to_numpy()
        return Raw(dates.astype("datetime64[us]"), seen, dtype, note=_finer(dates))
    if pd.api.types.is_timedelta64_dtype(kind):
        raise Unreadable("spans of time: pass them as seconds, column.dt.total_seconds()")
    if isinstance(kind, pd.PeriodDtype):
        raise Unreadable("periods: pass their start as dates, column.dt.to_timestamp()")
    if isinstance(kind, pd.IntervalDtype):
        raise Unreadable("intervals: pass words, column.astype(str), or numbers, column.array.mid")
    if dtype == "null[pyarrow]":
        return Raw(np.full(len(column), np.nan), seen, dtype)
    if kind == np.dtype(object) or isinstance(kind, pd.StringDtype) or dtype in ARROW_WORDS:
        return _of_objects(column.to_numpy(dtype=object), seen, dtype, mixed)
    raise Unreadable(f"type {dtype} is not understood: make it numbers, words, dates or categories")


def _of_polars(table: Any, place: int, mixed: bool = False) -> Raw:
    import polars as pl

    column = table.to_series(place)
    kind, dtype = column.dtype, str(column.dtype)
    seen = column.is_not_null().to_numpy()
    if kind == pl.Boolean:
        return Raw(column.fill_null(False).to_numpy().astype(bool), seen, dtype)
    if kind.is_integer() and "128" not in dtype:
        values = column.fill_null(0).to_numpy().astype(np.int64 if kind.is_signed_integer() else np.uint64)
        return Raw(as_exact(values, seen), seen, dtype, whole=True)
    if kind.is_integer() or kind.is_decimal():
        return _of_objects(np.array(column.to_list(), dtype=object), seen, dtype)
    if kind.is_numeric():
        values = column.cast(pl.Float64).fill_null(np.nan).to_numpy()
        return Raw(values, ~np.isnan(values), dtype)
    if kind in (pl.Date, pl.Datetime):
        zone = getattr(kind, "time_zone", None)
        column = column.cast(pl.Datetime("us", zone))
        naive = column if zone is None else column.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
        return Raw(naive.to_numpy().astype("datetime64[us]"), seen, dtype)
    if kind in (pl.Categorical, pl.Enum):
        levels = tuple(kind.categories.to_list()) if kind == pl.Enum else None
        return Raw(np.array(column.cast(pl.String).to_list(), dtype=object), seen, str(kind), levels=levels)
    if kind == pl.String:
        return Raw(np.array(column.to_list(), dtype=object), seen, dtype)
    if kind == pl.Null:
        return Raw(np.full(len(column), np.nan), seen, dtype)
    raise Unreadable(f"type {dtype} is not understood: make it numbers, words, dates or categories")


def _of_arrow(table: Any, place: int, mixed: bool = False) -> Raw:
    import pyarrow as pa
    from pyarrow import types

    column = table.column(place)
    kind, dtype = column.type, str(column.type)
    seen = column.is_valid().to_numpy(zero_copy_only=False)
    if types.is_boolean(kind):
        return Raw(column.fill_null(False).to_numpy(zero_copy_only=False).astype(bool), seen, dtype)
    if types.is_integer(kind):
        signed = types.is_signed_integer(kind)
        values = column.fill_null(0).cast(pa.int64() if signed else pa.uint64()).to_numpy()
        return Raw(as_exact(values, seen), seen, dtype, whole=True)
    if types.is_decimal(kind):
        return _of_objects(np.array(column.to_pylist(), dtype=object), seen, dtype)
    if types.is_floating(kind):
        values = np.asarray(column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False), dtype=np.float64)
        return Raw(values, ~np.isnan(values), dtype)
    if types.is_date(kind) or types.is_timestamp(kind):
        values = column.cast(pa.timestamp("us"), safe=False).to_numpy(zero_copy_only=False)
        fine = types.is_timestamp(kind) and kind.unit == "ns"
        note = _finer(column.cast(pa.timestamp("ns")).to_numpy(zero_copy_only=False)) if fine else None
        return Raw(values.astype("datetime64[us]"), seen, dtype, note=note)
    if types.is_dictionary(kind):
        ordered = kind.ordered
        return Raw(np.array(column.to_pylist(), dtype=object), seen, dtype, ordered=ordered)
    if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
        return Raw(np.array(column.to_pylist(), dtype=object), seen, dtype)
    if types.is_null(kind):
        return Raw(np.full(len(table), np.nan), seen, dtype)
    raise Unreadable(f"type {dtype} is not understood: make it numbers, words, dates or categories")


def _of_numpy(table: NDArray, place: int, mixed: bool = False) -> Raw:
    if table.ndim != 1:
        raise ValueError(f"expected a structured array (N,), got {table.shape}: a row is one element")
    return _of_array(table[table.dtype.names[place]], mixed)


def _of_array(values: NDArray, mixed: bool = False) -> Raw:
    if isinstance(values, np.ma.MaskedArray):
        return _of_masked(values, mixed)
    kind, dtype = values.dtype.kind, values.dtype.str
    if values.ndim != 1:
        raise Unreadable(f"has {values.shape[1:]} numbers in a row: give each a column of its own")
    if kind == "b":
        return Raw(values.copy(), np.ones(len(values), bool), dtype)
    if kind in "iu":
        seen = np.ones(len(values), bool)
        return Raw(as_exact(values.astype(np.int64 if kind == "i" else np.uint64), seen), seen, dtype, whole=True)
    if kind == "f":
        numbers = values.astype(np.float64)
        return Raw(numbers, ~np.isnan(numbers), dtype)
    if kind == "M":
        return Raw(values.astype("datetime64[us]"), ~np.isnat(values), dtype, note=_finer(values))
    if kind in "US":
        words = np.char.decode(values, "utf-8") if kind == "S" else values
        return Raw(words.astype(object), np.ones(len(values), bool), dtype)
    if kind == "O":
        return _of_objects(values, np.array([is_there(v) for v in values], dtype=bool), dtype, mixed)
    raise Unreadable(f"type {dtype} is not understood: make it numbers, words, dates or categories")


def _of_masked(values: np.ma.MaskedArray, mixed: bool) -> Raw:
    """A masked column: masked cells are missing, and the type is that of the values."""
    own, mask = _of_array(np.ma.getdata(values), mixed), np.ma.getmaskarray(values)
    kept, kind = own.values, own.values.dtype.kind
    if kind in "iuf":
        kept = np.where(mask, np.nan if kind == "f" else 0, kept).astype(kept.dtype)
    return replace(own, values=kept, seen=own.seen & ~mask)


EXACT = 2**49
"""Whole numbers from here on are kept as such: below, float64 brings each back after it was scaled."""


def as_exact(values: NDArray, seen: NDArray) -> NDArray:
    """Whole numbers as float64, NaN where missing; as they are, 0 where missing, where float64 would round them."""
    if len(values) and (int(values.max()) >= EXACT or int(values.min()) <= -EXACT):
        return np.where(seen, values, 0).astype(values.dtype)
    return np.where(seen, values.astype(np.float64), np.nan)


def _finer(dates: NDArray) -> str | None:
    """A note where dates (N,) are finer than microseconds."""
    if np.datetime_data(dates.dtype)[0] not in ("ns", "ps", "fs", "as"):
        return None
    lost = (dates != dates.astype("datetime64[us]").astype(dates.dtype)) & ~np.isnat(dates)
    return "holds times finer than a microsecond, which are rounded down to it" if lost.any() else None


def _of_objects(values: NDArray, seen: NDArray, dtype: str, mixed: bool = False) -> Raw:
    """Python objects of one kind: words, truth values, numbers or dates. Raises Unreadable for a mixture, unless
    `mixed` has it read as words."""
    kinds = {_kind(v) for v in values[seen]}
    if mixed and len(kinds) > 1 and kinds <= {"words", "truth values", "numbers", "dates"}:
        return Raw(_as_words(values, seen), seen, dtype, given=values)
    if len(kinds) > 1:
        raise Unreadable(f"holds {' and '.join(sorted(kinds))}: make it one kind, such as words by column.astype(str)")
    kind = next(iter(kinds), "numbers")
    if kind == "words":
        return Raw(values, seen, dtype)
    if kind == "truth values":
        return Raw(np.where(seen, values, False).astype(bool), seen, dtype)
    if kind == "numbers":
        return _of_numbers(values, seen, dtype)
    if kind == "dates":
        day = all(type(v) is datetime.date for v in values[seen])
        dates = np.array([_utc(v) if s else "NaT" for v, s in zip(values, seen)], dtype="datetime64[us]")
        return Raw(dates, seen, "date" if day else dtype)
    raise Unreadable(f"holds {kind}, which is not understood: make it numbers, words, dates or categories")


def _of_numbers(values: NDArray, seen: NDArray, dtype: str) -> Raw:
    """Numbers of Python's: whole ones of up to 64 bits exactly, others as float64, or as words where float64 would make
    different ones equal."""
    whole = bool(seen.any()) and all(isinstance(v, (int, np.integer)) for v in values[seen])
    if whole:
        least, most = int(min(values[seen])), int(max(values[seen]))
        kind = np.int64 if most < 2**63 else np.uint64
        if np.iinfo(kind).min <= least and most <= np.iinfo(kind).max:
            exact = np.array([int(v) if s else 0 for v, s in zip(values, seen)], dtype=kind)
            return Raw(as_exact(exact, seen), seen, dtype, whole=True)
    try:
        numbers = np.array([float(v) if s else np.nan for v, s in zip(values, seen)], dtype=np.float64)
        kept = len(np.unique(numbers[seen])) == len(set(values[seen]))
    except OverflowError:  # a whole number beyond float64
        kept = False
    if not kept:
        note = "holds numbers that float64 cannot tell apart, and is read as words: subtract an offset to model them"
        return Raw(_as_words(values, seen), seen, dtype, note=note)
    note = "holds whole numbers beyond 64 bits, which are read as float64" if whole else None
    return Raw(numbers, seen, dtype, whole=whole, note=note)


def _as_words(values: NDArray, seen: NDArray) -> NDArray:
    words = np.empty(len(values), dtype=object)
    words[:] = [_word(v) if s else None for v, s in zip(values, seen)]
    return words


def _word(value: object) -> str:
    plain = isinstance(value, (float, np.floating)) and float(value).is_integer()
    return str(int(value)) if plain else str(value)


def is_there(value: object) -> bool:
    """Whether a Python object is a value: not None, NaN, NaT or NA."""
    return value is not None and type(value).__name__ != "NAType" and bool(value == value)


def _utc(date: Any) -> Any:
    aware = isinstance(date, datetime.datetime) and date.tzinfo is not None
    return date.astimezone(datetime.UTC).replace(tzinfo=None) if aware else date


def _kind(value: object) -> str:
    if isinstance(value, str):
        return "words"
    if isinstance(value, (bool, np.bool_)):
        return "truth values"
    if isinstance(value, (int, float, decimal.Decimal, np.number)) and not isinstance(value, complex):
        return "numbers"
    if isinstance(value, (datetime.date, np.datetime64)):
        return "dates"
    return type(value).__name__


def as_python(value: Any) -> Any:
    """A number or truth value of NumPy's as Python has it; others as they are."""
    return value.item() if isinstance(value, np.generic) else value


def take(table: Any, rows: NDArray) -> Any:
    """Some rows of a table, by a mask or their numbers."""
    kind, rows = container_of(table), np.asarray(rows)
    if kind == "pandas":
        return table.iloc[np.flatnonzero(rows) if rows.dtype == bool else rows]
    if kind == "polars":
        return table.filter(rows) if rows.dtype == bool else table[rows]
    if kind == "pyarrow":
        return table.take(np.flatnonzero(rows) if rows.dtype == bool else rows)
    return table[rows]


def in_order(table: Any, names: Sequence[Name]) -> Any:
    """The columns of these names, in their order; a table without names is left as it is. Raises ValueError where some
    are not there."""
    own = names_of(table)
    if own == list(names) or not all(isinstance(name, str) for name in own):
        return table
    if lost := [name for name in names if name not in own]:
        raise ValueError(f"the rows have no column {', '.join(map(repr, lost[:6]))}, which fit read: pass it")
    return table.select(list(names)) if container_of(table) in ("polars", "pyarrow") else table[list(names)]


def joined(parts: Sequence[Any]) -> Any:
    """Tables of one kind, or arrays, one below the other."""
    kind = container_of(parts[0])
    if len(parts) == 1:
        return parts[0]
    if kind == "pandas":
        import pandas as pd

        return pd.concat(parts, ignore_index=True)
    if kind == "polars":
        import polars as pl

        return pl.concat(parts)
    if kind == "pyarrow":
        import pyarrow as pa

        return pa.concat_tables(parts)
    return np.concatenate(parts)


def table_digest(table: Any) -> str:
    """SHA-256 (hexadecimal) of the names and values of the columns: the same for a table in any container."""
    sha = hashlib.sha256()
    for place, name in enumerate(names_of(table)):
        column = raw(table, place, name)
        sha.update(f"{name}\0".encode() + np.packbits(column.seen).tobytes())
        values = column.values[column.seen]
        plain = values.dtype.kind != "O"
        sha.update(
            values.astype(values.dtype.newbyteorder("<")).tobytes() if plain else "\0".join(map(str, values)).encode()
        )
    return sha.hexdigest()
