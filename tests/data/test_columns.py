"""Columns keep their values: what is encoded and decoded is what came, for any offset, scale, step and type."""

import datetime
from decimal import Decimal

import numpy as np
import pytest

from vaekit.data import Column, Schema, SchemaWarning
from vaekit.data.marginals import resolution

pd = pytest.importorskip("pandas")

ROWS = 60
INTEGERS = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")


def frame_of(values, dtype=None):
    column = pd.Series(values, dtype=dtype)
    return pd.DataFrame({"x": column, "other": np.linspace(-1, 1, len(column)) ** 3})


def round_trip(frame, columns=None):
    schema = Schema.infer(frame, columns)
    return schema.decode(schema.encode(frame))["x"], schema


def through_the_model(frame):
    """The values that are left when cells have been single-precision numbers, as they are in a model."""
    schema = Schema.infer(frame)
    return schema.decode(schema.rows_of(frame).double().numpy())["x"], schema.column("x")


@pytest.mark.parametrize("dtype", INTEGERS)
def test_whole_numbers_come_back_exactly(dtype):
    """At any offset and over any range up to 2^49, as they are from one end of their type to the other."""
    rng, limits = np.random.default_rng(0), np.iinfo(dtype)
    starts = {limits.min, limits.max - 100, *(10**k for k in range(19) if 10**k < limits.max - 100)}
    for start in sorted(starts):
        for width in (7, 50_000, 10**9, 2**49):
            for step in (1, 10):
                room = min(width, limits.max - start)
                if room // step < 2:
                    continue
                values = [start + step * int(k) for k in rng.integers(0, room // step + 1, ROWS)]
                frame = frame_of(np.array(values, dtype=dtype))
                made, schema = round_trip(frame)
                assert made.dtype == dtype and made.tolist() == values, (start, width, step, str(schema))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_real_numbers_come_back_to_the_precision_of_their_type(dtype):
    rng, eps = np.random.default_rng(0), np.finfo(dtype).eps
    for offset in (0.0, 1.0, 10.0, 1e8, 1e9, 1e12, -1e15):
        for scale in (1e-9, 2e-4, 1.0, 5.0, 1e9):
            for digits in (None, 0, 2, 6):
                noise = rng.normal(size=ROWS)
                values = offset + scale * (np.exp(2 * noise) if offset > 1e8 else noise)
                values = (values if digits is None else values.round(digits)).astype(dtype)
                if len(np.unique(values)) < 2:
                    continue
                made, _ = round_trip(frame_of(values))
                largest = np.abs(values).max()
                np.testing.assert_allclose(made, values, rtol=0, atol=4 * eps * largest, err_msg=f"{offset, scale}")
                assert len(np.unique(made)) == len(np.unique(values)), (offset, scale, digits)


INSTANCES = {
    "a billion and some": (10**9 + np.arange(0, 50_000, 701), "int64"),
    "ten and little": (10 + 2e-4 * np.random.default_rng(1).normal(size=ROWS), "float64"),
    "a hundred million and five": (1e8 + 5 * np.random.default_rng(2).normal(size=ROWS), "float64"),
    "milliseconds": (10**12 + 86_400_000 * np.random.default_rng(3).random(ROWS), "int64"),
    "a quintillion and some": (10**18 + np.random.default_rng(4).integers(0, 10**6, ROWS), "int64"),
    "a coin near one": (np.round(1 + 2e-5 * np.random.default_rng(5).normal(size=300), 6), "float64"),
}


@pytest.mark.parametrize("case", INSTANCES)
def test_values_stay_distinct_in_single_precision_cells(case):
    """Cells are relative to the spread, of which values keep 1e-7; rounded values come back exactly."""
    values, dtype = INSTANCES[case]
    frame = frame_of(values.astype(dtype))
    made, column = through_the_model(frame)
    assert made.nunique() == frame["x"].nunique()
    apart = np.abs((made - frame["x"]).astype(np.float64)).max()
    assert apart <= 3e-7 * column.scale
    if column.step is not None and column.step > 1e-6 * column.scale:
        assert made.tolist() == frame["x"].tolist()


def test_a_step_is_found_where_precision_justifies_it_only():
    rng = np.random.default_rng(0)
    for step in (1e-6, 1e-2, 1.0, 10.0, 1e5):
        for offset in (0, 7, 1234):
            assert resolution(step * (offset + rng.integers(0, 99, 50))) == pytest.approx(step)
    assert resolution(rng.normal(size=50)) is None
    assert resolution(1e9 + rng.normal(size=50)) is None
    assert resolution(np.array([1.0, 1.00001, 2.0])) == 1e-5
    assert resolution(np.array([0.0, 5e-324])) is resolution(np.array([-1.7e308, 1.7e308, 3.0])) is None
    assert resolution(np.array([1e-20, 1.0, 2.0])) is None  # a step of 1 would make the first one zero
    assert resolution((1e5 + 0.01 * rng.integers(0, 99, 50)).astype(np.float32).astype(np.float64), 2.0**-23) is None


def test_a_step_never_makes_values_equal():
    """Over offsets, widths and types at random."""
    rng = np.random.default_rng(0)
    for _ in range(300):
        values = 10.0 ** rng.uniform(-9, 15) * rng.choice([-1, 1]) + 10.0 ** rng.uniform(-9, 15) * rng.normal(size=40)
        single = bool(rng.integers(2))
        values = values.astype(np.float32).astype(np.float64) if single else values
        step = resolution(values, 2.0**-23 if single else 2.0**-52)
        if step is not None:
            assert len(np.unique(np.round(np.unique(values) / step))) == len(np.unique(values))


def test_whole_numbers_over_a_range_beyond_double_precision_are_warned_about():
    values = np.random.default_rng(0).integers(-(2**63), 2**63 - 1, ROWS)
    frame = frame_of(values)
    with pytest.warns(SchemaWarning, match="column 'x' holds whole numbers of more than 15 digits"):
        made, _ = round_trip(frame)
    assert made.nunique() == ROWS
    np.testing.assert_allclose(made.astype(float), values.astype(float), rtol=0, atol=2.0**64 * 2.0**-50)


BEYOND = {
    "apart": ([10**25 * (1 + k) for k in range(ROWS)], "beyond 64 bits, which are read as float64", "real"),
    "together": ([10**25 + k % 9 for k in range(ROWS)], "float64 cannot tell apart, and is read as words", "category"),
    "beyond float64": ([10**400 + k % 9 for k in range(ROWS)], "cannot tell apart, and is read as words", "category"),
    "decimals": ([Decimal(1) + Decimal(k % 9) / 10**20 for k in range(ROWS)], "cannot tell apart", "category"),
}


@pytest.mark.parametrize("case", BEYOND)
def test_numbers_beyond_64_bits_are_never_a_constant(case):
    values, message, kind = BEYOND[case]
    frame = frame_of(values, object)
    with pytest.warns(SchemaWarning, match=f"column 'x' holds .*{message}"):
        made, schema = round_trip(frame)
    assert schema.column("x").kind == kind and made.nunique() == len(set(values))
    if kind == "category":
        assert made.tolist() == [str(v) for v in values]


def test_large_whole_numbers_are_exact_in_every_container():
    values = [10**18 + 7 * k for k in range(ROWS)]
    made, _ = round_trip(frame_of(values, object))
    assert made.tolist() == values and made.dtype == object
    missing = frame_of([*values[:-1], None], "Int64")
    made, _ = round_trip(missing)
    pd.testing.assert_series_equal(made, missing["x"])
    records = np.array([(v, v % 9 / 7) for v in values], dtype=[("x", "<i8"), ("y", "<f8")])
    schema = Schema.infer(records)
    assert schema.decode(schema.encode(records))["x"].tolist() == values
    pl, pa = pytest.importorskip("polars"), pytest.importorskip("pyarrow")
    for kind in (pl.Int64, pl.UInt64):
        table = pl.DataFrame({"x": pl.Series([*values[:-1], None], dtype=kind), "y": [v % 9 / 7 for v in values]})
        schema = Schema.infer(table)
        assert schema.decode(schema.encode(table))["x"].equals(table["x"])
    table = pa.table({"x": pa.array([*values[:-1], None], pa.int64()), "y": [v % 9 / 7 for v in values]})
    schema = Schema.infer(table)
    assert schema.decode(schema.encode(table))["x"].to_pylist() == table["x"].to_pylist()


def test_the_levels_of_large_whole_numbers_stay_apart():
    values = [10**18 + k % 3 for k in range(ROWS)]
    made, schema = round_trip(frame_of(values))
    assert schema.column("x").levels == (10**18, 10**18 + 1, 10**18 + 2) and made.tolist() == values
    assert Schema.from_dict(schema.to_dict()) == schema
    same = schema.encode(frame_of([str(v) for v in values]))
    assert np.array_equal(same, schema.encode(frame_of(values)))


DATES = {
    "microseconds": [datetime.datetime(2026, 1, 1) + datetime.timedelta(microseconds=7 * k) for k in range(ROWS)],
    "microseconds, far": [datetime.datetime(9990, 1, 1) + datetime.timedelta(microseconds=k**3) for k in range(ROWS)],
    "halves of a second": [datetime.datetime(1850 + k, 1, 1, 0, 0, 0, 500_000) for k in range(ROWS)],
    "seconds": [datetime.datetime(1, 1, 1) + datetime.timedelta(seconds=10**8 * k + k) for k in range(ROWS)],
}


@pytest.mark.parametrize("case", DATES)
def test_times_come_back_to_the_microsecond(case):
    frame = frame_of(np.array(DATES[case], dtype="datetime64[us]"))
    made, schema = round_trip(frame)
    pd.testing.assert_series_equal(made, frame["x"])
    assert Schema.from_dict(schema.to_dict()) == schema
    words = frame.assign(x=[d.isoformat() for d in DATES[case]])
    assert round_trip(words)[0].nunique() == ROWS


def test_times_finer_than_a_microsecond_are_warned_about():
    frame = frame_of(np.datetime64("2026-01-01", "ns") + np.arange(ROWS) * np.timedelta64(1500, "ns"))
    with pytest.warns(SchemaWarning, match="column 'x' holds times finer than a microsecond"):
        made, _ = round_trip(frame)
    assert made.nunique() == ROWS


def test_the_end_of_a_type_comes_back():
    made, _ = round_trip(frame_of(np.arange(-128, 128, 3).astype("int8")))
    assert made.max() == 127


def test_bounds_are_those_of_all_rows_scales_of_those_learned_from():
    frame = frame_of(np.arange(ROWS) ** 2 / 7.0)
    learned = np.arange(ROWS) < ROWS // 2
    schema = Schema.infer(frame, learned=learned)
    np.testing.assert_allclose(schema.decode(schema.encode(frame))["x"], frame["x"])
    assert schema.column("x").offset == Schema.infer(frame[learned]).column("x").offset


def test_cells_out_of_range_are_drawn_in_to_the_bounds():
    column = Column("x", "real", "float64", low=-1.0, high=2.0, scale=3.0)
    made = column.decode(np.array([-np.inf, np.inf, 1e300, 0.1, np.nan]))
    assert made.values[:4] == pytest.approx([-1, 2, 2, 0.3]) and made.seen.tolist() == [True] * 4 + [False]
