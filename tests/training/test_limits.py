"""A training that is bounded by time, or broken off before its first step; and a warm-up that it does not end."""

import json
import logging
import os
import signal

import numpy as np
import pytest
import torch

import vaekit as vk
from vaekit.cli import main
from vaekit.core import Cycle, Ramp
from vaekit.objectives import ELBO
from vaekit.training import Adam, Training, autotune
from vaekit.training.train import assemble
from vaekit.training.trainer import fit


@pytest.fixture(scope="module")
def digits():
    return vk.datasets.mnist()[0][:90]


def training_of(digits, objective=None, epochs=2, adam=None):
    found = vk.recipes.vae().build(2, vk.VAE(epochs=0, validation=0).fit(digits).spec_)
    model = vk.VAEModule(found.encoder, found.latent, found.decoder, found.likelihood)
    learner, rows = assemble(model, digits, objective or ELBO(), seed=0)
    return Training(learner, rows, epochs, 15, adam)


def timeless(history):
    return [{k: v for k, v in r.items() if k not in ("seconds", "rows_per_second")} for r in history]


def test_a_deadline_ends_training_between_two_steps(digits):
    training = training_of(digits)
    assert fit(training, deadline=0.0)[0].ended == "time limit" and training.taken == 1


def test_a_run_that_its_time_ended_is_resumed_bit_for_bit(digits, tmp_path):
    make = lambda: vk.VAE(epochs=3, batch_size=15, seed=1)  # noqa: E731
    whole = make().fit(digits, max_seconds=1e6)
    assert whole.ended_ == "finished"
    ended = [make().fit(digits, run=tmp_path, max_seconds=1e-9, resume=n > 0).ended_ for n in range(3)]
    assert ended == ["time limit"] * 3
    resumed = make().fit(digits, run=tmp_path, resume=True)
    np.testing.assert_array_equal(whole.transform(digits), resumed.transform(digits))
    assert timeless(whole.history_) == timeless(resumed.history_)


def test_a_training_that_ends_within_its_first_epoch_says_so(digits, caplog):
    vae = vk.VAE(epochs=3, batch_size=15, seed=1).fit(digits, max_seconds=1e-9)
    assert vae.ended_ == "time limit" and vae.history_ == []
    assert "training ended (time limit) within its first epoch: the model is not fitted" in caplog.text


def test_the_time_of_several_seeds_is_the_time_of_all(digits):
    vae = vk.VAE(epochs=3, batch_size=15, seeds=2).fit(digits, max_seconds=1e-9)
    assert vae.ended_ == "time limit"


@pytest.mark.parametrize("given", [0, -1.0, True, "60", float("nan"), float("inf")])
def test_what_is_no_time_is_refused(digits, given):
    with pytest.raises(ValueError, match="max_seconds=.*: expected a positive number of seconds, or None"):
        vk.VAE(epochs=1).fit(digits, max_seconds=given)


def test_pre_training_that_takes_all_the_time_is_no_model(digits):
    with pytest.raises(TimeoutError, match="max_seconds ended within the pre-training: no model was fitted"):
        vk.VAE(recipe="vade", epochs=2).fit(digits, max_seconds=1e-9)


def test_the_command_line_stops_in_time_and_resumes(digits, tmp_path, capsys):
    np.save(tmp_path / "digits.npy", digits)
    fits = ["fit", str(tmp_path / "digits.npy"), "-o", str(tmp_path / "run"), "--epochs", "2", "--quiet", "--no-report"]
    fits += ["--batch-size", "15"]
    assert main([*fits, "--max-seconds", "1e-9"]) != 0
    assert "stopped by --max-seconds after 0 of 2 epochs" in capsys.readouterr().out
    assert main(["fit", "--resume", str(tmp_path / "run"), "--quiet", "--no-report"]) == 0
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["ended"] == "finished"


def test_ctrl_c_is_heard_while_the_pace_is_found(digits, monkeypatch):
    training = training_of(digits, epochs=100)
    before = {n: t.clone() for n, t in training.learner.state_dict().items()}
    tried = autotune._seconds

    def interrupted(*arguments):
        seconds = tried(*arguments)
        os.kill(os.getpid(), signal.SIGINT)
        return seconds

    monkeypatch.setattr("vaekit.training.autotune._seconds", interrupted)
    assert fit(training)[0].ended == "interrupted" and training.taken == 0
    assert all(torch.equal(before[n], t) for n, t in training.learner.state_dict().items())
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_is_heard_while_the_step_is_compiled(digits):
    training, went_on = training_of(digits), []

    def compiler(graph, example):
        os.kill(os.getpid(), signal.SIGINT)
        went_on.append(True)
        return graph

    training.step.program.backend = compiler
    assert fit(training, compiled=True, threads=1)[0].ended == "interrupted"
    assert training.taken == 0 and not went_on


@pytest.mark.parametrize(
    ("objective", "adam", "line"),
    [
        (ELBO(Ramp(1.0, 5000)), None, "the warm-up of the objective, Ramp, takes 5,000 steps, and the training has 12"),
        (ELBO(Cycle(1.0, 100)), None, "the warm-up of the objective, Cycle, takes 50 steps, and the training has 12"),
        (ELBO(), Adam(warmup=13), "the warm-up of the learning rate takes 13 steps, and the training has 12"),
        (ELBO(Ramp(1.0, 12)), Adam(warmup=12), None),
    ],
)
def test_a_warm_up_that_is_longer_than_the_training_is_said_in_a_line(digits, caplog, objective, adam, line):
    with caplog.at_level(logging.WARNING, "vaekit"):
        fit(training_of(digits, objective, adam=adam))
    said = [r.getMessage() for r in caplog.records if "warm-up" in r.getMessage()]
    assert len(said) == (line is not None) and (line is None or said[0].startswith(line))
