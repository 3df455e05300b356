"""Damaged run folders and checkpoints: no code run, no hang, no raw error, no memory beyond bounds.

Runs of an array, of a table, of several seeds (trained one by one, and together) and of detectors of both.
`VAEKIT_FUZZ=2000 pytest -s tests/test_run_fuzzing.py` makes as many cases and prints the counts by kind.
"""

import json
import os
import shutil
import traceback
from collections import Counter
from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest
from mutations import FINE, Case, counts, faults, mutated, mutated_json, survey

import vaekit as vk
from vaekit import storage
from vaekit.recipes import factors

pd = pytest.importorskip("pandas")
COUNT = int(os.environ.get("VAEKIT_FUZZ", "1000"))
"""Mutations in all."""
SETTINGS = dict(latent_dim=2, epochs=2, batch_size=16, validation=0.2, threads=1, verbose=False)
SECTIONS = ("estimator", "data", "model", "objective", "detector")


# -- the runs ---------------------------------------------------------------------------------------------


def rows():
    return np.random.default_rng(0).normal(size=(40, 5)).astype(np.float32)


def table():
    """Columns of every kind, with missing cells."""
    rng, n = np.random.default_rng(0), 40
    columns = {
        "real": rng.normal(size=n).round(3),
        "count": rng.poisson(3, n),
        "skewed": rng.lognormal(size=n).round(2),
        "level": rng.choice(["x", "y", "z"], n),
        "flag": rng.random(n) < 0.3,
        "day": pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 90, n), "D"),
    }
    frame = pd.DataFrame(columns)
    return frame.mask(rng.random(frame.shape) < 0.1)


def of_array(**settings):
    return vk.VAE(recipe=vk.recipes.auto(hidden=(6,)), **{**SETTINGS, **settings})


def of_table(**settings):
    return vk.VAE(recipe=vk.recipes.table(hidden=(6,), flow=0), **{**SETTINGS, **settings})


def images():
    return np.random.default_rng(0).integers(0, 256, (40, 8, 8), dtype=np.uint8)


def of_images(**settings):
    return vk.VAE(recipe=vk.recipes.conv(channels=(2,), hidden=4), **{**SETTINGS, **settings})


TRAINED = {
    "array": lambda run, **more: of_array().fit(rows(), run=run, **more),
    "table": lambda run, **more: of_table().fit(table(), run=run, **more),
    "seeds": lambda run, **more: of_array(seeds=2).fit(rows(), run=run, **more),
    "seeds one by one": lambda run, **more: of_images(seeds=2).fit(images(), run=run, **more),
    "seeds of a table": lambda run, **more: of_table(seeds=2).fit(table(), run=run, **more),
}
"""Runs with checkpoints; convolutions are not stacked, so that each of their seeds has a checkpoint of its own."""
SAVED = {
    "detector": lambda run: vk.OutlierDetector(of_array(), draws=2, by="typicality").fit(rows()).save(run),
    "detector of a table": lambda run: vk.OutlierDetector(of_table(missing=True), draws=2).fit(table()).save(run),
}
KINDS = (*TRAINED, *SAVED)


def saved(folder):
    """A run of every kind, and one of each data to take parts from."""
    for kind, train in TRAINED.items():
        train(folder / kind)
    for kind, save in SAVED.items():
        save(folder / kind)
    of_array(seed=1, seeds=2).fit(rows(), run=folder / "other")
    of_table(seed=1).fit(table(), run=folder / "other table")
    return folder


def resumed(kind, path):
    TRAINED[kind](path, resume=True)


def used(kind, path):
    """What is read is used: a model that loads has to work, or to refuse rows of other columns."""
    model = vk.load(path)
    try:
        _use(kind, model)
    except ValueError as error:
        *_, last = traceback.extract_tb(error.__traceback__)
        if not Path(last.filename).is_relative_to(Path(vk.__file__).parent):
            raise  # of torch's or numpy's: not a refusal
        raise ValueError(f"{path}: {error}") from error


def _use(kind, model):
    x = table() if "table" in kind else images() if kind == "seeds one by one" else rows()
    model.predict(x) if isinstance(model, vk.OutlierDetector) else model.transform(x)


# -- damage -----------------------------------------------------------------------------------------------


def damaged_config(content, rng):
    """A description with some fields changed, in most of the cases with the digest that fits it.

    In half of the cases the changes are in one section: the schema of a table is small next to the model.
    """
    config = json.loads(content)
    places = [name for name in SECTIONS if name in config]
    if rng.random() < 0.5:
        name = places[rng.integers(len(places))]
        part = mutated_json(config[name], rng)
        changed = (
            json.dumps({**config, name: 0}).encode().replace(f'"{name}": 0'.encode(), f'"{name}": '.encode() + part)
        )
    else:
        changed = mutated_json(config, rng)
    if rng.random() < 0.7:
        try:
            return json.dumps(storage.sealed(json.loads(changed))).encode()
        except (ValueError, TypeError, RecursionError, AttributeError):
            return changed
    return changed


def damaged_tensors(path, rng):
    """A safetensors file whose metadata, or numbers, were changed, with the digest that fits them."""
    tensors, metadata = storage.read_tensors(path, verify=False)
    if rng.random() < 0.3 and tensors:
        name = sorted(tensors)[rng.integers(len(tensors))]
        changes = [
            lambda t: t.flatten()[:0],
            lambda t: t.double() if t.is_floating_point() else t.float(),
            lambda t: t.unsqueeze(0),
            lambda t: t * 0 - 1,
            lambda t: t + 2**30,
            lambda t: t.flatten()[:1].expand(10_000).clone() if t.numel() else t,
        ]
        tensors[name] = changes[rng.integers(len(changes))](tensors[name])
        return storage.write_tensors(path, tensors, metadata)
    try:
        changed = json.loads(mutated_json(metadata, rng))
        storage.write_tensors(path, tensors, changed if isinstance(changed, dict) else {"x": changed})
    except (ValueError, TypeError, RecursionError):
        path.write_bytes(mutated(path.read_bytes(), rng))


def resealed(folder):
    """Gives `config.json` the digests of the damaged files next to it, as who forges them would."""
    config = storage.read_json(folder / "config.json")
    if (folder / "model.safetensors").is_file():
        config["weights_sha256"] = storage.file_digest(folder / "model.safetensors")
    if "detector" in config and (folder / "detector.safetensors").is_file():
        config["detector"]["scores_sha256"] = storage.file_digest(folder / "detector.safetensors")
    storage.write_json(folder / "config.json", storage.sealed(config))


def damage(path, donor, rng):
    """Damages one file of a run."""
    content = donor.read_bytes() if donor.is_file() else b""
    if rng.random() < 0.05 and content:
        path.write_bytes(content)
    elif path.name == "config.json" and rng.random() < 0.8:
        path.write_bytes(damaged_config(path.read_bytes(), rng))
    elif path.suffix == ".safetensors" and rng.random() < 0.6:
        damaged_tensors(path, rng)
        if path.parent.name != "checkpoint" and rng.random() < 0.8:
            resealed(path.parent)
    else:
        path.write_bytes(mutated(path.read_bytes(), rng, content))


@cache
def prepare(source):
    """Once in the process that reads: imports what reading takes, which is no part of the time of a case."""
    factors.FITTING = 3  # how well the training of a table starts does not matter
    for kind in KINDS:
        used(kind, source / kind)


def make(source, folder, number):
    """The case of this number: a copy of a run in which one file, of any of its folders, is damaged."""
    prepare(source)
    rng = np.random.default_rng([7, number])
    kind, work = KINDS[number % len(KINDS)], folder / "work"
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(source / kind, work)
    resume = kind in TRAINED and rng.random() < 0.4
    files = sorted(p for p in work.rglob("*") if p.is_file() and (p.parent.name == "checkpoint") == resume)
    weights = np.array([3.0 if p.name == "config.json" else 1.0 for p in files])
    path = files[rng.choice(len(files), p=weights / weights.sum())]
    other = source / ("other table" if "table" in kind else "other")  # the same parts, or none
    damage(path, other / path.relative_to(work), rng)
    read = partial(resumed if resume else used, kind)
    return Case(work, read, f"{kind}, {path.relative_to(work)}", "work")


@pytest.mark.slow
def test_damaged_runs_are_refused_or_read(tmp_path):
    source = saved(tmp_path / "source")
    (tmp_path / "fuzz").mkdir()
    done = survey(partial(make, source), COUNT, tmp_path / "fuzz")
    by_file = Counter((what, found.partition(":")[0]) for _, what, found in done)
    for (what, found), count in sorted(by_file.items()):
        print(f"{count:5d}  {found:10s} {what}")
    found = counts(done)
    print(dict(found))
    assert not faults(done), "\n".join(faults(done))
    assert set(found) <= set(FINE) and found["refused"] > COUNT // 2
