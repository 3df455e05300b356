"""Long work: told beforehand, and ended by Ctrl-C with what is done."""

import logging
import signal

import numpy as np
import pytest
import torch

import vaekit as vk
from vaekit.evaluation import ProgressMonitor, annealed, likelihood, progress
from vaekit.evaluation.progress import Stopped

X = np.random.default_rng(0).normal(size=(120, 4)).astype("float32")


@pytest.fixture(scope="module")
def vae():
    return vk.VAE(epochs=1, threads=1, compile=False).fit(X)


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test moves."""

    class Clock:
        now = 0.0

    monkeypatch.setattr(progress.time, "perf_counter", lambda: Clock.now)
    return Clock


@pytest.mark.parametrize(("seconds", "told"), [(0.5, False), (2.0, True)])
def test_work_of_more_than_a_minute_is_told_after_three_passes(seconds, told, clock, caplog):
    with caplog.at_level(logging.WARNING, "vaekit"), ProgressMonitor().over("counting", 100) as passed:
        for i in range(100):
            clock.now += seconds * (3 if i == 0 else 1)  # the first pass warms up: the fastest of three counts
            passed()
            assert bool(caplog.messages) == (told and i >= 2)
    assert caplog.messages == ["counting takes about 3m20s; Ctrl-C ends it early with what is done by then"] * told


def test_where_progress_is_shown_it_is_printed(clock, capsys):
    with ProgressMonitor(shown=True).over("counting", 100) as passed:
        for _ in range(4):
            clock.now += 60
            passed()
    assert capsys.readouterr().err.startswith("counting takes about 1h40m; Ctrl-C")


def test_on_a_terminal_a_bar_shows_it(clock, monkeypatch):
    seen = []
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: True, raising=False)
    real = progress._bar
    monkeypatch.setattr(progress, "_bar", lambda: seen.append(real()) or seen[0])
    with ProgressMonitor(shown=True).over("counting", 20) as passed:
        for _ in range(6):
            clock.now += 1
            passed()
    assert seen[0].tasks[0].completed == 6 and seen[0].tasks[0].total == 20 and seen[0].finished is False


def test_after_ctrl_c_the_next_pass_stops():
    watching = ProgressMonitor()
    with watching.over("counting", 5) as passed:
        passed()
        watching.stop.set()
        with pytest.raises(Stopped):
            passed()


def pressed_after(count, monkeypatch, module, name):
    """Ctrl-C in the middle of the work, at so manyeth call."""
    calls, real = [], getattr(module, name)

    def call(*words, **settings):
        calls.append(1)
        if len(calls) == count:
            signal.raise_signal(signal.SIGINT)
        return real(*words, **settings)

    monkeypatch.setattr(module, name, call)


def test_an_interrupted_evaluation_has_the_rows_that_are_done(vae, monkeypatch):
    whole = vae.evaluate(X, draws=600)
    monkeypatch.setitem(likelihood.BUDGET, "cpu", 4 * 30 * 128)  # 30 rows at a time, 600 draws in passes of 128
    pressed_after(8, monkeypatch, likelihood, "_weigh")
    found = vae.evaluate(X, draws=600, ais=5)
    assert found.interrupted and found.rows == 30 == found.protocol.rows and "ais" not in found.figures
    assert found.notes[0] == "interrupted: 30 of 120 rows were scored, in their order"
    kept = whole.per_row["log_likelihood"][:30]
    error = float((found.per_row["log_likelihood"] - kept).abs().mean())
    assert error < 0.2  # other draws of the same rows
    with pytest.raises(ValueError, match="rows .30; 120.: evaluate both on all of the same rows"):
        vk.evaluation.compare(found, whole)


def test_where_nothing_is_done_ctrl_c_is_what_it_is(vae, monkeypatch):
    pressed_after(1, monkeypatch, likelihood, "_weigh")
    with pytest.raises(KeyboardInterrupt):
        vae.evaluate(X, draws=2)


def test_interrupted_annealing_keeps_its_rows(vae, monkeypatch):
    from vaekit.evaluation import annealed as function
    from vaekit.evaluation.annealed import Annealing

    assert function is annealed
    monkeypatch.setitem(likelihood.BUDGET, "cpu", 4 * 16 * 10)
    pressed_after(2 * 20 + 3, monkeypatch, Annealing, "move")  # in the second batch of ten rows
    found = vae.annealed(X[:30], betas=20, steps=2)
    assert found.shape == (10,) and np.isfinite(found).all()
    assert torch.equal(torch.tensor(found), torch.tensor(vae.annealed(X[:30], betas=20, steps=2)[:10]))
