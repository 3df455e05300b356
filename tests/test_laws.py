"""Laws over the table of compositions: what holds for one holds for all."""

import copy

import pytest
import torch
from compositions import (
    COLUMNS,
    DISCRETE,
    LATENTS,
    LIKELIHOODS,
    OBJECTIVES,
    PAIRS,
    TOGETHER,
    batch,
    build,
    conv,
    every_value,
    numbers,
    rows,
    spatial_codebook,
)

from vaekit import distributions, testing
from vaekit import latents as vk_latents
from vaekit import objectives as vk_objectives
from vaekit.core import Batch, ForwardContext, Recorder, ReplayNoise, Source
from vaekit.likelihoods import Warped
from vaekit.objectives import ELBO, IWAE
from vaekit.training import Adam, Ensemble, Learner, Sources, Step

QUICK = {"elbo", "factor"}
USUAL = {"normal", "vamp", "ladder", "codebook", "hamiltonian", "categorical"}
"""Latents that the quick loop meets all laws with; the others are met by the whole suite."""
CASES = [
    pytest.param(o, latent, marks=() if o in QUICK and latent in USUAL else pytest.mark.slow) for o, latent in PAIRS
]
CHANGING = ("warm-up, free bits", "cyclical", "capacity", "subsets", "vae-gan", "lagging")
EXACT = [name for name in LATENTS if "codebook" not in name]


@pytest.mark.parametrize(("objective", "latent"), CASES)
def test_a_step_never_waits_for_the_device(objective, latent):
    model = build(latent)
    testing.assert_no_sync(model, batch(model), OBJECTIVES[objective]())


@pytest.mark.parametrize(
    "likelihood",
    [pytest.param(n, marks=pytest.mark.slow if n == "autoregressive, of levels" else ()) for n in LIKELIHOODS],
)
def test_a_step_never_waits_whatever_the_likelihood_with_gaps_or_without(likelihood):
    for masked in (False, True):
        model = build(likelihood=likelihood)
        testing.assert_no_sync(model, batch(model, masked=masked))


@pytest.mark.parametrize("model", [conv, spatial_codebook])
def test_a_convolutional_step_never_waits(model):
    model = model()
    testing.assert_no_sync(model, Batch(torch.rand(4, 1, 8, 8, dtype=torch.float64).round()))


def train_alone(learner, batches, noise, adam):
    step = Step(learner, adam, total_steps=len(batches))
    return [step(b, noise) for b in batches]


@pytest.mark.parametrize(("objective", "latent"), CASES)
def test_an_ensemble_equals_its_members_each_trained_alone(objective, latent):
    """In fp64: every member has its own weights, rows, noise and clipping. Objectives whose terms or players change
    over the steps are trained until after they did."""
    steps = 12 if objective in CHANGING else 5
    adam = Adam(lr=1e-2, schedule="cosine", clip=0.5)
    learners = [Learner(build(latent, seed=s), OBJECTIVES[objective]()).double() for s in range(3)]
    alone = copy.deepcopy(learners)
    batches = [[batch(m.model, seed=100 * k + t) for t in range(steps)] for k, m in enumerate(learners)]
    for k, learner in enumerate(alone):
        train_alone(learner, batches[k], Source.like(learner, k), adam)
    ensemble = Ensemble(learners)
    noise = Sources([Source.like(learners[0], k) for k in range(3)])
    step = Step(ensemble, adam, total_steps=steps)
    for t in range(steps):
        step(Batch(torch.stack([batches[k][t].x for k in range(3)])), noise)
    for member, lone in zip(ensemble.members(), alone):
        for (name, got), want in zip(member.state_dict().items(), lone.state_dict().values()):
            torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-10, msg=lambda m, n=name: f"{n}: {m}")


def test_an_ensemble_over_shared_rows_sweeps_beta():
    learners = [Learner(build(seed=1), ELBO(beta)).double() for beta in (0.5, 1.0, 4.0)]
    alone, rows_ = copy.deepcopy(learners), [batch(learners[0].model, seed=t) for t in range(20)]
    for learner in alone:
        train_alone(learner, rows_, Source.like(learner, 7), Adam())
    ensemble, noise = Ensemble(learners, shared_rows=True), Sources([Source.like(learners[0], 7) for _ in range(3)])
    step = Step(ensemble, Adam(), total_steps=20)
    losses = [step(b, noise).losses["model"] for b in rows_]
    assert len(set(losses[0].tolist())) == 3
    for member, lone in zip(ensemble.members(), alone):
        for got, want in zip(member.state_dict().values(), lone.state_dict().values()):
            torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-10)


def test_a_diverging_member_leaves_the_others_bit_identical():
    def run(first_beta):
        learners = [Learner(build(seed=s), ELBO()).double() for s in (0, 1)]
        learners[0].objective.beta.value.fill_(first_beta)
        ensemble, noise = Ensemble(learners), Sources([Source.like(learners[0], s) for s in range(2)])
        step = Step(ensemble, Adam(clip=1.0))
        for t in range(5):
            x = batch(learners[0].model, seed=t).x
            step(Batch(torch.stack([x, x])), noise)
        return [{n: t.clone() for n, t in m.state_dict().items()} for m in ensemble.members()]

    good, bad = run(1.0), run(float("nan"))
    assert bad[0]["first_bad"] == 0
    assert good[0]["first_bad"] == bad[1]["first_bad"] == -1
    assert all(torch.equal(good[1][n], bad[1][n]) for n in good[1])


@pytest.mark.parametrize("latent", LATENTS)
def test_estimates_of_p_sum_to_one_over_all_binary_rows(latent):
    testing.assert_unbiased(build(latent, cells=4), draws=4000)


@pytest.mark.parametrize("likelihood", ["a decoder that reads x", "autoregressive"])
def test_estimates_of_p_sum_to_one_where_the_decoder_reads_x(likelihood):
    testing.assert_unbiased(build(likelihood=likelihood, cells=4), draws=4000)


@pytest.mark.parametrize("likelihood", ["a decoder that reads x", "autoregressive"])
def test_an_ensemble_of_decoders_that_read_x_equals_its_members(likelihood):
    learners = [Learner(build("hamiltonian", likelihood, seed=s), IWAE(2)).double() for s in range(2)]
    alone, rows_ = copy.deepcopy(learners), [batch(learners[0].model, seed=t) for t in range(5)]
    for k, learner in enumerate(alone):
        train_alone(learner, rows_, Source.like(learner, k), Adam())
    step = Step(Ensemble(learners, shared_rows=True), Adam(), total_steps=5)
    noise = Sources([Source.like(learners[0], k) for k in range(2)])
    for b in rows_:
        step(b, noise)
    for member, lone in zip(step.learner.members(), alone):
        for got, want in zip(member.state_dict().values(), lone.state_dict().values()):
            torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("latent", LATENTS)
def test_each_row_is_scored_by_itself(latent):
    model = build(latent)
    testing.assert_rows_independent(model, batch(model))


@pytest.mark.parametrize(("objective", "latent"), CASES)
def test_padding_changes_nothing(objective, latent):
    model = build(latent)
    testing.assert_padding_is_nothing(model, batch(model), OBJECTIVES[objective]())


@pytest.mark.parametrize(("objective", "latent"), CASES)
def test_each_player_follows_its_own_loss(objective, latent):
    model = build(latent)
    testing.assert_players_own_gradients(model, batch(model), OBJECTIVES[objective]())


@pytest.mark.parametrize(("objective", "latent"), CASES)
def test_every_value_law_holds_in_fp32_too(objective, latent):
    """The same weights, rows and noise in fp32 give the fp64 losses to rounding."""
    learner = Learner(build(latent), OBJECTIVES[objective]()).double()
    rows_ = batch(learner.model)
    recorder = Recorder(Source.like(learner))
    wide = learner(rows_, recorder).losses
    narrow = learner.float()(Batch(rows_.x.float()), ReplayNoise([t.float() for t in recorder.tape])).losses
    for name, loss in wide.items():
        torch.testing.assert_close(narrow[name].double(), loss, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("latent", LATENTS)
def test_a_model_described_and_rebuilt_computes_the_same(latent):
    model = build(latent)
    rows_ = batch(model)
    testing.assert_config_round_trip(model, lambda m: m(rows_, Source.like(m)).log_weight)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_every_likelihood_keeps_the_contract(likelihood):
    model = build(likelihood=likelihood)
    inside = likelihood != "gaussian tanh"
    testing.assert_likelihood(model.likelihood, rows(model.likelihood), draws_within=inside)
    testing.assert_config_round_trip(model, lambda m: m(batch(model), Source.like(m)).log_weight)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_missing_cells_do_not_count_whatever_they_hold(likelihood):
    model = build(likelihood=likelihood).eval()
    full = batch(model, masked=True)
    filled = torch.where(full.mask > 0, full.x, torch.nan)
    recorder = Recorder(Source.like(model))
    want = model(full, recorder).log_weight
    got = model(Batch(filled, full.mask), ReplayNoise(recorder.tape)).log_weight
    assert torch.equal(want, got)
    got.sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("likelihood", [name for name in LIKELIHOODS if not any(w in name for w in TOGETHER)])
def test_masses_sum_to_one_and_draws_follow_them(likelihood):
    """Of every cell: over all values or points a thousandth apart; the distribution function of 20,000 draws, and their
    mean. Draws of a column of numbers are held within the values that were met."""
    n, whole = 20_000, build(likelihood=likelihood).likelihood
    for part in getattr(whole, "parts", [whole]):
        given, (x, width) = numbers(part), every_value(part)
        with torch.no_grad():
            mass = part(given.expand(len(x), -1)).log_prob(x).exp() * width
            px = part(given.expand(n, -1))
            drawn = px.draw(ForwardContext.of(Source(1, dtype=torch.float64)))
        assert (mass.sum(0) - 1).abs().max() < 2e-3, mass.sum(0)
        if isinstance(part, Warped):
            low, high = (part.knots_table[:, k].double() for k in (1, -2))
            low, high = (low.exp(), high.exp()) if part.positive else (low, high)
            mass = torch.where((low <= x) & (x <= high), mass, 0.0)
            mass /= mass.sum(0)
        upto = x + (0.5 * x.diff(dim=0, append=2 * x[-1:] - x[-2:-1]) if x[0, 0] != 0 else 0)
        for values, edges, own in zip(drawn.T, upto.T, mass.T):
            seen = torch.searchsorted(values.sort().values, edges.contiguous(), right=True) / n
            assert (seen - own.cumsum(0)).abs().max() < 2.3 / n**0.5 + 2e-3
        off, spread = (drawn.mean(0) - px.mean[0]).abs(), drawn.std(0)
        assert (off < 4 * spread / n**0.5 + 0.02 * spread).all(), off / spread  # a warped mean is one of 16 quantiles


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("likelihood", COLUMNS)
def test_columns_and_their_gradients_stay_finite(likelihood, dtype):
    """Whatever the decoder gives, and however far out a value lies."""
    part = build(likelihood=likelihood).likelihood.to(dtype)
    x = rows(part).to(dtype)
    far = x.clone()
    for kind, own in zip(getattr(part, "parts", [part]), far.split(getattr(part, "sizes", [x.shape[1]]), 1)):
        own.copy_(own * 1e30 if isinstance(kind, Warped) else own)
    for size in (0.0, 1e-30, 20.0, -20.0, 60.0, -60.0):
        for cells in (x, far):
            given = torch.full((len(x), *part.in_shape), size, dtype=dtype, requires_grad=True)
            value = part(given).log_prob(cells)
            assert value.isfinite().all(), size
            for gradient in torch.autograd.grad(value.sum(), [given, *part.parameters()]):
                assert gradient.isfinite().all(), size


@pytest.mark.parametrize("latent", ["normal", "vamp", "ladder", "very deep", "hamiltonian"])
def test_a_context_is_read_by_encoder_and_decoder(latent):
    model = build(latent, context=3)
    x, context = rows(model.likelihood), torch.eye(3, dtype=torch.float64)[torch.arange(6) % 3]
    testing.assert_no_sync(model, Batch(x, context=context))
    model = build(latent, context=3).eval()
    testing.assert_rows_independent(model, Batch(x, context=context))
    scores = [model(Batch(x, context=c), Source.like(model)).log_weight for c in (context, context.roll(1, 1))]
    assert not torch.allclose(*scores)
    assert model.generate(6, Source.like(model), context).shape == (6, *model.latent.shape)


@pytest.mark.parametrize(
    "latent",
    [pytest.param(n, marks=() if n in USUAL else pytest.mark.slow) for n in EXACT if n not in (*DISCRETE, "labelled")],
)
def test_path_gradients_have_the_same_mean(latent):
    """The score term that sticking the landing leaves out has mean zero: for one draw both gradients agree."""
    model = build(latent).train()
    x = rows(model.likelihood, 1).expand(4_000, -1)
    named = [p for n, p in model.named_parameters() if n not in model.generative()]
    samples = []
    for path_only in (False, True):
        for seed in range(12):
            loss = model(Batch(x), Source.like(model, seed), path_only=path_only).log_weight.mean()
            gradient = torch.autograd.grad(loss, named, allow_unused=True)
            samples.append(torch.cat([g.flatten() for g in gradient if g is not None]))
    if len(samples[0]) != len(samples[12]):
        pytest.fail("the two estimators reach different parameters")
    score = torch.stack(samples[:12]) - torch.stack(samples[12:])  # of the same draws
    off = (score.mean(0) / (score.std(0) / 12**0.5 + 1e-9)).abs()
    # 12 batches give a t statistic: its 1 - 1e-5 quantile with 11 degrees of freedom is below 7.7.
    assert (off > 7.7).double().mean() < 0.005, f"{int((off > 7.7).sum())} of {len(off)} gradients differ"


def test_the_doubly_reparameterised_gradient_is_unbiased():
    model = build("flow").train()
    x = rows(model.likelihood, 1).expand(5000, -1)
    gradients = {}
    for kind in ("plain", "dreg"):
        learner = Learner(model, IWAE(4, gradient=kind))
        named = dict(learner.named_parameters())
        samples = []
        for seed in range(16):
            losses = learner(Batch(x), Source.like(model, seed)).losses
            flat = []
            for who, names in learner.param_groups().items():
                parts = torch.autograd.grad(losses[who], [named[n] for n in names], retain_graph=True)
                flat += [(n, g) for n, g in zip(names, parts)]
            samples.append(torch.cat([g.flatten() for _, g in sorted(flat, key=lambda item: item[0])]))
        gradients[kind] = torch.stack(samples)
    mean = {k: g.mean(0) for k, g in gradients.items()}
    error = sum(g.var(0) / 16 for g in gradients.values()).sqrt() + 1e-9
    off = ((mean["plain"] - mean["dreg"]) / error).abs()
    assert (off > 6).double().mean() < 0.005


def uneven():
    return torch.tensor([[0.7]], dtype=torch.float64)


@pytest.mark.parametrize(
    ("family", "grid"),
    [
        (distributions.Normal(uneven(), uneven()), torch.linspace(-6, 7, 2001, dtype=torch.float64)),
        (distributions.Poisson(uneven()), torch.arange(40, dtype=torch.float64)),
        (distributions.Bernoulli(uneven()), torch.tensor([0.0, 1.0], dtype=torch.float64)),
        (distributions.ContinuousBernoulli(uneven()), torch.linspace(0, 1, 2001, dtype=torch.float64)),
    ],
)
def test_the_law_of_distributions_holds_for_ours(family, grid):
    testing.assert_distribution(family, grid)


def test_the_law_of_distributions_finds_a_wrong_density_and_a_wrong_draw():
    class TooWide(distributions.Normal):
        def draw(self, scope, rows=None):
            return super().draw(scope, rows) * 1.1

    class Unnormalised(distributions.Normal):
        def log_prob(self, x):
            return super().log_prob(x) + 0.1

    grid = torch.linspace(-6, 7, 2001, dtype=torch.float64)
    with pytest.raises(AssertionError, match="draws and log_prob disagree"):
        testing.assert_distribution(own(TooWide), grid)
    with pytest.raises(AssertionError, match="sums to 1.1"):
        testing.assert_distribution(own(Unnormalised), grid)


def own(cls):
    """A subclass registered as the records are."""
    from vaekit.core import record

    return record(cls)(uneven(), uneven())


def test_the_laws_find_what_they_are_there_for():
    """Each law fails on a part that breaks it."""

    class Waits(vk_objectives.ELBO):
        def forward(self, model, batch, step, noise):
            terms = super().forward(model, batch, step, noise)
            assert float(terms.losses["model"].detach()) > 0
            return terms

    class Couples(vk_latents.Normal):
        def forward(self, evidence):
            return super().forward(evidence - evidence.mean(0))

    model = build()
    with pytest.raises(testing.HostSync):
        testing.assert_no_sync(model, batch(model), Waits())
    model.latent.posterior = Couples(2)
    with pytest.raises(AssertionError):
        testing.assert_rows_independent(model, batch(model))
    model = build(cells=4)
    model.latent.posterior = Biased(2)
    with pytest.raises(AssertionError, match="expected 1"):
        testing.assert_unbiased(model, draws=4000)


class Biased(vk_latents.Normal):
    """Says that it is narrower than it draws."""

    def forward(self, evidence):
        q = super().forward(evidence)
        return Loud(q.loc, q.scale)


class Loud(distributions.Normal):
    """Draws with twice its scale."""

    def draw(self, scope, rows=None):
        return self.loc + 2 * self.scale * scope.randn(self.loc.shape)
