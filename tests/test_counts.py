"""Counts of rows that were read at different depths: journeys, and the model without a code beside."""

from functools import partial

import numpy as np
import pytest
import torch
from scipy import optimize, sparse, stats

import vaekit as vk
from vaekit.data import LazyRows
from vaekit.distributions import NegativeBinomial
from vaekit.evaluation import baselines, simple_models
from vaekit.evaluation.simple_models import of_library


def cells(n=400, genes=40, types=4, seed=0):
    """Counts, types, batches and the shares that counts are drawn with."""
    generator = np.random.default_rng(seed)
    profile = np.exp(generator.normal(size=(types, genes)) + generator.normal(size=genes))
    tilt = np.exp(np.array([[0.0], [0.6]]) * generator.normal(size=genes))
    kind, batch = generator.integers(0, types, n), generator.integers(0, 2, n)
    shares = profile[kind] * tilt[batch]
    shares /= shares.sum(1, keepdims=True)
    mean = np.exp(generator.normal(6, 0.7, (n, 1))) * shares
    return generator.negative_binomial(4, 4 / (4 + mean)), kind, batch, shares


def fitted(x, *beside, epochs=1, context=None, latent_dim=4, **recipe):
    name = recipe.pop("name", "counts")
    recipe = getattr(vk.recipes, name)(hidden=(32,), **recipe)
    vae = vk.VAE(latent_dim, recipe=recipe, epochs=epochs, batch_size=32, lr=4e-3, threads=1, compile=False)
    return vae.fit(x, *beside, context=context)


VARIANTS = {
    "observed": {},
    "latent": {"library": "latent"},
    "zero-inflated": {"zero_inflated": True},
    "per output": {"dispersion": "per_output", "zero_inflated": True, "library": "latent"},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_expected_counts_have_the_library_that_is_asked_for(variant):
    x, _, batch, _ = cells()
    vae = fitted(x, context=batch, **VARIANTS[variant])
    for library in (1, 1e4):
        expected = vae.expected(x[:9], library, batch[:9])
        np.testing.assert_allclose(expected.sum(1), library, rtol=1e-4)
    own = vae.expected(x[:9], None, batch[:9])
    if variant != "latent" and variant != "per output":
        np.testing.assert_allclose(own.sum(1), x[:9].sum(1), rtol=1e-4)
    np.testing.assert_allclose(own / own.sum(1, keepdims=True), vae.expected(x[:9], 1, batch[:9]), rtol=1e-4)
    assert own.dtype == np.float32


def test_expected_counts_under_another_batch_are_those_of_that_batch():
    x, _, batch, _ = cells()
    vae = fitted(x, context=batch)
    under = vae.expected(x, 1, batch, under=0)
    np.testing.assert_array_equal(under[batch == 0], vae.expected(x, 1, batch)[batch == 0])
    assert (under[batch == 1] != vae.expected(x, 1, batch)[batch == 1]).any()
    np.testing.assert_array_equal(under, vae.expected(x, 1, batch, under=np.zeros(len(x), int)))


def test_reconstructions_have_the_rows_own_totals():
    x = sparse.csr_matrix(cells()[0].astype("float32"))
    np.testing.assert_allclose(fitted(x).reconstruct(x).sum(1), np.asarray(x.sum(1))[:, 0], rtol=1e-4)


@pytest.mark.parametrize("variant", ["observed", "latent"])
def test_missing_counts_are_filled_and_never_read(variant):
    x = cells()[0].astype(float)
    gone = np.random.default_rng(0).random(x.shape) < 0.3
    gaps = np.where(gone, np.nan, x)
    vae = vk.VAE(4, recipe=vk.recipes.counts(hidden=(32,), **VARIANTS[variant]), epochs=1, missing=True, threads=1)
    vae.fit(gaps)
    filled = vae.impute(gaps[:20])
    np.testing.assert_array_equal(filled[~gone[:20]], x[:20][~gone[:20]])
    assert np.isfinite(filled).all() and (filled >= 0).all()
    assert np.isfinite(vae.expected(gaps[:20])).all()


def test_a_likelihood_without_a_library_has_no_shares():
    vae = fitted(cells()[0], library=None)
    with pytest.raises(ValueError, match="NegativeBinomial tells no shares of a library: fit recipe='counts'"):
        vae.expected(cells()[0])
    with pytest.raises(ValueError, match="library=0: expected a total above 0"):
        fitted(cells()[0]).expected(cells()[0], library=0)


def test_drawn_rows_have_the_totals_of_those_that_were_fitted():
    x = cells(1000)[0]
    logs = np.log(fitted(x).sample(1000, seed=0).sum(1))
    own = np.log(x.sum(1))
    assert logs.mean() == pytest.approx(own.mean(), abs=4 * own.std() / 1000**0.5)
    assert logs.std() == pytest.approx(own.std(), rel=0.15)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_fitted_model_comes_back(variant, tmp_path):
    x = cells()[0]
    vae = fitted(x, **VARIANTS[variant])
    vae.save(tmp_path)
    again = vk.load(tmp_path)
    np.testing.assert_array_equal(again.transform(x), vae.transform(x))
    np.testing.assert_array_equal(again.score_samples(x, draws=2), vae.score_samples(x, draws=2))


def test_figures_given_totals_are_no_code_lengths_and_have_their_own_null():
    x = cells()[0]
    evaluation = fitted(x[:300]).evaluate(x[300:], draws=3, against=x[:300])
    assert "bits_per_dim" not in evaluation.figures and any("total is given" in note for note in evaluation.notes)
    assert list(evaluation.baselines.figures) == ["this model", "factorised"]
    assert "totals are given" in str(evaluation.baselines)
    assert evaluation.protocol.measure == "a probability given the row's total"
    latent = fitted(x[:300], library="latent").evaluate(x[300:], draws=3, against=x[:300])
    assert "bits_per_dim" in latent.figures and latent.baselines.measure == "probability"


def test_the_null_is_the_likeliest_negative_binomial_around_a_share_of_the_total():
    x = cells(600)[0]
    total, share = x.sum(1, keepdims=True), (x.sum(0) + 0.5) / (x.sum(0) + 0.5).sum()

    def log_p(log_theta, column):
        theta, mean = np.exp(log_theta), total[:, 0] * share[column]
        return stats.nbinom.logpmf(x[:, column], theta, theta / (theta + mean))

    found = of_library(torch.from_numpy(x))(torch.from_numpy(x))
    for column in range(5):
        loss = partial(lambda column, v: -log_p(v, column).sum(), column)
        best = optimize.minimize_scalar(loss, bounds=(-8, 8), method="bounded")
        np.testing.assert_allclose(found[:, column].sum(), -best.fun, atol=1.5)
        assert float(found[:, column].sum()) <= -best.fun + 1e-6


@pytest.mark.parametrize("cells_at_a_time", [2**22, 5000])
def test_the_null_of_a_sparse_matrix_is_that_of_the_array_and_never_makes_it_whole(cells_at_a_time, monkeypatch):
    x = cells()[0]
    whole = baselines(x[:300], x[300:], measure="given totals")["factorised"]["log_likelihood"]
    monkeypatch.setattr(simple_models, "CELLS", cells_at_a_time)
    monkeypatch.delattr(LazyRows, "__array__")
    found = baselines(sparse.csr_matrix(x[:300]), sparse.csc_matrix(x[300:]), measure="given totals")
    assert found.rows == 300 and list(found.figures) == ["factorised"]
    assert found["factorised"]["log_likelihood"].value == pytest.approx(whole.value, rel=1e-12)
    vae = fitted(sparse.csr_matrix(x[:300]))
    beside = vae.evaluate(sparse.csr_matrix(x[300:]), draws=2, against=sparse.csr_matrix(x[:300])).baselines
    assert beside["factorised"]["log_likelihood"].value == pytest.approx(whole.value, rel=1e-12)
    with pytest.raises(ValueError, match=r"expected counts 0, 1, 2, \.\.\., as in fit, got fractional"):
        baselines(sparse.csr_matrix(x[:300]), sparse.csr_matrix(x[300:] * 0.5), measure="given totals")


def test_zeros_by_the_short_form_are_those_of_the_negative_binomial():
    log_mean, log_theta = torch.meshgrid(*[torch.linspace(-12, 18, 40, dtype=torch.float64)] * 2, indexing="ij")
    px, x = NegativeBinomial(log_mean, log_theta), (torch.arange(1600) % 3).reshape(40, 40).double()
    torch.testing.assert_close(simple_models._log_prob(px, x), px.log_prob(x), rtol=1e-9, atol=1e-12)


def test_the_null_knows_rows_by_the_columns_that_are_there():
    x = torch.from_numpy(cells()[0]).double()
    gaps = x.clone()
    gaps[:, 3] = torch.nan
    log_p = of_library(x)
    assert (log_p(gaps)[:, 3] == 0).all() and log_p(gaps).isfinite().all()


@pytest.mark.slow
def test_a_model_of_counts_is_better_than_none_and_finds_the_shares():
    x, _, batch, shares = cells(1500)
    train, test = sparse.csr_matrix(x[:1200]), sparse.csr_matrix(x[1200:])
    vae = fitted(train, epochs=25, context=batch[:1200])
    evaluation = vae.evaluate(test, draws=20, context=batch[1200:], against=train)
    bound, null = (evaluation.baselines[name]["log_likelihood"].value for name in ("this model", "factorised"))
    mean = x[1200:].sum(1, keepdims=True) * shares[1200:]
    truth = stats.nbinom.logpmf(x[1200:], 4, 4 / (4 + mean)).sum(1).mean()  # by the shares that counts were drawn with
    assert null + 0.7 * (truth - null) < bound < truth
    expected = np.log(vae.expected(test, 1, batch[1200:]))
    raw = np.log((x[1200:] + 0.5) / (x[1200:] + 0.5).sum(1, keepdims=True))
    off = [np.square(guess - np.log(shares[1200:])).mean() for guess in (expected, raw)]
    assert off[0] < 0.3 * off[1]


@pytest.mark.slow
def test_the_first_number_of_the_code_is_a_latent_library():
    x = cells(1200)[0]
    vae = fitted(x, epochs=25, library="latent")
    assert abs(np.corrcoef(vae.transform(x)[:, 0], np.log(x.sum(1)))[0, 1]) > 0.9


@pytest.mark.slow
def test_types_are_told_from_a_tenth_of_the_labels():
    x, kind, *_ = cells(1200)
    names = np.array(["B", "NK", "T", "myeloid"], dtype=object)[kind]
    known = np.where(np.arange(1200) < 120, names, None)
    vae = fitted(sparse.csr_matrix(x), known, epochs=20, name="count_classes", classes=4)
    assert (vae.predict(x[120:]) == names[120:]).mean() > 0.9
