"""Warm-ups that take longer than the training."""

from __future__ import annotations

from ..core import Hyper
from .learner import Ensemble
from .loop import Training


def unfinished(training: Training) -> list[str]:
    """A line for every warm-up that does not end within the training."""
    steps, adam = training.epochs * training.batches, training.step.adam
    if not steps:
        return []
    learner = training.learner.pattern if isinstance(training.learner, Ensemble) else training.learner
    ramps = {(type(m).__name__, m.warm_up) for m in learner.modules() if isinstance(m, Hyper)}
    longest = [(f"the warm-up of the objective, {name},", taken) for name, taken in sorted(ramps)]
    longest.append(("the warm-up of the learning rate", adam.warmup))
    return [
        f"{what} takes {taken:,} steps, and the training has {steps:,}: it does not end; train for more epochs or "
        "shorten the warm-up"
        for what, taken in longest
        if taken > steps
    ]
