"""Hamiltonian inference: a draw carried towards the posterior by leapfrog steps."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.func import grad

from ..core import ForwardContext, LatentSample, prefixed
from ..distributions.base import sum_cells
from ..distributions.elementwise import soft_clamp
from .latent import AbstractLatent, LatentWrapper

KICK = 10.0
"""Soft bound on the change of momentum in half a step, in standard deviations of the momentum. The change depends on z
alone, so the map keeps its volume and its inverse whatever the bound; a step that is short enough never meets it."""


class Hamiltonian(LatentWrapper):
    """Any latent, its draw moved by `steps` leapfrog steps on U(z) = -log p(x, z).

    Caterini et al. 2018, arXiv:1805.11328. The map is volume preserving up to the tempering, which cancels, so that
    with momentum r ~ N(0, I) `log_ratio = log p(z_K) + log N(r_K; 0, I) - log q(z_0 | x) - log N(r_0; 0, I)` on the
    joint space of z and momentum. Half a step changes the momentum by less than 10 in each dimension, so a draw stays
    bounded where the decoder is steep. Step sizes are learned, one per dimension, below `maximum_step`. tempering: the
    initial inverse temperature beta_0 in (0, 1], raised to 1 by the quadratic schedule of the paper; 1 means none.
    """

    entangled = True  # the decoder's weights move z: they serve q too
    follows_gradients = True

    def __init__(
        self,
        inner: AbstractLatent,
        steps: int = 5,
        step_size: float = 0.05,
        tempering: float = 1.0,
        maximum_step: float = 0.5,
    ):
        super().__init__()
        if steps < 1 or not 0 < step_size < maximum_step or not 0 < tempering <= 1:
            raise ValueError(
                f"Hamiltonian(steps={steps}, step_size={step_size}, tempering={tempering}, maximum_step="
                f"{maximum_step}): expected steps >= 1, 0 < step_size < maximum_step and 0 < tempering <= 1"
            )
        if inner.ratio != "exact":
            raise ValueError(f"Hamiltonian needs a latent with a density; {type(inner).__name__} has none")
        estimated = next((type(m).__name__ for m in inner.modules() if getattr(m, "estimates", False)), None)
        if estimated is not None:
            raise ValueError(f"Hamiltonian moves along log p(z), which {estimated} but estimates: use FlowPrior()")
        if inner.labelled:
            raise ValueError("Hamiltonian moves z along a gradient, and a label is a choice: leave Labelled out of it")
        if inner.space != "real":
            raise ValueError(
                f"Hamiltonian moves z freely in R^d, and this z lives in the space {inner.space!r}: take a posterior "
                "over real numbers, such as Normal"
            )
        self.inner, self.steps, self.step_size = inner, steps, step_size
        self.tempering, self.maximum_step = tempering, maximum_step
        start = math.log(step_size / (maximum_step - step_size))
        self.step_logits = nn.Parameter(torch.full(inner.shape, start))

    def _root_temperature(self, k: int) -> float:
        """sqrt(beta_k): from sqrt(tempering) at k = 0 to 1 at k = steps."""
        root = math.sqrt(self.tempering)
        return 1 / ((1 - 1 / root) * (k / self.steps) ** 2 + 1 / root)

    def infer(
        self, evidence: Tensor, scope: ForwardContext, above: Tensor | None = None, held: Tensor | None = None
    ) -> LatentSample:
        start = self.inner.infer(evidence, scope, above, held)

        def log_joint(z: Tensor) -> Tensor:
            return (scope.log_lik(z) + self.inner.log_prior(z, scope, above)).sum()

        force, step = grad(log_joint), self.maximum_step * torch.sigmoid(self.step_logits)

        def kick(z: Tensor) -> Tensor:
            return soft_clamp(0.5 * step * force(z), -KICK, KICK)

        z, noise = start.z, scope.randn(start.z.shape)
        momentum = noise / self._root_temperature(0)
        for k in range(self.steps):
            momentum = momentum + kick(z)
            z = z + step * momentum
            momentum = momentum + kick(z)
            momentum = momentum * (self._root_temperature(k) / self._root_temperature(k + 1))
        kinetic = 0.5 * sum_cells(noise.square() - momentum.square())
        change = self.inner.log_prior(z, scope, above) - self.inner.log_prior(start.z, scope, above)
        ratio, updates = start.log_ratio + change + kinetic, prefixed("inner", start.updates)
        return LatentSample(z, ratio, p=start.p, penalty=start.penalty, updates=updates)
