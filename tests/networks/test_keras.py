"""Keras 3 models on the torch backend as networks, with the classic encoder and decoder."""

import copy
import os

os.environ["KERAS_BACKEND"] = "torch"

import keras
import pytest
import torch
from keras import layers, ops
from safetensors.torch import load, save
from torch import nn
from torch.func import functional_call, stack_module_state, vmap

from vaekit.networks import Foreign, KerasNetwork, as_network, ends_in, initialise


class Sampling(layers.Layer):
    def call(self, inputs):
        mu, log_var = inputs
        return mu + ops.exp(0.5 * log_var) * keras.random.normal(ops.shape(mu))


class Subclassed(keras.Model):
    def __init__(self, units: int):
        super().__init__()
        self.first, self.last = layers.Dense(16, activation="relu"), layers.Dense(units, activation="sigmoid")

    def call(self, x):
        return self.last(self.first(x))


def encoder(dropout: float = 0.0) -> keras.Model:
    x = keras.Input((28, 28, 1))
    h = layers.Dense(128, activation="relu")(layers.Flatten()(x))
    h = layers.Dropout(dropout)(h) if dropout else h
    mu, log_var = layers.Dense(2, name="z_mean")(h), layers.Dense(2, name="z_log_var")(h)
    return keras.Model(x, [mu, log_var, Sampling()([mu, log_var])], name="encoder")


def decoder() -> keras.Model:
    z = keras.Input((2,))
    h = layers.Dense(128, activation="relu")(z)
    p = layers.Dense(784, activation="sigmoid")(h)
    return keras.Model(z, layers.Reshape((28, 28, 1))(p), name="decoder")


def lazy() -> keras.Model:
    return keras.Sequential([layers.Flatten(), layers.Dense(7, activation="tanh"), layers.Dense(4)])


MODELS = {
    "functional": (encoder, (28, 28), 4),
    "decoder": (decoder, 2, (1, 28, 28)),
    "sequential, not built": (lazy, (28, 28), 4),
    "subclassed": (lambda: Subclassed(4), 5, 4),
    "dropout": (lambda: encoder(0.5), (1, 28, 28), 4),
}


@pytest.fixture(params=MODELS)
def network(request: pytest.FixtureRequest) -> KerasNetwork:
    build, in_shape, out_shape = MODELS[request.param]
    keras.utils.set_random_seed(0)
    return as_network(build(), in_shape, out_shape)


def rows(network: KerasNetwork, n: int = 6) -> torch.Tensor:
    return torch.rand(n, *network.in_shape)


def test_the_adapter_gives_what_the_model_gives(network: KerasNetwork) -> None:
    x = rows(network)
    given = network.module(x.reshape(6, 28, 28, 1) if x[0].numel() == 784 else x, training=False)
    expected = torch.cat(given[:2], 1) if isinstance(given, list) else given.reshape(6, *network.out_shape)
    torch.testing.assert_close(network.eval()(x), expected)
    assert network(x[:1]).shape == (1, *network.out_shape)


def test_every_parameter_learns_and_the_given_model_keeps_its_weights(network: KerasNetwork) -> None:
    x, before = rows(network), [v.value.detach().clone() for v in network.module.variables]
    target = torch.rand(6, *network.out_shape)
    optimiser = torch.optim.Adam(network.parameters(), 1e-2)
    losses = []
    for _ in range(30):
        loss = (network(x) - target).square().mean()
        optimiser.zero_grad()
        loss.backward()
        assert all(p.grad is not None for p in network.parameters())
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert all(torch.equal(w, v.value) for w, v in zip(before, network.module.variables, strict=True))
    trained = network.eval()(x)
    again = as_network(network.write_back(), network.in_shape, network.out_shape)
    torch.testing.assert_close(again.eval()(x), trained)


def test_functional_call_uses_the_weights_it_is_given(network: KerasNetwork) -> None:
    x = rows(network)
    zero = {n: torch.zeros_like(p) for n, p in network.named_parameters()}
    assert functional_call(network.eval(), zero, (x,)).unique().tolist() in ([0.0], [0.5])
    assert network(x).unique().numel() > 2


def test_a_copy_is_independent(network: KerasNetwork) -> None:
    x, twin = rows(network), copy.deepcopy(network.eval())
    before = network(x)
    torch.testing.assert_close(twin(x), before, rtol=0, atol=0)
    with torch.no_grad():
        for p in twin.parameters():
            p.add_(0.1)
    assert not torch.equal(twin(x), before) and torch.equal(network(x), before)


def test_weights_are_saved_by_position(network: KerasNetwork, request: pytest.FixtureRequest) -> None:
    build, in_shape, out_shape = MODELS[request.node.callspec.params["network"]]
    again = as_network(build(), in_shape, out_shape)  # Keras has given its layers other names
    x = rows(network)
    assert not torch.equal(again.eval()(x), network.eval()(x))
    again.load_state_dict(load(save(network.state_dict())))
    torch.testing.assert_close(again(x), network(x), rtol=0, atol=0)


def test_doubles_are_read_and_given_at_keras_s_own_precision(network: KerasNetwork) -> None:
    x = rows(network).double()
    single = network.eval()(x.float())
    double = network.double()(x)
    assert double.dtype == torch.double
    torch.testing.assert_close(double.float(), single)
    double.sum().backward()
    assert all(p.grad.dtype == torch.double for p in network.parameters())


def test_the_weights_are_those_of_torch_s_own_layers() -> None:
    network, z = KerasNetwork(decoder(), 2, 784), torch.randn(4, 2)
    w, b, v, c = network.weights
    torch.testing.assert_close(network(z), torch.sigmoid(torch.relu(z @ w + b) @ v + c))


@pytest.mark.parametrize("name", ["functional", "decoder", "sequential, not built", "subclassed"])
def test_a_stateless_model_can_be_stacked(name: str) -> None:
    build, in_shape, out_shape = MODELS[name]
    members = [as_network(build(), in_shape, out_shape) for _ in range(3)]
    x = rows(members[0])
    assert members[0].stackable
    together = vmap(lambda p: functional_call(members[0], p, (x,)))(stack_module_state(members)[0])
    torch.testing.assert_close(together, torch.stack([member(x) for member in members]))


def test_dropout_is_active_in_training_only() -> None:
    network = as_network(encoder(0.5), (28, 28), 4)
    x = torch.rand(6, 28, 28)
    assert not network.stackable
    assert not torch.equal(network.train()(x), network(x))
    assert torch.equal(network.eval()(x), network(x))


def test_dropout_draws_from_torch_s_generator_or_from_its_own_seed() -> None:
    network, x = as_network(encoder(0.5), (28, 28), 4), torch.rand(6, 28, 28)
    torch.manual_seed(1)
    first = network(x)
    torch.manual_seed(1)
    torch.testing.assert_close(network(x), first)
    model = keras.Sequential([keras.Input((4,)), layers.Dense(8), layers.Dropout(0.5, seed=7)])
    network, x = as_network(model, 4, 8), torch.rand(6, 4)
    state = copy.deepcopy(network.state_dict())
    first = network(x)
    assert not torch.equal(network(x), first)
    network.load_state_dict(state)
    torch.testing.assert_close(network(x), first)


def test_running_statistics_are_buffers_and_move() -> None:
    model = keras.Sequential([keras.Input((4,)), layers.BatchNormalization(), layers.Dense(2)])
    network = as_network(model, 4, 2)
    before = [b.clone() for b in network.buffers()]
    network(5 + torch.randn(32, 4))
    assert not any(torch.equal(b, c) for b, c in zip(before, network.buffers(), strict=True))
    after = [b.clone() for b in network.buffers()]
    network.eval()(torch.randn(32, 4))
    assert all(torch.equal(b, c) for b, c in zip(after, network.buffers(), strict=True))
    assert len(list(network.parameters())) == 4 and not network.stackable


def test_channels_last_models_read_and_give_channels_first() -> None:
    x = keras.Input((8, 9, 3))
    network = as_network(keras.Model(x, layers.Conv2D(2, 3, padding="same")(x)), (3, 8, 9), (2, 8, 9))
    rows = torch.rand(4, 3, 8, 9)
    kernel, bias = network.weights
    expected = nn.functional.conv2d(rows, kernel.permute(3, 2, 0, 1), bias, padding=1)
    torch.testing.assert_close(network(rows), expected, rtol=1e-4, atol=1e-5)


def test_an_open_adapter_is_settled_and_frozen_layers_stay() -> None:
    model = encoder()
    model.get_layer("z_mean").trainable = False
    network = as_network(model).resolve_shapes(in_shape=(28, 28), out_shape=4)
    assert len(list(network.parameters())) == 4 and len(list(network.buffers())) == 2
    before = [p.clone() for p in network.parameters()]
    initialise(network, "he")
    assert all(torch.equal(p, q) for p, q in zip(before, network.parameters(), strict=True))


@pytest.mark.parametrize(
    ("model", "ending"),
    [
        (decoder(), "sigmoid"),
        (encoder(), None),
        (lazy(), None),
        (keras.Sequential([keras.Input((3,)), layers.Dense(4), layers.Activation("tanh")]), "tanh"),
        (
            keras.Sequential([keras.Input((3,)), layers.Dense(4), layers.Softmax(), layers.Reshape((2, 2))]),
            "softmax",
        ),
        (
            keras.Sequential([keras.Input((3,)), keras.Sequential([layers.Dense(4, activation="softplus")])]),
            "softplus",
        ),
        (Subclassed(3), None),
    ],
)
def test_the_last_activation_is_told(model: keras.Model, ending: str | None) -> None:
    assert ends_in(model) == ending


def wrapped() -> keras.Model:
    return keras.Sequential([keras.Input((4,)), keras.layers.TorchModuleWrapper(nn.Linear(4, 2))])


def two_inputs() -> keras.Model:
    a, b = keras.Input((4,)), keras.Input((4,))
    return keras.Model([a, b], layers.Dense(2)(layers.Add()([a, b])))


WRONG = [
    (lambda: as_network(encoder(), (28, 28), 10), ValueError, r"gives \(2, 4\) .* \(2, 10\) is needed"),
    (lambda: as_network(encoder(), 700, 4), ValueError, r"'encoder' cannot read rows of \(700,\)"),
    (lambda: as_network(encoder())(torch.zeros(1, 28, 28)), ValueError, "KerasNetwork is open"),
    (lambda: as_network(two_inputs(), 4, 2), ValueError, "has 2 inputs: a network reads one"),
    (lambda: as_network(wrapped(), 4, 2), ValueError, "holds a torch module"),
    (lambda: Foreign(encoder(), (28, 28), 4), TypeError, "use KerasNetwork"),
]


@pytest.mark.parametrize(("call", "error", "message"), WRONG)
def test_what_does_not_fit_is_said_at_construction(call, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
