"""Normalising flows: posteriors that bend a normal as the evidence says, and a prior that bends N(0, I)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .. import distributions as dist
from ..core import Bound, Scope
from ..distributions.elementwise import Affine, Elementwise, Spline
from ..distributions.transforms import Autoregressive, Inverted, Placed, Planar, Radial, Sylvester, Transform
from .posteriors import Posterior, positive_size
from .priors import Prior


class MaskedNetwork(nn.Module):
    """(z, context) -> `per` numbers for each of D dimensions, (..., per * D), those of the i-th reading the dimensions
    before the i-th only.

    One hidden layer with the masks of MADE (Germain et al. 2015, arXiv:1502.03509). reverse: the last dimension comes
    first. The last layer starts at zero.
    """

    order: Tensor
    mask_in: Tensor
    mask_out: Tensor

    def __init__(self, size: int, hidden: int, context: int, reverse: bool, per: int = 2):
        super().__init__()
        order = torch.arange(size).flip(0) if reverse else torch.arange(size)
        degree = torch.arange(hidden) % max(size - 1, 1)
        self.register_buffer("order", order, persistent=False)
        self.register_buffer("mask_in", (degree[:, None] >= order).float(), persistent=False)
        self.register_buffer("mask_out", (order[:, None] > degree).float().repeat(per, 1), persistent=False)
        self.read = nn.Linear(size, hidden)
        self.read_context = nn.Linear(context, hidden, bias=False) if context else None
        self.give = nn.Linear(hidden, per * size)
        nn.init.zeros_(self.give.weight)
        nn.init.zeros_(self.give.bias)

    def forward(self, z: Tensor, context: Tensor) -> Tensor:
        h = nn.functional.linear(z, self.read.weight * self.mask_in, self.read.bias)
        if self.read_context is not None:
            h = h + self.read_context(context)
        return nn.functional.linear(torch.relu(h), self.give.weight * self.mask_out, self.give.bias)


def masked_networks(size: int, layers: int, hidden: int, context: int, per: int = 2) -> nn.ModuleList:
    """One per layer, their orders by turns from the first dimension and from the last."""
    if layers < 1 or hidden < 1 or context < 0:
        raise ValueError(
            f"a flow of layers={layers}, hidden={hidden}, context={context}: expected layers and hidden of at least 1 "
            "and a context of at least 0"
        )
    return nn.ModuleList(MaskedNetwork(size, hidden, context, k % 2 == 1, per) for k in range(layers))


class FlowPosterior(Posterior):
    """Reads mu, log sigma^2 of the base and `rest` more numbers, of which `transforms` makes the chain.

    placed_last: the chain bends N(0, I), at its own scale however narrow the posterior is, then comes `mu + sigma z`.
    """

    placed_last = False

    @property
    def rest(self) -> int:
        raise NotImplementedError

    @property
    def n_in(self) -> int:
        return 2 * self.size + self.rest

    def transforms(self, rest: Tensor) -> tuple[Transform, ...]:
        raise NotImplementedError

    def forward(self, evidence: Tensor) -> dist.Flow:
        mu, log_var, rest = evidence.split([self.size, self.size, self.rest], -1)
        sigma, transforms = (0.5 * log_var.clamp(-20.0, 20.0)).exp(), self.transforms(rest)
        if not self.placed_last:
            return dist.Flow(dist.Normal(mu, sigma), transforms)
        base = dist.Normal(torch.zeros_like(mu), torch.ones_like(mu))
        return dist.Flow(base, (*transforms, Placed(mu, sigma)))


class _PerRow(FlowPosterior):
    """Layers whose parameters are all read from the evidence."""

    def __init__(self, size: int, layers: int = 8):
        super().__init__()
        if layers < 1:
            raise ValueError(f"{type(self).__name__}(layers={layers}): expected at least one layer; use Normal({size})")
        self.size, self.layers = positive_size(type(self).__name__, size), layers


class PlanarFlow(_PerRow):
    """A normal bent across `layers` planes that the evidence gives: `z' = z + u tanh(w z + b)`.

    Rezende & Mohamed 2015, arXiv:1505.05770. A draw knows its density; at any other z it takes 60 halvings a layer.
    """

    @property
    def rest(self) -> int:
        return self.layers * (2 * self.size + 1)

    def transforms(self, rest: Tensor) -> tuple[Transform, ...]:
        each = rest.unflatten(-1, (self.layers, -1))
        parts = (each[..., k, :].split([self.size, self.size, 1], -1) for k in range(self.layers))
        return tuple(Planar(u, w, b.squeeze(-1)) for u, w, b in parts)


class RadialFlow(_PerRow):
    """A normal drawn to or pushed from `layers` centres that the evidence gives.

    Rezende & Mohamed 2015, arXiv:1505.05770; the inverse is closed. log alpha is kept within [-10, 10].
    """

    @property
    def rest(self) -> int:
        return self.layers * (self.size + 2)

    def transforms(self, rest: Tensor) -> tuple[Transform, ...]:
        each = rest.unflatten(-1, (self.layers, -1))
        parts = (each[..., k, :].split([self.size, 1, 1], -1) for k in range(self.layers))
        return tuple(Radial(c, a.squeeze(-1).clamp(-10.0, 10.0), b.squeeze(-1)) for c, a, b in parts)


class SylvesterFlow(_PerRow):
    """A normal through `layers` maps `z' = z + Q R tanh(S Q^T z + b)` that the evidence gives whole.

    van den Berg et al. 2018, arXiv:1803.05649: Q of `reflections` Householder reflections, R and S triangular, so that
    a layer bends all dimensions at once. Here they bend N(0, I), then comes `mu + sigma z`; in the paper mu and sigma
    come first. A draw knows its density; at any other z it takes 60 halvings a layer and dimension.
    """

    placed_last = True

    def __init__(self, size: int, layers: int = 4, reflections: int = 4):
        super().__init__(size, layers)
        if reflections < 1:
            raise ValueError(f"SylvesterFlow(reflections={reflections}): expected at least one Householder reflection")
        self.reflections = reflections

    @property
    def _parts(self) -> list[int]:
        return [self.size**2, self.size, self.size, self.reflections * self.size]

    @property
    def rest(self) -> int:
        return self.layers * sum(self._parts)

    def transforms(self, rest: Tensor) -> tuple[Transform, ...]:
        each, square = rest.unflatten(-1, (self.layers, -1)), (self.size, self.size)
        parts = (each[..., k, :].split(self._parts, -1) for k in range(self.layers))
        return tuple(
            Sylvester(w.unflatten(-1, square), d, b, r.unflatten(-1, (self.reflections, self.size)))
            for w, d, b, r in parts
        )


class _Masked(FlowPosterior):
    """Layers of masked networks that read `context` numbers of the evidence."""

    def __init__(self, size: int, layers: int = 4, hidden: int = 64, context: int = 16):
        super().__init__()
        self.size = positive_size(type(self).__name__, size)
        self.layers, self.hidden, self.context = layers, hidden, context
        self.networks = masked_networks(size, layers, hidden, context)

    @property
    def rest(self) -> int:
        return self.context


class InverseAutoregressive(_Masked):
    """A normal through gated autoregressive layers: a draw takes one pass a layer, the density at any other z size.

    Kingma et al. 2016, arXiv:1606.04934.
    """

    def transforms(self, rest: Tensor) -> tuple[Transform, ...]:
        return tuple(Autoregressive(rest, Bound.of(n), Affine(gated=True)) for n in self.networks)


class MaskedAutoregressive(_Masked):
    """A normal through masked autoregressive layers: the density takes one pass a layer, a draw size of them.

    Papamakarios et al. 2017, arXiv:1705.07057. It starts as the plain normal.
    """

    def transforms(self, rest: Tensor) -> tuple[Transform, ...]:
        return tuple(Inverted(Autoregressive(rest, Bound.of(n), Affine())) for n in self.networks)


class SplineFlow(FlowPosterior):
    """N(0, I) through autoregressive layers of rational-quadratic splines, then `mu + sigma z`.

    Durkan et al. 2019, arXiv:1906.04032. A draw takes one pass a layer, the density at any other z size of them. It
    starts as the plain normal.
    """

    placed_last = True

    def __init__(self, size: int, layers: int = 4, bins: int = 8, hidden: int = 64, context: int = 16):
        super().__init__()
        self.size = positive_size("SplineFlow", size)
        self.layers, self.bins, self.hidden, self.context = layers, bins, hidden, context
        self.networks = masked_networks(size, layers, hidden, context, splines("SplineFlow", bins).per)

    @property
    def rest(self) -> int:
        return self.context

    def transforms(self, rest: Tensor) -> tuple[Transform, ...]:
        return tuple(Autoregressive(rest, Bound.of(n), Spline(self.bins)) for n in self.networks)


def splines(part: str, bins: int) -> Spline:
    if not 2 <= bins <= 50:
        raise ValueError(f"{part}(bins={bins}): expected 2 to 50 bins of a spline")
    return Spline(bins)


class FlowPrior(Prior):
    """N(0, I) through masked autoregressive layers with weights of their own; it starts as N(0, I).

    Chen et al. 2017, arXiv:1611.02731; Papamakarios et al. 2017, arXiv:1705.07057. bins: of the rational-quadratic
    splines that a layer is made of (Durkan et al. 2019, arXiv:1906.04032); 0: affine layers. The density takes one
    pass a layer, a draw size of them.
    """

    zero: Tensor

    def __init__(self, layers: int = 4, hidden: int = 64, size: int | None = None, bins: int = 0):
        super().__init__()
        self.layers, self.hidden, self.size, self.bins = layers, hidden, size, bins
        self.register_buffer("zero", torch.zeros(size or 0), persistent=False)
        self.networks = masked_networks(size or 1, layers, hidden, 0, self._elementwise.per)

    @property
    def _elementwise(self) -> Elementwise:
        return splines("FlowPrior", self.bins) if self.bins else Affine()

    def forward(self, scope: Scope, above: Tensor | None = None) -> dist.Flow:
        base = dist.Normal(self.zero, torch.ones_like(self.zero))
        layers = (Inverted(Autoregressive(self.zero, Bound.of(n), self._elementwise)) for n in self.networks)
        return dist.Flow(base, tuple(layers))

    @torch.no_grad()
    def start(self, codes: Tensor, scope: Scope) -> None:
        """The layer nearest to z starts as the scale and the shift that make such codes N(0, I)."""
        codes = codes[:, : self.size]
        log_scale = codes.std(0).clamp_min(1e-6).log().clamp(-1.9, 1.9)  # what one layer can do
        shift = -codes.mean(0) * (-log_scale).exp()
        self.networks[-1].give.bias.copy_(torch.cat([-2 * torch.atanh(log_scale / 2), shift]))
