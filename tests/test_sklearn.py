"""scikit-learn's estimators and tools around `VAE` and `OutlierDetector`, on arrays and on data frames."""

import copy
import pickle
import subprocess
import sys

import numpy as np
import pytest

import vaekit as vk
from vaekit.recipes import factors

pytest.importorskip("sklearn")
pd = pytest.importorskip("pandas")

import sklearn  # noqa: E402
from sklearn.base import BaseEstimator, clone, is_outlier_detector  # noqa: E402
from sklearn.compose import ColumnTransformer  # noqa: E402
from sklearn.exceptions import NotFittedError  # noqa: E402
from sklearn.experimental import enable_halving_search_cv  # noqa: E402, F401
from sklearn.impute import SimpleImputer  # noqa: E402
from sklearn.linear_model import LogisticRegression  # noqa: E402
from sklearn.model_selection import (  # noqa: E402
    GridSearchCV,
    HalvingGridSearchCV,
    cross_val_predict,
    cross_val_score,
    learning_curve,
)
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline  # noqa: E402
from sklearn.preprocessing import StandardScaler  # noqa: E402
from sklearn.utils import estimator_html_repr  # noqa: E402

N = 80


def small(**settings):
    return vk.VAE(2, **{"epochs": 1, "compile": False, "threads": 1, **settings})


def outliers(**settings):
    return vk.OutlierDetector(small(missing=True), draws=3, **settings)


def numbers():
    return np.random.default_rng(0).normal(size=(N, 4))


def frame():
    return pd.DataFrame(numbers(), columns=list("abcd"), index=[f"row {i}" for i in range(N)])


def mixed():
    x = frame().assign(kind=np.where(numbers()[:, 0] > 0, "up", "down"), flag=numbers()[:, 1] > 0)
    x.loc["row 3", "a"], x.loc["row 5", "kind"] = np.nan, None
    return x


DATA = {"array": numbers, "frame": frame, "mixed frame": mixed}
Y = (numbers()[:, 0] > 0).astype(int)


@pytest.fixture(autouse=True, scope="module")
def quick_start():
    """Few steps before training: what is tested is how the estimators work together."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(factors, "FITTING", 3)
        yield


# -- the base class -----------------------------------------------------------------------------------


def test_they_are_estimators_of_scikit_learn():
    for model in (vk.VAE(), vk.OutlierDetector()):
        assert isinstance(model, BaseEstimator) and issubclass(type(model), BaseEstimator)
    assert is_outlier_detector(vk.OutlierDetector(style="sklearn")) and not is_outlier_detector(vk.VAE())


def test_scikit_learn_may_be_imported_later():
    """An estimator that was built before becomes an instance when scikit-learn first asks for its parameters."""
    code = (
        "import sys, vaekit as vk; vae = vk.VAE(latent_dim=3); assert 'sklearn' not in sys.modules; "
        "from sklearn.base import BaseEstimator, clone; assert clone(vae).latent_dim == 3; "
        "assert isinstance(vae, BaseEstimator) and issubclass(vk.OutlierDetector, BaseEstimator); "
        "assert hasattr(vae, 'set_fit_request'); print(vae)"
    )
    out = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
    assert out.stdout.strip() == "VAE(latent_dim=3)", out.stderr


def test_without_scikit_learn_they_work_alike():
    code = (
        "import sys; sys.modules['sklearn'] = None; import numpy as np, vaekit as vk; "
        "x = np.random.default_rng(0).normal(size=(40, 3)); vae = vk.VAE(epochs=1, compile=False).fit(x); "
        "print(vae.set_output(transform='pandas').transform(x).columns.tolist(), vae.__sklearn_clone__())"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert out.stdout.strip() == "['vae0', 'vae1'] VAE(epochs=1, compile=False)", out.stderr


@pytest.mark.parametrize("make", [small, outliers], ids=["VAE", "OutlierDetector"])
def test_the_page_of_an_estimator_is_drawn(make):
    model = make()
    assert type(model).__name__ in estimator_html_repr(model)
    model.fit(numbers())
    assert "n_features_in_" in estimator_html_repr(model)
    assert "VAE" in estimator_html_repr(make_pipeline(StandardScaler(), small(encoder=vk.networks.MLP((8,)))))


@pytest.mark.parametrize("make", [small, outliers], ids=["VAE", "OutlierDetector"])
def test_unfitted_use_raises_scikit_learn_s_error(make):
    model = make()
    call = model.transform if hasattr(model, "transform") else model.predict
    with pytest.raises(NotFittedError, match="not fitted yet") as raised:
        call(numbers())
    with pytest.raises(NotFittedError):  # as in another process of joblib
        raise pickle.loads(pickle.dumps(raised.value))


def test_clones_keep_parameters_and_scikit_learn_s_settings():
    vae = small(recipe=vk.recipes.beta_vae(beta=4.0)).set_output(transform="pandas")
    twin = clone(vae)
    assert twin.get_params(deep=False) == vae.get_params(deep=False) and twin.recipe is not vae.recipe
    assert isinstance(twin.fit(numbers() > 0).transform(numbers() > 0), pd.DataFrame)
    detector = clone(outliers(by="error").fit(numbers()))
    assert detector.by == "error" and not hasattr(detector, "vae_") and not hasattr(detector.vae, "module_")


# -- together with others -----------------------------------------------------------------------------


@pytest.mark.parametrize("data", ["array", "frame"])
def test_pipelines(data):
    x = DATA[data]()
    model = make_pipeline(StandardScaler(), small(epochs=20, lr=1e-2), LogisticRegression()).fit(x, Y)
    assert model.predict(x).shape == (N,) and model.score(x, Y) > 0.5
    assert list(model[:-1].get_feature_names_out()) == ["vae0", "vae1"]
    flags = make_pipeline(SimpleImputer(), outliers()).fit(x)
    assert set(flags.predict(x)) <= {0, 1} and flags.score_samples(x).shape == (N,)


def test_pipelines_of_frames():
    x = frame()
    model = make_pipeline(StandardScaler(), small(), LogisticRegression()).set_output(transform="pandas").fit(x, Y)
    codes = model[:-1].transform(x)
    pd.testing.assert_index_equal(codes.index, x.index)
    assert list(codes.columns) == list(model[-1].feature_names_in_) == ["vae0", "vae1"]
    assert list(model[1].feature_names_in_) == list(x.columns) and model[1].n_features_in_ == 4
    assert make_pipeline(small(), LogisticRegression()).fit(mixed(), Y).predict(mixed()).shape == (N,)


def test_columns_and_unions():
    x = mixed()
    parts = [("mixed", small(), ["a", "kind"]), ("plain", small(), ["c", "d", "flag"])]
    both = ColumnTransformer(parts, remainder="drop").fit(x)
    assert both.transform(x).shape == (N, 4)
    assert list(both.get_feature_names_out()) == ["mixed__vae0", "mixed__vae1", "plain__vae0", "plain__vae1"]
    framed = clone(both).set_output(transform="pandas").fit_transform(x)
    pd.testing.assert_index_equal(framed.index, x.index)
    assert list(framed.columns) == list(both.get_feature_names_out())
    union = FeatureUnion([("codes", small()), ("scaled", StandardScaler())])
    assert union.fit_transform(numbers()).shape == (N, 6)
    assert list(union.set_output(transform="pandas").fit_transform(frame()).columns)[:3] == [
        "codes__vae0", "codes__vae1", "scaled__a",
    ]  # fmt: skip


@pytest.mark.parametrize("data", ["array", pytest.param("mixed frame", marks=pytest.mark.slow)])
def test_searches(data):
    x = DATA[data]()
    search = GridSearchCV(small(), {"latent_dim": [1, 2]}, cv=2).fit(x)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all() and search.score(x) > -100
    grid = {"vae__latent_dim": [1, 2], "by": ["bound", "error"]}
    found = GridSearchCV(outliers(), grid, scoring=lambda m, x, y=None: m.score_samples(x).mean(), cv=2).fit(x)
    assert np.isfinite(found.cv_results_["mean_test_score"]).all() and found.predict(x).shape == (N,)
    for resource in ({"resource": "epochs", "max_resources": 2}, {}):
        halving = HalvingGridSearchCV(small(), {"latent_dim": [1, 2]}, cv=2, factor=2, random_state=0, **resource)
        assert halving.fit(x).best_params_["latent_dim"] in (1, 2)


@pytest.mark.parametrize("data", DATA)
def test_cross_validation(data):
    x = DATA[data]()
    assert np.isfinite(cross_val_score(small(), x, cv=2)).all()
    assert cross_val_predict(outliers(), x, cv=2, method="decision_function").shape == (N,)
    codes = make_pipeline(small(), LogisticRegression())
    assert cross_val_predict(codes, x, Y, cv=2).shape == (N,)


def test_classes_are_predicted_in_cross_validation():
    """`predict` is there before fit, if the model will have classes."""
    model = small(recipe=vk.recipes.m2(classes=2))
    assert hasattr(model, "predict") and hasattr(vk.VAE(recipe="vade"), "predict_proba")
    assert not hasattr(vk.VAE(), "predict") and not hasattr(vk.VAE(recipe="iwae"), "predict")
    assert not hasattr(vk.VAE(recipe="no recipe"), "predict")
    assert set(cross_val_predict(model, (numbers() > 0).astype(float), Y, cv=2)) <= {0, 1}
    with pytest.raises(NotFittedError):
        model.predict(numbers())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of loky
def test_searches_in_two_processes():
    one, two = (GridSearchCV(small(), {"latent_dim": [1, 2]}, cv=2, n_jobs=n).fit(numbers()) for n in (1, 2))
    np.testing.assert_allclose(one.cv_results_["mean_test_score"], two.cv_results_["mean_test_score"], rtol=1e-3)
    labels = cross_val_predict(outliers(), mixed(), cv=2, n_jobs=2)
    assert set(labels) <= {0, 1}


def test_metadata_is_routed():
    with sklearn.config_context(enable_metadata_routing=True):
        vae = small().set_fit_request(context=True).set_transform_request(context=True)
        model = Pipeline([("scale", StandardScaler()), ("vae", vae)]).fit(numbers(), context=Y)
        assert model.transform(numbers(), context=Y).shape == (N, 2)
        with pytest.raises(ValueError, match="fitted with context"):
            model.transform(numbers())


@pytest.mark.parametrize("data", DATA)
def test_fitted_estimators_are_pickled_and_copied(data):
    x = DATA[data]()
    vae, detector = small().set_output(transform="default").fit(x), outliers().fit(x)
    for again in (pickle.loads(pickle.dumps(vae)), copy.deepcopy(vae), copy.copy(vae)):
        np.testing.assert_array_equal(again.transform(x), vae.transform(x))
        assert again.get_params(deep=False).keys() == vae.get_params(deep=False).keys()
    for again in (pickle.loads(pickle.dumps(detector)), copy.deepcopy(detector)):
        np.testing.assert_array_equal(again.decision_function(x), detector.decision_function(x))
        np.testing.assert_array_equal(again.p_values(x), detector.p_values(x))


def test_incremental_learning_curves():
    parts = {"cv": 2, "train_sizes": [0.5, 1.0], "exploit_incremental_learning": True}
    scores = learning_curve(small(), numbers(), Y, **parts)[2]
    assert scores.shape == (2, 2) and np.isfinite(scores).all()


# -- set_output ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", DATA)
def test_output_containers(data):
    x = DATA[data]()
    vae = small().fit(x)
    codes = vae.transform(x)
    assert type(codes) is np.ndarray and list(vae.get_feature_names_out()) == ["vae0", "vae1"]
    made = vae.set_output(transform="pandas").transform(x)
    np.testing.assert_array_equal(made, codes)
    assert list(made.columns) == ["vae0", "vae1"]
    pd.testing.assert_index_equal(made.index, x.index if data != "array" else pd.RangeIndex(N))
    polars = pytest.importorskip("polars")
    assert isinstance(vae.set_output(transform="polars").transform(x), polars.DataFrame)
    assert type(vae.set_output(transform=None).transform(x)) is polars.DataFrame  # None changes nothing
    with sklearn.config_context(transform_output="pandas"):
        assert type(small().fit_transform(x)) is pd.DataFrame
        assert type(vae.set_output(transform="default").transform(x)) is np.ndarray  # its own setting goes first
        other = small().fit(x)
        assert type(other.reconstruct(x)) is (np.ndarray if data == "array" else pd.DataFrame)
        assert np.isfinite(other.evaluate(x, draws=2).figures["elbo"].value)
    with pytest.raises(ValueError, match=r"set_output\(transform='arrow'\): expected one of 'default', 'pandas', 'po"):
        vae.set_output(transform="arrow")


def test_feature_names_are_checked():
    vae = small().fit(frame())
    assert list(vae.get_feature_names_out(list("abcd"))) == ["vae0", "vae1"]
    with pytest.raises(ValueError, match="input_features is not equal to feature_names_in_"):
        vae.get_feature_names_out(list("abdc"))
    with pytest.raises(ValueError, match=r"number of features \(4\), got 3"):
        small().fit(numbers()).get_feature_names_out(list("abc"))
    with pytest.raises(NotFittedError):
        small().get_feature_names_out()


def test_names_that_are_not_all_words_are_not_feature_names():
    x = frame().set_axis([1, 2, 3, 4], axis=1)
    vae = small().fit(x)
    assert not hasattr(vae, "feature_names_in_") and vae.n_features_in_ == 4
    assert list(vae.fit(frame()).feature_names_in_) == list("abcd")
    assert not hasattr(vae.fit(numbers()), "feature_names_in_")


# -- partial_fit --------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", DATA)
def test_partial_fit_trains_on(data):
    x = DATA[data]()
    vae = small(lr=1e-2, epochs=50)
    assert vae.partial_fit(x) is vae and len(vae.history_) == 1
    first = vae.module_
    before = vae.score(x)
    for _ in range(15):
        vae.partial_fit(x)
    assert vae.module_ is first and vae.score(x) > before
    assert [record["epoch"] for record in vae.history_] == list(range(1, 17))
    assert vae.get_params() == small(lr=1e-2, epochs=50).get_params()


def test_passes_meet_new_noise():
    """A pass has a seed of its own: the same rows are not met with the same noise again."""
    one = small(lr=1e-30).partial_fit(numbers()).partial_fit(numbers()).partial_fit(numbers())
    assert len({record["elbo"] for record in one.history_}) == 3
    again = small(lr=1e-30).partial_fit(numbers()).partial_fit(numbers()).partial_fit(numbers())
    assert [r["elbo"] for r in one.history_] == [r["elbo"] for r in again.history_]


def test_partial_fit_resumes_a_fit_and_reads_columns_by_name():
    x = mixed()
    vae, twin = small().fit(x), small().fit(x)
    vae.partial_fit(x), twin.partial_fit(x[x.columns[::-1]])
    np.testing.assert_array_equal(vae.transform(x), twin.transform(x))
    arrays = [small(likelihood=vk.likelihoods.Gaussian()).fit(frame()) for _ in range(2)]
    arrays[0].partial_fit(frame()), arrays[1].partial_fit(frame()[list("dbca")])
    np.testing.assert_array_equal(arrays[0].transform(frame()), arrays[1].transform(frame()))


def test_partial_fit_reads_missing_cells_that_the_first_part_did_not_have():
    x = mixed()
    vae = small().partial_fit(x[10:]).partial_fit(x[:10])
    assert len(vae.history_) == 2 and np.isfinite(vae.score_samples(x)).all()


WRONG_PARTS = {
    "width": ({}, lambda x: x[:, :3], "X has 3 features, but VAE is expecting 4 features as input"),
    "shape": ({}, lambda x: x.reshape(N, 2, 2), r"expected rows of \(4,\), as in fit, got rows of \(2, 2\)"),
    "missing cells": ({}, lambda x: np.where(x > 2, np.nan, x), "NaN"),
    "other values": ({"recipe": "vae"}, lambda x: x * 7, "expected values 0 and 1, as in fit, got"),
    "several seeds": ({"seeds": 2}, lambda x: x, "partial_fit with seeds=2 is not supported: train the models one by"),
    "privacy": ({"privacy": vk.training.Privacy(3.0)}, lambda x: x, "partial_fit with privacy=.* is not supported"),
    "sharded": ({"sharded": True}, lambda x: x, "partial_fit with sharded=True is not supported"),
}


@pytest.mark.parametrize("name", WRONG_PARTS)
def test_wrong_parts_are_refused(name):
    settings, change, message = WRONG_PARTS[name]
    x = numbers() if "recipe" not in settings else (numbers() > 0).astype(float)
    with pytest.raises(ValueError, match=message):
        small(**settings).partial_fit(x).partial_fit(change(x))


def test_a_detector_has_no_partial_fit():
    """Its threshold and its p-values need all rows at once."""
    assert not hasattr(outliers(), "partial_fit")
