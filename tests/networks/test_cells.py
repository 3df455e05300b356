"""Encoders of what is seen of a row, and the start from factor analysis."""

import numpy as np
import pytest
import torch

import vaekit as vk
from vaekit.latents import Latent, NaturalNormal, StandardNormal
from vaekit.likelihoods import Bernoulli, Categorical, Gaussian, Mixed, Ordinal
from vaekit.networks import MLP, FactorEncoder, SetEncoder, SkipMLP
from vaekit.recipes.factors import factor_analysis


def built(kind, out, cells=5):
    torch.manual_seed(0)
    return kind(cells=cells, owners=range(cells), in_shape=(2 * cells,), out_shape=(out,)).double()


def seen(n=7, cells=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    mask = (torch.rand(n, cells, generator=generator) < 0.6).double()
    return torch.randn(n, cells, generator=generator).double(), mask


@pytest.mark.parametrize(("kind", "out"), [(SetEncoder, 4), (FactorEncoder, 12)])
def test_what_stands_in_a_missing_cell_changes_nothing(kind, out):
    network, (x, mask) = built(kind, out), seen()
    a, b = (network(torch.cat([mask, t], 1)) for t in (x, torch.where(mask > 0, x, 99.0)))
    torch.testing.assert_close(a, b, rtol=0, atol=0)


@pytest.mark.parametrize(("kind", "out"), [(SetEncoder, 4), (FactorEncoder, 12)])
def test_the_order_of_the_cells_does_not_matter(kind, out):
    """Cells in another order, each with what is learned of it."""
    network, (x, mask) = built(kind, out), seen()
    told = network(torch.cat([mask, x], 1))
    order = torch.randperm(5, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        for name in ("places", "factors", "means", "shifts"):
            if hasattr(network, name):
                own = getattr(network, name)
                own.copy_(own[order].clone())
    torch.testing.assert_close(network(torch.cat([mask[:, order], x[:, order]], 1)), told, rtol=1e-12, atol=1e-12)


def test_natural_parameters_are_those_of_the_posterior():
    """Of z ~ N(0, I) and Gaussian factors, against the formula."""
    generator = torch.Generator().manual_seed(0)
    eta, a = (torch.randn(*s, generator=generator, dtype=torch.float64) for s in ((3, 4), (3, 6, 4)))
    squares = torch.einsum("bfi,bfj->bij", a, a)
    q = NaturalNormal(4)(torch.cat([eta, squares.flatten(1)], 1))
    covariance = torch.linalg.inv(torch.eye(4) + squares)
    torch.testing.assert_close(q.scale_tril @ q.scale_tril.mT, covariance, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(q.loc, (covariance @ eta.unsqueeze(2)).squeeze(2), rtol=1e-10, atol=1e-12)
    assert (q.scale_tril.triu(1) == 0).all()


def test_a_skip_network_begins_linear():
    network = SkipMLP((8,), in_shape=(3,), out_shape=(2,))
    x = torch.randn(6, 3)
    torch.testing.assert_close(network(x), network.linear(x))


def test_features_are_told_by_their_cells():
    likelihood = Mixed([Gaussian(shape=(2,)), Categorical(3, shape=(2,))])
    latent = Latent(NaturalNormal(2), StandardNormal())
    model = vk.VAEModule(FactorEncoder(), latent, MLP((4,)), likelihood).resolve_shapes((4,))
    assert model.encoder.owners == (0, 1, 2, 2, 2, 3, 3, 3)


OF_CELLS = [
    Mixed([Gaussian(shape=(2,)), Categorical(3, shape=(2,)), Ordinal([2, 4]), Bernoulli(shape=(1,))]),
    Categorical(3, one_hot=True, shape=(4,)),
    Gaussian(shape=(2, 3)),
]


@pytest.mark.parametrize("likelihood", OF_CELLS, ids=lambda likelihood: type(likelihood).__name__)
def test_a_feature_is_owned_by_the_cell_that_it_changes_with(likelihood):
    """Without a cell just its own features are 0."""
    x = torch.ones(1, *likelihood.shape)
    whole, cells = likelihood.features(x).flatten(), x.numel()
    for cell in range(cells):
        mask = (torch.arange(cells) != cell).float().reshape(x.shape)
        lost = whole != likelihood.features(x, mask).flatten()
        assert {likelihood.owners[i] for i in lost.nonzero().flatten()} == {cell}


def test_context_is_always_seen_and_moves_the_codes():
    """What is known beside a row is a feature that no cell owns; at first it says nothing of z."""
    network = FactorEncoder(cells=3, owners=range(3), in_shape=(8,), out_shape=(6,)).double()
    assert network.owner.tolist() == [0, 1, 2, 3, 3]
    x = torch.randn(4, 8, dtype=torch.float64)
    told = network(x)
    torch.testing.assert_close(network(torch.cat([x[:, :6], x[:, 6:] + 1], 1)), told)
    with torch.no_grad():
        network.means[3:] = 1.0
    assert (network(torch.cat([x[:, :6], x[:, 6:] + 1], 1))[:, :2] != network(x)[:, :2]).all()


def test_factor_analysis_finds_the_covariance():
    rng = np.random.default_rng(0)
    loadings, noise = rng.normal(size=(6, 2)), np.array([0.3, 0.5, 0.4, 0.3, 0.6, 0.5])
    x = rng.normal(size=(4000, 2)) @ loadings.T + noise * rng.normal(size=(4000, 6)) + 1.0
    mask = rng.random(x.shape) < 0.6
    found = factor_analysis(torch.from_numpy(x), torch.from_numpy(mask), 2, steps=200)
    (block,) = found.blocks
    covariance = (found.loadings @ found.loadings.T + torch.diag(block.noise.flatten())).numpy()
    np.testing.assert_allclose(covariance, loadings @ loadings.T + np.diag(noise**2), atol=0.4)
    np.testing.assert_allclose(found.mean, 1.0, atol=0.15)


def test_noise_is_free_within_a_column():
    """Of columns of two and three features whose own links are far stronger than those between them, factors find the
    latter; what is read of a column, `L^-1 W` with L L^T = Psi, has the precision `W^T Psi^-1 W`."""
    rng = np.random.default_rng(1)
    owners, n = [0, 0, 1, 1, 1, 2], 20_000
    loadings = 0.4 * rng.normal(size=(6, 1))
    roots = [rng.normal(size=(w, w)) for w in (2, 3, 1)]
    own = np.concatenate([rng.normal(size=(n, len(r))) @ r.T for r in roots], 1)
    x = rng.normal(size=(n, 1)) @ loadings.T + own
    found = factor_analysis(torch.from_numpy(x), torch.ones(n, 6), 1, owners, steps=150, ridge=0.0)
    between = np.array(owners)[:, None] != np.array(owners)
    made = (found.loadings @ found.loadings.T).numpy()
    np.testing.assert_allclose(made[between], (loadings @ loadings.T)[between], atol=0.04)
    for block in found.blocks:
        for column, places in zip(block.columns, block.places):
            w, psi = found.loadings[places], roots[column] @ roots[column].T
            np.testing.assert_allclose(
                w @ w.T + block.noise[block.columns == column][0], psi + loadings[places] @ loadings[places].T, atol=0.3
            )
            told, white = found.told()[places], found.whitened()[places]
            torch.testing.assert_close(white.T @ white, w.T @ told)


def test_columns_without_links_have_no_factors():
    """Levels of one column exclude one another: that is its own noise, and no factor."""
    rng = np.random.default_rng(0)
    levels = [rng.integers(k, size=10_000) for k in (5, 4, 6)]
    x = torch.from_numpy(np.concatenate([np.eye(int(own.max()) + 1)[own] for own in levels], 1))
    owners = [0] * 5 + [1] * 4 + [2] * 6
    told = [factor_analysis(x, torch.ones_like(x), 2, own).whitened().square().sum() for own in (owners, None)]
    assert told[0] < 0.5 < 10.0 < told[1]  # chance alone gives some 6 * sqrt(12 / 10,000)


@pytest.mark.slow
def test_a_model_begins_as_the_best_linear_one():
    """Before a step its fills are those of the Gaussian that the rows are drawn from, nearly, and its weights alike."""
    rng = np.random.default_rng(0)
    loadings = rng.normal(size=(8, 2))
    x = rng.normal(size=(300, 2)) @ loadings.T + 0.3 * rng.normal(size=(300, 8))
    gone = rng.random(x.shape) < 0.4
    vae = vk.VAE(2, recipe="table", missing=True, epochs=0, compile=False, threads=1).fit(np.where(gone, np.nan, x))
    covariance, ideal = loadings @ loadings.T + 0.09 * np.eye(8), x.copy()
    for row, g, made in zip(x, gone, ideal):
        made[g] = covariance[g][:, ~g] @ np.linalg.solve(covariance[~g][:, ~g], row[~g])
    holed = np.where(gone, np.nan, x)
    error = np.square(vae.impute(holed) - x)[gone].mean()
    assert error < 1.2 * np.square(ideal - x)[gone].mean()
    assert np.median(vae.complete(holed)[1]) > 0.7 * 200
