"""A training that diverges goes back to its last good state once, and otherwise stops and says so."""

import os
import signal

import numpy as np
import pytest
import torch

import vaekit as vk
from vaekit.core import LossOutput
from vaekit.data.spec import DataSpec
from vaekit.objectives import ELBO
from vaekit.training import Adam, Diverged, Ensemble, Training, recovery
from vaekit.training.history import TrainingResult
from vaekit.training.recovery import Recovery
from vaekit.training.train import assemble
from vaekit.training.trainer import fit

STEPS = 6
"""Steps in an epoch of 90 rows."""


@pytest.fixture(scope="module")
def digits():
    return vk.datasets.mnist()[0][:90]


@pytest.fixture(autouse=True)
def short_windows(monkeypatch):
    monkeypatch.setattr("vaekit.training.recovery.WINDOW", 5)
    monkeypatch.setattr("vaekit.training.learner.START_STEPS", 2)


class Fragile(ELBO):
    """An ELBO that breaks once a last bias of the decoder is larger than `limit`, which a low learning rate avoids.

    kind: "nan" for a loss that is not finite, "steep" for gradients a million times as large, "far" for a loss that is
    1e15 nats higher.
    """

    def __init__(self, kind="nan", limit=0.25):
        super().__init__()
        self.kind, self.limit = kind, limit

    def forward(self, model, batch, step, noise):
        terms = super().forward(model, batch, step, noise)
        bias = [p for name, p in model.decoder.named_parameters() if name.endswith("bias")][-1]
        broken = (bias.detach().abs().max() > self.limit).to(bias.dtype)
        by = {"nan": broken * torch.nan, "far": broken * 1e15, "steep": 0.0 * broken}[self.kind]
        by = torch.where(broken > 0, by, 0.0)
        loss = terms.losses["model"] * (1 + 1e6 * broken if self.kind == "steep" else 1.0) + by
        return LossOutput({"model": loss}, terms.metrics | {"elbo": terms.metrics["elbo"] - by}, terms.updates)


def estimator(kind="nan", limit=0.25, **settings):
    given = {"epochs": 8, "batch_size": 15, "validation": 0, "lr": 2e-2, "seed": 1, "skip": 1e5, "average": 0.9}
    return vk.VAE(objective=Fragile(kind, limit), **given | settings)


def training_of(digits, objective, lr=2e-2, epochs=8, **settings):
    learner, rows = assemble(vk.VAEModule(*parts()), digits, objective, seed=1)
    with torch.no_grad():
        for name, p in learner.model.decoder.named_parameters():
            p.mul_(0.0 if name.endswith("bias") else 1.0)
    return Training(learner, rows, epochs, 15, Adam(lr, **settings), 1)


def parts():
    found = vk.recipes.vae().build(2, spec_of())
    return found.encoder, found.latent, found.decoder, found.likelihood


def spec_of():
    return DataSpec.infer(torch.from_numpy(vk.datasets.mnist()[0][:90]), "uint8")


def timeless(history):
    return [{k: v for k, v in r.items() if k not in ("seconds", "rows_per_second")} for r in history]


class Stop(Exception):
    """The power went."""


class Until:
    """A display that stops training in the middle, as a kill would."""

    def __init__(self, step, act=None):
        self.last, self.act = step, act

    def start(self, training): ...
    def epoch(self, training, record): ...
    def stop(self): ...
    def tell(self, text): ...

    def step(self, training, rows_per_second):
        if training.taken >= self.last:
            self.last = 10**9
            if self.act is None:
                raise Stop
            self.act()


@pytest.mark.parametrize("kind", ["nan", "steep", "far"])
def test_a_training_that_diverges_goes_back_once_with_a_tenth_of_the_rate(digits, kind):
    vae = estimator(kind).fit(digits)
    went = [r for r in vae.history_ if "rolled_back" in r]
    assert vae.ended_ == "recovered" and len(went) == 1 and 0 < went[0]["rolled_back"] < went[0]["step"]
    assert [r["lr"] for r in vae.history_] == [2e-2] * (went[0]["epoch"] - 1) + [pytest.approx(2e-3)] * (
        9 - went[0]["epoch"]
    )
    assert all(np.isfinite(v) for r in vae.history_ for v in r.values())
    assert vae.history_[-1]["elbo"] > vae.history_[0]["elbo"]
    assert all(p.isfinite().all() for p in vae.module_.parameters())


@pytest.mark.parametrize("kind", ["nan", "steep", "far"])
def test_one_that_diverges_again_stops_with_the_weights_of_its_last_good_state(digits, kind):
    training = training_of(digits, Fragile(kind, limit=0.065), skip=1e5, epochs=30)
    with pytest.raises(Diverged, match="went back to step [0-9]+ with a tenth of the learning rate.*try a tenth") as e:
        fit(training)
    assert e.value.step is not None
    assert all(p.isfinite().all() and p.abs().max() < 1 for p in training.learner.parameters())


def test_a_loss_that_is_never_finite_is_not_tried_again(digits):
    with pytest.raises(Diverged, match="not finite since step 0 ") as error:
        fit(training_of(digits, ELBO(1e39)))
    assert error.value.step == 0 and "went back" not in str(error.value)


def test_a_training_of_which_every_step_is_skipped_is_none(digits):
    """However short: it would end with the weights it began with."""
    for epochs in (1, 4):
        with pytest.raises(Diverged, match=r"steps were left out, their gradient's norm above skip=1e-06"):
            vk.VAE(epochs=epochs, batch_size=45, validation=0, skip=1e-6).fit(digits)


@pytest.mark.parametrize("patience", [1, 2, 5])
@pytest.mark.parametrize("seeds", [None, 2])
def test_a_training_of_which_every_step_is_skipped_is_none_where_patience_ends_it(digits, patience, seeds, monkeypatch):
    monkeypatch.setattr(recovery, "WINDOW", 100)
    settings = dict(epochs=50, batch_size=45, skip=1e-6, patience=patience, seeds=seeds)
    with pytest.raises(Diverged, match="went back to step 0" if seeds is None else "diverged"):
        vk.VAE(validation=digits[:30], **settings).fit(digits)


def test_a_training_that_patience_would_end_goes_back_and_continues(digits, monkeypatch):
    """It leaves out its steps. It has taken too few to be judged within training, and has no state but the first."""
    monkeypatch.setattr(recovery, "WINDOW", 100)
    vae = estimator("steep", 0.1, epochs=14, validation=digits[:30], patience=3, average=None).fit(digits)
    went = [r for r in vae.history_ if "rolled_back" in r]
    assert len(went) == 1 and went[0]["rolled_back"] == 0 and went[0]["step"] < 100
    after = [r for r in vae.history_ if r["epoch"] > went[0]["epoch"]]
    assert went[0]["skipped"] > went[0]["step"] / 2 and len(after) >= 3
    assert all(r["lr"] == pytest.approx(2e-3) and r["skipped"] == went[0]["skipped"] for r in after)
    assert after[-1]["elbo"] > after[0]["elbo"] and after[-1]["val_elbo"] > after[0]["val_elbo"]


def test_a_return_before_patience_ends_the_training_resumes_bit_for_bit(digits, tmp_path, monkeypatch):
    monkeypatch.setattr(recovery, "WINDOW", 100)
    settings = dict(epochs=14, validation=digits[:30], patience=3, average=None)
    whole = estimator("steep", 0.1, **settings).fit(digits)
    returned = next(r["step"] for r in whole.history_ if "rolled_back" in r)
    with pytest.raises(Stop):
        estimator("steep", 0.1, **settings).fit(digits, run=tmp_path, display=Until(returned + 1))
    resumed = estimator("steep", 0.1, **settings).fit(digits, run=tmp_path, resume=True)
    assert timeless(whole.history_) == timeless(resumed.history_) and whole.ended_ == resumed.ended_
    mine, again = whole.module_.state_dict(), resumed.module_.state_dict()
    assert all(torch.equal(mine[n], again[n]) for n in mine)


def test_patience_begins_anew_after_a_return():
    course = TrainingResult()
    epochs = [(1, -5.0, {}), (2, -9.0, {}), (3, -9.0, {"rolled_back": 0}), (4, -8.0, {}), (5, -7.0, {})]
    ended = []
    for epoch, elbo, more in epochs:
        course.add({"epoch": epoch, "val_elbo": elbo, **more})
        ended.append(course.exhausted(2))
    assert course.best_epoch == 1 and ended == [False, False, False, False, True]


@pytest.mark.parametrize("batch_size", [15, 90])
def test_a_training_that_the_time_ends_while_it_diverges_says_so(digits, tmp_path, batch_size, caplog):
    """Within an epoch and at its end, after a single step that was left out. No checkpoint takes it for good."""
    settings = dict(epochs=2, batch_size=batch_size, validation=0, skip=1e-6)
    vae = vk.VAE(**settings).fit(digits, run=tmp_path, max_seconds=1e-9)
    assert vae.ended_ == "time limit" and "was cut short while it diverged, 1 of the last 1 steps" in caplog.text
    assert "it has the weights of step 0" in caplog.text
    with pytest.raises(Diverged, match="steps were left out"):
        vk.VAE(**settings).fit(digits, run=tmp_path, resume=True)


@pytest.mark.parametrize("after", [1, 3])
def test_an_interruption_at_the_end_of_an_epoch_keeps_no_diverged_weights(digits, after, monkeypatch, caplog):
    monkeypatch.setattr(recovery, "WINDOW", 100)
    interrupt = Until(10**9)
    interrupt.epoch = lambda training, record: record["epoch"] == after and os.kill(os.getpid(), signal.SIGINT)
    vae = estimator("far", limit=-1.0, lr=1.0, skip=None).fit(digits, display=interrupt)
    assert vae.ended_ == "interrupted" and len(vae.history_) == after
    assert "was cut short while it diverged, the loss was far above its start in" in caplog.text
    assert all(float(p.detach().abs().max()) < 1 for p in vae.module_.parameters())


def test_a_fault_in_the_last_steps_is_found_at_the_end_of_training(digits, monkeypatch):
    """In fewer steps than a window has, after a state was kept."""
    monkeypatch.setattr(recovery, "WINDOW", 24)
    monkeypatch.setattr(recovery, "SHORTEST", 12)
    training = training_of(digits, ELBO(), epochs=10)
    guard = Recovery(training)
    for _ in training:
        if training.taken > 48:
            training.learner.far += 1
        if training.epoch_ended:
            back, failed = guard.look([0], training.epoch >= training.epochs)
            assert not failed and bool(back) == (training.taken == 60)
    assert guard.back == {0: 24}


def test_a_loss_that_begins_beyond_all_measure_is_diverged(digits):
    with pytest.raises(Diverged, match="far above"):
        fit(training_of(digits, Fragile("far", limit=-1.0)))


def test_a_loop_of_ones_own_goes_back_and_stops_too(digits):
    train = lambda limit, epochs: vk.train(  # noqa: E731
        vk.VAEModule(*parts()), digits, Fragile(limit=limit), epochs=epochs, batch_size=15, adam=Adam(2e-2), seed=1
    )
    for training in train(0.25, 8):
        pass
    assert training.step.rate == pytest.approx(2e-3) and training.taken == 8 * STEPS
    with pytest.raises(Diverged, match="went back to step"):
        for training in train(0.1, 30):
            pass


@pytest.mark.parametrize("at", [3, 14, 20, 27, 33])
def test_resuming_is_bit_for_bit_through_a_return(digits, tmp_path, at, monkeypatch):
    """A kill before the fault, between the fault and the look that finds it, and after: at every step a checkpoint."""
    monkeypatch.setattr("vaekit.training.trainer.CHECKPOINT_SECONDS", 0.0)
    whole = estimator().fit(digits)
    with pytest.raises(Stop):
        estimator().fit(digits, run=tmp_path, display=Until(at))
    resumed = estimator().fit(digits, run=tmp_path, resume=True)
    assert whole.ended_ == resumed.ended_ == "recovered"
    assert timeless(whole.history_) == timeless(resumed.history_)
    mine, again = whole.module_.state_dict(), resumed.module_.state_dict()
    assert all(torch.equal(mine[n], again[n]) for n in mine)


@pytest.mark.slow
def test_a_fault_within_an_interruption_leaves_good_weights_and_resumes_to_the_same_end(digits, tmp_path, monkeypatch):
    monkeypatch.setattr("vaekit.training.trainer.CHECKPOINT_SECONDS", 0.0)
    whole = estimator(batch_size=3, average=None, lr=1e-2).fit(digits)
    first = next(r for r in whole.history_ if "rolled_back" in r)
    interrupt = Until(first["step"] - 2, lambda: os.kill(os.getpid(), signal.SIGINT))
    left = estimator(batch_size=3, average=None, lr=1e-2).fit(digits, run=tmp_path, display=interrupt)
    assert left.ended_ == "interrupted" and all(p.isfinite().all() for p in left.module_.parameters())
    resumed = estimator(batch_size=3, average=None, lr=1e-2).fit(digits, run=tmp_path, resume=True)
    assert timeless(whole.history_) == timeless(resumed.history_)


@pytest.mark.parametrize("skip", [None, 1e5])
def test_members_of_an_ensemble_go_back_each_by_itself(digits, skip):
    """As each would alone: one never diverges, one goes back, one diverges again and leaves the others as they are."""
    rates, courses = (1e-3, 2e-2, 3e-1), []
    begun = [training_of(digits, Fragile()) for _ in rates]
    ensemble = Training(
        Ensemble([t.learner for t in begun]), begun[0].rows, 8, 15, Adam(rates, skip=skip), seeds=[1, 1, 1]
    )
    together = fit(ensemble)
    for lr, learner in zip(rates, ensemble.learner.members()):
        alone = training_of(digits, Fragile(), lr=lr, skip=skip)
        try:
            courses.append(fit(alone)[0])
        except Diverged as error:
            courses.append(error)
            continue
        for own, other in zip(learner.parameters(), alone.learner.parameters()):
            torch.testing.assert_close(own, other, rtol=1e-3, atol=1e-4)
    assert [c.ended for c in together] == ["finished", "recovered", "diverged"]
    assert [c.ended for c in courses[:2]] == ["finished", "recovered"] and isinstance(courses[2], Diverged)
    assert together[1].rolled_back == courses[1].rolled_back and together[2].failed == courses[2].step


@pytest.mark.parametrize("settings", [{}, {"skip": 1e5}, {"weight_decay": 0.01}])
@pytest.mark.parametrize("rates", [2e-2, (2e-2, 1e-2)])
def test_a_member_that_goes_back_leaves_the_others_bit_for_bit_as_they_were(digits, settings, rates):
    """The second member starts next to the limit, or far from it; the first one stays below it."""
    kept = []
    for start in (0.24, 0.0):
        begun = [training_of(digits, Fragile(limit=0.25)) for _ in range(2)]
        last = [p for n, p in begun[1].learner.model.decoder.named_parameters() if n.endswith("bias")][-1]
        with torch.no_grad():
            last.fill_(start)
        ensemble = Ensemble([t.learner for t in begun])
        training = Training(ensemble, begun[0].rows, 2, 15, Adam(rates, **settings), seeds=[1, 1])
        courses = fit(training)
        kept.append(ensemble.members()[0].state_dict())
        assert courses[0].ended == "finished" and (courses[1].rolled_back is not None) == (start > 0)
    assert all(torch.equal(kept[0][n], kept[1][n]) for n in kept[0])


def test_compiled_steps_go_back_like_others(digits):
    runs = []
    for compiled in (False, True):
        training = training_of(digits, Fragile())
        training.step.program.backend = lambda graph, example: graph
        runs.append((fit(training, compiled=compiled, threads=1)[0], training.learner))
    (plain, learner), (traced, again) = runs
    assert plain.ended == traced.ended == "recovered" and plain.rolled_back == traced.rolled_back
    for own, other in zip(learner.parameters(), again.parameters()):
        torch.testing.assert_close(own, other, rtol=1e-4, atol=1e-5)


def test_several_seeds_report_which_of_them_went_back(digits):
    vae = estimator(seeds=2, average=None).fit(digits)
    assert {member.ended_ for member in vae.members_} == {"recovered"}


def test_a_spike_or_a_few_skipped_steps_are_no_fault(digits):
    training = training_of(digits, ELBO(), skip=1e5)
    guard = Recovery(training)
    for _ in training:
        if training.taken % STEPS == 0:
            training.learner.far += 2
            training.step.moments["model"].skipped += 2
            assert guard.look([0]) == ({}, {})


def test_a_good_state_is_kept_where_there_are_enough_steps(digits, monkeypatch):
    """Copies take little of the time: none at epochs that are short."""
    monkeypatch.setattr(recovery, "WINDOW", 50)
    training, kept = training_of(digits, ELBO(), epochs=20), []
    guard = Recovery(training)
    for _ in training:
        if training.epoch_ended:
            guard.look([0])
            kept.append(guard.steps[0][0])
    assert sorted(set(kept)) == [0, 54]
