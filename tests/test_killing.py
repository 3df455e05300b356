"""Trainings that are killed at random moments and resumed: the same weights, bit for bit.

`VAEKIT_KILLS=100 pytest -s tests/test_killing.py` kills 100 and prints the counts by kind; the suite kills a few.
"""

import os
import signal
import time
from collections import Counter
from functools import partial

import numpy as np
import pytest
import torch

import vaekit as vk
from vaekit.training import trainer

pd = pytest.importorskip("pandas")  # imported here, as are the estimators: a child that is forked has them
VAE, recipes = vk.VAE, vk.recipes
KILLS = int(os.environ.get("VAEKIT_KILLS", "14"))


def rows(n=60):
    return np.random.default_rng(0).normal(size=(n, 5)).astype(np.float32)


def frame(n=60):
    """A table of every kind of column, with missing cells."""
    rng = np.random.default_rng(0)
    columns = {
        "real": rng.normal(size=n).round(3),
        "count": rng.poisson(3, n),
        "skewed": rng.lognormal(size=n).round(2),
        "level": rng.choice(["x", "y", "z"], n),
        "flag": rng.random(n) < 0.3,
        "day": pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 90, n), "D"),
    }
    table = pd.DataFrame(columns)
    return table.mask(rng.random(table.shape) < 0.1)


SMALL = dict(latent_dim=2, batch_size=16, validation=0.2, threads=1, epochs=6)


def array(run, resume):
    VAE(recipe=recipes.auto(hidden=(6,)), patience=3, **SMALL).fit(rows(), run=run, resume=resume)


def seeds(run, resume):
    VAE(recipe=recipes.auto(hidden=(6,)), seeds=3, **SMALL).fit(rows(), run=run, resume=resume)


def pretraining(run, resume):
    VAE(recipe=recipes.vade(clusters=3, hidden=(6,)), **SMALL).fit(rows().clip(0, 1), run=run, resume=resume)


def ladder(run, resume):
    below = vk.latents.Conditional(vk.networks.MLP((4,)), vk.latents.Normal(2))
    top = vk.latents.Latent(vk.latents.Normal(2), vk.latents.StandardNormal())
    rungs = [
        vk.latents.LadderLevel(latent, vk.networks.MLP((4,)))
        for latent in (top, vk.latents.Latent(vk.latents.Normal(2), below))
    ]
    settings = {n: v for n, v in SMALL.items() if n != "latent_dim"}
    VAE(latent=vk.latents.Ladder(rungs, width=4), **settings).fit(rows(), run=run, resume=resume)


def prior(run, resume):
    vae = VAE(recipe=recipes.auto(hidden=(6,)), **SMALL).fit(rows())
    vae.fit_prior(rows(), vk.latents.GaussianMixture(3), run=run, resume=resume)


def table(run, resume):
    VAE(recipe=recipes.table(hidden=(6,)), patience=3, **SMALL).fit(frame(), run=run, resume=resume)


def table_seeds(run, resume):
    VAE(recipe=recipes.table(hidden=(6,), flow=0), seeds=2, **SMALL).fit(frame(), run=run, resume=resume)


KINDS = {f.__name__: f for f in (array, seeds, pretraining, ladder, prior, table, table_seeds)}


def forked(work, seconds=None, begun=lambda: True):
    """Runs work in a child; with `seconds`, kills it so long after it has begun. Returns whether it was killed before
    its end, and how long it took after it had begun."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    ended, status = 0, 0
    while not ended and not begun():
        time.sleep(0.005)
        ended, status = os.waitpid(child, os.WNOHANG)
    since = time.monotonic()
    if not ended and seconds is not None:
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
    if not ended:
        status = os.waitpid(child, 0)[1]
    killed = os.WIFSIGNALED(status)
    assert killed or os.WEXITSTATUS(status) == 0, "the training failed"
    return killed, time.monotonic() - since


def has_checkpoint(run):
    return any(run.rglob("state.safetensors"))


def weights(run):
    return {str(p.relative_to(run)): p.read_bytes() for p in sorted(run.rglob("model.safetensors"))}


@pytest.mark.slow
def test_killed_and_resumed_trainings_end_bit_for_bit_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(trainer, "CHECKPOINT_SECONDS", 0.0)  # a checkpoint at every step: more moments to be killed at
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    rng, expected, took, trained, counts = np.random.default_rng(0), {}, {}, {}, Counter()
    try:
        for kind, work in KINDS.items():
            run = tmp_path / kind
            began = time.monotonic()
            _, trained[kind] = forked(partial(work, run, False), begun=partial(has_checkpoint, run))
            expected[kind], took[kind] = weights(run), time.monotonic() - began
        for number in range(KILLS):
            kind = list(KINDS)[number % len(KINDS)]
            run, work = tmp_path / f"{kind}-{number}", KINDS[kind]
            if number // len(KINDS) % 2:  # every other time at any instant, before the first step, too
                killed, _ = forked(partial(work, run, False), rng.random() * took[kind])
            else:
                wait = rng.random() * trained[kind]
                killed, _ = forked(partial(work, run, False), wait, begun=partial(has_checkpoint, run))
            counts[kind, "killed"] += killed
            counts[kind, "checkpoint"] += killed and has_checkpoint(run)
            forked(partial(work, run, True))
            counts[kind, "same"] += weights(run) == expected[kind]
    finally:
        torch.set_num_threads(threads)
    for kind in KINDS:
        print(kind, {what: counts[kind, what] for what in ("killed", "checkpoint", "same")})
    killed, begun, same = (sum(counts[kind, what] for kind in KINDS) for what in ("killed", "checkpoint", "same"))
    print(f"{killed} killed before their end, {begun} of them after a checkpoint, {same} of {KILLS} bit-identical")
    assert same == KILLS and all(expected.values())
