"""Several processes train as one would: the same steps, the same ends, and one of them speaks."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import torch
from together import CURVE, PROGRAMS, SEEDS, STEPS, THREE, digits, dropping, sizes_of, take_steps

import vaekit as vk
from vaekit.cli import main
from vaekit.storage import read_tensors
from vaekit.training import Processes

HERE = Path(__file__).parent
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
PATIENCE = 600
"""Seconds after which a process counts as stuck. It must not depend on the load of the machine."""
pytestmark = pytest.mark.skipif(not torch.distributed.is_available(), reason="torch without torch.distributed")


def free_port():
    with socket.socket() as at:
        at.bind(("127.0.0.1", 0))
        return str(at.getsockname()[1])


def place(size):
    return {"WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}


def begin(tasks, folder, size=2):
    """Processes that do these tasks of `together.py`, each with its own stdout and stderr."""
    shared, pipes = place(size), {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return [
        subprocess.Popen(
            [sys.executable, HERE / "together.py", tasks, folder],
            env={**ENVIRONMENT, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            **pipes,
        )
        for rank in range(size)
    ]


def ends_of(processes):
    """What each prints, after all have ended. If that takes too long, all are killed: none stays after the test."""
    with ExitStack() as ends:
        for process in processes:
            ends.enter_context(process)
            ends.callback(process.kill)
        return [process.communicate(timeout=PATIENCE) for process in processes]


def together_do(tasks, folder, size=2):
    """Folder, after all tasks are done; one process imports for all, and forks."""
    words = [sys.executable, HERE / "together.py", tasks, folder, str(size)]
    done = subprocess.run(words, env={**ENVIRONMENT, **place(size)}, timeout=PATIENCE, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


def from_ranks(folder, name, size=2):
    return [read_tensors(folder / f"{name} {rank}")[0] for rank in range(size)]


# -- the steps -------------------------------------------------------------------------------------


def steps_of(size, folder):
    """What each of so many processes has after its steps, by case."""
    together_do("steps,broken_row", folder, size)
    return lambda case: from_ranks(folder, case, size)


@pytest.fixture(scope="module")
def stepped(tmp_path_factory):
    return steps_of(2, tmp_path_factory.mktemp("two"))


@pytest.fixture(scope="module")
def stepped_by_three(tmp_path_factory):
    return steps_of(3, tmp_path_factory.mktemp("three"))


def assert_same(alone, everyone):
    """One process's tensors, and those of each of several, which are the same on all to the bit."""
    first, *others = everyone
    for name, value in alone.items():
        torch.testing.assert_close(first[name], value, rtol=1e-10, atol=1e-10, msg=lambda m, n=name: f"{n}: {m}")
        assert all(torch.equal(first[name], other[name]) for other in others), name


@pytest.mark.parametrize(("case", "kind"), STEPS)
def test_the_steps_of_several_processes_are_those_of_one(stepped, case, kind):
    """At the same noise in fp64: batches that come out even, a ragged one, and one of a single row; clipped, with a
    schedule. Weights, buffers, metrics and losses."""
    assert_same(take_steps(case, Processes(), kind), stepped(f"{case}, {kind}"))


@pytest.mark.slow
@pytest.mark.parametrize(("case", "kind"), THREE)
def test_the_steps_of_three_processes_are_those_of_one(stepped_by_three, case, kind):
    assert_same(take_steps(case, Processes(), kind), stepped_by_three(f"{case}, {kind}"))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")
def test_traced_and_compiled_steps_of_several_processes_are_those_of_one(tmp_path):
    together_do("programs", tmp_path)
    for case, kind in PROGRAMS:
        assert_same(take_steps(case, Processes(), sizes=sizes_of(kind)), from_ranks(tmp_path, f"{case}, {kind}"))


def test_a_loss_that_is_not_finite_on_one_process_is_known_to_all(stepped):
    assert {int(told["first_bad"]) for told in stepped("first bad")} == {1}


# -- trainings -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trainings")
    dropping(epochs=2).fit(digits(), run=folder / "to two")
    return together_do("resumed,loop,early,stored,spread,refused", folder)


@pytest.mark.slow
def test_a_resumed_run_of_two_processes_is_the_whole_one_bit_for_bit(trained):
    """With dropout, whose noise is torch's own."""
    for told in from_ranks(trained, "resumed"):
        whole = {n: t for n, t in told.items() if n.startswith("whole/")}
        assert all(torch.equal(t, told[n.replace("whole", "halves")]) for n, t in whole.items()) and whole
    kept, _ = read_tensors(trained / "halves" / "checkpoint" / "state.safetensors")
    assert not torch.equal(kept["noise"], kept["process/1/noise"])
    assert not torch.equal(kept["torch/cpu"], kept["process/1/torch/cpu"])


@pytest.mark.slow
def test_a_run_of_one_process_goes_on_in_two(trained):
    first, second = from_ranks(trained, "resumed")
    assert first["steps"].tolist() == second["steps"].tolist() == [5, 10, 15, 20]
    assert torch.equal(first["codes"], second["codes"])


@pytest.mark.slow
def test_a_run_of_two_processes_goes_on_in_one(trained):
    vae = dropping(epochs=4).fit(digits(), run=trained / "to one", resume=True)
    assert [r["step"] for r in vae.history_] == [5, 10, 15, 20]
    assert vae.history_[3]["elbo"] > vae.history_[1]["elbo"]
    kept, _ = read_tensors(trained / "to one" / "checkpoint" / "state.safetensors")
    assert not [name for name in kept if name.startswith("process/")]


@pytest.mark.slow
def test_a_loop_of_ones_own_sees_the_figures_of_all_rows_on_every_process(trained):
    first, second = (json.loads((trained / f"loop {rank}.json").read_text()) for rank in range(2))
    assert first == second and len(first) == 6
    assert first[-1]["elbo"] > first[0]["elbo"]


@pytest.mark.slow
def test_all_processes_stop_early_together_with_the_best_weights(trained):
    first, second = from_ranks(trained, "early")
    assert torch.equal(first["codes"], second["codes"]) and int(first["epochs"]) == int(second["epochs"]) < 40
    assert np.array_equal(vk.load(trained / "early").transform(digits()), first["codes"].numpy())


@pytest.mark.slow
def test_a_training_that_diverges_goes_back_on_all_processes_at_once(tmp_path):
    together_do("returned", tmp_path)
    first, second = from_ranks(tmp_path, "returned")
    assert all(torch.equal(first[n], second[n]) for n in first)
    assert torch.equal(first["plain/back"], first["spread/back"]) and int((first["plain/back"] >= 0).sum()) == 1
    torch.testing.assert_close(first["plain/codes"], first["spread/codes"], rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_rows_in_a_file_are_learned_like_rows_in_memory(trained):
    for told in from_ranks(trained, "stored"):
        assert torch.equal(told["memory"], told["file"])


@pytest.mark.slow
def test_a_training_with_spread_weights_is_the_plain_one(trained):
    """Weights after training, and a checkpoint that goes on without spreading: to rounding (fp32)."""
    for told in from_ranks(trained, "spread"):
        plain = {n.removeprefix("plain/"): t for n, t in told.items() if n.startswith("plain/")}
        for name, want in plain.items():
            torch.testing.assert_close(told[f"spread/{name}"], want, rtol=1e-3, atol=1e-5)
            torch.testing.assert_close(told[f"mixed/{name}"], want, rtol=1e-3, atol=1e-5)
    kept = [read_tensors(trained / run / "checkpoint" / "state.safetensors")[0] for run in ("plain", "spread")]
    shapes = [{name: t.shape for name, t in tensors.items()} for tensors in kept]
    assert shapes[0] == shapes[1]


@pytest.mark.slow
def test_two_processes_learn_what_one_learns(tmp_path):
    """Held-out ELBO after every epoch, 6 seeds: the mean difference within 4 standard errors, which are small."""
    alone = np.array([[r["val_elbo"] for r in vk.VAE(seed=s, **CURVE).fit(digits(3000)).history_] for s in SEEDS])
    both = np.array(json.loads((together_do("curve", tmp_path) / "curve.json").read_text()))
    difference, error = (both - alone).mean(0), (both - alone).std(0, ddof=1) / len(SEEDS) ** 0.5
    assert (abs(difference) < 4 * error).all(), (difference, error)
    assert (error < 0.02 * (alone[:, -1] - alone[:, 0]).mean()).all(), error


# -- what is refused -------------------------------------------------------------------------------

REFUSED = {
    "ensemble": "expected one model, got an ensemble: several processes share the rows of one model",
    "seeds": "expected one model, got an ensemble",
    "couples": "Pairs is no mean over rows (couples_rows)",
    "batch norm": "BatchNorm1d mixes the rows of a batch",
    "rows": "has rows=45: give all processes the same data, settings and run",
    "reads weights": "RAE reads the networks' weights themselves, of which each process would have a part",
    "follows gradients": "Hamiltonian moves its draws by gradients through the decoder",
    "sharded, compiled": "pass one of sharded=True and compile=True",
    "run": "has run_folders=0: give all processes",
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.slow
def test_what_several_processes_cannot_train_is_refused_on_the_first(trained, name):
    assert REFUSED[name] in json.loads((trained / "refused 0.json").read_text())[name]


@pytest.mark.slow
def test_what_is_refused_on_one_process_is_refused_on_all(trained):
    assert all(json.loads((trained / f"refused {rank}.json").read_text()).keys() == REFUSED.keys() for rank in range(2))


def test_other_verbs_than_fit_run_in_one_process(monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank, said in (
        ("0", "vaekit: error: vaekit recipes runs in one process: start it without torchrun\n"),
        ("1", ""),
    ):
        monkeypatch.setenv("RANK", rank)
        assert main(["recipes"]) == 2
        assert capsys.readouterr().err == said


# -- ends ------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "said"),
    [("fails", "vaekit: error: the disk of process 1 is gone"), ("diverges", "vaekit: error: the loss is not finite")],
)
def test_a_failure_ends_all_processes_and_is_told_once(task, said, tmp_path):
    processes = begin(task, tmp_path)
    errors = "".join(error for _, error in ends_of(processes))
    assert [p.returncode for p in processes] == [1, 1]
    assert errors.count(said) == errors.count("vaekit: error") == 1
    assert "Traceback" not in errors


@pytest.mark.slow
def test_a_process_that_stops_answering_is_given_up(tmp_path):
    waiting, lost = begin("silent", tmp_path)
    with lost:
        try:
            [(_, error)] = ends_of([waiting])
        finally:
            lost.kill()
    assert waiting.returncode == 1
    assert "Abandoned: another process of this training ended, or was silent for 0:00:05" in error


# -- the command line ------------------------------------------------------------------------------


def torchrun(*words, folder, size=2):
    """A command line of vaekit's under torchrun, in a process group of its own."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={size}", "-m", "vaekit"]
    return subprocess.Popen(
        [*launch, *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
        cwd=folder,
        start_new_session=True,
    )


@pytest.mark.slow
def test_torchrun_makes_one_run_and_prints_once(tmp_path):
    done = torchrun("fit", "digits", "--epochs", "2", "--no-report", "--json", folder=tmp_path)
    [(out, err)] = ends_of([done])
    assert done.returncode == 0, err
    assert json.loads(out)["run"] == "runs/digits"
    assert err.count("fitting a model") == err.count("epoch 1/2") == err.count("epoch 2/2") == 1
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["digits"]
    vae = vk.load(tmp_path / "runs" / "digits")
    assert vae.ended_ == "finished" and len(vae.history_) == 2
    assert vae.evaluate(vk.datasets.digits()[1])["elbo"] == json.loads(out)["figures"]["elbo"]["value"]


@pytest.mark.slow
def test_ctrl_c_ends_all_processes_with_a_usable_model(tmp_path):
    running = torchrun("fit", "digits", "--epochs", "100000", "--threads", "1", "--compile", "no", folder=tmp_path)
    assert any(re.match("epoch +3/", line) for line in running.stderr)
    os.killpg(running.pid, signal.SIGINT)
    [(out, err)] = ends_of([running])
    run = tmp_path / "runs" / "digits"
    assert re.match(r"interrupted after \d+ of 100000 epochs; runs/digits can be used as it is", out)
    assert "vaekit: error" not in err
    vae = vk.load(run)
    assert vae.ended_ == "interrupted" and vae.transform(vk.datasets.digits()[1]).shape == (360, 2)
    kept, _ = read_tensors(run / "checkpoint" / "state.safetensors")
    assert int(kept["learner/step"]) >= 3 * 11
