"""A column, or a cell, that no row has a value of comes back as missing, in its own type."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch

import vaekit as vk
from vaekit.data import Schema
from vaekit.data.spec import DataSpec, never_seen
from vaekit.data.validation import check_spec

ROWS = 30
SEEN = np.random.default_rng(0).normal(size=ROWS)
PANDAS = (
    *("float32", "float64", "object", "string", "str", "Int8", "UInt16", "Float32", "boolean"),
    *("datetime64[s]", "datetime64[ns]", "datetime64[ns, Europe/Paris]", "int64[pyarrow]", "string[pyarrow]"),
    pd.ArrowDtype(pa.timestamp("us", "UTC")),
    pd.ArrowDtype(pa.date32()),
    pd.CategoricalDtype(["u", "v"]),
    pd.CategoricalDtype([3, 1, 2], ordered=True),
)
POLARS = (
    *(pl.Int8, pl.UInt32, pl.Float32, pl.String, pl.Boolean, pl.Date, pl.Categorical, pl.Enum(["u", "v"]), pl.Null),
    pl.Datetime("ms"),
    pl.Datetime("us", "Europe/Paris"),
)
ARROW = (
    *(pa.int8(), pa.uint16(), pa.float32(), pa.string(), pa.large_string(), pa.bool_(), pa.date32(), pa.date64()),
    *(pa.timestamp("s"), pa.timestamp("ns", "Europe/Paris"), pa.null(), pa.dictionary(pa.int32(), pa.string())),
)


def decoded(table):
    schema = Schema.infer(table)
    return schema.decode(schema.encode(table))


@pytest.mark.parametrize("dtype", PANDAS, ids=str)
def test_a_pandas_column_without_values_comes_back(dtype):
    table = pd.DataFrame({"a": SEEN, "empty": pd.Series([None] * ROWS, dtype=dtype)})
    made = decoded(table)
    assert made["empty"].dtype == table["empty"].dtype and made["empty"].isna().all()


@pytest.mark.parametrize("dtype", POLARS, ids=str)
def test_a_polars_column_without_values_comes_back(dtype):
    made = decoded(pl.DataFrame({"a": SEEN, "empty": pl.Series([None] * ROWS, dtype=dtype)}))
    assert made["empty"].dtype == dtype and made["empty"].null_count() == ROWS


@pytest.mark.parametrize("dtype", ARROW, ids=str)
def test_an_arrow_column_without_values_comes_back(dtype):
    made = decoded(pa.table({"a": SEEN, "empty": pa.nulls(ROWS, dtype)}))
    assert made["empty"].type == dtype and made["empty"].null_count == ROWS


@pytest.mark.parametrize("dtype", ["f4", "f8", "O", "M8[s]", "M8[ns]"])
def test_a_structured_column_without_values_comes_back(dtype):
    table = np.zeros(ROWS, dtype=[("a", "f8"), ("empty", dtype)])
    table["a"], table["empty"] = SEEN, None
    made = decoded(table)
    assert made.dtype == table.dtype and pd.isna(made["empty"]).all()


def gappy(kind):
    """Rows of which some cells are never there, and these cells."""
    random = np.random.default_rng(1)
    x = {
        "real": lambda: random.normal(size=(60, 4)),
        "binary": lambda: random.integers(0, 2, (60, 4)).astype(float),
        "unit": lambda: random.random((60, 4)),
        "counts": lambda: random.poisson(3, (60, 4)).astype(float),
        "image": lambda: random.integers(0, 255, (60, 8, 8)).astype(float),
        "series": lambda: random.normal(size=(60, 5, 2)),
    }[kind]()
    x[random.random(x.shape) < 0.1] = np.nan
    never = np.zeros(x.shape[1:], dtype=bool)
    never[-1:] = True
    x[:, never] = np.nan
    return x, never


@pytest.mark.parametrize("kind", ["real", "binary", "unit", "counts", "image", "series"])
def test_cells_that_no_row_has_are_missing_in_what_an_array_model_makes(kind, tmp_path):
    x, never = gappy(kind)
    recipe = {"image": "vae", "series": "recurrent"}.get(kind, "auto")
    vae = vk.VAE(recipe=recipe, missing=True, epochs=1, threads=1, compile=False).fit(x)
    vae.save(tmp_path)
    for model in (vae, vk.load(tmp_path)):
        for made in (model.sample(20), model.impute(x), model.inverse_transform(model.transform(x))):
            np.testing.assert_array_equal(np.isnan(made), np.broadcast_to(never, made.shape))
        assert np.isfinite(model.score_samples(x)).all()
        assert np.isnan(model.sample(20, gaps=True)[:, never]).all()


def test_a_value_in_a_column_without_values_is_finite_and_reported():
    x, _ = gappy("real")
    vae = vk.VAE(missing=True, epochs=1, threads=1, compile=False).fit(x)
    new = x[:3].copy()
    new[0, 3] = 1e6
    with pytest.warns(UserWarning, match="column 3 had no value in fit, and 1 of the rows have one"):
        scores = vae.score_samples(new)
    assert np.isfinite(scores).all() and scores[0] < vae.score_samples(x[:3])[0] - 5
    with pytest.warns(UserWarning, match="column 3 had no value"):
        np.testing.assert_array_equal(vae.sample(4, given={3: 2.5})[:, 3], 2.5)


def test_the_cells_that_no_row_has_are_found_in_all_rows():
    x = torch.full((200_000, 3), torch.nan)
    x[:, 0] = 1.0
    x[-1, 2] = 0.0
    assert never_seen(x) == (1,) and never_seen(x[:-1]) == (1, 2)


def test_a_description_with_cells_that_a_row_does_not_have_is_refused():
    spec = DataSpec.infer(torch.from_numpy(gappy("real")[0]), "float64")
    with pytest.raises(ValueError, match="empty"):
        check_spec(DataSpec.from_dict(spec.to_dict() | {"empty": [4]}), "data")
