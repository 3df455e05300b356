"""Columns of money: heavy tails, zeros, caps and sentinels have a finite log p and finite gradients, whatever is said.

The values that bound a piece of a column's map, such as its extremes, are where digits are lost.
"""

import numpy as np
import pytest
import torch

from vaekit.data.schema import Schema
from vaekit.likelihoods import of_table
from vaekit.likelihoods.columns import CountColumns

pandas = pytest.importorskip("pandas")


def money(seed, rows=1500):
    """Columns of amounts: log-normal or Pareto, some of them zero, capped, signed, rounded or -999."""
    noise = np.random.default_rng(seed)
    columns = {}
    for j, tail in enumerate(("log-normal", "pareto", "capped", "sentinel", "signed", "counts")):
        v = np.exp(noise.uniform(2, 3) * noise.normal(size=rows) + noise.uniform(0, 8))
        if tail == "pareto":
            v = (noise.pareto(noise.uniform(1, 1.5), rows) + 1) * 10 ** noise.uniform(0, 4)
        v = np.minimum(v, np.quantile(v, 0.95)) if tail == "capped" else v
        v = np.where(noise.random(rows) < 0.5, v, -0.3 * v) if tail == "signed" else v
        v = np.round(v, 0 if tail == "counts" else 2) if j % 2 else v
        v = np.where(noise.random(rows) < noise.uniform(0.3, 0.7), 0.0, v)
        columns[tail] = np.where(noise.random(rows) < 0.05, -999.0, v) if tail == "sentinel" else v
    return pandas.DataFrame(columns)


def encoded(table):
    schema = Schema.infer(table)
    return of_table(schema), torch.from_numpy(schema.encode(table))


@pytest.mark.parametrize("scale", [0.0, 1.0, 10.0, 100.0])
@pytest.mark.parametrize("seed", range(6))
def test_log_p_and_its_gradient_are_finite_at_every_value(seed, scale):
    likelihood, x = encoded(money(seed))
    parameters = scale * torch.randn(len(x), *likelihood.in_shape, generator=torch.Generator().manual_seed(seed))
    parameters.requires_grad_()
    cells = likelihood(parameters).log_cells(x.float())
    cells.sum().backward()
    assert cells.isfinite().all()
    assert parameters.grad.isfinite().all() and parameters.grad.abs().max() < 1e18


@pytest.mark.parametrize("seed", range(6))
def test_single_precision_gives_the_log_p_of_double_precision(seed):
    """At every value, the ends of pieces included, where a difference of images loses all its digits."""
    likelihood, x = encoded(money(seed))
    parameters = torch.randn(len(x), *likelihood.in_shape, generator=torch.Generator().manual_seed(seed))
    x = x.float()
    exact = likelihood.double()(parameters.double()).log_cells(x.double())
    single = likelihood.float()(parameters).log_cells(x)
    # A value next to a bend of the map may fall on either side of it in single precision: a bend is a factor of slopes.
    assert ((single - exact).abs() < 1e-2 * (1 + exact.abs())).double().mean() > 0.99


def test_the_mean_of_counts_and_their_dispersion_are_bounded_around_the_columns():
    likelihood = CountColumns([1e6, 3.0], [1e14, 3.0])
    for extreme in (-1e6, 1e6):
        px = likelihood(torch.full((4, 4), extreme))
        x = torch.tensor([[0.0, 0.0], [1e9, 0.0], [0.0, 100.0], [1e9, 100.0]])
        assert px.log_prob(x).isfinite().all()
        assert bool(((px.log_mean - likelihood.centre).abs() <= 15).all())
    near = likelihood(torch.full((1, 4), 0.1))
    torch.testing.assert_close(near.log_mean - likelihood.centre, torch.full((1, 2), 0.1), rtol=1e-3, atol=1e-4)
