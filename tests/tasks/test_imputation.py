"""Missing cells from seen ones: exact where the posterior is known, and untouched where nothing is missing."""

import numpy as np
import pytest
import torch
from torch import nn

import vaekit as vk
from vaekit.core import Source
from vaekit.data.covariates import NOTHING
from vaekit.data.rows import as_rows
from vaekit.data.spec import DataSpec
from vaekit.latents import Latent, Normal, StandardNormal
from vaekit.likelihoods import Gaussian
from vaekit.networks import MLP, Network
from vaekit.tasks import complete, impute, sample_given

D, K, SCALE = 5, 2, 0.4


class Exact(Network):
    """The evidence of the exact posterior of a linear model, by its mask: mean and log variance (diagonal, as the
    columns of the weights are orthogonal among the cells that are seen)."""

    reads_mask = True

    def __init__(self, weights, bias, in_shape=None, out_shape=None):
        super().__init__(in_shape, out_shape)
        self.weights, self.bias = nn.Parameter(weights, False), nn.Parameter(bias, False)

    def run(self, inputs):
        mask, x = inputs.chunk(2, 1)
        precision = 1 + (mask.unsqueeze(-1) * self.weights.square()).sum(1) / SCALE**2
        mean = ((x - self.bias) * mask) @ self.weights / SCALE**2 / precision
        return torch.cat([mean, -precision.log()], 1)


def linear(dtype=torch.float64):
    """x = W z + b + noise; W's columns have no cell in common, so that q is exact for any mask."""
    generator = torch.Generator().manual_seed(3)
    weights = torch.zeros(D, K, dtype=dtype)
    weights[:3, 0], weights[3:, 1] = (torch.randn(n, generator=generator, dtype=dtype) for n in (3, 2))
    bias = torch.randn(D, generator=generator, dtype=dtype)
    model = vk.VAEModule(Exact(weights, bias), Latent(Normal(K), StandardNormal()), MLP(()), Gaussian(SCALE))
    model = model.resolve_shapes((D,)).to(dtype).eval()
    layer = model.decoder.layers[-1]
    with torch.no_grad():
        layer.weight.copy_(weights)
        layer.bias.copy_(bias)
    return model, weights, bias


def rows_of(x):
    return as_rows(torch.as_tensor(x), DataSpec("real", (D,), "float64", missing=True), "cpu", NOTHING)


def conditional(row, weights, bias):
    """Mean and covariance of the missing cells given the seen ones."""
    covariance = (weights @ weights.T + SCALE**2 * torch.eye(D, dtype=weights.dtype)).numpy()
    seen, b = ~np.isnan(row), bias.numpy()
    gain = covariance[~seen][:, seen] @ np.linalg.inv(covariance[seen][:, seen])
    return b[~seen] + gain @ (row[seen] - b[seen]), covariance[~seen][:, ~seen] - gain @ covariance[seen][:, ~seen]


def holed(n=40, seed=0):
    model, weights, bias = linear()
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, K)) @ weights.numpy().T + bias.numpy() + SCALE * rng.normal(size=(n, D))
    x[rng.random(x.shape) < 0.5] = np.nan
    return model, weights, bias, x


def double(x):
    """`Rows` in fp64, so that a test of 1e-6 is one of the formula."""
    from dataclasses import replace

    return replace(rows_of(x), dtype=torch.float64)


# -- exactly ---------------------------------------------------------------------------------------


def test_under_the_exact_posterior_every_draw_has_the_same_weight():
    model, _, _, x = holed()
    made = impute(model, double(x), draws=50, from_prior=0.0)
    np.testing.assert_allclose(made.effective, 50, rtol=1e-9)


def test_a_linear_decoder_gives_the_gaussian_conditional():
    """The weights are equal, so that the mean over antithetic draws is the decoder's mean at q's centre: exact."""
    model, weights, bias, x = holed()
    still = Antithetic()
    made = with_noise(still, lambda: impute(model, double(x), draws=2, from_prior=0.0)).x.numpy()
    for row, filled in zip(x, made):
        np.testing.assert_allclose(filled[np.isnan(row)], conditional(row, weights, bias)[0], atol=1e-6)


def test_the_masked_likelihood_is_the_marginal():
    model, weights, bias, x = holed()
    covariance = (weights @ weights.T + SCALE**2 * torch.eye(D, dtype=weights.dtype)).numpy()
    bound = vk.evaluation.likelihood.score_rows(model, double(x), draws=1).bound.numpy()
    for row, found in zip(x, bound):
        seen = ~np.isnan(row)
        part = torch.distributions.MultivariateNormal(bias[seen], torch.from_numpy(covariance[seen][:, seen]))
        want = part.log_prob(torch.from_numpy(row[seen])).item() if seen.any() else 0.0
        assert found == pytest.approx(want, abs=1e-6)


@pytest.mark.parametrize("share", [0.0, 0.25, 0.9])
def test_draws_from_the_prior_leave_the_answer(share):
    """Within four standard errors, by the spread over ten seeds."""
    model, weights, bias, x = holed(8)
    found = np.stack([impute(model, double(x), draws=400, seed=s, from_prior=share).x.numpy() for s in range(10)])
    for i, row in enumerate(x):
        gap = np.isnan(row)
        if not gap.any():
            continue
        error = found[:, i, gap].std(0, ddof=1) / np.sqrt(10)
        assert (np.abs(found[:, i, gap].mean(0) - conditional(row, weights, bias)[0]) < 4.5 * error + 1e-9).all()


def test_completions_have_the_conditional_mean_and_covariance():
    model, weights, bias, x = holed(3, seed=1)
    n = 1000
    made = complete(model, double(x), n, draws=1000, seed=2).x.numpy()
    for i, row in enumerate(x):
        gap = np.isnan(row)
        mean, covariance = conditional(row, weights, bias)
        error = np.sqrt(np.diag(covariance) * (1 / n + 1 / 500))
        assert (np.abs(made[:, i, gap].mean(0) - mean) < 4 * error).all()
        np.testing.assert_allclose(np.cov(made[:, i, gap].T), covariance, atol=0.15)


def test_rows_given_a_column_have_the_conditional_mean():
    model, weights, bias, _ = holed()
    row = np.full((1, D), np.nan)
    row[0, 1] = 1.5
    made = sample_given(model, double(row), 6000, draws=6000)
    mean, covariance = conditional(row[0], weights, bias)
    error = np.sqrt(np.diag(covariance) * (1 / 6000 + 1 / float(made.effective)))
    assert (np.abs(made.x.numpy()[:, np.isnan(row[0])].mean(0) - mean) < 4 * error).all()
    assert (made.x[:, 1] == 1.5).all() and 1000 < made.effective <= 6000


class Antithetic(Source):
    """Of two draws per row the second is minus the first."""

    def randn(self, shape):
        half = super().randn((shape[0] // 2, *shape[1:]))
        return torch.cat([half, -half])


def with_noise(noise, work):
    noise.dtype = torch.float64
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vaekit.tasks.imputation.Source.like", lambda model, seed: noise)
        return work()


# -- the manners -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fitted():
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(300, 2)) @ rng.normal(size=(2, 6)) + 0.1 * rng.normal(size=(300, 6))).astype(np.float32)
    x[rng.random(x.shape) < 0.3] = np.nan
    return vk.VAE(2, epochs=30, batch_size=32, lr=5e-3, missing=True, compile=False, threads=1).fit(x), x


def test_seen_cells_stay_to_the_bit_and_none_is_missing(fitted):
    vae, x = fitted
    for made in (vae.impute(x), *vae.impute(x, n=3), vae.complete(x)[0]):
        assert made.dtype == x.dtype and made.shape == x.shape and not np.isnan(made).any()
        assert np.array_equal(made[~np.isnan(x)], x[~np.isnan(x)])


def test_the_same_seed_fills_alike_and_another_does_not(fitted):
    vae, x = fitted
    assert np.array_equal(vae.impute(x), vae.impute(x))
    assert np.array_equal(vae.impute(x, n=2), vae.impute(x, n=2))
    assert not np.array_equal(vae.impute(x, n=1, seed=1), vae.impute(x, n=1))
    assert np.array_equal(vae.sample(5, given={0: 1.0}), vae.sample(5, given={0: 1.0}))


def test_filling_beats_the_mean_of_the_column(fitted):
    vae, x = fitted
    rng = np.random.default_rng(5)
    hidden = ~np.isnan(x) & (rng.random(x.shape) < 0.2)
    made = vae.impute(np.where(hidden, np.nan, x))
    error = np.square(made - x)[hidden].mean()
    assert error < 0.5 * np.square(np.nanmean(x, 0) - x)[hidden].mean()


def test_rows_are_drawn_given_values(fitted):
    vae, _ = fitted
    made = vae.sample(200, given={2: 0.5, 4: -0.25})
    assert made.dtype == np.float32 and (made[:, 2] == 0.5).all() and (made[:, 4] == -0.25).all()
    assert (made[:, [0, 1, 3, 5]].std(0) > 0).all()


def test_levels_are_filled_by_the_likeliest():
    rng = np.random.default_rng(0)
    kind = rng.integers(0, 3, size=200)
    x = np.stack([kind, (kind + 1) % 3, kind], 1).astype(float)
    x[rng.random(x.shape) < 0.25] = np.nan
    vae = vk.VAE(2, likelihood=vk.likelihoods.Categorical(3), epochs=40, batch_size=32, lr=1e-2, missing=True)
    made = vae.set_params(compile=False, threads=1).fit(x).impute(x)
    assert set(np.unique(made)) == {0.0, 1.0, 2.0}
    known = ~np.isnan(x).all(1)
    assert ((made[known, 0] == made[known, 2]) & ((made[known, 0] + 1) % 3 == made[known, 1])).mean() > 0.95


@pytest.mark.parametrize(
    ("given", "message"),
    [({"a": 1.0}, "these rows have no names"), ({9: 1.0}, "no cell 9"), ({(0, 1): 1.0}, "no cell")],
)
def test_columns_that_are_not_there(fitted, given, message):
    with pytest.raises(ValueError, match=message):
        fitted[0].sample(2, given=given)


def test_wrong_calls(fitted):
    vae, x = fitted
    for call, message in [
        (lambda: vae.impute(x, draws=0), "draws=0: expected a whole number from 1"),
        (lambda: vae.impute(x, n=0), "n=0: expected a whole number from 1"),
        (lambda: impute(vae.module_, vae.fitted_.rows(x), from_prior=1.0), "a share of the draws"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()


# -- tables ----------------------------------------------------------------------------------------


def people(n=240, seed=0):
    pd = pytest.importorskip("pandas")
    rng = np.random.default_rng(seed)
    town, size = rng.integers(0, 3, size=n), rng.normal(size=n)
    frame = pd.DataFrame(
        {
            "name": [f"row-{i}" for i in range(n)],
            "town": np.array(["Bonn", "Graz", "Kiel"])[town],
            "size": size + 2 * town,
            "rooms": rng.poisson(1 + town),
            "old": town == 0,
        }
    )
    for column in ("town", "size", "rooms", "old"):
        frame[column] = frame[column].astype(object if column in ("town", "old") else float)
        frame.loc[rng.random(n) < 0.2, column] = None
    return frame


@pytest.fixture(scope="module")
def housed():
    frame = people()
    with pytest.warns(UserWarning, match="name"):
        return vk.VAE(2, epochs=5, batch_size=32, lr=1e-2, compile=False, threads=1).fit(frame), frame


def test_a_table_is_filled_and_its_seen_cells_are_as_they_were(housed):
    vae, frame = housed
    for made in (vae.impute(frame), *vae.impute(frame, n=2), vae.complete(frame)[0]):
        assert list(made.columns) == list(frame.columns) and not made.isna().any().any()
        for column in frame.columns:
            seen = frame[column].notna()
            assert (made[column][seen] == frame[column][seen]).all()
        assert set(made["town"]) == {"Bonn", "Graz", "Kiel"} and (made["rooms"] % 1 == 0).all()


def test_a_table_is_drawn_given_a_level(housed):
    vae, _ = housed
    made = vae.sample(50, given={"town": "Kiel", "size": 4.125})
    assert (made["town"] == "Kiel").all() and (made["size"] == 4.125).all() and made["rooms"].nunique() > 1
    with pytest.raises(ValueError, match="unknown column 'twon' .did you mean"):
        vae.sample(1, given={"twon": "Kiel"})
    with pytest.raises(ValueError, match="Wien"):
        vae.sample(1, given={"town": "Wien"})


@pytest.mark.parametrize("library", ["polars", "pyarrow", "numpy"])
def test_gaps_are_filled_in_any_library(library):
    pd = pytest.importorskip("pandas")
    from vaekit.data.missing import filled

    frame = pd.DataFrame({"a": [1.5, np.nan, 3.5], "b": [1.0, 2.0, np.nan]})
    made = pd.DataFrame({"a": [9.0, 2.5, 9.0], "b": [9.0, 9.0, 7.0]})
    as_library = {
        "polars": lambda t: pytest.importorskip("polars").from_pandas(t),
        "pyarrow": lambda t: pytest.importorskip("pyarrow").Table.from_pandas(t),
        "numpy": lambda t: t.to_records(index=False).view(np.ndarray),
    }[library]
    found = filled(as_library(frame), as_library(made))
    for name, want in {"a": [1.5, 2.5, 3.5], "b": [1.0, 2.0, 7.0]}.items():
        assert list(np.asarray(found[name])) == want
