"""Distributions on the unit sphere: their normalisers against scipy, their draws against their densities."""

import math

import numpy as np
import pytest
import torch
from scipy import special, stats

from vaekit import distributions as d
from vaekit import latents as lt
from vaekit.core import ForwardContext, Source, ZeroNoise
from vaekit.distributions.bessel import bessel
from vaekit.distributions.spherical import log_area, tangent, unit

F64 = torch.float64
FAMILIES = {"von mises-fisher": d.VonMisesFisher, "power spherical": d.PowerSpherical}
DIMENSIONS, KAPPAS = (2, 3, 4, 11, 41, 100, 1000), (1e-3, 0.5, 1.0, 5.0, 30.0, 1e3, 1e4)


def about(name, size, kappa, rows=1, seed=0, dtype=F64):
    loc = unit(torch.randn(size, dtype=F64, generator=torch.Generator().manual_seed(seed)))
    return FAMILIES[name](loc.to(dtype).expand(rows, -1), torch.full((rows,), kappa, dtype=dtype))


@pytest.mark.parametrize(("dtype", "tolerance"), [(F64, 1e-10), (torch.float32, 4e-6)])
def test_the_bessel_functions_are_scipy_s(dtype, tolerance):
    """Where scipy's do not vanish."""
    tried = 0
    for size in DIMENSIONS:
        for kappa in KAPPAS:
            order, k = size / 2 - 1, float(torch.tensor(kappa, dtype=dtype))
            low, high = special.ive(order, k), special.ive(order + 1, k)
            if min(low, high) < 1e-250:
                continue
            log, slope, rest = bessel(torch.tensor(kappa, dtype=dtype), size)
            want = special.gammaln(order + 1) + order * math.log(2 / k) + math.log(low)
            assert float(log) == pytest.approx(want, rel=tolerance, abs=20 * tolerance)
            assert float(slope) == pytest.approx(high / low, rel=tolerance)
            assert float(rest) == pytest.approx(k * (1 - high / low), rel=20 * tolerance + 1e-15 * k)
            tried += 1
    assert tried > 35


def test_the_bessel_functions_are_smooth_at_nothing_and_have_their_own_slope():
    zero = torch.zeros((), dtype=F64, requires_grad=True)
    log, slope, _ = bessel(zero, 5)
    assert float(log.detach()) == pytest.approx(0, abs=1e-13) and float(slope.detach()) == 0
    assert float(torch.autograd.grad(log, zero)[0]) == pytest.approx(-1)
    kappa = torch.tensor(KAPPAS, dtype=F64, requires_grad=True)
    for size in DIMENSIONS:
        log, slope, _ = bessel(kappa, size)
        torch.testing.assert_close(torch.autograd.grad(log.sum(), kappa)[0], slope - 1, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("size", "kappa", "want"), [(3, 1.0, 0.1515959239), (11, 5.0, 0.9122060958)])
def test_the_divergence_from_the_uniform_sphere_is_the_published_one(size, kappa, want):
    uniform = d.UniformSphere(torch.zeros(size, dtype=F64))
    assert float(d.kl(about("von mises-fisher", size, kappa), uniform)) == pytest.approx(want, abs=1e-9)


@pytest.mark.parametrize(("size", "kappa"), [(2, 0.7), (3, 4.0), (11, 5.0), (50, 200.0)])
def test_log_densities_are_scipy_s(size, kappa):
    q = about("von mises-fisher", size, kappa, rows=5)
    x = unit(torch.randn(5, size, dtype=F64))
    want = stats.vonmises_fisher(q.loc[0].numpy(), kappa).logpdf(x.numpy())
    torch.testing.assert_close(q.log_density(x), torch.from_numpy(np.atleast_1d(want)), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("size", [2, 3, 11, 300])
@pytest.mark.parametrize("kappa", [1.0, 20.0, 1e4])
def test_a_density_on_the_sphere_integrates_to_one(name, size, kappa):
    """Over the angle to the mean direction, times the area of the ring at it."""
    middle, curvature = about(name, size, kappa).peak()
    spread = 1 / math.sqrt(float(curvature))
    low, high = max(0.0, float(middle) - 9 * spread), min(math.pi, float(middle) + 14 * spread)
    nodes, weights = np.polynomial.legendre.leggauss(200)
    angle = torch.from_numpy(low + (high - low) * (nodes + 1) / 2)
    q = about(name, size, kappa, rows=len(angle))
    aside = tangent(q.loc, torch.ones(len(angle), size - 1, dtype=F64))
    log_p = q.log_density(angle.cos().unsqueeze(1) * q.loc + angle.sin().unsqueeze(1) * aside)
    ring = log_area(size - 1) + (size - 2) * angle.sin().log()
    mass = ((log_p + ring).exp() * torch.from_numpy(weights)).sum() * (high - low) / 2
    assert float(mass) == pytest.approx(1, abs=1e-7)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize(("size", "kappa"), [(2, 1.0), (3, 1.0), (3, 500.0), (11, 10.0), (200, 1e4)])
def test_draws_follow_their_density(name, size, kappa):
    """The cosine to the mean direction: its law in closed form (power spherical), its moments (von Mises-Fisher)."""
    q = about(name, size, kappa, rows=20_000)
    z, log_q = q.draw_with_log_density(ForwardContext.of(Source(0, dtype=F64)))
    torch.testing.assert_close(z.norm(dim=1), torch.ones(len(z), dtype=F64), rtol=1e-12, atol=0)
    torch.testing.assert_close(q.log_density(z), log_q, rtol=1e-8, atol=1e-8)
    cosine, b = (z * q.loc).sum(1), (size - 1) / 2
    if name == "power spherical":
        assert stats.kstest(((1 + cosine) / 2).numpy(), stats.beta(b + kappa, b).cdf).pvalue > 1e-4
    slope = float((q.mean * q.loc).sum(1)[0])
    variance = 1 - slope**2 - (size - 1) * slope / kappa if name == "von mises-fisher" else float(cosine.var())
    assert abs(float(cosine.mean()) - slope) < 4.5 * math.sqrt(variance / len(z))
    assert float(cosine.var()) == pytest.approx(variance, rel=0.06)
    aside = z - cosine.unsqueeze(1) * q.loc
    assert (aside.mean(0).abs() < 5 * aside.std(0) / math.sqrt(len(z)) + 1e-12).all()


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize(("size", "kappa"), [(2, 3.0), (3, 10.0), (40, 300.0)])
def test_the_gradient_of_a_draw_is_the_finite_difference(name, size, kappa):
    u, noise = torch.linspace(0.001, 0.999, 41, dtype=F64), torch.randn(41, size - 1, dtype=F64)
    scope, loc = ForwardContext(randn=lambda shape: noise, rand=lambda shape: u), about(name, size, 1.0, rows=41).loc

    def drawn(log_kappa):
        return FAMILIES[name](loc, log_kappa.exp().expand(41)).draw(scope)

    at = torch.tensor(math.log(kappa), dtype=F64)
    _, got = torch.autograd.functional.jvp(drawn, at, torch.ones_like(at))
    step = 1e-4
    want = (drawn(at + step) - drawn(at - step)) / (2 * step)
    torch.testing.assert_close(got, want, rtol=1e-3, atol=2e-5)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_least_and_the_greatest_noise_give_finite_draws_and_gradients(name):
    for dtype in (torch.float32, F64):
        for size in (2, 3, 50):
            k = torch.linspace(-30, 9999, 7, dtype=dtype).requires_grad_()
            u = torch.tensor([0.0, 1e-7, 0.5, 1 - 2**-24, 0.0, 0.3, 0.9], dtype=dtype)
            q = FAMILIES[name](about(name, size, 1.0, 7, dtype=dtype).loc, 1 + torch.nn.functional.softplus(k))
            scope = ForwardContext(randn=lambda shape, t=dtype: torch.ones(shape, dtype=t), rand=lambda shape, u=u: u)
            z, log_q = q.draw_with_log_density(scope)
            (g,) = torch.autograd.grad((z.sum() + log_q.sum()), k)
            assert z.isfinite().all() and log_q.isfinite().all() and g.isfinite().all()


@pytest.mark.parametrize("name", FAMILIES)
def test_without_noise_a_draw_is_the_mean_direction(name):
    q = about(name, 4, 2.0, rows=3)
    q.concentration.requires_grad_()
    z = q.draw(ForwardContext.of(ZeroNoise(Source(0, dtype=F64))))
    assert torch.equal(z, q.loc) and torch.equal(q.mode, q.loc)


def test_a_tangent_is_of_norm_one_at_right_angles_everywhere():
    loc = unit(torch.cat([torch.eye(4), -torch.eye(4), torch.randn(8, 4)]).double())
    v = tangent(loc, torch.randn(16, 3, dtype=F64))
    torch.testing.assert_close(v.norm(dim=1), torch.ones(16, dtype=F64), rtol=1e-12, atol=0)
    torch.testing.assert_close((v * loc).sum(1), torch.zeros(16, dtype=F64), rtol=0, atol=1e-14)


def test_uniform_points_are_uniform():
    z = d.UniformSphere(torch.zeros(5, dtype=F64)).draw(ForwardContext.of(Source(0, dtype=F64)), rows=20_000)
    assert stats.kstest(((1 + z[:, 0]) / 2).numpy(), stats.beta(2, 2).cdf).pvalue > 1e-4


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: lt.VonMisesFisher(1), "the sphere in one dimension is two points; use size >= 2"),
        (lambda: lt.Latent(lt.VonMisesFisher(3), lt.StandardNormal()), "take UniformSphere or VampPrior"),
        (lambda: lt.Latent(lt.Normal(3), lt.UniformSphere()), "take StandardNormal or VampPrior"),
        (lambda: lt.Hamiltonian(lt.Latent(lt.VonMisesFisher(3), lt.UniformSphere())), "moves z freely in R^d"),
    ],
)
def test_what_cannot_work_on_a_sphere_is_refused(call, message):
    with pytest.raises(ValueError) as error:
        call()
    assert message in str(error.value)


@pytest.mark.parametrize("size", [2, 3, 11])
@pytest.mark.parametrize("posterior", [lt.VonMisesFisher, lt.PowerSpherical])
def test_a_decoder_reads_numbers_of_one_size_whatever_the_dimension(posterior, size):
    latent = lt.Latent(posterior(size), lt.UniformSphere(size))
    z = latent.generate(500, ForwardContext.of(Source(0)))
    torch.testing.assert_close(z.square().sum(1), torch.ones(500))
    torch.testing.assert_close(latent.emit(z), 2 * math.sqrt(size) * z)
    assert float(latent.emit(z).square().mean().sqrt()) == pytest.approx(2, rel=1e-5)


@pytest.mark.parametrize("posterior", [lt.VonMisesFisher, lt.PowerSpherical])
@pytest.mark.parametrize(("k", "kappa"), [(-80.0, 0.0), (0.0, 1.0), (3.0, math.e**3), (60.0, 1e4)])
def test_a_concentration_is_told_by_its_logarithm_and_kept_finite(posterior, k, kappa):
    evidence = torch.cat([torch.randn(5, 4, generator=torch.Generator().manual_seed(0)), torch.full((5, 1), k)], 1)
    evidence.requires_grad_()
    q = posterior(4)(evidence)
    torch.testing.assert_close(q.concentration, torch.full((5,), kappa), rtol=1e-5, atol=1e-6)
    z, log_q = q.draw_with_log_density(ForwardContext.of(Source(0)))
    (z.sum() + log_q.sum()).backward()
    assert torch.isfinite(log_q).all() and torch.isfinite(evidence.grad).all()
