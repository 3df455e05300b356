"""Judgement of synthetic tables: against SDMetrics, on tables whose worth is known, and what is refused."""

import json
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from vaekit.data import Schema
from vaekit.evaluation import judge_table
from vaekit.evaluation.columns import as_columns
from vaekit.evaluation.privacy import distances, same
from vaekit.evaluation.similarity import column_shapes, kolmogorov_smirnov, missing_rates, pair_trends
from vaekit.evaluation.utility import learned_target, two_sample_test


def table(seed, n, slope=1.0, shift=0.0):
    """Two columns of numbers, one of words, one of truth values, with gaps."""
    g = np.random.default_rng(seed)
    a = g.normal(size=n)
    b = slope * a + shift + g.normal(size=n)
    word = np.array(["low", "mid", "high"], dtype=object)[np.digitize(a + 0.5 * g.normal(size=n), [-0.6, 0.8])]
    flag = g.random(n) < 0.3 + 0.1 * shift
    b[g.random(n) < 0.1 + 0.1 * shift] = np.nan
    word[g.random(n) < 0.2] = None
    return {"a": a, "b": b, "word": word, "flag": flag}


def columns(*tables):
    return as_columns({f"table {i}": t for i, t in enumerate(tables)}).values()


# -- likeness --------------------------------------------------------------------------------------------


def test_likeness_is_that_of_sdmetrics():
    """SDMetrics 0.32.0 on the same two tables: KSComplement, TVComplement, MissingValueSimilarity,
    CorrelationSimilarity, and ContingencySimilarity with ten bins."""
    real, synthetic = columns(table(0, 400), table(1, 300, 0.4, 0.5))
    shapes = [0.9058333333333334, 0.7677785923753666, 0.9491267628183747, 0.9958333333333333]
    assert column_shapes(synthetic, real) == pytest.approx(shapes, abs=1e-12)
    gaps = [1.0, 0.9466666666666667, 0.9741666666666666, 1.0]
    assert missing_rates(synthetic, real) == pytest.approx(gaps, abs=1e-12)
    pairs = pair_trends(synthetic, real)
    want = [0.8390316349382757, 0.8233333333333334, 0.7441666666666666, 0.8525, 0.7833333333333333, 0.9391666666666667]
    assert pairs[np.tril_indices(4, -1)] == pytest.approx(want, abs=1e-12)
    assert np.array_equal(pairs, pairs.T, equal_nan=True) and np.isnan(np.diag(pairs)).all()


def test_the_kolmogorov_smirnov_statistic_is_scipys():
    from scipy.stats import ks_2samp

    g = np.random.default_rng(0)
    for a, b in [(g.normal(size=50), g.normal(1, 2, size=70)), (g.integers(4, size=60), g.integers(5, size=30))]:
        assert kolmogorov_smirnov(a, b) == pytest.approx(ks_2samp(a, b).statistic, abs=1e-12)


def test_a_table_is_wholly_like_itself():
    own, again = columns(table(0, 300), table(0, 300))
    for found in (
        column_shapes(own, again),
        pair_trends(own, again)[np.tril_indices(4, -1)],
        missing_rates(own, again),
    ):
        assert found == pytest.approx(1.0, abs=1e-12)


def test_a_constant_column_has_no_correlation_and_an_empty_one_no_shape():
    real = {"a": np.arange(30.0), "same": np.arange(30.0), "b": np.full(30, np.nan)}
    own, other = as_columns({"real": real, "other": {**real, "same": np.full(30, 2.5)}}, levels=[]).values()
    assert np.isnan(pair_trends(other, own)[1, 0]) and np.isnan(column_shapes(other, own)[2])


# -- tables in any form ----------------------------------------------------------------------------------


FORMS = {
    "pandas": pd.DataFrame,
    "Arrow": lambda t: pa.table({n: pa.array(v, from_pandas=True) for n, v in t.items()}),
    "structured": lambda t: np.rec.fromarrays(list(t.values()), names=list(t)),
    "nullable": lambda t: pd.DataFrame(t).convert_dtypes(),
    "categorical": lambda t: pd.DataFrame(t).astype({"word": "category"}),
    "another order": lambda t: dict(reversed(t.items())),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_table_is_the_same_in_every_form(form):
    own = table(0, 60)
    first, other = as_columns({"plain": own, "other": FORMS[form](own)}).values()
    assert first.names == other.names and first.levels == other.levels
    assert np.array_equal(first.values, other.values, equal_nan=True)


def test_polars_is_read_like_the_others():
    pl = pytest.importorskip("polars")
    own = table(0, 60)
    first, other = as_columns({"plain": own, "polars": pl.DataFrame(own)}).values()
    assert np.array_equal(first.values, other.values, equal_nan=True)


def test_the_path_of_a_file_is_a_table_and_so_is_an_array(tmp_path):
    own = {"x[0]": np.arange(40.0) ** 2 / 8, "x[1]": np.resize([1.0, 2.0], 40)}
    pd.DataFrame(own).to_csv(tmp_path / "own.csv", index=False)
    pd.DataFrame(own).to_parquet(tmp_path / "own.parquet")
    array = np.stack(list(own.values()), 1)
    tables = {"plain": own, "csv": tmp_path / "own.csv", "parquet": tmp_path / "own.parquet", "array": array}
    first, *others = as_columns(tables).values()
    assert first.levels == (None, (1.0, 2.0))
    assert all(np.array_equal(t.values, first.values) and t.names == first.names for t in others)


def test_dates_are_numbers_and_a_few_numbers_are_levels():
    days = pd.date_range("1890-01-01", periods=100, freq="D")
    own = pd.DataFrame({"day": days, "written": days.astype(str), "stars": np.arange(100) % 5 + 1, "x": range(100)})
    own.loc[3, "day"] = pd.NaT
    (read,) = as_columns({"real": own}).values()
    assert read.levels == (None, None, (1.0, 2.0, 3.0, 4.0, 5.0), None)
    assert np.isnan(read.values[3, 0]) and np.diff(read.values[4:, :2], axis=0) == pytest.approx(86400.0)
    assert as_columns({"real": own}, levels=["x"])["real"].is_level.tolist() == [False, False, False, True]


def test_the_columns_of_levels_are_those_of_the_schema():
    g = np.random.default_rng(0)
    own = pd.DataFrame(table(0, 200)).assign(
        visits=g.poisson(2, 200),
        stars=g.integers(1, 6, 200),
        size=pd.Categorical(["S", "L"] * 100),
        half=[0.5, 1.5] * 100,
    )
    schema, (read,) = Schema.infer(own), as_columns({"real": own}).values()
    assert read.is_level.tolist() == [c.kind in ("category", "ordinal", "boolean") for c in schema.columns]
    assert read.levels == tuple(tuple(sorted(c.levels)) or None for c in schema.columns)


@pytest.mark.parametrize(
    ("real", "other", "says"),
    [
        ({"a": [1.0, 2.0]}, {"b": [1.0, 2.0]}, r"lacks a and has b besides: pass tables of the same columns"),
        ({"a": [1.0, 2.0]}, {"a": ["x", "y"]}, "column 'a' holds words in other, but not in real"),
        ({"a": np.arange(9.0)}, {"a": [np.inf, 2.0]}, "column 'a' of other has infinities: mark those cells missing"),
        ({"a": [1.0]}, {"a": [1.0]}, "at least two rows in real"),
        ({}, {}, "at least two rows in real, as many in every column, got no columns"),
        ({"a": [1.0, 2.0], "b": [1.0]}, {}, "as many in every column, got columns of 1, 2 rows"),
        (np.zeros(3), np.zeros(3), r"real: expected a table, or rows \(N, D\), got an array of shape \(3,\)"),
        (
            pd.DataFrame([[1, 2], [3, 4]], columns=["a", "a"]),
            {},
            "real: two columns are named a: give each column a name of its own",
        ),
    ],
)
def test_tables_that_cannot_be_compared_are_refused(real, other, says):
    with pytest.raises(ValueError, match=says):
        as_columns({"real": real, "other": other})


def test_a_column_that_is_not_there_is_told_with_the_nearest():
    own = table(0, 60)
    with pytest.raises(ValueError, match="no column 'wrd'.*word"):
        judge_table(own, own, target="wrd")
    with pytest.raises(ValueError, match="levels='flagg'.*flag"):
        judge_table(own, own, levels=["flagg"])


# -- closeness -------------------------------------------------------------------------------------------


def test_the_distance_is_the_definition_written_out():
    learned, rows = columns({"x": np.arange(40.0), "w": np.array(["a", "b"] * 20)}, {"x": [3.0, 7.5], "w": ["b", "z"]})
    rank = {3.0: 3.5 / 40, 7.5: 8 / 40}
    want = [0.0, (1 + min(abs(rank[7.5] - (i + 0.5) / 40) for i in range(40))) / 2]
    assert distances(rows, learned, learned) == pytest.approx(want, abs=1e-6)


def test_rows_are_the_same_with_gaps_and_rounding():
    own = {"x": [0.1 + 0.2, np.nan, 0.0, 5.0], "w": ["a", None, "b", "b"]}
    rows = {"x": [0.3, np.nan, -0.0, 5.001], "w": ["a", None, "b", "b"]}
    assert same(*columns(rows, own)).tolist() == [True, True, True, False]


# -- judgements ------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_fresh_rows_are_at_the_floor_and_copies_are_found():
    real, test = table(0, 600), table(1, 400)
    fresh, copies = judge_table(real, table(2, 600), test=test), judge_table(real, real, test=test)
    for name in ("column_shapes", "column_pairs", "missing_cells", "told_apart", "distance"):
        made, floor = fresh.synthetic[name], fresh.floor[name]
        assert abs(made.value - floor.value) < 5 * np.hypot(made.error, floor.error), name
    assert fresh["told_apart"] < 0.6 and fresh["copied"] == 0 and abs(fresh["nearer"] - 0.5) < 0.1
    assert copies["copied"] == 1 and copies["distance"] == 0 and copies["nearer"] > 0.75


@pytest.mark.slow
def test_shuffled_columns_are_told_apart_though_their_shapes_are_right():
    real, g = table(0, 600), np.random.default_rng(1)
    shuffled = {name: g.permutation(values) for name, values in real.items()}
    found = judge_table(real, shuffled, test=table(2, 400), target="word")
    assert found["column_shapes"] > found.floor["column_shapes"].value - 0.02
    assert found["column_pairs"] < found.floor["column_pairs"].value - 0.02
    assert found["told_apart"] > found.floor["told_apart"].value + 0.15
    assert found["learned"] < 0.6 < 0.75 < found.floor["learned"].value


def test_numbers_are_learned_by_regression():
    real, test = columns(
        {"x": np.arange(300) % 97 / 9, "y": np.arange(300) % 97 / 3}, {"x": [1.0, 4, 9, 2], "y": [3, 12, 27.0, 6]}
    )
    found = learned_target(real, test, 1)
    assert found.value > 0.99 and found.meaning.startswith("R^2")


def test_a_target_of_one_level_teaches_nothing():
    real, test = columns({"x": np.arange(40.0), "y": ["a"] * 40}, {"x": np.arange(40.0), "y": ["a", "b"] * 20})
    assert learned_target(real, test, 1).value == 0.5


def test_levels_that_only_one_table_has_are_levels_too():
    real, other = columns({"w": ["a", "b"] * 40}, {"w": ["a", "c"] * 40})
    assert real.levels == (("a", "b", "c"),) and column_shapes(other, real)[0] == 0.5
    assert two_sample_test(other, real).value > 0.7


@pytest.mark.slow
def test_a_judgement_comes_again_and_prints_and_is_plain():
    real, made = table(0, 300), table(1, 200)
    first, again = (judge_table(real, made, seed=3, target="flag") for _ in range(2))
    assert str(first) == str(again) and first.to_dict() == again.to_dict()
    assert json.loads(json.dumps(first.to_dict()))["rows"] == {"synthetic": 200, "real": 300}
    shown = str(first)
    assert all(name in shown for name in ("column_shapes", "told_apart", "learned", "nearer", "no test rows"))


def test_without_scikit_learn_the_rest_is_judged(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    found = judge_table(table(0, 100), table(1, 100))
    assert "told_apart" not in found.synthetic and any("scikit-learn" in note for note in found.notes)
    with pytest.raises(ImportError, match=r"vaekit\[sklearn\]"):
        judge_table(table(0, 100), table(1, 100), target="word")
