"""Checkpoints: continued by the same training only, and refused where a bit of them has changed."""

import json
import os

import numpy as np
import pytest
import torch

import vaekit as vk
from vaekit import storage
from vaekit.training import checkpoint


def rows(seed=0):
    return np.random.default_rng(seed).normal(size=(60, 5)).astype(np.float32)


def vae(**changed):
    settings = dict(
        latent_dim=2, epochs=4, batch_size=16, validation=0.2, threads=1, recipe=vk.recipes.auto(hidden=(6,))
    )
    return vk.VAE(**settings | changed)


@pytest.fixture
def run(tmp_path):
    vae(epochs=2).fit(rows(), run=tmp_path / "run")
    return tmp_path / "run"


OTHERS = {
    "other rows": ({}, rows(1), "other training rows; with other held out rows"),
    "one other cell": ({}, np.where(np.arange(300).reshape(60, 5) == 7, 9, rows()).astype(np.float32), "rows"),
    "fewer rows": ({}, rows()[:50], "rows=48, this run has rows=40"),
    "another split": ({"validation": 0.3}, rows(), "rows=48, this run has rows=42"),
    "another seed": ({"seed": 1}, rows(), "seeds.0=0, this run has seeds.0=1"),
    "another learning rate": ({"lr": 0.1}, rows(), "adam.lr=0.001, this run has adam.lr=0.1"),
    "a schedule": ({"schedule": "cosine"}, rows(), "adam.schedule='constant', this run has adam.schedule='cosine'"),
    "an average": ({"average": 0.9}, rows(), "adam.average=None, this run has adam.average=0.9"),
    "another batch size": ({"batch_size": 8}, rows(), "batch_size=16, this run has batch_size=8"),
    "another precision": ({"precision": "bf16"}, rows(), "precision='None', this run has precision='torch.bfloat16'"),
    "another initialiser": ({"initialiser": "he"}, rows(), "initialiser='glorot', this run has initialiser='he'"),
    "another width": ({"latent_dim": 3}, rows(), "model.latent.posterior.size=2, this run has .*=3"),
    "another objective": ({"objective": vk.objectives.IWAE(2)}, rows(), "objective.* this run has objective"),
    "a network of one's own": ({"decoder": torch.nn.Linear(2, 5)}, rows(), "model.decoder"),
}


@pytest.mark.parametrize("case", OTHERS)
def test_another_training_does_not_go_on_with_a_checkpoint(case, run):
    changed, x, message = OTHERS[case]
    before = (run / "checkpoint" / "state.safetensors").read_bytes()
    with pytest.raises(ValueError, match=f"state.safetensors: the checkpoint was taken with .*{message}"):
        vae(**changed).fit(x, run=run, resume=True)
    assert (run / "checkpoint" / "state.safetensors").read_bytes() == before
    assert vae().fit(rows(), run=run, resume=True).ended_ == "finished"


FREE = {
    "more epochs": {"epochs": 6},
    "patience": {"patience": 3},
    "verbose": {"verbose": True},
    "threads": {"threads": 2},
}


@pytest.mark.parametrize("case", FREE)
def test_what_may_change_on_resume(case, run):
    assert vae(**FREE[case]).fit(rows(), run=run, resume=True).ended_ in ("finished", "stopped early")


def test_fewer_epochs_than_were_trained_are_refused(run):
    with pytest.raises(ValueError, match="has trained 2 epochs, epochs=1: resume with as many or more"):
        vae(epochs=1).fit(rows(), run=run, resume=True)


def test_modules_of_other_sizes_are_refused(tmp_path):
    own = lambda width: torch.nn.Sequential(torch.nn.Linear(5, width), torch.nn.Linear(width, 4))  # noqa: E731
    vae(encoder=own(6), epochs=1).fit(rows(), run=tmp_path)
    with pytest.raises(storage.StorageError, match="state.safetensors does not fit this training"):
        vae(encoder=own(7)).fit(rows(), run=tmp_path, resume=True)


def test_rows_that_are_stored_are_known_by_a_sample(tmp_path, caplog):
    np.save(tmp_path / "x.npy", rows())
    vae(epochs=1).fit(np.load(tmp_path / "x.npy", mmap_mode="r"), run=tmp_path / "run")
    os.utime(tmp_path / "x.npy", (1, 1))
    vae(epochs=2).fit(np.load(tmp_path / "x.npy", mmap_mode="r"), run=tmp_path / "run", resume=True)
    assert "training_rows.modified changed on disk" in caplog.text
    np.save(tmp_path / "x.npy", rows(1))
    with pytest.raises(ValueError, match="other training rows"):
        vae(epochs=3).fit(np.load(tmp_path / "x.npy", mmap_mode="r"), run=tmp_path / "run", resume=True)


@pytest.mark.parametrize("name", ["state", "best"])
def test_a_flipped_bit_is_refused_wherever_it_is(name, run):
    path = run / "checkpoint" / f"{name}.safetensors"
    content = path.read_bytes()
    for place in np.random.default_rng(0).integers(len(content), size=40):
        damaged = bytearray(content)
        damaged[place] ^= 1 << (int(place) % 8)
        path.write_bytes(damaged)
        with pytest.raises(storage.StorageError, match=f"{name}.safetensors"):
            vae().fit(rows(), run=run, resume=True)
    path.write_bytes(content)
    vae().fit(rows(), run=run, resume=True)


def rewrite(path, change):
    tensors, metadata = storage.read_tensors(path)
    change(tensors, metadata)
    storage.write_tensors(path, tensors, metadata)


FORGED = {
    "a later format": (lambda t, m: m.update(format=99), "has format 99, this vaekit resumes from up to 1"),
    "no place": (lambda t, m: m.pop("place"), "is not a checkpoint"),
    "a place beyond the epoch": (
        lambda t, m: m["place"].update(batch=99),
        "does not fit this training: ValueError: place",
    ),
    "a word for a place": (lambda t, m: m["place"].update(epoch="1"), "does not fit this training: TypeError: place"),
    "no noise": (lambda t, m: t.pop("noise"), "does not fit this training: KeyError"),
    "noise of another shape": (lambda t, m: t.update(noise=torch.zeros(3)), "does not fit this training"),
    "a weight missing": (lambda t, m: t.pop("learner/model.encoder.layers.1.bias"), "does not fit this training"),
    "a million threads": (lambda t, m: m["pace"].update(threads=10**6), "expected 1 to 4096 threads"),
    "courses of nobody": (lambda t, m: m.update(courses=[]), "expected one for each of 1 models"),
    "a figure that is a word": (
        lambda t, m: m["courses"][0]["history"][0].update(elbo="x"),
        "expected numbers",
    ),
    "a record without its epoch": (lambda t, m: m["courses"][0]["history"][0].pop("epoch"), "expected numbers"),
    "a step that is a word": (lambda t, m: m["courses"][0].update(failed="x"), "expected steps as whole numbers"),
    "a course of words": (lambda t, m: m["courses"][0].update(history="x"), "expected records"),
}


@pytest.mark.parametrize("case", FORGED)
def test_a_forged_checkpoint_is_refused(case, run):
    change, message = FORGED[case]
    rewrite(run / "checkpoint" / "state.safetensors", change)
    with pytest.raises(storage.StorageError, match=f"state.safetensors.*{message}"):
        vae().fit(rows(), run=run, resume=True)


def test_best_weights_of_another_run_or_epoch_are_refused(run, tmp_path):
    best = run / "checkpoint" / "best.safetensors"
    vae(epochs=2, seed=1).fit(rows(), run=tmp_path / "other")
    own = best.read_bytes()
    best.write_bytes((tmp_path / "other" / "checkpoint" / "best.safetensors").read_bytes())
    with pytest.raises(storage.StorageError, match="best.safetensors belongs to another training"):
        vae().fit(rows(), run=run, resume=True)
    best.write_bytes(own)
    rewrite(best, lambda t, m: m.update(best_epochs=[0]))
    with pytest.raises(storage.StorageError, match="best.safetensors holds the weights of epochs"):
        vae().fit(rows(), run=run, resume=True)
    best.unlink()
    with pytest.raises(storage.StorageError, match="best.safetensors is missing"):
        vae().fit(rows(), run=run, resume=True)


def test_a_prior_is_not_continued_around_another_model(tmp_path):
    first, other = vae(epochs=2).fit(rows()), vae(epochs=2, seed=3).fit(rows()).set_params(seed=0)
    first.fit_prior(rows(), vk.latents.GaussianMixture(3), epochs=1, run=tmp_path)
    with pytest.raises(ValueError, match="the checkpoint was taken with .*frozen="):
        other.fit_prior(rows(), vk.latents.GaussianMixture(3), epochs=2, run=tmp_path, resume=True)


def test_every_file_of_a_checkpoint_has_its_format(run):
    for path in (run / "checkpoint").glob("*.safetensors"):
        assert storage.read_tensors(path)[1]["format"] == checkpoint.FORMAT
    assert json.loads((run / "config.json").read_text())["format"] == storage.FORMAT
