"""The logistic normal, and the multinomial that documents are counted by."""

import itertools
import math

import pytest
import torch
from scipy import stats

from vaekit import distributions as d
from vaekit import latents as lt
from vaekit.core import ForwardContext, Source
from vaekit.likelihoods import Multinomial

F64 = torch.float64


def test_the_logistic_normal_integrates_to_one_over_the_triangle():
    """In coordinates (log z_1/z_3, log z_2/z_3), whose volume is z_1 z_2 z_3 times smaller."""
    loc, scale = torch.tensor([0.4, -0.3, 0.1], dtype=F64), torch.tensor([0.7, 1.2, 0.5], dtype=F64)
    axis = torch.linspace(-12, 12, 501, dtype=F64)
    log_z = torch.cat([torch.cartesian_prod(axis, axis), torch.zeros(501**2, 1, dtype=F64)], 1).log_softmax(1)
    q = d.LogisticNormal(loc.expand_as(log_z), scale.expand_as(log_z))
    mass = (q.log_density(log_z.exp()) + log_z.sum(1)).exp().sum() * (axis[1] - axis[0]) ** 2
    assert float(mass) == pytest.approx(1, abs=1e-6)


def test_its_density_is_that_of_the_normal_of_the_differences():
    loc, scale = torch.randn(4, 5, dtype=F64), torch.rand(4, 5, dtype=F64) + 0.3
    z, log_q = d.LogisticNormal(loc, scale).draw_with_log_density(ForwardContext.of(Source(0, dtype=F64)))
    torch.testing.assert_close(d.LogisticNormal(loc, scale).log_density(z), log_q)
    last = torch.cat([torch.eye(4, dtype=F64), -torch.ones(4, 1, dtype=F64)], 1)
    covariance = last @ torch.diag_embed(scale.square()) @ last.T
    normal = torch.distributions.MultivariateNormal(loc @ last.T, covariance)
    torch.testing.assert_close(log_q, normal.log_prob(z.log() @ last.T) - z.log().sum(1))
    assert torch.allclose(z.sum(1), torch.ones(4, dtype=F64))


def test_what_softmax_forgets_costs_nothing():
    loc, scale = torch.randn(4, 3, dtype=F64), torch.rand(4, 3, dtype=F64) + 0.3
    p = d.LogisticNormal(torch.zeros(3, dtype=F64), torch.ones(3, dtype=F64))
    moved = d.kl(d.LogisticNormal(loc + 5, scale), p)
    torch.testing.assert_close(moved, d.kl(d.LogisticNormal(loc, scale), p))
    normal = d.kl(d.Normal(loc, scale), d.Normal(p.loc, p.scale)).sum(1, keepdim=True)
    assert (moved < normal).all()


def test_saturated_proportions_have_finite_densities_and_gradients():
    evidence = torch.tensor([[0.0, 500.0, -500.0, 0.0, 0.0, 0.0]], requires_grad=True)
    q = lt.LogisticNormal(3)(evidence)
    z, log_q = q.draw_with_log_density(ForwardContext.of(Source(0)))
    p = lt.LaplaceDirichlet(1.0, 3)(None)
    (g,) = torch.autograd.grad((log_q + p.log_density(z) + d.kl(q, p).sum(1)).sum(), evidence)
    assert log_q.isfinite().all() and g.isfinite().all()


def test_the_prior_is_laplace_s_approximation_of_the_dirichlet():
    """At the mode of the Dirichlet in the softmax basis: minus the inverse Hessian, but for what softmax forgets."""
    alpha, size = 0.7, 4

    def log_p(h):
        return (alpha * h.log_softmax(0)).sum()

    hessian = torch.autograd.functional.hessian(log_p, torch.zeros(size, dtype=F64))
    diagonal = torch.linalg.pinv(-hessian).diagonal()
    prior = lt.LaplaceDirichlet(alpha, size).double()(None)
    torch.testing.assert_close(prior.scale.square(), diagonal, rtol=1e-6, atol=0)


def test_the_multinomial_is_scipy_s_and_sums_to_one():
    logits = torch.tensor([[0.3, -1.0, 0.7]], dtype=F64)
    every = [x for x in itertools.product(range(6), repeat=3) if sum(x) == 5]
    x = torch.tensor(every, dtype=F64)
    p = d.Multinomial(logits.expand(len(x), -1), 5)
    want = stats.multinomial(5, logits.softmax(1)[0].numpy()).logpmf(x.numpy())
    torch.testing.assert_close(p.log_density(x), torch.from_numpy(want), rtol=1e-12, atol=1e-12)
    assert float(p.log_density(x).exp().sum()) == pytest.approx(1)
    long = torch.tensor([[20_000.0, 5_000.0, 40_000.0]])
    in_fp32 = d.Multinomial(logits.float(), 5).log_density(long)
    want = stats.multinomial(65_000, logits.softmax(1)[0].numpy()).logpmf(long[0].numpy())
    assert float(in_fp32) == pytest.approx(want, rel=1e-5)


def test_words_that_are_masked_are_left_out_of_the_total():
    """The others given their own sum, which is what a multinomial's counts are; the mask sums to one, too."""
    logits, mask = torch.tensor([[0.3, -1.0, 0.7, 2.0]], dtype=F64), torch.tensor([[1.0, 0.0, 1.0, 1.0]], dtype=F64)
    x = torch.tensor([[2.0, 9.0, 1.0, 3.0]], dtype=F64)
    got = d.Multinomial(logits, 5).log_cells(x, mask)
    want = d.Multinomial(logits[:, [0, 2, 3]], 5).log_density(x[:, [0, 2, 3]])
    torch.testing.assert_close(got, want)
    assert float(d.Multinomial(logits, 5).log_cells(x, torch.zeros_like(mask))) == 0


def test_documents_that_are_drawn_have_the_words_asked_for():
    logits = torch.tensor([[0.3, -1.0, 0.7]], dtype=F64).expand(2000, -1)
    px = Multinomial(total=40, shape=(3,))(logits)
    x = px.draw(ForwardContext.of(Source(0, dtype=F64)))
    assert (x.sum(1) == 40).all()
    error = x.std(0) / math.sqrt(len(x))
    assert ((x.mean(0) - px.mean[0]).abs() < 4.5 * error).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: lt.LogisticNormal(1), "expected at least 2 proportions"),
        (lambda: lt.LaplaceDirichlet(0.0), "expected a number above 0"),
        (lambda: Multinomial(total=0), "Multinomial(total=0): expected a whole number from 1"),
        (lambda: lt.Latent(lt.LogisticNormal(3), lt.StandardNormal()), "take LaplaceDirichlet or VampPrior"),
    ],
)
def test_what_cannot_be_proportions_is_refused(call, message):
    with pytest.raises(ValueError) as error:
        call()
    assert message in str(error.value)
