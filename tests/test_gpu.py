"""On a CUDA device: the same steps as on the CPU, and none that waits for the host."""

import copy

import pytest
import torch
from compositions import LIKELIHOODS, OBJECTIVES, PAIRS, batch, build

import vaekit as vk
from vaekit.core import Batch, Recorder, ReplayNoise, Source
from vaekit.training import Adam, Ensemble, Learner, Step

pytestmark = pytest.mark.gpu

CASES = [(o, latent, "bernoulli") for o, latent in PAIRS]
CASES += [("elbo", "normal", likelihood) for likelihood in LIKELIHOODS]


@pytest.mark.parametrize(("objective", "latent", "likelihood"), CASES)
def test_a_step_on_the_device_is_the_step_on_the_cpu_and_does_not_wait(objective, latent, likelihood):
    model = build(latent, likelihood)
    here = Learner(model, OBJECTIVES[objective]()).double()
    there = copy.deepcopy(here).cuda()
    rows = batch(model)
    recorder = Recorder(Source.like(here))
    Step(here)(rows, recorder)
    step, on_device = Step(there), Batch(rows.x.cuda())
    step(on_device, ReplayNoise([t.cuda() for t in recorder.tape]))
    for (name, got), want in zip(there.state_dict().items(), here.state_dict().values()):
        torch.testing.assert_close(got.cpu(), want, rtol=1e-8, atol=1e-9, msg=lambda m, n=name: f"{n}: {m}")
    noise = Source.like(there)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        step(on_device, noise)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize(("objective", "latent", "likelihood"), CASES)
def test_a_captured_step_is_the_step_and_takes_a_smaller_batch(objective, latent, likelihood):
    learner = Learner(build(latent, likelihood), OBJECTIVES[objective]()).double().cuda().train()
    step, again = Step(learner), Step(copy.deepcopy(learner), captured=True)
    whole = [batch(learner.model, seed=t).x.cuda() for t in range(7)]
    noises = learner.noise([5]), learner.noise([5])
    for t, x in enumerate(whole):
        rows = Batch(x, weight=torch.ones(len(x), dtype=x.dtype, device="cuda"))
        if t == 6:
            rows.weight[len(x) // 2 :] = 0.0
            step(rows, noises[0])
            again(Batch(x[: len(x) // 2]), noises[1])
        else:
            step(rows, noises[0])
            again(rows, noises[1])
    assert any(turn.graph.graph is not None for turn in again.turns.values())
    for (name, got), want in zip(again.learner.state_dict().items(), learner.state_dict().values()):
        torch.testing.assert_close(got, want, rtol=1e-8, atol=1e-9, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("count", [2, 5])
def test_a_captured_ensemble_is_the_ensemble(count):
    learners = [Learner(build(seed=s), OBJECTIVES["elbo"]()).double().cuda().train() for s in range(count)]
    steps = [
        Step(
            Ensemble(copy.deepcopy(learners), shared_rows=True).train(),
            Adam(tuple(1e-3 * (k + 1) for k in range(count))),
            captured=captured,
        )
        for captured in (False, True)
    ]
    noises = [step.learner.noise() for step in steps]
    for t in range(7):
        rows = Batch(batch(learners[0].model, seed=t).x.cuda())
        for step, noise in zip(steps, noises):
            step(rows, noise)
    for got, want in zip(steps[1].learner.state_dict().values(), steps[0].learner.state_dict().values()):
        torch.testing.assert_close(got, want, rtol=1e-8, atol=1e-9)


def test_a_model_trained_on_the_device_is_used_on_the_cpu(tmp_path):
    x, x_test = vk.datasets.mnist()
    vae = vk.VAE(epochs=1, device="cuda").fit(x[:5000])
    vae.save(tmp_path)
    loaded = vk.load(tmp_path, device="cpu")
    assert abs(vae.transform(x_test[:50]) - loaded.transform(x_test[:50])).max() < 1e-4
