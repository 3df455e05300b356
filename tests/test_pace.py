"""How steps are run: traced, compiled, with how many threads; the result is the same."""

import copy
import shutil

import numpy as np
import pytest
import torch
from compositions import HARD, LATENTS, LIKELIHOODS, OBJECTIVES, PAIRS, POINTS, batch, build, spatial_codebook
from torch import nn

import vaekit as vk
from vaekit.core import Batch, Source
from vaekit.evaluation.likelihood import BUDGET
from vaekit.training import Adam, Ensemble, Learner, Step
from vaekit.training.adam import Moments
from vaekit.training.autotune import ExecutionPlan, is_traceable, worth_compiling
from vaekit.training.compiled import Program, operations

QUICK = ("gaussian", "gaussian optimal", "categorical", "negative binomial", "warped", "mixed")
"""Likelihoods of every make: of one number each, of a scale from the batch, of levels, of counts, of several kinds."""
CASES = [
    pytest.param(o, latent, "bernoulli", marks=() if latent in ("normal", "vamp") else pytest.mark.slow)
    for o, latent in PAIRS
    if o != "elbo" or latent in ("normal", "vamp", *POINTS)
] + [
    pytest.param("elbo", "normal", likelihood, marks=() if likelihood in QUICK else pytest.mark.slow)
    for likelihood in LIKELIHOODS
    if likelihood != "bernoulli"
]
"""Every objective and every likelihood; every latent is traced in the test of ensembles."""
needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")


def traced_only(graph, example):
    """A backend that runs the graph as it was traced."""
    return graph


def trace(step):
    """Runs the steps that come as they were traced, whoever moves in them."""
    for taken in range(3):
        step.turn(
            [who for who in step.param_groups if step.learner.should_update(who, taken)]
        ).program.backend = traced_only


def assert_same_training(step, again, batches, noises, **tolerance):
    for t, rows in enumerate(batches):
        terms, others = step(rows, noises[0]), again(rows, noises[1])
        for name, value in terms.metrics.items():
            torch.testing.assert_close(others.metrics[name], value, **tolerance, msg=lambda m, n=name: f"{n}: {m}")
    state = again.learner.state_dict()
    for name, value in step.learner.state_dict().items():
        torch.testing.assert_close(state[name], value, **tolerance, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize(("objective", "latent", "likelihood"), CASES)
def test_a_traced_step_is_the_step(objective, latent, likelihood):
    learner = Learner(build(latent, likelihood), OBJECTIVES[objective]()).double().train()
    step, again = Step(learner, Adam(1e-2)), Step(copy.deepcopy(learner), Adam(1e-2), compiled=True)
    trace(again)
    batches = [batch(learner.model, seed=t) for t in range(3)]
    assert_same_training(step, again, batches, (learner.noise([5]), learner.noise([5])), rtol=1e-9, atol=1e-10)
    assert again.program.failure is None


@pytest.mark.parametrize("latent", [n if n == "normal" else pytest.param(n, marks=pytest.mark.slow) for n in LATENTS])
def test_a_traced_ensemble_is_the_ensemble(latent):
    objective = OBJECTIVES["iwae vimco" if latent in HARD else "elbo"]
    learners = [Learner(build(latent, seed=s), objective()).double().train() for s in range(3)]
    ensemble = Ensemble(learners, shared_rows=True).train()
    again = Ensemble(copy.deepcopy(ensemble.members()), shared_rows=True).train()
    adam = Adam((1e-2, 1e-3, 1e-4), clip=0.5)
    steps = Step(ensemble, adam), Step(again, adam, compiled=True)
    trace(steps[1])
    batches = [batch(learners[0].model, seed=t) for t in range(3)]
    assert_same_training(*steps, batches, (ensemble.noise(), ensemble.noise()), rtol=1e-9, atol=1e-10)
    assert steps[1].program.failure is None


@pytest.mark.parametrize("objective", ["elbo", "factor"])
def test_a_smaller_batch_is_traced_anew(objective):
    learner = Learner(build(), OBJECTIVES[objective]()).double().train()
    step, again = Step(learner, Adam(1e-2)), Step(copy.deepcopy(learner), Adam(1e-2), compiled=True)
    trace(again)
    batches = [batch(learner.model, n, seed=n) for n in (6, 4, 6)]
    assert_same_training(step, again, batches, (learner.noise([5]), learner.noise([5])), rtol=1e-9, atol=1e-10)
    assert again.program.failure is None


@needs_compiler
@pytest.mark.slow
def test_a_compiled_step_is_the_step():
    """Of convolutions, a codebook and its buffers. Compiled ensembles and processes have tests of their own."""
    learner = Learner(spatial_codebook(), OBJECTIVES["elbo"]()).double().train()
    step, again = Step(learner, Adam(1e-2)), Step(copy.deepcopy(learner), Adam(1e-2), compiled=True)
    x = torch.rand(4, *learner.model.likelihood.shape).double().round()
    noises = learner.noise([5]), learner.noise([5])
    assert_same_training(step, again, [Batch(x)] * 3, noises, rtol=1e-8, atol=1e-9)
    assert again.program.failure is None


@pytest.mark.parametrize("rates", [1e-2, (1e-2, 1e-3, 1e-1)])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_members_move_as_torch_s_adam_would_move_each(rates, decay):
    """Against torch's own Adam, one per member, on the same gradients."""
    parameters = [torch.randn(3, 4, 5, dtype=torch.float64), torch.randn(3, 2, dtype=torch.float64)]
    moments = Moments(copy.deepcopy(parameters), Adam(rates, weight_decay=decay))
    alone = [[nn.Parameter(p[k].clone()) for p in parameters] for k in range(3)]
    each = rates if isinstance(rates, tuple) else (rates,) * 3
    optimisers = [torch.optim.Adam(ps, lr, weight_decay=decay) for ps, lr in zip(alone, each)]
    for t in range(20):
        gradients = [
            torch.randn(p.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(t)) for p in parameters
        ]
        moments.move(gradients, 1.0)
        for k, optimiser in enumerate(optimisers):
            for p, g in zip(alone[k], gradients):
                p.grad = g[k]
            optimiser.step()
    for stacked, *lone in zip(moments.parameters, *alone):
        torch.testing.assert_close(stacked, torch.stack(lone), rtol=1e-12, atol=1e-12)


# -- choosing -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits():
    return vk.datasets.mnist()[0][:300]


@pytest.fixture
def tried(monkeypatch):
    """Everything is tried, compiling costs nothing, and a pace is fast if it is in the list that is returned."""
    fast, seen = [], []

    def seconds(training, pace):
        training.try_step(False)
        seen.append(pace)
        return 0.1 if pace in fast else 1.0

    monkeypatch.setattr("vaekit.training.autotune._seconds", seconds)
    monkeypatch.setattr("vaekit.training.autotune.WORTH_TRYING", 2.0)
    monkeypatch.setattr("vaekit.training.autotune.FEWEST_STEPS", 0)
    monkeypatch.setattr("vaekit.training.compiled.inductor", traced_only)
    monkeypatch.setattr(Program.__init__, "__defaults__", (traced_only,))
    monkeypatch.setattr("vaekit.training.threads.torch.get_num_threads", lambda: 4)
    return fast, seen


def weights(vae):
    return list(vae.module_.state_dict().values())


def test_the_fastest_pace_is_found_and_changes_nothing_that_was_not_asked_for(digits, tried):
    fast, seen = tried
    fast.append(ExecutionPlan(2, False))
    vae = vk.VAE(epochs=3, lr=3e-3, schedule="cosine").fit(digits)
    assert vae.pace_ == ExecutionPlan(2, False)
    assert set(seen) == {
        ExecutionPlan(4, False),
        ExecutionPlan(1, False),
        ExecutionPlan(2, False),
    }  # a short training is not compiled
    told = vk.VAE(epochs=3, lr=3e-3, schedule="cosine", threads=2, compile=False).fit(digits)
    assert all(torch.equal(a, b) for a, b in zip(weights(vae), weights(told)))


def test_a_training_of_a_few_steps_is_not_tried(digits, tried, monkeypatch):
    """Trials would take longer than they could save, however slow a step is."""
    monkeypatch.setattr("vaekit.training.autotune.FEWEST_STEPS", 10)
    vk.VAE(epochs=3).fit(digits)  # 9 steps
    assert not tried[1]
    vk.VAE(epochs=4).fit(digits)
    assert tried[1]


def test_a_long_training_is_compiled_where_this_is_faster(digits, tried, monkeypatch):
    fast, seen = tried
    monkeypatch.setattr("vaekit.training.autotune.WORTH_COMPILING", 0.0)
    fast += [ExecutionPlan(1, False), ExecutionPlan(1, True)]
    assert vk.VAE(epochs=2).fit(digits).pace_ == ExecutionPlan(1, False)  # no faster: as it was
    assert seen[-1] == ExecutionPlan(1, True)
    fast[:] = [ExecutionPlan(4, True)]
    assert vk.VAE(epochs=2).fit(digits).pace_ == ExecutionPlan(4, True)
    fast[:] = [ExecutionPlan(2, True)]
    assert vk.VAE(epochs=2, compile=True).fit(digits).pace_ == ExecutionPlan(2, True)


def test_operations_are_counted_forwards_and_backwards():
    x = torch.ones(3, requires_grad=True)
    assert operations(lambda: None) == 0
    forwards = operations(lambda: (2 * x).sum())
    assert forwards == 2 and operations(lambda: (2 * x).sum().backward()) > forwards


@pytest.mark.parametrize(("count", "least"), [(10, 75.0), (200, 75.0), (2000, 750.0)])
def test_work_of_many_operations_has_to_be_longer_to_be_compiled(count, least, monkeypatch):
    monkeypatch.setattr("vaekit.training.autotune.WORTH_COMPILING", 75.0)
    x = torch.ones(2)
    assert not worth_compiling(least, lambda: [x + 1 for _ in range(count)])
    assert worth_compiling(1.01 * least, lambda: [x + 1 for _ in range(count)])


def test_a_training_whose_steps_take_long_to_compile_is_not_compiled_unasked(digits, tried, monkeypatch):
    monkeypatch.setattr("vaekit.training.autotune.WORTH_COMPILING", 1.0)
    vk.VAE(epochs=2).fit(digits)
    assert any(pace.compiled for pace in tried[1])
    monkeypatch.setattr("vaekit.training.autotune.USUAL_OPERATIONS", 10)
    tried[1].clear()
    vk.VAE(epochs=2).fit(digits)
    assert not any(pace.compiled for pace in tried[1])


def test_modules_that_may_keep_a_state_are_not_compiled_unasked(digits, tried, monkeypatch):
    monkeypatch.setattr("vaekit.training.autotune.WORTH_COMPILING", 0.0)
    plain = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 784))
    noisy = nn.Sequential(nn.Linear(2, 8), nn.Dropout(0.5), nn.Linear(8, 784))
    for decoder, known in ((plain, True), (noisy, False)):
        vk.VAE(epochs=1, validation=0, decoder=decoder).fit(digits)
        assert any(p.compiled for p in tried[1]) is known
        tried[1].clear()
    assert is_traceable(nn.ModuleList([plain]))


def test_a_run_goes_on_at_the_pace_it_began_with(digits, tmp_path, tried):
    fast, seen = tried
    fast.append(ExecutionPlan(2, False))
    first = vk.VAE(epochs=2).fit(digits, run=tmp_path)
    seen.clear()
    fast[:] = [ExecutionPlan(1, False)]
    again = vk.VAE(epochs=4).fit(digits, run=tmp_path, resume=True)
    assert first.pace_ == again.pace_ == ExecutionPlan(2, False)
    assert not seen
    assert vk.VAE(epochs=5, threads=1).fit(digits, run=tmp_path, resume=True).pace_.threads == 1


def test_torch_s_threads_are_as_before_after_a_fit(digits):
    before = torch.get_num_threads()
    vk.VAE(epochs=1, threads=before + 1).fit(digits)
    assert torch.get_num_threads() == before


def test_without_a_compiler_it_trains_all_the_same_and_says_so_once(digits, monkeypatch, caplog):
    def broken(graph, example):
        raise RuntimeError("no g++ here\nand more")

    monkeypatch.setattr(Program.__init__, "__defaults__", (broken,))
    vae = vk.VAE(epochs=2, compile=True).fit(digits)
    assert caplog.text.count("this goes on without compilation, which failed here (RuntimeError: no g++ here)") == 1
    plain = vk.VAE(epochs=2, compile=False).fit(digits)
    assert all(torch.equal(a, b) for a, b in zip(weights(vae), weights(plain)))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"threads": 0}, 'threads=0: expected a number of threads, at least 1, or "auto"'),
        ({"threads": "all"}, "threads='all': expected"),
        ({"compile": "yes"}, "compile='yes': expected True, False or \"auto\""),
        ({"precision": "fp16"}, 'precision=\'fp16\': expected "fp32" or "bf16"'),
    ],
)
def test_what_is_no_pace_is_refused(digits, settings, message):
    with pytest.raises(ValueError) as error:
        vk.VAE(**settings).fit(digits)
    assert message in str(error.value)


@pytest.mark.parametrize(
    "recipe",
    ["vae", *(pytest.param(r, marks=pytest.mark.slow) for r in ("dreg", "ladder", "vq", "rae", "hamiltonian"))],
)
def test_long_scoring_is_compiled_and_gives_the_same_scores(digits, tried, monkeypatch, recipe):
    vae = vk.VAE(recipe=recipe, epochs=1, validation=0).fit(digits)
    monkeypatch.setitem(BUDGET, "cpu", 40 * 784)
    plain = vae.score_samples(digits, draws=20), vae.evaluate(digits, draws=20).to_dict()
    monkeypatch.setattr("vaekit.training.autotune.WORTH_COMPILING", 0.0)
    compiled = []
    monkeypatch.setattr(
        Program, "_compile", lambda self, batch, f=Program._compile: compiled.append(1) or f(self, batch)
    )
    again = vae.score_samples(digits, draws=20), vae.evaluate(digits, draws=20).to_dict()
    assert len(compiled) == 2
    np.testing.assert_allclose(again[0], plain[0], rtol=1e-6)
    assert again[1].keys() == plain[1].keys()


# -- bf16 ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("composition", ["ladder", "very deep"])
def test_in_bf16_the_networks_products_are_coarse_and_nothing_else_is(composition):
    model = build(composition)
    model.float().train()
    model.low_precision = torch.bfloat16
    rows = Batch(batch(model).x.float())
    out = model(rows, Source.like(model))
    assert out.log_lik.dtype == out.draw.z.dtype == out.draw.log_ratio.dtype == torch.float32
    model.low_precision = None
    exact = model(rows, Source.like(model))
    assert not torch.equal(out.log_lik, exact.log_lik)
    torch.testing.assert_close(out.log_lik, exact.log_lik, rtol=0.05, atol=0.1)
    model.low_precision = torch.bfloat16
    model.eval()  # scores are in fp32
    assert torch.equal(model(rows, Source.like(model)).log_lik, exact.log_lik)


def test_in_bf16_every_network_of_a_ladder_is_coarse_in_training():
    model, given = build("ladder").float(), []
    layers = [m for m in model.latent.modules() if isinstance(m, torch.nn.Linear)]
    for layer in layers:
        layer.register_forward_hook(lambda layer, inputs, out: given.append(out.dtype))
    rows = Batch(batch(model).x.float())
    for precision, training, expected in (
        (torch.bfloat16, True, torch.bfloat16),
        (torch.bfloat16, False, torch.float32),
        (None, True, torch.float32),
    ):
        given.clear()
        model.low_precision = precision
        model.train(training)(rows, Source.like(model))
        assert given == [expected] * len(layers)


def test_in_bf16_the_networks_along_a_top_down_path_are_too():
    model = build("very deep").float().train()
    x = torch.randn(4, *model.latent.evidence_shape)
    exact = model.latent.blocks[0].residual(x)
    model.low_precision = torch.bfloat16
    coarse = model.latent.blocks[0].residual(x)
    assert coarse.dtype == torch.float32 and not torch.equal(coarse, exact)
    torch.testing.assert_close(coarse, exact, rtol=0.1, atol=0.05)
    model.low_precision = None
    assert torch.equal(model.latent.blocks[0].residual(x), exact)


def test_a_loop_of_ones_own_trains_in_the_precision_that_its_model_asks_for():
    model = vk.VAEModule(
        vk.networks.MLP((8,), heads=2),
        vk.latents.Latent(vk.latents.Normal(2), vk.latents.StandardNormal()),
        vk.networks.MLP((8,)),
        vk.likelihoods.Bernoulli(),
    )
    model.low_precision = torch.bfloat16
    x = np.random.default_rng(0).random((40, 12), np.float32)
    *_, training = vk.train(model, x, epochs=1)
    assert training.learner.model.low_precision is torch.bfloat16


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["vae", "conv", "iwae"])
def test_training_in_bf16_reaches_what_fp32_does(recipe):
    x, x_test = (digits[:, 6:22, 6:22] for digits in vk.datasets.mnist())
    scores = {
        precision: vk.VAE(recipe=recipe, latent_dim=8, epochs=2, precision=precision, compile=False)
        .fit(x[:4000])
        .score_samples(x_test[:1000], draws=10)
        for precision in ("fp32", "bf16")
    }
    gap = scores["fp32"] - scores["bf16"]
    assert abs(gap.mean()) < 1.0 + 4 * gap.std() / np.sqrt(len(gap))
