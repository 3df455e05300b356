"""Damaged run folders and checkpoints: no code run, no hang, no raw error, no memory beyond bounds."""

import json
import os
import shutil
from functools import partial

import numpy as np
import pytest
from mutations import FINE, Case, counts, faults, mutated, mutated_json, survey

import vaekit as vk
from vaekit import storage

COUNT = int(os.environ.get("VAEKIT_FUZZ", "1000"))
"""Mutations in all."""
FILES = ("config.json", "model.safetensors", "history.jsonl")


def rows():
    return np.random.default_rng(0).normal(size=(40, 5)).astype(np.float32)


def vae():
    return vk.VAE(2, recipe=vk.recipes.auto(hidden=(6,)), epochs=2, batch_size=16, validation=0.2, threads=1)


def saved(folder):
    """A run with its checkpoint, and another to take parts from."""
    vae().fit(rows(), run=folder / "array")
    vae().set_params(seed=1).fit(rows(), run=folder / "other")
    return folder


def resumed(path):
    vae().fit(rows(), run=path, resume=True)


def damaged_config(content, rng):
    """A description with some fields changed, in half of the cases with the digest that fits it."""
    changed = mutated_json(json.loads(content), rng)
    if rng.random() < 0.7:
        try:
            return json.dumps(storage.sealed(json.loads(changed))).encode()
        except (ValueError, TypeError, RecursionError, AttributeError):
            return changed
    return changed


def damaged_tensors(path, rng):
    """A safetensors file whose metadata were changed, with the digest that fits them."""
    tensors, metadata = storage.read_tensors(path)
    try:
        changed = json.loads(mutated_json(metadata, rng))
        storage.write_tensors(path, tensors, changed if isinstance(changed, dict) else {"x": changed})
    except (ValueError, TypeError, RecursionError):
        path.write_bytes(mutated(path.read_bytes(), rng))


def make(source, folder, number):
    """The case of this number: a copy of a run in which one or two files are damaged."""
    rng = np.random.default_rng([7, number])
    kind = ("array", "checkpoint")[rng.integers(2)]
    work = folder / "work"
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(source / "array", work)
    if kind == "checkpoint":
        name = ("state.safetensors", "best.safetensors")[rng.integers(2)]
        path = work / "checkpoint" / name
        if rng.random() < 0.6:
            damaged_tensors(path, rng)
        else:
            path.write_bytes(mutated(path.read_bytes(), rng))
        return Case(work, resumed, f"checkpoint {name}", "work")
    name = FILES[rng.choice(3, p=(0.7, 0.2, 0.1))]
    path = work / name
    donor = (source / "other" / name).read_bytes()
    if rng.random() < 0.05:
        path.write_bytes(donor)
    elif name == "config.json" and rng.random() < 0.8:
        path.write_bytes(damaged_config(path.read_bytes(), rng))
    else:
        path.write_bytes(mutated(path.read_bytes(), rng, donor))
    return Case(work, vk.load, f"{kind} {name}", "work")


@pytest.mark.slow
def test_damaged_runs_are_refused_or_read(tmp_path):
    source = saved(tmp_path / "source")
    (tmp_path / "fuzz").mkdir()
    done = survey(partial(make, source), COUNT, tmp_path / "fuzz")
    assert not faults(done), "\n".join(faults(done))
    found = counts(done)
    print(found)
    assert set(found) <= set(FINE) and found["refused"] > COUNT // 2
