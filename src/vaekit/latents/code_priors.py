"""Autoregressive priors over the codes of a `Quantised` latent."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from .. import distributions as dist
from ..core import ForwardContext, FunctionalModule
from .priors import Prior


class PixelLayer(nn.Module):
    """A gated layer of two stacks: one reads the rows above and its own, the other its row up to its own place.

    The second also reads what the first says of the row above, so that together they see all that comes before, and
    nothing else (van den Oord et al. 2016, arXiv:1606.05328, figure 2).
    """

    def __init__(self, channels: int, kernel: int):
        super().__init__()
        reach = kernel // 2
        self.around_above, self.before = (reach, reach, reach, 0), (reach, 0, 0, 0)
        self.vertical = nn.Conv2d(channels, 2 * channels, (reach + 1, kernel))
        self.horizontal = nn.Conv2d(channels, 2 * channels, (1, reach + 1))
        self.between = nn.Conv2d(2 * channels, 2 * channels, 1)
        self.out = nn.Conv2d(channels, channels, 1)

    def forward(self, v: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        v = self.vertical(pad(v, self.around_above))
        both = self.horizontal(pad(h, self.before)) + self.between(pad(v, (0, 0, 1, -1)))
        return _gated(v), h + self.out(_gated(both))


def _gated(x: Tensor) -> Tensor:
    a, b = x.chunk(2, 1)
    return torch.tanh(a) * torch.sigmoid(b)


class PixelNetwork(nn.Module):
    """One-hot codes (B, *grid, codes), the grid of one or two dimensions, to logits of each given those before it."""

    def __init__(self, codes: int, channels: int, layers: int, kernel: int):
        super().__init__()
        self.read = nn.Conv2d(codes, channels, 1)
        self.layers = nn.ModuleList(PixelLayer(channels, kernel) for _ in range(layers))
        self.give = nn.Sequential(nn.ReLU(), nn.Conv2d(channels, channels, 1), nn.ReLU(), nn.Conv2d(channels, codes, 1))

    def forward(self, x: Tensor) -> Tensor:
        shape = x.shape
        image = x if x.dim() == 4 else x.unsqueeze(1)
        v = self.read(image.movedim(-1, 1))
        h = pad(v, (1, -1, 0, 0))  # a place does not read its own code
        for layer in self.layers:
            v, h = layer(v, h)
        return self.give(h).movedim(1, -1).reshape(shape)


class CausalBlock(nn.Module):
    """Attention to what comes before, then a dense layer, each added to what it reads in normalised form."""

    mask: Tensor

    def __init__(self, places: int, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.read, self.read_again = nn.LayerNorm(width), nn.LayerNorm(width)
        self.ask, self.say = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.dense = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.register_buffer("mask", torch.full((places, places), -math.inf).triu(1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in self.ask(self.read(x)).chunk(3, -1))
        weights = (q @ k.mT / math.sqrt(q.shape[-1]) + self.mask).softmax(-1)
        x = x + self.say((weights @ v).transpose(1, 2).flatten(2))
        return x + self.dense(self.read_again(x))


class CausalTransformer(nn.Module):
    """One-hot codes (B, *grid, codes) as a sequence to logits of each given those before it."""

    def __init__(self, codes: int, places: int, width: int, layers: int, heads: int):
        super().__init__()
        self.embed = nn.Linear(codes, width)
        self.place = nn.Parameter(0.02 * torch.randn(places, width))
        self.layers = nn.Sequential(*(CausalBlock(places, width, heads) for _ in range(layers)))
        self.give = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, codes))

    def forward(self, x: Tensor) -> Tensor:
        before = pad(self.embed(x.flatten(1, -2)), (0, 0, 1, -1))
        return self.give(self.layers(before + self.place)).reshape(x.shape)


class _OverCodes(Prior):
    """What priors over codes share: a network over the grid, made once the grid is known."""

    over_codes = True
    grid: tuple[int, ...] | None
    codes: int | None

    def forward(self, scope: ForwardContext, above: Tensor | None = None) -> dist.CodeGrid:
        return dist.CodeGrid(FunctionalModule.of(self.network), self.grid, self.codes)


class PixelPrior(_OverCodes):
    """Gated masked convolutions over a map of codes, each code given those above it and before it in its row.

    van den Oord et al. 2016, arXiv:1606.05328 (PixelCNN with two stacks, which leave no blind spot). A sequence is a
    map of one row. grid, codes: settled by the latent.
    """

    def __init__(
        self,
        channels: int = 64,
        layers: int = 6,
        kernel: int = 3,
        grid: tuple[int, ...] | None = None,
        codes: int | None = None,
    ):
        super().__init__()
        if channels < 1 or layers < 1 or kernel < 3 or kernel % 2 == 0:
            raise ValueError(
                f"PixelPrior(channels={channels}, layers={layers}, kernel={kernel}): expected at least one of each and "
                "an odd kernel from 3"
            )
        if grid is not None and len(grid) > 2:
            raise ValueError(f"PixelPrior reads maps (h, w) or sequences of codes, not {grid}: use TransformerPrior()")
        self.channels, self.layers, self.kernel, self.codes = channels, layers, kernel, codes
        self.grid = None if grid is None else tuple(grid)
        self.network = PixelNetwork(codes or 1, channels, layers, kernel)


class TransformerPrior(_OverCodes):
    """A small causal transformer over the codes as a sequence, row by row.

    Vaswani et al. 2017, arXiv:1706.03762, with the normalisation before each layer; over codes: Esser et al. 2021,
    arXiv:2012.09841. grid, codes: settled by the latent.
    """

    def __init__(
        self,
        width: int = 64,
        layers: int = 3,
        heads: int = 4,
        grid: tuple[int, ...] | None = None,
        codes: int | None = None,
    ):
        super().__init__()
        if width < 1 or layers < 1 or heads < 1 or width % heads:
            raise ValueError(
                f"TransformerPrior(width={width}, layers={layers}, heads={heads}): expected at least one of each and a "
                "width that the heads divide"
            )
        self.width, self.layers, self.heads, self.codes = width, layers, heads, codes
        self.grid = None if grid is None else tuple(grid)
        self.network = CausalTransformer(codes or 1, math.prod(self.grid or (1,)), width, layers, heads)
