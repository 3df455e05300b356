"""Priors p(z), and p(z | above) for a lower rung or a context."""

from __future__ import annotations

import math
from typing import Literal, Self

import numpy as np
import torch
from torch import Tensor, nn

from .. import distributions as dist
from ..core import Component, ForwardContext
from ..distributions.elementwise import soft_clamp
from ..networks.network import LowPrecision
from .clustering import fit_mixture
from .posteriors import Posterior

LOG_SCALE = 10.0
"""Bound on the logarithm of a scale that is a parameter, in either direction."""
EVIDENCE = 50.0
"""Soft bound on what the network of a `Conditional` says."""


class Prior(Component):
    """`forward(scope, above)` is p(z | above); a prior that reads nothing leaves both aside.

    `prepare(inputs, scope)` sees, once before training, rows of what the encoder reads. begins: "fitted" where `start`
    sees the codes, too, before training and once more after a pre-training. entangled: whether weights of q serve p
    too. reads_above: whether p differs from row to row with what is above. estimates: whether log p(z) is an estimate
    that differs from call to call. over_codes: whether it is over the indices of a `Quantised`. space:
    where z lives, as for posteriors; None: wherever the posterior's does.
    """

    begins = "spread"
    space: str | None = "real"
    entangled = False
    reads_above = False
    estimates = False
    over_codes = False

    def forward(self, scope: ForwardContext, above: Tensor | None = None) -> dist.Distribution:
        raise NotImplementedError

    def prepare(self, inputs: Tensor, scope: ForwardContext) -> None:
        pass

    def start(self, codes: Tensor, scope: ForwardContext) -> None:
        """Sees codes (N, D), a ladder's top first: of a trained model, before it is trained on them alone."""


class StandardNormal(Prior):
    """`N(0, I)`."""

    zero: Tensor

    def __init__(self, size: int | None = None):
        super().__init__()
        self.size = size
        self.register_buffer("zero", torch.zeros(size or 0), persistent=False)

    def forward(self, scope: ForwardContext, above: Tensor | None = None) -> dist.Normal:
        return dist.Normal(self.zero, torch.ones_like(self.zero))


class StandardLaplace(Prior):
    """`exp(-|z|) / 2` in each dimension."""

    zero: Tensor

    def __init__(self, size: int | None = None):
        super().__init__()
        self.size = size
        self.register_buffer("zero", torch.zeros(size or 0), persistent=False)

    def forward(self, scope: ForwardContext, above: Tensor | None = None) -> dist.Laplace:
        return dist.Laplace(self.zero, torch.ones_like(self.zero))


class AutoregressivePrior(Prior):
    """z as a sequence of `steps` equal pieces, `z_t ~ N(alpha z_(t-1), 1 - alpha^2)`: slow where alpha is near 1.

    Razavi et al. 2019, arXiv:1901.03416. No q of independent dimensions comes nearer to it than `D/2 ((steps - 2)
    log(1 + alpha^2) - log(1 - alpha^2))` nats, for pieces of D numbers; alpha is the one at which this is `rate`.
    """

    zero: Tensor
    alpha: Tensor

    def __init__(self, steps: int, rate: float = 1.0, size: int | None = None):
        super().__init__()
        pieces, left = divmod(size or steps, steps)
        if left:
            raise ValueError(
                f"AutoregressivePrior(steps={steps}, size={size}): expected a size that is a multiple of steps"
            )
        self.steps, self.rate, self.size = steps, rate, size
        self.register_buffer("zero", torch.zeros(steps, pieces), persistent=False)
        alpha = math.sqrt(slowness(2 * rate / pieces, steps))
        if not np.float32(alpha) < 1:
            raise ValueError(f"AutoregressivePrior(rate={rate}): expected fewer nats, which codes in float32 can hold")
        self.register_buffer("alpha", torch.tensor(alpha), persistent=False)

    def forward(self, scope: ForwardContext, above: Tensor | None = None) -> dist.AutoregressiveNormal:
        return dist.AutoregressiveNormal(self.zero, self.alpha)


def slowness(rate: float, steps: int) -> float:
    """alpha^2 at which `(steps - 2) log(1 + alpha^2) - log(1 - alpha^2) = rate`, by halving."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = 0.5 * (low + high)
        reached = (steps - 2) * math.log1p(middle) - math.log1p(-middle) if middle < 1 else math.inf
        low, high = (low, middle) if reached >= rate else (middle, high)
    return high


class UniformCategorical(Prior):
    """Every category as likely as the next: the prior of `Categorical`."""

    space = "codes"
    zero: Tensor

    def __init__(self, variables: int | None = None, categories: int | None = None):
        super().__init__()
        self.variables, self.categories = variables, categories
        self.register_buffer("zero", torch.zeros(variables or 0, categories or 0), persistent=False)

    def forward(self, scope: ForwardContext, above: Tensor | None = None) -> dist.OneHot:
        return dist.OneHot(self.zero)


class BinaryPrior(Prior):
    """Independent bits, the prior of `Binary`: each 1 as often as 0, or, learned, with a probability of its own."""

    space = "codes"
    logits: Tensor

    def __init__(self, learned: bool = False, size: int | None = None):
        super().__init__()
        self.learned, self.size = learned, size
        start = torch.zeros(size or 0)
        if learned:
            self.logits = nn.Parameter(start)
        else:
            self.register_buffer("logits", start, persistent=False)

    def forward(self, scope: ForwardContext, above: Tensor | None = None) -> dist.Bernoulli:
        return dist.Bernoulli(self.logits)


class GaussianMixture(Prior):
    """A learned mixture of `components` normals.

    begins: "spread", as draws of N(0, I); "fitted", as the most likely mixture of the codes of training rows, by
    expectation and maximisation (Jiang et al. 2017, arXiv:1611.05148: after an autoencoder was trained). covariance:
    "diagonal", or "full", `L L^T` for each component, which finds heaps that lie across the axes.
    """

    def __init__(
        self,
        components: int,
        begins: Literal["spread", "fitted"] = "spread",
        covariance: Literal["diagonal", "full"] = "diagonal",
        size: int | None = None,
    ):
        super().__init__()
        self.components, self.begins, self.covariance, self.size = components, begins, covariance, size
        self.logits = nn.Parameter(torch.zeros(components))
        self.loc = nn.Parameter(torch.randn(components, size or 0))
        self.log_scale = nn.Parameter(torch.zeros(components, size or 0))
        if covariance == "full":
            self.lower = nn.Parameter(torch.zeros(components, size or 0, size or 0))

    def forward(self, scope: ForwardContext, above: Tensor | None = None) -> dist.Mixture:
        scale = self.log_scale.clamp(-LOG_SCALE, LOG_SCALE).exp()
        if self.covariance == "full":
            parts = dist.MultivariateNormal(self.loc, scale.diag_embed() + self.lower.tril(-1))
        else:
            parts = dist.Normal(self.loc, scale)
        return dist.Mixture(parts, self.logits.log_softmax(-1))

    @torch.no_grad()
    def start(self, codes: Tensor, scope: ForwardContext) -> None:
        """The most likely mixture of the codes; see `fit_mixture`."""
        full = self.covariance == "full"
        mixture = fit_mixture(codes[:, : self.size], self.components, scope, full)
        parts = mixture.components
        self.loc.copy_(parts.loc)
        self.logits.copy_(mixture.log_weights)
        scale = parts.scale_tril.diagonal(dim1=-2, dim2=-1) if full else parts.scale
        self.log_scale.copy_(scale.log())
        if full:
            self.lower.copy_(parts.scale_tril.tril(-1))


class VampPrior(Prior):
    """The aggregate posterior of `components` learned pseudo-inputs: `1/K sum_k q(z | u_k)`.

    Tomczak & Welling 2018, arXiv:1705.07120. The pseudo-inputs u live where the encoder reads and start at rows of
    the training data. On a rung below another the mixture is `1/K sum_k q(z | u_k, above)`.
    """

    space = None
    entangled = True
    reads_above = True

    def __init__(self, components: int, inputs_shape: tuple[int, ...] | None = None):
        super().__init__()
        self.components = components
        self.inputs_shape = None if inputs_shape is None else tuple(inputs_shape)
        self.pseudo_inputs = nn.Parameter(torch.rand(components, *(self.inputs_shape or (0,))))

    def forward(self, scope: ForwardContext, above: Tensor | None = None) -> dist.Mixture:
        q = scope.posterior(self.pseudo_inputs)
        uniform = torch.full((self.components,), -math.log(self.components), device=q.mean.device, dtype=q.mean.dtype)
        return dist.Mixture(q, uniform)

    @torch.no_grad()
    def prepare(self, inputs: Tensor, scope: ForwardContext) -> None:
        self.pseudo_inputs.copy_(some_rows(inputs, self.components, scope))


class ExemplarPrior(Prior):
    """A mixture around the codes of `exemplars` rows of the training data: `1/K sum_k N(z; mu(x_k), s^2 I)`.

    Norouzi et al. 2020, arXiv:2004.04795. mu is the mean of the posterior, and s one learned scale for all exemplars,
    so that, but for s, the prior has no weights of its own. The rows are drawn once, and are kept with the model. The
    paper leaves a row out of its own prior and draws exemplars anew at each step; here, an exemplar's own code is in
    its prior, which with K of N rows concerns K / N of the data: take K much smaller than N.
    """

    entangled = True
    reads_above = True
    exemplars: Tensor

    def __init__(self, components: int, inputs_shape: tuple[int, ...] | None = None):
        super().__init__()
        self.components = components
        self.inputs_shape = None if inputs_shape is None else tuple(inputs_shape)
        self.register_buffer("exemplars", torch.rand(components, *(self.inputs_shape or (0,))))
        self.log_scale = nn.Parameter(torch.zeros(()))

    def forward(self, scope: ForwardContext, above: Tensor | None = None) -> dist.Mixture:
        mean = scope.posterior(self.exemplars).mean
        uniform = torch.full((self.components,), -math.log(self.components), device=mean.device, dtype=mean.dtype)
        return dist.Mixture(
            dist.Normal(mean, self.log_scale.clamp(-LOG_SCALE, LOG_SCALE).exp().expand_as(mean)), uniform
        )

    @torch.no_grad()
    def prepare(self, inputs: Tensor, scope: ForwardContext) -> None:
        self.exemplars.copy_(some_rows(inputs, self.components, scope))


def some_rows(inputs: Tensor, count: int, scope: ForwardContext) -> Tensor:
    """`count` random rows, all different while there are enough of them."""
    order = scope.rand((len(inputs),)).argsort()
    return inputs[order].repeat(-(-count // len(inputs)), *[1] * (inputs.dim() - 1))[:count]


class Conditional(Prior, LowPrecision):
    """A learned conditional prior: `family(network(above))`, the output of the network kept within (-50, 50).

    Draws are bounded however far the network extrapolates: a normal family has |mean| < 50 and a scale of at most 20.
    """

    reads_above = True

    def __init__(self, network: nn.Module, family: Posterior):
        super().__init__()
        self.network, self.family = network, family

    @property
    def space(self) -> str:
        return self.family.space

    def resolve_shapes(self, *, above: int | None = None, **sizes: object) -> Self:
        if above is None:
            raise ValueError(
                "Conditional reads the codes above it or the context, and there are none here: put it on a lower "
                "rung of a Ladder, or use StandardNormal()"
            )
        if not isinstance(self.network, Component):
            return self
        network = self.network.resolve_shapes(in_shape=(above,), out_shape=(self.family.n_in,))
        return self if network is self.network else type(self)(network, self.family)

    def forward(self, scope: ForwardContext, above: Tensor | None = None) -> dist.Distribution:
        return self.family(soft_clamp(self.through(self.network, above), -EVIDENCE, EVIDENCE))
