"""Simple models against closed forms and scikit-learn, and what may be set beside what."""

import importlib
import lzma
import math

import numpy as np
import pytest
import torch
from scipy import stats

import vaekit as vk
from vaekit.evaluation.baselines import baselines
from vaekit.evaluation.independent import Independent
from vaekit.evaluation.simple_models import GaussianMixture, ProbabilisticPCA, chosen_mixture, factorised, xz_bits


def mixed(n=400, d=5, seed=0):
    """Correlated real columns of different scales."""
    rng = np.random.default_rng(seed)
    turn = np.random.default_rng(99).normal(size=(d, d))
    return (rng.normal(size=(n, d)) @ turn + rng.normal(size=(n, d))) * 10.0 ** np.arange(d) + 3


# -- probabilistic PCA -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "latents", "log_likelihood", "noise"),
    [("iris", 2, -3.686255, 0.083736), ("breast_cancer", 5, -24.625057, 0.183189), ("digits", 10, 17.451947, 0.022751)],
)
def test_probabilistic_pca_has_the_reference_values(name, latents, log_likelihood, noise):
    data = pytest.importorskip("sklearn.datasets")
    x = getattr(data, f"load_{name}")().data
    x = x / 16 if name == "digits" else (x - x.mean(0)) / x.std(0)
    model = ProbabilisticPCA.fit(torch.tensor(x), latents)
    assert float(model.log_prob(torch.tensor(x)).mean()) == pytest.approx(log_likelihood, abs=1e-6)
    assert model.noise == pytest.approx(noise, abs=1e-6)


def test_probabilistic_pca_is_sklearns():
    decomposition = pytest.importorskip("sklearn.decomposition")
    x, x_test = mixed(d=6), mixed(300, d=6, seed=1)
    x, x_test = x / x.std(0), x_test / x.std(0)
    ours = ProbabilisticPCA.fit(torch.tensor(x), 3)
    theirs = decomposition.PCA(3, svd_solver="full").fit(x)
    theirs.explained_variance_ *= (len(x) - 1) / len(x)  # it divides by N - 1, the maximum of the likelihood by N
    theirs.noise_variance_ *= (len(x) - 1) / len(x)
    np.testing.assert_allclose(ours.log_prob(torch.tensor(x_test)), theirs.score_samples(x_test), rtol=1e-9)
    lost = np.square(x_test - theirs.inverse_transform(theirs.transform(x_test))).sum(1)
    np.testing.assert_allclose(ours.squared_error(torch.tensor(x_test)), lost, atol=1e-9)


def test_rows_on_a_plane_have_a_bounded_density():
    plane = torch.tensor(mixed(d=2) @ np.array([[1.0, 2.0, 3.0], [0.0, 1.0, 1.0]]))
    model = ProbabilisticPCA.fit(plane, 2)
    assert model.noise == pytest.approx(1e-6 * float(plane.var(0, unbiased=False).mean()), rel=1e-6)
    assert bool(model.log_prob(plane).isfinite().all()) and float(model.squared_error(plane).max()) < 1e-5
    with pytest.raises(ValueError, match="3 latents of 3 columns"):
        ProbabilisticPCA.fit(plane, 3)


# -- mixtures --------------------------------------------------------------------------------------


@pytest.mark.parametrize("full", [False, True])
def test_a_mixture_is_as_likely_as_sklearns(full):
    mixture = pytest.importorskip("sklearn.mixture")
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(size=(200, 3)) * s + m for s, m in ((1, -4), (0.5, 0), (2, 5))])
    theirs = mixture.GaussianMixture(3, covariance_type="full" if full else "diag", n_init=3, tol=1e-6, random_state=0)
    best = theirs.fit(x).score(x)
    assert float(GaussianMixture.fit(torch.tensor(x), 3, full).log_prob(torch.tensor(x)).mean()) > best - 0.01


@pytest.mark.parametrize("full", [False, True])
def test_one_component_is_the_normal_of_the_moments(full):
    x = torch.tensor(mixed(d=3)) / torch.tensor([1.0, 10.0, 100.0])
    model = GaussianMixture.fit(x, 1, full)
    least = 1e-3 * x.var(0, unbiased=False)
    covariance = (torch.cov(x.T, correction=0) if full else torch.diag(x.var(0, unbiased=False))) + torch.diag(least)
    theirs = torch.distributions.MultivariateNormal(x.mean(0), covariance).log_prob(x)
    torch.testing.assert_close(model.log_prob(x), theirs)


def test_the_mixture_of_the_highest_held_out_density_is_taken():
    rng = np.random.default_rng(0)
    apart = torch.tensor(np.concatenate([rng.normal(size=(200, 2)) + 9 * np.array(m) for m in np.ndindex(2, 2)]))
    assert len(chosen_mixture(apart).means) > 1
    line = torch.tensor(rng.normal(size=(800, 1)) @ [[1.0, 1.0]] + 0.1 * rng.normal(size=(800, 2)))
    assert chosen_mixture(line).roots.dim() == 3


def test_a_component_on_a_single_row_has_a_bounded_density():
    x = torch.tensor(np.concatenate([np.random.default_rng(0).normal(size=(200, 2)), [[50.0, 50.0]]]))
    model = GaussianMixture.fit(x, 3, full=True)
    assert float(model.roots.diagonal(dim1=1, dim2=2).square().min()) >= 1e-3 * float(x.var(0).min()) * 0.99


# -- independent columns ---------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "top"), [("binary", 2), ("bytes", 256)])
def test_the_masses_of_a_column_sum_to_one(kind, top):
    x = torch.from_numpy(np.random.default_rng(0).integers(0, top // 2 + 1, size=(50, 3)))
    every = torch.arange(top).unsqueeze(1).expand(-1, 3)
    torch.testing.assert_close(factorised(x, kind)(every).exp().sum(0), torch.ones(3, dtype=torch.float64))


def test_one_row_is_spread_over_all_levels():
    log_p = factorised(torch.tensor([[1], [1], [1], [0]]), "binary")
    torch.testing.assert_close(log_p(torch.tensor([[1], [0]])).exp(), torch.tensor([[3.5], [1.5]]).double() / 5)


def test_counts_have_a_negative_binomial_of_the_columns_moments():
    stats = pytest.importorskip("scipy.stats")
    x = np.random.default_rng(0).negative_binomial(3, 0.3, size=(500, 1))
    m, v = x.mean(), x.var()
    theirs = stats.nbinom(m * m / (v - m), m / v).logpmf(np.arange(20))
    got = factorised(torch.from_numpy(x), "count")(torch.arange(20).unsqueeze(1))[:, 0]
    np.testing.assert_allclose(got, theirs, rtol=1e-9)


@pytest.mark.slow
def test_the_factorised_model_of_binarised_digits_has_the_published_value():
    """REFERENCE of the library: 205.8 nats, whatever is drawn; the cross-entropy with the means is its expectation."""
    x, x_test = vk.datasets.mnist()
    got = baselines(x, x_test, measure="cross-entropy", which=["factorised"])
    assert -got["factorised"]["log_likelihood"].value == pytest.approx(205.8, abs=0.6)
    drawn = baselines(vk.datasets.binarise(x[:20_000], 0), vk.datasets.binarise(x_test, 1), which=["factorised"])
    assert -drawn["factorised"]["log_likelihood"].value == pytest.approx(205.8, abs=0.6)


# -- code lengths ----------------------------------------------------------------------------------


def test_xz_counts_the_bits_of_the_file():
    x = np.random.default_rng(0).integers(0, 256, size=(100, 40), dtype=np.uint8)
    assert xz_bits(x) == 8 * len(lzma.compress(x.tobytes(), preset=9 | lzma.PRESET_EXTREME)) / x.size > 8
    assert xz_bits(x.astype(np.int64)) == xz_bits(x)
    assert 1 < xz_bits(x > 127) < 1.2  # packed


@pytest.mark.slow
def test_xz_takes_as_many_bits_of_mnist_as_measured():
    assert xz_bits(vk.datasets.mnist()[1]) == pytest.approx(1.382, abs=0.01)


# -- all of them -----------------------------------------------------------------------------------


def values(found, figure):
    return {name: own[figure].value for name, own in found.figures.items() if figure in own}


def test_densities_are_in_the_units_of_the_data():
    """Ten times the numbers, D log 10 nats less: the Jacobian of the scaling. Errors are shares, and stay."""
    x, x_test = mixed(d=4), mixed(200, d=4, seed=1)
    once, ten = baselines(x, x_test, latents=2), baselines(10 * x, 10 * x_test, latents=2)
    assert once.measure == "density" and set(once.figures) == {"factorised", "ppca", "mixture"}
    want = {name: v - 4 * math.log(10) for name, v in values(once, "log_likelihood").items()}
    assert values(ten, "log_likelihood") == pytest.approx(want, abs=1e-3)
    assert values(ten, "reconstruction_error") == pytest.approx(values(once, "reconstruction_error"), abs=1e-5)


def test_columns_of_any_scale_are_normals_of_their_moments():
    stats = pytest.importorskip("scipy.stats")
    x, x_test = mixed(), mixed(200, seed=1)
    theirs = stats.norm(x.mean(0), x.std(0)).logpdf(x_test).sum(1)
    got = baselines(x, x_test, which=["factorised"])["factorised"]["log_likelihood"]
    assert got.value == pytest.approx(theirs.mean(), abs=1e-3)
    assert got.error == pytest.approx(theirs.std(ddof=1) / math.sqrt(200), rel=1e-3)


def test_pca_is_that_of_standardised_columns():
    decomposition = pytest.importorskip("sklearn.decomposition")
    x, x_test = mixed(), mixed(200, seed=1)
    a, b = (x - x.mean(0)) / x.std(0), (x_test - x.mean(0)) / x.std(0)
    pca = decomposition.PCA(2).fit(a)
    got = baselines(x, x_test, latents=2, which=["ppca"])["ppca"]
    lost = np.square(b - pca.inverse_transform(pca.transform(b))).mean()
    assert got["reconstruction_error"].value == pytest.approx(lost, abs=1e-4)
    model = ProbabilisticPCA.fit(torch.tensor(a), 2)
    want = float(model.log_prob(torch.tensor(b)).mean()) - np.log(x.std(0)).sum()
    assert got["log_likelihood"].value == pytest.approx(want, abs=1e-3)
    assert got["bits_per_dim"].value == pytest.approx(-want / (5 * math.log(2)), abs=1e-3)


def test_a_density_of_noisy_whole_numbers_is_no_more_than_their_entropy():
    """Rounded normals: -log P(x) is at least their entropy, and close to it for the right model."""
    rng = np.random.default_rng(0)
    x, x_test = (np.round(rng.normal(100, 8, size=(n, 3))).clip(0, 255).astype(np.uint8) for n in (1500, 1500))
    got = values(baselines(x, x_test, latents=1), "log_likelihood")
    entropy = 3 * (math.log(8) + 0.5 * math.log(2 * math.pi * math.e))
    for name in ("factorised", "ppca", "mixture"):
        assert got[name] == pytest.approx(-entropy, abs=0.15), name


def test_every_kind_of_data_has_the_baselines_that_fit_it():
    rng = np.random.default_rng(0)
    kinds = {
        "binary": (rng.random((200, 6)) < 0.3).astype(np.uint8),
        "bytes": rng.integers(0, 256, size=(200, 6), dtype=np.uint8),
        "count": rng.poisson(3, size=(200, 6)),
        "real": rng.normal(size=(200, 2, 3)),
        "gaps": np.where(rng.random((200, 6)) < 0.1, np.nan, rng.normal(size=(200, 6))),
        "column": rng.normal(size=(200, 1)),
    }
    found = {name: set(baselines(x[:100], x[100:]).figures) for name, x in kinds.items()}
    assert found == {
        "binary": {"factorised", "ppca", "xz"},
        "bytes": {"factorised", "ppca", "mixture", "xz"},
        "count": {"factorised", "ppca", "mixture", "xz"},
        "real": {"factorised", "ppca", "mixture"},
        "gaps": {"factorised"},
        "column": {"factorised", "mixture"},
    }
    assert "log_likelihood" not in baselines(kinds["binary"][:100], kinds["binary"][100:])["ppca"]


def test_missing_cells_are_left_out():
    x = mixed(d=3)
    gaps = x[200:].copy()
    gaps[:, 1] = np.nan
    got = baselines(x[:200], gaps)["factorised"]["log_likelihood"].value
    stats = pytest.importorskip("scipy.stats")
    own = stats.norm(x[:200].mean(0), x[:200].std(0)).logpdf(x[200:])[:, [0, 2]].sum(1)
    assert got == pytest.approx(own.mean(), abs=1e-3)


def test_counts_with_gaps_are_still_counts():
    x = np.random.default_rng(0).poisson(3, size=(300, 2)).astype(float)
    gaps = np.where(np.random.default_rng(1).random(x.shape) < 0.2, np.nan, x)
    got = baselines(gaps, gaps, measure="probability")["factorised"]["log_likelihood"].value
    whole = baselines(x.astype(int), x.astype(int), which=["factorised"])["factorised"]["log_likelihood"].value
    assert got == pytest.approx(0.8 * whole, rel=0.05)


def test_a_table_has_a_line_for_each_model():
    found = baselines(mixed(), mixed(200, seed=1), latents=2)
    told = found.beside("this model", "a VAE", {"log_likelihood": found["ppca"]["log_likelihood"]})
    lines = str(told).splitlines()
    assert lines[0] == "baselines, fitted to 400 training rows; log p is a density"
    assert "log_likelihood, nats" in lines[1] and lines[2].strip().startswith("this model")
    assert lines[2].endswith("a VAE") and "–" in lines[2]
    assert told.to_dict()["figures"]["this model"]["log_likelihood"]["unit"] == "nats"


def test_few_training_rows_of_many_are_read(monkeypatch):
    monkeypatch.setattr(importlib.import_module("vaekit.evaluation.baselines"), "ROWS", 150)
    assert baselines(mixed(), mixed(200, seed=1), which=["factorised"]).rows == 150


# -- beside a model --------------------------------------------------------------------------------

QUICK = dict(epochs=1, threads=1, compile=False)
NONE = {**QUICK, "epochs": 0}


def test_a_model_of_real_columns_stands_beside_densities_in_the_same_units():
    x, x_test = mixed(), mixed(200, seed=1)
    vae = vk.VAE(2, **QUICK).fit(x)
    found = vae.evaluate(x_test, draws=5, against=x)
    assert list(found.baselines.figures) == ["this model", "factorised", "ppca", "mixture"]
    mine = found.baselines["this model"]
    assert mine["log_likelihood"] == found.figures["log_likelihood"]
    apart = (x_test - vae.reconstruct(x_test)) / x.std(0)
    assert mine["reconstruction_error"].value == pytest.approx(np.square(apart).mean(), rel=1e-3)
    assert found.baselines.described["ppca"] == "2 latents"
    assert mine["log_likelihood"].value == pytest.approx(found.baselines["factorised"]["log_likelihood"].value, abs=3)
    assert "baselines, fitted to 400 training rows" in str(found) and "baselines" in found.to_dict()
    assert vae.evaluate(x_test, draws=5).baselines is None


def test_each_likelihood_is_set_beside_its_own_measure():
    x = np.random.default_rng(0).integers(0, 256, size=(60, 8, 8), dtype=np.uint8)
    measures = {"vae": "cross-entropy", "binarised": "probability", "residual": "probability", "ms-ssim": None}
    for recipe, measure in measures.items():
        found = vk.VAE(2, recipe=recipe, **NONE).fit(x).evaluate(x, draws=2, against=x).baselines
        assert found.measure == measure, recipe
        assert ("log_likelihood" in found["this model"]) == (measure is not None)
        assert ("xz" in found.figures) == (measure == "probability")
    gaussian = vk.VAE(2, recipe="auto", likelihood=vk.likelihoods.Gaussian(), **NONE).fit(x)
    found = gaussian.evaluate(x, draws=2, against=x).baselines
    assert found.measure == "density" and "xz" not in found.figures


def test_binarised_rows_are_baselines_of_what_is_explained():
    x, x_test = (t[:500] for t in vk.datasets.mnist())
    found = vk.VAE(2, recipe="binarised", **QUICK).fit(x).evaluate(x_test, draws=2, against=x).baselines
    want = baselines(vk.datasets.binarise(x, 0), vk.datasets.binarise(x_test, 1), which=["factorised"])["factorised"]
    got = found["factorised"]["log_likelihood"]
    assert abs(got.value - want["log_likelihood"].value) < 4 * got.error
    assert "reconstruction_error" not in found["this model"]


def test_rows_of_several_kinds_are_set_beside_independent_columns():
    """Each column by its own part, at the maximum of the likelihood of the cells that are there."""
    lk, generator = vk.likelihoods, np.random.default_rng(0)
    columns = [generator.normal(1000, 200, 400), generator.choice(4, 400, p=[0.1, 0.2, 0.3, 0.4])]
    columns += [generator.poisson(5, 400), generator.random(400) < 0.3]
    x = np.column_stack(columns).astype(np.float64)
    x[generator.random(x.shape) < 0.2] = np.nan
    parts = [lk.Gaussian("optimal", shape=(1,)), lk.Categorical(4, shape=(1,)), lk.Poisson(shape=(1,))]
    vae = vk.VAE(2, likelihood=lk.Mixed([*parts, lk.Bernoulli(shape=(1,))]), missing=True, **NONE).fit(x)
    before = {n: t.clone() for n, t in vae.module_.state_dict().items()}
    found = vae.evaluate(x, draws=2, against=x).baselines
    real, category, count, binary = (c[~np.isnan(c)] for c in x.T)
    shares = np.bincount(category.astype(int)) / len(category)
    want = stats.norm.logpdf(real, real.mean(), real.std()).sum() + np.log(shares[category.astype(int)]).sum()
    want += stats.poisson.logpmf(count, count.mean()).sum() + stats.bernoulli.logpmf(binary, binary.mean()).sum()
    assert found["factorised"]["log_likelihood"].value == pytest.approx(want / 400, abs=1e-3)
    assert list(found.figures) == ["this model", "factorised"] and "by each column's own measure" in str(found)
    assert all(torch.equal(before[n], t) for n, t in vae.module_.state_dict().items())


def test_rows_of_parts_are_set_beside_independent_cells():
    x = (np.random.default_rng(0).random((200, 6)) < 0.2).astype(np.uint8)
    likelihood = vk.likelihoods.Modalities(vk.likelihoods.Bernoulli(), (4, 2))
    vae = vk.VAE(2, recipe="mvae", likelihood=likelihood, **NONE).fit(x)
    found = vae.evaluate(x, draws=2, against=x).baselines["factorised"]["log_likelihood"].value
    assert found == pytest.approx(stats.bernoulli.logpmf(x, x.mean(0)).sum(1).mean(), abs=1e-3)


def test_what_was_never_met_keeps_a_probability():
    x = np.zeros((500, 1), np.uint8)
    x[0] = 1
    vae = vk.VAE(1, likelihood=vk.likelihoods.Bernoulli(), **NONE).fit(x)
    rows = [vae.fitted_.rows(t) for t in (x[1:], x[:1])]
    log_p = Independent(vae.module_.likelihood, rows[0]).log_p(rows[1])
    assert math.log(1e-5) < float(log_p) < math.log(1e-2)


# -- wrong calls -----------------------------------------------------------------------------------

REAL, BYTES = mixed(), np.arange(600, dtype=np.uint8).reshape(100, 6)
WRONG = {
    "xz of reals": (lambda: baselines(REAL, REAL, which=["xz"]), "xz gives the length of a code, and log p of these"),
    "code of reals": (lambda: baselines(REAL, REAL, measure="probability"), "a density is no code length"),
    "cross-entropy": (lambda: baselines(REAL, REAL, measure="cross-entropy"), "expected one of None, density"),
    "bits beside a density": (
        lambda: baselines(BYTES, BYTES, measure="density", which=["xz"]),
        "log p of these rows is a density: they do not compare",
    ),
    "name": (lambda: baselines(REAL, REAL, which=["pppca"]), "unknown baseline 'pppca' (did you mean"),
    "gaps": (
        lambda: baselines(np.where(REAL > 1e4, np.nan, REAL), REAL, which=["ppca"]),
        "ppca does not fit these rows (cells are missing): leave it out; those that fit are factorised",
    ),
    "shapes": (lambda: baselines(REAL, REAL[:, :2]), "training rows are (5,), test rows (2,)"),
    "kinds": (lambda: baselines(BYTES, BYTES + 0.5), "expected 8-bit levels 0..255, as in fit"),
    "xz of signed": (lambda: xz_bits(np.array([-1, 2])), "whole numbers from 0"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_does_not_compare_is_refused(name):
    call, message = WRONG[name]
    with pytest.raises(ValueError) as error:
        call()
    assert message in str(error.value)
