"""What is measured: works, each of groups of contenders that do the same. Ratios are to the first of a group."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Contender:
    """call: `module.function` in contenders/. settings: what it does otherwise than its group."""

    name: str
    environment: str
    call: str
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Group:
    """figure: the one that is compared, see `measure.COLUMNS`. task: what all contenders are told."""

    title: str
    contenders: tuple[Contender, ...]
    task: dict[str, Any] = field(default_factory=dict)
    figure: str = "epoch"


@dataclass(frozen=True)
class Work:
    about: str
    rounds: int
    groups: tuple[Group, ...]


def contender(name: str, environment: str, call: str, **settings: Any) -> Contender:
    return Contender(name, environment, call, settings)


def by_hand(how: str, **settings: Any) -> Contender:
    return contender(f"PyTorch, indexed, {how}", "vaekit", "by_hand.fit", fused=True, **settings)


KIT = contender("vaekit", "vaekit", "kit.fit")
COMPILED = contender("vaekit, compiled", "vaekit", "kit.fit", compile=True)
BF16 = contender("vaekit, bf16", "vaekit", "kit.fit", precision="bf16")
BF16_COMPILED = contender("vaekit, bf16, compiled", "vaekit", "kit.fit", precision="bf16", compile=True)
INDEXED = contender("PyTorch, indexed tensors, fused Adam", "vaekit", "by_hand.fit", fused=True)
INDEXED_COMPILED = by_hand("compiled", compile=True)
LOADER = contender("PyTorch, DataLoader", "vaekit", "by_hand.fit", loader=True)
PYTHAE = contender("Pythae", "pythae", "trainer.fit")
KERAS_TF = contender("Keras 3 on TensorFlow", "keras-tf", "keras_models.fit")
KERAS_TF_16 = contender("Keras 3 on TensorFlow, 16 steps per call", "keras-tf", "keras_models.fit", steps_per_call=16)
KERAS_JAX = contender("Keras 3 on JAX", "keras-jax", "keras_models.fit")
BY_HAND, BY_KERAS = (LOADER, INDEXED, INDEXED_COMPILED), (KERAS_TF, KERAS_TF_16, KERAS_JAX)
SCAN = contender("JAX, an epoch in one scan", "jax", "scan.fit")
FLOOR = contender("floor", "vaekit", "floors.fit")

MLP = dict(model="mlp", data="mnist", cells=784, hidden=[128], latent=2, batch=128, rows=60_000, epochs=2)
WIDE = {**MLP, "hidden": [512, 512], "latent": 20}
CONV = dict(model="conv", data="shapes", latent=10, batch=128, rows=6_400, epochs=2)
IWAE = {**MLP, "hidden": [200, 200], "latent": 50, "activation": "tanh", "k": 50}
SMALL = dict(model="mlp", data="columns", cells=32, hidden=[16], latent=2, batch=64, rows=25_600, epochs=2)
LENGTHS = {1_000: 20, 10_000: 5, 100_000: 2, 1_000_000: 1}
"""Rows -> epochs."""


def members(title: str, task: dict[str, Any]) -> Group:
    contenders = (
        contender("vaekit", "vaekit", "kit.stacked"),
        contender("vaekit, compiled", "vaekit", "kit.stacked", compile=True),
        contender("vaekit, one after another", "vaekit", "kit.one_by_one"),
        FLOOR,
    )
    return Group(title, contenders, {**task, "members": 16})


KIT_SCORES = contender("vaekit", "vaekit", "kit.inference")
SCORERS = (
    KIT_SCORES,
    contender("PyTorch by hand", "vaekit", "by_hand.inference"),
    contender("floor", "vaekit", "floors.inference"),
)


def scoring(title: str, contenders: tuple[Contender, ...] = SCORERS, **settings: Any) -> Group:
    return Group(title, contenders, {**IWAE, "rows": 1_280, "epochs": 1, **settings}, "seconds")


def statement(environment: str, code: str, name: str) -> Contender:
    return contender(name, environment, "imports.statement", statement=code)


IMPORTS = (
    statement("vaekit", "from vaekit import VAE", "vaekit"),
    statement("vaekit", "import vaekit", "vaekit, no name used"),
    statement("vaekit", "import torch", "torch alone"),
    statement("pythae", "from pythae.pipelines import TrainingPipeline", "Pythae"),
    statement("keras-tf", "import keras", "Keras 3 on TensorFlow"),
    statement("keras-jax", "import keras", "Keras 3 on JAX"),
    statement("jax", "import jax.numpy", "JAX"),
)
FIRST_COMPILED = (
    contender("vaekit, compiled for the first time", "vaekit", "kit.fit", compile=True, fresh=True),
    contender("vaekit, compiled before", "vaekit", "kit.fit", compile=True),
)
ONE_STEP = {**MLP, "rows": 128, "epochs": 1, "evaluate": False}

WORKS: dict[str, Work] = {
    "classic": Work(
        "MNIST, 784-128-2-128-784, 60,000 rows, batch 128",
        5,
        (Group("784-128-2", (KIT, COMPILED, PYTHAE, *BY_HAND, *BY_KERAS, SCAN, FLOOR), MLP),),
    ),
    "wide": Work(
        "MNIST, 784-512-512-20 and its mirror image, 60,000 rows, batch 128",
        3,
        (
            Group(
                "784-512-512-20",
                (KIT, COMPILED, BF16, BF16_COMPILED, *BY_HAND[1:], by_hand("bf16", bf16=True), FLOOR),
                WIDE,
            ),
        ),
    ),
    "conv": Work(
        "64 x 64 shapes, four 4x4 convolutions of stride 2 and their mirror image, batch 128; ms per step. Keras on "
        "JAX takes 10 steps an epoch, the others 50",
        3,
        (
            Group(
                "convolutions",
                (
                    KIT,
                    COMPILED,
                    BF16,
                    BF16_COMPILED,
                    INDEXED,
                    by_hand("channels last", channels_last=True),
                    by_hand("channels last, bf16", channels_last=True, bf16=True),
                    KERAS_TF,
                    contender("Keras 3 on JAX", "keras-jax", "keras_models.fit", rows=1_280, evaluate=False),
                    FLOOR,
                ),
                CONV,
                "step_ms",
            ),
        ),
    ),
    "iwae": Work(
        "MNIST, IWAE, k = 50, 784-200-200-50 (tanh), dynamic binarisation, 2,560 rows, batch 128",
        3,
        (
            Group(
                "784-200-200-50, k = 50",
                (KIT, COMPILED, *BY_HAND[1:], FLOOR),
                {**IWAE, "rows": 2_560, "test_rows": 1_000},
            ),
        ),
    ),
    "sweep": Work(
        "16 models at once and one after another; an epoch is one of each model",
        3,
        (
            members("16 x 784-128-2, 12,800 rows, batch 128", {**MLP, "rows": 12_800}),
            members("16 x 32-16-2, 25,600 rows, batch 64", SMALL),
        ),
    ),
    "scaling": Work(
        "MNIST, 784-128-2, by the number of rows (uint8)",
        2,
        tuple(
            Group(f"{rows:,} rows", (KIT, INDEXED, FLOOR), {**MLP, "rows": rows, "epochs": epochs, "evaluate": False})
            for rows, epochs in LENGTHS.items()
        ),
    ),
    "inference": Work(
        "784-200-200-50 (tanh) on MNIST's test images",
        2,
        (
            scoring("score_samples, 1,000 rows x 5,000 draws", verb="score_samples", draws=5_000, test_rows=1_000),
            scoring("score_samples, 10,000 rows x 5,000 draws", (KIT_SCORES,), verb="score_samples", draws=5_000),
            scoring("transform, 10,000 rows", verb="transform"),
            scoring("sample, 10,000 rows", verb="sample"),
        ),
    ),
    "import": Work(
        "what a process waits for before it can build a model",
        7,
        (Group("imports", IMPORTS, {}, "seconds"),),
    ),
    "start": Work(
        "784-128-2: from the start of a process to the end of its first step",
        3,
        (
            Group(
                "to the first step",
                (KIT, *FIRST_COMPILED, PYTHAE, INDEXED, KERAS_TF, KERAS_JAX),
                ONE_STEP,
                "first_step",
            ),
        ),
    ),
}
