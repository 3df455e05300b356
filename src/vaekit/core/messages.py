"""What passes between the parts: batches in, draws and passes through, terms out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor

from .noise import Noise
from .peers import ALONE, Peers, peers_of
from .record import record

T = TypeVar("T")


@record
class Batch:
    """Rows to learn from, in the likelihood's space.

    x: (B, *X). mask: (B, *cells), 1 where a cell is observed; None: all are. context: (B, C) known beside x.
    weight: (B,), 0 for a row that is only padding; None: all ones. label: (B, K), the class of a row as a one-hot
    vector, zeros where it is not known; None: nothing is known.
    """

    x: Tensor
    mask: Tensor | None = None
    context: Tensor | None = None
    weight: Tensor | None = None
    label: Tensor | None = None


@dataclass(frozen=True)
class ForwardContext:
    """What a part may call but does not own: how a VampPrior reaches the encoder without sharing a submodule.

    encode: what the encoder reads -> evidence. posterior: what the encoder reads -> q, set by the owning Latent.
    log_lik: z -> log p(x | z), (B,). randn, rand: noise. weight: the batch's row weights. label: its known classes.
    peers: the processes that the batch is spread over.
    """

    randn: Callable[[Sequence[int]], Tensor]
    rand: Callable[[Sequence[int]], Tensor]
    encode: Callable[[Tensor], Tensor] | None = None
    posterior: Callable[[Tensor], Any] | None = None
    log_lik: Callable[[Tensor], Tensor] | None = None
    weight: Tensor | None = None
    label: Tensor | None = None
    peers: Peers = ALONE

    @classmethod
    def of(cls, noise: Noise) -> ForwardContext:
        return cls(noise.randn, noise.rand, peers=peers_of(noise))


@record
class LatentSample:
    """One draw of the latent variables per row.

    z: (B, *Z). log_ratio: (B,) = log p - log q on the space drawn from, so that exp(log_lik + log_ratio) is an
    unbiased estimate of p(x); None for a point mass, which has no density. kl: (B, units) where a closed form exists.
    q, p: the distributions, where there is one of each. emitted: what the decoder reads of z, where inferring came by
    it. penalty: (B,), added to the loss as it is. classes: (B, K), log q(class | x), where z tells of classes. updates:
    new values of buffers, applied after the optimiser's step. usage: of every codebook, (codes,), the share of the
    batch's positions that took each code. log_q: (B,) = log q(z | x), of a latent that draws from q itself.
    """

    z: Tensor
    log_ratio: Tensor | None
    kl: Tensor | None = None
    q: Any = None
    p: Any = None
    emitted: Tensor | None = None
    penalty: Tensor | None = None
    classes: Tensor | None = None
    updates: dict[str, Tensor] = field(default_factory=dict)
    usage: tuple[Tensor, ...] = ()
    log_q: Tensor | None = None

    @property
    def rate(self) -> Tensor:
        """(B,), nats: the closed KL where there is one, its one-draw estimate otherwise."""
        return -self.log_ratio if self.kl is None else self.kl.sum(1)


@record
class VAEOutput:
    """One trip through the model: the draw, log p(x | z) per row (B,), the distribution p(x | z), and log p(x | z) per
    cell (B, *cells), 0 where the mask is."""

    draw: LatentSample
    log_lik: Tensor
    px: Any
    cells: Tensor | None = None

    @property
    def log_weight(self) -> Tensor:
        """(B,), nats: log p(x, z) - log q(z | x)."""
        return self.log_lik + self.draw.log_ratio


@record
class LossOutput:
    """What an objective returns: a loss per player, metrics to be logged, new values of buffers."""

    losses: dict[str, Tensor]
    metrics: dict[str, Tensor]
    updates: dict[str, Tensor] = field(default_factory=dict)


def weighted_mean(values: Tensor, weight: Tensor | None) -> Tensor:
    """The mean over rows (dimension 0); a row of weight 0 does not count, whatever it holds."""
    if weight is None:
        return values.mean(0)
    weight = weight.reshape(-1, *[1] * (values.dim() - 1))
    return torch.where(weight > 0, values * weight, 0.0).sum(0) / weight.sum()


def batch_mean(values: Tensor, weight: Tensor | None, peers: Peers) -> Tensor:
    """`weighted_mean` over the rows of all processes, for a loss that is not linear in it.

    Its gradient is that of this process's own mean; the step adds these up by each process's share of the rows.
    """
    own = weighted_mean(values, weight)
    if peers is ALONE:
        return own
    rows = own.new_full((1,), len(values)) if weight is None else weight.sum().reshape(1)
    own = torch.where(rows.reshape(()) > 0, own, 0.0)
    sums = peers.total(torch.cat([own.reshape(-1) * rows, rows]))
    return own + ((sums[:-1] / sums[-1]).reshape(own.shape) - own).detach()


def prefixed(prefix: str, values: Mapping[str, T]) -> dict[str, T]:
    return {f"{prefix}.{name}": value for name, value in values.items()}
