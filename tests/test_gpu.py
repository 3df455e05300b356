"""On a CUDA device: the same steps as on the CPU, and none that waits for the host."""

import copy

import pytest
import torch
from compositions import LATENTS, LIKELIHOODS, OBJECTIVES, REFUSED, batch, build

import vaekit as vk
from vaekit.core import Batch, Recorder, Source, Tape
from vaekit.training import Learner, Step

pytestmark = pytest.mark.gpu

CASES = [(o, latent, "bernoulli") for o in OBJECTIVES for latent in LATENTS if (o, latent) not in REFUSED]
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
    step(on_device, Tape([t.cuda() for t in recorder.tape]))
    for (name, got), want in zip(there.state_dict().items(), here.state_dict().values()):
        torch.testing.assert_close(got.cpu(), want, rtol=1e-8, atol=1e-9, msg=lambda m, n=name: f"{n}: {m}")
    noise = Source.like(there)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        step(on_device, noise)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_a_model_trained_on_the_device_is_used_on_the_cpu(tmp_path):
    x, x_test = vk.datasets.mnist()
    vae = vk.VAE(epochs=1, device="cuda").fit(x[:5000])
    vae.save(tmp_path)
    loaded = vk.load(tmp_path, device="cpu")
    assert abs(vae.transform(x_test[:50]) - loaded.transform(x_test[:50])).max() < 1e-4
