"""Annealed importance sampling where log p(x) is known, and between its two bounds."""

import math

import pytest
import torch
from torch import nn

from vaekit import latents as lt
from vaekit import likelihoods as lk
from vaekit.core import Scope, Source
from vaekit.data.rows import Rows
from vaekit.data.spec import DataSpec
from vaekit.evaluation import annealed, bracket
from vaekit.evaluation.annealed import temperatures
from vaekit.model import VAEModule
from vaekit.networks import MLP

X, LOG_P = 1.3, -1.6880121235


def rung(prior, size=1):
    return lt.Rung(lt.Latent(lt.Normal(size), prior), MLP((6,)))


LATENTS = {
    "flat": lambda: lt.Latent(lt.Normal(2), lt.StandardNormal()),
    "mixture": lambda: lt.Latent(lt.Normal(2), lt.GaussianMixture(3)),
    "ladder": lambda: lt.Ladder([rung(lt.StandardNormal()), rung(lt.Conditional(MLP((6,)), lt.Normal(1)))], 6),
    "hamiltonian": lambda: lt.Hamiltonian(lt.Latent(lt.Normal(2), lt.StandardNormal()), steps=2),
}


def model(name, cells=8):
    torch.manual_seed(0)
    built = VAEModule(MLP((8,)), LATENTS[name](), MLP((8,)), lk.Bernoulli()).settled((cells,)).double()
    for p in built.decoder.parameters():
        p.data.mul_(2.5)  # so that x says something of z
    return built


def test_temperatures_rise_from_nothing_to_one():
    betas = temperatures(10)
    assert betas[0] == 0 and betas[-1] == 1 and betas == sorted(betas) and len(betas) == 11


def test_the_toy_posterior_is_found_without_its_encoder():
    """z ~ N(0, 1), x | z ~ N(z, 1): REFERENCE of the library, log N(x; 0, 2)."""
    toy = VAEModule(nn.Linear(1, 2), lt.Latent(lt.Normal(1), lt.StandardNormal()), nn.Identity(), lk.Gaussian(1.0))
    toy = toy.settled((1,)).double()
    rows = Rows(torch.full((200, 1), X, dtype=torch.float64), DataSpec("real", (1,), "float64"), torch.float64)
    found = annealed(toy, rows, chains=16, betas=100, steps=5)
    error = float(found.std() / math.sqrt(len(found)))
    assert error < 0.01 and abs(float(found.mean()) - LOG_P) < 4 * error + 0.02


@pytest.mark.slow
@pytest.mark.parametrize("name", LATENTS)
@torch.no_grad()
def test_it_agrees_with_the_integral_over_two_latents(name):
    built = model(name)
    source = Source.like(built, 1)
    x = built.decode(built.generate(40, source)).draw(Scope.of(source))
    axis = torch.linspace(-8, 8, 321, dtype=torch.float64)
    plane = torch.cartesian_prod(axis, axis)
    log_p = built.latent.log_prior(plane, built.prior_scope(Source.like(built)))
    joint = built.decode(plane).log_prob(x.unsqueeze(1)).sum(2) + log_p
    integral = joint.logsumexp(1) + 2 * math.log(float(axis[1] - axis[0]))
    found = annealed(built, Rows(x, DataSpec("binary", (8,), "float64"), torch.float64), chains=32, betas=200, steps=5)
    assert abs(float((found - integral).mean())) < 0.02
    assert float((found - integral).abs().max()) < 0.2


@pytest.mark.slow
@pytest.mark.parametrize("name", LATENTS)
def test_the_bounds_bracket_the_truth_closely(name):
    found = bracket(model(name), 200, chains=8, betas=200, steps=5)
    assert -4 * found.gap.error < found.gap.value < 0.1
    assert found.gap.value < 0.1


def test_fewer_temperatures_leave_a_wider_gap():
    gaps = [bracket(model("flat"), 300, chains=1, betas=n, steps=2).gap.value for n in (2, 60)]
    assert gaps[0] > gaps[1] + 0.1


def test_codes_that_no_gradient_moves_are_refused():
    book = VAEModule(MLP((8,)), lt.Codebook(4, 2, positions=3), MLP((8,)), lk.Bernoulli()).settled((4,))
    with pytest.raises(ValueError, match="annealing moves z along gradients, and the codes of Codebook"):
        bracket(book)
    choices = lt.Latent(lt.Categorical(2, 3), lt.UniformCategorical())
    with pytest.raises(ValueError, match="importance-weighted bound"):
        bracket(VAEModule(MLP((8,)), choices, MLP((8,)), lk.Bernoulli()).settled((4,)))
