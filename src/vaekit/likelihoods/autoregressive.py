"""Series whose steps are explained one after the other: a decoder that reads x."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..core import ForwardContext, FunctionalModule, record, static
from ..distributions import Distribution
from ..networks import SequenceDecoder
from .base import Likelihood


def series(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """A row of steps as planes of (T, C): (T,) is one number a step."""
    if len(shape) not in (1, 2, 3):
        raise ValueError(f"Autoregressive(shape={shape}): expected a shape of (T,) or (T, C), T steps of C numbers")
    return {1: (1, *shape, 1), 2: (1, *shape), 3: shape}[len(shape)]


@record
class Autoregression(Distribution):
    """`p(x | z) = prod_t p(x_t | x_<t, z)`; given z and x_<t, the cells of a step are independent.

    given: (B, G), what the decoder makes of z. network: (given, what is before each step) -> parameters of `inner`.
    shape: of a row. known: (B, 1, T, C) or (B, K, T, C), 1 where the network may read a cell; None: it reads all. A
    cell that is hidden from it is explained all the same.
    """

    apart = False

    given: Tensor
    network: FunctionalModule
    inner: FunctionalModule
    shape: tuple[int, ...] = static()
    known: Tensor | None = None

    def _before(self, planes: Tensor, known: Tensor | None) -> Tensor:
        """What each step is told of those before it: which cells are known, and what they hold; nothing at first."""
        known = torch.ones_like(planes) if known is None else known.expand_as(planes)
        told = torch.cat([known, self.inner.module.features(planes, known)], 1)
        return F.pad(told, (0, 0, 1, 0))[:, :, :-1]

    def log_prob(self, x: Tensor) -> Tensor:
        planes = x.reshape(-1, *series(self.shape))
        px = self.inner(self.network(self.given, self._before(planes, self.known)))
        return px.log_prob(planes).reshape(x.shape)

    def _one_by_one(self, pick: Callable[[Distribution], Tensor]) -> Tensor:
        """(B, *shape): every step picked given those picked before it, in T passes of the network."""
        planes = series(self.shape)
        length = planes[1]
        place = torch.arange(length, device=self.given.device)[:, None]
        x = self.given.new_zeros(len(self.given), *planes)
        for t in range(length):
            parameters = self.network(self.given, self._before(x, None)[:, :, : t + 1])
            px = self.inner(F.pad(parameters, (0, 0, 0, length - 1 - t)))
            x = torch.where(place == t, pick(px), x)
        return x.reshape(-1, *self.shape)

    def draw(self, scope: ForwardContext, rows: int | None = None) -> Tensor:
        return self._one_by_one(lambda px: px.draw(scope))

    @property
    def mean(self) -> Tensor:
        """The most probable step after the most probable steps before it: a representative, not the expectation."""
        return self._one_by_one(lambda px: px.mode)

    mode = mean


class Autoregressive(Likelihood):
    """Every step given z and the steps before it, by a `network` over them that the likelihood holds.

    inner: p of the cells of a step. network: a `SequenceDecoder`, whose sizes are settled here. given: how many numbers
    the decoder gives of z, which every step reads. x is (T,), one number a step, or (T, C). dropout: the share of
    steps that are hidden from the network in training, so that it has to read z; they are explained like the others
    (Bowman et al. 2016, arXiv:1511.06349, section 3.2). Missing steps at the end of a row are left out of p(x) exactly;
    a gap before it is read as unknown. A draw takes T passes.
    """

    def __init__(
        self,
        inner: Likelihood,
        network: SequenceDecoder,
        given: int = 64,
        dropout: float = 0.0,
        shape: tuple[int, ...] | None = None,
    ):
        super().__init__(shape)
        self.inner, self.network, self.given, self.dropout = inner, network, given, dropout
        if self.shape is not None:
            planes = series(self.shape)
            self.inner = inner.resolve_shapes(shape=planes)
            told = (planes[0] + self.inner.features_shape[0], *planes[1:])
            self.network = network.resolve_shapes(in_shape=(given,), out_shape=self.inner.in_shape, reads=told)
        self.support, self.density, self.fix = inner.support, inner.density, inner.fix

    @property
    def in_shape(self) -> tuple[int, ...]:
        return (self.given,)

    @property
    def features_shape(self) -> tuple[int, ...]:
        self._known_shape()
        return self.inner.features_shape

    def features(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        planes = series(self._known_shape())
        return self.inner.features(x.reshape(-1, *planes), None if mask is None else mask.reshape(-1, *planes))

    def distribution(self, parameters: Tensor) -> Autoregression:
        return Autoregression(
            parameters, FunctionalModule.of(self.network), FunctionalModule.of(self.inner), self._known_shape()
        )

    def fitted(
        self, px: Autoregression, x: Tensor, mask: Tensor | None, scope: ForwardContext
    ) -> tuple[Autoregression, dict[str, Tensor]]:
        planes = series(px.shape)
        known = None if mask is None else mask.reshape(-1, *planes)
        if self.training and self.dropout > 0:
            kept = scope.rand((len(px.given), 1, planes[1], 1)) >= self.dropout
            known = kept.to(px.given.dtype) if known is None else torch.where(kept, known, 0.0)
        return replace(px, known=known), {}

    def start(self, x: Tensor, mask: Tensor | None = None, shared: Sequence[int] = ()) -> None:
        """Start its own network at the moments of the cells over all steps."""
        planes = series(self._known_shape())
        seen = None if mask is None else mask.reshape(-1, *planes)
        at = self.inner.start(x.reshape(-1, *planes), seen, shared=(1,))
        if at is not None:
            self.network.add_to_output(at)

    def scale_features(self, x: Tensor, mask: Tensor | None = None) -> None:
        planes = series(self._known_shape())
        self.inner.scale_features(x.reshape(-1, *planes), None if mask is None else mask.reshape(-1, *planes))

    def observe(self, x: Tensor, scope: ForwardContext) -> Tensor:
        return self.inner.observe(x, scope)

    def floor(self, x: Tensor, mask: Tensor | None = None) -> Tensor | None:
        return self.inner.floor(x, mask)

    def check(self, x: Any) -> None:
        self.inner.check(x)

    def caveat(self, x: Any, integer: bool) -> str | None:
        return self.inner.caveat(x, integer)
