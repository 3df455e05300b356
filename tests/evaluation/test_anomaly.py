"""How odd rows are: the same at each call, wherever a row stands; the shares of cells; conformal p-values."""

import math

import numpy as np
import pytest
import torch

import vaekit as vk
from vaekit.evaluation import anomaly
from vaekit.evaluation.likelihood import score_rows

SCORES = ("bound", "elbo", "distortion", "error")


@pytest.fixture(scope="module")
def fitted():
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(300, 2)) @ rng.normal(size=(2, 6)) + 0.1 * rng.normal(size=(300, 6))).astype(np.float32)
    x[rng.random(x.shape) < 0.1] = np.nan
    return vk.VAE(2, epochs=15, batch_size=32, lr=5e-3, missing=True, compile=False, threads=1).fit(x), x


# -- scores ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("score", SCORES)
def test_a_score_is_the_same_to_the_bit_at_the_next_call(fitted, score):
    vae, x = fitted
    assert np.array_equal(vae.anomaly_score(x, score), vae.anomaly_score(x, score))


@pytest.mark.parametrize("score", SCORES)
def test_a_row_has_its_score_wherever_it_stands(fitted, score):
    vae, x = fitted
    order = np.random.default_rng(1).permutation(len(x))
    scores = vae.anomaly_score(x, score)
    np.testing.assert_allclose(vae.anomaly_score(x[order], score), scores[order], rtol=1e-4)
    np.testing.assert_allclose(vae.anomaly_score(x[7:9], score), scores[7:9], rtol=1e-4)


def test_the_scores_are_those_of_an_evaluation_but_for_the_noise(fitted):
    """In the model's space."""
    vae, x = fitted
    rows = vae.fitted_.rows(x)
    scored = score_rows(vae.module_, rows, draws=400)
    for name, other in (("elbo", -scored.elbo), ("distortion", scored.distortion)):
        apart = vae.anomaly_score(x, name, draws=400) - (other.numpy() + rows.spec.log_jacobian)
        assert abs(apart.mean()) < 0.15


def test_what_lies_off_the_plane_is_odder(fitted):
    vae, x = fitted
    rng = np.random.default_rng(4)
    mixed = np.stack([rng.permutation(column) for column in x.T], 1)
    for score in SCORES:
        both = np.concatenate([vae.anomaly_score(x, score), vae.anomaly_score(mixed, score)])
        assert vk.evaluation.roc_auc(both, np.repeat([0, 1], len(x))).value > 0.85


def test_the_typicality_is_a_distance_from_normal_rows(fitted):
    vae, x = fitted
    bound = vae.anomaly_score(x)
    np.testing.assert_allclose(vae.anomaly_score(x, "typicality", normal=x), np.abs(bound - bound.mean()), rtol=1e-12)


# -- shares of cells -------------------------------------------------------------------------------


@pytest.mark.parametrize("score", ["bound", "distortion", "error"])
def test_the_shares_of_cells_sum_to_the_score(fitted, score):
    vae, x = fitted
    shares = vae.explain(x, score)
    assert shares.shape == x.shape
    np.testing.assert_allclose(shares.sum(1), vae.anomaly_score(x, score), rtol=1e-9)
    assert (shares[np.isnan(x)] == 0).all()


def test_a_cell_that_is_wrong_has_the_largest_share(fitted):
    vae, x = fitted
    whole = x[~np.isnan(x).any(1)][:60].copy()
    place = np.arange(len(whole)) % whole.shape[1]
    whole[np.arange(len(whole)), place] += 8
    assert (vae.explain(whole).argmax(1) == place).mean() > 0.8


def test_the_shares_are_shapley_values():
    """By all orders of three cells."""
    from itertools import permutations

    generator = torch.Generator().manual_seed(0)
    cells = torch.randn(20, 2, 3, generator=generator, dtype=torch.float64)
    drawn = anomaly.Drawn(cells, torch.zeros(20, 2, dtype=torch.float64), torch.zeros(2), torch.ones(2, 3))

    def value(of):
        return -(torch.logsumexp(cells[:, :, list(of)].sum(2), 0) - math.log(20))

    want = torch.zeros(2, 3, dtype=torch.float64)
    for order in permutations(range(3)):
        for t, cell in enumerate(order):
            want[:, cell] += (value(order[: t + 1]) - value(order[:t])) / 6
    torch.testing.assert_close(anomaly.shapley(drawn, 0, orders=150), want, atol=0.09, rtol=0)


# -- how rare --------------------------------------------------------------------------------------


def test_a_p_value_counts_normal_rows_that_are_as_odd():
    normal = [1.0, 2.0, 3.0, 4.0]
    np.testing.assert_allclose(anomaly.p_values([0.0, 2.0, 2.5, 9.0], normal), [1.0, 0.8, 0.6, 0.2])


def test_p_values_of_normal_rows_are_no_smaller_than_uniform():
    """P(p <= a) <= a, within four standard errors over 2,000 pairs of samples."""
    rng = np.random.default_rng(0)
    p = np.array([anomaly.p_values(rng.normal(size=1), rng.normal(size=19))[0] for _ in range(2000)])
    for a in (0.05, 0.1, 0.5):
        assert (p <= a).mean() <= a + 4 * math.sqrt(a * (1 - a) / 2000)


def test_wrong_calls(fitted):
    vae, x = fitted
    for call, message in [
        (lambda: vae.anomaly_score(x, "bond"), "unknown score 'bond'"),
        (lambda: vae.anomaly_score(x, "typicality"), "pass some, normal="),
        (lambda: vae.explain(x, "elbo"), "no sum over cells"),
        (lambda: anomaly.p_values([1.0], []), "expected scores"),
        (lambda: anomaly.p_values([math.nan], [1.0]), "scores are NaN"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()
