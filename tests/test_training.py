"""The step, the loop and what surrounds them: resuming bit for bit, schedules, interruption."""

import copy
import json
import os
import signal
import sys
import threading
import types
from dataclasses import replace

import numpy as np
import pytest
import torch
from compositions import batch, build

import vaekit as vk
from vaekit.core import Batch, Cycle, Hyper, Ramp, ReplayNoise, Source
from vaekit.data.rows import as_rows
from vaekit.objectives import ELBO
from vaekit.storage import read_tensors
from vaekit.testing import NoHostSync
from vaekit.training import Adam, Diverged, Ensemble, Learner, Sources, Step, Training
from vaekit.training.adam import Moments
from vaekit.training.display import Bar, Lines, Notebook, display_for
from vaekit.training.train import assemble
from vaekit.training.trainer import Silent, fit, held_out


@pytest.fixture(scope="module")
def digits():
    return vk.datasets.mnist()[0][:300]


RECIPES = ["vae", "factor-vae", "vq", "dreg", "categorical", "vamp"]


class Stop(Exception):
    """The power went."""


class Until:
    """A display that stops training in the middle, as a kill would."""

    def __init__(self, step):
        self.last = step

    def start(self, training): ...
    def epoch(self, training, record): ...
    def stop(self): ...

    def step(self, training, rows_per_second):
        if training.taken >= self.last:
            raise Stop


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("at", [pytest.param(1, marks=pytest.mark.slow), 5, pytest.param(8, marks=pytest.mark.slow)])
def test_a_run_that_was_killed_goes_on_bit_for_bit(digits, tmp_path, recipe, at, monkeypatch):
    monkeypatch.setattr("vaekit.training.trainer.CHECKPOINT_SECONDS", 0.0)  # a checkpoint at every step
    make = lambda: vk.VAE(recipe=recipe, epochs=4, schedule="cosine", clip=1.0, seed=4)  # noqa: E731
    whole = make().fit(digits, run=tmp_path / "whole")
    with pytest.raises(Stop):
        make().fit(digits, run=tmp_path / "killed", display=Until(at))
    resumed = make().fit(digits, run=tmp_path / "killed", resume=True)
    (weights, _), (again, _) = (read_tensors(tmp_path / n / "model.safetensors") for n in ("whole", "killed"))
    assert weights.keys() == again.keys()
    assert all(torch.equal(weights[n], again[n]) for n in weights)
    assert timeless(whole.history_) == timeless(resumed.history_)
    lines = (tmp_path / "killed" / "history.jsonl").read_text().splitlines()
    assert timeless([json.loads(line) for line in lines]) == timeless(whole.history_)


def timeless(history):
    return [{k: v for k, v in r.items() if k not in ("seconds", "rows_per_second")} for r in history]


def test_dropout_in_a_module_of_ones_own_resumes_bit_for_bit(digits, tmp_path):
    def make():
        torch.manual_seed(0)
        decoder = torch.nn.Sequential(torch.nn.Linear(2, 16), torch.nn.Dropout(0.5), torch.nn.Linear(16, 784))
        return vk.VAE(decoder=decoder, epochs=4, validation=0)

    whole = make().fit(digits, run=tmp_path / "whole")
    first = make().set_params(epochs=2).fit(digits, run=tmp_path / "killed")
    torch.rand(7)
    resumed = make().fit(digits, run=tmp_path / "killed", resume=True)
    assert len(first.history_) == 2
    np.testing.assert_array_equal(whole.transform(digits), resumed.transform(digits))


def test_early_stopping_resumes_to_the_same_end(digits, tmp_path):
    make = lambda: vk.VAE(epochs=40, patience=2, lr=2e-2)  # noqa: E731
    whole = make().fit(digits, run=tmp_path / "whole")
    with pytest.raises(Stop):
        make().fit(digits, run=tmp_path / "killed", display=Until(3 * whole.best_epoch_))
    resumed = make().fit(digits, run=tmp_path / "killed", resume=True)
    assert whole.ended_ == resumed.ended_ == "stopped early"
    np.testing.assert_array_equal(whole.transform(digits), resumed.transform(digits))


def test_a_checkpoint_of_another_run_is_refused(digits, tmp_path):
    vk.VAE(epochs=1, validation=0).fit(digits, run=tmp_path)
    with pytest.raises(ValueError, match="taken with batch_size=128, this run has batch_size=64"):
        vk.VAE(epochs=2, validation=0, batch_size=64).fit(digits, run=tmp_path, resume=True)


def test_ctrl_c_ends_between_steps_with_a_usable_model(digits, tmp_path):
    class Interrupt(Until):
        def step(self, training, rows_per_second):
            if training.taken == self.last:
                os.kill(os.getpid(), signal.SIGINT)

    vae = vk.VAE(epochs=50).fit(digits, run=tmp_path, display=Interrupt(5))
    assert vae.ended_ == "interrupted"
    assert vk.load(tmp_path).transform(digits[:3]).shape == (3, 2)
    done = vk.VAE(epochs=3).fit(digits, run=tmp_path, resume=True)
    whole = vk.VAE(epochs=3).fit(digits)
    np.testing.assert_array_equal(done.transform(digits), whole.transform(digits))


def test_it_fits_outside_the_main_thread(digits):
    fitted = []
    thread = threading.Thread(target=lambda: fitted.append(vk.VAE(epochs=1, validation=0).fit(digits)))
    thread.start()
    thread.join()
    assert fitted[0].ended_ == "finished"


@pytest.mark.parametrize("recipe", ["vae", "rae"])
def test_a_bar_shows_epochs_figures_and_speed(digits, capsys, recipe):
    pytest.importorskip("rich")
    vk.VAE(recipe=recipe, epochs=2).fit(digits, display=Bar())
    shown = capsys.readouterr().err
    assert "2/2" in shown
    assert "rows/s" in shown
    assert ("held-out elbo" if recipe == "vae" else "held-out distortion") in " ".join(shown.split())


def test_notebooks_get_an_output_and_pipes_get_lines(monkeypatch):
    assert isinstance(display_for(False), Silent)
    assert isinstance(display_for(True), Lines)
    monkeypatch.setitem(sys.modules, "ipykernel", object())
    assert isinstance(display_for(True), Notebook)


def test_a_notebook_gets_one_output_that_is_redrawn(digits, monkeypatch):
    drawn = []

    class Output:
        def update(self, page):
            drawn.append(page)

    shown = types.ModuleType("IPython.display")
    shown.HTML, shown.display = str, lambda page, display_id: Output()
    monkeypatch.setitem(sys.modules, "IPython.display", shown)
    monkeypatch.setattr(Notebook, "SECONDS", 0.0)
    vk.VAE(epochs=10).fit(digits, display=Notebook())
    assert len(drawn) > 20
    assert "epoch 10/10" in drawn[-1]
    assert 'value="30" max="30"' in drawn[-1]
    assert drawn[-1].count("held-out elbo") == Notebook.LATEST


def test_a_loop_of_ones_own_stands_between_the_steps(digits):
    model = vk.VAEModule(
        vk.networks.MLP((16,)),
        vk.latents.Latent(vk.latents.Normal(2), vk.latents.StandardNormal()),
        vk.networks.MLP((16,)),
        vk.likelihoods.Bernoulli(),
    )
    seen = []
    for training in vk.train(model, digits, epochs=2, batch_size=100):
        seen.append(float(training.terms.losses["model"]))
        if training.taken == 4:
            break
    assert len(seen) == 4
    assert seen[-1] < seen[0]


def test_the_loop_and_the_estimator_take_the_same_steps(digits):
    parts = vk.recipes.vae().build(2, vk.VAE(epochs=0, validation=0).fit(digits).spec_)
    vae = vk.VAE(epochs=2, validation=0, initialiser="torch", seed=3).fit(digits)
    model = vk.VAEModule(parts.encoder, parts.latent, parts.decoder, parts.likelihood)
    learner, rows = assemble(model, digits, ELBO(), seed=3)
    start = vk.VAE(epochs=0, validation=0, initialiser="torch", seed=3).fit(digits)
    learner.model.load_state_dict(start.module_.state_dict())
    for training in Training(learner, rows, 2, 128, seed=3):
        pass
    assert training.metrics() == pytest.approx({k: vae.history_[-1][k] for k in training.metrics()})


def test_every_epoch_sees_every_row_once_in_an_order_of_its_own(digits):
    learner, rows = assemble(classic(), digits, ELBO(), seed=0)
    training = Training(learner, rows, 3, 64)
    orders = [training.order(e) for e in range(3)]
    assert all(torch.equal(o.sort().values, torch.arange(300)) for o in orders)
    assert not torch.equal(orders[0], orders[1])
    assert torch.equal(training.order(0), orders[0])
    assert sum(1 for _ in training) == 3 * 5
    assert int(learner.step) == 15


def classic():
    latent = vk.latents.Latent(vk.latents.Normal(2), vk.latents.StandardNormal())
    return vk.VAEModule(vk.networks.MLP((16,)), latent, vk.networks.MLP((16,)), vk.likelihoods.Bernoulli())


@pytest.mark.parametrize(
    ("adam", "rates"),
    [
        (Adam(0.1), [0.1, 0.1, 0.1]),
        (Adam(0.1, schedule="linear"), [0.1, 0.05, 0.0]),
        (Adam(0.1, schedule="cosine"), [0.1, 0.05, 0.0]),
        (Adam(0.1, warmup=50), [0.002, 0.1, 0.1]),
    ],
)
def test_learning_rate_schedules(adam, rates):
    assert [adam.lr * adam.factor(s, 100) for s in (0, 50, 100)] == pytest.approx(rates)


@pytest.mark.parametrize(
    ("schedule", "values"),
    [
        (Hyper(3.0), [3, 3, 3, 3]),
        (Ramp(4.0, 10), [0, 2, 4, 4]),
        (Ramp(4.0, 10, start=2.0), [2, 3, 4, 4]),
        (Cycle(4.0, 20, ramp=0.5), [0, 2, 4, 0]),
    ],
)
def test_schedules_follow_the_step(schedule, values):
    assert [float(schedule(torch.tensor(s))) for s in (0, 5, 10, 20)] == pytest.approx(values)


def test_the_step_is_adam_s():
    """Against torch's own Adam on the same gradients, clipped by the norm."""
    model = build()
    learner, twin = Learner(model, ELBO()).double(), Learner(build(), ELBO()).double()
    twin.load_state_dict(learner.state_dict())
    step = Step(learner, Adam(1e-2, clip=0.1))
    reference = torch.optim.Adam(twin.parameters(), lr=1e-2)
    for t in range(5):
        rows = batch(model, seed=t)
        step(rows, Source(t, dtype=torch.float64))
        reference.zero_grad()
        twin(rows, Source(t, dtype=torch.float64)).losses["model"].backward()
        torch.nn.utils.clip_grad_norm_(twin.parameters(), 0.1)
        reference.step()
    for got, want in zip(learner.parameters(), twin.parameters()):
        torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-12)


# -- steps left out, and averaged weights ----------------------------------------------------------


def test_after_n_equal_steps_the_average_is_the_closed_sum():
    """Under a constant gradient Adam's steps are equal: w_i = w_0 - i lr."""
    start, decay, n = torch.tensor([1.0, -2.0], dtype=torch.float64), 0.9, 25
    moments = Moments([start.clone()], Adam(0.01, average=decay))
    assert torch.equal(moments.average[0], start)
    for taken in range(1, n + 1):
        moments.move([torch.tensor([3.0, -5.0], dtype=torch.float64)], 1.0)
        moments.follow(taken)
    i = torch.arange(1, n + 1, dtype=torch.float64).unsqueeze(1)
    weights = start - 0.01 * i * torch.tensor([1.0, -1.0])
    share = decay ** (n - i)
    torch.testing.assert_close(moments.average[0], (share * weights).sum(0) / share.sum(), rtol=1e-8, atol=0)


@pytest.mark.parametrize("factor", [1e4, float("nan"), float("inf")])
def test_a_step_left_out_leaves_no_trace(factor):
    """The learner goes on as one that never saw the batch."""
    learners = [Learner(build(), ELBO()).double() for _ in range(2)]
    steps = [Step(learner, Adam(1e-2, skip=50.0, clip=1.0)) for learner in learners]
    for t in range(6):
        for own, step in enumerate(steps):
            learner = step.learner
            if t == 3 and own == 0:
                continue
            learner.objective.beta.value.fill_(factor if t == 3 else 1.0)
            step(batch(learner.model, seed=t), Source(t, dtype=torch.float64))
    assert [step.skipped for step in steps] == [[0], [1]]
    assert all(torch.equal(p, q) for p, q in zip(*(learner.parameters() for learner in learners)))
    states = [{n: t for n, t in step.state().items() if "skipped" not in n} for step in steps]
    assert all(torch.equal(t, states[1][n]) for n, t in states[0].items())


def test_members_leave_out_steps_each_by_itself():
    learners = [Learner(build(seed=s), ELBO(beta)).double() for s, beta in ((0, 1.0), (1, 4.0), (2, 1.0))]
    adam, alone = Adam((1e-2, 1e-3, 1e-2), skip=1.2, average=0.8), copy.deepcopy(learners)
    lone = [Step(m, replace(adam, lr=lr)) for m, lr in zip(alone, adam.lr)]
    step, noise = Step(Ensemble(learners), adam), Sources([Source.like(learners[0], k) for k in range(3)])
    own = [Source.like(learners[0], k) for k in range(3)]
    for t in range(12):
        rows = [batch(learners[0].model, seed=100 * k + t) for k in range(3)]
        step(Batch(torch.stack([r.x for r in rows])), noise)
        for k in range(3):
            lone[k](rows[k], own[k])
    assert step.skipped == [s.skipped[0] for s in lone] and len(set(step.skipped)) > 1
    step.settle()
    for k, member in enumerate(step.learner.members()):
        lone[k].settle()
        for name, want in alone[k].state_dict().items():
            torch.testing.assert_close(member.state_dict()[name], want, rtol=1e-10, atol=1e-10, msg=name)


def test_such_a_step_waits_for_no_device():
    learners = [Learner(build(seed=s), ELBO()).double() for s in range(2)]
    rows = batch(learners[0].model)
    for learner in (learners[0], Ensemble(learners, shared_rows=True)):
        step, noise = Step(learner, Adam(skip=1.0, clip=0.5, average=0.9)), learner.noise((0, 1))
        with NoHostSync():
            step(rows, noise)


@pytest.mark.parametrize("patience", [None, 2])
def test_averaged_weights_are_what_is_scored_and_kept(digits, patience):
    settings = dict(epochs=8, lr=2e-2, average=0.9, skip=1e3, validation=digits[:64], patience=patience)
    vae, raw = (vk.VAE(**{**settings, **more}).fit(digits[64:]) for more in ({}, {"average": None, "patience": None}))
    assert raw.history_[0]["elbo"] == vae.history_[0]["elbo"]
    assert raw.history_[0]["val_elbo"] != vae.history_[0]["val_elbo"]
    scored = vae.history_[(vae.best_epoch_ if patience else len(vae.history_)) - 1]["val_elbo"]
    learner, held = (
        Learner(vae.module_, vae.objective_),
        as_rows(vae.fitted_.preprocessor.data(digits[:64])[0], vae.spec_, "cpu"),
    )
    assert held_out(learner, held, [0])[0]["elbo"] == pytest.approx(scored, rel=1e-5)
    assert [record["skipped"] for record in vae.history_] == [0] * len(vae.history_)


@pytest.mark.parametrize("seeds", [None, 2])
def test_averages_and_steps_left_out_resume_bit_for_bit(digits, tmp_path, monkeypatch, seeds):
    monkeypatch.setattr("vaekit.training.trainer.CHECKPOINT_SECONDS", 0.0)
    make = lambda: vk.VAE(epochs=4, average=0.9, skip=105.0, seed=4, seeds=seeds)  # noqa: E731
    whole = make().fit(digits, run=tmp_path / "whole")
    with pytest.raises(Stop):
        make().fit(digits, run=tmp_path / "killed", display=Until(5))
    resumed = make().fit(digits, run=tmp_path / "killed", resume=True)
    np.testing.assert_array_equal(whole.transform(digits), resumed.transform(digits))
    assert timeless(whole.history_) == timeless(resumed.history_)
    assert 0 < whole.history_[-1]["skipped"] < 12
    vk.VAE(epochs=1, seed=4).fit(digits, run=tmp_path / "plain")
    with pytest.raises(
        ValueError, match="taken with adam.average=None, this run has adam.average=0.9: resume with what it began with"
    ):
        vk.VAE(epochs=2, seed=4, average=0.9).fit(digits, run=tmp_path / "plain", resume=True)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"skip": 0.0}, "skip=0.0: expected a positive norm"),
        ({"average": 1.0}, r"average=1.0: expected a decay in \[0, 1\) such as 0.999"),
    ],
)
def test_settings_of_adam_that_mean_nothing_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Adam(**settings)


def test_replayed_noise_of_another_shape_is_refused():
    model = build()
    with pytest.raises(ValueError, match="record it anew"):
        model(batch(model), ReplayNoise([torch.zeros(3, 2)]))
    with pytest.raises(ValueError, match="an empty tape"):
        model(batch(model), ReplayNoise([]))


def test_divergence_is_found_without_a_checkpoint_too(digits):
    learner, rows = assemble(classic(), digits, ELBO(1e39), seed=0)
    with pytest.raises(Diverged, match="since step 0"):
        fit(Training(learner, rows, 1))


def test_an_ensemble_diverges_when_no_member_is_left(digits):
    learners = [assemble(classic(), digits, ELBO(beta), seed=0)[0] for beta in (1e39, 1.0)]
    rows = assemble(classic(), digits, ELBO(), seed=0)[1]

    def run(members):
        training = Training(Ensemble(members), rows, 1, seeds=list(range(len(members))))
        for _ in training:
            pass
        return training

    run(learners).check()
    with pytest.raises(Diverged):
        run(learners[:1]).check()
