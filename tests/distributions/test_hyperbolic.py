"""Distributions on the Poincaré ball."""

import math

import pytest
import torch

from vaekit import distributions as d
from vaekit import latents as lt
from vaekit.core import ForwardContext, Source, ZeroNoise
from vaekit.distributions.hyperbolic import from_tangent, log_sinh_ratio, to_tangent
from vaekit.likelihoods import Bernoulli
from vaekit.model import VAEModule
from vaekit.networks import MLP, BallMLP

F64 = torch.float64


def wrapped(c=1.0, rows=1, loc=(0.3, -0.4)):
    loc, scale = torch.tensor(loc, dtype=F64), torch.tensor([0.6, 0.9], dtype=F64)
    return d.WrappedNormal(loc.expand(rows, -1), scale.expand(rows, -1), c)


def disc(radius, n=400):
    """Points and weights of the disc: Gauss-Legendre along the radius, even around."""
    import numpy as np

    nodes, weights = np.polynomial.legendre.leggauss(n)
    along, weights = torch.from_numpy(radius * (nodes + 1) / 2), torch.from_numpy(weights * radius / 2)
    turn = torch.arange(n, dtype=F64) * (2 * math.pi / n)
    points = along[:, None, None] * torch.stack([turn.cos(), turn.sin()], 1)
    return points.reshape(-1, 2), (along * weights)[:, None].expand(-1, n).reshape(-1) * (2 * math.pi / n)


@pytest.mark.parametrize("c", [0.3, 1.0, 2.0])
def test_densities_of_the_ball_integrate_to_one(c):
    points, weights = disc(c**-0.5)
    q = wrapped(c, len(points))
    assert float((q.log_density(points).exp() * weights).sum()) == pytest.approx(1, abs=1e-4)
    uniform = d.UniformBall(torch.zeros(2, dtype=F64), c**-0.5)
    assert float((uniform.log_density(points).exp() * weights).sum()) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("c", [0.3, 1.0, 2.0])
def test_a_draw_in_the_ball_knows_its_density_which_has_the_jacobian_of_autograd(c):
    q = wrapped(c, 200)
    z, log_q = q.draw_with_log_density(ForwardContext.of(Source(0, dtype=F64)))
    assert (c * z.square().sum(1) < 1).all()
    torch.testing.assert_close(q.log_density(z), log_q, rtol=1e-9, atol=1e-9)
    noise = torch.tensor([0.7, -1.1], dtype=F64)

    def push(eps):
        return wrapped(c).draw(ForwardContext(randn=lambda shape: eps.reshape(1, 2), rand=None)).squeeze(0)

    jacobian = torch.autograd.functional.jacobian(push, noise)
    want = torch.distributions.Normal(0.0, 1.0).log_prob(noise).sum() - torch.linalg.slogdet(jacobian)[1]
    torch.testing.assert_close(wrapped(c).log_density(push(noise).unsqueeze(0)).squeeze(), want, rtol=1e-9, atol=1e-9)


def test_a_small_curvature_leaves_the_normal():
    """At c -> 0 the metric is 4 dz^2: z is (half) the normal."""
    z = torch.tensor([[0.1, 0.5], [-0.7, 0.2]], dtype=F64)
    q = wrapped(1e-9, 2)
    torch.testing.assert_close(q.log_density(z), d.Normal(q.loc, q.scale / 2).log_density(z), rtol=1e-6, atol=1e-6)


def test_the_maps_at_the_origin_undo_each_other_and_keep_distances():
    v = torch.randn(50, 3, dtype=F64)
    for c in (0.5, 1.0):
        torch.testing.assert_close(to_tangent(from_tangent(v, c), c), v)
        z = from_tangent(v, c)
        cosh = 1 + 2 * c * z.square().sum(1) / (1 - c * z.square().sum(1))
        torch.testing.assert_close(torch.acosh(cosh) / math.sqrt(c), v.norm(dim=1))
    s = torch.tensor([1e-9, 0.0999, 0.1001, 3.0, 500.0], dtype=F64)
    want = torch.tensor([0.0, *((s[1:4].sinh() / s[1:4]).log().tolist()), 500 - math.log(1000)], dtype=F64)
    torch.testing.assert_close(log_sinh_ratio(s), want, rtol=1e-10, atol=1e-12)


def test_codes_far_out_are_finite_in_fp32():
    for far in (0.0, 3.0, 1e4):
        evidence = torch.tensor([[far, -far, 3.0, 3.0]]).expand(500, -1).clone().requires_grad_()
        q = lt.WrappedNormal(2)(evidence)
        z, log_q = q.draw_with_log_density(ForwardContext.of(Source(0)))
        log_p = lt.StandardWrappedNormal(1.0, 2)(None).log_density(z)
        (g,) = torch.autograd.grad((log_p - log_q).sum() + to_tangent(z, 1.0).sum(), evidence)
        assert z.isfinite().all() and log_q.isfinite().all() and log_p.isfinite().all() and g.isfinite().all()
    still = lt.WrappedNormal(2)(evidence[:1]).draw(ForwardContext.of(ZeroNoise(Source())))
    torch.testing.assert_close(still, lt.WrappedNormal(2)(evidence[:1]).mean)


def test_uniform_points_fill_the_ball():
    z = d.UniformBall(torch.zeros(3, dtype=F64), 2.0).draw(ForwardContext.of(Source(0, dtype=F64)), rows=20_000)
    inside = (z.norm(dim=1) < 1).double().mean()
    assert float(inside) == pytest.approx(1 / 8, abs=4.5 * math.sqrt(7 / 64 / 20_000))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: lt.WrappedNormal(2, curvature=0), "WrappedNormal(curvature=0): expected a number above 0"),
        (lambda: lt.Latent(lt.WrappedNormal(2), lt.StandardNormal()), "take StandardWrappedNormal or VampPrior"),
        (lambda: lt.Latent(lt.WrappedNormal(2), lt.UniformBall(0.5)).resolve_shapes(), "curvature=0.5"),
        (lambda: lt.Hamiltonian(lt.Latent(lt.WrappedNormal(2), lt.UniformBall())), "moves z freely in R^d"),
    ],
)
def test_what_cannot_work_in_a_ball_is_refused(call, message):
    with pytest.raises(ValueError) as error:
        call()
    assert message in str(error.value)


def test_a_decoder_reads_the_ball_by_the_logarithmic_map():
    latent = lt.Latent(lt.WrappedNormal(2), lt.StandardWrappedNormal())
    model = VAEModule(MLP((4,)), latent, BallMLP((4,)), Bernoulli()).resolve_shapes((5,)).double()
    z = torch.rand(3, 2, dtype=F64) - 0.5
    torch.testing.assert_close(model.decode(z).logits, model.decoder.layers(to_tangent(z, 1.0)))
