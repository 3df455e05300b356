"""Priors over grids of codes: their mass, their order, their draws; and a latent-variable model of rows."""

import itertools
import math

import pytest
import torch

from vaekit import latents as lt
from vaekit.core import ForwardContext, Source

PRIORS = {
    "pixels": lambda grid: lt.PixelPrior(channels=6, layers=5, grid=grid, codes=2),
    "transformer": lambda grid: lt.TransformerPrior(width=8, layers=2, heads=2, grid=grid, codes=2),
}
CASES = [(name, grid) for name in PRIORS for grid in ((2, 3), (5,))]


def scope(seed=0):
    return ForwardContext.of(Source(seed, dtype=torch.float64))


def prior(name, grid):
    """With weights large enough to make its codes depend on one another."""
    torch.manual_seed(0)
    made = PRIORS[name](grid).double()
    for p in made.parameters():
        torch.nn.init.normal_(p, std=0.5)
    return made


def every_grid(grid):
    return torch.tensor(list(itertools.product(range(2), repeat=math.prod(grid)))).reshape(-1, *grid)


@pytest.mark.parametrize(("name", "grid"), CASES)
def test_the_mass_of_all_grids_is_one(name, grid):
    mass = prior(name, grid)(scope()).log_density(every_grid(grid)).exp().detach()
    assert float(mass.sum()) == pytest.approx(1, abs=1e-12)
    assert float(mass.max() / mass.min()) > 2, "all grids are nearly as likely: the test would see nothing"


@pytest.mark.parametrize(("name", "grid"), [*CASES, ("pixels", (4, 5))])
def test_a_code_is_given_exactly_those_before_it(name, grid):
    """Row by row from the first; no blind spot."""
    made, size = prior(name, grid), math.prod(grid)
    read = torch.rand(1, *grid, 2, dtype=torch.float64)
    reaches = torch.autograd.functional.jacobian(made.network, read).reshape(size, 2, size, 2).abs().sum((1, 3)) > 0
    assert torch.equal(reaches, torch.ones(size, size).tril(-1).bool())


@pytest.mark.parametrize(("name", "grid"), CASES)
def test_draws_have_the_mass_of_the_grids(name, grid):
    p, n = prior(name, grid)(scope()), 8_000
    with torch.no_grad():
        drawn, mass = p.draw(scope(1), n), p.log_density(every_grid(grid)).exp()
    place = (drawn.flatten(1) * 2 ** torch.arange(math.prod(grid)).flip(0)).sum(1)
    seen = torch.bincount(place, minlength=len(mass)) / n
    assert ((seen - mass).abs() < 4.5 * (mass * (1 - mass) / n).sqrt()).all()


def test_a_second_stage_of_linear_networks_is_the_normal_it_must_be():
    """z = m + c (W u + b + s e): N(m + c b, c^2 (W W^T + s^2 I)). The estimate of p(z) is unbiased, its log is not."""
    torch.manual_seed(0)
    made = lt.SecondStage(hidden=(), size=2).double()
    with torch.no_grad():
        made.log_scale.fill_(-0.3)
        made.shift.fill_(0.2)
        made.spread.fill_(1.5)
        layer = made.decoder.layers[1]
        exact = torch.distributions.MultivariateNormal(
            0.2 + 1.5 * layer.bias,
            1.5**2 * (layer.weight @ layer.weight.T + math.exp(-0.6) * torch.eye(2, dtype=torch.float64)),
        )
        z, n = torch.tensor([[0.4, -0.7]], dtype=torch.float64), 60_000
        weights = made(scope()).log_density(z.expand(n, -1))
        mean, error = weights.exp().mean(), weights.exp().std() / math.sqrt(n)
        assert abs(float(mean - exact.log_prob(z).exp())) < 4 * float(error) < 0.05 * float(mean)
        assert float(weights.mean()) < float(exact.log_prob(z)) - 4 * float(weights.std()) / math.sqrt(n)
        drawn = made(scope(2)).draw(scope(3), n)
    assert ((drawn.mean(0) - exact.mean).abs() < 4.5 * drawn.std(0) / math.sqrt(n)).all()
    torch.testing.assert_close(torch.cov(drawn.T), exact.covariance_matrix, rtol=0.03, atol=0.01)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: lt.PixelPrior(kernel=4), "an odd kernel from 3"),
        (lambda: lt.PixelPrior(grid=(2, 2, 2), codes=3), "use TransformerPrior()"),
        (lambda: lt.TransformerPrior(width=10, heads=4), "a width that the heads divide"),
        (lambda: lt.Hamiltonian(lt.Latent(lt.Normal(2), lt.SecondStage())), "which SecondStage but estimates"),
    ],
)
def test_a_wrong_prior_is_told(call, message):
    with pytest.raises(ValueError) as error:
        call()
    assert message in str(error.value)
