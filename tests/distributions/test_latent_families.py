"""The families of codes: log-probabilities against torch and quadrature, draws, and closed KLs against Monte Carlo."""

import math

import pytest
import torch
from scipy import stats

from vaekit import distributions as d
from vaekit import latents as lt
from vaekit.core import ForwardContext, FunctionalModule, Ramp, Source
from vaekit.distributions.spherical import unit

N = 200_000


def tensor(*shape, seed=0, scale=1.0):
    return scale * torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def triangle(*shape, seed=0):
    lower = tensor(*shape, shape[-1], seed=seed, scale=0.4).tril(-1)
    return lower + torch.diag_embed(tensor(*shape, seed=seed + 1, scale=0.3).exp())


def flow(rows=1):
    torch.manual_seed(0)
    posterior = lt.Coupling(2, layers=3, hidden=8, context=2).double()
    for p in posterior.parameters():
        torch.nn.init.normal_(p, std=0.3)
    evidence = torch.tensor([[0.3, -0.2, -0.4, 0.2, 0.5, -1.0]], dtype=torch.float64).expand(rows, -1)
    return posterior(evidence).detach()


FAMILIES = {
    "normal": lambda: d.Normal(tensor(4, 3), tensor(4, 3, seed=1).exp()),
    "full normal": lambda: d.MultivariateNormal(tensor(4, 3), triangle(4, 3)),
    "low rank": lambda: d.LowRankNormal(tensor(4, 3), tensor(4, 3, seed=1).exp(), tensor(4, 3, 2, seed=2)),
    "laplace": lambda: d.Laplace(tensor(4, 3), tensor(4, 3, seed=1).exp()),
    "one-hot": lambda: d.OneHot(tensor(4, 2, 3)),
    "bits": lambda: d.Bernoulli(tensor(4, 3)),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_log_probabilities_are_torch_s(name):
    q = FAMILIES[name]()
    reference = q.to_torch()
    x = reference.sample()
    ours = x.flatten(1) if name == "one-hot" else x
    torch.testing.assert_close(q.log_density(ours), reference.log_prob(x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", FAMILIES)
def test_draws_have_the_moments_of_the_family(name):
    q, reference = FAMILIES[name](), FAMILIES[name]().to_torch()
    many = q.map(lambda t: t[:1].expand(N, *t.shape[1:]))
    drawn = many.draw(ForwardContext.of(Source(0, dtype=torch.float64)))
    error = drawn.std(0) / math.sqrt(N)
    assert ((drawn.mean(0) - q.mean[0]).abs() < 4.5 * error + 1e-12).all()
    torch.testing.assert_close(q.mean, reference.mean.flatten(1), rtol=1e-12, atol=1e-12)
    covariance = torch.cov(drawn.T)
    if name in ("full normal", "low rank"):
        torch.testing.assert_close(covariance, reference.covariance_matrix[0], rtol=0.03, atol=0.01)


def test_a_mixture_is_the_sum_of_its_components():
    loc, scale, logits = tensor(5, 2), tensor(5, 2, seed=1).exp(), tensor(5, seed=2)
    shared = d.Mixture(d.Normal(loc, scale), logits.log_softmax(0))
    x = tensor(7, 2, seed=3)
    parts = torch.distributions.Independent(torch.distributions.Normal(loc, scale), 1)
    reference = torch.distributions.MixtureSameFamily(torch.distributions.Categorical(logits=logits), parts)
    torch.testing.assert_close(shared.log_prob(x), reference.log_prob(x), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(shared.mean, reference.mean, rtol=1e-12, atol=1e-12)
    drawn = shared.draw(ForwardContext.of(Source(0, dtype=torch.float64)), rows=N)
    assert ((drawn.mean(0) - reference.mean).abs() < 4.5 * drawn.std(0) / math.sqrt(N)).all()
    torch.testing.assert_close(drawn.var(0), reference.variance, rtol=0.03, atol=0)
    own = d.Mixture(d.Normal(loc.expand(7, 5, 2), scale.expand(7, 5, 2)), logits.log_softmax(0))
    torch.testing.assert_close(own.log_prob(x), shared.log_prob(x), rtol=1e-12, atol=1e-12)
    assert own.draw(ForwardContext.of(Source(0, dtype=torch.float64))).shape == (7, 2)


def test_a_flow_integrates_to_one_inverts_and_has_the_jacobian_of_autograd():
    q = flow()
    line = torch.linspace(-25, 25, 626, dtype=torch.float64)
    grid = torch.cartesian_prod(line, line)
    each = d.CouplingFlow(q.base.map(lambda t: t.expand(len(grid), -1)), q.context.expand(len(grid), -1), q.layers)
    assert float(each.log_prob(grid).exp().sum() * (line[1] - line[0]) ** 2) == pytest.approx(1, abs=1e-4)

    noise = torch.tensor([0.7, -1.1], dtype=torch.float64)

    def push(eps):
        return q.draw(ForwardContext(randn=lambda shape: eps.reshape(1, 2), rand=None)).squeeze(0)

    jacobian = torch.autograd.functional.jacobian(push, noise)
    expected = torch.distributions.Normal(0.0, 1.0).log_prob(noise).sum() - torch.linalg.slogdet(jacobian)[1]
    torch.testing.assert_close(q.log_prob(push(noise).unsqueeze(0)).squeeze(), expected, rtol=1e-10, atol=1e-10)


def test_a_new_flow_is_the_plain_normal():
    evidence = tensor(6, lt.Coupling(3).n_in)
    z = tensor(6, 3, seed=5)
    flowing, plain = lt.Coupling(3).double()(evidence), lt.Normal(3)(evidence[:, :6])
    torch.testing.assert_close(flowing.log_prob(z), plain.log_density(z), rtol=1e-12, atol=1e-12)


def test_a_relaxed_draw_tends_to_the_hard_one():
    logits = tensor(50, 2, 3)
    hard = d.OneHot(logits).draw(ForwardContext.of(Source(0, dtype=torch.float64)))
    cold = d.OneHot(logits, torch.tensor(1e-4)).draw(ForwardContext.of(Source(0, dtype=torch.float64)))
    warm = d.OneHot(logits, torch.tensor(1.0)).draw(ForwardContext.of(Source(0, dtype=torch.float64)))
    torch.testing.assert_close(cold, hard, atol=1e-6, rtol=0)
    assert 0 < float(warm.max()) < 1
    torch.testing.assert_close(warm.unflatten(1, (2, 3)).sum(-1), torch.ones(50, 2, dtype=torch.float64))


DISCRETE = {"categorical": lambda **how: lt.Categorical(2, 3, **how), "binary": lambda **how: lt.Binary(6, **how)}


def fresh(seed=0):
    return ForwardContext.of(Source(seed, dtype=torch.float64))


@pytest.mark.parametrize("name", DISCRETE)
def test_a_discrete_posterior_is_relaxed_in_training_and_hard_in_evaluation(name):
    part, evidence = DISCRETE[name]().double(), tensor(5, 6)
    assert not set(part.train()(evidence).draw(fresh()).unique().tolist()) <= {0.0, 1.0}
    assert set(part.eval()(evidence).draw(fresh()).unique().tolist()) == {0.0, 1.0}


def test_a_relaxed_bit_is_the_binary_concrete_and_tends_to_the_hard_one():
    """sigmoid((l + logit(u)) / t) of uniform u, here u = 1 - v; hard where u > 1 - sigmoid(l)."""
    q = d.Bernoulli(tensor(50, 3), torch.tensor(0.7))
    u = 1 - fresh().rand((50, 3))
    torch.testing.assert_close(q.draw(fresh()), torch.sigmoid((q.logits + torch.logit(u)) / 0.7))
    cold = d.Bernoulli(q.logits, torch.tensor(1e-4)).draw(fresh())
    torch.testing.assert_close(cold, d.Bernoulli(q.logits).draw(fresh()), atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", DISCRETE)
def test_a_straight_through_draw_is_hard_and_has_the_gradient_of_the_relaxed_one(name):
    draws, gradients = {}, {}
    for how in ("relaxed", "straight-through", "hard"):
        part, evidence = DISCRETE[name](draws=how).double().train(), tensor(5, 6).requires_grad_()
        draws[how] = part(evidence).draw(fresh())
        if how != "hard":
            (gradients[how],) = torch.autograd.grad((draws[how] * tensor(5, 6, seed=3)).sum(), evidence)
    assert not draws["hard"].requires_grad
    assert torch.equal(draws["straight-through"], draws["hard"])
    assert torch.equal(gradients["straight-through"], gradients["relaxed"])


def test_a_temperature_follows_its_schedule_and_counts_the_steps():
    latent = lt.Latent(lt.Binary(3, Ramp(0.5, 4, start=1.0)), lt.BinaryPrior(size=3)).double().train()
    seen = []
    for _ in range(6):
        draw = latent.infer(tensor(2, 3), fresh())
        seen.append(float(draw.q.temperature))
        latent.posterior.step.copy_(draw.updates["posterior.step"])
    assert seen == [1.0, 0.875, 0.75, 0.625, 0.5, 0.5]
    assert latent.eval().infer(tensor(2, 3), fresh()).updates == {}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"draws": "soft"}, 'expected "relaxed", "straight-through" or "hard"'),
        ({"temperature": 0.0}, "expected a number above 0"),
        ({"temperature": Ramp(0.5, 10)}, r"from 0 to 0.5.*such as Ramp\(0.5, 10000, start=1.0\)"),
    ],
)
def test_wrong_ways_to_draw_codes_are_told(settings, message):
    for make in DISCRETE.values():
        with pytest.raises(ValueError, match=message):
            make(**settings)


def test_discrete_codes_cannot_be_moved_along_a_gradient():
    with pytest.raises(ValueError, match="lives in the space 'codes'"):
        lt.Hamiltonian(lt.Latent(lt.Binary(2), lt.BinaryPrior()))


@pytest.mark.parametrize("rows", [(7, 1), (1,), (2, 7, 1), ()])
def test_normals_of_full_covariance_are_torch_s_whether_rows_share_them_or_not(rows):
    loc, lower, x = tensor(4, 3), triangle(4, 3), tensor(*rows, 1, 3, seed=3) if rows else tensor(4, 3, seed=3)
    want = torch.distributions.MultivariateNormal(loc, scale_tril=lower).log_prob(x)
    torch.testing.assert_close(d.MultivariateNormal(loc, lower).log_prob(x), want, rtol=1e-12, atol=1e-12)


def slow(steps, size, rate=1.0):
    return lt.AutoregressivePrior(steps, rate, steps * size).double()(None)


def test_an_autoregressive_normal_is_the_normal_of_covariance_alpha_to_the_distance():
    p, x = slow(4, 2), tensor(5, 8, seed=2)
    distance = (torch.arange(4).unsqueeze(1) - torch.arange(4)).abs()
    covariance = torch.kron(p.alpha**distance, torch.eye(2, dtype=torch.float64))
    reference = torch.distributions.MultivariateNormal(torch.zeros(8, dtype=torch.float64), covariance)
    torch.testing.assert_close(p.log_prob(x), reference.log_prob(x), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(torch.cov(p.draw(fresh(), rows=N).T), covariance, rtol=0, atol=0.02)


@pytest.mark.parametrize(("steps", "rate"), [(2, 0.1), (3, 2.0), (8, 5.0)])
def test_an_autoregressive_prior_commits_its_rate_which_the_nearest_normal_has(steps, rate):
    p = slow(steps, 2, rate)
    far = d.kl(lt.Normal(2 * steps)(tensor(3000, 4 * steps, scale=2.0)), p).sum(1)
    nearest = d.Normal(p.mean.unsqueeze(0), nearest_scale(p).flatten().unsqueeze(0))
    assert float(d.kl(nearest, p).sum()) == pytest.approx(rate, rel=1e-5) and far.min() > rate
    with pytest.raises(ValueError, match="AutoregressivePrior\\(steps=1\\): expected a whole number from 2"):
        lt.AutoregressivePrior(1)
    with pytest.raises(ValueError, match="expected a size that is a multiple of steps"):
        lt.AutoregressivePrior(3, size=4)


def nearest_scale(p):
    """The precisions that the diagonal of the prior's inverse covariance has."""
    precision = torch.full_like(p.zero, float((1 + p.alpha**2) / (1 - p.alpha**2)))
    precision[0] = precision[-1] = 1 / (1 - p.alpha**2)
    return precision.rsqrt()


KLS = {
    "normal, normal": (FAMILIES["normal"], lambda: d.Normal(tensor(3, seed=8), tensor(3, seed=9).exp())),
    "full normal, normal": (FAMILIES["full normal"], lambda: d.Normal(tensor(3, seed=8), tensor(3, seed=9).exp())),
    "low rank, normal": (FAMILIES["low rank"], lambda: d.Normal(tensor(3, seed=8), tensor(3, seed=9).exp())),
    "laplace, laplace": (FAMILIES["laplace"], lambda: d.Laplace(tensor(3, seed=8), tensor(3, seed=9).exp())),
    "laplace, normal": (FAMILIES["laplace"], lambda: d.Normal(tensor(3, seed=8), tensor(3, seed=9).exp())),
    "von mises-fisher, uniform": (
        lambda: d.VonMisesFisher(unit(tensor(4, 3)), tensor(4, seed=1).exp()),
        lambda: d.UniformSphere(torch.zeros(3, dtype=torch.float64)),
    ),
    "power spherical, uniform": (
        lambda: d.PowerSpherical(unit(tensor(4, 5)), 9 * tensor(4, seed=1).exp()),
        lambda: d.UniformSphere(torch.zeros(5, dtype=torch.float64)),
    ),
    "logistic normal, logistic normal": (
        lambda: d.LogisticNormal(tensor(4, 3), tensor(4, 3, seed=1).exp()),
        lambda: d.LogisticNormal(tensor(3, seed=8), tensor(3, seed=9).exp()),
    ),
    "one-hot, one-hot": (FAMILIES["one-hot"], lambda: d.OneHot(tensor(2, 3, seed=8))),
    "normal, autoregressive": (lambda: d.Normal(tensor(4, 6), tensor(4, 6, seed=1).exp()), lambda: slow(3, 2)),
    "bits, bits": (FAMILIES["bits"], lambda: d.Bernoulli(tensor(3, seed=8))),
}


def test_every_closed_form_in_the_table_is_tried():
    tried = {(type(q()), type(p())) for q, p in KLS.values()}
    assert tried == set(d.KL)


@pytest.mark.parametrize("pair", KLS)
def test_closed_kls_equal_monte_carlo(pair):
    q, p = (make() for make in KLS[pair])
    closed, n = d.kl(q, p).sum(1), N // 4 if "uniform" in pair else N  # on a sphere a draw is dear
    many = q.map(lambda t: t[:1].expand(n, *t.shape[1:]))
    z = many.draw(ForwardContext.of(Source(1, dtype=torch.float64)))
    samples = many.log_density(z) - p.log_density(z)
    assert abs(float(samples.mean() - closed[0])) < 4.5 * float(samples.std()) / math.sqrt(n)
    zero = q.map(lambda t: t[:1])
    if type(q) is type(p):
        same = d.kl(zero, zero.map(lambda t: t[0]))
        torch.testing.assert_close(same, torch.zeros_like(same), atol=1e-12, rtol=0)


@pytest.mark.parametrize("rate", [0.01, 1.0, 30.0])
def test_a_committed_rate_is_reached_whatever_the_evidence_says(rate):
    part, evidence = lt.CommittedNormal(3, rate), tensor(2000, 6, scale=10.0)
    prior = d.Normal(torch.zeros(3, dtype=torch.float64), torch.ones(3, dtype=torch.float64))
    least = d.kl(part(evidence), prior).sum(1).min()
    assert rate * (1 - 1e-9) <= least
    wide = torch.tensor([[0.0] * 3 + [50.0] * 3], dtype=torch.float64)  # the prior itself, asked of a plain normal
    assert float(d.kl(part(wide), prior).sum()) == pytest.approx(rate, rel=1e-6)
    with pytest.raises(ValueError, match="CommittedNormal\\(rate=0.0\\): expected a number above 0"):
        lt.CommittedNormal(3, 0.0)


def test_kl_of_normals_against_scipy_s_integral():
    q, p = stats.norm(0.3, 1.7), stats.norm(-0.5, 0.8)
    expected = q.expect(lambda x: q.logpdf(x) - p.logpdf(x))
    one = torch.ones(1, 1, dtype=torch.float64)
    assert float(d.kl(d.Normal(0.3 * one, 1.7 * one), d.Normal(-0.5 * one, 0.8 * one))) == pytest.approx(expected)


@pytest.mark.parametrize("name", [*FAMILIES, "flow"])
def test_detaching_holds_parameters_but_not_what_they_are_asked_about(name):
    torch.manual_seed(0)
    part = {
        "normal": lt.Normal(2),
        "full normal": lt.FullNormal(2),
        "low rank": lt.LowRankNormal(2),
        "laplace": lt.Laplace(2),
        "one-hot": lt.Categorical(1, 2),
        "bits": lt.Binary(2),
        "flow": lt.Coupling(2, layers=2, hidden=4, context=1),
    }[name].double()
    evidence = tensor(3, part.n_in).requires_grad_()
    z = tensor(3, part.size, seed=4).requires_grad_()
    part(evidence).detach().log_density(z).sum().backward()
    assert z.grad is not None
    assert evidence.grad is None
    assert all(p.grad is None for p in part.parameters())


def test_a_network_bound_to_held_parameters_learns_nothing():
    net = torch.nn.Linear(2, 2)
    x = torch.randn(3, 2, requires_grad=True)
    FunctionalModule.of(net).held()(x).sum().backward()
    assert x.grad is not None
    assert net.weight.grad is None
    FunctionalModule.of(net)(x).sum().backward()
    assert net.weight.grad is not None


def test_a_point_mass_has_no_density():
    point = d.Delta(torch.zeros(2, 3))
    assert torch.equal(point.draw(ForwardContext.of(Source())), point.mean)
    with pytest.raises(ValueError, match="no density"):
        point.log_prob(torch.zeros(2, 3))


def test_a_rank_that_is_none_is_told():
    with pytest.raises(
        ValueError, match=r"LowRankNormal\(2, rank=2\): expected a rank of at least 1 and below the size"
    ):
        lt.LowRankNormal(2, rank=2)
