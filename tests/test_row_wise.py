"""Row-wise methods: rows in the order that was passed, tables in their container, with their index and columns."""

import datetime
import inspect
import re
from pathlib import Path

import numpy as np
import pytest

import vaekit as vk
from vaekit.recipes import factors

pd = pytest.importorskip("pandas")

N = 60
TABLES = {
    "reconstruct": lambda m, x: m.reconstruct(x),
    "impute": lambda m, x: m.impute(x),
    "impute n times": lambda m, x: m.impute(x, 2)[1],
    "complete": lambda m, x: m.complete(x)[0],
    "shift": lambda m, x: m.shift(x, x[: len(x) // 2], x[len(x) // 2 :]),
    "explain": lambda m, x: m.explain(x, draws=3),
}
"""Methods that return rows of the data: tables for tables."""
CODES = {"inverse_transform": lambda m, x: m.set_output(transform="pandas").inverse_transform(m.transform(x))}
PATHS = {
    "interpolate": lambda m, x: m.interpolate(x, x[::-1], steps=3),
    "traverse": lambda m, x: m.traverse(x, dimensions=[0], steps=3),
}
"""Methods that return several rows of the data for each row."""
ARRAYS = {
    "transform": lambda m, x: m.set_output(transform="default").transform(x),
    "numbers": lambda m, x: m.fitted_.numbers(x),
    "score_samples": lambda m, x: m.score_samples(x, draws=3),
    "anomaly_score": lambda m, x: m.anomaly_score(x, draws=3),
    "annealed": lambda m, x: m.annealed(x, chains=2, betas=3, steps=1),
    "outlier_probability": lambda m, x: m.outlier_probability(x, x, draws=3),
}
"""Methods that return numbers for each row: arrays, as in scikit-learn."""
ELSEWHERE = {
    "predict": "needs classes: test_classes_are_arrays",
    "predict_proba": "needs classes: test_classes_are_arrays",
    "expected": "needs a library: test_frames_that_are_read_as_arrays_come_back_as_frames",
    "posterior": "a torch distribution",
    "held_out": "selects rows: test_rows_that_are_held_out_keep_their_index",
    "fit_transform": "fit and transform",
    **dict.fromkeys(("fit", "partial_fit", "fit_prior"), "trains"),
    **dict.fromkeys(("score", "evaluate", "health", "probe", "disentanglement", "report", "detector"), "one result"),
    **dict.fromkeys(("judge_samples", "judge_table"), "one result"),
}
DETECTOR = {
    "arrays": ("anomaly_score", "score_samples", "decision_function", "predict", "p_values", "outlier_probability"),
    "tables": ("explain",),
    "elsewhere": ("fit", "fit_predict"),
}
INDICES = {
    "strings": lambda n: [f"row {i}" for i in range(n)],
    "numbers backwards": lambda n: range(n, 0, -1),
    "dates": lambda n: pd.date_range("2020-01-01", periods=n, tz="Europe/Oslo", name="day"),
    "several levels": lambda n: pd.MultiIndex.from_product([["a", "b"], range(n // 2)], names=["site", None]),
    "duplicates": lambda n: np.zeros(n, dtype=int),
    "missing labels": lambda n: [None if i % 2 else i for i in range(n)],
}
COLUMNS = {
    "whole numbers": pd.Index([10, 3, 7, 1, 0]),
    "tuples": pd.Index([("a", 1), ("a", 2), "a", 1, ("b",)], tupleize_cols=False),
    "several levels": pd.MultiIndex.from_tuples([(s, q) for s in "uvw" for q in (1, 2)][:5], names=["size", "quarter"]),
    "dates": pd.date_range("2020-01-31", periods=5, freq="ME", name="month"),
    "times with a zone": pd.date_range("2020-01-31 12:00:00.000000001", periods=5, tz="Asia/Tokyo"),
    "days": pd.Index([datetime.date(2020, 1, i + 1) for i in range(5)]),
    "a mixture": pd.Index([1, "1", None, 2.5, datetime.date(2020, 1, 1)], dtype=object),
    "levels": pd.CategoricalIndex(list("abcde"), name="letter"),
    "truth values": pd.Index([True, False, "x", "y", 7], dtype=object),
}


def frame(n=N, seed=0):
    """Five columns of five kinds, with missing cells."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=n)
    x = pd.DataFrame(
        {
            "size": z + 0.1 * rng.normal(size=n),
            "visits": rng.poisson(np.exp(z)),
            "city": np.where(z > 0, "Oslo", "Rome"),
            "member": z > 0.3,
            "joined": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 99, n), unit="D"),
        }
    )
    x.loc[3, "size"], x.loc[5, "city"] = np.nan, None
    return x


def small(**settings):
    return vk.VAE(2, **{"epochs": 1, "compile": False, "threads": 1, **settings})


def plain(table):
    return table.to_pandas() if hasattr(table, "to_pandas") else table


@pytest.fixture(autouse=True, scope="module")
def quick_start():
    """Few steps before training, for models of which only the form of the output counts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(factors, "FITTING", 3)
        yield


@pytest.fixture(scope="module")
def fitted():
    return small().fit(frame())


@pytest.fixture(scope="module")
def detector():
    return vk.OutlierDetector(small(missing=True), draws=3).fit(frame())


def test_every_row_wise_method_is_held_to_the_rule():
    """A method that takes rows is in one of the tables above."""
    for kind, known in (
        (vk.VAE, {*TABLES, *CODES, *PATHS, *ARRAYS, *ELSEWHERE}),
        (vk.OutlierDetector, {name for names in DETECTOR.values() for name in names}),
    ):
        for name in dir(kind):
            method = inspect.getattr_static(kind, name)
            if name.startswith("_") or not callable(getattr(method, "method", method)):
                continue
            rows = {"x", "z", "x_a", "test"} & set(inspect.signature(getattr(method, "method", method)).parameters)
            assert name in known or not rows, f"{kind.__name__}.{name} takes rows"


@pytest.mark.parametrize("name", INDICES)
def test_tables_keep_their_index(fitted, name):
    x = frame()
    x.index = INDICES[name](N)
    before = x.copy()
    for verb, call in {**TABLES, **CODES}.items():
        out = call(fitted, x)
        assert isinstance(out, pd.DataFrame) and list(out.columns) == list(x.columns), verb
        pd.testing.assert_index_equal(out.index, x.index, obj=verb)
        pd.testing.assert_frame_equal(out.reset_index(drop=True), call(fitted, frame()), obj=verb)
    pd.testing.assert_frame_equal(x, before)


@pytest.mark.parametrize("name", INDICES)
def test_paths_repeat_the_index_of_their_first_rows(fitted, name):
    x = frame()[:6]
    x.index = INDICES[name](6)
    for verb, call in PATHS.items():
        pd.testing.assert_index_equal(call(fitted, x).index, x.index.repeat(3), obj=verb)
    assert list(fitted.traverse(dimensions=[0], steps=3).index) == [0, 1, 2]


@pytest.mark.parametrize("name", INDICES)
def test_numbers_of_rows_are_arrays_in_the_order_of_the_rows(fitted, name):
    x = frame()
    x.index = INDICES[name](N)
    for verb, call in ARRAYS.items():
        out = call(fitted, x)
        assert type(out) is np.ndarray and len(out) == N, verb
        np.testing.assert_array_equal(out, call(fitted, frame()), err_msg=verb)


@pytest.mark.parametrize("name", ["strings", "duplicates", "several levels"])
def test_a_detector_follows_the_rule(detector, name):
    x = frame()
    x.index = INDICES[name](N)
    for verb in DETECTOR["arrays"]:
        out = getattr(detector, verb)(x)
        assert type(out) is np.ndarray and out.shape == (N,), verb
        np.testing.assert_array_equal(out, getattr(detector, verb)(frame()), err_msg=verb)
    pd.testing.assert_index_equal(detector.explain(x).index, x.index)


@pytest.mark.parametrize("name", COLUMNS)
def test_columns_come_back_as_they_came(name, tmp_path):
    x = frame()
    x.columns, x.index = COLUMNS[name], INDICES["several levels"](N)
    vae = small().fit(x)
    for verb, call in {**TABLES, **PATHS}.items():
        pd.testing.assert_index_equal(call(vae, x).columns, x.columns, exact=True, check_freq=False, obj=verb)
    made = vae.sample(4)
    assert list(made.columns) == list(x.columns) and made.columns.names == x.columns.names
    assert made.columns.nlevels == x.columns.nlevels
    vae.save(tmp_path)
    loaded = vk.load(tmp_path)
    pd.testing.assert_frame_equal(loaded.sample(4), made)
    pd.testing.assert_frame_equal(loaded.reconstruct(x), vae.reconstruct(x))
    first = x.columns[0]
    assert (vae.sample(3, given={first: 0.5})[first] == 0.5).all()
    kinds = {x.columns[1]: "real"}
    small(columns=kinds, epochs=0).fit(x).save(tmp_path)
    assert vk.load(tmp_path).columns == kinds and vk.load(tmp_path).spec_.schema.column(x.columns[1]).kind == "real"


WRONG_NAMES = {
    "duplicates": (["a", "b", "a", "c", "d"], ValueError, "two columns are named a: give each"),
    "NaN": ([np.nan, "b", "c", "d", "e"], ValueError, "a column is named nan: give it another name"),
    "intervals": (pd.interval_range(0, 5), TypeError, r"a column is named Interval.*expected words, numbers, dates"),
    "bytes": ([b"a", "b", "c", "d", "e"], TypeError, r"a column is named b'a', a bytes"),
}


@pytest.mark.parametrize("model", ["table", "array"])
@pytest.mark.parametrize("name", WRONG_NAMES)
def test_names_that_cannot_be_kept_are_refused(name, model):
    names, error, message = WRONG_NAMES[name]
    x = frame().assign(city=0.5, joined=1.5)[["size", "visits", "city", "member", "joined"]].astype(float).fillna(0)
    x.columns = names
    with pytest.raises(error, match=message):
        small(likelihood=vk.likelihoods.Gaussian() if model == "array" else None).fit(x)


@pytest.mark.parametrize("library", ["polars", "pyarrow"])
def test_tables_of_other_libraries_come_back_as_such(library):
    module = pytest.importorskip(library)
    x = module.from_pandas(frame()) if library == "polars" else module.Table.from_pandas(frame(), preserve_index=False)
    vae, names = small().fit(x), list(frame().columns)
    for verb, call in TABLES.items():
        out = call(vae, x)
        assert type(out) is type(x), verb
        assert list(plain(out).columns) == names and len(plain(out)) == N, verb
    for verb, call in PATHS.items():
        assert len(plain(call(vae, x[:6]))) == 18, verb
    for verb, call in ARRAYS.items():
        out = call(vae, x)
        assert type(out) is np.ndarray and len(out) == N, verb
    assert type(vae.sample(3)) is type(x)
    detector = vk.OutlierDetector(small(missing=True), draws=3).fit(x)
    assert type(detector.explain(x)) is type(x) and detector.predict(x).shape == (N,)


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
def test_frames_that_are_read_as_arrays_come_back_as_frames(library):
    """A likelihood that is named reads a frame as an array; its columns go by name, in any order."""
    module = pytest.importorskip(library)
    table = pd.DataFrame(np.random.default_rng(0).poisson(5.0, (N, 3)), columns=list("abc"), index=range(N, 0, -1))
    turns = {
        "pandas": lambda t: t,
        "polars": lambda t: module.from_pandas(t),
        "pyarrow": lambda t: module.Table.from_pandas(t, preserve_index=False),
    }
    x, other = turns[library](table), turns[library](table[["c", "a", "b"]])
    vae = small(recipe="counts").fit(x)
    gaussian = small(likelihood=vk.likelihoods.Gaussian(), missing=True).fit(turns[library](table.astype(float)))
    holed = table.astype(float)
    holed.iloc[::7, 1] = np.nan
    calls = {**TABLES, "expected": lambda m, t: m.expected(t)}
    for verb, call in calls.items():
        out = call(vae, x)
        assert type(out) is type(x) and list(plain(out).columns) == list("abc"), verb
        again = plain(call(vae, other))[list("abc")]
        np.testing.assert_array_equal(again.to_numpy(), plain(out).to_numpy(), err_msg=verb)
        if library == "pandas":
            pd.testing.assert_index_equal(out.index, x.index, obj=verb)
    filled = plain(gaussian.impute(turns[library](holed)))
    np.testing.assert_array_equal(filled.to_numpy()[holed.notna().to_numpy()], holed.to_numpy()[holed.notna()])
    assert filled.notna().all().all()
    assert type(gaussian.interpolate(x, x, steps=3)) is np.ndarray


def test_a_lazy_frame_is_read():
    polars = pytest.importorskip("polars")
    table = polars.DataFrame(np.random.default_rng(0).normal(size=(N, 3)), schema=list("abc"))
    for settings in ({}, {"likelihood": vk.likelihoods.Gaussian()}):
        vae = small(**settings).fit(table.lazy())
        np.testing.assert_array_equal(vae.transform(table.lazy()), vae.transform(table))
        assert vae.reconstruct(table.lazy()).equals(vae.reconstruct(table))
        assert list(vae.feature_names_in_) == list("abc")


def test_classes_are_arrays():
    x = pd.DataFrame(np.random.default_rng(0).normal(size=(N, 3)), columns=list("abc"), index=range(N, 0, -1))
    y = pd.Series(np.where(x["a"] > 0, "up", "down"), index=x.index)
    x = (x > 0).astype(float)
    vae = vk.VAE(recipe=vk.recipes.m2(classes=2), epochs=1, compile=False, threads=1).fit(x, y)
    assert type(vae.predict(x)) is np.ndarray and set(vae.predict(x)) <= {"up", "down"}
    assert type(vae.predict_proba(x)) is np.ndarray and vae.predict_proba(x).shape == (N, 2)


def test_a_detector_of_normal_rows_reads_tables(fitted):
    """It chooses its score by chimeras, which are made of the numbers that stand for the cells."""
    x = frame()
    chosen = fitted.detector(x, draws=3)
    np.testing.assert_array_equal(chosen(x), chosen(fitted.fitted_.numbers(x)))
    np.testing.assert_allclose(chosen.scores(x)["bound"], -fitted.score_samples(x, draws=3), rtol=1e-4)


def test_rows_that_are_held_out_keep_their_index():
    x = frame().set_axis(INDICES["strings"](N), axis=0)
    vae = small(validation=0.25)
    held = vae.held_out(x)
    pd.testing.assert_frame_equal(held, x.loc[held.index])
    assert len(held) == 15


def test_the_documented_code_runs(tmp_path, monkeypatch):
    pytest.importorskip("sklearn")
    monkeypatch.chdir(tmp_path)
    page = (Path(__file__).parent.parent / "docs/pandas-and-scikit-learn.md").read_text("utf-8")
    names = {}
    for block in re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL):
        exec(compile(block, "docs/pandas-and-scikit-learn.md", "exec"), names)
    assert (names["again"].predict(names["frame"]) == names["outliers"].labels_).all()


# -- frames that nobody prepared ------------------------------------------------------------------------


def plus(**columns):
    """Two columns of numbers, and others."""
    rng = np.random.default_rng(1)
    z = rng.normal(size=50)
    return pd.DataFrame({"a": z, "b": 2 * z + rng.normal(size=50)}).assign(**columns)


def dates(**settings):
    return pd.Series(pd.date_range("2021-03-27", periods=50, freq="h", **settings))


DRAW = np.random.default_rng(2)
WORDS, WHOLE, FLAGS = DRAW.choice(["u", "v"], 50), DRAW.integers(0, 9, 50), DRAW.random(50) > 0.5
HOLED = np.where(FLAGS, np.nan, DRAW.random(50))
UNPREPARED = {
    "levels that are never met": plus(c=pd.Categorical(WORDS, categories=["u", "v", "never"])),
    "ordered levels": plus(c=pd.Categorical(WHOLE, ordered=True)),
    "levels of truth values": plus(c=pd.Categorical(FLAGS)),
    "levels without a value": plus(c=pd.Categorical([None] * 50, categories=["x"])),
    "nullable types": plus(
        i=pd.array(np.where(FLAGS, WHOLE, None), dtype="Int64"),
        f=pd.array(HOLED, dtype="Float32"),
        b=pd.array(np.where(WHOLE > 2, FLAGS, None), dtype="boolean"),
        s=pd.array(np.where(WHOLE > 2, WORDS, None), dtype="string"),
    ),
    "a zone with a change of the clock": plus(t=dates(tz="Europe/Oslo")),
    "types of Arrow": plus().convert_dtypes(dtype_backend="pyarrow"),
    "days of Arrow": plus(t=dates().dt.date.astype("date32[pyarrow]"), u=dates().astype("date64[pyarrow]")),
    "times of Arrow": plus(t=dates(tz="UTC").astype("timestamp[us, tz=UTC][pyarrow]").where(FLAGS)),
    "sparse columns": plus(s=pd.arrays.SparseArray(np.where(FLAGS, 0.0, HOLED)), n=pd.arrays.SparseArray(HOLED)),
    "columns without a value": plus(m=np.nan, n=None, d=pd.NaT),
    "empty strings": plus(e=np.where(FLAGS, "", WORDS), only=""),
    "small types": plus(u=WHOLE.astype("uint8"), i=WHOLE.astype("int8"), f=WHOLE.astype("float16")),
    "one column": plus()[["a"]],
    "truth values": pd.DataFrame(DRAW.random((50, 3)) > 0.5, columns=list("abc")),
    "words": pd.DataFrame(DRAW.choice(["x", "y"], (50, 2)), columns=list("ab")),
    "dates": pd.DataFrame({"d": dates()}),
    "two rows": plus()[:2],
}


@pytest.mark.parametrize("name", UNPREPARED)
def test_unprepared_frames_go_through_every_method(name, tmp_path):
    x = UNPREPARED[name].copy()
    x.index = INDICES["strings"](len(x))
    vae = small().fit(x)
    for verb, call in TABLES.items():
        out = call(vae, x)
        pd.testing.assert_index_equal(out.index, x.index, obj=verb)
        if verb not in ("shift", "explain"):
            assert list(out.dtypes) == list(x.dtypes), verb
    filled = vae.impute(x)
    for column in x:
        seen = x[column].notna()
        assert list(filled[column][seen]) == list(x[column][seen]), column
    for verb in ("score_samples", "anomaly_score", "transform"):
        assert np.isfinite(getattr(vae, verb)(x)).all(), verb
    vae.save(tmp_path)
    np.testing.assert_array_equal(vk.load(tmp_path).score_samples(x), vae.score_samples(x))
    vae.partial_fit(x[::-1])
    detector = vk.OutlierDetector(small(missing=True), draws=3).fit(x)
    assert np.isfinite(detector.decision_function(x)).all() and detector.predict(x).shape == (len(x),)


UNREADABLE = {
    "periods": (plus(p=pd.period_range("2020", periods=50, freq="M")), r"column 'p': periods.*to_timestamp\(\)"),
    "spans": (plus(t=pd.to_timedelta(WHOLE, unit="s")), r"column 't': spans of time.*total_seconds\(\)"),
    "intervals": (plus(i=pd.arrays.IntervalArray.from_breaks(range(51))), r"column 'i': intervals.*astype\(str\)"),
    "binned numbers": (plus(i=pd.cut(plus().a, 4)), r"column 'i': its categories are Interval.*rename_categories"),
    "lists": (plus(o=[[1]] * 50), "column 'o': holds list, which is not understood"),
    "a mixture": (plus(o=[1, "a"] * 25), r"column 'o': holds numbers and words.*astype\(str\)"),
    "complex numbers": (plus(c=1j), "column 'c': complex numbers: pass real and imaginary parts"),
    "infinities": (plus(i=np.inf), "column 'i' holds an infinity, first in row 0"),
    "a series": (plus().a, r"expected a table, got a Series of 50 values: pass series.to_frame\(\)"),
    "no rows": (plus()[:0], "0 sample"),
    "one row": (plus()[:1], "no column of the table can be modelled.*pass rows that differ"),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_cannot_be_read_is_refused_with_a_fix(name):
    x, message = UNREADABLE[name]
    with pytest.raises((TypeError, ValueError), match=message):
        small().fit(x)


def test_a_column_without_values_in_fit_may_get_some_later():
    x = plus(d=pd.NaT, m=np.nan)
    vae = small().fit(x)
    later = x.assign(d=dates(), m=1.0)
    with pytest.warns(UserWarning, match="'d'|'m'"):
        assert np.isfinite(vae.score_samples(later)).all()
