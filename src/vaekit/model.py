"""The model: encoder, latent, decoder and likelihood, joined."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Self

import torch
from torch import Tensor, nn

from .core import Batch, Component, Draw, Noise, Pass, Scope, prefixed
from .distributions import Distribution
from .distributions.base import sum_cells
from .latents import AbstractLatent
from .latents.ladder import pairs
from .likelihoods import Likelihood
from .networks import Network, as_network


def join(x: Tensor, context: Tensor | None) -> Tensor:
    """Rows and their context side by side: columns after columns, or constant planes after an image's channels."""
    if context is None:
        return x
    planes = context.reshape(*context.shape, *[1] * (x.dim() - 2))
    return torch.cat([x, planes.expand(*context.shape, *x.shape[2:])], 1)


def joined(shape: tuple[int, ...], context: int) -> tuple[int, ...]:
    return (shape[0] + context, *shape[1:])


class VAEModule(Component):
    """p(x | z) p(z) with its inference network q(z | x).

    encoder: what the likelihood lets it read -> evidence. latent: evidence -> z. decoder: z -> the parameters of the
    likelihood. Any of the user's own `nn.Module`s may stand as encoder or decoder. Sizes left open in the parts are
    settled by `settled(shape)`. low_precision: a type, such as torch.bfloat16, that the products inside encoder and
    decoder are computed in while training; what they give, and everything after, is in the data's own.
    """

    def __init__(self, encoder: nn.Module, latent: AbstractLatent, decoder: nn.Module, likelihood: Likelihood):
        super().__init__()
        self.low_precision: torch.dtype | None = None
        self.encoder = encoder if isinstance(encoder, Component) else as_network(encoder)
        self.decoder = decoder if isinstance(decoder, Component) else as_network(decoder)
        self.latent, self.likelihood = latent, likelihood

    def settled(self, shape: tuple[int, ...], context: int = 0, **sizes: object) -> Self:
        """The model for rows of this shape, with `context` numbers known beside each."""
        likelihood = self.likelihood.settled(shape=tuple(shape))
        reads = joined(likelihood.features_shape, context)
        latent = self.latent.settled(
            inputs_shape=likelihood.features_shape,
            above=context or None,
            map_size=self.encoder.map_size(reads) if hasattr(self.encoder, "map_size") else None,
        )
        encoder, decoder = self.encoder, self.decoder
        if isinstance(encoder, Network):
            widths = likelihood.feature_widths
            encoder = encoder.settled(in_shape=reads, out_shape=latent.evidence_shape, widths=widths)
        if isinstance(decoder, Network):
            widths, reads = likelihood.parameter_widths, joined(latent.shape, context)
            decoder = decoder.settled(in_shape=reads, out_shape=likelihood.in_shape, widths=widths)
        return type(self)(encoder, latent, decoder, likelihood)

    def forward(
        self, batch: Batch, noise: Noise, draws: int = 1, path_only: bool = False, given: Tensor | None = None
    ) -> Pass:
        """One pass, `draws` of z per row: S draws of B rows are S * B rows, the draws of one row B apart.

        path_only: q's parameters are held fixed inside log q (Roeder et al. 2017, arXiv:1703.09194). given: with it, a
        mask of the cells that z is drawn from, where these are fewer than those of the batch, which log q is given.
        """
        if given is not None and not path_only:
            raise ValueError("draws given some of the cells need path_only=True: log q is that of all cells, and held")
        draw, likelihood_of = self._infer(batch, noise, draws, path_only, given)
        px, cells, updates = likelihood_of(draw.z)
        return Pass(replace(draw, updates={**draw.updates, **updates}), sum_cells(cells), px, cells)

    def infer(self, batch: Batch, noise: Noise, draws: int = 1) -> Draw:
        """z ~ q(z | x) alone, as in `forward`."""
        return self._infer(batch, noise, draws)[0]

    def _infer(
        self, batch: Batch, noise: Noise, draws: int, path_only: bool = False, given: Tensor | None = None
    ) -> tuple[Draw, Callable[[Tensor], tuple[Distribution, Tensor, dict[str, Tensor]]]]:
        """The draw, and z -> (p(x | z), log p(x | z) per cell, updates) for the rows it was drawn for."""
        x, scope, evidence = self._infer_inputs(batch, noise)
        held = evidence.detach() if path_only else None
        if given is not None:
            evidence = self._evidence(x, given, batch.context)

        def fold(t: Tensor | None) -> Tensor | None:
            return t if t is None or draws == 1 else t.expand(draws, *t.shape).flatten(0, 1)

        x, mask, context = fold(x), fold(batch.mask), fold(batch.context)

        scope = replace(scope, weight=fold(batch.weight))

        def likelihood_of(z: Tensor) -> tuple[Distribution, Tensor, dict[str, Tensor]]:
            px, updates = self.likelihood.fitted(self.decode(z, context), x, mask, scope)
            cells = px.log_prob(x)
            return px, cells if mask is None else cells * mask, prefixed("likelihood", updates)

        reached = replace(
            scope,
            encode=lambda inputs: self._encode_pseudo(inputs, context),
            log_lik=lambda z: sum_cells(likelihood_of(z)[1]),
        )
        draw = self.latent.infer(fold(evidence), reached, context, fold(held))
        return replace(draw, updates=prefixed("latent", draw.updates)), likelihood_of

    def _infer_inputs(self, batch: Batch, noise: Noise) -> tuple[Tensor, Scope, Tensor]:
        scope = Scope.of(noise)
        x = self.likelihood.observe(batch.x, scope)
        if batch.mask is not None:
            x = torch.where(batch.mask > 0, x, 0.0)
        return x, scope, self._evidence(x, batch.mask, batch.context)

    def _evidence(self, x: Tensor, mask: Tensor | None, context: Tensor | None) -> Tensor:
        return self._through(self.encoder, join(self.likelihood.features(x, mask), context))

    def _through(self, network: nn.Module, x: Tensor) -> Tensor:
        if self.low_precision is None or not self.training:
            return network(x)
        # The cache of cast weights is a state that neither vmap nor a traced step may see.
        with torch.autocast(x.device.type, self.low_precision, cache_enabled=False):
            return network(x).to(x.dtype)

    def _encode_pseudo(self, inputs: Tensor, context: Tensor | None) -> Tensor:
        if context is None:
            return self._through(self.encoder, inputs)
        return pairs(lambda u, c: self._through(self.encoder, join(u, c)), inputs, context)

    def decode(self, z: Tensor, context: Tensor | None = None) -> Distribution:
        """p(x | z)."""
        return self.likelihood(self._through(self.decoder, join(z, context)))

    def prior_scope(self, noise: Noise, context: Tensor | None = None) -> Scope:
        """What a prior may call: the noise and the encoder."""
        return replace(Scope.of(noise), encode=lambda inputs: self._encode_pseudo(inputs, context))

    def generate(self, rows: int, noise: Noise, context: Tensor | None = None) -> Tensor:
        """(rows, *Z): draws of z from the prior."""
        return self.latent.generate(rows, self.prior_scope(noise, context), context)

    @torch.no_grad()
    def prepare(self, batch: Batch, noise: Noise) -> None:
        """Once before the first step, on a sample of the data: what must see data starts from it (k-means,
        pseudo-inputs), and parts that do not fit one another are told now."""
        x, _, evidence = self._infer_inputs(batch, noise)
        if tuple(evidence.shape[1:]) != self.latent.evidence_shape:
            raise ValueError(
                f"{type(self.latent).__name__} reads {self.latent.evidence_shape} per row but the encoder gives "
                f"{tuple(evidence.shape[1:])}: let the encoder end in {self.latent.evidence_shape} outputs"
            )
        inputs = self.likelihood.features(x, batch.mask)
        scope = self.prior_scope(noise, batch.context)
        self.latent.prepare(inputs, evidence, scope, batch.context)
        context = None if batch.context is None else batch.context[:2]
        cells = self.decode(self.latent.generate(len(x[:2]), scope, context), context).log_prob(x[:2])
        if cells.dim() == 0 or len(cells) != len(x[:2]):
            raise ValueError(
                f"the log_prob of {type(self.likelihood).__name__} gives {tuple(cells.shape)} for {len(x[:2])} rows: "
                "expected one number per cell, (B, *cells), or per row, (B,)"
            )

    def generative(self) -> list[str]:
        """The names of the parameters of p(x, z); the others belong to q(z | x)."""
        own = [f"{part}.{n}" for part in ("decoder", "likelihood") for n, _ in getattr(self, part).named_parameters()]
        return own + [f"latent.{n}" for n in self.latent.generative()]
