"""Three parts of one's own: a likelihood, a prior and an objective. docs/parts-of-your-own.md puts them to use."""

import math

import torch
from torch import Tensor, nn

from vaekit.core import Batch, ForwardContext, Hyper, LossOutput, Noise, hyper, record, static, weighted_mean
from vaekit.distributions import Distribution, per_row
from vaekit.latents import Prior
from vaekit.likelihoods import Likelihood
from vaekit.model import VAEModule
from vaekit.objectives import Objective
from vaekit.objectives.base import penalty, summary


@record
class Laplace(Distribution):
    """`exp(-|x - loc| / scale) / (2 scale)` in every cell."""

    loc: Tensor
    scale: Tensor

    def log_prob(self, x: Tensor) -> Tensor:
        return -(x - self.loc).abs() / self.scale - (2 * self.scale).log()

    def draw(self, scope: ForwardContext, rows: int | None = None) -> Tensor:
        side = 2 * scope.rand(per_row(self.loc.shape, rows)) - 1
        return self.loc - self.scale * side.sign() * torch.log1p(-side.abs()).clamp(min=-20.0)

    @property
    def mean(self) -> Tensor:
        return self.loc

    mode = mean


class LaplaceNoise(Likelihood):
    """Laplace noise of one learned scale around the decoder's numbers: outliers cost their distance, not its square."""

    support = "real"
    density = True

    def __init__(self, minimum_scale: float = 1e-3, shape: tuple[int, ...] | None = None):
        super().__init__(shape)
        self.minimum_scale = minimum_scale
        self.log_scale = nn.Parameter(torch.zeros(()))

    def distribution(self, parameters: Tensor) -> Laplace:
        scale = self.minimum_scale + self.log_scale.exp()
        return Laplace(parameters, scale.expand_as(parameters))


@record
class StudentT(Distribution):
    """Student's t of `freedom` degrees of freedom, spread by `scale`, in every cell."""

    scale: Tensor
    freedom: int = static()

    def log_prob(self, x: Tensor) -> Tensor:
        n = self.freedom
        constant = math.lgamma((n + 1) / 2) - math.lgamma(n / 2) - 0.5 * math.log(n * math.pi)
        return constant - self.scale.log() - 0.5 * (n + 1) * torch.log1p((x / self.scale).square() / n)

    def draw(self, scope: ForwardContext, rows: int | None = None) -> Tensor:
        shape = per_row(self.scale.shape, rows)
        chi_square = scope.randn((self.freedom, *shape)).square().sum(0)
        return self.scale * scope.randn(shape) * (self.freedom / chi_square).sqrt()

    @property
    def mean(self) -> Tensor:
        return torch.zeros_like(self.scale)

    mode = mean


class HeavyTailed(Prior):
    """Independent Student's t of learned scales: codes may lie far out, at a price that grows with their logarithm."""

    def __init__(self, freedom: int = 5, size: int | None = None):
        super().__init__()
        if freedom < 2:
            raise ValueError(f"HeavyTailed(freedom={freedom}): expected at least 2, so that there is a mean")
        self.freedom, self.size = freedom, size
        self.log_scale = nn.Parameter(torch.zeros(size or 0))

    def forward(self, scope: ForwardContext, above: Tensor | None = None) -> StudentT:
        return StudentT(self.log_scale.exp(), self.freedom)


class Renyi(Objective):
    """`1 / (1 - alpha) E log 1/k sum_i w_i^(1 - alpha)`, `w = p(x, z) / q(z | x)` (Li & Turner 2016, arXiv:1602.02311).

    alpha = 0 is the importance-weighted bound, alpha -> 1 the ELBO.
    """

    def __init__(self, alpha: float | Hyper = 0.5, k: int = 5):
        super().__init__()
        if alpha == 1:
            raise ValueError("Renyi(alpha=1) is the limit 0 / 0: use ELBO()")
        self.alpha, self.k = hyper(alpha), k

    def forward(self, model: VAEModule, batch: Batch, step: Tensor, noise: Noise) -> LossOutput:
        out = model(batch, noise, draws=self.k)
        log_w, rest = out.log_weight.unflatten(0, (self.k, -1)), 1 - self.alpha(step)
        bound = weighted_mean((torch.logsumexp(rest * log_w, 0) - math.log(self.k)) / rest, batch.weight)
        every_draw = None if batch.weight is None else batch.weight.repeat(self.k)
        metrics = {"bound": bound, **summary(out, every_draw)}
        return LossOutput({"model": penalty(out, every_draw) - bound}, metrics, out.draw.updates)
