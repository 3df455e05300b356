"""Keras models and users' torch modules as the networks of a VAE, through the public interface."""

import copy
import os
import subprocess
import sys
from importlib.util import find_spec

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
import numpy as np
import pytest
import torch
from keras import layers, ops
from torch import nn

import vaekit as vk
from vaekit.core import Batch, Source
from vaekit.likelihoods import Bernoulli
from vaekit.networks import MLP
from vaekit.objectives import ELBO
from vaekit.storage import StorageError
from vaekit.training import Adam, Ensemble, Learner, Sources, Step


class Sampling(layers.Layer):
    def call(self, inputs):
        mu, log_var = inputs
        return mu + ops.exp(0.5 * log_var) * keras.random.normal(ops.shape(mu))


def encoder(shape=(28, 28), dropout=0.0):
    x = keras.Input(shape)
    h = layers.Dense(128, activation="relu")(layers.Flatten()(x))
    h = layers.Dropout(dropout)(h) if dropout else h
    mu, log_var = layers.Dense(2, name="z_mean")(h), layers.Dense(2, name="z_log_var")(h)
    return keras.Model(x, [mu, log_var, Sampling()([mu, log_var])], name="encoder")


def decoder(shape=(28, 28)):
    z = keras.Input((2,))
    h = layers.Dense(128, activation="relu")(z)
    p = layers.Dense(784, activation="sigmoid")(h)
    return keras.Model(z, layers.Reshape(shape)(p), name="decoder")


def torch_encoder(dropout=0.0):
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 32), nn.ReLU(), nn.Dropout(dropout), nn.Linear(32, 4))


def torch_decoder():
    return nn.Sequential(nn.Linear(2, 32), nn.ReLU(), nn.Linear(32, 784))


def latent():
    return vk.latents.Latent(vk.latents.Normal(2), vk.latents.StandardNormal())


def plain(encoder, decoder, reads="logits"):
    return vk.VAEModule(encoder, latent(), decoder, Bernoulli(reads=reads)).resolve_shapes((1, 28, 28))


def small(**settings):
    return vk.VAE(**{"epochs": 1, "validation": 0, **settings})


@pytest.fixture(scope="module")
def digits():
    return vk.datasets.mnist()[0][:600]


@pytest.fixture(scope="module")
def fitted(digits):
    keras.utils.set_random_seed(0)
    return vk.VAE(encoder=encoder(), decoder=decoder(), epochs=2).fit(digits)


# -- the journey ------------------------------------------------------------------------------------


def test_keras_networks_train(fitted, digits):
    first, last = fitted.history_
    assert first["elbo"] + 10 < last["elbo"]
    assert fitted.module_.likelihood.reads == "probs"
    assert fitted.reconstruct(digits[:3]).shape == (3, 28, 28)


def test_a_loaded_model_is_the_same_to_the_bit(fitted, digits, tmp_path):
    fitted.save(tmp_path / "run")
    loaded = vk.load(tmp_path / "run", encoder=encoder(), decoder=decoder())
    for use in ("transform", "reconstruct", "score_samples"):
        np.testing.assert_array_equal(getattr(fitted, use)(digits[:9]), getattr(loaded, use)(digits[:9]))
    np.testing.assert_array_equal(fitted.sample(5, seed=1), loaded.sample(5, seed=1))


def test_a_run_says_which_networks_it_wants_back(fitted, tmp_path):
    fitted.save(tmp_path / "run")
    with pytest.raises(StorageError, match=r"own modules: pass them in again, load\(path, decoder=..., encoder=...\)"):
        vk.load(tmp_path / "run")
    with pytest.raises(StorageError, match=r"does not fit .* model.encoder.weights.0 is .*\(784, 128\), expected"):
        vk.load(tmp_path / "run", encoder=narrow_encoder(), decoder=decoder())


def narrow_encoder():
    x = keras.Input((28, 28))
    h = layers.Dense(16)(layers.Flatten()(x))
    return keras.Model(x, [layers.Dense(2)(h), layers.Dense(2)(h)])


def test_an_interrupted_run_with_dropout_goes_on_bit_for_bit(digits, tmp_path):
    def vae(epochs):
        keras.utils.set_random_seed(0)
        return small(encoder=encoder(dropout=0.5), decoder=decoder(), epochs=epochs)

    whole = vae(2).fit(digits)
    vae(1).fit(digits, run=tmp_path / "run")
    resumed = vae(2).fit(digits, run=tmp_path / "run", resume=True)
    np.testing.assert_array_equal(whole.transform(digits), resumed.transform(digits))


# Keras' arrays under NumPy 2
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning")
def test_the_given_models_are_left_alone_until_write_back(digits):
    ours = encoder(), decoder()
    before = [v.value.detach().clone() for model in ours for v in model.variables]
    vae = small(encoder=ours[0], decoder=ours[1]).fit(digits)
    after = [v.value for model in ours for v in model.variables]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert vae.module_.encoder.write_back() is ours[0]
    assert vae.module_.decoder.write_back() is ours[1]
    mean = ours[0].predict(digits[:9] / 255, verbose=0)[0]
    np.testing.assert_allclose(mean, vae.transform(digits[:9]), rtol=1e-5, atol=1e-6)
    images = ours[1].predict(mean, verbose=0)
    np.testing.assert_allclose(images * 255, vae.reconstruct(digits[:9]), atol=0.51)


def test_a_torch_module_is_left_alone_too(digits):
    ours = torch_encoder()
    before = copy.deepcopy(ours.state_dict())
    vae = small(encoder=ours, decoder=torch_decoder()).fit(digits)
    assert all(torch.equal(before[n], t) for n, t in ours.state_dict().items())
    trained = vae.module_.encoder.module  # a torch module's trained copy is held whole
    assert not torch.equal(trained[1].weight, ours[1].weight)


def test_channels_last_networks_read_channels_last_data(digits):
    vae = small(encoder=encoder((28, 28, 1)), decoder=decoder((28, 28, 1)))
    assert vae.fit(digits[:128, ..., None]).reconstruct(digits[:3, ..., None]).shape == (3, 28, 28, 1)
    assert vae.fit(digits[:128]).reconstruct(digits[:3]).shape == (3, 28, 28)


# -- the same numbers as the library's own networks --------------------------------------------------


def native_twin(model):
    """The classic model with the weights of one of Keras models."""
    twin = plain(MLP((128,), heads=2), MLP((128,)))
    kernel, bias, mean, mean_bias, log_var, log_var_bias = model.encoder.weights
    first, last = twin.encoder.layers[1], twin.encoder.layers[3]
    pairs = [(first.weight, kernel.T), (first.bias, bias), (last.weight, torch.cat([mean, log_var], 1).T)]
    pairs.append((last.bias, torch.cat([mean_bias, log_var_bias])))
    for layer, w, b in zip(
        (twin.decoder.layers[1], twin.decoder.layers[3]), *[list(model.decoder.weights)[i::2] for i in (0, 1)]
    ):
        pairs += [(layer.weight, w.T), (layer.bias, b)]
    with torch.no_grad():
        for own, given in pairs:
            own.copy_(given)
    return twin


def test_twenty_steps_lose_what_the_native_model_loses(digits):
    keras.utils.set_random_seed(0)
    model = plain(encoder(), decoder(), reads="probs")
    losses = []
    for learner in (Learner(native_twin(model), ELBO()), Learner(model, ELBO())):
        step, noise = Step(learner.train(), Adam(), total_steps=20), Source(0)
        batches = torch.from_numpy(digits).float().div(255).unsqueeze(1).split(30)
        losses.append([float(step(Batch(x), noise).losses["model"]) for x in batches])
    native, ours = losses
    assert len(ours) == 20 and ours[-1] < ours[0] - 100
    np.testing.assert_allclose(ours, native, rtol=1e-5)


# -- dropout ----------------------------------------------------------------------------------------


NETWORKS = {
    "keras": (lambda rate: encoder(dropout=rate), decoder),
    "torch": (torch_encoder, torch_decoder),
}


@pytest.mark.parametrize("kind", NETWORKS)
def test_dropout_is_active_in_training_and_nowhere_else(kind, digits):
    build, build_decoder = NETWORKS[kind]
    vae = small(encoder=build(0.5), decoder=build_decoder(), validation=0.2).fit(digits)
    assert not vae.module_.training
    for use in (vae.transform, vae.reconstruct, vae.score_samples):
        np.testing.assert_array_equal(use(digits[:9]), use(digits[:9]))
    assert vae.evaluate(digits, draws=3).to_dict() == vae.evaluate(digits, draws=3).to_dict()
    assert vae.transform(digits[:1])[0] == pytest.approx(vae.transform(digits[:9])[0], rel=1e-5)
    x = torch.rand(4, 1, 28, 28)
    for training in vk.train(plain(build(0.5), build_decoder()), digits, epochs=1, batch_size=300):
        network = training.learner.model.encoder
        assert network.training and not torch.equal(network(x), network(x))


@pytest.mark.parametrize("kind", NETWORKS)
def test_the_seed_fixes_dropout(kind, digits):
    build, build_decoder = NETWORKS[kind]
    ours = build(0.5), build_decoder()
    codes = []
    for before in (1, 2):
        torch.manual_seed(before)
        codes.append(small(encoder=ours[0], decoder=ours[1]).fit(digits).transform(digits[:9]))
    np.testing.assert_array_equal(*codes)


# -- ensembles --------------------------------------------------------------------------------------


def members(kind, rate=0.0, count=3):
    build, build_decoder = NETWORKS[kind]
    reads = "probs" if kind == "keras" else "logits"
    return [Learner(plain(build(rate), build_decoder(), reads), ELBO()).train() for _ in range(count)]


@pytest.mark.parametrize("kind", NETWORKS)
def test_an_ensemble_of_users_networks_equals_its_members(kind, digits):
    together = members(kind)
    x = torch.from_numpy(digits).float().div(255).unsqueeze(1).unflatten(0, (5, 3, 40))
    alone = copy.deepcopy(together)
    for k, learner in enumerate(alone):
        step, noise = Step(learner, Adam()), Source(k)
        for rows in x:
            step(Batch(rows[k]), noise)
    ensemble, noise = Ensemble(together), Sources([Source(k) for k in range(3)])
    step = Step(ensemble, Adam())
    for rows in x:
        step(Batch(rows), noise)
    for member, lone in zip(ensemble.members(), alone, strict=True):
        for (name, got), want in zip(member.state_dict().items(), lone.state_dict().values(), strict=True):
            torch.testing.assert_close(got, want, rtol=1e-4, atol=2e-5, msg=lambda m, n=name: f"{n}: {m}")


def test_an_ensemble_refuses_keras_models_with_state():
    with pytest.raises(ValueError, match="KerasNetwork cannot be stacked: .* train such models one by one"):
        Ensemble(members("keras", rate=0.5))


def test_an_ensemble_refuses_running_statistics():
    noisy = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(784), nn.Linear(784, 4))
    learners = [Learner(plain(copy.deepcopy(noisy), torch_decoder()), ELBO()) for _ in range(2)]
    with pytest.raises(ValueError, match="Foreign cannot be stacked"):
        Ensemble(learners)


def test_members_drop_out_apart(digits):
    """One model twice, one batch, one noise: what differs is dropout, which every member draws by itself."""
    learner = members("torch", rate=0.5, count=1)[0]
    ensemble = Ensemble([learner, copy.deepcopy(learner)], shared_rows=True).train()
    x = torch.from_numpy(digits[:40]).float().div(255).unsqueeze(1)
    losses = ensemble(Batch(x), Sources([Source(0), Source(0)])).losses["model"]
    assert losses[0] != losses[1]
    losses = ensemble.eval()(Batch(x), Sources([Source(0), Source(0)])).losses["model"]
    torch.testing.assert_close(losses[0], losses[1])


# -- wrong calls ------------------------------------------------------------------------------------


def wrong_decoder():
    return keras.Sequential([keras.Input((2,)), layers.Dense(100, activation="sigmoid")], name="decoder")


def wide_decoder():
    return keras.Sequential([keras.Input((5,)), layers.Dense(784, activation="sigmoid")], name="decoder")


WRONG = [
    (
        dict(decoder=wrong_decoder),
        ValueError,
        r"'decoder' gives \(2, 100\) .* 784 numbers per row: make its last layer give",
    ),
    (dict(decoder=wide_decoder), ValueError, r"'decoder' cannot read rows of \(2,\)"),
    (dict(encoder=encoder, latent_dim=3), ValueError, r"'encoder' gives \(2, 4\) for .* \(2, 6\) is needed"),
    (dict(encoder=lambda: encoder((8, 8))), ValueError, r"'encoder' cannot read rows of \(1, 28, 28\)"),
    (
        dict(encoder=lambda: keras.Sequential),
        TypeError,
        r"expected a network, such as .*, or None: it is a class, call it, Sequential\(\.\.\.\)",
    ),
]


@pytest.mark.parametrize(("parts", "error", "message"), WRONG)
def test_what_does_not_fit_is_said_before_training(parts, error, message, digits):
    given = {n: v() if callable(v) else v for n, v in parts.items()}
    with pytest.raises(error, match=message):
        small(**given).fit(digits[:64])


ELSEWHERE = """
import keras, numpy as np, vaekit as vk
model = keras.Sequential([keras.Input((9,)), keras.layers.Dense(4)])
vk.VAE(encoder=model).fit(np.zeros((20, 9), "float32"))
"""

OTHER_BACKEND = (
    "expected a Keras 3 model on the torch backend, got a Sequential on another one: "
    "set KERAS_BACKEND=torch before importing keras"
)


@pytest.mark.slow
@pytest.mark.skipif(find_spec("jax") is None, reason="needs another backend: jax")
def test_a_keras_model_on_jax_is_refused():
    environment = {**os.environ, "KERAS_BACKEND": "jax"}
    run = subprocess.run([sys.executable, "-c", ELSEWHERE], env=environment, capture_output=True, text=True)
    assert run.stderr.strip().endswith(f"TypeError: {OTHER_BACKEND}"), run.stderr


def test_a_model_of_keras_that_is_no_torch_module_is_refused(digits):
    stand_in = type("Sequential", (), {"__module__": "keras.src.models.sequential"})()
    with pytest.raises(TypeError, match=OTHER_BACKEND):
        small(decoder=stand_in).fit(digits[:64])
