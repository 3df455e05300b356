"""Ctrl-C and kill at any moment: what `--resume` ends with is, bit for bit, the run that was left alone."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from commands import call

import vaekit as vk
from vaekit.training.trainer import Silent

TIMING = ("seconds", "rows_per_second")
SETTINGS = {
    "plain": ("--epochs", "3", "--schedule", "cosine"),
    "stopped early": ("--epochs", "20", "--patience", "1", "--lr", "0.1", "--seed", "2", "--recipe", "beta-vae"),
    "with a critic": ("--epochs", "2", "--recipe", "factor-vae", "--set", "critic=8"),
    "without held-out rows": ("--epochs", "2", "--validation", "0"),
}


class Killed(BaseException):
    """The process ends here, as far as the files can tell."""


def content(folder):
    """What two equal runs share: the model's bytes, the history but for its timing, the figures."""
    history = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    history = [{n: v for n, v in record.items() if n not in TIMING} for record in history]
    names = ("model.safetensors", "metrics.json", "config.json", "run.json")
    return history, *((folder / name).read_bytes() for name in names)


def assert_same(folder, reference):
    for got, want in zip(content(folder), content(reference), strict=True):
        assert got == want


@pytest.fixture(scope="module")
def x(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "x.npy"
    np.save(path, np.random.default_rng(0).normal(size=(40, 6)).clip(0, 1))
    return path


def fit(x, folder, kind, *more):
    return call("fit", x, "--batch-size", "16", "--no-report", "--quiet", *SETTINGS[kind], *more, "-o", folder)


def resume(folder):
    return call("fit", "--resume", folder, "--no-report", "--quiet")


@pytest.mark.parametrize("kind", SETTINGS)
def test_killed_at_any_write_and_resumed_it_ends_the_same(kind, x, tmp_path, monkeypatch):
    """Every file is renamed into place; the process is ended at each of these moments in turn."""
    replace, written = os.replace, []

    def counted(source, target):
        if len(written) == last:
            raise Killed
        written.append(target)
        replace(source, target)

    monkeypatch.setattr(os, "replace", counted)
    last = -1
    code, _, err = fit(x, tmp_path / "whole", kind)
    assert code == 0, err
    total = len(written)
    ended = json.loads((tmp_path / "whole" / "metrics.json").read_text())["ended"]
    assert ended == ("stopped early" if kind == "stopped early" else "finished") and total >= 9
    for last in range(1, total):  # the first is run.json: before it there is nothing to resume
        folder = tmp_path / f"killed-{last}"
        written.clear()
        with pytest.raises(Killed):
            fit(x, folder, kind)
        moment, last = last, -1
        code, _, err = resume(folder)
        assert code == 0, f"killed before write {moment} of {total}: {err}"
        assert_same(folder, tmp_path / "whole")


@pytest.mark.parametrize("step", [1, 2, 4, 5, 8, 9])
def test_ctrl_c_leaves_a_run_that_loads_and_resumes_to_the_same(step, x, tmp_path, monkeypatch):
    """36 rows in steps of 16 are 3 steps an epoch: within the first, at its end, in the last one, at the very end."""
    assert fit(x, tmp_path / "whole", "plain")[0] == 0

    def press(display, training, *rest):
        if training.taken == step:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Silent, "step", press)
        patch.setattr(Silent, "epoch", press)
        code, out, _ = fit(x, tmp_path / "run", "plain")
    assert code == 130 and f"vaekit fit --resume {tmp_path / 'run'}" in out
    assert vk.load(tmp_path / "run").transform(np.load(x)).shape == (40, 2)
    assert vk.load(tmp_path / "run").ended_ == "interrupted" and not (tmp_path / "run" / "metrics.json").exists()
    assert resume(tmp_path / "run")[0] == 0
    assert_same(tmp_path / "run", tmp_path / "whole")


def test_ctrl_c_outside_training_says_how_to_go_on(x, tmp_path, monkeypatch):
    def press(*words, **settings):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(vk.VAE, "evaluate", press)
        code, out, err = fit(x, tmp_path / "run", "plain")
    assert code == 130 and out == "" and f"go on with `vaekit fit --resume {tmp_path / 'run'}`" in err
    assert resume(tmp_path / "run")[0] == 0 and (tmp_path / "run" / "metrics.json").exists()


def test_a_finished_run_resumes_to_itself(x, tmp_path):
    assert fit(x, tmp_path / "run", "stopped early")[0] == 0
    before = content(tmp_path / "run")
    assert resume(tmp_path / "run")[0] == 0 and content(tmp_path / "run") == before


def test_resume_refuses_data_that_have_changed(x, tmp_path):
    np.save(tmp_path / "x.npy", np.load(x))
    assert fit(tmp_path / "x.npy", tmp_path / "run", "plain")[0] == 0
    np.save(tmp_path / "x.npy", np.load(x) / 2)
    code, out, err = resume(tmp_path / "run")
    assert code == 2 and out == "" and "the data rows have changed since the run began: x.npy had digest" in err


def test_an_overwritten_run_never_resumes_from_the_old_checkpoint(x, tmp_path, monkeypatch):
    assert fit(x, tmp_path / "whole", "plain")[0] == 0
    assert call("fit", x, "-o", tmp_path / "run", "--epochs", "2", "--seed", "9", "--no-report", "--quiet")[0] == 0

    def press(display, training, *rest):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Silent, "step", press)
        assert fit(x, tmp_path / "run", "plain")[0] == 2
        with pytest.raises(Killed):
            fit(x, tmp_path / "run", "plain", "--overwrite")
    assert resume(tmp_path / "run")[0] == 0
    assert_same(tmp_path / "run", tmp_path / "whole")


# -- real signals ----------------------------------------------------------------------------------

LONG = ("--epochs", "12", "--no-report", "--threads", "1")


def start(data, folder):
    words = [sys.executable, "-m", "vaekit", "fit", str(data), *LONG, "-o", str(folder)]
    # A suite that runs in the background ignores SIGINT, and would hand that on.
    return subprocess.Popen(
        words,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def wait_for_line(process, text):
    for line in process.stderr:
        if text in line:
            return
    raise AssertionError(f"the program ended before it said {text!r}")


def wait_for_file(process, path, seconds=600):
    end = time.monotonic() + seconds
    while not path.exists():
        assert process.poll() is None and time.monotonic() < end, f"{path} was never written"
        time.sleep(0.001)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """600 MNIST images, and the run over them that nobody interrupts."""
    folder = tmp_path_factory.mktemp("images")
    np.save(folder / "x.npy", vk.datasets.mnist()[0][:600])
    assert call("fit", folder / "x.npy", *LONG, "-o", folder / "whole")[0] == 0
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["fitting", "epoch  5/12"])
def test_a_real_ctrl_c_ends_with_130(moment, images, tmp_path):
    with start(images / "x.npy", tmp_path / "run") as process:
        wait_for_line(process, moment)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=600)
    assert process.returncode == 130 and "--resume" in out + err and "Traceback" not in err
    if moment != "fitting":  # there is no model before training
        assert vk.load(tmp_path / "run").ended_ == "interrupted"
    assert resume(tmp_path / "run")[0] == 0
    assert_same(tmp_path / "run", images / "whole")


@pytest.mark.slow
@pytest.mark.parametrize("file", ["run.json", "history.jsonl"])
def test_a_real_kill_then_resume_ends_the_same(file, images, tmp_path):
    with start(images / "x.npy", tmp_path / "run") as process:
        wait_for_file(process, tmp_path / "run" / file)
        process.kill()
        process.communicate(timeout=600)
    assert process.returncode == -signal.SIGKILL and not (tmp_path / "run" / "model.safetensors").exists()
    assert resume(tmp_path / "run")[0] == 0
    assert_same(tmp_path / "run", images / "whole")
