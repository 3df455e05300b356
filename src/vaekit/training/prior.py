"""A new prior for a trained model: put in the old one's place, shown the codes, and trained by itself."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from ..core import Source, trainable_copy
from ..data.covariates import context_shape
from ..data.rows import AbstractRows
from ..latents import Prior
from ..model import VAEModule
from ..networks import evaluating


def with_prior(model: VAEModule, prior: Prior, rows: AbstractRows) -> VAEModule:
    """The model with a copy of this prior for its topmost code, settled; encoder, decoder and likelihood are the same.

    Raises ValueError where the latent has no prior that can be replaced.
    """
    latent = copy.deepcopy(model.latent)
    if latent.own_prior is None:
        raise ValueError(
            f"{type(latent).__name__} has no prior that can be replaced after training: q depends on it, or there is "
            "none; use a Latent, a Ladder or a codebook"
        )
    owner, _, name = latent.own_prior.rpartition(".")
    setattr(latent.get_submodule(owner), name, trainable_copy(prior))
    changed = VAEModule(model.encoder, latent, model.decoder, model.likelihood, model.context)
    return changed.resolve_shapes(rows.spec.model_shape, context_shape(rows.spec) or 0)


@torch.no_grad()
def start_prior(model: VAEModule, rows: AbstractRows, seed: int, sample: int = 2048) -> None:
    """Shows a new prior a random sample of the rows and of their codes, once before its first step."""
    batch = rows.batch(rows.order(seed, 2**31)[:sample].sort().values)
    noise = Source.like(model, seed + 1)
    prior, scope = model.latent.get_submodule(model.latent.own_prior), model.prior_scope(noise)
    with evaluating(model):
        x = model.likelihood.observe(batch.x, scope)
        x = x if batch.mask is None else torch.where(batch.mask > 0, x, 0.0)
        prior.prepare(model.likelihood.features(x, batch.mask), scope)
        prior.start(model.infer(batch, noise).z.flatten(1), scope)


@contextmanager
def holding(module: nn.Module, but: list[str]) -> Iterator[None]:
    """Inside, only these parameters take a gradient: no graph is built through the others."""
    before = {name: p.requires_grad for name, p in module.named_parameters()}
    try:
        for name, p in module.named_parameters():
            p.requires_grad_(name in but)
        yield
    finally:
        for name, p in module.named_parameters():
            p.requires_grad_(before[name])
