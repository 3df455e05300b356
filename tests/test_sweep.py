"""Many models trained together: each is the model trained alone, and the table says what they found."""

import contextlib
import copy
import json
import logging
import os
import shutil
import signal
from html import unescape

import numpy as np
import pytest
import torch
from commands import assert_refused, call
from compositions import LIKELIHOODS, OBJECTIVES, build, rows
from pages import assert_self_contained, assert_well_formed, titles
from torch import nn

import vaekit as vk
from vaekit.core import Source
from vaekit.data.rows import Rows
from vaekit.data.spec import DataSpec
from vaekit.objectives import ELBO, FactorTC
from vaekit.report import figures
from vaekit.report.page import measured
from vaekit.storage import read_tensors
from vaekit.training import Adam, Diverged, Ensemble, Learner, Training
from vaekit.training.splitting import split as split_rows
from vaekit.training.trainer import Silent, fit, held_out


@pytest.fixture(scope="module")
def digits():
    return vk.datasets.mnist()[0][:300]


@pytest.fixture(scope="module")
def small():
    """40 rows of 6 numbers in [0, 1]."""
    return np.random.default_rng(0).normal(0.5, 0.3, size=(40, 6)).clip(0, 1)


def quick(**settings):
    return vk.VAE(**{"epochs": 3, "batch_size": 32, "recipe": "beta-vae", "threads": 1, **settings})


def split(vae, x):
    """The training rows and the held-out rows of a sweep over an estimator."""
    parts = split_rows(vae.config(), x)
    return parts.rows.x.numpy(), None if parts.held is None else parts.held.x.numpy()


def timeless(history):
    return [{n: v for n, v in r.items() if n not in ("seconds", "rows_per_second", "members")} for r in history]


def assert_same_course(got, want, **tolerance):
    assert (got.ended_, got.best_epoch_, len(got.history_)) == (want.ended_, want.best_epoch_, len(want.history_))
    for mine, other in zip(timeless(got.history_), timeless(want.history_)):
        assert mine == pytest.approx(other, **tolerance)


# -- members and lone models -----------------------------------------------------------------------


def wide(likelihood="bernoulli", count=20, seed=0, missing=False):
    """Rows in fp64, as they are."""
    x = rows(LIKELIHOODS[likelihood](), count, seed=seed)
    if missing:
        x = torch.where(torch.rand(x.shape, generator=torch.Generator().manual_seed(1)) < 0.2, torch.nan, x)
    spec = DataSpec("real", tuple(x.shape[1:]), "float64", missing=missing)
    return Rows(x, spec, torch.float64)


GRIDS = {
    "lr and beta over seeds": (
        lambda beta: ELBO(beta),
        [(s, b, lr) for s in (3, 4) for b in (0.5, 4) for lr in (1e-2, 1e-3)],
    ),
    "beta of one seed, rows shared": (lambda beta: ELBO(beta), [(7, b, 1e-2) for b in (0.5, 1, 4)]),
    "one rate for all": (lambda beta: ELBO(beta), [(s, 1.0, 1e-2) for s in range(3)]),
    "two players": (
        lambda gamma: FactorTC(OBJECTIVES["factor"]().critic, gamma),
        [(s, gamma, 1e-2) for s in (0, 1) for gamma in (1, 9)],
    ),
}
SETTINGS = {
    "plain": ({}, None),
    "clip and schedule": ({"clip": 0.05, "schedule": "cosine", "warmup": 3}, None),
    "patience": ({}, 2),
    "weight decay": ({"weight_decay": 0.1}, None),
    "steps left out, weights averaged": ({"average": 0.9, "clip": 0.5, "weight_decay": 0.1}, 2),
}
SKIP = {
    "lr and beta over seeds": 5.0,
    "beta of one seed, rows shared": 4.0,
    "one rate for all": 1.2,
    "two players": 3.0,
}
"""Norms of gradients above which some members leave out some steps, but none of them half, which is a divergence."""


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("members", GRIDS)
def test_a_member_is_the_model_trained_alone(members, settings):
    """In fp64: its weights, its history, its early end, to 1e-10."""
    (objective, grid), (adam, patience) = GRIDS[members], SETTINGS[settings]
    if settings.startswith("steps left out"):
        adam = {**adam, "skip": SKIP[members]}
    learners = [Learner(build(seed=s), objective(value)).double() for s, value, _ in grid]
    alone, own, held = copy.deepcopy(learners), wide(seed=1), wide(count=13, seed=2)
    shared = len({s for s, _, _ in grid}) == 1
    seeds, rates = [s for s, _, _ in grid], tuple(lr for _, _, lr in grid)
    epochs, how = 12 if patience else 4, dict(patience=patience, threads=1, compiled=False)
    training = Training(Ensemble(learners, shared), own, epochs, 8, Adam(rates, **adam), seeds=seeds)
    courses = fit(training, held, **how)
    stopped = set()
    for learner, member, course, (seed, _, lr) in zip(alone, training.learner.members(), courses, grid):
        lone = fit(Training(learner, own, epochs, 8, Adam(lr, **adam), seed), held, **how)[0]
        assert (course.ended, course.best_epoch) == (lone.ended, lone.best_epoch)
        assert len(course.history) == len(lone.history)
        for mine, other in zip(timeless(course.history), timeless(lone.history)):
            assert mine == pytest.approx(other, rel=1e-10, abs=1e-10)
        want = {n: t for n, t in learner.state_dict().items() if n != "step" or patience is None}
        for name, tensor in want.items():
            torch.testing.assert_close(member.state_dict()[name], tensor, rtol=1e-10, atol=1e-10, msg=name)
        stopped.add((lone.ended, len(lone.history)))
    if "skip" in adam:
        skipped = training.step.moments["model"].skipped
        lasts = [course.history[-1] for course in courses]
        assert skipped.any() and all(last["skipped"] < last["step"] / 2 for last in lasts)
    assert patience is None or len(stopped) > 1 or members != "lr and beta over seeds", "all ended together"


@pytest.mark.parametrize(
    ("likelihood", "missing"),
    [("bernoulli", False), ("bernoulli", True), ("bernoulli dynamic", False), ("gaussian per dimension", True)],
)
def test_held_out_rows_are_scored_as_each_member_alone_scores_them(likelihood, missing, monkeypatch):
    learners = [Learner(build(likelihood=likelihood, seed=s), ELBO()).double() for s in range(3)]
    held, seeds = wide(likelihood, count=30, missing=missing), [5, 6, 5]
    want = [held_out(copy.deepcopy(m), held, [s], batch_size=8)[0] for m, s in zip(learners, seeds)]
    calls, ensemble = [], Ensemble(learners)
    forward = vk.VAEModule.forward
    monkeypatch.setattr(vk.VAEModule, "forward", lambda *given: calls.append(1) or forward(*given))
    got = held_out(ensemble, held, seeds, batch_size=8)
    for mine, other in zip(got, want):
        assert mine == pytest.approx(other, rel=1e-12)
    # Four batches of two shapes: one pass each, and a dry run for each shape, for all members.
    assert len(calls) == 4 + 2


def test_a_sweep_trains_each_model_as_it_would_be_trained_alone(digits):
    base = quick(epochs=2, clip=1.0, schedule="cosine")
    over = {"recipe__beta": [1, 4.0], "lr": [1e-3, 3e-3]}
    sweep = vk.sweep(base, digits, over=over, seeds=[0, 5])
    x, held = split(base, digits)
    assert len(sweep) == 8 and [row["seed"] for row in sweep.rows] == [0, 5] * 4
    for row, vae in zip(sweep.rows, sweep.vaes):
        settings = {"recipe__beta": row["recipe__beta"], "lr": row["lr"], "seed": row["seed"], "validation": held}
        lone = base.__sklearn_clone__().set_params(**settings).fit(x)
        assert_same_course(vae, lone, rel=1e-4, abs=1e-3)
        assert vae.get_params()["recipe__beta"] == row["recipe__beta"] and vae.lr == row["lr"]
        np.testing.assert_allclose(vae.transform(digits), lone.transform(digits), rtol=1e-3, atol=2e-3)
        assert row["elbo"] == vae.history_[-1]["val_elbo"]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")
def test_a_compiled_sweep_is_the_sweep(digits, caplog):
    plain, compiled = (vk.sweep(quick(compile=c), digits, over={"lr": [1e-3, 3e-3]}, seeds=2) for c in (False, True))
    assert all(vae.pace_.compiled for vae in compiled.vaes) and "without compilation" not in caplog.text
    for mine, other in zip(compiled.vaes, plain.vaes):
        assert_same_course(mine, other, rel=1e-4, abs=1e-3)


def test_members_stop_early_each_by_itself(small):
    base = quick(recipe="vae", epochs=40, patience=2, batch_size=8)
    sweep = vk.sweep(base, small, over={"lr": [3e-2, 3e-3, 3e-1]}, seeds=2)
    x, held = split(base, small)
    ends = {len(vae.history_) for vae in sweep.vaes}
    assert len(ends) > 1 and "stopped early" in {row["ended"] for row in sweep.rows}
    for row, vae in zip(sweep.rows, sweep.vaes):
        lone = base.__sklearn_clone__().set_params(lr=row["lr"], seed=row["seed"], validation=held).fit(x)
        assert_same_course(vae, lone, rel=1e-3, abs=1e-3)
        np.testing.assert_allclose(vae.transform(small), lone.transform(small), rtol=1e-3, atol=1e-3)
        assert row["elbo"] == max(record["val_elbo"] for record in vae.history_)
        assert row["epoch"] == len(vae.history_) and row["best_epoch"] == vae.best_epoch_


def test_the_rows_are_split_once_by_the_estimator_s_seed(digits):
    base = quick(seed=9, epochs=1)
    sweep = vk.sweep(base, digits, seeds=[1, 2])
    held = base.held_out(digits)
    assert all(np.array_equal(vae.validation.numpy(), held) for vae in sweep.vaes)
    assert sweep.on == "30 held-out rows"
    assert "training rows: none were held out" in vk.sweep(quick(validation=0, epochs=1), digits, seeds=2).on
    assert not hasattr(base, "module_")


# -- which train together --------------------------------------------------------------------------


def stacks(caplog, vae, x, over, seeds=1):
    with caplog.at_level(logging.INFO, logger="vaekit"):
        vk.sweep(vae, x, over=over, seeds=seeds)
    return int(next(m for m in caplog.messages if "stacks: " in m).rpartition(" ")[2])


TOGETHER = {
    "learning rates": (dict(), {"lr": [1e-3, 1e-2]}, 1),
    "initialisers": (dict(), {"initialiser": ["glorot", "he"]}, 1),
    "beta": (dict(), {"recipe__beta": [1, 4]}, 1),
    "beta in objectives": (dict(), {"objective": [ELBO(1.0), ELBO(4.0)]}, 1),
    "capacity": (dict(recipe="annealed"), {"recipe__capacity": [1.0, 5.0], "recipe__gamma": [1.0, 5.0]}, 1),
    "temperature": (dict(recipe="categorical"), {"recipe__temperature": [0.5, 1.0]}, 1),
    "gamma": (dict(recipe="factor-vae"), {"recipe__gamma": [1.0, 6.0]}, 1),
    "what a beta of 1 is by default": (dict(), {"recipe": ["vae", "beta-vae"]}, 1),
    "latents": (dict(), {"latent_dim": [2, 8, 3], "recipe__beta": [1, 4]}, 3),
    "rows per step": (dict(), {"batch_size": [16, 32]}, 2),
    "epochs": (dict(), {"epochs": [1, 2]}, 2),
    "clipping": (dict(), {"clip": [None, 1.0]}, 2),
    "free bits, no scalar": (dict(recipe="free-bits"), {"recipe__nats": [0.1, 0.2]}, 2),
    "a ramp's length": (dict(recipe="warm-up"), {"recipe__steps": [10, 20]}, 2),
    "objectives": (dict(), {"objective": [ELBO(), vk.objectives.IWAE(2)]}, 2),
    "likelihoods": (dict(), {"likelihood": [vk.likelihoods.Bernoulli(), vk.likelihoods.ContinuousBernoulli()]}, 2),
    "spaces": (dict(recipe="vae"), {"recipe": ["vae", "vae-tanh"]}, 2),
}


@pytest.mark.parametrize("case", TOGETHER)
def test_what_differs_in_seeds_rates_and_scalars_is_one_program(case, small, caplog):
    settings, over, count = TOGETHER[case]
    assert stacks(caplog, quick(epochs=1, **settings), small, over, seeds=2) == count


class Shifted(nn.Linear):
    """A layer with a setting of its own, which no description tells."""

    def __init__(self, shift):
        super().__init__(2, 6)
        self.shift = shift

    def forward(self, z):
        return super().forward(z) + self.shift


def test_networks_of_ones_own_stack_where_they_are_the_same_one(small, caplog):
    torch.manual_seed(0)
    decoders = [Shifted(0.0), Shifted(5.0)]
    base = quick(recipe="vae", epochs=1)
    assert stacks(caplog, base, small, {"decoder": decoders, "lr": [1e-3, 1e-2]}) == 2
    x, held = split(base, small)
    sweep = vk.sweep(base, small, over={"decoder": decoders}, seeds=2)
    for decoder, vae in zip((decoders[0], decoders[0], *decoders[1:] * 2), sweep.vaes):
        lone = base.__sklearn_clone__().set_params(decoder=decoder, seed=vae.seed, validation=held).fit(x)
        np.testing.assert_allclose(vae.reconstruct(small), lone.reconstruct(small), atol=1e-5)


def normed():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 6))


def test_what_cannot_be_stacked_is_trained_one_by_one_and_this_is_said(small, caplog, tmp_path):
    base = quick(recipe="vae", decoder=normed())
    sweep = vk.sweep(base, small, over={"lr": [1e-3, 1e-2]}, seeds=2, run=tmp_path / "run")
    assert "4 models are trained one by one: Foreign cannot be stacked" in caplog.text
    x, held = split(base, small)
    for row, vae in zip(sweep.rows, sweep.vaes):
        lone = base.__sklearn_clone__().set_params(lr=row["lr"], seed=row["seed"], validation=held).fit(x)
        np.testing.assert_array_equal(vae.transform(small), lone.transform(small))
        loaded = vk.load(tmp_path / "run" / row["folder"], decoder=normed())
        np.testing.assert_array_equal(vae.transform(small), loaded.transform(small))


def test_convolutions_are_stacked_where_that_is_faster(digits, caplog):
    base = quick(recipe="conv", epochs=1, batch_size=64)
    sweep = vk.sweep(base, digits[:100], seeds=2)
    alone = "2 models are trained one by one: stacked, convolutions would take longer on a CPU" in caplog.text
    assert alone != torch.cuda.is_available() and len(sweep.vaes) == 2


def test_rows_that_stay_on_disk_are_stacked_by_seed(small, caplog, tmp_path):
    x = small.astype("float32")
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    base = quick(validation=x[:4])
    assert stacks(caplog, base, vk.data.lazy_rows.stored(tmp_path / "x.npy"), {"recipe__beta": [1, 4]}, seeds=2) == 2
    stored = vk.sweep(base, vk.data.lazy_rows.stored(tmp_path / "x.npy"), over={"recipe__beta": [1, 4]})
    held = vk.sweep(base, np.asarray(mapped), over={"recipe__beta": [1, 4]})
    assert [row["elbo"] for row in stored.rows] == pytest.approx([row["elbo"] for row in held.rows], rel=0.2)


# -- divergence ------------------------------------------------------------------------------------


def test_a_member_that_diverges_is_told_and_leaves_the_others_as_they_are(digits, tmp_path, caplog):
    def run(bad, name):
        over = {"lr": [1e-3, bad]}
        return vk.sweep(quick(recipe="vae"), digits, over=over, seeds=2, run=tmp_path / name)

    good, bad = run(2e-3, "good"), run(1e30, "bad")
    assert [row["ended"] for row in bad.rows] == ["finished", "finished", "diverged", "diverged"]
    assert "member 2 of 4 diverged" in caplog.text
    for k in (0, 1):
        paths = [tmp_path / n / s.rows[k]["folder"] / "model.safetensors" for n, s in (("good", good), ("bad", bad))]
        (mine, _), (other, _) = map(read_tensors, paths)
        assert all(torch.equal(mine[n], other[n]) for n in mine)
        assert timeless(good.vaes[k].history_) == timeless(bad.vaes[k].history_)
    assert bad.vaes[2:] == [None, None] and 1 <= bad.rows[2]["diverged_at"] <= 20
    assert not (tmp_path / "bad" / bad.rows[2]["folder"]).exists()
    assert "diverged at step" in str(bad) and "0 of 2" in str(bad)
    assert bad.best().lr == 1e-3
    told = json.loads((tmp_path / "bad" / "sweep.json").read_text(), parse_constant=pytest.fail)
    assert told["configurations"][1]["diverged"] == 2 and told["configurations"][1]["figures"] == {}


def test_a_sweep_of_which_nothing_is_left_says_so(digits, tmp_path):
    over = {"recipe__beta": [1e39, 1e40]}
    sweep = vk.sweep(quick(patience=2), digits, over=over, seeds=2, run=tmp_path / "run")
    assert sweep.vaes == [None] * 4 and {row["diverged_at"] for row in sweep.rows} == {0}
    assert "diverged at step 0: beta 1e+39, seed 0" in str(sweep)
    with pytest.raises(ValueError, match="none: no model was fitted"):
        sweep.best()
    json.loads((tmp_path / "run" / "sweep.json").read_text(), parse_constant=pytest.fail)


def test_a_lone_configuration_that_diverges_does_not_end_the_sweep(digits, caplog):
    sweep = vk.sweep(quick(recipe="vae"), digits, over={"latent_dim": [2, 3], "lr": [1e30]})
    assert [row["ended"] for row in sweep.rows] == ["diverged", "diverged"]
    assert "the loss is not finite since step" in caplog.text and sweep.rows[0]["diverged_at"] > 0


# -- stopping and going on -------------------------------------------------------------------------


class Killed(BaseException):
    """The power went."""


class After(Silent):
    """Does something after so many steps, of all stacks together."""

    def __init__(self, steps, act):
        self.steps, self.act = steps, act

    def step(self, training, *rest):
        self.steps -= 1
        if self.steps == 0:
            self.act()

    epoch = step


def kill():
    raise Killed


def ctrl_c():
    os.kill(os.getpid(), signal.SIGINT)


TWO_STACKS = {"latent_dim": [2, 3], "lr": [1e-2, 3e-1]}


def swept(x, folder, resume=False, display=None, batch_size=8, seeds=2):
    base = quick(epochs=6, batch_size=batch_size, patience=2, schedule="cosine")
    return vk.sweep(base, x, over=TWO_STACKS, seeds=seeds, run=folder, resume=resume, display=display)


def content(folder):
    """What equal sweeps share: weights and histories of all members, the table, and what is known of them."""
    found = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and "stack" not in str(p.relative_to(folder))):
        name = path.relative_to(folder).as_posix()
        text = path.read_bytes()
        found[name] = timeless(map(json.loads, text.splitlines())) if name.endswith("history.jsonl") else text
    return found


@pytest.fixture(scope="module")
def whole(small, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "run"
    swept(small, folder)
    return folder


# 5 steps an epoch, 6 epochs at most, two stacks; the second step is in the middle of the first epoch.
MOMENTS = [2, 11, 33, *(pytest.param(step, marks=pytest.mark.slow) for step in (5, 17, 40))]


@pytest.mark.parametrize("act", [kill, ctrl_c])
@pytest.mark.parametrize("step", MOMENTS)
def test_a_sweep_that_was_stopped_goes_on_bit_for_bit(step, act, small, whole, tmp_path, monkeypatch):
    monkeypatch.setattr("vaekit.training.trainer.CHECKPOINT_SECONDS", 0.0)  # a checkpoint at every step
    folder = tmp_path / "run"
    with pytest.raises(Killed) if act is kill else contextlib.nullcontext():
        stopped = swept(small, folder, display=After(step, act))
    if act is ctrl_c:
        assert stopped.ended == "interrupted" and "interrupted: latent_dim" in str(stopped)
        first, second = ({row["ended"] for row in part} for part in (stopped.rows[:4], stopped.rows[4:]))
        assert second == {"not begun"} if "interrupted" in first else "interrupted" in second
        for row, vae in zip(stopped.rows, stopped.vaes):
            assert (vae is None) == (row["ended"] == "not begun")
            assert vae is None or vk.load(folder / row["folder"]).ended_ == row["ended"]
    again = swept(small, folder, resume=True)
    assert again.ended == "finished"
    got, want = content(folder), content(whole)
    assert got.keys() == want.keys()
    assert [name for name in got if got[name] != want[name]] == []


def test_a_finished_sweep_comes_back_as_it_is(small, whole):
    before = content(whole)
    again = swept(small, whole, resume=True, display=After(1, pytest.fail))
    assert content(whole) == before
    assert [vae.ended_ for vae in again.vaes] == [row["ended"] for row in again.rows]


def test_another_sweep_is_not_gone_on_with(small, whole, tmp_path):
    with pytest.raises(FileExistsError, match=r"holds a sweep: go on with it \(resume=True\)"):
        swept(small, whole)
    with pytest.raises(ValueError, match=r"begun with other settings: batch_size=8 then, batch_size=16 now"):
        swept(small, whole, resume=True, batch_size=16)
    with pytest.raises(ValueError, match=r"begun with other seeds: \[0, 1\] then, \[0, 1, 2\] now"):
        swept(small, whole, resume=True, seeds=3)
    vk.VAE(epochs=0).fit(small).save(tmp_path)
    with pytest.raises(FileExistsError, match="holds a run"):
        swept(small, tmp_path)


def test_a_sweep_that_could_not_begin_leaves_the_folder_free(small, tmp_path):
    wrong = quick(patience=2, validation=0)
    for _ in range(2):
        with pytest.raises(ValueError, match="patience=2 watches held-out rows"):
            vk.sweep(wrong, small, over={"lr": [1e-3, 1e-2]}, run=tmp_path / "run")


# -- what it says ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def told(digits, tmp_path_factory):
    folder = tmp_path_factory.mktemp("told") / "run"
    over = {"recipe__beta": [1, 4.0], "lr": [1e-3, 3e-3]}
    return vk.sweep(quick(), digits, over=over, seeds=3, run=folder)


def test_means_and_errors_are_over_the_seeds(told):
    for number, configuration in enumerate(told.configurations):
        for name in ("elbo", "distortion", "rate"):
            values = np.array([row[name] for row in told.rows if row["configuration"] == number])
            figure = configuration.figures[name]
            assert figure.value == pytest.approx(values.mean(), rel=1e-12)
            assert figure.error == pytest.approx(values.std(ddof=1) / np.sqrt(3), rel=1e-9)
    assert vk.sweep(quick(epochs=1), np.eye(9)).configurations[0].figures["elbo"].error is None


def test_the_best_configuration_is_that_of_the_best_mean_and_its_first_seed_stands_for_it(told):
    means = [c.figures["elbo"].value for c in told.configurations]
    best = int(np.argmax(means))
    assert told.best_configuration() == told.best_configuration("elbo") == best
    assert told.best() is told.vaes[3 * best] and told.best().seed == 0
    least = int(np.argmin([c.figures["distortion"].value for c in told.configurations]))
    assert told.best("distortion") is told.vaes[3 * least]
    line = str(told).splitlines()[3 + best]
    assert f"{means[best]:.3f} ± {told.configurations[best].figures['elbo'].error:.3f} *" in line
    with pytest.raises(ValueError, match=r"'ebo' \(did you mean \"elbo\"\?\): expected one of elbo, distortion"):
        told.best("ebo")
    with pytest.raises(ValueError, match="'rate': expected one of"):
        told.best("rate")


def test_a_table_and_a_record_per_model_are_kept(told):
    text = (told.folder / "sweep.txt").read_text()
    assert text == f"{told}\n" and repr(told) == str(told)
    lines = text.splitlines()
    assert lines[0] == "12 models: 4 configurations of 3 seeds"
    assert lines[1].startswith("on 30 held-out rows; mean ± standard error over the seeds")
    assert lines[2].split()[:3] == ["beta", "lr", "seeds"] and len(lines) >= 7
    assert "note: cross-entropy on grey levels is not a likelihood" in text
    kept = json.loads((told.folder / "sweep.json").read_text(), parse_constant=pytest.fail)
    assert kept["members"] == told.rows == told.to_dict()["members"]
    assert kept["plan"]["seeds"] == [0, 1, 2] and kept["best"]["elbo"] == told.best_configuration()
    assert kept["configurations"][0]["settings"] == {"recipe__beta": 1, "lr": 0.001}
    assert told.rows[4] == {
        **{"configuration": 1, "recipe__beta": 1, "lr": 0.003, "seed": 1, "folder": "004-beta=1-lr=0.003-seed=1"},
        **{"ended": "finished", "epoch": 3, "best_epoch": told.vaes[4].best_epoch_, "diverged_at": None},
        **{name: told.rows[4][name] for name in ("elbo", "distortion", "rate")},
    }


def test_every_member_is_a_run_of_its_own(told, digits):
    for row, vae in zip(told.rows, told.vaes):
        loaded = vk.load(told.folder / row["folder"])
        np.testing.assert_array_equal(loaded.transform(digits[:5]), vae.transform(digits[:5]))
        assert timeless(loaded.history_) == timeless(vae.history_) and loaded.seed == row["seed"]


def test_the_page_places_every_model_by_its_configuration(told, monkeypatch, tmp_path):
    placed = []
    draw = figures.rate_distortion
    monkeypatch.setattr(figures, "rate_distortion", lambda *given: placed.extend(given) or draw(*given))
    page = told.report()
    page.save(tmp_path / "report.html")
    assert_self_contained(page.html)
    assert_well_formed(page.html)
    assert titles(page.html) == ["Configurations", "Rate and distortion", "Training"]
    rate, distortion, groups = placed
    assert (rate, distortion) == tuple([row[n] for row in told.rows] for n in ("rate", "distortion"))
    assert groups[:4] == ["beta 1, lr 0.001"] * 3 + ["beta 1, lr 0.003"]
    best = told.configurations[told.best_configuration()].figures["elbo"]
    assert f"<b>{measured(best)[0]}</b>" in page.html and told.notes[0] in unescape(page.html)


def test_many_configurations_are_coloured_by_the_first_setting(small):
    over = {"lr": [1e-3, 2e-3, 3e-3], "recipe__beta": [1, 2, 3, 4]}
    page = vk.sweep(quick(epochs=1), small, over=over).report()
    assert "lr 0.001" in page.html and titles(page.html) == ["Configurations", "Rate and distortion"]


def test_evaluation_adds_the_bound_on_other_rows(told, digits):
    judged = told.evaluate(digits[:50], draws=5, name="rows to test on")
    assert judged.on == "50 rows to test on, k = 5 draws per row" and judged.metrics[-1] == "active_units"
    for row, vae in zip(judged.rows, judged.vaes):
        evaluation = vae.evaluate(digits[:50], draws=5)
        assert {n: row[n] for n in ("elbo", "log_likelihood")} == {n: evaluation[n] for n in ("elbo", "log_likelihood")}
    bounds = [c.figures["log_likelihood"].value for c in judged.configurations]
    assert judged.best_configuration() == int(np.argmax(bounds))
    assert "log_likelihood, nats" in (told.folder / "sweep.txt").read_text()
    told.save()


def test_models_without_a_rate_stand_beside_others(digits):
    sweep = vk.sweep(quick(recipe=None, epochs=1), digits, over={"recipe": ["vae", "rae", "binarised"]}, seeds=2)
    assert "elbo" not in sweep.rows[2] and "distortion" in sweep.rows[2]
    assert sweep.configurations[1].figures.keys() == {"distortion"}
    assert str(sweep).splitlines()[4].split()[:3] == ["rae", "2", "-"]
    assert any("the likelihoods differ" in note for note in sweep.notes)


def test_progress_is_the_mean_of_those_that_train(digits, caplog, capsys):
    base = quick(epochs=2, verbose=True)
    with caplog.at_level(logging.INFO, logger="vaekit"):
        sweep = vk.sweep(base, digits, over={"recipe__beta": [1, 4]}, seeds=2)
    means = [np.mean([vae.history_[e]["val_elbo"] for vae in sweep.vaes]) for e in range(2)]
    for line, mean in zip(capsys.readouterr().err.splitlines(), means):
        assert "mean of 4: elbo -" in line and f"held-out elbo {mean:.2f}" in line and "rows/s" in line
    assert "models to train: 4, stacks: 1" in caplog.text


def test_a_bar_serves_one_stack_after_the_other(digits, capsys):
    pytest.importorskip("rich")
    from vaekit.training.display import Bar

    vk.sweep(quick(epochs=1), digits, over={"latent_dim": [2, 3], "recipe__beta": [1, 4]}, display=Bar())
    assert capsys.readouterr().err.count("mean of 2: elbo") == 2


def test_columns_have_their_names(small):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(small, columns=list("abcdef"))
    sweep = vk.sweep(quick(epochs=1), frame, seeds=2)
    assert all(list(vae.feature_names_in_) == list("abcdef") for vae in sweep.vaes)


# -- several seeds of one estimator ----------------------------------------------------------------


def test_an_estimator_of_several_seeds_is_its_first_seed_s_model(digits):
    vae = quick(seeds=3, seed=4, recipe="vae").fit(digits)
    x, held = split(vae, digits)
    assert [m.seed for m in vae.members_] == [4, 5, 6] and vae.module_ is vae.members_[0].module_
    for member in vae.members_:
        lone = quick(seed=member.seed, recipe="vae", validation=held).fit(x)
        assert_same_course(member, lone, rel=1e-4, abs=1e-3)
        np.testing.assert_allclose(member.transform(digits), lone.transform(digits), rtol=1e-3, atol=2e-3)
    assert vae.history_ == vae.members_[0].history_ and vae.ended_ == "finished" and vae.seeds == 3
    assert vae.transform(digits).shape == (300, 2)


def test_one_seed_is_as_ever(digits, tmp_path):
    quick(seed=4).fit(digits, run=tmp_path / "none")
    one = quick(seed=4, seeds=1).fit(digits, run=tmp_path / "one")
    assert not hasattr(one, "members_")
    for name in ("model.safetensors",):
        assert (tmp_path / "none" / name).read_bytes() == (tmp_path / "one" / name).read_bytes()


def test_an_evaluation_tells_the_mean_over_seeds(digits):
    vae = quick(seeds=3, epochs=1).fit(digits)
    evaluation, each = vae.evaluate(digits[:40], draws=3), [m.evaluate(digits[:40], draws=3) for m in vae.members_]
    assert evaluation.figures == each[0].figures and evaluation.seeds == 3 and each[0].spread == {}
    for name, figure in evaluation.spread.items():
        values = np.array([e[name] for e in each])
        assert figure.value == pytest.approx(values.mean(), rel=1e-12)
        assert figure.error == pytest.approx(values.std(ddof=1) / np.sqrt(3), rel=1e-9)
    assert "3 seeds, of which this model is the first: mean ± standard error over the seeds" in str(evaluation)
    assert evaluation.to_dict()["spread"]["elbo"]["value"] == evaluation.spread["elbo"].value
    assert "spread" not in each[0].to_dict()


def test_several_seeds_are_saved_and_loaded(digits, tmp_path):
    vae = quick(seeds=3, epochs=1).fit(digits, run=tmp_path / "run")
    for folder in (tmp_path / "run", tmp_path / "copy"):
        vae.save(folder)
        loaded = vk.load(folder)
        assert [m.seed for m in loaded.members_] == [0, 1, 2] and loaded.seeds == 3
        for mine, other in zip(loaded.members_, vae.members_):
            np.testing.assert_array_equal(mine.transform(digits[:9]), other.transform(digits[:9]))
        assert loaded.evaluate(digits[:9], draws=2).spread == vae.evaluate(digits[:9], draws=2).spread
    config = json.loads((tmp_path / "copy" / "config.json").read_text())
    config = vk.storage.sealed({**config, "members": ["../run/seed-1"]})
    (tmp_path / "copy" / "config.json").write_text(json.dumps(config))
    with pytest.raises(vk.storage.StorageError, match="as a folder inside it: it is damaged"):
        vk.load(tmp_path / "copy")


def test_several_seeds_go_on_bit_for_bit(digits, tmp_path):
    make = lambda: quick(seeds=2, epochs=4, patience=1)  # noqa: E731
    make().fit(digits, run=tmp_path / "whole")
    with pytest.raises(Killed):
        make().fit(digits, run=tmp_path / "killed", display=After(20, kill))
    make().fit(digits, run=tmp_path / "killed", resume=True)
    for name in ("model.safetensors", "seed-1/model.safetensors"):
        (mine, _), (other, _) = (read_tensors(tmp_path / run / name) for run in ("whole", "killed"))
        assert all(torch.equal(mine[n], other[n]) for n in mine)


def test_a_seed_that_diverges_is_left_out_and_the_first_one_is_not_passed_over(digits, monkeypatch, caplog):
    drawn = Source.randn

    def spoilt(source, shape):
        return drawn(source, shape) * (float("nan") if source.generator.initial_seed() == 5 else 1.0)

    monkeypatch.setattr(Source, "randn", spoilt)
    vae = quick(seed=4, seeds=3, epochs=1, recipe="vae").fit(digits)
    assert "member 1 of 3 diverged: the loss is not finite since step 0" in caplog.text
    assert [m.seed for m in vae.members_] == [4, 6]
    evaluation = vae.evaluate(digits[:20], draws=2)
    assert evaluation.seeds == 2 and "of the seeds, 1 diverged and is left out" in evaluation.notes
    with pytest.raises(Diverged, match=r"of the first seed, 5, has diverged since step 0 \(1 of 2 seeds are well\)"):
        quick(seed=5, seeds=2, epochs=1, recipe="vae").fit(digits)


def test_refitting_with_one_seed_forgets_the_others(digits):
    from sklearn.base import clone

    vae = quick(seeds=2, epochs=1)
    assert clone(vae).seeds == 2 and vae.get_params()["seeds"] == 2
    assert hasattr(vae.fit(digits), "members_")
    assert not hasattr(vae.set_params(seeds=None).fit(digits), "members_")


def test_several_seeds_of_what_cannot_be_stacked(small, caplog, tmp_path):
    vae = quick(recipe="vae", decoder=normed(), seeds=2).fit(small, run=tmp_path)
    assert "2 models are trained one by one" in caplog.text
    lone = quick(recipe="vae", decoder=normed(), seed=1, validation=split(vae, small)[1]).fit(split(vae, small)[0])
    np.testing.assert_array_equal(vae.members_[1].transform(small), lone.transform(small))
    loaded = vk.load(tmp_path, decoder=normed())
    np.testing.assert_array_equal(vae.members_[1].transform(small), loaded.members_[1].transform(small))


# -- wrong calls -----------------------------------------------------------------------------------

X = np.random.default_rng(0).random((20, 4))
WRONG = {
    "an unknown setting": (lambda: vk.sweep(quick(), X, over={"epoch": [1]}), r"'epoch' \(did you mean \"epochs\"\?\)"),
    "a setting of the recipe without its prefix": (
        lambda: vk.sweep(quick(), X, over={"beta": [1]}),
        r"unknown setting 'beta' \(did you mean \"recipe__beta\"\?\)",
    ),
    "an unknown setting of the recipe": (
        lambda: vk.sweep(quick(), X, over={"recipe__betta": [1]}),
        r"did you mean \"recipe__beta\"",
    ),
    "a recipe's setting without a recipe": (
        lambda: vk.sweep(quick(recipe=None), X, over={"recipe__beta": [1]}),
        "need a recipe",
    ),
    "no values": (lambda: vk.sweep(quick(), X, over={"lr": []}), r"lr=\[\]: expected at least one value"),
    "one value, no list": (
        lambda: vk.sweep(quick(), X, over={"lr": 0.1}),
        r"lr=0.1: expected a list of values.*\[0.1\]",
    ),
    "a word, no list": (lambda: vk.sweep(quick(), X, over={"recipe": "vae"}), r"expected a list of values.*\['vae'\]"),
    "a value twice": (lambda: vk.sweep(quick(), X, over={"lr": [0.1, 0.2, 0.1]}), "lr: 0.1 stands twice"),
    "a part twice": (lambda: vk.sweep(quick(), X, over={"objective": [ELBO(2), ELBO(2)]}), "ELBO.* stands twice"),
    "the seed among the settings": (
        lambda: vk.sweep(quick(), X, over={"seed": [1]}),
        r"seed cannot be swept: pass seeds=",
    ),
    "the split among the settings": (
        lambda: vk.sweep(quick(), X, over={"validation": [0.1, 0.2]}),
        "compared on the same held-out rows",
    ),
    "no seeds": (lambda: vk.sweep(quick(), X, seeds=0), "seeds=0: expected a number of seeds, at least 1"),
    "an empty list of seeds": (lambda: vk.sweep(quick(), X, seeds=[]), r"seeds=\[\]: expected at least one seed"),
    "a seed twice": (lambda: vk.sweep(quick(), X, seeds=[1, 2, 1]), "seeds: 1 stands twice"),
    "no learning rate": (lambda: vk.sweep(quick(), X, over={"lr": [0.1, 0.0]}), "positive learning rate"),
    "an unknown recipe": (lambda: vk.sweep(quick(), X, over={"recipe": ["vea"]}), 'did you mean "vae"'),
    "an estimator of no seeds": (
        lambda: quick(seeds=0).fit(X),
        "seeds=0: expected a number of seeds, at least 1, or None",
    ),
    "several seeds that go on from one": (lambda: quick(seeds=2, warm_start=True).fit(X), "drop one"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_calls_say_what_is_expected_and_the_fix(case):
    call, message = WRONG[case]
    with pytest.raises((ValueError, TypeError), match=message):
        call()


# -- the command line ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def file(tmp_path_factory, digits):
    folder = tmp_path_factory.mktemp("data")
    np.save(folder / "x.npy", digits)
    np.save(folder / "test.npy", digits[:40])
    np.save(folder / "gaps.npy", np.full((9, 3), np.nan))
    return folder


OVER = ("--recipe", "beta-vae", "--over", "beta=1,4", "--over", "lr=1e-3,3e-3", "--epochs", "2", "--seeds", "2")


@pytest.fixture(scope="module")
def run(file):
    words = ("--test", file / "test.npy", "--draws", "3", "--json", "-o", file / "sweep")
    code, out, err = call("sweep", file / "x.npy", *OVER, *words)
    assert code == 0, err
    assert "sweeping beta, lr: 8 models of x.npy" in err and "mean of 8: elbo" in err and "evaluating 8 models" in err
    record = json.loads(out, parse_constant=pytest.fail)
    assert record["run"] == str(file / "sweep") and len(record["members"]) == 8
    assert record["on"] == "30 held-out rows, k = 3 draws per row" and "log_likelihood" in record["best"]
    assert "vaekit sweep" in (file / "sweep" / "report.html").read_text("utf-8")
    return file / "sweep"


def test_a_member_serves_every_verb(run, file, tmp_path):
    member = run / "003-beta=1-lr=0.003-seed=1"
    code, out, err = call("evaluate", member, "--draws", "3", "--json")
    assert code == 0 and json.loads(out)["on"] == "test.npy", err
    assert (
        json.loads(out)["figures"]["elbo"]["value"] == vk.load(member).evaluate(np.load(file / "test.npy"), 3)["elbo"]
    )
    assert call("sample", member, "-n", "3", "-o", tmp_path / "s.npy")[0] == 0
    assert call("embed", member, file / "x.npy", "-o", tmp_path / "z.npy")[0] == 0
    assert call("reconstruct", member, "-n", "3", "-o", tmp_path / "r.png")[0] == 0
    code, _, err = call("fit", "--resume", member)
    assert code == 2 and "was trained together with others" in err


def test_a_member_is_judged_on_the_rows_that_the_sweep_held_out(file, tmp_path):
    assert call("sweep", file / "x.npy", *OVER, "--quiet", "-o", tmp_path / "run")[0] == 0
    sweep = json.loads((tmp_path / "run" / "sweep.json").read_text())
    row = sweep["members"][1]
    code, out, _ = call("evaluate", tmp_path / "run" / row["folder"], "--json")
    figures = json.loads(out)["figures"]
    assert code == 0 and json.loads(out)["rows"] == 30 and row["seed"] == 1
    assert figures["distortion"]["value"] == pytest.approx(row["distortion"], rel=0.05)
    held = vk.VAE(seed=0).held_out(np.load(file / "x.npy"))
    assert vk.load(tmp_path / "run" / row["folder"]).evaluate(held)["elbo"] == figures["elbo"]["value"]
    settings = json.loads((tmp_path / "run" / row["folder"] / "run.json").read_text())["settings"]
    assert settings["set"] == ["beta=1.0"] and (settings["lr"], settings["seed"]) == (1e-3, 1)


def test_the_table_is_printed_and_settings_with_commas_are_told_apart(file, tmp_path):
    words = ("--over", "hidden=16/16,8", "--over", "clip=none,1", "--recipe", "vae", "--epochs", "1", "--quiet")
    code, out, err = call("sweep", file / "x.npy", *words, "-o", tmp_path / "run")
    assert code == 0 and err == ""
    lines = out.splitlines()
    assert lines[0] == "4 models: 4 configurations of 1 seed" and lines[1] == "on 30 held-out rows; * the best"
    assert [line.split()[:2] for line in lines[3:7]] == [["16", "None"], ["16", "1"], ["16,8", "None"], ["16,8", "1"]]
    assert lines[-1] == f"sweep: {tmp_path / 'run'}"
    member = next(tmp_path.glob("run/003*"))
    assert vk.load(member).get_params()["recipe__hidden"] == [16, 8] and vk.load(member).clip == 1.0


def test_recipes_are_swept_with_their_settings(file, tmp_path):
    words = ("--over", "beta=1,2", "--over", "recipe=beta-vae,rae", "--epochs", "1", "--quiet", "-o", tmp_path / "run")
    code, out, err = call("sweep", file / "x.npy", *words, "--json")
    assert code == 0, err
    assert [c["settings"]["recipe"] for c in json.loads(out)["configurations"]] == ["beta-vae"] * 2 + ["rae"] * 2
    recipe = vk.load(next(tmp_path.glob("run/003*"))).recipe
    assert recipe.name == "rae" and recipe.settings["beta"] == 2.0


def test_ctrl_c_and_resume_on_the_command_line(file, tmp_path, monkeypatch):
    words = ("sweep", file / "x.npy", *OVER, "--quiet", "-o", tmp_path / "run")

    def press(display, training, *rest):
        if training.taken == 3:
            ctrl_c()

    with monkeypatch.context() as patch:
        patch.setattr(Silent, "step", press)
        patch.setattr(Silent, "epoch", press)
        code, out, _ = call(*words)
    assert code == 130 and out.splitlines()[-1] == f"go on with: vaekit sweep --resume {tmp_path / 'run'}"
    code, out, err = call("sweep", "--resume", tmp_path / "run", "--quiet", "--json")
    assert code == 0 and json.loads(out)["ended"] == "finished", err
    assert call(*words[:-1], tmp_path / "whole")[0] == 0
    assert content(tmp_path / "run") == content(tmp_path / "whole")


def test_fit_with_several_seeds(file, tmp_path):
    words = ("--epochs", "1", "--no-report", "--quiet", "--json", "--seeds", "3")
    code, out, err = call("fit", file / "x.npy", *words, "-o", tmp_path / "run")
    record = json.loads(out)
    assert code == 0 and record["seeds"] == 3 and "elbo" in record["spread"], err
    code, out, err = call("evaluate", tmp_path / "run" / "seed-2", "--json")
    assert code == 0 and json.loads(out)["on"] == "held-out rows of x.npy", err
    code, out, _ = call("evaluate", tmp_path / "run", "--draws", "2")
    assert code == 0 and "3 seeds, of which this model is the first" in out
    assert call("fit", "--resume", tmp_path / "run", "--no-report", "--quiet")[0] == 0
    assert call("fit", "--resume", tmp_path / "run" / "seed-1")[0] == 2
    again = (*words[:-2], "-o", tmp_path / "run", "--overwrite")
    assert call("fit", file / "x.npy", *again)[0] == 0
    assert not (tmp_path / "run" / "seed-1").exists()


WRONG_LINES = {
    "nothing swept": ("sweep {d}/x.npy", "expected DATA and --over NAME=A,B"),
    "no data": ("sweep --over lr=1,2", "expected DATA and --over NAME=A,B"),
    "an unknown setting": ("sweep {d}/x.npy --over latent_dimm=2,3", '(did you mean "latent_dim"?)'),
    "an unknown setting of a recipe": (
        "sweep {d}/x.npy --recipe beta-vae --over betta=2,3",
        '--over betta: unknown setting (did you mean "beta"?)',
    ),
    "a recipe's setting without a recipe": (
        "sweep {d}/x.npy --over beta=2,3",
        "the settings of a recipe need --recipe",
    ),
    "a name twice": ("sweep {d}/x.npy --over lr=1,2 --over lr=3", "--over lr is given twice"),
    "a value twice": ("sweep {d}/x.npy --over lr=0.1,1e-1", "lr: 0.1 stands twice"),
    "a value of another kind": ("sweep {d}/x.npy --over latent_dim=2,x", "--over latent_dim: expected a whole number"),
    "a recipe's value of another kind": (
        "sweep {d}/x.npy --recipe beta-vae --over beta=2,x",
        "--over beta=x: expected a number, got 'x'",
    ),
    "no value": ("sweep {d}/x.npy --over lr=", "--over lr: expected a number above 0, got ''"),
    "the seed": ("sweep {d}/x.npy --over seed=1,2", "--over seed: it is the same for all members"),
    "no name": ("sweep {d}/x.npy --over 1,2", "expected name=value"),
    "settings of one recipe for several": (
        "sweep {d}/x.npy --recipe vae --set hidden=9 --over recipe=vae,rae",
        "--set sets one recipe",
    ),
    "a bound without held-out rows": ("sweep {d}/x.npy --over lr=1,2 --validation 0 --draws 3", "set --validation"),
    "NaN": ("sweep {d}/gaps.npy --over lr=1,2 -o {d}/never", "the data hold a NaN"),
    "resume and a setting": ("sweep --resume {run} --epochs 3", "leave out --epochs"),
    "resume what is no sweep": ("sweep --resume {d}", "it has no run.json"),
    "a folder in use": ("sweep {d}/x.npy --over lr=1,2 -o {run}", "holds a sweep: choose another --output"),
    "a fit into a sweep": ("fit {d}/x.npy -o {run} --overwrite", "holds a sweep: choose another --output"),
    "a fit that goes on with a sweep": ("fit --resume {run}", "is a sweep: go on with `vaekit sweep --resume"),
}


@pytest.mark.parametrize("case", WRONG_LINES)
def test_a_wrong_line_gets_one_line_and_exit_code_2(case, file, run):
    assert_refused(*WRONG_LINES[case], "sweeping ", d=file, run=run)
