"""Drawn rows have gaps as the training rows had them."""

import json

import numpy as np
import pytest
import torch

import vaekit as vk
from vaekit.evaluation.model_evaluation import WITHOUT_GAPS
from vaekit.training.splitting import split

pd = pytest.importorskip("pandas")
QUICK = {"epochs": 2, "threads": 1, "compile": False}


def cancer():
    """Measured cells; two columns missing together in a third of the rows, and a fifth of words, counts and marks."""
    data = pytest.importorskip("sklearn.datasets").load_breast_cancer(as_frame=True)
    rng, frame = np.random.default_rng(0), data.data.iloc[:, :5].copy()
    frame["kind"] = np.where(data.target, "benign", "malignant")
    frame["visits"] = pd.array(rng.poisson(3, len(frame)), dtype="Int64")
    frame["seen"] = rng.random(len(frame)) < 0.5
    frame["mark"] = "x"  # a constant
    frame.loc[rng.random(len(frame)) < 1 / 3, ["mean radius", "mean area", "mark"]] = None
    for name in ("kind", "visits", "seen"):
        frame[name] = frame[name].astype(object if name == "seen" else frame[name].dtype)
        frame.loc[rng.random(len(frame)) < 0.2, name] = None
    return frame


@pytest.fixture(scope="module")
def frame():
    return cancer()


@pytest.fixture(scope="module")
def vae(frame):
    return vk.VAE(3, recipe="auto", **QUICK).fit(frame)


def alike(made, real):
    """Whether shares of gaps, (N, C), agree: of each column, and of each two; both samples' errors."""
    for a, b in ((made, real), *((made & np.roll(made, k, 1), real & np.roll(real, k, 1)) for k in range(1, 4))):
        p, q = a.mean(0), b.mean(0)
        error = np.sqrt(q * (1 - q) * (1 / len(a) + 1 / len(b)))
        if not (np.abs(p - q) <= 4.5 * error).all():
            return False
    return True


def test_gaps_of_drawn_rows_go_together_as_those_of_the_table(frame, vae):
    made = vae.sample(3000, gaps=True)
    assert made.dtypes.equals(frame.dtypes) and list(made) == list(frame)
    gaps = made.isna()
    assert alike(gaps.to_numpy(), frame.isna().to_numpy())
    assert gaps["mean radius"].equals(gaps["mean area"]) and gaps["mean radius"].equals(gaps["mark"])
    assert not gaps["mean texture"].any()


def test_what_is_there_is_the_same_with_gaps_and_without(vae):
    whole, made = (vae.sample(1100, seed=4, gaps=gaps).astype(object) for gaps in (False, True))
    assert not whole.isna().any().any()
    assert made.where(made.notna(), whole).equals(whole)


def test_patterns_are_saved_with_the_model(vae, tmp_path):
    vae.save(tmp_path)
    again = vk.load(tmp_path)
    assert again.spec_ == vae.spec_ and again.sample(50, gaps=True).equals(vae.sample(50, gaps=True))


@pytest.fixture
def before(vae, tmp_path):
    """The model as it was saved before patterns were kept."""
    vae.save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    del config["data"]["patterns"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    return vk.load(tmp_path, verify=False)


def test_a_model_without_patterns_draws_whole_rows_and_says_so(vae, before, frame):
    assert before.sample(20).equals(vae.sample(20))
    with pytest.raises(ValueError, match="keeps the patterns of gaps.*saved before.*gaps=False"):
        before.sample(20, gaps=True)
    assert before.judge_table(frame[:60], n=60).notes[-1] == WITHOUT_GAPS


def test_a_judgement_does_not_see_the_lack_of_gaps():
    """Two columns apart, missing together: what is left to tell drawn rows by is the gaps."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(400, 2)), columns=["a", "b"])
    frame[rng.random(400) < 1 / 3] = np.nan
    vae = vk.VAE(1, recipe="auto", **QUICK).fit(frame)
    judged, whole = vae.judge_table(frame), vk.evaluation.judge_table(frame, vae.sample(400))
    assert WITHOUT_GAPS not in judged.notes
    assert judged["told_apart"] < 0.6 and whole["told_apart"] > 0.6
    assert abs(judged["missing_cells"] - judged.floor["missing_cells"].value) < 0.05 and whole["missing_cells"] < 0.75


def test_given_columns_are_there_and_the_others_gaps_are_of_such_rows(frame, vae):
    made = vae.sample(2000, given={"mean radius": 15.0, "kind": "benign"}, gaps=True)
    like = frame[frame["mean radius"].notna() & frame["kind"].notna()]
    assert (made["mean radius"] == 15.0).all() and (made["kind"] == "benign").all()
    assert made["mean area"].notna().all() and alike(made.isna().to_numpy(), like.isna().to_numpy())


def test_rows_without_gaps_are_drawn_without(frame):
    whole = frame.drop(columns="mark").dropna()
    vae = vk.VAE(2, recipe="auto", **QUICK).fit(whole)
    assert vae.spec_.patterns is None and vae.sample(30, gaps=True).equals(vae.sample(30))
    watched = vk.VAE(2, recipe="auto", validation=frame.drop(columns="mark"), **QUICK).fit(whole)
    assert watched.spec_.missing and not watched.sample(30, gaps=True).isna().any().any()
    array = np.random.default_rng(0).integers(0, 9, (60, 3))
    counts = vk.VAE(2, recipe="auto", missing=True, **QUICK).fit(array)
    assert np.array_equal(counts.sample(30, gaps=True), counts.sample(30))


def test_gaps_of_a_column_of_one_value_are_enough():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=200), "mark": np.where(rng.random(200) < 0.5, "x", None)})
    made = vk.VAE(1, recipe="auto", **QUICK).fit(frame).sample(500, gaps=True)
    assert alike(made.isna().to_numpy(), frame.isna().to_numpy()) and made["a"].notna().all()


@pytest.mark.parametrize("library", ["polars", "pyarrow"])
def test_tables_of_other_libraries_have_them_too(library, frame):
    module = pytest.importorskip(library)
    table = module.from_pandas(frame) if library == "polars" else module.Table.from_pandas(frame)
    made = vk.VAE(2, recipe="auto", **QUICK).fit(table).sample(1500, gaps=True)
    own = made.to_pandas().isna()
    assert alike(own.to_numpy(), frame.isna().to_numpy()) and own["mean radius"].equals(own["mark"])


def test_arrays_have_the_gaps_of_their_rows():
    """Images with channels last, of half of which the upper part is missing."""
    rng = np.random.default_rng(0)
    x = rng.random((80, 6, 4, 3)).astype(np.float32)
    x[::2, :2, :, 1] = np.nan
    made = vk.VAE(2, recipe="auto", missing=True, **QUICK).fit(x).sample(1200, gaps=True)
    gaps, upper = np.isnan(made), np.zeros((6, 4, 3), dtype=bool)
    upper[:2, :, 1] = True
    assert made.dtype == np.float32 and set(map(bytes, gaps)) == {bytes(upper), bytes(~upper & False)}
    assert gaps.any((1, 2, 3)).mean() == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("mixed", [False, True])
def test_a_model_of_the_mask_draws_gaps_by_what_the_cells_hold(mixed):
    """Where it has no part in a column, by patterns."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 4))
    x[rng.random((200, 4)) < 0.3] = np.nan
    masked, parts = vk.likelihoods.SelfMaskedGaussian(shape=(2 if mixed else 4,)), None
    if mixed:
        parts = vk.likelihoods.Mixed([masked, vk.likelihoods.Gaussian(shape=(2,))])
        x[:, 3] = np.where(np.isnan(x[:, 2]), np.nan, rng.normal(size=200))
    vae = vk.VAE(2, recipe="auto", likelihood=parts or masked, missing=True, **QUICK).fit(x)
    told = vae.module_.likelihood.parts[0] if mixed else vae.module_.likelihood
    with torch.no_grad():
        told.offset.fill_(0.5), told.slope.fill_(-2.0)
    whole, made = vae.sample(4000), vae.sample(4000, gaps=True)
    columns = slice(2) if mixed else slice(4)
    offset, scale = np.broadcast_to(vae.spec_.offset, 4), np.broadcast_to(vae.spec_.scale, 4)
    chance = 1 / (1 + np.exp(-0.5 + 2 * (whole - offset) / scale))[:, columns]
    gaps = np.isnan(made)
    for few in (whole[:, columns] < 0, whole[:, columns] > 0.5):
        error = np.sqrt((chance * (1 - chance))[few].sum()) / few.sum()
        assert abs(gaps[:, columns][few].mean() - (1 - chance)[few].mean()) < 4.5 * error
    assert np.array_equal(made[~gaps], whole[~gaps])
    if mixed:
        assert np.array_equal(gaps[:, 2], gaps[:, 3]) and alike(gaps[:, 2:], np.isnan(x)[:, 2:])


def test_a_private_model_keeps_no_patterns(frame):
    vae = vk.VAE(2, privacy=vk.training.Privacy(epsilon=3.0, delta=1e-5, clip=1.0))
    assert split(vae.config(), frame).rows.spec.patterns is None


def test_models_of_several_seeds_and_of_sweeps_keep_them(frame):
    numbers = frame[["mean radius", "mean area", "visits"]]
    own = vk.VAE(2, recipe="auto", seeds=2, **QUICK).fit(numbers)
    swept = vk.sweep(vk.VAE(2, recipe="auto", **QUICK), numbers, over={"lr": [1e-3, 2e-3]}).best()
    for vae in (*own.members_, swept):
        assert vae.sample(100, gaps=True).isna().any().any()
