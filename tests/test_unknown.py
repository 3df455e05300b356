"""Rows that were not seen in fit: new levels, values that a column cannot hold, constants that differ."""

import math
import warnings
from dataclasses import replace

import numpy as np
import pytest

import vaekit as vk
from vaekit.data import Schema, SchemaWarning, UnknownValueWarning

pd = pytest.importorskip("pandas")

ROWS = 120


def table(rows=ROWS, seed=0):
    rng = np.random.default_rng(seed)
    z = rng.normal(size=rows)
    return pd.DataFrame(
        {
            "height": 170 + 10 * z,
            "income": np.exp(2 + z).round(2),
            "visits": rng.poisson(np.exp(1 + 0.5 * z)),
            "city": rng.choice(["Oslo", "Rome", "Bern"], rows),
            "smoker": rng.random(rows) < 0.4,
            "size": pd.Categorical(rng.choice(["S", "M", "L"], rows), ["S", "M", "L"], ordered=True),
            "stars": rng.integers(1, 6, rows),
            "joined": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 900, rows), unit="D"),
            "planet": "Earth",
        }
    )


def small(**settings):
    return vk.VAE(2, recipe=vk.recipes.table(flow=0), epochs=2, threads=1, compile=False, **settings)


@pytest.fixture(scope="module")
def fitted():
    """A model of a table without missing cells."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vaekit.recipes.factors.FITTING", 10)
        return small().fit(table())


UNKNOWN = {
    "a new level": ("city", "Lima", "Lima"),
    "a new ordered level": ("size", "XXL", "XXL"),
    "a number between levels": ("stars", 2.5, "2.5"),
    "a number beyond levels": ("stars", 9, "9"),
    "zero in a positive column": ("income", 0.0, "0"),
    "a negative number in a positive column": ("income", -3.0, "-3"),
    "a negative count": ("visits", -1, "-1"),
    "a fraction of a count": ("visits", 1.5, "1.5"),
    "a word among numbers": ("height", "tall", "tall"),
    "an infinity": ("height", np.inf, "inf"),
    "a number for a truth value": ("smoker", 2, "2"),
    "a word among dates": ("joined", "soon", "soon"),
    "another constant": ("planet", "Mars", "Mars"),
    "a number for a constant word": ("planet", 7, "7"),
}


def with_value(name, value, rows=(1, 4)):
    """Rows of which two hold this value in a column, and the same with the cell missing."""
    frame = table(8, seed=1)
    frame[name] = frame[name].astype(object)
    missing = frame.copy()
    frame.loc[list(rows), name] = value
    missing.loc[list(rows), name] = None
    return frame, missing


@pytest.mark.parametrize("case", UNKNOWN)
def test_an_unknown_value_is_a_missing_cell_with_one_warning(fitted, case):
    name, value, said = UNKNOWN[case]
    frame, missing = with_value(name, value)
    with pytest.warns(UnknownValueWarning, match=rf"column '{name}': {said} \(2 cells\)") as caught:
        codes = fitted.transform(frame)
    assert len(caught) == 1
    assert np.array_equal(codes, fitted.transform(missing))


@pytest.mark.parametrize("case", UNKNOWN)
def test_an_unknown_value_costs_log_of_the_rows_in_every_score(fitted, case):
    name, value, _ = UNKNOWN[case]
    frame, missing = with_value(name, value)
    cost, want = math.log(ROWS + 1), np.zeros(8)
    want[[1, 4]] = cost
    for score in ("bound", "elbo", "distortion", "error", "typicality"):
        given = {"draws": 3, "entropy": 1.0} if score == "typicality" else {"draws": 3}
        with pytest.warns(UnknownValueWarning):
            found = fitted.anomaly_score(frame, score, **given)
        assert np.isfinite(found).all()
        np.testing.assert_allclose(found - fitted.anomaly_score(missing, score, **given), want, atol=1e-9)
    with pytest.warns(UnknownValueWarning):
        scores = fitted.score_samples(frame, draws=3)
    np.testing.assert_allclose(fitted.score_samples(missing, draws=3) - scores, want, atol=1e-9)


@pytest.mark.parametrize("case", UNKNOWN)
def test_an_explanation_names_the_cell_and_sums_to_the_score(fitted, case):
    name, value, _ = UNKNOWN[case]
    frame, _ = with_value(name, value)
    with pytest.warns(UnknownValueWarning):
        shares, score = fitted.explain(frame, draws=3), fitted.anomaly_score(frame, draws=3)
    assert list(shares.columns) == list(frame.columns)
    assert shares.loc[[1, 4], name].tolist() == pytest.approx([math.log(ROWS + 1)] * 2)
    np.testing.assert_allclose(shares.sum(axis=1), score, rtol=1e-9)


@pytest.mark.parametrize("case", UNKNOWN)
def test_a_value_that_was_given_is_never_replaced(fitted, case):
    """Not by `reconstruct`, not by `impute`, which fills the missing cells around it."""
    name, value, _ = UNKNOWN[case]
    frame, _ = with_value(name, value)
    other = "height" if name != "height" else "city"
    frame.loc[1, other] = None
    with pytest.warns(UnknownValueWarning):
        filled = fitted.impute(frame, draws=5)
    with pytest.warns(UnknownValueWarning):
        made = fitted.reconstruct(frame)
    for result in (filled, made):
        assert result.loc[[1, 4], name].tolist() == [value] * 2
        assert result.notna().all().all()
    assert filled.drop(index=1).equals(frame.drop(index=1))


@pytest.mark.parametrize("case", UNKNOWN)
def test_an_unknown_value_can_be_refused(fitted, case):
    name, value, _ = UNKNOWN[case]
    frame, _ = with_value(name, value)
    model = small(unknown="error")
    model = vk.VAE.of(replace(fitted.fitted_, config=model.config()))
    for verb in (model.transform, model.reconstruct, model.impute, model.anomaly_score, model.score):
        with pytest.raises((ValueError, TypeError), match=f"column '{name}'.*"):
            verb(frame)


def test_the_reconstructed_types_stay_where_they_hold_the_value(fitted):
    frame = table(8, seed=1)
    frame["city"] = ["Lima", *frame["city"][1:]]
    frame["visits"] = [-1, *frame["visits"][1:]]
    frame["size"] = pd.Categorical(["XXL", *frame["size"][1:]], ["S", "M", "L", "XXL"], ordered=True)
    with pytest.warns(UnknownValueWarning, match="'visits': -1 .1 cell.; column 'size': XXL .*'city': Lima"):
        made = fitted.reconstruct(frame)
    assert made["visits"].dtype == "int64" and made.loc[0, "visits"] == -1
    assert made["size"].cat.ordered and made["size"].cat.categories.tolist() == ["S", "M", "L", "XXL"]
    assert made.loc[0, "city"] == "Lima" and made["city"].dtype == table()["city"].dtype


@pytest.mark.parametrize("container", ["polars", "pyarrow", "numpy"])
def test_other_containers_keep_the_value_too(container):
    frame = table(60)[["height", "income", "visits", "city", "planet"]]
    new = frame.head(3).assign(income=[0.0, 2.0, 2.0], visits=[1.5, 1.0, 2.0], city="Lima", planet="Mars")

    def brought(f):
        if container == "polars":
            return pytest.importorskip("polars").from_pandas(f)
        if container == "pyarrow":
            return pytest.importorskip("pyarrow").Table.from_pandas(f, preserve_index=False)
        return f.astype({"city": object, "planet": object}).to_records(index=False).view(np.ndarray)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vaekit.recipes.factors.FITTING", 10)
        vae = small().fit(brought(frame))
    with pytest.warns(UnknownValueWarning):
        made = vae.reconstruct(brought(new))
    for name in ("city", "planet"):
        assert list(map(str, made[name].to_pylist() if container == "pyarrow" else made[name])) == new[name].tolist()
    assert float(made["income"][0].as_py() if container == "pyarrow" else made["income"][0]) == 0.0
    assert float(made["visits"][0].as_py() if container == "pyarrow" else made["visits"][0]) == 1.5


BROUGHT = {
    "pandas": lambda f: f,
    "polars": lambda f: pytest.importorskip("polars").from_pandas(f),
    "pyarrow": lambda f: pytest.importorskip("pyarrow").Table.from_pandas(f, preserve_index=False),
    "numpy": lambda f: f.astype({"city": object}).to_records(index=False).view(np.ndarray),
}


@pytest.mark.parametrize("container", BROUGHT)
def test_cells_are_filled_in_the_container_of_the_rows(fitted, container):
    """Whatever the model was fitted to, bit for bit where they were there; a constant need not be passed."""
    frame = table(6, seed=2)[["height", "income", "visits", "city", "smoker", "stars"]]
    frame["joined"] = table(6)["joined"]
    frame["size"] = table(6)["size"].astype(object)
    frame.loc[0, "height"], frame.loc[1, "city"] = np.nan, "Lima"
    given = BROUGHT[container](frame)
    with pytest.warns(UnknownValueWarning):
        made = fitted.impute(given, draws=3)
    assert type(made) is type(given)
    back = {
        "pandas": lambda t: t,
        "polars": lambda t: t.to_pandas(),
        "pyarrow": lambda t: t.to_pandas(),
        "numpy": pd.DataFrame,
    }[container](made)
    assert math.isfinite(back.loc[0, "height"]) and list(back) == list(frame)
    for name in ("income", "visits", "city", "stars"):
        assert back[name].tolist() == frame[name].tolist()
    assert back["height"][1:].tolist() == frame["height"][1:].tolist()


def test_the_setting_is_kept_and_checked(fitted, tmp_path):
    model = small(unknown="error")
    model = vk.VAE.of(replace(fitted.fitted_, config=model.config()))
    model.save(tmp_path)
    again = vk.load(tmp_path)
    assert again.unknown == "error" and vk.VAE().unknown == vk.OutlierDetector().unknown == "missing"
    with pytest.raises(ValueError, match="'city' has levels that fit did not meet: Lima"):
        again.transform(table(5).assign(city="Lima"))
    for estimator in (small(unknown="mising"), vk.OutlierDetector(unknown="mising")):
        with pytest.raises(ValueError, match='unknown=.mising.: expected "missing" or "error": did you mean'):
            estimator.fit(table())


def test_columns_of_another_type_are_refused_either_way(fitted):
    for wrong, message in (
        ({"height": pd.Timestamp("2020")}, "'height' holds numbers, got '2020"),
        ({"city": pd.Timestamp("2020")}, "'city' holds levels .*, got dates"),
        ({"joined": 3.0}, "'joined' holds dates, got numbers"),
    ):
        with pytest.raises(ValueError, match=message):
            fitted.transform(table(5).assign(**wrong))


def test_given_values_that_a_column_cannot_hold_are_refused(fitted):
    for given in ({"city": "Lima"}, {"income": 0.0}, {"stars": 9}):
        with pytest.raises(ValueError, match=f"column '{next(iter(given))}'"):
            fitted.sample(3, given=given)


def test_levels_in_single_precision_are_the_same_levels():
    frame = pd.DataFrame({"x": np.linspace(0, 1, 60) ** 2, "level": np.resize([0.1, 0.2, 0.7], 60), "one": 0.1})
    schema = Schema.infer(frame)
    read = schema.read(frame.astype({"level": "float32", "one": "float32"}))
    assert not read.unknown.any() and np.array_equal(read.cells, schema.encode(frame))


def test_a_constant_is_the_same_in_other_types():
    frame = pd.DataFrame({"x": np.arange(60.0) ** 2, "n": 7, "d": pd.Timestamp("2020-01-01"), "t": True, "none": None})
    schema = Schema.infer(frame)
    for same in (
        frame.astype({"n": float, "t": int}),
        frame.astype({"n": str, "t": str}),
        frame.assign(d="2020-01-01"),
        frame.drop(columns=["n", "d", "t", "none"]),
    ):
        assert not schema.read(same).unknown.any()
    for name, value in (("n", 8), ("d", "2020-01-02"), ("d", pd.Timestamp("2021")), ("t", False), ("none", 3)):
        with pytest.warns(UnknownValueWarning, match=rf"column '{name}': .* \(60 cells\)"):
            assert schema.read(frame.assign(**{name: value})).unknown.sum() == 60


def test_warm_starts_and_validation_rows_may_hold_unknown_values():
    frame, new = table(), table(20, seed=3).assign(city="Lima")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vaekit.recipes.factors.FITTING", 10)
        with pytest.warns(UnknownValueWarning, match="'city': Lima .20 cells"):
            vae = small(validation=new, warm_start=True).fit(frame)
        with pytest.warns(UnknownValueWarning, match="'city': Lima .20 cells"):
            vae.set_params(validation=0.1).fit(pd.concat([frame, new], ignore_index=True))
    assert math.isfinite(vae.history_[-1]["elbo"])


def test_the_warning_points_at_the_caller(fitted):
    with pytest.warns(UnknownValueWarning) as caught:
        fitted.transform(table(5).assign(city="Lima"))
    assert caught[0].filename == __file__


EXTREME = {
    "height": [1e300, -1e300, 5e-324],
    "income": [1e300, 5e-324, 1e12],
    "visits": [10**15, 0, 10**6],
}


@pytest.mark.parametrize("name", EXTREME)
def test_extreme_values_have_finite_scores(fitted, name):
    new = table(4).head(3).assign(**{name: EXTREME[name]})
    assert np.isfinite(fitted.anomaly_score(new, draws=3)).all() and np.isfinite(fitted.transform(new)).all()
    assert fitted.anomaly_score(new, draws=3)[0] > fitted.anomaly_score(table(4), draws=3)[0]


# -- kinds that do not forbid what is likely to come ------------------------------------------------------


def skewed(rows=200, seed=0):
    """Whole numbers from 2 up, skewed: runs that batters have brought in."""
    return np.maximum(2, np.random.default_rng(seed).lognormal(5, 1, rows)).astype(int)


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("scale", [1, 100, 10**5])
def test_whole_numbers_from_one_up_may_be_zero(scale, missing):
    values = (skewed() * scale).astype(float if missing else int)
    frame = pd.DataFrame({"x": np.arange(200) / 7, "runs": values})
    if missing:
        frame.loc[3, "runs"] = None
    schema = Schema.infer(frame)
    new = frame.head(3).assign(runs=[0, 1, 10**9])
    read = schema.read(new)
    assert not read.unknown.any() and not np.isnan(read.cells).any()


def test_a_model_scores_zeros_that_come_after_positive_numbers():
    frame = pd.DataFrame({"x": np.random.default_rng(0).normal(size=200), "runs": skewed()})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vaekit.recipes.factors.FITTING", 10)
        vae = small().fit(frame)
    new = frame.head(4).assign(runs=0)
    assert np.isfinite(vae.score_samples(new, draws=3)).all() and np.isfinite(vae.transform(new)).all()


def test_values_beyond_the_bounds_of_fit_are_cells():
    frame = pd.DataFrame({"x": np.arange(60.0) ** 1.5, "n": np.arange(60) % 30})
    read = Schema.infer(frame).read(pd.DataFrame({"x": [-50.0, 900.0], "n": [999, 0]}))
    assert not read.unknown.any() and not np.isnan(read.cells).any()


# -- the detector ------------------------------------------------------------------------------------------


def rare(rows=60):
    """Levels that a row or two have, names of the rows, and positive numbers that end in zeros."""
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "x": rng.normal(size=rows),
            "level": [f"rare {k}" if k < 8 else "common" for k in range(rows)],
            "name": [f"row {k}" for k in range(rows)],
            "price": np.append(np.exp(rng.normal(size=rows - 2)), [0.0, 0.0]),
        }
    )


@pytest.mark.parametrize("seed", range(5))
def test_the_detector_knows_the_levels_of_all_rows_it_is_given(seed):
    """Whichever it holds out: none of its own rows is refused, or unknown."""
    frame = rare(24) if seed % 2 else rare()
    vae = vk.VAE(2, recipe=vk.recipes.table(flow=0), epochs=0, missing=True, threads=1, compile=False)
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        patch.setattr("vaekit.recipes.factors.FITTING", 2)
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message="column 'name' names the rows", category=SchemaWarning)
        detector = vk.OutlierDetector(vae, draws=2, seed=seed).fit(frame)
    assert np.isfinite(detector.decision_scores_).all() and len(detector.calibration_) == round(0.2 * len(frame))
    assert detector.vae_.spec_.schema.rows == len(frame)


def test_the_detector_finds_rows_with_a_new_level():
    frame = table(100)[["height", "income", "city", "planet"]]
    vae = vk.VAE(2, recipe=vk.recipes.table(flow=0), epochs=5, missing=True, threads=1, compile=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vaekit.recipes.factors.FITTING", 10)
        detector = vk.OutlierDetector(vae, draws=3).fit(frame)
    new = frame.head(10).assign(city="Lima", planet="Mars")
    with pytest.warns(UnknownValueWarning):
        assert (detector.predict(new) == 1).all()
    with pytest.warns(UnknownValueWarning):
        shares = detector.explain(new)
    assert (shares[["city", "planet"]] > 4).all().all()
    strict = vk.OutlierDetector(vae, draws=3, unknown="error").fit(frame)
    with pytest.raises(ValueError, match="column 'city' has levels"):
        strict.predict(new)


# -- random splits -----------------------------------------------------------------------------------------


def test_random_splits_and_grids_score_every_row():
    selection = pytest.importorskip("sklearn.model_selection")
    frame = rare(24)
    vae = vk.VAE(2, recipe=vk.recipes.table(flow=0), epochs=1, threads=1, compile=False)
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        patch.setattr("vaekit.recipes.factors.FITTING", 2)
        warnings.simplefilter("ignore", SchemaWarning)
        splits = selection.ShuffleSplit(5, test_size=0.3, random_state=0)
        assert np.isfinite(selection.cross_val_score(vae, frame, cv=splits, error_score="raise")).all()
        search = selection.GridSearchCV(vae, {"latent_dim": [1, 2]}, cv=2, error_score="raise").fit(frame)
    assert np.isfinite(search.best_score_)


# -- samples -----------------------------------------------------------------------------------------------


def test_cells_that_are_not_numbers_never_become_missing_ones(fitted, monkeypatch):
    """Whatever made them: the centre of the column stands in, and a warning says so."""
    decode = type(fitted.module_).decode

    def broken(self, *args):
        return Broken(decode(self, *args))

    monkeypatch.setattr(type(fitted.module_), "decode", broken)
    with pytest.warns(SchemaWarning, match="cells that are not numbers, in column 'height' .50., "):
        made = fitted.sample(50, seed=1)
    assert made.notna().all().all() and np.isfinite(made.select_dtypes("number")).all().all()
    for name in ("height", "income", "visits", "stars"):
        assert table()[name].min() <= made[name].min() and made[name].max() <= table()[name].max()
    with pytest.warns(SchemaWarning, match="cells that are not numbers"):
        assert fitted.reconstruct(table(6)).notna().all().all()


class Broken:
    """A distribution whose draws are infinite or not numbers."""

    def __init__(self, px):
        self.px = px

    def __getattr__(self, name):
        return getattr(self.px, name)

    def draw(self, scope):
        x = self.px.draw(scope)
        x[:, ::2], x[:, 1::2] = math.nan, math.inf
        return x

    @property
    def representative(self):
        return self.px.representative * math.nan


def test_a_schema_can_be_given_from_more_rows():
    frame = table()
    schema = Schema.infer(pd.concat([frame, frame.head(1).assign(city="Lima")]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vaekit.recipes.factors.FITTING", 10)
        vae = small().fit(frame, schema=schema)
    assert np.isfinite(vae.score(frame.head(5).assign(city="Lima")))
    with pytest.raises(ValueError, match="schema=... is of tables, got an array"):
        vk.VAE(epochs=1).fit(np.zeros((5, 2)), schema=schema)
