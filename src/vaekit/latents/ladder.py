"""Hierarchies: several latent variables, each given those above it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Self

import torch
from torch import Tensor, nn

from ..core import Component, ForwardContext, FunctionalModule, LatentSample, prefixed
from ..networks.network import LowPrecision
from .latent import AbstractLatent, Ratio


def pairs(read: Callable[[Tensor, Tensor], Tensor], inputs: Tensor, above: Tensor) -> Tensor:
    """`read` on every pair of K inputs and B rows of what is above: (B, K, ...)."""
    rows, count = len(above), len(inputs)
    left = inputs.expand(rows, *inputs.shape).flatten(0, 1)
    right = above.unsqueeze(1).expand(rows, count, *above.shape[1:]).flatten(0, 1)
    return read(left, right).unflatten(0, (rows, count))


class LadderLevel(AbstractLatent, LowPrecision):
    """A latent with a network of its own that reads the evidence and the codes above.

    The network gives the evidence of the latent inside: `infer` is `latent.infer(network([evidence, above]))`.
    """

    def __init__(self, latent: AbstractLatent, network: nn.Module):
        super().__init__()
        if latent.evidence_shape != (latent.evidence_shape[0],):
            raise ValueError(
                f"LadderLevel reads flat evidence but its latent reads {latent.evidence_shape}: use flat positions"
            )
        self.latent, self.network = latent, network

    @property
    def shape(self) -> tuple[int, ...]:
        return self.latent.shape

    @property
    def ratio(self) -> Ratio:
        return self.latent.ratio

    @property
    def own_prior(self) -> str | None:
        inner = self.latent.own_prior
        return None if inner is None else f"latent.{inner}"

    @property
    def classes(self) -> int | None:
        return self.latent.classes

    @property
    def labelled(self) -> bool:
        return self.latent.labelled

    @property
    def space(self) -> str:
        return self.latent.space

    @property
    def hard(self) -> bool | None:
        return self.latent.hard

    def resolve_shapes(
        self,
        *,
        inputs_shape: tuple[int, ...] | None = None,
        above: int | None = None,
        width: int | None = None,
        **sizes: object,
    ) -> Self:
        latent = self.latent.resolve_shapes(inputs_shape=inputs_shape, above=above)
        network = self.network
        if isinstance(network, Component) and width is not None:
            network = network.resolve_shapes(in_shape=(width + (above or 0),), out_shape=latent.evidence_shape)
        return self if latent is self.latent and network is self.network else type(self)(latent, network)

    def _read(self, network: Callable[[Tensor], Tensor], evidence: Tensor, above: Tensor | None) -> Tensor:
        return self.through(network, evidence if above is None else torch.cat([evidence, above], 1))

    def _scope(self, scope: ForwardContext, above: Tensor | None) -> ForwardContext:
        def encode(inputs: Tensor) -> Tensor:
            evidence = scope.encode(inputs)
            if above is None:
                return self.through(self.network, evidence)
            if evidence.dim() == 3:  # (B, K, width): read with each row's context already
                given = above.unsqueeze(1).expand(-1, evidence.shape[1], -1)
                return self._read(self.network, evidence.flatten(0, 1), given.flatten(0, 1)).unflatten(
                    0, evidence.shape[:2]
                )
            return pairs(lambda e, a: self._read(self.network, e, a), evidence, above)

        return replace(scope, encode=encode)

    def infer(
        self, evidence: Tensor, scope: ForwardContext, above: Tensor | None = None, held: Tensor | None = None
    ) -> LatentSample:
        if held is not None:
            # What is above stays live: the chain q(z2) q(z1 | z2) is differentiated through z2, not through weights.
            held = self._read(FunctionalModule.of(self.network).held(), held, above)
        draw = self.latent.infer(self._read(self.network, evidence, above), self._scope(scope, above), above, held)
        return replace(draw, updates=prefixed("latent", draw.updates))

    def generate(self, rows: int, scope: ForwardContext, above: Tensor | None = None) -> Tensor:
        return self.latent.generate(rows, self._scope(scope, above), above)

    def log_prior(self, z: Tensor, scope: ForwardContext, above: Tensor | None = None) -> Tensor:
        return self.latent.log_prior(z, self._scope(scope, above), above)

    def prepare(self, inputs: Tensor, evidence: Tensor, scope: ForwardContext, above: Tensor | None = None) -> None:
        self.latent.prepare(inputs, self._read(self.network, evidence, above), self._scope(scope, above), above)

    def generative(self) -> list[str]:
        return list(prefixed("latent", dict.fromkeys(self.latent.generative())))


class Ladder(AbstractLatent):
    """A top-down hierarchy: `p(z) = prod_l p(z_l | z_above)`, `q(z | x) = prod_l q(z_l | x, z_above)`.

    Sønderby et al. 2016, arXiv:1602.02282. rungs: from the top down. width: the encoder's output, read by every
    rung. z: the codes of all rungs side by side, the top first; kl: one number per rung.
    """

    def __init__(self, rungs: Sequence[LadderLevel], width: int = 128):
        super().__init__()
        if not rungs:
            raise ValueError("Ladder([]): expected at least one rung")
        if sum(rung.labelled for rung in rungs) > 1:
            raise ValueError("Ladder takes one Labelled rung: a row has one label")
        self.rungs, self.width = nn.ModuleList(rungs), width

    @property
    def sizes(self) -> list[int]:
        return [r.shape[0] for r in self.rungs]

    @property
    def shape(self) -> tuple[int, ...]:
        return (sum(self.sizes),)

    @property
    def evidence_shape(self) -> tuple[int, ...]:
        return (self.width,)

    @property
    def own_prior(self) -> str | None:
        """The top rung's: the others stand below codes."""
        top = self.rungs[0].own_prior
        return None if top is None else f"rungs.0.{top}"

    @property
    def ratio(self) -> Ratio:
        return max((r.ratio for r in self.rungs), key=["exact", "bound", "none"].index)

    @property
    def _told(self) -> LadderLevel | None:
        """The rung whose classes are the hierarchy's: the labelled one, else the first that has any."""
        return next((r for r in self.rungs if r.labelled), next((r for r in self.rungs if r.classes), None))

    @property
    def classes(self) -> int | None:
        return None if self._told is None else self._told.classes

    @property
    def labelled(self) -> bool:
        return any(r.labelled for r in self.rungs)

    @property
    def space(self) -> str:
        """Of all rungs; of the first that is not "real", where they differ."""
        return next((r.space for r in self.rungs if r.space != "real"), "real")

    @property
    def hard(self) -> bool | None:
        kinds = {r.hard for r in self.rungs}
        return kinds.pop() if len(kinds) == 1 else None

    def resolve_shapes(
        self, *, inputs_shape: tuple[int, ...] | None = None, above: int | None = None, **sizes: object
    ) -> Self:
        rungs = []
        for rung in self.rungs:
            rungs.append(rung.resolve_shapes(inputs_shape=inputs_shape, above=above, width=self.width))
            above = (above or 0) + rung.shape[0]
        return self if all(a is b for a, b in zip(rungs, self.rungs)) else type(self)(rungs, self.width)

    def infer(
        self, evidence: Tensor, scope: ForwardContext, above: Tensor | None = None, held: Tensor | None = None
    ) -> LatentSample:
        draws: list[LatentSample] = []
        for rung in self.rungs:
            draws.append(rung.infer(evidence, scope, above, held))
            above = below(above, draws[-1].z)
        closed, ratios, densities = [d.kl for d in draws], [d.log_ratio for d in draws], [d.log_q for d in draws]
        told = [d.classes for d, rung in zip(draws, self.rungs) if rung is self._told]
        penalties = [d.penalty for d in draws if d.penalty is not None]
        return LatentSample(
            z=torch.cat([d.z for d in draws], 1),
            log_ratio=None if any(r is None for r in ratios) else sum(ratios),
            kl=None if any(k is None for k in closed) else torch.stack([k.sum(1) for k in closed], 1),
            penalty=sum(penalties) if penalties else None,
            classes=told[0] if told else None,
            updates={k: v for i, d in enumerate(draws) for k, v in prefixed(f"rungs.{i}", d.updates).items()},
            usage=tuple(share for d in draws for share in d.usage),
            log_q=None if any(q is None for q in densities) else sum(densities),
        )

    def generate(self, rows: int, scope: ForwardContext, above: Tensor | None = None) -> Tensor:
        codes = []
        for rung in self.rungs:
            codes.append(rung.generate(rows, scope, above))
            above = below(above, codes[-1])
        return torch.cat(codes, 1)

    def log_prior(self, z: Tensor, scope: ForwardContext, above: Tensor | None = None) -> Tensor:
        total = 0.0
        for rung, code in zip(self.rungs, z.split(self.sizes, 1)):
            total = total + rung.log_prior(code, scope, above)
            above = below(above, code)
        return total

    def prepare(self, inputs: Tensor, evidence: Tensor, scope: ForwardContext, above: Tensor | None = None) -> None:
        for rung in self.rungs:
            rung.prepare(inputs, evidence, scope, above)
            above = below(above, rung.infer(evidence, scope, above).z)

    def generative(self) -> list[str]:
        return [f"rungs.{i}.{name}" for i, rung in enumerate(self.rungs) for name in rung.generative()]


def below(above: Tensor | None, z: Tensor) -> Tensor:
    """What the next rung has above it."""
    return z if above is None else torch.cat([above, z], 1)
