"""The learned metric and what moves along it, against sums written out, autograd and quadrature."""

import math

import pytest
import torch
from compositions import batch, build
from torch.func import grad, jacrev

from vaekit import latents as lt
from vaekit.core import Batch, Recorder, Source
from vaekit.latents.riemannian import Curvature, leapfrog, log_det_near_identity
from vaekit.networks import MLP


def tensor(*shape, seed=0, scale=1.0):
    return scale * torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def curvature(size=3, centres=4):
    lower = tensor(centres, size, size, seed=1).tril()
    return Curvature(tensor(centres, size, seed=2), lower @ lower.mT, width=1.2, floor=0.3)


def test_the_inverse_metric_is_the_sum_written_out():
    c, z = curvature(), tensor(5, 3)
    for row, got in zip(z, c.inverse_metric(z)):
        kernels = [math.exp(-float((row - centre).square().sum()) / 1.2**2) for centre in c.centres]
        want = sum(k * m for k, m in zip(kernels, c.matrices)) + 0.3 * torch.eye(3, dtype=torch.float64)
        torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)


def test_the_turning_is_autograds_derivative_of_the_velocity():
    c, z, r = curvature(), tensor(3), tensor(3, seed=5)
    want = jacrev(lambda at: c.inverse_metric(at.unsqueeze(0))[0] @ r)(z)
    torch.testing.assert_close(c.turning(z.unsqueeze(0), r.unsqueeze(0))[0], want, rtol=1e-10, atol=1e-10)


def test_momenta_are_normal_with_the_metric_as_covariance():
    c, n = curvature(), 100_000
    z = tensor(1, 3).expand(n, 3)
    r = c.momentum(z, tensor(n, 3, seed=7))
    metric = c.inverse_metric(z[:1])[0].inverse()
    products = r.unsqueeze(2) * r.unsqueeze(1)
    assert ((products.mean(0) - metric).abs() < 4.5 * products.std(0) / math.sqrt(n)).all()
    want = torch.distributions.MultivariateNormal(torch.zeros(3, dtype=torch.float64), metric).log_prob(r[:9])
    got = c.log_momentum(z[:9], r[:9]) - 1.5 * math.log(2 * math.pi)
    torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9)


def test_elimination_near_the_identity_gives_the_log_determinant():
    matrices = torch.eye(4, dtype=torch.float64) + tensor(6, 4, 4, scale=0.2)
    torch.testing.assert_close(log_det_near_identity(matrices), torch.linalg.slogdet(matrices)[1])


def step_of(iterations, step):
    """(2 D,) -> the same after one leapfrog step, with its log |det|."""
    c = curvature()

    def force_at(z):
        return grad(lambda at: (c.log_volume(at) - 0.5 * (at - 0.4).square().sum(-1)).sum())(z)

    def move(state):
        z, r = state.unsqueeze(0).chunk(2, -1)
        sizes = step * torch.tensor([1.0, 0.7, 1.3], dtype=torch.float64)
        z, r, _, log_det = leapfrog(z, r, force_at(z), force_at, c, sizes, iterations)
        return torch.cat([z, r], 1)[0], log_det[0]

    return move


@pytest.mark.parametrize("iterations", [1, 2, 5])
def test_the_determinant_of_a_step_is_autograds_however_few_iterations_it_takes(iterations):
    move, state = step_of(iterations, 0.15), tensor(6, seed=3, scale=0.7)
    jacobian = jacrev(lambda s: move(s)[0])(state)
    want = torch.linalg.slogdet(jacobian)[1]
    torch.testing.assert_close(move(state)[1], want, rtol=1e-9, atol=1e-11)
    assert (abs(float(want)) < 1e-4) == (iterations == 5)  # at its fixed points a step keeps the volume


def test_a_step_taken_back_returns():
    """The generalised leapfrog is reversible: with the momentum turned round it retraces its step."""
    move, state = step_of(30, 0.1), tensor(6, seed=3, scale=0.7)
    sign = torch.tensor([1.0, 1, 1, -1, -1, -1], dtype=torch.float64)
    back = move(move(state)[0] * sign)[0] * sign
    torch.testing.assert_close(back, state, rtol=1e-9, atol=1e-9)


def log_p_by_quadrature(model, x, reach=8.0, n=400):
    axis = torch.linspace(-reach, reach, n, dtype=torch.float64)
    z = torch.cartesian_prod(axis, axis)
    log_prior = torch.distributions.Normal(torch.zeros((), dtype=torch.float64), 1.0).log_prob(z).sum(1)
    cells = model.decode(z).log_prob(x.expand(len(z), -1)).sum(1)
    return float((cells + log_prior).logsumexp(0)) + 2 * math.log(float(axis[1] - axis[0]))


@pytest.mark.parametrize("iterations", [1, 3])
@torch.no_grad()
def test_weights_estimate_p_by_quadrature_even_with_long_steps(iterations):
    """Long steps: the fixed points are not reached, which without the determinant would show in the estimate."""
    model, n = build("riemannian hamiltonian").eval(), 40_000
    inner = model.latent.inner
    wide = lt.RiemannianHamiltonian(inner, model.latent.metric, 3, 0.4, maximum_step=0.6, iterations=iterations)
    model.latent = wide.double()
    model.latent.metric.floor = 1.0
    x = batch(model, 1).x
    weights = model(Batch(x.expand(n, -1)), Source.like(model)).log_weight.exp()
    want, error = math.exp(log_p_by_quadrature(model, x)), float(weights.std() / n**0.5)
    assert error < 0.02 * want
    assert abs(float(weights.mean()) - want) < 4 * error


def test_the_centres_are_codes_of_training_rows():
    model = build("riemannian hamiltonian")
    rows = batch(model, 20)
    model.prepare(rows, Source.like(model))
    metric = model.latent.metric
    assert all((row == rows.x).all(1).any() for row in metric.rows)
    centres = model.latent.curvature(model.prior_scope(Source.like(model))).centres
    torch.testing.assert_close(centres, model.encoder(metric.rows).chunk(2, 1)[0])


def test_the_metric_is_learned_by_the_objective():
    model = build("riemannian hamiltonian").train()
    model(batch(model), Recorder(Source.like(model))).log_weight.sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.latent.metric.parameters())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: lt.RiemannianMetric(MLP(()), floor=0.0), "RiemannianMetric(floor=0.0): expected a number above 0"),
        (
            lambda: lt.RiemannianHamiltonian(lt.Codebook(4, 2, positions=2), lt.RiemannianMetric(MLP(()))),
            "it needs a Latent",
        ),
        (
            lambda: lt.RiemannianHamiltonian(
                lt.Latent(lt.Normal(2), lt.StandardNormal()), lt.RiemannianMetric(MLP(())), iterations=0
            ),
            "iterations=0): expected a whole number from 1",
        ),
    ],
)
def test_what_cannot_work_is_told(call, message):
    with pytest.raises(ValueError) as error:
        call()
    assert message in str(error.value)
