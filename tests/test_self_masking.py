"""Cells that are missing by what they hold."""

import numpy as np
import pytest
import torch

import vaekit as vk
from vaekit.core import ForwardContext, Source
from vaekit.distributions import SelfMaskedNormal


def some():
    t = torch.float64
    return SelfMaskedNormal(
        torch.tensor([[0.3, -1.2]], dtype=t),
        torch.tensor([[0.8, 1.5]], dtype=t),
        torch.tensor([[0.5, -0.4]], dtype=t),
        torch.tensor([[-2.0, 1.5]], dtype=t),
    )


def integral(f, px, i):
    x = torch.linspace(-20, 20, 400_001, dtype=torch.float64)
    p = torch.distributions.Normal(px.loc[0, i], px.scale[0, i]).log_prob(x).exp()
    seen = torch.sigmoid(px.offset[0, i] + px.slope[0, i] * x)
    return torch.trapezoid(f(x, seen) * p, x).item()


@pytest.mark.parametrize("i", [0, 1])
def test_the_chance_of_a_gap_and_what_is_in_it_are_the_integrals(i):
    px = some()
    chance = integral(lambda x, seen: 1 - seen, px, i)
    assert px.log_missing[0, i].exp().item() == pytest.approx(chance, rel=3e-4)
    assert px.moments[0, i].item() == pytest.approx(integral(lambda x, seen: x * (1 - seen), px, i) / chance, abs=2e-3)


def test_seen_and_missing_together_have_a_mass_of_one():
    px = some()
    x = torch.linspace(-20, 20, 40_001, dtype=torch.float64).unsqueeze(1).expand(-1, 2)
    seen = torch.trapezoid(px.log_prob(x).exp(), x, dim=0)
    torch.testing.assert_close(seen + px.log_missing[0].exp(), torch.ones(2, dtype=torch.float64), atol=1e-4, rtol=0)


def test_draws_of_missing_cells_have_their_mean():
    px = some().map(lambda t: t.expand(20_000, 2))
    drawn = px.draw_missing(ForwardContext.of(Source(0, dtype=torch.float64)))
    error = drawn.std(0) / 20_000**0.5
    assert ((drawn.mean(0) - px.moments[0]).abs() < 4.5 * error + 0.02).all()


def test_without_a_slope_it_is_missing_at_random():
    loc, scale = torch.randn(4, 3), torch.ones(4, 3)
    px = SelfMaskedNormal(loc, scale, torch.zeros(4, 3), torch.zeros(4, 3))
    torch.testing.assert_close(px.log_missing, torch.full((4, 3), 0.5).log())
    torch.testing.assert_close(px.moments, loc, atol=1e-5, rtol=0)


@pytest.mark.slow
def test_what_is_left_out_because_it_is_large_is_filled_larger():
    """Values above the mean are mostly left out: missing at random fills them too low, a modelled mask does not."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(600, 1)) + 0.5 * rng.normal(size=(600, 4))
    gone = rng.random(x.shape) < 1 / (1 + np.exp(-4 * x))
    gone[:, 2:] = False  # two columns are whole
    bias = {}
    for recipe in ("miwae", "not-miwae"):
        settings = {"missing": True, "epochs": 40, "batch_size": 64, "lr": 3e-3, "compile": False, "threads": 1}
        vae = vk.VAE(1, recipe=vk.recipes.Recipe(recipe, k=5, hidden=(32,)), **settings)
        bias[recipe] = (vae.fit(holed := np.where(gone, np.nan, x)).impute(holed) - x)[gone].mean()
    assert bias["miwae"] < -0.3 and abs(bias["not-miwae"]) < 0.6 * abs(bias["miwae"])


def test_an_optimal_scale_is_refused():
    with pytest.raises(ValueError, match="another learned one"):
        vk.likelihoods.SelfMaskedGaussian("optimal")


def test_the_chance_that_a_cell_is_there_is_what_its_density_is_multiplied_by():
    likelihood = vk.likelihoods.SelfMaskedGaussian(shape=(2,))
    with torch.no_grad():
        likelihood.offset.copy_(torch.tensor([0.5, -0.4])), likelihood.slope.copy_(torch.tensor([-2.0, 1.5]))
    x, parameters = torch.randn(5, 2), torch.randn(5, *likelihood.in_shape)
    px = likelihood(parameters)
    whole = torch.distributions.Normal(px.loc, px.scale).log_prob(x)
    torch.testing.assert_close(likelihood.chance_seen(x).log(), px.log_prob(x) - whole, atol=1e-5, rtol=1e-5)
    apart = vk.likelihoods.Mixed([likelihood, vk.likelihoods.Gaussian(shape=(1,))])
    chance = apart.chance_seen(torch.cat([x, x[:, :1]], 1))
    torch.testing.assert_close(chance[:, :2], likelihood.chance_seen(x))
    assert chance[:, 2].isnan().all() and vk.likelihoods.Gaussian().chance_seen(x) is None
