"""Normalising flows: posteriors that bend a normal as the evidence says, and a prior that bends N(0, I)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .. import distributions as dist
from ..core import ForwardContext, FunctionalModule
from ..distributions.elementwise import Affine, Elementwise, Spline, Standardise, soft_clamp
from ..distributions.transforms import Autoregressive, Inverted, Placed, Planar, Radial, Sylvester, Transform
from .posteriors import Posterior, log_variance
from .priors import LOG_SCALE, Prior

REACH = 20.0
"""How far from 0 the networks of a flow tell codes apart; for a prior, in standard deviations."""
PRIOR_SHIFT = 5.0
"""Bound on the shift of one layer of a prior, in standard deviations."""


class MaskedNetwork(nn.Module):
    """(z, context) -> `per` numbers for each of D dimensions, (..., per * D), those of the i-th reading the dimensions
    before the i-th only.

    One hidden layer with the masks of MADE (Germain et al. 2015, arXiv:1502.03509). reverse: the last dimension comes
    first. reach: z is read through `reach tanh(z / reach)`: far from where it was trained, the network sees the border
    and does not extrapolate. The last layer starts at zero.
    """

    order: Tensor
    mask_in: Tensor
    mask_out: Tensor

    def __init__(self, size: int, hidden: int, context: int, reverse: bool, per: int = 2, reach: float = REACH):
        super().__init__()
        self.reach = reach
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
        z = soft_clamp(z, -self.reach, self.reach)
        h = nn.functional.linear(z, self.read.weight * self.mask_in, self.read.bias)
        if self.read_context is not None:
            h = h + self.read_context(context)
        return nn.functional.linear(torch.relu(h), self.give.weight * self.mask_out, self.give.bias)


def masked_networks(
    size: int, layers: int, hidden: int, context: int, per: int = 2, reach: float = REACH
) -> nn.ModuleList:
    """One per layer, their orders by turns from the first dimension and from the last."""
    return nn.ModuleList(MaskedNetwork(size, hidden, context, k % 2 == 1, per, reach) for k in range(layers))


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
        sigma, transforms = (0.5 * log_variance(log_var)).exp(), self.transforms(rest)
        if not self.placed_last:
            return dist.Flow(dist.Normal(mu, sigma), transforms)
        base = dist.Normal(torch.zeros_like(mu), torch.ones_like(mu))
        return dist.Flow(base, (*transforms, Placed(mu, sigma)))


class _PerRow(FlowPosterior):
    """Layers whose parameters are all read from the evidence."""

    def __init__(self, size: int, layers: int = 8):
        super().__init__()
        self.size, self.layers = size, layers


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

    Rezende & Mohamed 2015, arXiv:1505.05770; the inverse is closed. log alpha is kept within (-5, 2.3).
    """

    @property
    def rest(self) -> int:
        return self.layers * (self.size + 2)

    def transforms(self, rest: Tensor) -> tuple[Transform, ...]:
        each = rest.unflatten(-1, (self.layers, -1))
        parts = (each[..., k, :].split([self.size, 1, 1], -1) for k in range(self.layers))
        return tuple(Radial(c, a.squeeze(-1), b.squeeze(-1)) for c, a, b in parts)


class SylvesterFlow(_PerRow):
    """A normal through `layers` maps `z' = z + Q R tanh(S Q^T z + b)` that the evidence gives whole.

    van den Berg et al. 2018, arXiv:1803.05649: Q of `reflections` Householder reflections, R and S triangular, so that
    a layer bends all dimensions at once. Here they bend N(0, I), then comes `mu + sigma z`; in the paper mu and sigma
    come first. A draw knows its density; at any other z it takes 60 halvings a layer and dimension.
    """

    placed_last = True

    def __init__(self, size: int, layers: int = 4, reflections: int = 4):
        super().__init__(size, layers)
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
        self.size = size
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
        layer = Affine.of_layers(self.layers, gated=True)
        return tuple(Autoregressive(rest, FunctionalModule.of(n), layer) for n in self.networks)


class MaskedAutoregressive(_Masked):
    """A normal through masked autoregressive layers: the density takes one pass a layer, a draw size of them.

    Papamakarios et al. 2017, arXiv:1705.07057. It starts as the plain normal.
    """

    def transforms(self, rest: Tensor) -> tuple[Transform, ...]:
        layer = Standardise(Affine.of_layers(self.layers))
        return tuple(Inverted(Autoregressive(rest, FunctionalModule.of(n), layer)) for n in self.networks)


class SplineFlow(FlowPosterior):
    """N(0, I) through autoregressive layers of rational-quadratic splines, then `mu + sigma z`.

    Durkan et al. 2019, arXiv:1906.04032. A draw takes one pass a layer, the density at any other z size of them. It
    starts as the plain normal.
    """

    placed_last = True

    def __init__(self, size: int, layers: int = 4, bins: int = 8, hidden: int = 64, context: int = 16):
        super().__init__()
        self.size = size
        self.layers, self.bins, self.hidden, self.context = layers, bins, hidden, context
        self.networks = masked_networks(size, layers, hidden, context, splines("SplineFlow", bins).per)

    @property
    def rest(self) -> int:
        return self.context

    def transforms(self, rest: Tensor) -> tuple[Transform, ...]:
        return tuple(Autoregressive(rest, FunctionalModule.of(n), Spline(self.bins)) for n in self.networks)


def splines(part: str, bins: int) -> Spline:
    if not 2 <= bins <= 50:
        raise ValueError(f"{part}(bins={bins}): expected 2 to 50 bins of a spline")
    return Spline(bins)


class FlowPrior(Prior):
    """N(0, I) through masked autoregressive layers with weights of their own, then `loc + scale z`.

    Chen et al. 2017, arXiv:1611.02731; Papamakarios et al. 2017, arXiv:1705.07057. It starts as N(0, I). The density
    takes one pass per layer, a draw takes `size` passes per layer.

    bins: of the rational-quadratic splines that a layer is made of (Durkan et al. 2019, arXiv:1906.04032); 0: affine
    layers. Draws are bounded whatever the weights are: with splines |z - loc| / scale is at most max(5, |u|) for noise
    u, with affine layers at most `exp(2) (|u| + 5 layers)`; log scale is within (-10, 10).
    """

    zero: Tensor

    def __init__(self, layers: int = 4, hidden: int = 64, size: int | None = None, bins: int = 0):
        super().__init__()
        self.layers, self.hidden, self.size, self.bins = layers, hidden, size, bins
        self.register_buffer("zero", torch.zeros(size or 0), persistent=False)
        self.loc = nn.Parameter(torch.zeros(size or 0))
        self.log_scale = nn.Parameter(torch.zeros(size or 0))
        per = splines("FlowPrior", bins).per if bins else Affine.per
        self.networks = masked_networks(size or 1, layers, hidden, 0, per)

    @property
    def _elementwise(self) -> Elementwise:
        return Spline(self.bins) if self.bins else Standardise(Affine.of_layers(self.layers, shift=PRIOR_SHIFT))

    def forward(self, scope: ForwardContext, above: Tensor | None = None) -> dist.Flow:
        base, scale = (
            dist.Normal(self.zero, torch.ones_like(self.zero)),
            soft_clamp(self.log_scale, -LOG_SCALE, LOG_SCALE),
        )
        layers = (Inverted(Autoregressive(self.zero, FunctionalModule.of(n), self._elementwise)) for n in self.networks)
        return dist.Flow(base, (*layers, Placed(self.loc, scale.exp())))

    @torch.no_grad()
    def start(self, codes: Tensor, scope: ForwardContext) -> None:
        """loc and scale become the mean and the standard deviation of the codes."""
        codes = codes[:, : self.size]
        log_scale = codes.std(0).clamp_min(1e-6).log().clamp(0.99 * -LOG_SCALE, 0.99 * LOG_SCALE)
        self.loc.copy_(codes.mean(0))
        self.log_scale.copy_(LOG_SCALE * torch.atanh(log_scale / LOG_SCALE))
