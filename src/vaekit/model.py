"""The model: encoder, latent, decoder and likelihood, joined."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Self

import torch
from torch import Tensor, nn

from .core import Batch, Component, ForwardContext, LatentSample, Noise, VAEOutput, prefixed
from .distributions import Distribution, sum_cells
from .latents import AbstractLatent
from .latents.ladder import pairs
from .likelihoods import Likelihood
from .networks import Adapter, Network, as_network
from .networks.network import LowPrecision

CONTEXT = 32
"""Numbers that a network of the context gives, unless it says how many."""


def join(x: Tensor, context: Tensor | None) -> Tensor:
    """Rows and their context side by side: columns after columns, or constant planes after an image's channels."""
    if context is None:
        return x
    planes = context.reshape(*context.shape, *[1] * (x.dim() - 2))
    return torch.cat([x, planes.expand(*context.shape, *x.shape[2:])], 1)


def joined(shape: tuple[int, ...], context: int) -> tuple[int, ...]:
    return (shape[0] + context, *shape[1:])


class VAEModule(Component, LowPrecision):
    """p(x | z) p(z) with its inference network q(z | x).

    encoder: what the likelihood lets it read -> evidence. latent: evidence -> z. decoder: z -> the parameters of the
    likelihood. context: a network that reads what is known beside a row into a vector; None: it is read as it is. Any
    of the user's own `nn.Module`s may stand as encoder or decoder. Sizes left open in the parts are filled in
    by `resolve_shapes(shape)`. An encoder with `reads_mask` reads which cells are there before what the likelihood lets
    it read. low_precision: a type, such as torch.bfloat16, that the products inside encoder, decoder and the networks
    of a hierarchy are computed in while training; what they give, and everything after, is in the data's own.
    """

    def __init__(
        self,
        encoder: nn.Module,
        latent: AbstractLatent,
        decoder: nn.Module,
        likelihood: Likelihood,
        context: Network | None = None,
    ):
        super().__init__()
        self.encoder = encoder if isinstance(encoder, Component) else as_network(encoder)
        self.decoder = decoder if isinstance(decoder, Component) else as_network(decoder)
        self.latent, self.likelihood, self.context = latent, likelihood, context
        self.low_precision = None

    @property
    def low_precision(self) -> torch.dtype | None:
        return self._low_precision

    @low_precision.setter
    def low_precision(self, dtype: torch.dtype | None) -> None:
        self._low_precision = dtype
        for part in self.latent.modules():
            if isinstance(part, LowPrecision):
                part.low_precision = dtype

    @property
    def entangled(self) -> bool:
        """Whether weights of q serve p too: those of the context's network."""
        return self.context is not None

    def resolve_shapes(self, shape: tuple[int, ...], context: int | tuple[int, ...] = 0, **sizes: object) -> Self:
        """The model for rows of this shape, with so many numbers, or numbers of this shape, known beside each.

        Raises ValueError for context of more than one dimension without a network that reads it.
        """
        network, context = self._settled_context((context,) if isinstance(context, int) else tuple(context))
        likelihood = self.likelihood.resolve_shapes(shape=tuple(shape))
        inputs = likelihood.features_shape
        if self._shows_mask:
            inputs = joined(inputs, math.prod(likelihood.shape) // math.prod(inputs[1:]))
        reads = joined((math.prod(inputs),) if self._flat else inputs, context) if context else inputs
        latent = self.latent.resolve_shapes(
            inputs_shape=inputs,
            above=context or None,
            map_size=self.encoder.map_size(reads) if hasattr(self.encoder, "map_size") else None,
        )
        encoder, decoder = self.encoder, self.decoder
        if isinstance(encoder, Network):
            widths = likelihood.feature_widths
            sizes = {"widths": widths, "cells": math.prod(likelihood.shape)}
            if self._shows_mask:
                sizes["owners"] = likelihood.owners
            encoder = encoder.resolve_shapes(in_shape=reads, out_shape=latent.evidence_shape, **sizes)
        if isinstance(decoder, Network):
            widths, reads = likelihood.parameter_widths, joined(latent.emitted_shape, context)
            decoder = decoder.resolve_shapes(in_shape=reads, out_shape=likelihood.in_shape, widths=widths)
        settled = type(self)(encoder, latent, decoder, likelihood, network)
        settled.low_precision = self.low_precision
        return settled

    def _settled_context(self, shape: tuple[int, ...]) -> tuple[Network | None, int]:
        """The network that reads context of this shape, and how many numbers the other parts see of it."""
        known = math.prod(shape) > 0
        if self.context is None and known and len(shape) > 1:
            raise ValueError(f"context of {shape} per row is read by a network: pass context=MLP((128,), out_shape=32)")
        if self.context is None or not known:
            return None, math.prod(shape) if known else 0
        network = self.context.resolve_shapes(in_shape=shape, out_shape=self.context.out_shape or (CONTEXT,))
        return network, math.prod(network.out_shape)

    def read(self, context: Tensor | None) -> Tensor | None:
        """(B, C): the context as the other parts see it."""
        return context if self.context is None or context is None else self.through(self.context, context).flatten(1)

    @property
    def _flat(self) -> bool:
        """Whether the encoder reads rows as vectors, and so their context after them."""
        return getattr(self.encoder, "flattens", False)

    def forward(
        self,
        batch: Batch,
        noise: Noise,
        draws: int = 1,
        path_only: bool = False,
        every_class: bool = False,
        given: Tensor | None = None,
    ) -> VAEOutput:
        """One pass, `draws` of z per row: S draws of B rows are S * B rows, the draws of one row B apart.

        path_only: q's parameters are held fixed inside log q (Roeder et al. 2017, arXiv:1703.09194). every_class: draw
        k of a row is of class k, whatever its label; there are as many draws as the latent has classes. given: with
        path_only, a mask of the cells that z is drawn from, where these are fewer than those of the batch, which log q
        is given.
        """
        if given is not None and not path_only:
            raise ValueError("draws given some of the cells need path_only=True: log q is that of all cells, and held")
        draw, likelihood_of = self._infer(batch, noise, draws, path_only, every_class, given)
        px, cells, updates = likelihood_of(draw.z, draw.emitted)
        return VAEOutput(replace(draw, updates={**draw.updates, **updates}), sum_cells(cells), px, cells)

    def infer(self, batch: Batch, noise: Noise, draws: int = 1) -> LatentSample:
        """z ~ q(z | x) alone, as in `forward`."""
        return self._infer(batch, noise, draws)[0]

    def _infer(
        self,
        batch: Batch,
        noise: Noise,
        draws: int,
        path_only: bool = False,
        every_class: bool = False,
        given: Tensor | None = None,
    ) -> tuple[LatentSample, Callable[..., tuple[Distribution, Tensor, dict[str, Tensor]]]]:
        """The draw, and z (with what is emitted of it, if known) -> (p(x | z), log p(x | z) per cell, updates) for the
        rows it was drawn for."""
        batch = replace(batch, context=self.read(batch.context))
        x, scope, evidence = self._infer_inputs(batch, noise)
        held = evidence.detach() if path_only else None
        if given is not None:
            evidence = self._encode(self._inputs(x, given), batch.context)

        def fold(t: Tensor | None) -> Tensor | None:
            return t if t is None or draws == 1 else t.expand(draws, *t.shape).flatten(0, 1)

        x, mask, context = fold(x), fold(batch.mask), fold(batch.context)

        label = fold(batch.label)
        if every_class:
            label = torch.eye(draws, dtype=x.dtype, device=x.device).unsqueeze(1)
            label = label.expand(-1, len(batch.x), -1).flatten(0, 1)

        scope = replace(scope, weight=fold(batch.weight), label=label)

        def likelihood_of(z: Tensor, emitted: Tensor | None = None) -> tuple[Distribution, Tensor, dict[str, Tensor]]:
            px, updates = self.likelihood.fitted(self._decode(z, context, emitted), x, mask, scope)
            return px, px.log_cells(x, mask), prefixed("likelihood", updates)

        reached = replace(
            scope,
            encode=lambda inputs: self._encode_pseudo(inputs, context),
            log_lik=lambda z: sum_cells(likelihood_of(z)[1]),
        )
        draw = self.latent.infer(fold(evidence), reached, context, fold(held))
        return replace(draw, updates=prefixed("latent", draw.updates)), likelihood_of

    def _infer_inputs(self, batch: Batch, noise: Noise) -> tuple[Tensor, ForwardContext, Tensor]:
        scope = ForwardContext.of(noise)
        x = self.likelihood.observe(batch.x, scope)
        if batch.mask is not None:
            x = torch.where(batch.mask > 0, x, 0.0)
        return x, scope, self._encode(self._inputs(x, batch.mask), batch.context)

    def _encode(self, inputs: Tensor, context: Tensor | None) -> Tensor:
        flat = context is not None and self._flat
        return self.through(self.encoder, join(inputs.flatten(1) if flat else inputs, context))

    @property
    def _shows_mask(self) -> bool:
        return getattr(self.encoder, "reads_mask", False)

    def _inputs(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """What the encoder reads of x: what the likelihood lets it read, after the mask where it reads that."""
        features = self.likelihood.features(x, mask)
        if not self._shows_mask:
            return features
        seen = torch.ones_like(x) if mask is None else mask
        return torch.cat([seen.reshape(len(x), -1, *features.shape[2:]), features], 1)

    def _encode_pseudo(self, inputs: Tensor, context: Tensor | None) -> Tensor:
        if context is None:
            return self._encode(inputs, None)
        return pairs(self._encode, inputs, context)

    def decode(self, z: Tensor, context: Tensor | None = None) -> Distribution:
        """p(x | z), given the context as it stands in a batch."""
        return self._decode(z, self.read(context))

    def _decode(self, z: Tensor, context: Tensor | None, emitted: Tensor | None = None) -> Distribution:
        """The same of the context as the other parts see it. emitted: what the latent emits of z, where it is known."""
        emitted = self.latent.emit(z, context) if emitted is None else emitted
        return self.likelihood(self.through(self.decoder, join(emitted, context)))

    def prior_scope(self, noise: Noise, context: Tensor | None = None) -> ForwardContext:
        """What a prior may call: the noise and the encoder."""
        return replace(ForwardContext.of(noise), encode=lambda inputs: self._encode_pseudo(inputs, context))

    def generate(self, rows: int, noise: Noise, context: Tensor | None = None) -> Tensor:
        """(rows, *Z): draws of z from the prior."""
        context = self.read(context)
        return self.latent.generate(rows, self.prior_scope(noise, context), context)

    @torch.no_grad()
    def start(self, batch: Batch, noise: Noise, kept: Collection[nn.Module] = ()) -> None:
        """Start the likelihood and the decoder at the moments of a sample of training rows, before `prepare`.

        Parameters
        ----------
        batch : Batch
            Sample of training rows.
        noise : Noise
            Noise of a likelihood that draws what it explains.
        kept : collection of Module
            Networks that stay as they are, and what they read; a user's own modules always do.
        """
        x = self.likelihood.observe(batch.x, ForwardContext.of(noise)).cpu()  # not every device has float64
        mask = None if batch.mask is None else batch.mask.cpu()
        if mask is not None:
            x = torch.where(mask > 0, x, 0.0)

        def built(network: nn.Module) -> bool:
            return isinstance(network, Network) and not isinstance(network, Adapter) and network not in kept

        if built(self.encoder):
            self.likelihood.scale_features(x, mask)
        if self.likelihood.support == "real" or not built(self.decoder):  # mean 0 and variance 1 as they are
            return
        at = self.likelihood.start(x, mask, self.decoder.shared_axes)
        if at is not None:
            self.decoder.add_to_output(at)

    @torch.no_grad()
    def prepare(self, batch: Batch, noise: Noise) -> None:
        """Once before the first step, on a sample of the data: what must see data starts from it (k-means,
        pseudo-inputs), and parts that do not fit one another are told now."""
        batch = replace(batch, context=self.read(batch.context))
        x, _, evidence = self._infer_inputs(batch, noise)
        if tuple(evidence.shape[1:]) != self.latent.evidence_shape:
            raise ValueError(
                f"{type(self.latent).__name__} reads {self.latent.evidence_shape} per row but the encoder gives "
                f"{tuple(evidence.shape[1:])}: let the encoder end in {self.latent.evidence_shape} outputs"
            )
        self.likelihood.prepare(x, batch.mask)
        inputs = self._inputs(x, batch.mask)
        self.latent.prepare(inputs, evidence, self.prior_scope(noise, batch.context), batch.context)
        context = None if batch.context is None else batch.context[:2]
        z = self.latent.generate(len(x[:2]), self.prior_scope(noise, context), context)
        px = self._decode(z, context)
        cells = px.log_prob(x[:2])
        leaves_out = type(px).log_cells is not Distribution.log_cells  # in a way of its own
        if cells.dim() == 1 and batch.mask is not None and x.dim() > 1 and not leaves_out:
            raise ValueError(
                f"{type(self.likelihood).__name__} takes a row as one cell, so that a missing one cannot be left out: "
                "fill the gaps, or use a likelihood of cells"
            )
        if cells.dim() == 0 or len(cells) != len(x[:2]):
            raise ValueError(
                f"the log_prob of {type(self.likelihood).__name__} gives {tuple(cells.shape)} for {len(x[:2])} rows: "
                "expected one number per cell, (B, *cells), or per row, (B,)"
            )

    def generative(self) -> list[str]:
        """The names of the parameters of p(x, z); the others belong to q(z | x)."""
        own = [f"{part}.{n}" for part in ("decoder", "likelihood") for n, _ in getattr(self, part).named_parameters()]
        return own + [f"latent.{n}" for n in self.latent.generative()]
