"""Riemannian Hamiltonian inference: the draw is carried along a geometry that is learned from the codes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Self

import torch
from torch import Tensor, nn
from torch.func import grad

from ..core import Component, ForwardContext, LatentSample, prefixed, record, static
from ..distributions.elementwise import soft_clamp
from .hamiltonian import KICK, Hamiltonian
from .latent import AbstractLatent, Latent
from .priors import some_rows


@record
class Curvature:
    """`G^-1(z) = sum_i M_i exp(-|z - c_i|^2 / width^2) + floor I`, the inverse metric, and what follows from it.

    centres: (C, D). matrices: (C, D, D), symmetric. Either may have a batch dimension before these.
    """

    centres: Tensor
    matrices: Tensor
    width: float = static()
    floor: float = static()

    def _weights(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, D) z - c_i; (B, C) the kernels."""
        away = z.unsqueeze(-2) - self.centres
        return away, (-away.square().sum(-1) / self.width**2).exp()

    def inverse_metric(self, z: Tensor) -> Tensor:
        """(B, D, D)."""
        size = z.shape[-1]
        mixed = (self._weights(z)[1].unsqueeze(-2) @ self.matrices.flatten(-2)).squeeze(-2)
        return mixed.unflatten(-1, (size, size)) + self.floor * torch.eye(size, device=z.device, dtype=z.dtype)

    def turning(self, z: Tensor, momentum: Tensor) -> Tensor:
        """(B, D, D): the derivative of `G^-1(z) r` by z, its row the number that is differentiated."""
        away, kernels = self._weights(z)
        pushed = (self.matrices @ momentum.unsqueeze(-2).unsqueeze(-1)).squeeze(-1)
        return pushed.mT @ (away * kernels.unsqueeze(-1) * (-2 / self.width**2))

    def factor(self, z: Tensor) -> Tensor:
        """(B, D, D): A lower triangular with `A A^T = G^-1(z)`."""
        return torch.linalg.cholesky_ex(self.inverse_metric(z))[0]

    def momentum(self, z: Tensor, noise: Tensor) -> Tensor:
        """r ~ N(0, G(z)) from noise of N(0, I)."""
        return torch.linalg.solve_triangular(self.factor(z).mT, noise.unsqueeze(-1), upper=True).squeeze(-1)

    def log_volume(self, z: Tensor) -> Tensor:
        """(B,): half of log det G^-1(z)."""
        return self.factor(z).diagonal(dim1=-2, dim2=-1).log().sum(-1)

    def log_momentum(self, z: Tensor, momentum: Tensor) -> Tensor:
        """(B,): log N(r; 0, G(z)), but for its constant."""
        along = (self.factor(z).mT @ momentum.unsqueeze(-1)).squeeze(-1)
        return self.log_volume(z) - 0.5 * along.square().sum(-1)


def log_det_near_identity(matrix: Tensor) -> Tensor:
    """(B,): log |det| by elimination without pivots, for matrices close enough to the identity to need none."""
    total = torch.zeros_like(matrix[..., 0, 0])
    for _ in range(matrix.shape[-1]):
        pivot = matrix[..., :1, :1]
        total = total + pivot[..., 0, 0].abs().log()
        matrix = matrix[..., 1:, 1:] - matrix[..., 1:, :1] @ matrix[..., :1, 1:] / pivot
    return total


def leapfrog(
    z: Tensor,
    momentum: Tensor,
    force: Tensor,
    force_at: Callable[[Tensor], Tensor],
    curvature: Curvature,
    step: Tensor,
    iterations: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A generalised leapfrog step on `H = V(z) + r^T G^-1(z) r / 2`: z', r', the force at z', the map's log |det|.

    Girolami & Calderhead 2011, equations 16 to 18, V with half of log det G; force: -dV/dz at z, which `force_at`
    gives. The two implicit equations take `iterations` of their fixed points. Each moves one of z and r with the other
    held, so the determinant is that of D x D matrices, which follow the same recursion: it is exact for any number.
    Half a step of the force alone changes the momentum by less than `KICK`, which leaves the determinants as they are.
    """
    identity = torch.eye(z.shape[-1], device=z.device, dtype=z.dtype)
    half = 0.5 * step

    def bent(z: Tensor, r: Tensor) -> tuple[Tensor, Tensor]:
        """-d/dz of `r^T G^-1(z) r / 2`, and its derivative by r: minus the transposed turning."""
        turning = curvature.turning(z, r).mT
        return -0.5 * (turning @ r.unsqueeze(-1)).squeeze(-1), -turning

    kick = soft_clamp(half * force, -KICK, KICK)
    middle, by_r = momentum, identity
    for _ in range(iterations):
        bend, turning = bent(z, middle)
        middle = momentum + kick + half * bend
        by_r = identity + half.unsqueeze(-1) * turning @ by_r
    start = (curvature.inverse_metric(z) @ middle.unsqueeze(-1)).squeeze(-1)
    turning_at_start = curvature.turning(z, middle)
    moved, by_z = z, identity
    for _ in range(iterations):
        speed = (curvature.inverse_metric(moved) @ middle.unsqueeze(-1)).squeeze(-1)
        by_z = identity + half.unsqueeze(-1) * (turning_at_start + curvature.turning(moved, middle) @ by_z)
        moved = z + half * (start + speed)
    force = force_at(moved)
    bend, turning = bent(moved, middle)
    last = identity + half.unsqueeze(-1) * turning
    log_det = sum(log_det_near_identity(m) for m in (by_r, by_z, last))
    return moved, middle + soft_clamp(half * force, -KICK, KICK) + half * bend, force, log_det


class RiemannianMetric(Component):
    """The learned metric of a space of codes: `G^-1(z) = 1/C sum_i L_i L_i^T exp(-|z - c_i|^2 / width^2) + floor I`.

    Chadebec et al. 2020, arXiv:2010.11518. c_i are the means of q for `centres` rows of the training data, drawn once
    and kept with the model; network: what the encoder says of such a row -> the D (D + 1) / 2 entries of L_i, the
    logarithms of its diagonal first. A tanh keeps these within (-1, 1), and a mean stands where the paper has a sum,
    so that the metric, and with it what a step may be, does not drift. Far from all codes the volume grows to
    `floor^(-D/2)`, which keeps the paths where there are data.
    """

    rows: Tensor
    place: Tensor

    def __init__(
        self,
        network: nn.Module,
        centres: int = 100,
        width: float = 1.0,
        floor: float = 0.1,
        size: int | None = None,
        inputs_shape: tuple[int, ...] | None = None,
    ):
        super().__init__()
        if centres < 1 or not width > 0 or not floor > 0:
            raise ValueError(
                f"RiemannianMetric(centres={centres}, width={width}, floor={floor}): expected at least one centre, "
                "and a width and a floor above 0"
            )
        self.network, self.centres, self.width, self.floor, self.size = network, centres, width, floor, size
        self.inputs_shape = None if inputs_shape is None else tuple(inputs_shape)
        self.register_buffer("rows", torch.rand(centres, *(self.inputs_shape or (0,))))
        below, across = torch.tril_indices(size or 0, size or 0, -1)
        place = torch.eye((size or 0) ** 2)[below * (size or 0) + across]
        self.register_buffer("place", place, persistent=False)

    def resolve_shapes(self, *, evidence: int | None = None, **sizes: object) -> Self:
        metric = super().resolve_shapes(**sizes)
        if not isinstance(self.network, Component) or metric.size is None or evidence is None:
            return metric
        network = self.network.resolve_shapes(in_shape=(evidence,), out_shape=(metric.size * (metric.size + 1) // 2,))
        return metric if network is self.network else type(self)(**{**metric.arguments(), "network": network})

    def forward(self, codes: Tensor, evidence: Tensor) -> Curvature:
        """The metric of rows with these codes (..., C, D) and this evidence."""
        numbers = self.network(evidence.flatten(0, -2)).unflatten(0, evidence.shape[:-1])
        diagonal, rest = numbers.tanh().tensor_split((self.size,), -1)
        lower = (rest @ self.place).unflatten(-1, (self.size, self.size))
        lower = lower + torch.diag_embed(diagonal.exp())
        return Curvature(codes, lower @ lower.mT / self.centres, self.width, self.floor)

    @torch.no_grad()
    def prepare(self, inputs: Tensor, scope: ForwardContext) -> None:
        self.rows.copy_(some_rows(inputs, self.centres, scope))


class RiemannianHamiltonian(Hamiltonian):
    """A latent whose draw is moved by `steps` generalised leapfrog steps, its momentum drawn from N(0, G(z)).

    Chadebec et al. 2020, arXiv:2010.11518, and 2021, arXiv:2105.00026. `log_ratio = log p(z_K) + log N(r_K; 0, G(z_K))
    - log q(z_0 | x) - log N(r_0; 0, G(z_0)) + log |det|`. The papers take the steps' fixed points for reached, and the
    determinant for 1; here that of the `iterations` made is exact, so that the estimate of p(x) is unbiased however few
    they are, as long as a step is short enough for each to be one-to-one. The other arguments are `Hamiltonian`'s.
    """

    def __init__(
        self,
        inner: AbstractLatent,
        metric: RiemannianMetric,
        steps: int = 3,
        step_size: float = 0.05,
        tempering: float = 1.0,
        maximum_step: float = 0.25,
        iterations: int = 3,
    ):
        if not isinstance(inner, Latent):
            raise ValueError(
                f"RiemannianHamiltonian(inner={type(inner).__name__}): its metric is made around the means of a "
                "posterior, so it needs a Latent; use Hamiltonian over others"
            )
        if iterations < 1:
            raise ValueError(f"RiemannianHamiltonian(iterations={iterations}): expected at least one")
        super().__init__(inner, steps, step_size, tempering, maximum_step)
        self.metric, self.iterations = metric, iterations

    def resolve_shapes(self, **sizes: object) -> Self:
        inner = self.inner.resolve_shapes(**sizes)
        own = {"inputs_shape": sizes.get("inputs_shape"), "size": self.shape[0], "evidence": self.evidence_shape[0]}
        metric = self.metric.resolve_shapes(**own)
        if inner is self.inner and metric is self.metric:
            return self
        return type(self)(**{**self.arguments(), "inner": inner, "metric": metric})

    def curvature(self, scope: ForwardContext) -> Curvature:
        """The metric as it is now, around the codes of its rows."""
        evidence = scope.encode(self.metric.rows)
        return self.metric(self.inner.posterior(evidence).mean, evidence)

    def infer(
        self, evidence: Tensor, scope: ForwardContext, above: Tensor | None = None, held: Tensor | None = None
    ) -> LatentSample:
        start, curvature = self.inner.infer(evidence, scope, above, held), self.curvature(scope)

        def minus_energy(z: Tensor) -> Tensor:
            joint = scope.log_lik(z) + self.inner.log_prior(z, scope, above)
            return (joint + curvature.log_volume(z)).sum()

        force_at, step = grad(minus_energy), self.maximum_step * torch.sigmoid(self.step_logits)
        z = start.z
        drawn = curvature.momentum(z, scope.randn(z.shape))
        momentum, force, log_det = drawn / self._root_temperature(0), force_at(z), 0.0
        for k in range(self.steps):
            z, momentum, force, own = leapfrog(z, momentum, force, force_at, curvature, step, self.iterations)
            momentum = momentum * (self._root_temperature(k) / self._root_temperature(k + 1))
            log_det = log_det + own
        change = self.inner.log_prior(z, scope, above) - self.inner.log_prior(start.z, scope, above)
        kinetic = curvature.log_momentum(z, momentum) - curvature.log_momentum(start.z, drawn)
        log_ratio = start.log_ratio + change + kinetic + log_det
        return replace(start, z=z, log_ratio=log_ratio, kl=None, q=None, updates=prefixed("inner", start.updates))

    def prepare(self, inputs: Tensor, evidence: Tensor, scope: ForwardContext, above: Tensor | None = None) -> None:
        super().prepare(inputs, evidence, scope, above)
        self.metric.prepare(inputs, scope)
