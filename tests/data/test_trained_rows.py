"""Rows that a model was trained on are recognised, and figures on them are said to be of training rows."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

import vaekit as vk
from vaekit import storage
from vaekit.data.rows import Rows
from vaekit.data.spec import DataSpec
from vaekit.data.trained_rows import KEPT, TrainedRows, fingerprints
from vaekit.io.save_load import TRAINED_ROWS

SMALL = {"epochs": 1, "threads": 1, "compile": False}


def real(n, seed=0, cells=5):
    return np.random.default_rng(seed).normal(size=(n, cells)).astype("float32")


def as_rows(x):
    x = torch.as_tensor(x)
    return Rows(x, DataSpec("real", tuple(x.shape[1:]), "float32"))


def frame(n, seed=0):
    g = np.random.default_rng(seed)
    return pd.DataFrame({"a": g.normal(size=n), "b": g.integers(0, 9, n), "word": g.choice(["x", "y", "z"], n)})


@pytest.mark.parametrize("make", [real, frame], ids=["array", "table"])
def test_an_evaluation_says_which_rows_it_is_of(make):
    x, new = make(200), make(100, seed=1)
    vae = vk.VAE(2, **SMALL).fit(x)
    for rows, on in ((x, "training"), (vae.held_out(x), "held-out"), (new, "held-out")):
        found = vae.evaluate(rows, draws=2)
        assert found.on == on and f"{len(rows):,} {on} rows" in str(found) and found.to_dict()["on"] == on
        assert (found.health is None) or found.health.on == on
        assert any("were trained on" in note for note in found.notes) == (on == "training")
    assert vae.health(x).on == "training" and vae.health(new).on == "held-out"


def test_it_is_known_after_loading_and_for_each_seed(tmp_path):
    x = real(120)
    vae = vk.VAE(2, seeds=2, **SMALL).fit(x)
    vae.save(tmp_path / "run")
    again = vk.load(tmp_path / "run")
    for model in (vae, again, *vae.members_, *again.members_):
        assert model.evaluate(x, draws=2).on == "training"
        assert model.evaluate(real(60, seed=1), draws=2).on == "held-out"
    assert np.array_equal(again.trained_rows_.prints, vae.trained_rows_.prints)


@pytest.mark.parametrize("kind", ["a model", "seeds", "a detector"])
def test_fingerprints_may_be_left_out_of_the_files(kind, tmp_path):
    x, inner = real(60), vk.VAE(2, seeds=2 if kind == "seeds" else None, **SMALL)
    model = vk.OutlierDetector(inner, draws=2).fit(x) if kind == "a detector" else inner.fit(x)
    for kept in (True, False):  # the second over the first
        model.save(tmp_path, fingerprints=kept)
        files = list(tmp_path.rglob("model.safetensors"))
        assert len(files) == (2 if kind == "seeds" else 1)
        for file in files:
            assert (TRAINED_ROWS in storage.read_tensors(file)[0]) == kept
    again = vk.load(tmp_path)
    vae = again.vae_ if kind == "a detector" else again
    assert vae.trained_rows_ is None and vae.evaluate(x, draws=2).on == "held-out"


def test_a_private_model_keeps_nothing_of_its_rows(tmp_path):
    pytest.importorskip("opacus")
    x = real(60)
    vae = vk.VAE(2, privacy=vk.training.Privacy(10.0, 1e-3, seed=0), **SMALL).fit(x)
    assert vae.trained_rows_ is None and vae.evaluate(x, draws=2).on == "held-out"
    vae.save(tmp_path / "run")
    assert vk.load(tmp_path / "run").trained_rows_ is None


def test_a_part_of_the_rows_is_told_as_a_share():
    kept, half = TrainedRows.of(as_rows(real(1000))), np.concatenate([real(1000)[:300], real(700, seed=1)])
    assert kept.share(as_rows(half)) == pytest.approx(0.3)
    assert kept.share(as_rows(real(500, seed=2))) == 0


def test_rows_that_repeat_are_not_taken_for_training_rows():
    """New rows of a small table equal old ones by chance."""
    bits = [np.random.default_rng(s).integers(0, 2, (500, 3)) for s in (0, 1)]
    kept = TrainedRows.of(as_rows(bits[0]))
    assert kept.repeats > 0.9 and kept.share(as_rows(bits[1])) == 0
    some = [np.random.default_rng(s).integers(0, 12, (500, 3)) for s in (0, 1)]
    assert TrainedRows.of(as_rows(some[0])).share(as_rows(some[1])) < 0.1
    assert TrainedRows.of(as_rows(some[0])).share(as_rows(some[0])) == 1


def test_of_many_rows_a_sample_by_their_values_is_kept():
    x = real(5 * KEPT, cells=2)
    kept = TrainedRows.of(as_rows(x))
    assert abs(len(kept.prints) - KEPT) < 5 * KEPT**0.5
    assert kept.share(as_rows(x[::7])) == 1 and kept.share(as_rows(real(5000, seed=1, cells=2))) < 0.001


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int64", "float32", "float64"])
def test_a_fingerprint_is_of_the_values_whatever_their_type(dtype):
    x = np.random.default_rng(0).integers(0, 256, (2000, 4, 4))
    want = fingerprints(torch.from_numpy(x.astype("float64")))
    assert np.array_equal(fingerprints(torch.from_numpy(x.astype(dtype))), want)
    assert len(np.unique(want)) == 2000 and 0.45 < want.mean() / 2**32 < 0.55
    moved = x.copy()
    moved[:, 0, 0] += 1
    assert not (fingerprints(torch.from_numpy(moved)) == want).any()


def test_a_missing_cell_and_a_zero_have_one_value():
    x = torch.tensor([[0.0, torch.nan], [1.0, 2.0]])
    other = torch.tensor([[-0.0, -torch.nan], [1.0, 2.0]])
    assert np.array_equal(fingerprints(x), fingerprints(other))


def test_fingerprints_can_be_left_out_of_the_files(tmp_path):
    vae = vk.VAE(2, **SMALL).fit(real(60))
    vk.io.save(replace(vae.fitted_, trained_rows=None), tmp_path / "run")
    again = vk.load(tmp_path / "run")
    assert again.trained_rows_ is None and again.evaluate(real(60), draws=2).on == "held-out"


@pytest.mark.parametrize("tensor", [torch.zeros(3), torch.zeros((2, 2), dtype=torch.int64), torch.zeros(1).long()])
def test_damaged_fingerprints_are_refused(tensor):
    with pytest.raises(ValueError, match="the fingerprints of training rows are damaged"):
        TrainedRows.from_tensor(tensor)
