"""The aggregate posterior from plain arrays, where the answers are known."""

import math

import numpy as np
import pytest
import torch

from vaekit.evaluation import aggregate
from vaekit.objectives import WAE


def normal(rows, columns, seed, scale=1.0):
    return scale * np.random.default_rng(seed).normal(size=(rows, columns))


def pairs(means, scale, seed=0):
    """log q(z_i | x_j), z_i ~ N(mean_i, scale^2)."""
    means = torch.from_numpy(means)
    q = torch.distributions.Independent(torch.distributions.Normal(means, scale), 1)
    z = means + scale * torch.from_numpy(normal(*means.shape, seed + 1000))
    return q.log_prob(z.unsqueeze(1))


def test_active_units_are_the_means_that_vary():
    means = normal(5000, 4, 0) * np.sqrt([1.0, 0.1, 0.02, 0.001])
    assert aggregate.active_units(means) == 3
    assert aggregate.active_units(means, threshold=0.05) == 2
    np.testing.assert_allclose(aggregate.variances(means), means.var(0, ddof=1))


@pytest.mark.parametrize("scale", [0.3, 1.0])
def test_the_information_of_a_gaussian_channel_lies_between_its_bounds(scale):
    """I = D/2 log(1 + 1 / scale^2) for means ~ N(0, I)."""
    low, high = aggregate.mutual_information(pairs(normal(1500, 2, 3), scale))
    truth = math.log(1 + scale**-2)
    errors = [4 * float(t.std()) / math.sqrt(1500) for t in (low, high)]
    assert float(low.mean()) - errors[0] < truth < float(high.mean()) + errors[1]
    assert float(high.mean() - low.mean()) < 0.2  # and they are near


def test_the_lower_bound_cannot_pass_the_logarithm_of_the_rows():
    low, high = aggregate.mutual_information(pairs(normal(200, 2, 3), 1e-4))
    np.testing.assert_allclose(low, math.log(200), atol=1e-6)
    assert float(high.mean()) > 1000


def test_codes_that_are_all_alike_tell_nothing():
    low, high = aggregate.mutual_information(pairs(np.zeros((100, 2)), 1.0))
    np.testing.assert_allclose(low, 0, atol=1e-12)
    np.testing.assert_allclose(high, 0, atol=1e-12)


def test_codes_of_one_distribution_with_the_prior_have_no_holes_and_no_distance():
    a, b = normal(500, 3, 0), normal(500, 3, 1)
    empty, stray = aggregate.holes(a, b)
    mmd, spread = aggregate.discrepancy(a, b)
    assert empty < 0.04 and stray < 0.04 and abs(mmd) < 4 * spread


def test_a_prior_between_two_clouds_of_codes_draws_from_holes():
    clouds = normal(500, 2, 0, 0.3) + np.repeat([[-6.0, 0.0], [6.0, 0.0]], 250, 0)
    empty, stray = aggregate.holes(clouds, normal(500, 2, 1))
    mmd, spread = aggregate.discrepancy(clouds, normal(500, 2, 1))
    assert empty > 0.9 and stray > 0.9 and mmd > 50 * spread


def test_which_of_the_two_is_wider_is_told():
    wide, narrow = (
        aggregate.holes(normal(500, 8, 0, 3.0), normal(500, 8, 1)),
        aggregate.holes(normal(500, 8, 0, 0.4), normal(500, 8, 1)),
    )
    assert wide[0] < 0.01 and wide[1] > 0.5
    assert narrow[0] > 0.5 and narrow[1] < 0.01


def test_the_discrepancy_is_that_of_the_objective():
    a, b = torch.from_numpy(normal(60, 3, 0)), torch.from_numpy(normal(60, 3, 1, 1.5))
    assert aggregate.discrepancy(a, b)[0] == pytest.approx(float(WAE().mmd(a, b)), abs=1e-10)


REFUSED = {
    "one row": (lambda: aggregate.variances(np.zeros((1, 2))), "finite means of at least two rows, (N, D), got (1, 2)"),
    "no rows and columns": (lambda: aggregate.variances(np.zeros(5)), "got (5,)"),
    "gaps": (lambda: aggregate.active_units(np.full((3, 2), np.nan)), "expected finite means"),
    "other widths": (lambda: aggregate.holes(np.zeros((3, 2)), np.zeros((3, 4))), "2 numbers, the prior's draws 4"),
    "not square": (lambda: aggregate.mutual_information(np.zeros((3, 2))), "(N, N), got (3, 2)"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused(case):
    call, message = REFUSED[case]
    with pytest.raises(ValueError, match="expected|numbers") as error:
        call()
    assert message in str(error.value)
