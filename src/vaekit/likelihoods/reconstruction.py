"""Losses of reconstruction that belong to no likelihood: how alike two images are, or what a network sees in them."""

from __future__ import annotations

import math
from typing import Any, Self

import torch
from torch import Tensor, nn

from .. import distributions
from ..core import FunctionalModule
from ..distributions.similarity import SCALE_WEIGHTS, multi_scale_similarity
from ..networks import as_map
from .base import Likelihood
from .unit import SCALED, Reads


class ReconstructionLoss(Likelihood):
    """`log p(x | z)` replaced by `-weight * cells * loss`: rows in [0, 1] that are judged whole.

    It stands where a likelihood stands, so that every objective takes it, but there is no p(x | z): what is called
    ELBO is minus the loss of training, and no bound of anything. Draws are the images themselves. A row is one cell:
    rows with missing cells are refused.
    """

    support = "unit"
    fix = SCALED

    def __init__(self, weight: float, reads: Reads, shape: tuple[int, ...] | None):
        super().__init__(shape)
        self.weight, self.reads = weight, reads

    def bound(self) -> FunctionalModule | None:
        """The network that `loss` is given besides the images."""
        return None

    def loss(self, got: Tensor, x: Tensor, network: FunctionalModule | None) -> Tensor:
        """(B,): 0 where two images are the same to this judge."""
        raise NotImplementedError

    def _cost(self, got: Tensor, x: Tensor, network: FunctionalModule | None) -> Tensor:
        return self.weight * math.prod(self._known_shape()) * self.loss(got, x, network)

    def distribution(self, parameters: Tensor) -> distributions.Judged:
        image = parameters if self.reads == "probs" else parameters.sigmoid()
        return distributions.Judged(image, self._cost, self.bound())

    def caveat(self, x: Any, integer: bool) -> str | None:
        return (
            f"{type(self).__name__} is a loss, not a likelihood: what is called elbo is minus the loss of training, "
            "no bound of log p(x), and compares only with the same loss on the same data"
        )


class MultiScaleSimilarity(ReconstructionLoss):
    """`weight * cells * (1 - MS-SSIM(x, x'))`, x' the decoder's image.

    Snell et al. 2017, arXiv:1511.06409; MS-SSIM: Wang et al. 2003, doi:10.1109/ACSSC.2003.1292216, over the channels'
    mean. window: pixels a side of the Gaussian window (deviation 1.5), odd; None: 11, or the largest odd number that
    fits smaller images. scales: how often, less one, the image is halved; None: as often as the window still fits,
    five scales at most, whose weights are brought to the sum 1. Raises ValueError, once the shape is known, where the
    window does not fit. reads: as for `Bernoulli`.
    """

    def __init__(
        self,
        weight: float = 1.0,
        scales: int | None = None,
        window: int | None = None,
        reads: Reads = "logits",
        shape: tuple[int, ...] | None = None,
    ):
        super().__init__(weight, reads, shape)
        if scales is not None and not 1 <= scales <= len(SCALE_WEIGHTS):
            raise ValueError(f"MultiScaleSimilarity(scales={scales}): expected 1 to {len(SCALE_WEIGHTS)}, or None")
        if window is not None and (window < 1 or window % 2 == 0):
            raise ValueError(f"MultiScaleSimilarity(window={window}): expected an odd number of pixels, or None")
        self.scales, self.window = scales, window
        if self.shape is not None:
            self._scales, self._window = self._fitted(self.shape)

    def _fitted(self, shape: tuple[int, ...]) -> tuple[int, int]:
        """How many scales, and the side of the window, for rows of this shape."""
        if len(shape) != 3:
            raise ValueError(f"MultiScaleSimilarity compares images (C, H, W), got rows of {shape}: reshape them")
        side = min(shape[1:])
        window = self.window or min(11, side - 1 + side % 2)
        fitting = sum(side >> j >= window for j in range(len(SCALE_WEIGHTS)))
        scales = self.scales or fitting
        if fitting == 0 or scales > fitting:
            raise ValueError(
                f"MultiScaleSimilarity(scales={self.scales}, window={self.window}): images of {shape[1]} x {shape[2]} "
                f"have {fitting} scales of at least {window} pixels a side: ask for fewer scales or a smaller window"
            )
        return scales, window

    def loss(self, got: Tensor, x: Tensor, network: FunctionalModule | None = None) -> Tensor:
        return 1 - multi_scale_similarity(got, x, self._scales, self._window)


class Perceptual(ReconstructionLoss):
    """`weight * cells * mean |f(x) - f(x')|^2 / 2` of what a network f sees in x and in x', the decoder's image.

    Hou et al. 2017, arXiv:1610.00291. network: any `nn.Module` from images (B, *X) to a tensor, or to several of them,
    such as the maps of several layers, whose means are added; its weights are frozen here and it stays in evaluation
    mode. They take a network trained on photographs; one of random weights sees much the same (He et al. 2016,
    arXiv:1606.04801), and needs no download: a `ConvEncoder` with its `out_shape` open gives its last map. reads: as
    for `Bernoulli`.
    """

    def __init__(
        self,
        network: nn.Module,
        weight: float = 1.0,
        reads: Reads = "logits",
        shape: tuple[int, ...] | None = None,
    ):
        super().__init__(weight, reads, shape)
        self.network = network.requires_grad_(False).eval()

    def resolve_shapes(self, *, shape: tuple[int, ...] | None = None, **sizes: object) -> Self:
        network = self.network if shape is None else as_map(self.network, shape)
        if network is self.network:
            return super().resolve_shapes(shape=shape)
        return type(self)(network, self.weight, self.reads, self.shape).resolve_shapes(shape=shape)

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        self.network.eval()
        return self

    def bound(self) -> FunctionalModule:
        return FunctionalModule.of(self.network)

    def loss(self, got: Tensor, x: Tensor, network: FunctionalModule | None = None) -> Tensor:
        maps, wanted = (self._maps((network or self.bound())(image)) for image in (got, x))
        return 0.5 * sum((a - b).square().flatten(1).mean(1) for a, b in zip(maps, wanted))

    @staticmethod
    def _maps(seen: Any) -> tuple[Tensor, ...]:
        return (seen,) if isinstance(seen, torch.Tensor) else tuple(seen)
