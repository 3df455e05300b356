"""Objectives against what they are defined as: sums written out, closed forms, laws of their estimators."""

import itertools
import math

import numpy as np
import pytest
import torch
from compositions import batch, build, hard_bits, lower

import vaekit as vk
from vaekit import distributions as dist
from vaekit import latents as lt
from vaekit import objectives as ob
from vaekit.core import Batch, Recorder, ReplayNoise, Source
from vaekit.likelihoods import Bernoulli
from vaekit.model import VAEModule
from vaekit.networks import MLP
from vaekit.objectives.aggregate import total_correlation
from vaekit.objectives.importance import advantages
from vaekit.testing import every_binary_row
from vaekit.training import Learner


def normals(rows, dimensions=3, seed=0):
    """q(z | x_j) of some rows, and a draw of each."""
    generator = torch.Generator().manual_seed(seed)
    loc, noise = (torch.randn(rows, dimensions, generator=generator, dtype=torch.float64) for _ in range(2))
    scale = 0.3 + torch.rand(rows, dimensions, generator=generator, dtype=torch.float64)
    return dist.Normal(loc, scale), loc + scale * noise


# -- total correlation -----------------------------------------------------------------------------


def test_total_correlation_is_the_sum_written_out_where_the_batch_is_the_data():
    q, z = normals(6)
    got = total_correlation(q, z, ob.TotalCorrelation().log_weights(torch.ones(6, dtype=torch.float64)))
    for i in range(6):
        each = q.log_prob(z[i]).exp().tolist()
        joint = np.mean([math.prod(row) for row in each])
        marginal = math.prod(np.mean([row[d] for row in each]) for d in range(3))
        assert got[i] == pytest.approx(math.log(joint / marginal), abs=1e-12)


def test_the_stratified_estimate_of_the_aggregate_posterior_is_unbiased():
    """Over all ordered batches of 3 of 5 rows, in each of which a row stands at each place."""
    rows, size = 5, 3
    q, z = normals(rows)
    objective = ob.TotalCorrelation(estimator="stratified", rows=rows)
    weights = objective.log_weights(torch.ones(size, dtype=torch.float64)).exp()
    at = q.map(lambda t: t.unsqueeze(0)).log_prob(z.unsqueeze(1)).sum(2).exp()  # of z_i under each row's q
    seen = [[] for _ in range(rows)]
    for chosen in itertools.permutations(range(rows), size):
        for place, row in enumerate(chosen):
            seen[row].append(float(weights[place] @ at[row, list(chosen)]))
    for row in range(rows):
        assert np.mean(seen[row]) == pytest.approx(float(at[row].mean()), rel=1e-12)


@pytest.mark.parametrize("estimator", ["weighted", "stratified"])
def test_rows_of_weight_zero_are_no_part_of_the_estimate(estimator):
    objective, (q, z) = ob.TotalCorrelation(estimator=estimator, rows=20), normals(5)
    weight = torch.tensor([1.0, 0.0, 1.0, 1.0, 0.0], dtype=torch.float64)
    kept = weight > 0
    got = total_correlation(q, z, objective.log_weights(weight))[kept]
    alone = total_correlation(q.map(lambda t: t[kept]), z[kept], objective.log_weights(weight[kept]))
    torch.testing.assert_close(got, alone)


@pytest.mark.slow
def test_the_total_correlation_of_gaussian_codes_is_the_closed_one():
    """Means N(0, S) and a fixed scale make q(z) normal: TC = (sum log C_dd - log |C|) / 2, C = S + scale^2."""
    generator, rows = torch.Generator().manual_seed(0), 3000
    s = torch.tensor([[1.0, 0.7, 0.0], [0.7, 1.0, 0.2], [0.0, 0.2, 1.0]], dtype=torch.float64)
    loc = torch.randn(rows, 3, generator=generator, dtype=torch.float64) @ torch.linalg.cholesky(s).T
    scale = torch.full_like(loc, 0.5)
    z = loc + scale * torch.randn(rows, 3, generator=generator, dtype=torch.float64)
    each = total_correlation(dist.Normal(loc, scale), z, ob.TotalCorrelation().log_weights(torch.ones_like(z[:, 0])))
    c = s + 0.25 * torch.eye(3, dtype=torch.float64)
    closed = 0.5 * (c.diagonal().log().sum() - torch.linalg.slogdet(c)[1])
    assert abs(float(each.mean() - closed)) < 4 * float(each.std()) / rows**0.5


def test_the_loss_is_the_elbo_and_beta_less_one_total_correlations():
    learner = Learner(build("normal"), ob.TotalCorrelation(4.0)).double()
    rows, noise = batch(learner.model), Recorder(Source.like(learner))
    terms = learner(rows, noise)
    elbo = Learner(learner.model, ob.ELBO())(rows, ReplayNoise(noise.tape)).losses["model"]
    torch.testing.assert_close(terms.losses["model"], elbo + 3 * terms.metrics["tc"])


def test_the_number_of_rows_is_settled_by_the_data():
    recipe = vk.recipes.beta_tc(estimator="stratified")
    vae = vk.VAE(recipe=recipe, epochs=1, validation=0).fit(vk.datasets.digits()[0][:150])
    assert vae.objective_.rows == 150


# -- covariance ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [1, 2])
def test_the_covariance_of_codes_is_numpys(kind):
    q, _ = normals(7)
    want = np.cov(q.loc.numpy().T, bias=True) + (kind == 2) * np.diag((q.scale.numpy() ** 2).mean(0))
    np.testing.assert_allclose(ob.DIP(kind).covariance(q, None), want, atol=1e-12)
    weight = torch.tensor([1.0, 2.0, 0.0, 1.0, 1.0, 3.0, 0.0], dtype=torch.float64)
    want = np.cov(q.loc.numpy().T, bias=True, fweights=weight.int().numpy())
    want += (kind == 2) * np.diag(np.average(q.scale.numpy() ** 2, 0, weight.numpy()))
    np.testing.assert_allclose(ob.DIP(kind).covariance(q, weight), want, atol=1e-12)


def test_codes_of_covariance_one_cost_nothing_more():
    learner = Learner(build("normal"), ob.DIP(1, off_diagonal=3.0, diagonal=2.0)).double()
    rows = batch(learner.model)
    q = learner.model.infer(rows, Source.like(learner)).q
    c = np.cov(q.loc.detach().numpy().T, bias=True)
    want = 3 * (np.square(c).sum() - np.square(np.diag(c)).sum()) + 2 * np.square(np.diag(c) - 1).sum()
    assert float(learner(rows, Source.like(learner)).metrics["dip"].detach()) == pytest.approx(want, rel=1e-12)


# -- distance to the prior -------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", ["imq", "rbf"])
def test_mmd_is_the_sum_written_out(kernel):
    (_, a), (_, b) = normals(5, 2, seed=1), normals(5, 2, seed=2)

    def k(u, v):
        r = float((u - v).square().sum())
        return 4.0 / (4.0 + r) + 8.0 / (8.0 + r) if kernel == "imq" else math.exp(-r / 4) + math.exp(-r / 8)

    def within(t):
        return sum(k(t[i], t[j]) for i in range(5) for j in range(5) if i != j) / 20

    want = within(a) + within(b) - 2 * sum(k(u, v) for u in a for v in b) / 25
    objective = ob.WAE(kernel=kernel, scales=(1.0, 2.0))
    assert float(objective.mmd(a, b)) == pytest.approx(want, abs=1e-12)
    weight = torch.tensor([1.0, 1.0, 0.0, 1.0, 1.0], dtype=torch.float64)
    kept = weight > 0
    torch.testing.assert_close(objective.mmd(a, b, weight), objective.mmd(a[kept], b[kept]))


@pytest.mark.parametrize("kernel", ["imq", "rbf"])
def test_mmd_is_unbiased_and_tells_distributions_apart(kernel):
    """Mean 0 within 4 standard errors where both are N(0, I); far above where one is shifted by one deviation."""
    generator, objective = torch.Generator().manual_seed(0), ob.WAE(kernel=kernel)
    draws = torch.randn(400, 2, 16, 3, generator=generator, dtype=torch.float64)
    same = torch.stack([objective.mmd(a, b) for a, b in draws])
    shifted = torch.stack([objective.mmd(a + 1, b) for a, b in draws])
    error = float(same.std()) / 20
    assert abs(float(same.mean())) < 4 * error < float(shifted.mean())


def test_one_row_has_no_distance_within():
    z = torch.ones(1, 2, dtype=torch.float64, requires_grad=True)
    mmd = ob.WAE().mmd(z, -z.detach())
    assert mmd.isfinite() and torch.autograd.grad(mmd, z)[0].isfinite().all()


# -- mixed bounds ----------------------------------------------------------------------------------


def losses(objective, model, rows, tape=None):
    noise = Recorder(Source.like(model)) if tape is None else ReplayNoise(tape)
    return Learner(model, objective)(rows, noise).losses, getattr(noise, "tape", None)


def test_mixed_bounds_are_mixtures_of_bounds_of_the_same_draws():
    model = build("normal").train()
    rows = batch(model)
    joint, tape = losses(ob.IWAE(6), model, rows)
    mean, _ = losses(ob.IWAE(3, m=2), model, rows, tape)
    partial, _ = losses(ob.IWAE(3, gradient="partial", m=2), model, rows, tape)
    elbo, _ = losses(ob.IWAE(1, m=6), model, rows, tape)
    mixed, _ = losses(ob.IWAE(6, elbo=0.3), model, rows, tape)
    log_w = model(rows, ReplayNoise(tape), draws=6).log_weight.unflatten(0, (2, 3, -1))
    torch.testing.assert_close(mean["model"], -(log_w.logsumexp(1) - math.log(3)).mean())
    torch.testing.assert_close(partial["inference"], mean["model"])
    torch.testing.assert_close(partial["generation"], joint["model"])
    torch.testing.assert_close(elbo["model"], -log_w.mean())
    torch.testing.assert_close(mixed["model"], 0.3 * elbo["model"] + 0.7 * joint["model"])
    assert joint["model"] < mean["model"] < elbo["model"]


# -- the score function ----------------------------------------------------------------------------


def gradients_of_the_bound(model, x, k, seeds, rows):
    """By VIMCO: a mean over `rows` draws of the batch for each seed, (seeds, parameters)."""
    learner, found = Learner(model, ob.IWAE(k, gradient="vimco")), []
    for seed in range(seeds):
        loss = learner(Batch(x.expand(rows, -1)), Source.like(model, seed)).losses["model"]
        found.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(model.parameters()))]))
    return torch.stack(found)


def exact_bound(model, x, k):
    """-E log 1/k sum_i w_i, summed over all k-tuples of codes of a latent of bits."""
    codes = every_binary_row(model.latent.shape[0])
    q = model.latent.posterior(model.encoder(x))
    log_q = q.log_prob(codes).sum(1)
    log_p = model.latent.log_prior(codes, model.prior_scope(Source.like(model))) + model.decode(codes).log_prob(x).sum(
        1
    )
    chosen = torch.tensor(list(itertools.product(range(len(codes)), repeat=k)))
    bound = (log_p - log_q)[chosen].logsumexp(1) - math.log(k)
    return -(log_q[chosen].sum(1).exp() * bound).sum()


@pytest.mark.parametrize("k", [2, 3])
def test_vimco_is_an_unbiased_gradient_of_the_bound_summed_over_all_codes(k):
    """z scores of every parameter: 16 batches give a t statistic, whose 1 - 1e-5 quantile is below 6."""
    model = build("binary, hard").train()
    x = batch(model).x[:1]
    exact = torch.cat([g.flatten() for g in torch.autograd.grad(exact_bound(model, x, k), list(model.parameters()))])
    found = gradients_of_the_bound(model, x, k, seeds=16, rows=5000)
    off = (found.mean(0) - exact).abs() / (found.std(0) / 4 + 1e-12)
    assert float(exact.norm()) > 0.1
    assert (off > 6).double().mean() < 0.005 and off.square().mean() < 2, f"{int((off > 6).sum())} of {len(off)}"


def test_vimco_has_less_variance_than_the_plain_score_function(monkeypatch):
    model = build("binary, hard").train()
    x = batch(model).x[:1]
    controlled = gradients_of_the_bound(model, x, 5, seeds=100, rows=20)
    plain = "vaekit.objectives.importance.advantages"
    monkeypatch.setattr(plain, lambda log_w: log_w.detach().logsumexp(1, keepdim=True) - math.log(5))
    uncontrolled = gradients_of_the_bound(model, x, 5, seeds=100, rows=20)
    assert float(controlled.var(0).sum()) < 0.2 * float(uncontrolled.var(0).sum())


def test_a_draw_is_credited_with_what_it_adds_to_the_others_geometric_mean():
    w = [0.5, 2.0, 3.0]
    want = [math.log(sum(w) / (sum(w) - own + math.sqrt(math.prod(w) / own))) for own in w]
    got = advantages(torch.tensor(w, dtype=torch.float64).log().reshape(1, 3, 1))
    assert got.flatten().tolist() == pytest.approx(want, rel=1e-12)


# -- wrong calls -----------------------------------------------------------------------------------


def half_hard():
    return lt.Ladder([hard_bits(lt.BinaryPrior()), lower(2)], width=6)


WRONG = {
    "estimator": (lambda: ob.TotalCorrelation(estimator="exact"), 'expected "weighted" or "stratified"'),
    "rows": (
        lambda: Learner(build(), ob.TotalCorrelation(estimator="stratified")),
        "needs the number of rows of the data",
    ),
    "not by dimension": (
        lambda: Learner(build("full normal"), ob.DIP()),
        "this model's is FullNormal",
    ),
    "no posterior": (lambda: Learner(build("ladder"), ob.TotalCorrelation()), "this model's is Ladder"),
    "kind": (lambda: ob.DIP(3), "expected 1 or 2"),
    "kernel": (lambda: ob.WAE(kernel="linear"), 'expected "imq" or "rbf"'),
    "scales": (lambda: ob.WAE(scales=(0.0,)), "WAE(scales=(0.0,)): expected a list or tuple of numbers above 0"),
    "draws": (lambda: ob.IWAE(2, m=0), "IWAE(m=0): expected a whole number from 1"),
    "mixed": (lambda: ob.IWAE(2, gradient="dreg", elbo=0.1), 'takes "plain" or "stl"'),
    "one draw": (lambda: ob.IWAE(1, gradient="vimco"), "a draw is judged by the others"),
    "draws with a gradient": (
        lambda: Learner(build("binary"), ob.IWAE(2, gradient="vimco")),
        "needs draws of z without a gradient, for which it uses that of log q, and those of Binary are not so: give "
        'Binary or Categorical draws="hard"',
    ),
    "draws without a gradient": (
        lambda: Learner(build("binary, hard"), ob.ELBO()),
        'those of Binary are not so: give Binary or Categorical draws="relaxed"',
    ),
    "hard on one rung": (
        lambda: Learner(VAEModule(MLP(()), half_hard(), MLP(()), Bernoulli()).resolve_shapes((4,)), ob.ELBO()),
        "those of Ladder are not so",
    ),
    "partial": (lambda: Learner(build("vamp"), ob.IWAE(2, gradient="partial")), "the partial gradient trains q and p"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_objective_is_told_when_it_is_made(name):
    call, message = WRONG[name]
    with pytest.raises(ValueError, match=".*") as error:
        call()
    assert message in str(error.value)


def test_a_deterministic_encoder_may_be_held_to_the_prior():
    vae = vk.VAE(recipe="wae", epochs=3, validation=0, seed=0).fit(vk.datasets.digits()[0])
    first, last = vae.history_[0], vae.history_[-1]
    assert last["distortion"] < first["distortion"] and "rate" not in last
