"""A very deep hierarchy: codes that are maps, of growing size, along one path from the top down."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..core import Component, ForwardContext, FunctionalModule, LatentSample
from ..distributions import Normal, kl
from ..networks.network import Activation, LowPrecision, activation
from .latent import AbstractLatent

Size = tuple[int, int]
Rungs = tuple[tuple[Size, int], ...]


class Pointwise(nn.Linear):
    """A convolution of 1x1 pixels, as the product of matrices that it is: on small maps that takes half the time."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


class Bottleneck(LowPrecision):
    """`(activation, convolution)` four times, of 1x1, 3x3, 3x3 and 1x1 pixels: Child 2021, figure 3.

    The weights begin as He et al. 2015 have them, so that four layers pass on what they read. kernel: 1 where a map is
    too small for 3x3. scale: of the last layer's weights; 0 makes it give zeros at first.
    """

    def __init__(self, n_in: int, between: int, n_out: int, name: str, kernel: int, scale: float):
        super().__init__()
        layers: list[nn.Module] = []
        for channels, given, size in ((n_in, between, 1), *[(between, between, kernel)] * 2, (between, n_out, 1)):
            convolution = (
                Pointwise(channels, given) if size == 1 else nn.Conv2d(channels, given, size, padding=size // 2)
            )
            layers += [activation(name), convolution]
        self.layers = nn.Sequential(*layers)
        with torch.no_grad():
            for layer in layers[1::2]:
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                layer.bias.zero_()
            layers[-1].weight.mul_(scale)

    def forward(self, x: Tensor) -> Tensor:
        return self.through(self.layers, x)


FARTHEST, WIDEST = 5.0, 1.0
"""Bounds of |mu| and of log sigma, of q and p."""
SHARPEST_Q, SHARPEST_P = -4.0, -2.0
"""Lower bounds of log sigma: p need not be sharp, since the network chooses the scale of its codes."""


def normal(parameters: Tensor, sharpest: float) -> Normal:
    """Maps of mu and log sigma as a normal of flat codes, `mu = 5 tanh(a / 5)` and log sigma within (sharpest, 1).

    As in Vahdat & Kautz 2020, arXiv:2007.03898, who bound both by 5 tanh(a / 5). KL(q || p) of a number is then at most
    3,000 nats. With log sigma of p down to -5 it reaches 10^8: one step of the optimiser that moves all numbers of q
    at once then left a gradient of 10^7, and the training did not recover (docs/experiments.md).
    """
    loc, log_scale = (t.flatten(1) for t in parameters.chunk(2, 1))
    side = torch.where(log_scale > 0, WIDEST, sharpest)
    return Normal(FARTHEST * torch.tanh(loc / FARTHEST), (side * torch.tanh(log_scale / side)).exp())


class Block(nn.Module):
    """One code of a `TopDown`: reads its state h (B, width, *size) and adds to it."""

    def __init__(self, size: Size, channels: int, width: int, bottleneck: int, name: str, scale: float):
        super().__init__()
        self.size, self.code_shape = size, (channels, *size)

        def network(n_in: int, n_out: int, scale: float) -> Bottleneck:
            return Bottleneck(n_in, bottleneck, n_out, name, kernel_of(size), scale)

        self.prior = network(width, 2 * channels + width, 0.0)
        self.posterior = network(2 * width, 2 * channels, 1.0)
        self.code = Pointwise(channels, width)
        self.residual = network(width, width, scale)
        with torch.no_grad():
            self.code.weight.mul_(scale)

    def before(self, h: Tensor) -> tuple[Tensor, Normal]:
        """h as the prior's network leaves it, and p(z | h)."""
        channels = self.code_shape[0]
        parameters, features = self.prior(h).split([2 * channels, h.shape[1]], 1)
        return h + features, normal(parameters, SHARPEST_P)

    def q(self, h: Tensor, evidence: Tensor) -> Normal:
        """q(z | h, evidence)."""
        return normal(self.posterior(torch.cat([h, evidence], 1)), SHARPEST_Q)

    def after(self, h: Tensor, z: Tensor) -> Tensor:
        """h once z is known."""
        h = h + self.code(z.reshape(-1, *self.code_shape))
        return h + self.residual(h)


class TopDown(AbstractLatent):
    """A very deep hierarchy of normal codes: `p(z) = prod_l p(z_l | h_l)`, `q(z | x) = prod_l q(z_l | h_l, e_l)`.

    Child 2021, arXiv:2011.10650, figure 3. A state h, a map of `width` channels, goes from the smallest size to the
    largest. Each block reads h, which holds all codes above: it gives p, and q from h and the evidence e of its size;
    adds its code to h, and a residual network; between sizes h is enlarged by nearest neighbours. e comes from the
    bottom up: residual networks, half as many as there are blocks, read the encoder's map (width, *largest size), which
    is averaged down from size to size. p begins at N(0, I), and residual networks begin at 1 / sqrt(blocks) of their
    scale. q is not told relative to p (as Vahdat & Kautz 2020, arXiv:2007.03898, have it): both then shrink together at
    no cost in the rate, which is the easiest way to get rid of the noise, and codes stay unused (docs/experiments.md).

    rungs: (size, blocks) from the top down, a size being n for n x n or (height, width), the last one that of the
    encoder's map; a number: so many blocks at each size from there down, halving to a single pixel, which without maps
    makes a dense hierarchy. channels: of each code. bottleneck: channels inside the networks, by default width / 2 (a
    quarter, as in the paper, is too few where maps are narrow: docs/experiments.md).
    above: numbers of a context. z: the codes, flat, side by side, the top first; kl: one number per block. The decoder
    reads the last h, (width, *largest size). Raises ValueError for sizes that do not grow.
    """

    entangled = True  # h, which q reads, is made by weights of p

    def __init__(
        self,
        rungs: int | Sequence[tuple[int | Size, int]] = 2,
        channels: int = 8,
        width: int = 64,
        bottleneck: int | None = None,
        activation: Activation = "silu",
        above: int | None = None,
    ):
        super().__init__()
        self.rungs = rungs if isinstance(rungs, int) else schedule(rungs)
        self.channels, self.width, self.activation, self.above = channels, width, activation, above
        self.bottleneck = max(1, width // 2) if bottleneck is None else bottleneck
        self.schedule: Rungs = (((1, 1), self.rungs),) if isinstance(self.rungs, int) else self.rungs
        depth = sum(count for _, count in self.schedule)
        if min(channels, width, self.bottleneck, depth) < 1:
            raise ValueError(
                f"TopDown(rungs={rungs}, channels={channels}, width={width}, bottleneck={bottleneck}): expected at "
                "least one block, and positive numbers of channels"
            )
        scale = 1 / math.sqrt(depth)
        self.blocks = nn.ModuleList(
            Block(size, channels, width, self.bottleneck, activation, scale)
            for size, count in self.schedule
            for _ in range(count)
        )
        self.bottom_up = nn.ModuleList(
            nn.ModuleList(
                Bottleneck(width, self.bottleneck, width, activation, kernel_of(size), scale)
                for _ in range(-(-count // 2))
            )
            for size, count in self.schedule
        )
        self.constants = nn.ParameterList(torch.zeros(width, *size) for size, _ in self.schedule)
        self.context = None if above is None else nn.Linear(above, width)

    @property
    def sizes(self) -> list[int]:
        """Numbers in each code."""
        return [math.prod(block.code_shape) for block in self.blocks]

    @property
    def shape(self) -> tuple[int, ...]:
        return (sum(self.sizes),)

    @property
    def evidence_shape(self) -> tuple[int, ...]:
        return (self.width, *self.schedule[-1][0])

    emitted_shape = evidence_shape

    def resolve_shapes(self, *, above: int | None = None, map_size: Size | None = None, **sizes: object) -> Self:
        """A number of blocks becomes a schedule for the encoder's map, where it has one."""
        if isinstance(self.rungs, int) and map_size is not None:
            return type(self)(**{**self.arguments(), "rungs": halvings(map_size, self.rungs)}).resolve_shapes(
                above=above
            )
        return Component.resolve_shapes(self, above=above)

    def _maps(self, evidence: Tensor) -> dict[Size, Tensor]:
        """What the evidence says at every size."""
        found: dict[Size, Tensor] = {}
        for (size, _), networks in zip(reversed(self.schedule), reversed(self.bottom_up)):
            evidence = resized(evidence, size)
            for network in networks:
                evidence = evidence + network(evidence)
            found[size] = evidence
        return found

    def _descend(
        self, rows: int, above: Tensor | None, code: Callable[[Block, Tensor, Normal], Tensor]
    ) -> tuple[Tensor, list[Tensor], list[Normal]]:
        """The path from the top down, each code chosen by `code(block, h, p)`: the last h, all codes, all p."""
        constants = iter(self.constants)
        h = next(constants).expand(rows, -1, -1, -1)
        if self.context is not None:
            h = h + self.context(above)[..., None, None]
        codes, priors = [], []
        for block in self.blocks:
            if block.size != tuple(h.shape[2:]):
                h = resized(h, block.size) + next(constants)
            onward, p = block.before(h)
            codes.append(code(block, h, p))
            priors.append(p)
            h = block.after(onward, codes[-1])
        return h, codes, priors

    def _given(self, z: Tensor, above: Tensor | None) -> tuple[Tensor, list[Tensor], list[Normal]]:
        codes = iter(z.split(self.sizes, 1))
        return self._descend(len(z), above, lambda block, h, p: next(codes))

    def _posteriors(
        self, evidence: Tensor, above: Tensor | None, code: Callable[[Normal], Tensor]
    ) -> tuple[Tensor, list[Tensor], list[Normal], list[Normal]]:
        maps, posteriors = self._maps(evidence), []

        def choose(block: Block, h: Tensor, p: Normal) -> Tensor:
            posteriors.append(block.q(h, maps[block.size]))
            return code(posteriors[-1])

        return *self._descend(len(evidence), above, choose), posteriors

    def forward(self, evidence: Tensor, z: Tensor, above: Tensor | None = None) -> Tensor:
        """(B,), nats: log q(z | evidence, above)."""
        codes = iter(z.split(self.sizes, 1))
        _, codes, _, posteriors = self._posteriors(evidence, above, lambda q: next(codes))
        return sum(q.log_density(c) for q, c in zip(posteriors, codes))

    def infer(
        self, evidence: Tensor, scope: ForwardContext, above: Tensor | None = None, held: Tensor | None = None
    ) -> LatentSample:
        h, codes, priors, posteriors = self._posteriors(evidence, above, lambda q: q.draw(scope))
        z = torch.cat(codes, 1)
        if held is None:
            log_q = sum(q.log_density(c) for q, c in zip(posteriors, codes))
        else:
            log_q = FunctionalModule.of(self).held()(held, z, above)
        log_p = sum(p.log_density(c) for p, c in zip(priors, codes))
        rates = [kl(q, p).sum(1) for q, p in zip(posteriors, priors)]
        return LatentSample(z, log_p - log_q, torch.stack(rates, 1), emitted=h)

    def generate(self, rows: int, scope: ForwardContext, above: Tensor | None = None) -> Tensor:
        return torch.cat(self._descend(rows, above, lambda block, h, p: p.draw(scope))[1], 1)

    def log_prior(self, z: Tensor, scope: ForwardContext, above: Tensor | None = None) -> Tensor:
        _, codes, priors = self._given(z, above)
        return sum(p.log_density(c) for p, c in zip(priors, codes))

    def emit(self, z: Tensor, above: Tensor | None = None) -> Tensor:
        return self._given(z, above)[0]

    def generative(self) -> list[str]:
        own = [name for name, _ in self.named_parameters()]
        return [name for name in own if not name.startswith("bottom_up.") and ".posterior." not in name]


def kernel_of(size: Size) -> int:
    """3 where a map has neighbours on all sides, as in the paper; on smaller ones it would read padding."""
    return 3 if min(size) > 2 else 1


def resized(h: Tensor, size: Size) -> Tensor:
    """A map of another size: the nearest pixels where it grows, means where it shrinks."""
    if tuple(h.shape[-2:]) == size:
        return h
    if h.shape[-1] * h.shape[-2] < size[0] * size[1]:
        return F.interpolate(h, size, mode="nearest")
    return F.adaptive_avg_pool2d(h, size)


def halvings(size: Size, blocks: int) -> Rungs:
    """As many blocks at every size from a single pixel up to this one, each half of the next."""
    sizes = [size]
    while sizes[-1] != (1, 1):
        sizes.append((max(1, sizes[-1][0] // 2), max(1, sizes[-1][1] // 2)))
    return tuple((s, blocks) for s in reversed(sizes))


def schedule(rungs: Sequence[tuple[int | Size, int]]) -> Rungs:
    """`rungs` with every size as (height, width). Raises ValueError where they are no growing sizes with blocks."""
    told = "expected (size, blocks) from the top down, sizes that grow and at least one block at each"
    try:
        found = tuple(((s, s) if isinstance(s, int) else (int(s[0]), int(s[1])), int(n)) for s, n in rungs)
    except (TypeError, IndexError, ValueError):
        raise ValueError(f"TopDown(rungs={rungs}): {told}, such as ((1, 2), (4, 4), (7, 2))") from None
    growing = all(a[0] <= b[0] and a[1] <= b[1] and a != b for (a, _), (b, _) in pairwise(found))
    if not found or not growing or any(min(s) < 1 or n < 1 for s, n in found):
        raise ValueError(f"TopDown(rungs={rungs}): {told}")
    return found
