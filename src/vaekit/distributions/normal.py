"""Normal distributions: diagonal, full covariance, and the point that a variance of zero leaves."""

from __future__ import annotations

import torch
from torch import Tensor

from ..core import ForwardContext, record
from .base import LOG_2PI, Distribution, closed_form, per_row


@record
class Normal(Distribution):
    """`N(loc, scale^2)` in every cell."""

    loc: Tensor
    scale: Tensor

    def log_prob(self, x: Tensor) -> Tensor:
        return -0.5 * ((x - self.loc) / self.scale).square() - self.scale.log() - 0.5 * LOG_2PI

    def draw(self, scope: ForwardContext, rows: int | None = None) -> Tensor:
        return self.loc + self.scale * scope.randn(per_row(self.loc.shape, rows))

    @property
    def mean(self) -> Tensor:
        return self.loc

    mode = mean

    def to_torch(self) -> torch.distributions.Distribution:
        """The same as a `torch.distributions` object, one event per row."""
        return torch.distributions.Independent(torch.distributions.Normal(self.loc, self.scale), self.loc.dim() - 1)


@record
class MultivariateNormal(Distribution):
    """`N(loc, L L^T)`, `scale_tril` = L lower triangular with a positive diagonal: (B, D) and (B, D, D)."""

    loc: Tensor
    scale_tril: Tensor

    def log_prob(self, x: Tensor) -> Tensor:
        white = self._white(x - self.loc)
        return -0.5 * white.square().sum(-1) - self._log_det - 0.5 * self.loc.shape[-1] * LOG_2PI

    def _white(self, apart: Tensor) -> Tensor:
        """`L^-1 apart`. An L that many rows share is inverted once: a product over the rows, not a solve for each."""
        lower = self.scale_tril
        if lower.shape[:-2] == apart.shape[:-1]:
            return torch.linalg.solve_triangular(lower, apart.unsqueeze(-1), upper=False).squeeze(-1)
        identity = torch.eye(lower.shape[-1], device=lower.device, dtype=lower.dtype)
        inverse = torch.linalg.solve_triangular(lower, identity.expand_as(lower), upper=False)
        return torch.einsum("...j,...ij->...i", apart, inverse)

    @property
    def _log_det(self) -> Tensor:
        return self.scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)

    def draw(self, scope: ForwardContext, rows: int | None = None) -> Tensor:
        noise = scope.randn(per_row(self.loc.shape, rows))
        return self.loc + (self.scale_tril @ noise.unsqueeze(-1)).squeeze(-1)

    @property
    def mean(self) -> Tensor:
        return self.loc

    mode = mean

    def to_torch(self) -> torch.distributions.Distribution:
        """The same as a `torch.distributions` object."""
        return torch.distributions.MultivariateNormal(self.loc, scale_tril=self.scale_tril)


@record
class LowRankNormal(Distribution):
    """`N(loc, diag(scale^2) + W W^T)`, `factor` = W: (B, D), (B, D) and (B, D, R) with R below D.

    With A = diag(1 / scale) W and y = (x - loc) / scale: `|y|^2 - |L^-1 A^T y|^2`, L L^T = I + A^T A, which is R x R
    (Woodbury), so that a density takes of the order of D R^2 operations.
    """

    loc: Tensor
    scale: Tensor
    factor: Tensor

    def _inner(self) -> tuple[Tensor, Tensor]:
        """A and L. The matrix has no eigenvalue below 1, so that its factorisation need not be checked."""
        a = self.factor / self.scale.unsqueeze(-1)
        identity = torch.eye(a.shape[-1], device=a.device, dtype=a.dtype)
        return a, torch.linalg.cholesky_ex(identity + a.mT @ a)[0]

    def _log_det(self, lower: Tensor) -> Tensor:
        return self.scale.log().sum(-1) + lower.diagonal(dim1=-2, dim2=-1).log().sum(-1)

    def log_prob(self, x: Tensor) -> Tensor:
        a, lower = self._inner()
        y = (x - self.loc) / self.scale
        within = torch.linalg.solve_triangular(lower, a.mT @ y.unsqueeze(-1), upper=False).squeeze(-1)
        distance = y.square().sum(-1) - within.square().sum(-1)
        return -0.5 * distance - self._log_det(lower) - 0.5 * self.loc.shape[-1] * LOG_2PI

    def draw(self, scope: ForwardContext, rows: int | None = None) -> Tensor:
        shape = per_row(self.loc.shape, rows)
        own, shared = scope.randn(shape), scope.randn((*shape[:-1], self.factor.shape[-1]))
        return self.loc + self.scale * own + (self.factor @ shared.unsqueeze(-1)).squeeze(-1)

    @property
    def mean(self) -> Tensor:
        return self.loc

    mode = mean

    def to_torch(self) -> torch.distributions.Distribution:
        """The same as a `torch.distributions` object."""
        return torch.distributions.LowRankMultivariateNormal(self.loc, self.factor, self.scale.square())


@record
class AutoregressiveNormal(Distribution):
    """`z_1 ~ N(0, I)`, `z_t ~ N(alpha z_(t-1), (1 - alpha^2) I)`: every number is N(0, 1); one cell per row.

    zero: (steps, D), whose shape is that of a row; a row is flat, step after step. alpha: in (0, 1).
    """

    zero: Tensor
    alpha: Tensor

    @property
    def _variances(self) -> Tensor:
        """(steps, D): of each number, given the step before."""
        first = torch.ones_like(self.zero[:1])
        return torch.cat([first, (1 - self.alpha.square()) * torch.ones_like(self.zero[1:])])

    def before(self, x: Tensor) -> Tensor:
        """(..., steps, D) -> the step before, 0 before the first."""
        return torch.cat([torch.zeros_like(x[..., :1, :]), x[..., :-1, :]], -2)

    def log_prob(self, x: Tensor) -> Tensor:
        x = x.unflatten(-1, self.zero.shape)
        apart = (x - self.alpha * self.before(x)).square() / self._variances
        return -0.5 * (apart + self._variances.log() + LOG_2PI).sum((-2, -1))

    def draw(self, scope: ForwardContext, rows: int | None = None) -> Tensor:
        first, *others = (self._variances.sqrt() * scope.randn(per_row(self.zero.shape, rows))).unbind(-2)
        drawn = [first]
        for noise in others:
            drawn.append(self.alpha * drawn[-1] + noise)
        return torch.cat(drawn, -1)

    @property
    def mean(self) -> Tensor:
        return self.zero.flatten()

    mode = mean


@record
class Delta(Distribution):
    """All the mass on one point: it has no density, so `log_prob` refuses."""

    loc: Tensor

    def log_prob(self, x: Tensor) -> Tensor:
        raise ValueError("a point mass has no density: use an objective that needs none")

    def draw(self, scope: ForwardContext, rows: int | None = None) -> Tensor:
        return self.loc if rows is None else self.loc.expand(rows, *self.loc.shape)

    @property
    def mean(self) -> Tensor:
        return self.loc

    mode = mean


@closed_form(Normal, Normal)
def _(q: Normal, p: Normal) -> Tensor:
    ratio = (q.scale / p.scale).square()
    return 0.5 * (ratio + ((q.loc - p.loc) / p.scale).square() - 1 - ratio.log()).flatten(1)


@closed_form(MultivariateNormal, Normal)
def _(q: MultivariateNormal, p: Normal) -> Tensor:
    spread = (q.scale_tril / p.scale.unsqueeze(-1)).square().sum((-2, -1))
    shift = ((q.loc - p.loc) / p.scale).square().sum(-1)
    log_det = p.scale.log().expand_as(q.loc).sum(-1) - q._log_det
    return (0.5 * (spread + shift - q.loc.shape[-1]) + log_det).unsqueeze(-1)


@closed_form(LowRankNormal, Normal)
def _(q: LowRankNormal, p: Normal) -> Tensor:
    variance = q.scale.square() + q.factor.square().sum(-1)
    cells = (variance + (q.loc - p.loc).square()) / p.scale.square() - 1 + 2 * p.scale.log()
    return (0.5 * cells.sum(-1) - q._log_det(q._inner()[1])).unsqueeze(-1)


@closed_form(Normal, AutoregressiveNormal)
def _(q: Normal, p: AutoregressiveNormal) -> Tensor:
    loc, variance = (t.unflatten(-1, p.zero.shape) for t in (q.loc, q.scale.square()))
    apart = (loc - p.alpha * p.before(loc)).square() + variance + p.alpha.square() * p.before(variance)
    return 0.5 * (apart / p._variances + p._variances.log() - variance.log() - 1).flatten(1)
