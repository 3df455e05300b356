"""Flows: the inverse undoes the map, the determinant is autograd's, the density is one."""

import pytest
import torch
from torch.func import jacrev, vmap

from vaekit import latents as lt
from vaekit.core import ForwardContext, Source
from vaekit.distributions.elementwise import Spline

FLOWS = {
    "planar": lambda size: lt.PlanarFlow(size, layers=3),
    "radial": lambda size: lt.RadialFlow(size, layers=3),
    "inverse autoregressive": lambda size: lt.InverseAutoregressive(size, layers=3, hidden=8, context=2),
    "masked autoregressive": lambda size: lt.MaskedAutoregressive(size, layers=3, hidden=8, context=2),
    "sylvester": lambda size: lt.SylvesterFlow(size, layers=3, reflections=2),
    "spline": lambda size: lt.SplineFlow(size, layers=3, bins=4, hidden=8, context=2),
}


def flow(name, size=3, rows=1, seed=0):
    """q for rows of evidence, with weights that do not start at the plain normal."""
    torch.manual_seed(seed)
    posterior = FLOWS[name](size).double()
    for p in posterior.parameters():
        # Larger weights make spikes that no grid meets, or draws beyond it.
        torch.nn.init.normal_(p, std=0.3 if name in ("spline", "masked autoregressive") else 0.6)
    evidence = torch.randn(rows, posterior.n_in, dtype=torch.float64)
    evidence[:, size : 2 * size] *= 0.3
    return posterior(evidence)


@pytest.mark.parametrize("name", FLOWS)
def test_the_inverse_undoes_each_map_and_has_its_determinant(name):
    q = flow(name, rows=50)
    z = q.base.draw(ForwardContext.of(Source(1, dtype=torch.float64)))
    for transform in q.transforms:
        moved, log_det = transform.forward(z)
        back, again = transform.inverse(moved)
        torch.testing.assert_close(back, z, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(again, log_det, rtol=1e-9, atol=1e-9)
        z = moved


@pytest.mark.parametrize("name", FLOWS)
def test_the_determinant_is_autograds(name):
    q = flow(name)
    points = torch.randn(20, 3, dtype=torch.float64)
    for transform in q.transforms:
        whole = vmap(jacrev(lambda z, t=transform: t.forward(z.unsqueeze(0))[0][0]))(points)
        want = torch.linalg.slogdet(whole)[1]
        got = torch.stack([transform.forward(z.unsqueeze(0))[1][0] for z in points])
        torch.testing.assert_close(got, want, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("name", FLOWS)
def test_a_draw_knows_its_density(name):
    q = flow(name, rows=40)
    z, log_q = q.draw_with_log_density(ForwardContext.of(Source(2, dtype=torch.float64)))
    torch.testing.assert_close(q.log_density(z), log_q, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("name", FLOWS)
def test_the_gradient_of_the_density_is_the_finite_difference(name):
    """Through the inverse, which for a planar layer is a root."""
    q, h = flow(name, rows=4), 1e-6
    z = torch.randn(4, 3, dtype=torch.float64)
    leaf = z.clone().requires_grad_()
    got = torch.autograd.grad(q.log_density(leaf).sum(), leaf)[0]
    steps = h * torch.eye(3, dtype=torch.float64)
    want = torch.stack([(q.log_density(z + s) - q.log_density(z - s)) / (2 * h) for s in steps], 1)
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow if n in ("spline", "sylvester") else ()) for n in FLOWS]
)
@torch.no_grad()
def test_the_density_of_two_dimensions_integrates_to_one(name):
    q, n = flow(name, size=2, seed=3), 800 if name == "spline" else 400
    axis = torch.linspace(-16, 16, n, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    mass = q.map(lambda t: t.expand(len(grid), *t.shape[1:])).log_density(grid).exp().sum() * (axis[1] - axis[0]) ** 2
    assert float(mass) == pytest.approx(1.0, abs=2e-3)


@pytest.mark.parametrize("bins", [0, 4])
def test_a_new_flow_prior_is_the_standard_normal_and_draws_what_it_scores(bins):
    torch.manual_seed(0)
    prior, scope = (
        lt.FlowPrior(layers=2, hidden=8, size=3, bins=bins).double(),
        ForwardContext.of(Source(0, dtype=torch.float64)),
    )
    z = torch.randn(5, 3, dtype=torch.float64)
    normal = torch.distributions.Normal(torch.zeros((), dtype=torch.float64), 1.0).log_prob(z).sum(1)
    torch.testing.assert_close(prior(scope).log_density(z), normal)
    for p in prior.parameters():
        torch.nn.init.normal_(p, std=0.5)
    drawn, log_p = prior(scope).draw_with_log_density(scope, 6)
    torch.testing.assert_close(prior(scope).log_density(drawn), log_p, rtol=1e-9, atol=1e-9)


def test_a_new_spline_flow_is_the_plain_normal():
    evidence = torch.randn(6, lt.SplineFlow(3).n_in, dtype=torch.float64)
    z = 3 * torch.randn(6, 3, dtype=torch.float64)
    want = lt.Normal(3)(evidence[:, :6]).log_density(z)
    torch.testing.assert_close(lt.SplineFlow(3).double()(evidence).log_density(z), want, rtol=1e-9, atol=1e-9)


def test_a_spline_is_the_identity_beyond_its_reach_and_rises_within():
    spline, generator = Spline(5, reach=2.0), torch.Generator().manual_seed(0)
    numbers = torch.randn(spline.per, dtype=torch.float64, generator=generator).expand(40_001, -1)
    z = torch.linspace(-4, 4, 40_001, dtype=torch.float64).unsqueeze(1)
    moved, log_slope = spline.forward(z, numbers)
    beyond = z.abs() >= 2
    assert torch.equal(moved[beyond], z[beyond])
    assert not log_slope[beyond].any()
    assert (moved.diff(dim=0) > 0).all()
    slope = (moved[2:] - moved[:-2]) / (z[2:] - z[:-2])
    torch.testing.assert_close(slope, log_slope[1:-1].exp(), rtol=0.02, atol=0.02)  # smooth at the knots, too


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: lt.PlanarFlow(2, layers=0), "PlanarFlow(layers=0): expected a whole number from 1"),
        (lambda: lt.RadialFlow(0), "RadialFlow(size=0): expected a whole number from 1"),
        (lambda: lt.SylvesterFlow(2, reflections=0), "SylvesterFlow(reflections=0): expected a whole number from 1"),
        (lambda: lt.SplineFlow(2, bins=1), "SplineFlow(bins=1): expected 2 to 50 bins"),
        (lambda: lt.FlowPrior(bins=-1), "FlowPrior(bins=-1): expected a whole number from 0"),
        (
            lambda: lt.InverseAutoregressive(2, hidden=0),
            "expected a whole number from 1",
        ),
    ],
)
def test_a_wrong_flow_is_told(call, message):
    with pytest.raises(ValueError) as error:
        call()
    assert message in str(error.value)
