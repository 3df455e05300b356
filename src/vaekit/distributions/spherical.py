"""Distributions on the unit sphere, their densities with respect to its surface."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..core import ForwardContext, record
from .base import Distribution, closed_form, per_row
from .bessel import bessel, gamma_gap

NODES, TABLE, STEPS = 40, 64, 4
"""Of the quadrature, of the table and of Newton: the distribution function is met to 1e-7 in fp64."""
BELOW, BEYOND = 7.0, 11.0
"""How far a table of angles reaches on either side of the likeliest, in standard deviations there: what lies outside
has a probability below 1e-10."""


def log_area(size: int) -> float:
    """Of the unit sphere in `size` dimensions: `log 2 + size/2 log pi - log Gamma(size/2)`."""
    return math.log(2) + size / 2 * math.log(math.pi) - math.lgamma(size / 2)


def unit(direction: Tensor) -> Tensor:
    """Divided by its norm; a vector of zeros becomes the first axis."""
    square = direction.square().sum(-1, keepdim=True)
    some = square > torch.finfo(direction.dtype).tiny
    first = (torch.arange(direction.shape[-1], device=direction.device) == 0).to(direction.dtype)
    return torch.where(some, direction * torch.where(some, square, 1.0).rsqrt(), first)


@record
class UniformSphere(Distribution):
    """Every point of the unit sphere in D dimensions as likely as the next; zero: (D,) zeros, for shape and type."""

    zero: Tensor

    def log_prob(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x[..., 0]) - log_area(self.zero.shape[-1])

    def draw(self, scope: ForwardContext, rows: int | None = None) -> Tensor:
        return unit(scope.randn(per_row(self.zero.shape, rows)))

    @property
    def mean(self) -> Tensor:
        return self.zero

    @property
    def mode(self) -> Tensor:
        """One of them all: the first axis."""
        return unit(self.zero)


class Rotational(Distribution):
    """A density on the unit sphere that depends on x through its angle to `loc` alone; one cell per row.

    loc: (..., D), of norm 1. concentration: (...). With t = cos(angle), `log p(x) = profile - log_scale - log area`,
    profile being 0 at loc. A draw turns the distribution function of the angle round: a table, then steps of
    Newton, of which the last carries the gradient; the tangent is uniform. So the noise asked for depends on shapes
    alone, where the papers reject.
    """

    loc: Tensor
    concentration: Tensor

    def profile(self, half: Tensor) -> Tensor:
        """Of `half` = sin^2(angle / 2) = |x - loc|^2 / 4, with `concentration` before any last dimension of it."""
        raise NotImplementedError

    @property
    def log_scale(self) -> Tensor:
        """(...): log E exp(profile) over the uniform distribution."""
        raise NotImplementedError

    def peak(self) -> tuple[Tensor, Tensor]:
        """The likeliest angle, and the curvature of its log-density there."""
        raise NotImplementedError

    def log_prob(self, x: Tensor) -> Tensor:
        profile = self.profile((x - self.loc).square().sum(-1) / 4)
        return profile - self.log_scale - log_area(self.loc.shape[-1])

    def draw(self, scope: ForwardContext, rows: int | None = None) -> Tensor:
        return self.draw_with_log_density(scope, rows)[0]

    def draw_with_log_density(self, scope: ForwardContext, rows: int | None = None) -> tuple[Tensor, Tensor]:
        size = self.loc.shape[-1]
        u = scope.rand(per_row(self.concentration.shape, rows))
        noise = scope.randn((*u.shape, size - 1))
        angle = self._angle(u)
        z = angle.cos().unsqueeze(-1) * self.loc + angle.sin().unsqueeze(-1) * tangent(self.loc, noise)
        z = torch.where((noise != 0).any(-1, keepdim=True), z, self.loc)  # without noise: the mean direction
        return z, self.profile((angle / 2).sin().square()) - self.log_scale - log_area(size)

    def _log_angle(self, angle: Tensor, log_scale: Tensor) -> Tensor:
        """The log-density of angles, with a last dimension of their own."""
        size = self.loc.shape[-1]
        ring = (size - 2) * angle.sin().clamp(min=torch.finfo(angle.dtype).tiny).log()
        wide = type(self)(self.loc, self.concentration.unsqueeze(-1))
        return wide.profile((angle / 2).sin().square()) + ring - log_scale + log_area(size - 1) - log_area(size)

    def _angle(self, u: Tensor) -> Tensor:
        """The angle at which the distribution function is u."""
        log_scale, fine = self.log_scale.unsqueeze(-1), torch.finfo(u.dtype)
        with torch.no_grad():
            mode, curvature = self.peak()
            low = (mode - BELOW * curvature.rsqrt()).clamp(min=0)
            high = (mode + BEYOND * curvature.rsqrt()).clamp(max=math.pi)
            least, angle, most = self._tabled(u, low, high, log_scale)
            near, target = torch.where(u < 0.5, low, high), torch.where(u < 0.5, u.clamp(min=fine.tiny), u - 1)
            nodes, weights = fejer(u)
            for _ in range(STEPS):  # of Newton, for the logarithm: the tails are near to powers and exponentials
                reached, here = self._reached(angle, near, nodes, weights, log_scale)
                step = angle - reached / here * (reached / target).clamp(min=fine.tiny).log()
                angle = torch.minimum(torch.maximum(step, 0.5 * (angle + least)), 0.5 * (angle + most))
        reached, here = self._reached(angle, near, nodes, weights, log_scale)
        return angle - (reached - target) / here.detach()

    def _reached(
        self, angle: Tensor, near: Tensor, nodes: Tensor, weights: Tensor, log_scale: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The probability from `near` to the angle, negative downwards, and the density at it."""
        way = angle - near
        at = near.unsqueeze(-1) + way.unsqueeze(-1) * nodes
        here = self._log_angle(angle.unsqueeze(-1), log_scale).squeeze(-1).exp()
        reached = way * (weights * self._log_angle(at, log_scale).exp()).sum(-1)
        return reached, here.clamp(min=torch.finfo(here.dtype).tiny)

    def _tabled(self, u: Tensor, low: Tensor, high: Tensor, log_scale: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Nearly the same from a table of the density, and the angles of the table that it lies between."""
        share = torch.linspace(0, 1, TABLE, device=u.device, dtype=u.dtype)
        step = (high - low) / (TABLE - 1)
        density = self._log_angle(low.unsqueeze(-1) + (high - low).unsqueeze(-1) * share, log_scale).exp()
        cells = 0.5 * (density[..., 1:] + density[..., :-1])
        reached = cells.cumsum(-1) / cells.sum(-1, keepdim=True)
        place = (reached < u.unsqueeze(-1)).sum(-1, keepdim=True).clamp(max=TABLE - 2)
        end = reached.expand(*u.shape, -1).gather(-1, place).squeeze(-1)
        begin = torch.where(place > 0, reached.expand(*u.shape, -1).gather(-1, (place - 1).clamp(min=0)), 0.0)
        begin, place = begin.squeeze(-1), place.squeeze(-1)
        into = (u - begin) / (end - begin).clamp(min=torch.finfo(u.dtype).tiny)
        around = (place - 1).clamp(min=0), place + into.clamp(0.1, 0.9), (place + 2).clamp(max=TABLE - 1)
        return tuple(low + step * at for at in around)


def tangent(loc: Tensor, noise: Tensor) -> Tensor:
    """A uniform unit vector at right angles to loc (..., D), of noise (..., D - 1); no vector for no noise.

    The noise's direction, reflected as the first axis is onto loc or -loc: the farther of the two, so that nothing is
    divided by a small number.
    """
    square = noise.square().sum(-1, keepdim=True)
    flat = noise * torch.where(square > 0, square, 1.0).rsqrt()
    first, others = loc[..., :1], loc[..., 1:]
    along = (flat * others).sum(-1, keepdim=True)
    return torch.cat(
        [torch.where(first < 0, along, -along), flat - along / (1 + first.abs()) * others.expand_as(flat)], -1
    )


def fejer(like: Tensor) -> tuple[Tensor, Tensor]:
    """Nodes and weights of Fejer's first rule on [0, 1], made where they are needed: no copy waits for the host."""
    k = torch.arange(NODES, device=like.device, dtype=like.dtype)
    at = (2 * k + 1) * (math.pi / (2 * NODES))
    j = torch.arange(1, NODES // 2 + 1, device=like.device, dtype=like.dtype)
    waves = ((2 * j * at.unsqueeze(1)).cos() / (4 * j.square() - 1)).sum(1)
    return 0.5 * (1 + at.cos()), (1 - 2 * waves) / NODES


@record
class VonMisesFisher(Rotational):
    """`p(x) = exp(kappa loc x) / C(kappa)` on the unit sphere; kappa >= 0 of any size.

    Davidson et al. 2018, arXiv:1804.00891; C by `bessel`. The mean lies inside the sphere: `I_{m+1} / I_m loc`,
    m = D / 2 - 1.
    """

    loc: Tensor
    concentration: Tensor

    def profile(self, half: Tensor) -> Tensor:
        return -2 * self.concentration * half

    @property
    def log_scale(self) -> Tensor:
        return bessel(self.concentration, self.loc.shape[-1])[0]

    def peak(self) -> tuple[Tensor, Tensor]:
        others = self.loc.shape[-1] - 2
        over = 0.5 * (others + (others**2 + 4 * self.concentration.square()).sqrt()).clamp(min=1e-6)
        cosine = self.concentration / over
        return cosine.clamp(max=1).acos(), cosine * self.concentration + (over if others else 1e-6)

    @property
    def mean(self) -> Tensor:
        return bessel(self.concentration, self.loc.shape[-1])[1].unsqueeze(-1) * self.loc

    @property
    def mode(self) -> Tensor:
        return self.loc


@record
class PowerSpherical(Rotational):
    """`p(x) = (1 + loc x)^kappa / C(kappa)` on the unit sphere; all closed, kappa > 0.

    De Cao & Aziz 2020, arXiv:2006.04437, equations 4-5; t = loc x is 2 Beta((D - 1) / 2 + kappa, (D - 1) / 2) - 1.
    """

    loc: Tensor
    concentration: Tensor

    def profile(self, half: Tensor) -> Tensor:
        return self.concentration * torch.log1p(-half.clamp(max=1 - torch.finfo(half.dtype).eps))

    @property
    def _scale_and_slope(self) -> tuple[Tensor, Tensor]:
        b = (self.loc.shape[-1] - 1) / 2
        value, slope = gamma_gap(b + self.concentration, b)
        return value - math.lgamma(b) + math.lgamma(2 * b), slope

    @property
    def log_scale(self) -> Tensor:
        return self._scale_and_slope[0]

    def peak(self) -> tuple[Tensor, Tensor]:
        others = self.loc.shape[-1] - 2
        square = others / (2 * self.concentration + others).clamp(min=1e-6)  # of tan(angle / 2)
        ring = (1 + square).square() * (2 * self.concentration + others) / 4 if others else 1e-6
        return 2 * square.sqrt().atan(), self.concentration * (1 + square) / 2 + ring

    @property
    def mean(self) -> Tensor:
        b = (self.loc.shape[-1] - 1) / 2
        return (self.concentration / (self.concentration + 2 * b)).unsqueeze(-1) * self.loc

    @property
    def mode(self) -> Tensor:
        return self.loc


@closed_form(VonMisesFisher, UniformSphere)
def _(q: VonMisesFisher, p: UniformSphere) -> Tensor:
    """`kappa A - log E exp(kappa t)`, equation 14 of Davidson et al. 2018."""
    log_scale, _, rest = bessel(q.concentration, q.loc.shape[-1])
    return (-rest - log_scale).unsqueeze(-1)


@closed_form(PowerSpherical, UniformSphere)
def _(q: PowerSpherical, p: UniformSphere) -> Tensor:
    """The uniform entropy less that of equation 12 of De Cao & Aziz 2020."""
    log_scale, slope = q._scale_and_slope
    return (q.concentration * slope - log_scale).unsqueeze(-1)
