"""One writer per folder, and signals that end a training with what it learned."""

import errno
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import vaekit as vk
from vaekit import locking
from vaekit.locking import FolderInUseError, locked
from vaekit.training.interruption import interruptible
from vaekit.training.trainer import Silent


def rows():
    return np.random.default_rng(0).normal(size=(60, 5)).astype(np.float32)


def vae(**changed):
    settings = dict(
        latent_dim=2, epochs=3, batch_size=16, validation=0.2, threads=1, recipe=vk.recipes.auto(hidden=(6,))
    )
    return vk.VAE(**settings | changed)


HOLD = """
import sys, time
from pathlib import Path
from vaekit.locking import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock of `run`."""
    with subprocess.Popen([sys.executable, "-c", HOLD, tmp_path / "run"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


WRITERS = {
    "fit": lambda run: vae().fit(rows(), run=run),
    "resume": lambda run: vae().fit(rows(), run=run, resume=True),
    "save": lambda run: vae().fit(rows()).save(run),
    "fit_prior": lambda run: vae().fit(rows()).fit_prior(rows(), vk.latents.GaussianMixture(2), run=run),
    "sweep": lambda run: vk.sweep(vae(), rows(), over={"lr": [1e-3, 1e-2]}, run=run),
}


def test_one_process_writes_at_a_time_and_a_killed_one_holds_nothing(holder, tmp_path):
    for write in WRITERS.values():
        with pytest.raises(FolderInUseError, match=f"run is being written by process {holder.pid}: wait for it"):
            write(tmp_path / "run")
    holder.kill()
    holder.wait()
    assert (tmp_path / "run" / ".lock").exists()
    assert vae().fit(rows(), run=tmp_path / "run").ended_ == "finished"
    assert not (tmp_path / "run" / ".lock").exists()


def test_two_threads_do_not_write_to_one_folder(tmp_path):
    found = []
    with locked(tmp_path), locked(tmp_path):  # the same thread may take it again
        thread = threading.Thread(target=lambda: found.append(_refusal(tmp_path)))
        thread.start()
        thread.join()
    assert "another thread of this process" in found[0]
    with locked(tmp_path):
        assert (tmp_path / ".lock").read_text() == f"{os.getpid()}\n"
    assert not list(tmp_path.iterdir())


def _refusal(folder):
    try:
        with locked(folder):
            return ""
    except FolderInUseError as error:
        return str(error)


def test_a_folder_that_was_made_in_vain_is_removed(tmp_path):
    with pytest.raises(ZeroDivisionError), locked(tmp_path / "new"):
        raise ZeroDivisionError
    assert not (tmp_path / "new").exists()


def test_a_file_system_without_locks_is_a_warning(tmp_path, monkeypatch, caplog):
    def none(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(locking.fcntl, "flock", none)
    vae(epochs=1).fit(rows()).save(tmp_path / "run")
    assert "has no locks: take care that one process at a time" in caplog.text
    assert vk.load(tmp_path / "run").ended_ == "finished"


def _count(folder, path, barrier):
    barrier.wait()
    for _ in range(20):
        while True:
            try:
                with locked(folder):
                    path.write_text(str(int(path.read_text()) + 1))
                break
            except FolderInUseError:
                time.sleep(0.001)


def test_the_lock_excludes(tmp_path):
    """Processes add to a number; were two of them inside at once, an addition would be lost."""
    (tmp_path / "count").write_text("0")
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(3)
    each = [context.Process(target=_count, args=(tmp_path / "run", tmp_path / "count", barrier)) for _ in range(3)]
    for process in each:
        process.start()
    for process in each:
        process.join(60)
        assert process.exitcode == 0
    assert (tmp_path / "count").read_text() == "60"


# -- signals ---------------------------------------------------------------------------------------

ASKING = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


class Press(Silent):
    def __init__(self, number, step):
        self.number, self.at = number, step

    def step(self, training, rows_per_second):
        if training.taken == self.at:
            signal.raise_signal(self.number)


def handlers():
    return [signal.getsignal(number) for number in ASKING]


@pytest.mark.parametrize("number", ASKING)
def test_a_signal_ends_fit_with_what_was_learned_and_resumes(number, tmp_path):
    before = handlers()
    stopped = vae().fit(rows(), run=tmp_path / "run", display=Press(number, 4))
    assert stopped.ended_ == "interrupted" and vk.load(tmp_path / "run").ended_ == "interrupted"
    assert handlers() == before
    resumed = vae().fit(rows(), run=tmp_path / "run", resume=True)
    np.testing.assert_array_equal(resumed.transform(rows()), vae().fit(rows()).transform(rows()))


def test_a_signal_ends_a_prior_and_a_sweep(tmp_path):
    fitted = vae(epochs=1).fit(rows())
    fitted.fit_prior(rows(), vk.latents.GaussianMixture(2), epochs=5, display=Press(signal.SIGTERM, 2))
    assert fitted.ended_ == "interrupted"
    swept = vk.sweep(vae(), rows(), over={"lr": [1e-3, 1e-2]}, run=tmp_path, display=Press(signal.SIGTERM, 2))
    assert swept.ended == "interrupted"


def test_a_second_signal_ends_at_once():
    with interruptible() as asked:
        signal.raise_signal(signal.SIGTERM)
        assert asked.is_set()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_an_ignored_signal_stays_ignored(number):
    usual = signal.signal(number, signal.SIG_IGN)
    try:
        with interruptible() as asked:
            signal.raise_signal(number)
            assert not asked.is_set()
        assert signal.getsignal(number) == signal.SIG_IGN
    finally:
        signal.signal(number, usual)


def test_one_of_several_processes_hears_ctrl_c_only():
    with interruptible(alone=False) as asked:
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
        signal.raise_signal(signal.SIGINT)
        assert asked.is_set()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM])
def test_the_command_line_ends_as_for_ctrl_c(number, tmp_path):
    np.save(tmp_path / "x.npy", rows())
    words = ["fit", tmp_path / "x.npy", "--epochs", "100000", "--no-report", "--threads", "1", "-o", tmp_path / "run"]
    with subprocess.Popen(
        [sys.executable, "-m", "vaekit", *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        while "epoch" not in process.stderr.readline():
            assert process.poll() is None
        process.send_signal(number)
        out, err = process.communicate(timeout=600)
    assert process.returncode == 130 and "--resume" in out + err and "Traceback" not in err
    assert vk.load(tmp_path / "run").ended_ == "interrupted"
