"""The estimator as its users hold it: journeys on real data, scikit-learn's manners, and wrong calls."""

import copy
import errno
import json
import logging
import os

import numpy as np
import pytest
import torch
from torch import nn

import vaekit as vk
from vaekit import storage
from vaekit.sklearn_compat import NotFittedError
from vaekit.training import Diverged


@pytest.fixture(scope="module")
def digits():
    return vk.datasets.mnist()[0][:600]


@pytest.fixture(scope="module")
def fitted(digits):
    return vk.VAE(epochs=2, seed=3).fit(digits)


def small(**settings):
    return vk.VAE(**{"epochs": 1, "validation": 0, **settings})


# -- journeys ---------------------------------------------------------------------------------------


def test_a_model_is_fitted_saved_loaded_and_used(fitted, digits, tmp_path):
    fitted.save(tmp_path / "run")
    loaded = vk.load(tmp_path / "run")
    for use in ("transform", "reconstruct", "score_samples"):
        np.testing.assert_array_equal(getattr(fitted, use)(digits[:9]), getattr(loaded, use)(digits[:9]))
    np.testing.assert_array_equal(fitted.sample(5, seed=1), loaded.sample(5, seed=1))
    assert loaded.get_params() == {**fitted.get_params(), "device": "auto"}
    assert loaded.history_ == fitted.history_


def test_training_lowers_the_loss_and_keeps_its_history(fitted):
    first, last = fitted.history_
    assert first["elbo"] < last["elbo"]
    for record in (first, last):
        assert record["elbo"] == pytest.approx(-record["distortion"] - record["rate"], abs=1e-3)
        assert record["val_elbo"] == pytest.approx(-record["val_distortion"] - record["val_rate"], abs=1e-3)


def test_the_same_seed_gives_the_same_model_and_another_one_another(digits):
    codes = [small(seed=s).fit(digits).transform(digits[:5]) for s in (0, 0, 1)]
    np.testing.assert_array_equal(codes[0], codes[1])
    assert not np.allclose(codes[0], codes[2])


def test_fitting_leaves_the_global_random_numbers_alone(digits):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    small().fit(digits[:64])
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize(
    ("shape", "dtype", "top"),
    [
        ((28, 28), "uint8", 255),
        ((12, 10, 3), "uint8", 255),
        ((3, 12, 10), "uint8", 255),
        ((9,), "uint8", 255),
        ((9,), "bool", 1),
        ((9,), "float32", 1.0),
        ((8, 8), "float64", 1.0),
        ((4, 5, 2), "float32", 1.0),
        ((9,), "int64", 9),
        ((9,), "uint16", 900),
        ((9,), "float32", 40.0),
    ],
)
@pytest.mark.parametrize("recipe", [None, "auto"])
def test_predictions_come_back_in_the_data_s_units_shape_and_dtype(shape, dtype, top, recipe):
    x = (np.random.default_rng(0).random((40, *shape)) * top).astype(dtype)
    vae = small(recipe=recipe).fit(x)
    for out in (vae.reconstruct(x[:7]), vae.sample(7), vae.inverse_transform(vae.transform(x[:7]))):
        assert (out.shape, out.dtype) == ((7, *shape), x.dtype)
        assert np.isfinite(out.astype(float)).all()
    assert vae.transform(x).shape == (40, 2)
    assert vae.score_samples(x, draws=3).shape == (40,)


def test_black_and_white_images_are_two_values_and_not_grey_levels(digits):
    """0 and 255 are read as 0 and 1 are, and come back as they were."""
    ones = (digits > 127).astype(np.uint8)
    settings = dict(recipe="auto", epochs=2, batch_size=32, validation=0, threads=1, compile=False)
    of_ones, of_whites = (vk.VAE(**settings).fit(x) for x in (ones, ones * 255))
    assert of_whites.spec_.kind == "binary" and of_whites.caveat_ is None
    np.testing.assert_array_equal(of_whites.transform(ones * 255), of_ones.transform(ones))
    np.testing.assert_array_equal(of_whites.score_samples(ones * 255), of_ones.score_samples(ones))
    drawn = of_whites.sample(20)
    assert drawn.dtype == np.uint8 and set(np.unique(drawn)) == {0, 255}
    by_ones, by_whites = (vk.evaluation.baselines(x[:60], x[60:90]).to_dict()["figures"] for x in (ones, ones * 255))
    assert by_ones["factorised"]["log_likelihood"] == by_whites["factorised"]["log_likelihood"]
    assert by_ones["xz"] == by_whites["xz"]
    with pytest.raises(ValueError, match="expected values 0 and 255, as in fit"):
        of_whites.transform(digits)
    assert vk.VAE(**settings).fit(np.where(ones, 254, 0).astype(np.uint8)).spec_.kind == "bytes"


def test_torch_tensors_are_data_too(digits):
    x = torch.from_numpy(digits)
    np.testing.assert_array_equal(small().fit(x).transform(x[:4]), small().fit(digits).transform(digits[:4]))


def test_transform_is_the_posterior_mean(fitted, digits):
    q = fitted.posterior(digits[:6])
    np.testing.assert_allclose(fitted.transform(digits[:6]), q.mean.numpy(), rtol=1e-6)
    assert q.log_prob(q.sample()).shape == (6,)


def test_predictions_do_not_depend_on_the_chunk(fitted, digits, monkeypatch):
    whole = fitted.reconstruct(digits)
    for module in ("fitted", "inference.codes", "inference.decoding", "inference.sampling"):
        monkeypatch.setattr(f"vaekit.{module}.CHUNK", 7)
    assert np.abs(whole.astype(int) - fitted.reconstruct(digits)).max() <= 1


def test_a_tanh_output_with_a_gaussian_is_the_other_form():
    x = 2 * (vk.datasets.mnist()[0][:300] / 255.0).astype("float32") - 1
    vae = small(recipe="vae-tanh").fit(x)
    out = vae.reconstruct(x)
    assert -1 <= out.min() < out.max() <= 1
    np.testing.assert_allclose(vae.spec_.decode(vae.spec_.encode(torch.from_numpy(x))), x, atol=1e-6)


LIKELIHOODS = {
    "bernoulli, dynamic": (lambda: vk.likelihoods.Bernoulli(binarise="dynamic"), "unit"),
    "bernoulli, threshold": (lambda: vk.likelihoods.Bernoulli(binarise="threshold"), "unit"),
    "continuous bernoulli": (vk.likelihoods.ContinuousBernoulli, "unit"),
    "gaussian, fixed": (lambda: vk.likelihoods.Gaussian(0.5), "real"),
    "gaussian, shared": (lambda: vk.likelihoods.Gaussian("shared"), "real"),
    "gaussian, per dimension": (lambda: vk.likelihoods.Gaussian("per_dimension"), "real"),
    "gaussian, per output": (lambda: vk.likelihoods.Gaussian("per_output", minimum_scale=0.1), "real"),
    "gaussian, tanh": (lambda: vk.likelihoods.Gaussian(0.3, mean="tanh"), "unit"),
    "categorical": (lambda: vk.likelihoods.Categorical(levels=17), "levels"),
    "logistic mixture": (lambda: vk.likelihoods.DiscretisedLogisticMixture(5, levels=17), "levels"),
    "poisson": (vk.likelihoods.Poisson, "levels"),
    "negative binomial": (vk.likelihoods.NegativeBinomial, "levels"),
    "mixed": (
        lambda: vk.likelihoods.Mixed(
            [vk.likelihoods.Categorical(17, shape=(32,)), vk.likelihoods.Poisson(shape=(32,))]
        ),
        "levels",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", LIKELIHOODS)
def test_every_likelihood_learns_real_digits(name):
    """A code of 8 numbers explains held-out digits better than the same model whose code is ignored."""
    pytest.importorskip("sklearn")
    make, form = LIKELIHOODS[name]
    x = vk.datasets.digits()[0].reshape(-1, 64)
    x = {"unit": x, "real": x.astype("float64") * 3 - 1, "levels": (x * 16).round().astype("int64")}[form]

    def held_out(beta):
        objective = vk.objectives.ELBO(beta)
        vae = vk.VAE(8, likelihood=make(), objective=objective, epochs=12, batch_size=64, lr=3e-3).fit(x)
        return vae.history_[-1]["val_elbo"]

    assert held_out(1.0) > held_out(1e3) + 1.0


@pytest.mark.slow
@pytest.mark.parametrize(
    "objective",
    [
        lambda: vk.objectives.ELBO(vk.Cycle(1.0, period=40)),
        lambda: vk.objectives.IWAE(5, gradient="stl"),
        lambda: vk.objectives.IWAE(5, gradient="dreg"),
    ],
)
def test_objectives_without_a_recipe_learn_real_digits(objective):
    pytest.importorskip("sklearn")
    x = vk.datasets.digits()[0]
    vae = vk.VAE(8, objective=objective(), epochs=12, batch_size=64, lr=3e-3).fit(x)
    empty = vk.VAE(8, objective=vk.objectives.ELBO(1e3), epochs=12, batch_size=64, lr=3e-3).fit(x)
    assert vae.history_[-1]["val_elbo"] > empty.history_[-1]["val_elbo"] + 0.5


def test_a_capacity_holds_the_rate_at_it():
    pytest.importorskip("sklearn")
    objective = vk.objectives.ELBO(beta=20.0, capacity=vk.Ramp(3.0, 100))
    vae = vk.VAE(8, objective=objective, epochs=20, batch_size=64, lr=3e-3).fit(vk.datasets.digits()[0])
    assert vae.history_[-1]["val_rate"] == pytest.approx(3.0, abs=0.5)


def test_every_recipe_names_its_paper_and_says_what_it_is():
    for name, entry in vk.recipes.RECIPES.items():
        assert len(entry.summary) > 20, name
        assert any(c.isdigit() for c in entry.paper), name


def test_missing_cells_are_scored_over_what_is_seen():
    x = np.random.default_rng(0).normal(size=(200, 6)).astype("float32")
    x[np.random.default_rng(1).random(x.shape) < 0.3] = np.nan
    vae = vk.VAE(recipe="miwae", missing=True, epochs=3).fit(x)
    assert np.isfinite(vae.transform(x)).all()
    assert np.isfinite(vae.reconstruct(x)).all()
    assert "bits_per_dim" not in vae.evaluate(x, draws=5).figures


def test_rows_whose_cells_are_all_missing_are_embedded():
    x = np.random.default_rng(0).integers(0, 2, (50, 4)).astype("float64")
    x[0, 0] = np.nan
    vae = small(missing=True).fit(x)
    assert np.isfinite(vae.transform(np.full((2, 4), np.nan))).all()
    assert vae.score_samples(np.full((1, 4), np.nan), draws=2).shape == (1,)


def test_warm_start_goes_on_from_the_last_fit(digits):
    vae = small(warm_start=True).fit(digits)
    before = vae.evaluate(digits[:200], draws=5)["elbo"]
    assert vae.fit(digits[::-1].copy()).evaluate(digits[:200], draws=5)["elbo"] > before


def test_early_stopping_brings_the_best_weights_back(digits):
    vae = vk.VAE(epochs=60, patience=2, lr=2e-2)
    vae.fit(digits[:200])
    held = [r["val_elbo"] for r in vae.history_]
    assert vae.ended_ == "stopped early"
    assert len(held) == vae.best_epoch_ + 2 == int(np.argmax(held)) + 3


def test_the_reported_figures_name_their_draws_and_errors(fitted, digits):
    report = fitted.evaluate(digits, draws=7)
    assert "k = 7" in report.figures["log_likelihood"].meaning
    assert report.figures["elbo"].error > 0
    assert report["elbo"] <= report["log_likelihood"]
    assert 1 <= report["ess"] <= 7
    assert "cross-entropy on grey levels is not a likelihood" in str(report)
    assert "bits_per_dim" not in report.figures
    json.dumps(report.to_dict())


def test_scaling_costs_its_jacobian():
    """A density of levels 0..255 is that of levels / 255, less D log 255."""
    x = np.random.default_rng(0).integers(0, 256, (300, 5)).astype("uint8")
    vae = small(likelihood=vk.likelihoods.ContinuousBernoulli()).fit(x)
    scaled = small(likelihood=vk.likelihoods.ContinuousBernoulli()).fit((x / 255).astype("float32"))
    difference = scaled.score_samples((x / 255).astype("float32"), draws=2) - vae.score_samples(x, draws=2)
    np.testing.assert_allclose(difference, 5 * np.log(255), rtol=1e-4)


def test_bits_per_dimension_of_a_proper_likelihood():
    x = np.random.default_rng(0).integers(0, 2, (400, 8)).astype("uint8")
    report = vk.VAE(recipe="auto", epochs=20, validation=0).fit(x).evaluate(x, draws=50)
    assert report["bits_per_dim"] == pytest.approx(1.0, abs=0.05)  # fair coins need a bit each


# -- networks and parts of one's own ------------------------------------------------------------------


def own_networks():
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(784, 32), nn.ReLU(), nn.Linear(32, 4))
    decoder = nn.Sequential(nn.Linear(2, 32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, 784), nn.Sigmoid())
    return encoder, decoder


def test_own_networks_train_save_and_load(digits, tmp_path):
    encoder, decoder = own_networks()
    before = copy.deepcopy(encoder.state_dict())
    vae = small(encoder=encoder, decoder=decoder).fit(digits)
    assert vae.module_.likelihood.reads == "probs"  # the decoder ends in a sigmoid
    assert all(torch.equal(before[n], t) for n, t in encoder.state_dict().items())  # fit trains a copy
    vae.save(tmp_path)
    with pytest.raises(storage.StorageError, match=r"pass them in again, load\(path, decoder=..., encoder=...\)"):
        vk.load(tmp_path)
    fresh = own_networks()
    loaded = vk.load(tmp_path, encoder=fresh[0], decoder=fresh[1])
    np.testing.assert_array_equal(loaded.reconstruct(digits[:5]), vae.reconstruct(digits[:5]))


def test_modules_passed_to_load_are_left_as_they_are(digits, tmp_path):
    encoder, decoder = own_networks()
    small(encoder=encoder, decoder=decoder).fit(digits[:64]).save(tmp_path)
    fresh = own_networks()
    before = copy.deepcopy(fresh[0].state_dict())
    vk.load(tmp_path, encoder=fresh[0], decoder=fresh[1])
    assert all(torch.equal(before[n], t) for n, t in fresh[0].state_dict().items())
    with pytest.raises(TypeError, match="no module of your own named 'decodr'.*did you mean \"decoder\""):
        vk.load(tmp_path, encoder=fresh[0], decodr=fresh[1])


def test_fitting_with_dropout_leaves_the_global_random_numbers_alone(digits):
    encoder, decoder = own_networks()
    encoder.append(nn.Dropout(0.5))
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    vae = small(encoder=encoder, decoder=decoder).fit(digits[:64])
    assert torch.equal(torch.rand(3), expected)
    np.testing.assert_array_equal(vae.transform(digits[:9]), vae.transform(digits[:9]))  # no dropout in use


def test_a_clone_shares_the_networks_that_fit_will_copy():
    from sklearn.base import clone

    encoder, _ = own_networks()
    assert clone(vk.VAE(encoder=encoder)).encoder is encoder


@pytest.mark.parametrize(
    ("ending", "likelihood", "message"),
    [
        (nn.Tanh(), None, "ends in tanh but Bernoulli reads logits"),
        (nn.Softplus(), None, "ends in softplus but Bernoulli reads logits"),
        (nn.Sigmoid(), vk.likelihoods.Bernoulli(), r'ends in sigmoid but Bernoulli.*Bernoulli\(reads="probs"\)'),
    ],
)
def test_a_decoder_that_ends_in_what_the_likelihood_does_not_read_is_refused(digits, ending, likelihood, message):
    decoder = nn.Sequential(nn.Linear(2, 784), ending)
    with pytest.raises(ValueError, match=message):
        small(decoder=decoder, likelihood=likelihood).fit(digits)


class Summed(vk.likelihoods.Bernoulli):
    """Sums where it should keep the cells."""

    def distribution(self, parameters):
        px = super().distribution(parameters)

        class Wrong(type(px)):
            def log_prob(self, x):
                return super().log_prob(x).sum()

        return Wrong(px.logits)


def test_a_likelihood_that_sums_over_rows_is_refused(digits):
    with pytest.raises(ValueError, match=r"log_prob of Summed gives \(\) for 2 rows"):
        small(likelihood=Summed()).fit(digits)


def test_a_mixed_likelihood_samples_from_the_estimator():
    x = np.random.default_rng(0).integers(0, 3, (50, 3)).astype("float64")
    parts = [vk.likelihoods.Categorical(3, shape=(1,)), vk.likelihoods.Poisson(shape=(2,))]
    vae = small(likelihood=vk.likelihoods.Mixed(parts)).fit(x)
    assert set(np.unique(vae.sample(20)[:, 0])) <= {0.0, 1.0, 2.0}


def test_given_weights_are_kept_and_open_parts_come_from_the_seed(digits):
    mlp = vk.networks.MLP((16,), in_shape=(1, 28, 28), out_shape=(4,))
    vae = vk.VAE(encoder=mlp, epochs=0, validation=0).fit(digits)
    assert torch.equal(vae.module_.encoder.layers[1].weight, mlp.layers[1].weight)
    other = vk.VAE(encoder=vk.networks.MLP((16,)), epochs=0, validation=0, seed=1).fit(digits)
    again = vk.VAE(encoder=vk.networks.MLP((16,)), epochs=0, validation=0, seed=1).fit(digits)
    assert torch.equal(other.module_.encoder.layers[1].weight, again.module_.encoder.layers[1].weight)


# -- scikit-learn -------------------------------------------------------------------------------------


EXCEPTIONS = {
    "check_methods_sample_order_invariance": "score_samples is a Monte Carlo estimate: each row has its own noise",
    "check_methods_subset_invariance": "score_samples is a Monte Carlo estimate: each row has its own noise",
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_scikit_learn_s_checks_pass():
    checks = pytest.importorskip("sklearn.utils.estimator_checks")
    results = checks.check_estimator(vk.VAE(epochs=2, validation=0), on_fail=None, on_skip=None)
    failed = {r["check_name"]: repr(r["exception"])[:300] for r in results if r["status"] == "failed"}
    assert set(failed) == set(EXCEPTIONS), failed
    assert len(results) > 40


def test_it_clones_and_takes_nested_settings():
    from sklearn.base import clone

    vae = vk.VAE(latent_dim=3, recipe=vk.recipes.beta_vae(beta=6.0))
    twin = clone(vae)
    assert twin.get_params()["recipe__beta"] == 6.0
    twin.set_params(recipe__beta=2.0, latent_dim=5)
    assert (twin.recipe.settings["beta"], twin.latent_dim) == (2.0, 5)
    assert vae.recipe.settings["beta"] == 6.0
    assert repr(vae) == "VAE(latent_dim=3, recipe=recipes.beta_vae(beta=6.0))"


def test_it_works_in_a_pipeline():
    from sklearn.datasets import load_iris
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    x, y = load_iris(return_X_y=True)
    model = make_pipeline(vk.VAE(latent_dim=2, epochs=80, batch_size=32, lr=5e-3), LogisticRegression())
    assert model.fit(x, y).score(x, y) > 0.85


# -- wrong calls --------------------------------------------------------------------------------------


def with_value(value):
    x = np.random.default_rng(0).random((20, 4))
    x[3, 2] = value
    return x


WRONG = {
    "NaN in a dense array": (lambda: small().fit(with_value(np.nan)), ValueError, r"NaN, first at \(3, 2\)"),
    "an infinity": (lambda: small().fit(with_value(np.inf)), ValueError, r"infinity, first at \(3, 2\)"),
    "no rows": (lambda: small().fit(np.zeros((0, 4))), ValueError, "0 sample"),
    "no columns": (lambda: small().fit(np.zeros((4, 0))), ValueError, "0 feature"),
    "one dimension": (lambda: small().fit(np.zeros(4)), ValueError, r"reshape\(-1, 1\)"),
    "text": (lambda: small().fit(np.array([["a", "b"]])), TypeError, "encode other columns as numbers"),
    "grey levels as floats for a Bernoulli": (
        lambda: small(recipe="vae").fit(np.random.default_rng(0).random((9, 4, 4)) * 255),
        ValueError,
        r"values in \[0, 1\].*got real numbers.*: scale them into \[0, 1\], pass 8-bit images as uint8",
    ),
    "real numbers as counts": (
        lambda: small(likelihood=vk.likelihoods.Poisson()).fit(np.random.default_rng(0).random((9, 4)) - 0.5),
        ValueError,
        "whole numbers from 0",
    ),
    "a point mass under the ELBO": (
        lambda: small(latent=vk.latents.Latent(vk.latents.PointMass(2), vk.latents.StandardNormal())).fit(
            np.zeros((9, 4))
        ),
        ValueError,
        r"needs log q\(z \| x\).*PointMass has no density",
    ),
    "a decoder of another size": (
        lambda: small(decoder=nn.Linear(2, 5)).fit(np.zeros((9, 4))),
        ValueError,
        r"Linear gives .*make its last layer give that many",
    ),
    "an encoder of another size": (
        lambda: small(encoder=nn.Linear(4, 5)).fit(np.zeros((9, 4))),
        ValueError,
        r"Linear gives .*make its last layer give that many",
    ),
    "an unknown recipe": (
        lambda: small(recipe="beta-vea").fit(np.zeros((9, 4))),
        ValueError,
        'did you mean "beta-vae"',
    ),
    "an unknown setting": (lambda: vk.recipes.beta_vae(betta=3), TypeError, 'did you mean "beta"'),
    "an unknown parameter": (lambda: small().set_params(epoch=3), ValueError, 'did you mean "epochs"'),
    "a share of more than all": (lambda: small(validation=1.5).fit(np.zeros((9, 4))), ValueError, r"in \[0, 1\)"),
    "no latent": (
        lambda: small(latent_dim=0).fit(np.zeros((9, 4))),
        ValueError,
        "latent_dim=0: expected a whole number from 1",
    ),
    "patience without rows to watch": (lambda: small(patience=2).fit(np.zeros((9, 4))), ValueError, "validation=0.1"),
    "no learning": (lambda: small(lr=0).fit(np.zeros((9, 4))), ValueError, "positive learning rate"),
    "an unknown initialiser": (lambda: small(initialiser="xavier").fit(np.zeros((9, 4))), ValueError, "glorot"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_calls_say_what_is_expected_and_the_fix(case):
    call, kind, message = WRONG[case]
    with pytest.raises(kind, match=message):
        call()


def test_use_before_fit_is_told():
    with pytest.raises(NotFittedError, match=r"call fit\(x\) first"):
        vk.VAE().transform(np.zeros((3, 4)))


def test_other_rows_than_in_fit_are_refused(fitted, digits):
    with pytest.raises(ValueError, match=r"expected rows of \(28, 28\), as in fit, got rows of \(27, 28\)"):
        fitted.transform(digits[:, 1:])
    with pytest.raises(ValueError, match=r"expected codes \(N, 2\), got \(4, 3\)"):
        fitted.inverse_transform(np.zeros((4, 3)))
    with pytest.raises(ValueError, match="n=0: expected a whole number from 1"):
        fitted.sample(0)


def test_other_units_than_in_fit_are_refused(fitted, digits):
    with pytest.raises(
        ValueError, match=r"expected 8-bit levels 0..255, as in fit, got fractional numbers in \[0, 1\]"
    ):
        fitted.transform(digits / 255.0)
    np.testing.assert_array_equal(fitted.transform(digits[:3].astype("float64")), fitted.transform(digits[:3]))
    unit = small().fit(digits / 255.0)
    with pytest.raises(ValueError, match=r"Bernoulli expects values in \[0, 1\], got 0..255"):
        unit.transform(digits)
    x = digits[:3] / 255.0
    x[0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="NaN, first at"):
        unit.transform(x)


def test_given_networks_inside_parts_keep_their_weights(digits):
    critic = vk.networks.MLP((8,), in_shape=(2,), out_shape=(2,))
    vae = vk.VAE(objective=vk.objectives.FactorTC(critic), epochs=0, validation=0).fit(digits[:9])
    assert torch.equal(vae.objective_.critic.layers[1].weight, critic.layers[1].weight)


@pytest.mark.parametrize("rows", [1, 2, 129])
def test_one_row_and_a_last_batch_of_one_row_train(digits, rows):
    for recipe in ("vae", "factor-vae", "vq", "iwae"):
        vae = small(recipe=recipe).fit(digits[:rows])
        assert np.isfinite(vae.history_[-1]["elbo"])


def test_a_diverging_run_names_the_step_and_keeps_the_last_good_checkpoint(digits, tmp_path):
    vae = vk.VAE(
        recipe=vk.recipes.vae(), epochs=40, lr=1e3, validation=0, likelihood=vk.likelihoods.Gaussian("per_output")
    )
    with pytest.raises(Diverged, match=r"not finite since step \d+ \(epoch \d+\).*learning rate that is too high"):
        vae.fit(digits, run=tmp_path)
    state = tmp_path / "checkpoint" / "state.safetensors"
    if state.exists():
        tensors, _ = storage.read_tensors(state)
        assert all(t.isfinite().all() for t in tensors.values() if t.is_floating_point())


def test_divergence_after_good_epochs_leaves_their_checkpoint(digits, tmp_path):
    small(epochs=2).fit(digits, run=tmp_path)
    poisoned = vk.VAE(epochs=4, validation=0, lr=1e-3)
    original, calls = vk.objectives.ELBO.forward, []

    def spoil(self, model, batch, step, noise):
        terms = original(self, model, batch, step, noise)
        calls.append(step)
        bad = torch.nan if len(calls) > 12 else 1.0  # whatever the learning rate
        return type(terms)({n: v * bad for n, v in terms.losses.items()}, terms.metrics, terms.updates)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vk.objectives.ELBO, "forward", spoil)
        with pytest.raises(Diverged, match=r"since step 15 \(epoch 4\) after it went back to step 0") as caught:
            poisoned.fit(digits, run=tmp_path)
    assert "last good checkpoint is kept" in caught.value.__notes__[0]
    tensors, _ = storage.read_tensors(tmp_path / "checkpoint" / "state.safetensors")
    assert all(t.isfinite().all() for n, t in tensors.items() if n.startswith(("learner/model", "good/learner/model")))
    assert vk.VAE(epochs=4, validation=0, lr=1e-3).fit(digits, run=tmp_path, resume=True).ended_ == "recovered"


def test_a_full_disk_loses_nothing(fitted, tmp_path, monkeypatch):
    fitted.save(tmp_path)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}

    def full(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left.*free space or choose another folder"):
        fitted.save(tmp_path)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_a_folder_that_cannot_be_written_is_told(fitted, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(OSError, match="cannot write"):
        fitted.save(tmp_path / "file" / "run")


# -- logging ------------------------------------------------------------------------------------------


def test_an_epoch_is_a_line_in_the_log(digits, caplog):
    with caplog.at_level(logging.INFO, logger="vaekit"):
        vk.VAE(epochs=2).fit(digits)
    assert len(caplog.messages) == 2
    assert "epoch 2/2  elbo" in caplog.messages[1]
    assert "held-out elbo" in caplog.messages[1]
    assert "rows/s" in caplog.messages[1]


def test_an_autoencoder_has_a_distortion_and_no_bound(digits):
    vae = vk.VAE(recipe="rae", latent_dim=8, epochs=3, patience=2).fit(digits)
    assert set(vae.history_[0]) >= {"distortion", "code_size", "val_distortion"}
    assert "elbo" not in vae.history_[0]
    report = vae.evaluate(digits[:100])
    assert set(report.figures) == {"distortion", "entropy_floor"}
    assert any("point mass" in note for note in report.notes)
    assert np.isnan(vae.score_samples(digits[:3])).all()


def test_its_text_names_parts_whatever_they_know_of_their_shape():
    text = repr(
        vk.VAE(likelihood=vk.likelihoods.Bernoulli(), decoder=vk.networks.MLP((8,)), validation=np.zeros((3, 2)))
    )
    assert text == "VAE(decoder=MLP, likelihood=Bernoulli, validation=rows (3, 2))"
