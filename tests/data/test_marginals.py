"""The map that makes a column of numbers normal: a line where the column nearly is, its quantiles elsewhere."""

import numpy as np
import pytest
import torch

from vaekit.data.marginals import Marginal


def map_of(values, width=1e-3):
    distinct, counts = np.unique(values, return_counts=True)
    return Marginal.of(distinct - width / 2, distinct + width / 2, counts)


def pieces(marginal):
    """Within the values that were met."""
    return len(marginal.knots) - 3


RNG = np.random.default_rng(0)
NORMAL = 3 + 2 * RNG.normal(size=1000)
LINES = {"normal": (NORMAL, 1e-3), "rounded": (NORMAL.round(), 1.0), "a few rows": (NORMAL[:20], 1e-3)}
CURVES = {
    "skewed": np.exp(NORMAL),
    "two modes": np.concatenate([NORMAL[:500], NORMAL[500:] + 30]),
    "zeros": np.where(RNG.random(1000) < 0.05, 0.0, 1 + np.abs(NORMAL)),
}


@pytest.mark.parametrize("case", LINES)
def test_a_column_that_is_nearly_normal_has_a_line(case):
    values, width = LINES[case]
    marginal = map_of(values, width)
    slope = np.diff(marginal.scores) / np.diff(marginal.knots)
    np.testing.assert_allclose(slope, slope[0], rtol=1e-9)
    assert slope[0] == pytest.approx(1 / values.std(), rel=0.15)
    assert marginal.knots[1] == values.min() - width / 2 and marginal.knots[-2] == values.max() + width / 2


@pytest.mark.parametrize("case", CURVES)
def test_another_column_has_its_quantiles(case):
    assert pieces(map_of(CURVES[case])) > 10


def test_a_value_that_is_met_often_keeps_a_piece_as_high_as_its_share():
    marginal = map_of(CURVES["zeros"])
    low, high = torch.special.ndtr(torch.tensor(marginal.scores[1:3]))
    assert marginal.knots[1:3] == (-5e-4, 5e-4)
    assert float(high - low) == pytest.approx(np.mean(CURVES["zeros"] == 0), abs=0.01)
