"""Trainings that are killed at random moments and resumed: the same weights, bit for bit.

`VAEKIT_KILLS=100 pytest tests/test_killing.py` kills as many; the suite kills a few.
"""

import os
import signal
import time

import numpy as np
import pytest
import torch

import vaekit as vk
from vaekit.training import fitting

KILLS = int(os.environ.get("VAEKIT_KILLS", "10"))


def rows(n=60):
    return np.random.default_rng(0).normal(size=(n, 5)).astype(np.float32)


SMALL = dict(latent_dim=2, batch_size=16, validation=0.2, threads=1, epochs=6)


def array(run, resume):
    vk.VAE(recipe=vk.recipes.auto(hidden=(6,)), patience=3, **SMALL).fit(rows(), run=run, resume=resume)


def seeds(run, resume):
    vk.VAE(recipe=vk.recipes.auto(hidden=(6,)), seeds=3, **SMALL).fit(rows(), run=run, resume=resume)


def pretraining(run, resume):
    vk.VAE(recipe=vk.recipes.vade(clusters=3, hidden=(6,)), **SMALL).fit(rows().clip(0, 1), run=run, resume=resume)


def ladder(run, resume):
    below = vk.latents.Conditional(vk.networks.MLP((4,)), vk.latents.Normal(2))
    top = vk.latents.Latent(vk.latents.Normal(2), vk.latents.StandardNormal())
    rungs = [
        vk.latents.Rung(latent, vk.networks.MLP((4,)))
        for latent in (top, vk.latents.Latent(vk.latents.Normal(2), below))
    ]
    settings = {n: v for n, v in SMALL.items() if n != "latent_dim"}
    vk.VAE(latent=vk.latents.Ladder(rungs, width=4), **settings).fit(rows(), run=run, resume=resume)


def prior(run, resume):
    vae = vk.VAE(recipe=vk.recipes.auto(hidden=(6,)), **SMALL).fit(rows())
    vae.fit_prior(rows(), vk.latents.GaussianMixture(3), run=run, resume=resume)


KINDS = {f.__name__: f for f in (array, seeds, pretraining, ladder, prior)}


def forked(work, seconds=None):
    """Runs work in a child; kills it after so many seconds. Whether it was killed before its end."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    killed = os.WIFSIGNALED(status)
    assert killed or os.WEXITSTATUS(status) == 0, "the training failed"
    return killed


def weights(run):
    return {str(p.relative_to(run)): p.read_bytes() for p in sorted(run.rglob("model.safetensors"))}


@pytest.mark.slow
def test_killed_and_resumed_trainings_end_bit_for_bit_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(fitting, "CHECKPOINT_SECONDS", 0.0)  # a checkpoint at every step: more moments to be killed at
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    rng, killed, same, whole, took = np.random.default_rng(0), 0, 0, {}, {}
    try:
        for kind, work in KINDS.items():
            began = time.monotonic()
            forked(lambda work=work, kind=kind: work(tmp_path / kind, False))
            whole[kind], took[kind] = weights(tmp_path / kind), time.monotonic() - began
        for number in range(KILLS):
            kind = list(KINDS)[number % len(KINDS)]
            run, work = tmp_path / f"{kind}-{number}", KINDS[kind]
            killed += forked(lambda run=run, work=work: work(run, False), rng.random() * took[kind])
            forked(lambda run=run, work=work: work(run, True))
            same += weights(run) == whole[kind]
    finally:
        torch.set_num_threads(threads)
    print(f"{killed} killed before their end, {same} of {KILLS} the same")
    assert same == KILLS and all(whole.values())
