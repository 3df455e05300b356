"""Annealed importance sampling where log p(x) is known, and between its two bounds."""

import math

import numpy as np
import pytest
import torch
from torch import nn

import vaekit as vk
from vaekit import latents as lt
from vaekit import likelihoods as lk
from vaekit.core import ForwardContext, Source
from vaekit.data.rows import Rows
from vaekit.data.spec import DataSpec
from vaekit.evaluation import annealed, bracket
from vaekit.evaluation.annealed import temperatures
from vaekit.model import VAEModule
from vaekit.networks import MLP

X, LOG_P = 1.3, -1.6880121235


def rung(prior, size=1):
    return lt.LadderLevel(lt.Latent(lt.Normal(size), prior), MLP((6,)))


LATENTS = {
    "flat": lambda: lt.Latent(lt.Normal(2), lt.StandardNormal()),
    "mixture": lambda: lt.Latent(lt.Normal(2), lt.GaussianMixture(3)),
    "ladder": lambda: lt.Ladder([rung(lt.StandardNormal()), rung(lt.Conditional(MLP((6,)), lt.Normal(1)))], 6),
    "hamiltonian": lambda: lt.Hamiltonian(lt.Latent(lt.Normal(2), lt.StandardNormal()), steps=2),
}


def model(name, cells=8):
    torch.manual_seed(0)
    built = VAEModule(MLP((8,)), LATENTS[name](), MLP((8,)), lk.Bernoulli()).resolve_shapes((cells,)).double()
    for p in built.decoder.parameters():
        p.data.mul_(2.5)  # so that x says something of z
    return built


def test_temperatures_rise_from_nothing_to_one():
    betas = temperatures(10)
    assert betas[0] == 0 and betas[-1] == 1 and betas == sorted(betas) and len(betas) == 11


def test_the_toy_posterior_is_found_without_its_encoder():
    """z ~ N(0, 1), x | z ~ N(z, 1): REFERENCE of the library, log N(x; 0, 2)."""
    toy = VAEModule(nn.Linear(1, 2), lt.Latent(lt.Normal(1), lt.StandardNormal()), nn.Identity(), lk.Gaussian(1.0))
    toy = toy.resolve_shapes((1,)).double()
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
    x = built.decode(built.generate(40, source)).draw(ForwardContext.of(source))
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
    book = VAEModule(MLP((8,)), lt.Codebook(4, 2, positions=3), MLP((8,)), lk.Bernoulli()).resolve_shapes((4,))
    with pytest.raises(ValueError, match="annealing moves z along gradients, and the codes of Codebook"):
        bracket(book)
    choices = lt.Latent(lt.Categorical(2, 3), lt.UniformCategorical())
    with pytest.raises(ValueError, match="importance-weighted bound"):
        bracket(VAEModule(MLP((8,)), choices, MLP((8,)), lk.Bernoulli()).resolve_shapes((4,)))


@torch.no_grad()
def test_a_model_that_reads_context_is_annealed_given_it():
    """Against the integral over one latent number, whose prior and likelihood the context moves."""
    torch.manual_seed(0)
    prior = lt.Conditional(MLP((6,)), lt.Normal(1))
    built = (
        VAEModule(MLP((8,)), lt.Latent(lt.Normal(1), prior), MLP((8,)), lk.Bernoulli()).resolve_shapes((5,), 2).double()
    )
    for p in built.parameters():
        p.mul_(2.0)
    source = Source.like(built, 1)
    context = torch.randn(30, 2, dtype=torch.float64)
    x = built.decode(built.generate(30, source, context), context).draw(ForwardContext.of(source))
    rows = Rows(x, DataSpec("binary", (5,), "float64"), torch.float64, context=context)
    axis = torch.linspace(-12, 12, 801, dtype=torch.float64)
    integral = []
    for row, own in zip(x, context):
        own = own.expand(len(axis), 2)
        log_p = built.latent.log_prior(axis.unsqueeze(1), built.prior_scope(source, own), own)
        joint = built.decode(axis.unsqueeze(1), own).log_density(row.expand(len(axis), 5)) + log_p
        integral.append(joint.logsumexp(0) + math.log(float(axis[1] - axis[0])))
    found = annealed(built, rows, chains=16, betas=60, steps=5)
    assert float((found - torch.stack(integral)).abs().mean()) < 0.05
    gap = bracket(built, 30, chains=8, betas=60, steps=5, context=context).gap
    assert -4 * gap.error < gap.value < 0.1 + 4 * gap.error


def test_rows_are_annealed_some_at_a_time_however_many_there_are(monkeypatch):
    from vaekit.evaluation.likelihood import BUDGET

    most, generate = [], VAEModule.generate
    monkeypatch.setattr(VAEModule, "generate", lambda self, n, *rest: most.append(n) or generate(self, n, *rest))
    monkeypatch.setitem(BUDGET, "cpu", 8 * 4 * 5)
    found = bracket(model("flat"), 12, chains=4, betas=3, steps=1)
    assert len(found.lower) == len(found.upper) == 12 and max(most) == 4 * 5
    with pytest.raises(ValueError, match="rows=1: expected at least two rows"):
        bracket(model("flat"), 1)


def test_an_evaluation_may_have_annealing_beside_its_bound():
    x = np.random.default_rng(0).normal(size=(60, 3)) * [1, 10, 100]
    vae = vk.VAE(epochs=1, threads=1, compile=False).fit(x)
    found = vae.evaluate(x, draws=4, ais=6, bracket=5, betas=10)
    gain = found["ais"] - float(found.per_row["log_likelihood"][:6].mean())
    assert found["ais_gain"] == pytest.approx(gain) and "of the first 6 rows" in found.figures["ais"].meaning
    assert found["ais"] == pytest.approx(vae.annealed(x[:6], betas=10).mean())  # with the Jacobian of the scaling
    assert found["bracket_gap"] == pytest.approx(found["bracket_above"] - found["bracket_below"], abs=1e-5)
    alone = bracket(vae.module_, 5, betas=10)  # in the model's space
    assert found["bracket_above"] == pytest.approx(float(alone.upper.mean()) + vae.spec_.log_jacobian, abs=1e-4)
    assert not {"ais", "bracket_gap"} & vae.evaluate(x, draws=4).figures.keys()
    beside = vk.VAE(epochs=1, threads=1, compile=False).fit(x, context=np.arange(60) % 2)
    assert "bracket_gap" in beside.evaluate(x, 4, context=np.arange(60) % 2, bracket=5, betas=5).figures
    with pytest.raises(ValueError, match="bracket=70 takes the context of as many rows, and there are 60"):
        beside.evaluate(x, 4, context=np.arange(60) % 2, bracket=70)
