"""What latents of whole numbers share: evidence rounded to codes on a grid of positions, and a prior over the codes."""

from __future__ import annotations

import math
from dataclasses import field
from typing import Literal, Self

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ..core import ForwardContext, LatentSample, batch_mean, prefixed, record
from .latent import AbstractLatent, Ratio
from .priors import Prior

Gradient = Literal["straight", "rotation"]


@record
class Rounded:
    """What a quantiser makes of vectors (B, P, size): codes (B, P, size), through which the gradient passes to the
    vectors; indices (B, P, depth), whole numbers; penalty (B,); updates of buffers."""

    codes: Tensor
    indices: Tensor
    penalty: Tensor | None = None
    updates: dict[str, Tensor] = field(default_factory=dict)


def carried(vectors: Tensor, codes: Tensor, gradient: Gradient) -> Tensor:
    """The codes, with a gradient for the vectors (..., size) that they stand for.

    "straight": the gradient of the code is the vector's (Bengio et al. 2013, arXiv:1308.3432). "rotation": it is turned
    and scaled as the vector is on its way to the code, `|q|/|e| R e` with R and the lengths held fixed (Fifty et al.
    2024, arXiv:2410.06424, equation 4).
    """
    if gradient == "straight":
        return vectors + (codes - vectors).detach()
    e, q = normalize(vectors.detach(), dim=-1), normalize(codes.detach(), dim=-1)
    r = normalize(e + q, dim=-1)

    def along(unit: Tensor) -> Tensor:
        return (unit * vectors).sum(-1, keepdim=True)

    scale = codes.norm(dim=-1, keepdim=True) / vectors.norm(dim=-1, keepdim=True).clamp_min(1e-12)
    turned = scale.detach() * (vectors - 2 * along(r) * r + 2 * along(e) * q)
    return turned + (codes - turned).detach()


class Quantised(AbstractLatent):
    """Each position of a row takes one of `codes` codes, vectors of `size` numbers, or `depth` of them in turn.

    Codes are deterministic: q(z | x) is a point on the grid, the rate is `-log p(indices)`, and log_lik + log_ratio a
    lower bound of log p(x). prior: over grids of indices (`PixelPrior`, `TransformerPrior`); None: all codes are
    equally likely, and the rate is log(codes) each. A prior is trained with the rest, which it leaves alone, since no
    gradient passes through whole numbers; or afterwards, by `VAE.fit_prior`.

    positions: an int n for flat evidence (B, size * n), a tuple such as (7, 7) for a map (B, size, 7, 7).
    """

    ratio: Ratio = "bound"
    space = "codes"
    own_prior = "prior"
    codes: int
    size: int
    depth: int = 1
    positions: int | tuple[int, ...] | None
    prior: Prior | None

    def quantise(self, vectors: Tensor, scope: ForwardContext | None = None) -> Rounded:
        """Vectors (B, P, size) to the codes that stand for them; without a scope, none of what learning needs."""
        raise NotImplementedError

    def lookup(self, indices: Tensor) -> Tensor:
        """Indices (B, P, depth) to codes (B, P, size)."""
        raise NotImplementedError

    @property
    def shape(self) -> tuple[int, ...]:
        if isinstance(self.positions, tuple):
            return (self.size, *self.positions)
        return (self.size * (self.positions or 1),)

    evidence_shape = shape

    @property
    def grid(self) -> tuple[int, ...]:
        """The shape of a row's indices: its positions; the codes of one position follow one another."""
        places = self.positions if isinstance(self.positions, tuple) else (self.positions or 1,)
        return (*places[:-1], places[-1] * self.depth)

    def resolve_shapes(self, *, map_size: tuple[int, ...] | None = None, **sizes: object) -> Self:
        """Open positions take the size of the encoder's map, where it has one; the prior that of the grid."""
        same = self if self.positions is not None or map_size is None else self._with(positions=tuple(map_size))
        if self.prior is None:
            return same
        if not self.prior.over_codes:
            raise ValueError(
                f"{type(self).__name__} takes a prior over its codes, PixelPrior() or TransformerPrior(), and "
                f"{type(self.prior).__name__} is none"
            )
        prior = self.prior.resolve_shapes(grid=same.grid, codes=self.codes)
        return same if prior is self.prior else same._with(prior=prior)

    def _with(self, **changed: object) -> Self:
        """The same with other arguments, its codes kept."""
        again = type(self)(**{**self.arguments(), **changed})
        again.load_state_dict({n: t for n, t in self.state_dict().items() if not n.startswith("prior.")}, strict=False)
        return again

    def _vectors(self, evidence: Tensor) -> Tensor:
        """(B, positions, size)."""
        return evidence.reshape(len(evidence), self.size, -1).mT

    def _laid_out(self, codes: Tensor) -> Tensor:
        """Codes (B, positions, size) as z."""
        return codes.mT.reshape(len(codes), *self.shape)

    def indices(self, evidence: Tensor) -> Tensor:
        """(B, positions * depth): the codes of each position, whole numbers."""
        return self.quantise(self._vectors(evidence)).indices.flatten(1)

    def infer(
        self, evidence: Tensor, scope: ForwardContext, above: Tensor | None = None, held: Tensor | None = None
    ) -> LatentSample:
        vectors = self._vectors(evidence)
        out = self.quantise(vectors, scope)
        kl = self._cost(out.indices.flatten(1), vectors, scope, above)
        return LatentSample(
            self._laid_out(out.codes),
            -kl.sum(1),
            kl,
            penalty=out.penalty,
            updates=out.updates,
            usage=self._usage(out, scope),
        )

    def _cost(self, indices: Tensor, like: Tensor, scope: ForwardContext, above: Tensor | None) -> Tensor:
        """(B, N), nats: -log p of each index, given those before it."""
        if self.prior is None:
            return torch.full_like(indices, math.log(self.codes), dtype=like.dtype)
        return -self.prior(scope, above).log_prob(indices.reshape(-1, *self.grid)).flatten(1)

    def _usage(self, out: Rounded, scope: ForwardContext) -> tuple[Tensor, ...]:
        """For each of the `depth`, (codes,): the share of the positions of all processes' rows that took each code."""
        rows, positions, depth = out.indices.shape
        place = (out.indices + self.codes * torch.arange(depth, device=out.indices.device)).flatten(1)
        none = torch.zeros(rows, depth * self.codes, device=place.device, dtype=out.codes.dtype)
        counts = none.scatter_add(1, place, torch.ones_like(place, dtype=none.dtype))
        return (batch_mean(counts, scope.weight, scope.peers) / positions).unflatten(0, (depth, -1)).unbind(0)

    def generate(self, rows: int, scope: ForwardContext, above: Tensor | None = None) -> Tensor:
        if self.prior is None:
            drawn = (scope.rand((rows, math.prod(self.grid))) * self.codes).long()
        else:
            drawn = self.prior(scope, above).draw(scope, rows)
        return self._laid_out(self.lookup(drawn.reshape(rows, -1, self.depth)))

    def log_prior(self, z: Tensor, scope: ForwardContext, above: Tensor | None = None) -> Tensor:
        vectors = self._vectors(z)
        return -self._cost(self.quantise(vectors).indices.flatten(1), vectors, scope, above).sum(1)

    def generative(self) -> list[str]:
        return [] if self.prior is None else list(prefixed("prior", dict(self.prior.named_parameters())))
