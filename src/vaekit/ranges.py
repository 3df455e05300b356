"""The ranges of numbers that constructors and recipes take, by the names of their arguments.

An entry "Class.argument" or "recipe.argument" holds for one class or recipe and goes before one of the name alone.
Whole numbers without an entry are at least 1, other numbers are finite and at least 0.
"""

from __future__ import annotations

from .settings import Number, Whole

FINITE = Number()
FROM_0 = Number(0.0, words="a number from 0")
ABOVE_0 = Number(0.0, open_low=True, words="a number above 0")
SHARE = Number(0.0, 1.0, words="a number in [0, 1]")
BELOW_1 = Number(0.0, 1.0, open_high=True, words="a number in [0, 1)")
ABOVE_0_TO_1 = Number(0.0, 1.0, open_low=True, words="a number in (0, 1]")
BETWEEN_0_AND_1 = Number(0.0, 1.0, open_low=True, open_high=True, words="a number between 0 and 1")

WHOLE: dict[str, Whole] = {
    **dict.fromkeys(
        ("bins", "context", "epochs", "flow", "owners", "pretraining", "seed", "seeds", "subsets", "until"),
        Whole(0),
    ),
    **dict.fromkeys(("Processes.rank", "warmup"), Whole(0)),
    "codes": Whole(2),
    "levels": Whole(2),
    **dict.fromkeys(("m2.classes", "count_classes.classes", "gm_vae.clusters", "Categorical.categories"), Whole(2)),
    "AutoregressivePrior.steps": Whole(2),
}
"""Of arguments annotated `int`."""

REAL: dict[str, Number] = {
    **dict.fromkeys(("value", "start", "means", "knots", "scores", "log_scales", "info_vae.alpha"), FINITE),
    **dict.fromkeys(("clip", "concentration", "curvature", "epsilon", "floor", "lr", "maximum_step"), ABOVE_0),
    **dict.fromkeys(("minimum_scale", "rate", "scale", "scales", "step_size", "temperature"), ABOVE_0),
    **dict.fromkeys(("RiemannianMetric.width", "MultiScaleSimilarity.weight", "Perceptual.weight"), ABOVE_0),
    **dict.fromkeys(("ms_ssim.weight", "perceptual.weight"), ABOVE_0),
    **dict.fromkeys(("ramp", "tempering", "share"), ABOVE_0_TO_1),
    **dict.fromkeys(("dropout", "elbo", "ciwae.beta"), SHARE),
    "decay": BELOW_1,
    "WAE.rate": FINITE,
    "delta": BETWEEN_0_AND_1,
}
"""Of arguments annotated `float`."""

NOT_EMPTY = {"channels", "features", "knots", "means", "networks", "parts", "rungs", "widths", "vae_gan.critic"}
NOT_EMPTY |= {f"{recipe}.hidden" for recipe in ("two_level_vamp", "m2", "gm_vae", "count_classes")}
NOT_EMPTY |= {"Ordinal.levels", "FiniteScalar.levels"}
"""Sequences with at least one item."""
SHAPE = "a row's shape of positive sizes, without the batch"
BLOCKS = "a number of blocks, or (size, blocks) from the top down, such as ((1, 2), (4, 4), (7, 2))"
WORDS = {
    "in_shape": SHAPE,
    "inputs_shape": SHAPE,
    "out_shape": SHAPE,
    **dict.fromkeys(("TopDown.rungs", "very_deep.rungs"), BLOCKS),
    "shape": SHAPE,
}
"""What an argument is expected to be, where its rule says it less well."""


def whole_numbers(owner: str, name: str) -> Whole:
    """What a whole number of a class or recipe may be."""
    return WHOLE.get(f"{owner}.{name}") or WHOLE.get(name) or Whole(1)


def numbers(owner: str, name: str) -> Number:
    """What a number of a class or recipe may be."""
    return REAL.get(f"{owner}.{name}") or REAL.get(name) or FROM_0


def words(owner: str, name: str) -> str | None:
    """What an argument is expected to be, in other words than those of its rule."""
    return WORDS.get(f"{owner}.{name}") or WORDS.get(name)


def shortest(owner: str, name: str) -> int:
    """The least length of a sequence."""
    return int(name in NOT_EMPTY or f"{owner}.{name}" in NOT_EMPTY)
