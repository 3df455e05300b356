"""`FittedVAE`: made by fit, by load and from a module of one's own; the methods of `VAE` are functions of it."""

import dataclasses
import inspect

import numpy as np
import pytest

import vaekit as vk
from vaekit.latents import Latent, Normal, StandardNormal
from vaekit.likelihoods import Bernoulli, Gaussian
from vaekit.networks import MLP

SMALL = dict(epochs=2, batch_size=20, threads=1, compile=False)


@pytest.fixture(scope="module")
def digits():
    return vk.datasets.mnist()[0][:80]


@pytest.fixture(scope="module")
def vae(digits):
    return vk.VAE(2, **SMALL).fit(digits)


def own(likelihood=None):
    return vk.VAEModule(MLP((8,)), Latent(Normal(2), StandardNormal()), MLP((8,)), likelihood or Bernoulli())


@pytest.fixture(scope="module")
def trained(digits):
    for training in vk.train(own(), digits, epochs=1, batch_size=20):
        pass
    return training.learner.model


def test_a_fitted_model_is_immutable(vae):
    with pytest.raises(dataclasses.FrozenInstanceError):
        vae.fitted_.ended = "interrupted"


def test_functions_of_a_fitted_model_give_what_the_methods_give(vae, digits):
    fitted = vae.fitted_
    np.testing.assert_array_equal(vk.inference.encode(fitted, digits), vae.transform(digits))
    np.testing.assert_array_equal(vk.inference.sample(fitted, 3, seed=1), vae.sample(3, seed=1))
    assert vk.report.make(fitted, digits, draws=2).evaluation.figures == vae.report(digits, draws=2).evaluation.figures


@pytest.mark.parametrize("name", ["sample", "impute", "evaluate", "explain", "save", "fit", "fit_prior", "partial_fit"])
def test_methods_have_the_documentation_of_their_functions_without_the_model(name):
    method = getattr(vk.VAE, name)
    parameters = list(inspect.signature(method).parameters)
    assert parameters[0] == "self" and not {"fitted", "config", "before"} & set(parameters)
    assert "Parameters\n----------" in inspect.getdoc(method)


def test_settings_changed_after_fit_apply_to_what_is_drawn(digits):
    vae = vk.VAE(2, **SMALL).fit(digits)
    before = vae.sample(2)
    assert not np.array_equal(vae.set_params(seed=5).sample(2), before)
    np.testing.assert_array_equal(vae.set_params(seed=0).sample(2), before)


def test_a_module_trained_in_a_loop_of_ones_own_becomes_a_fitted_model(trained, digits, tmp_path):
    vae = vk.VAE.of(vk.FittedVAE.from_module(trained, digits))
    assert vae.sample(3).shape == (3, 28, 28) and vae.sample(3).dtype == np.uint8
    evaluation = vae.evaluate(digits[:40], draws=3)
    assert evaluation.on == "training"
    vae.report(digits[:40], draws=2).save(tmp_path / "page.html")
    vae.save(tmp_path / "run")
    again = vk.load(tmp_path / "run")
    np.testing.assert_array_equal(again.transform(digits), vae.transform(digits))
    assert again.evaluate(digits[:40], draws=3).figures == evaluation.figures


def test_its_scores_are_those_of_the_module(trained, digits):
    fitted = vk.FittedVAE.from_module(trained, digits)
    np.testing.assert_array_equal(
        vk.VAE.of(fitted).score_samples(digits, 2, 7), vk.VAE.of(fitted).score_samples(digits, 2, 7)
    )
    rows = fitted.rows(digits)
    expected = vk.evaluation.score_rows(trained, rows, draws=2, seed=7).bound.numpy()
    np.testing.assert_array_equal(vk.VAE.of(fitted).score_samples(digits, 2, 7), expected)


@pytest.mark.parametrize(
    ("module", "rows", "message"),
    [
        (lambda d: own(), lambda d: d, "expected a module for rows of .*, got one for rows of None"),
        (lambda d: own().resolve_shapes((1, 8, 8)), lambda d: d, r"got one for rows of \(1, 8, 8\)"),
        (lambda d: own(Gaussian()).resolve_shapes((3,)), lambda d: np.array(["a"]), "expected numbers"),
    ],
)
def test_other_modules_are_refused(module, rows, message, digits):
    with pytest.raises((ValueError, TypeError), match=message):
        vk.FittedVAE.from_module(module(digits), rows(digits))
