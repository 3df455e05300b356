"""The ELBO and the importance-weighted bound of one evaluation are of the same draws, so they keep their order."""

import compositions
import pytest
import torch

from vaekit.data.rows import Rows
from vaekit.data.spec import DataSpec
from vaekit.evaluation import evaluate_rows, score_rows


def few(model, n=30):
    x = compositions.rows(model.likelihood, n, model.likelihood.shape[0])
    kind = {"unit": "binary", "count": "count", "levels": "count"}.get(model.likelihood.support, "real")
    return Rows(x, DataSpec(kind, tuple(x.shape[1:]), "float64"), torch.float64)


@pytest.mark.parametrize("latent", compositions.LATENTS)
def test_no_row_has_an_elbo_above_its_bound(latent):
    """By Jensen's inequality, whatever the draws: mean log w <= log mean w. With one draw they are one number."""
    model = compositions.build(latent)
    rows = few(model)
    for draws in (1, 2, 9):
        scores = score_rows(model, rows, draws=draws, seed=draws)
        assert bool((scores.elbo <= scores.bound + 1e-9).all())
        torch.testing.assert_close(scores.elbo, -scores.distortion - scores.rate, rtol=1e-9, atol=1e-9)
        if draws == 1:
            torch.testing.assert_close(scores.elbo, scores.bound, rtol=1e-12, atol=1e-9)


@pytest.mark.parametrize("draws", [1, 3, 30])
def test_the_printed_elbo_is_not_above_the_printed_bound(draws):
    """Where q is nearly the prior the two nearly meet, and a rate in closed form would put the ELBO above."""
    model = compositions.build("normal")
    with torch.no_grad():
        for parameter in model.encoder.parameters():
            parameter.mul_(0.3)
    for seed in range(20):
        found = evaluate_rows(model, few(model), draws=draws, seed=seed)
        assert found["elbo"] <= found["log_likelihood"] + 1e-9
        assert found["elbo"] == pytest.approx(-found["distortion"] - found["rate"], rel=1e-9)


def test_the_rate_is_the_closed_one_within_its_error():
    model = compositions.build("normal")
    scores = score_rows(model, few(model), draws=2000)
    closed, error = scores.kl.double().sum(1).mean(), scores.rate.std() / len(scores.rate) ** 0.5
    assert abs(float(scores.rate.mean() - closed)) < 5 * float(error)
