"""Likelihoods of data in [0, 1]."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.special import entr

from .. import distributions
from ..core import ForwardContext
from ..distributions import sum_cells
from .base import DENSITY_OF_INTEGERS, Likelihood, masked, observed
from .moments import moments, stacked

Reads = Literal["logits", "probs"]
Binarise = Literal["dynamic", "threshold"]
STEEPEST = 50.0
"""Largest logit that a continuous Bernoulli starts from."""
SCALED = "pass uint8 images to vaekit.VAE, which scales them, or divide by 255"


def to_logits(parameters: Tensor, reads: str) -> Tensor:
    """Logits as they are; probabilities (of a sigmoid) held in [1e-7, 1 - 1e-7], as Keras does."""
    if reads == "logits":
        return parameters
    wide = parameters.to(torch.promote_types(parameters.dtype, torch.float32))
    return torch.logit(wide, 1e-7)


def reading(likelihood: Likelihood, ending: str | None, fixed: bool) -> Likelihood:
    """The likelihood that reads what a decoder with this last activation gives: probabilities, after a sigmoid.

    Raises ValueError where a decoder ends in an activation whose values are no logits, or a fixed likelihood reads
    logits where it gives probabilities.
    """
    if ending is None or getattr(likelihood, "reads", None) != "logits":
        return likelihood
    name = type(likelihood).__name__
    if ending != "sigmoid":
        raise ValueError(
            f"the decoder ends in {ending} but {name} reads logits, of any size: leave out its last activation, or "
            "pass a likelihood that reads such values, as Gaussian() does"
        )
    if fixed:
        raise ValueError(
            f'the decoder ends in sigmoid but {name} reads logits: pass {name}(reads="probs"), or leave out the sigmoid'
        )
    return type(likelihood)(**{**likelihood.arguments(), "reads": "probs"})


class Bernoulli(Likelihood):
    """`x log p + (1 - x) log(1 - p)` in every cell.

    reads: whether the decoder gives "logits" or "probs". binarise: "dynamic" explains a fresh Bernoulli draw
    of x at each pass (Salakhutdinov & Murray 2008), "threshold" explains x > 1/2; None takes x as it is, and
    on grey levels this is a cross-entropy, not a likelihood.
    """

    support = "unit"
    fix = SCALED

    def __init__(self, reads: Reads = "logits", binarise: Binarise | None = None, shape: tuple[int, ...] | None = None):
        super().__init__(shape)
        self.reads, self.binarise = reads, binarise

    def distribution(self, parameters: Tensor) -> distributions.Bernoulli:
        return distributions.Bernoulli(to_logits(parameters, self.reads))

    def observe(self, x: Tensor, scope: ForwardContext) -> Tensor:
        if self.binarise is None:
            return x
        level = 0.5 if self.binarise == "threshold" else scope.rand(x.shape)
        return (x > level).to(x.dtype)

    def floor(self, x: Tensor, mask: Tensor | None = None) -> Tensor | None:
        """The entropy of the pixels, `-x log x - (1 - x) log(1 - x)` summed, where grey levels are probabilities: drawn
        (dynamic) or weights of the cross-entropy (None). 0 for zeros and ones."""
        return None if self.binarise == "threshold" else sum_cells(masked(entr(x) + entr(1 - x), mask))

    def caveat(self, x: Any, integer: bool) -> str | None:
        seen = observed(x)
        if self.binarise is not None or not bool(((seen != 0) & (seen != 1)).any()):
            return None
        return (
            "cross-entropy on grey levels is not a likelihood: its value depends on the grey levels "
            'and compares only with the same loss on the same data (binarise="dynamic" makes it one)'
        )


class ContinuousBernoulli(Likelihood):
    """The normalised density on [0, 1] whose logarithm is the cross-entropy plus a constant of p.

    Loaiza-Ganem & Cunningham 2019, arXiv:1907.06845. reads: as for `Bernoulli`.
    """

    density = True

    support = "unit"
    fix = SCALED

    def __init__(self, reads: Reads = "logits", shape: tuple[int, ...] | None = None):
        super().__init__(shape)
        self.reads = reads

    def start(self, x: Tensor, mask: Tensor | None = None, shared: Sequence[int] = ()) -> Tensor | None:
        """Start at the mean of each cell, which a bisection finds the logits of."""
        if self.reads != "logits":
            return None
        mean = moments(x, mask, shared)[0]
        low, high = torch.full_like(mean, -STEEPEST), torch.full_like(mean, STEEPEST)
        for _ in range(40):
            middle = (low + high) / 2
            below = distributions.ContinuousBernoulli(middle).mean < mean
            low, high = torch.where(below, middle, low), torch.where(below, high, middle)
        return stacked((low + high) / 2)

    def distribution(self, parameters: Tensor) -> distributions.ContinuousBernoulli:
        return distributions.ContinuousBernoulli(to_logits(parameters, self.reads))

    def caveat(self, x: Any, integer: bool) -> str | None:
        return DENSITY_OF_INTEGERS.format("ContinuousBernoulli") if integer else None
