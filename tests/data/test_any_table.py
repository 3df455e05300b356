"""Tables at random, of any kinds and containers, and cells of any kind in them: read, or refused by column."""

import contextlib
import datetime
import json
import warnings
from decimal import Decimal

import numpy as np
import pytest

from vaekit.data import Schema, SchemaWarning
from vaekit.data.missing import filled, with_unknown

pd = pytest.importorskip("pandas")
pl = pytest.importorskip("polars")
pa = pytest.importorskip("pyarrow")

ROWS = 40
JUNK = (
    None, np.nan, 0, -1, 1.5, 1e300, np.inf, -np.inf, 5e-324, -1e-300, 2**63, 10**30, True, "", "?", "nan", "1e5",
    "2020-13-45", pd.Timestamp("1999-01-01"), datetime.date(2020, 1, 1), Decimal("1.5"),
)  # fmt: skip


def whole_numbers(rng):
    dtype = str(rng.choice(["int8", "uint8", "int32", "uint32", "int64", "uint64", "Int64", "UInt8"]))
    most = np.iinfo(dtype.lower()).max
    start = int(rng.integers(0, most // 2))
    width = min(10 ** int(rng.integers(1, 15)), most - start)
    return pd.Series([start + int(rng.integers(0, width + 1)) for _ in range(ROWS)], dtype=dtype)


def real_numbers(rng):
    values = 10.0 ** rng.integers(-12, 12) * rng.normal(size=ROWS) + rng.choice([0, 1e-3, 1e9])
    values = np.exp(3 * rng.normal(size=ROWS)) if rng.random() < 0.3 else values
    values = values.round(int(rng.integers(0, 5))) if rng.random() < 0.3 else values
    values = np.where(rng.random(ROWS) < 0.3, np.nan, values) if rng.random() < 0.3 else values
    return pd.Series(values, dtype="float32" if rng.random() < 0.3 else "float64")


def words(rng):
    known = ["a", "", "1", "2.5", "True", "nan", "2020-01-01", "é\x1b", *map(str, range(int(rng.integers(30))))]
    return pd.Series([str(w) if rng.random() < 0.9 else None for w in rng.choice(known, ROWS)], dtype=object)


def truth_values(rng):
    known = [True, False, None] if rng.random() < 0.5 else [True, False]
    return pd.Series(np.resize(known, ROWS), dtype="boolean")


def categories(rng):
    ordered = bool(rng.integers(2))
    if rng.random() < 0.5:
        return pd.Series(pd.Categorical(rng.integers(0, 4, ROWS)))
    return pd.Series(pd.Categorical(rng.choice(["S", "M"], ROWS), ["S", "M", "L"], ordered=ordered))


def dates(rng):
    values = pd.Series(np.datetime64("2000-01-01", "us") + rng.integers(0, 10**12, ROWS).astype("timedelta64[us]"))
    return values.dt.strftime("%Y-%m-%d") if rng.random() < 0.3 else values


def constants(rng):
    known = [7, "x", 2.5, True, None, pd.Timestamp("2020"), 10**18 + 1]
    return pd.Series([known[int(rng.integers(len(known)))]] * ROWS)


def python_numbers(rng):
    known = (
        [int(k) * 10**19 for k in rng.integers(0, 99, ROWS)],
        [Decimal(int(k)) / 7 for k in rng.integers(0, 99, ROWS)],
    )
    return pd.Series(known[int(rng.integers(2))], dtype=object)


MAKERS = (whole_numbers, real_numbers, words, truth_values, categories, dates, constants, python_numbers)


def brought(frame, rng):
    """The frame in a container at random that holds it."""
    makers = (
        lambda f: f,
        pl.from_pandas,
        lambda f: pa.Table.from_pandas(f, preserve_index=False),
        lambda f: f.to_records(index=False).view(np.ndarray),
    )
    try:
        return makers[int(rng.integers(4))](frame)
    except (pa.ArrowException, pl.exceptions.PolarsError, TypeError, OverflowError):
        return frame


def corrupted(frame, rng):
    rows = frame.head(6).astype(object)
    for _ in range(6):
        rows.iat[int(rng.integers(6)), int(rng.integers(rows.shape[1]))] = JUNK[int(rng.integers(len(JUNK)))]
    return rows


class OneColumn(ValueError):
    """A refusal that names the column."""


def refusing(read, rows):
    """What is read, where it is not refused; a refusal names a column."""
    try:
        return read(rows)
    except (ValueError, TypeError) as error:
        if "column" in str(error):
            raise OneColumn from error
        raise


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_any_cell_is_read_or_refused_by_its_column(seed):
    rng = np.random.default_rng(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SchemaWarning)
        for _ in range(50):
            frame = pd.DataFrame({f"c{i}": MAKERS[int(rng.integers(len(MAKERS)))](rng) for i in range(4)})
            frame["z"] = rng.normal(size=ROWS)
            check(brought(frame, rng), brought(corrupted(frame, rng), rng))


def check(table, rows):
    schema = Schema.infer(table)
    own = schema.read(table)
    assert not own.unknown.any()
    schema.decode(own.cells)
    assert Schema.from_dict(json.loads(json.dumps(schema.to_dict()))) == schema
    with contextlib.suppress(OneColumn):
        read = refusing(schema.read, rows)
        values = read.rows.numpy()
        assert np.isfinite(values[~np.isnan(values)]).all()
        cells = np.nan_to_num(read.cells)
        with_unknown(schema, cells, rows, read.unknown)
        assert type(filled(rows, schema.decode(cells))) is type(rows)
        refusing(schema.encode, rows)
        assert not read.unknown.any()
