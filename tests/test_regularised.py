"""Regularised autoencoders: their penalties against what they are penalties of."""

import pytest
import torch
from compositions import CELLS, batch, build

from vaekit import objectives as ob
from vaekit.core import Source
from vaekit.latents import Latent, PointMass, StandardNormal
from vaekit.likelihoods import Gaussian
from vaekit.model import VAEModule
from vaekit.networks import MLP, Foreign
from vaekit.objectives.regularised import squared_jacobian
from vaekit.training import Learner


def autoencoder(hidden=()):
    torch.manual_seed(0)
    latent = Latent(PointMass(3), StandardNormal())
    return VAEModule(MLP((8,)), latent, MLP(hidden, "tanh"), Gaussian()).resolve_shapes((CELLS,)).double()


def test_of_a_linear_decoder_it_is_the_frobenius_norm():
    model = autoencoder()
    z = torch.randn(4, 3, dtype=torch.float64)
    frobenius = model.decoder.layers[-1].weight.square().sum()
    torch.testing.assert_close(squared_jacobian(model, z), frobenius.expand(4))


def test_of_any_decoder_it_is_the_jacobian_of_autograd():
    model = build("point mass")
    z = torch.randn(4, 2, dtype=torch.float64)
    for row, got in zip(z, squared_jacobian(model, z)):
        jacobian = torch.autograd.functional.jacobian(lambda z: model.decode(z.unsqueeze(0)).mean, row)
        torch.testing.assert_close(got, jacobian.square().sum())


def test_its_gradient_is_that_of_finite_differences():
    model = autoencoder((4,))
    z, weight = torch.randn(4, 3, dtype=torch.float64), model.decoder.layers[1].weight
    (got,) = torch.autograd.grad(squared_jacobian(model, z).sum(), weight)
    for i, j in ((0, 0), (2, 1), (3, 2)):
        at = []
        for shift in (1e-5, -2e-5):
            with torch.no_grad():
                weight[i, j] += shift
            at.append(squared_jacobian(model, z).sum().detach())
        with torch.no_grad():
            weight[i, j] += 1e-5
        torch.testing.assert_close(got[i, j], (at[0] - at[1]) / 2e-5, rtol=1e-6, atol=1e-8)


def test_the_loss_is_the_sum_of_its_terms():
    model = autoencoder((4,))
    rows = batch(model)
    out = model(rows, Source.like(model))
    want = -out.log_lik.mean() + 0.3 * 0.5 * out.draw.z.square().sum(1).mean()
    want = want + 0.2 * sum(p.square().sum() for p in model.decoder.parameters())
    want = want + 0.4 * 0.5 * squared_jacobian(model, out.draw.z).mean()
    terms = Learner(model, ob.RAE(0.3, decoder_l2=0.2, gradient_penalty=0.4)).double()(rows, Source.like(model))
    torch.testing.assert_close(terms.losses["model"], want)
    torch.testing.assert_close(terms.metrics["steepness"], 0.5 * squared_jacobian(model, out.draw.z).mean())


def test_wrong_penalties_are_told_when_they_are_made():
    with pytest.raises(ValueError, match="gradient_penalty=-1.0.: expected a number from 0"):
        ob.RAE(gradient_penalty=-1.0)
    normalised = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, CELLS))
    latent = Latent(PointMass(3), StandardNormal())
    model = VAEModule(MLP((8,)), latent, Foreign(normalised), Gaussian()).resolve_shapes((CELLS,))
    with pytest.raises(ValueError, match="calls the decoder as a function of z, and Foreign changes its state"):
        Learner(model, ob.RAE(gradient_penalty=1.0))
    Learner(model, ob.RAE(decoder_l2=1.0))
