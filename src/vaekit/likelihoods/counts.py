"""Likelihoods of counts; the encoder reads `log(1 + x)`."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .. import distributions
from .base import Likelihood, chosen, masked


class Counts(Likelihood):
    """What the likelihoods of counts share."""

    support = "count"
    fix = "pass raw counts, neither scaled nor log-transformed, or use Gaussian"

    def features(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return masked(x, mask).log1p()


class Poisson(Counts):
    """Counts whose variance is their mean; the decoder gives log rates."""

    def __init__(self, shape: tuple[int, ...] | None = None):
        super().__init__(shape)

    def distribution(self, parameters: Tensor) -> distributions.Poisson:
        return distributions.Poisson(parameters)


class Multinomial(Counts):
    """The words of a document, given how many they are; the decoder gives the words' logits.

    The document is one cell: a masked word's count is unknown, and the others are scored given their own sum. total:
    the words of a document that is drawn, or whose mean is told.
    """

    def __init__(self, total: int = 100, shape: tuple[int, ...] | None = None):
        super().__init__(shape)
        if not isinstance(total, int) or total < 1:
            raise ValueError(f"Multinomial(total={total!r}): expected a whole number of words, at least 1")
        self.total = total

    def distribution(self, parameters: Tensor) -> distributions.Multinomial:
        return distributions.Multinomial(parameters, self.total)


class NegativeBinomial(Counts):
    """Counts of variance `mu + mu^2 / theta`; the decoder gives log mu.

    dispersion: log theta is "shared" (one learned number), "per_dimension" (a learned one per cell of x) or
    "per_output" (given by the decoder, after the log means). Learned ones start at 0.
    """

    def __init__(self, dispersion: str = "per_dimension", shape: tuple[int, ...] | None = None):
        super().__init__(shape)
        self.dispersion = chosen(self, "dispersion", dispersion, ("shared", "per_dimension", "per_output"))
        if dispersion == "shared":
            self.log_theta = nn.Parameter(torch.zeros(()))
        elif dispersion == "per_dimension" and self.shape is not None:
            self.log_theta = nn.Parameter(torch.zeros(self.shape))

    @property
    def per_cell(self) -> int:
        return 2 if self.dispersion == "per_output" else 1

    def distribution(self, parameters: Tensor) -> distributions.NegativeBinomial:
        if self.dispersion == "per_output":
            return distributions.NegativeBinomial(*parameters.chunk(2, 1))
        return distributions.NegativeBinomial(parameters, self.log_theta.expand_as(parameters))
