"""Layers divided by their largest singular values: against the singular value decomposition, and pure."""

import copy

import pytest
import torch
from compositions import batch, build
from torch import nn

from vaekit import testing
from vaekit.core import Batch, Source
from vaekit.networks import MLP, ConvDecoder, ConvEncoder, Foreign, Spectral
from vaekit.objectives import ELBO
from vaekit.training import Adam, Ensemble, Learner, Sources, Step

NETWORKS = {
    "dense": lambda: MLP((24, 16), in_shape=6, out_shape=9),
    "convolutional": lambda: ConvEncoder((4, 8), 12, in_shape=(2, 12, 12), out_shape=5),
    "transposed": lambda: ConvDecoder((8, 4), 12, in_shape=5, out_shape=(2, 12, 12)),
    "foreign": lambda: Foreign(
        torch.nn.Sequential(torch.nn.Linear(6, 7), torch.nn.Tanh(), torch.nn.Linear(7, 3)), 6, 3
    ),
}


def spectral(name):
    torch.manual_seed(0)
    return Spectral(NETWORKS[name]()).double()


def applied(network):
    for name, buffer in network.updates().items():
        network.get_buffer(name).copy_(buffer)


@torch.no_grad()
@pytest.mark.parametrize("name", NETWORKS)
def test_the_largest_singular_value_of_every_layer_tends_to_one(name):
    network = spectral(name)
    for _ in range(200):
        applied(network)
    weights = network.weights()
    for name, matrix in network._matrices():
        layer = network.network.get_submodule(name.removesuffix(".weight"))
        divided = weights[name].transpose(0, 1) if getattr(layer, "transposed", False) else weights[name]
        largest = torch.linalg.matrix_norm(divided.flatten(1), ord=2)
        assert 1 - 1e-9 <= largest <= 1 + 1e-3
        ratio = matrix / divided.flatten(1)
        torch.testing.assert_close(ratio, torch.linalg.matrix_norm(matrix, ord=2).expand_as(ratio), rtol=1e-3, atol=0)


@torch.no_grad()
def test_a_dense_network_of_relus_is_a_contraction():
    network = spectral("dense")
    for _ in range(200):
        applied(network)
    a, b = torch.randn(2, 500, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    assert ((network(a) - network(b)).norm(dim=1) <= (1 + 1e-3) * (a - b).norm(dim=1)).all()


def test_the_gradient_knows_that_the_weight_is_divided():
    """sigma is u' W v with u and v held, so that the divided weight does not change along W itself."""
    network = spectral("dense")
    x = torch.randn(4, 6, dtype=torch.float64)
    for name, matrix in network._matrices():
        layer = network.network.get_submodule(name.removesuffix(".weight"))
        (gradient,) = torch.autograd.grad(network(x).square().sum(), layer.weight)
        assert abs(float((gradient * layer.weight).sum().detach())) < 1e-9


def with_spectral_decoder(seed=0):
    model = build("normal", seed=seed)
    return type(model)(model.encoder, model.latent, Spectral(model.decoder), model.likelihood).double()


def test_a_pass_changes_nothing_and_a_step_brings_the_vectors_up_to_date():
    model = with_spectral_decoder()
    rows, step = batch(model), Step(Learner(model, ELBO()).double())
    before = copy.deepcopy(model.state_dict())
    want = model.decoder.updates()
    model(rows, Source.like(model))
    assert all(torch.equal(before[n], t) for n, t in model.state_dict().items())
    step(rows, step.learner.noise())
    for name, value in want.items():
        assert torch.equal(model.decoder.get_buffer(name), value)


def test_the_largest_singular_value_stays_one_while_training():
    model = with_spectral_decoder()
    step, noise = Step(Learner(model, ELBO()).double(), Adam(1e-2)), Source.like(model)
    for t in range(100):
        step(batch(model, seed=t), noise)
    weights = model.decoder.weights()
    assert all(torch.linalg.matrix_norm(weights[name], ord=2) <= 1 + 1e-3 for name, _ in model.decoder._matrices())


def test_the_laws_hold_with_such_a_decoder():
    model = with_spectral_decoder()
    rows = batch(model)
    testing.assert_no_sync(model, rows)
    testing.assert_rows_independent(model, rows)
    testing.assert_padding_is_nothing(model, rows)
    testing.assert_config_round_trip(model, lambda m: m(rows, Source.like(m)).log_weight)


def test_an_ensemble_equals_its_members():
    learners = [Learner(with_spectral_decoder(seed), ELBO()).double() for seed in range(2)]
    alone, rows = copy.deepcopy(learners), [batch(learners[0].model, seed=t) for t in range(5)]
    for k, learner in enumerate(alone):
        step, noise = Step(learner, Adam(1e-2)), Source.like(learner, k)
        for b in rows:
            step(b, noise)
    step, noise = Step(Ensemble(learners), Adam(1e-2)), Sources([Source.like(learners[0], k) for k in range(2)])
    for b in rows:
        step(Batch(torch.stack([b.x, b.x])), noise)
    for member, lone in zip(step.learner.members(), alone):
        for got, want in zip(member.state_dict().values(), lone.state_dict().values()):
            torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-10)


def test_it_opens_and_settles_with_its_network():
    network = Spectral(MLP((8,)))
    assert network.open and not list(network.buffers())
    settled = network.resolve_shapes(in_shape=3, out_shape=2)
    assert settled.network.in_shape == settled.in_shape == (3,)
    assert settled.resolve_shapes(in_shape=3) is settled
    assert len(list(settled.buffers())) == 2


def test_what_cannot_be_called_with_other_weights_is_refused():
    with pytest.raises(ValueError, match="its calls read its own weights"):
        Spectral(Foreign(nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)), 3, 3))
