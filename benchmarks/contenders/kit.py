"""vaekit, as its documentation has it used."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from measure import Clock, Skipped, seconds_of

import vaekit as vk

from .data import rows

VAE = vk.VAE  # the imports that a user waits for, which vaekit puts off until a name is used


class Marks:
    """A display that tells the clock where training is."""

    def __init__(self, clock: Clock):
        self.clock = clock

    def start(self, training: object) -> None:
        self.clock.begin()

    def step(self, training: object, rows_per_second: float) -> None:
        self.clock.step()

    def epoch(self, training: object, record: dict) -> None:
        self.clock.step()  # `step` is not called where an epoch ends
        self.clock.epoch(record.get("seconds"))

    def stop(self) -> None: ...


def estimator(task: dict, **settings) -> vk.VAE:
    """The model of the task; raises Skipped where this vaekit lacks a setting."""
    settings = {name: task[name] for name in ("precision", "compile") if name in task} | settings
    missing = settings.keys() - VAE().get_params().keys()
    if missing:
        raise Skipped(f"this vaekit has no setting {', '.join(missing)}")
    if task["model"] == "conv":
        settings["encoder"] = vk.networks.ConvEncoder((32, 32, 64, 64), hidden=256)
        settings["decoder"] = vk.networks.ConvDecoder((64, 64, 32, 32), hidden=256)
    else:
        hidden, activation = task["hidden"], task.get("activation", "relu")
        settings["encoder"] = vk.networks.MLP(hidden, activation)
        settings["decoder"] = vk.networks.MLP(hidden[::-1], activation)
    if "k" in task:
        settings["objective"] = vk.objectives.IWAE(task["k"])
        settings["likelihood"] = vk.likelihoods.Bernoulli(binarise="dynamic")
    common = dict(epochs=task["epochs"], batch_size=task["batch"], validation=0)
    return VAE(task["latent"], **common, **settings)


def fit(task: dict, clock: Clock) -> dict:
    with fresh_cache() if task.get("fresh") else nullcontext():
        vae = estimator(task).fit(rows(task), display=Marks(clock))
    figures = {"pace": str(getattr(vae, "pace_", ""))}
    if not task.get("evaluate", True):
        return figures
    scores = vae.evaluate(rows(task, "test"), draws=task.get("k", 1))
    return {**figures, "held_out": scores["log_likelihood" if "k" in task else "elbo"]}


@contextmanager
def fresh_cache() -> Iterator[None]:
    """Compiles as a machine does that has never compiled this model."""
    with TemporaryDirectory() as folder:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = folder
        yield


def stacked(task: dict, clock: Clock) -> None:
    estimator(task, seeds=task["members"]).fit(rows(task), display=Marks(clock))


def one_by_one(task: dict, clock: Clock) -> None:
    """As many models as `stacked` trains: an epoch is one epoch of each."""
    x, clocks = rows(task), []
    for seed in range(task["members"]):
        clocks.append(Clock(clock.started))
        estimator(task, seed=seed).fit(x, display=Marks(clocks[-1]))
    clock.first_step = clocks[0].first_step
    clock.epochs = [tuple(map(sum, zip(*epoch))) for epoch in zip(*(c.epochs for c in clocks))]
    clock.peak_mb = clocks[-1].peak_mb


def inference(task: dict, clock: Clock) -> dict:
    """Seconds of score_samples, transform or sample; the weights, of a short fit, do not matter."""
    vae, x = estimator(task).fit(rows(task)), rows(task, "test")
    if task["verb"] == "score_samples":
        vae.score_samples(x[:10], draws=task["draws"])
        seconds = seconds_of(lambda: vae.score_samples(x, draws=task["draws"]), times=1, warm=False)
    elif task["verb"] == "transform":
        seconds = seconds_of(lambda: vae.transform(x))
    else:
        seconds = seconds_of(lambda: vae.sample(len(x)))
    return {"seconds": seconds}


def export(task: dict, clock: Clock) -> None:
    """Writes the data of all works into a folder."""
    folder = Path(task["folder"])
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    mnist = vk.datasets.mnist()
    shapes = vk.datasets.shapes(generator.choice(737_280, 12_800 + 1_280, replace=False))[0]
    columns = generator.normal(size=(25_600, 4)) @ generator.normal(size=(4, 32)) + generator.normal(size=(25_600, 32))
    for name, parts in {"mnist": mnist, "shapes": (shapes[:12_800], shapes[12_800:])}.items():
        for part, x in zip(("train", "test"), parts):
            np.save(folder / f"{name}-{part}.npy", x)
    np.save(folder / "columns-train.npy", columns.astype(np.float32))
