"""A small frozen classifier of digits, whose last hidden numbers are features to compare samples of digits by."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib import resources

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from safetensors.torch import load as from_bytes
from torch import Tensor, nn

from .samples import Features

SHA256 = "9b470e79e32f1adcb177c135ded018639bda5edeaa4f6ac415beffcbe4ea3b2b"
"""Of the weights. Figures by other weights are other figures."""
NAME = f"vaekit's digit features, sha256 {SHA256[:8]}"
"""What a figure by these features is called after: a "Fréchet distance on" them, never an FID."""
FEATURES = 64
CHUNK = 500


class DigitClassifier(nn.Module):
    """28 x 28 images in [0, 1] -> 64 features -> 10 classes: three convolutions and two dense layers."""

    def __init__(self) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            *(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        )
        self.hidden = nn.Linear(32 * 3 * 3, FEATURES)
        self.classes = nn.Linear(FEATURES, 10)

    def features(self, x: Tensor) -> Tensor:
        """(B, 28, 28) -> (B, 64)."""
        return self.hidden(self.convolutions(x.unsqueeze(1)).flatten(1)).relu()

    def forward(self, x: Tensor) -> Tensor:
        """(B, 28, 28) -> (B, 10), unnormalised log-probabilities."""
        return self.classes(self.features(x))


@cache
def digit_classifier() -> DigitClassifier:
    """The classifier with the weights in the package, trained by `benchmarks/features/train.py` on MNIST's training
    set. Raises ValueError for a file that is not the one of `SHA256`."""
    content = resources.files(__package__).joinpath("digit_features.safetensors").read_bytes()
    if (got := hashlib.sha256(content).hexdigest()) != SHA256:
        raise ValueError(
            f"digit_features.safetensors has SHA-256 {got[:12]}..., expected {SHA256[:12]}...: install vaekit again"
        )
    model = DigitClassifier().eval().requires_grad_(False)
    model.load_state_dict(from_bytes(content))
    return model


def _pixels(images: ArrayLike) -> Tensor:
    """(N, 28, 28) in [0, 1], fp32. Raises ValueError for anything else than digits on black."""
    x = np.asarray(images)
    if x.ndim < 2 or x.size != len(x) * 28 * 28:
        raise ValueError(f"expected images of 28 x 28 grey levels, (N, 28, 28), got {x.shape}: resize them")
    scale = 255.0 if x.dtype == np.uint8 and x.size and x.max() > 1 else 1.0
    pixels = torch.from_numpy(np.ascontiguousarray(x.reshape(-1, 28, 28), dtype=np.float32) / np.float32(scale))
    if not bool(((pixels >= 0) & (pixels <= 1)).all()):
        raise ValueError(f"expected uint8, or floats in [0, 1], got {x.dtype} in [{x.min():g}, {x.max():g}]: rescale")
    return pixels


@torch.no_grad()
def digit_features(images: ArrayLike) -> NDArray:
    """(N, 28, 28), uint8 or in [0, 1] -> (N, 64): features of images of digits.

    They are blind to whatever digits do not differ by, and say nothing of other images.
    """
    classifier = digit_classifier()
    return torch.cat([classifier.features(part) for part in _pixels(images).split(CHUNK)]).numpy()


DIGITS = Features(NAME, digit_features)
"""For `samples.judge(..., features=DIGITS)`."""
