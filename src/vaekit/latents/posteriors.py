"""Posterior families q(z | x): evidence (..., n_in), the encoder's last layer, to a distribution."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor, nn

from .. import distributions as dist
from ..core import Component, FunctionalModule, Hyper, hyper
from ..distributions.elementwise import soft_clamp

Draws = Literal["relaxed", "straight-through", "hard"]
LEAST_LOG_VARIANCE, MOST_LOG_VARIANCE = -20.0, 6.0
"""Bounds of the log-variances of posteriors: a standard deviation is between 4.5e-5 and 20."""
LOG_SCALES = (0.5 * LEAST_LOG_VARIANCE, 0.5 * MOST_LOG_VARIANCE)
ENTRIES = 20.0
"""Soft bound on the entries of a covariance's factor off its diagonal."""
JITTER = 3e-3
"""The least ratio of the independent to the shared part of a low-rank normal, for its factorisation in fp32."""


def log_variance(evidence: Tensor) -> Tensor:
    """What the evidence says of log-variances, within their bounds."""
    return evidence.clamp(LEAST_LOG_VARIANCE, MOST_LOG_VARIANCE)


class Posterior(Component):
    """`forward(evidence)` is q(z | x). size: numbers in z per row. n_in: numbers read per row.

    has_density: False for a point mass, whose z carries no log q. space: where z lives, and so what its density is
    taken with respect to: "real" (R^size), "sphere", "ball", "simplex" or "codes". hard: whether no gradient passes
    through a draw in training.
    """

    size: int
    space = "real"
    has_density = True
    hard = False

    @property
    def n_in(self) -> int:
        raise NotImplementedError

    @property
    def shared(self) -> dict[str, object]:
        """Arguments that a prior has to agree with: by them its open ones are settled."""
        return {"size": self.size}

    def forward(self, evidence: Tensor) -> dist.Distribution:
        raise NotImplementedError

    def emit(self, z: Tensor) -> Tensor:
        """What the decoder reads of z."""
        return z

    def updates(self) -> dict[str, Tensor]:
        """New values of buffers after a step."""
        return {}


class Normal(Posterior):
    """`N(mu, diag sigma^2)`: reads mu and log sigma^2, the latter kept within [-20, 6].

    Kingma & Welling 2014, arXiv:1312.6114.
    """

    def __init__(self, size: int):
        super().__init__()
        self.size = size

    @property
    def n_in(self) -> int:
        return 2 * self.size

    def forward(self, evidence: Tensor) -> dist.Normal:
        mu, log_var = evidence.chunk(2, -1)
        return dist.Normal(mu, (0.5 * log_variance(log_var)).exp())


class CommittedNormal(Normal):
    """A normal whose rate against N(0, I) is `rate` nats at least, whatever the evidence says.

    Each scale stays below the root under 1 of `(s^2 - 1 - log s^2) / 2 = rate / size`: the KL of a dimension is that
    much at any mean. Razavi et al. 2019, arXiv:1901.03416, delta-VAE with independent latents. Against another prior
    nothing is committed.
    """

    def __init__(self, size: int, rate: float = 1.0):
        super().__init__(size)
        self.rate, self.highest = rate, highest_log_variance(rate / size)

    def forward(self, evidence: Tensor) -> dist.Normal:
        mu, log_var = evidence.chunk(2, -1)
        log_var = log_variance(log_var)
        below = nn.functional.softplus(self.highest - log_var, beta=5.0)  # a bound with a gradient
        log_var = self.highest - below
        return dist.Normal(mu, (0.5 * log_var).exp())


def highest_log_variance(rate: float) -> float:
    """The v < 0 at which `(exp(v) - 1 - v) / 2 = rate`, by halving; the rate there is not below it."""
    low, high = -2 * rate - 1, 0.0
    for _ in range(100):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if math.exp(middle) - 1 - middle >= 2 * rate else (low, middle)
    return low


class FullNormal(Posterior):
    """`N(mu, L L^T)`: reads mu, log diag L (within [-10, 3]) and the entries of L below its diagonal (within
    (-20, 20), by a soft clamp)."""

    place: Tensor

    def __init__(self, size: int):
        super().__init__()
        self.size = size
        rows, columns = torch.tril_indices(size, size, -1)
        # Entries are placed by a constant matrix: out of place, so that it may be vmapped and captured.
        place = torch.eye(size * size)[rows * size + columns]
        self.register_buffer("place", place, persistent=False)

    @property
    def n_in(self) -> int:
        return 2 * self.size + self.size * (self.size - 1) // 2

    def forward(self, evidence: Tensor) -> dist.MultivariateNormal:
        d = self.size
        mu, log_diagonal, below = evidence.split([d, d, self.n_in - 2 * d], -1)
        lower = (soft_clamp(below, -ENTRIES, ENTRIES) @ self.place).unflatten(-1, (d, d))
        return dist.MultivariateNormal(mu, lower + torch.diag_embed(log_diagonal.clamp(*LOG_SCALES).exp()))


class NaturalNormal(Posterior):
    """`N(P^-1 eta, P^-1)`, `P = I + Lambda`: reads eta and Lambda, (d + d * d,), symmetric with no negative eigenvalue.

    Sums of such are products of Gaussian factors over N(0, I), as `networks.FactorEncoder` gives them.
    """

    def __init__(self, size: int):
        super().__init__()
        self.size = size

    @property
    def n_in(self) -> int:
        return self.size + self.size**2

    def forward(self, evidence: Tensor) -> dist.MultivariateNormal:
        d = self.size
        eta, squares = evidence.split([d, d * d], -1)
        eye = torch.eye(d, dtype=evidence.dtype, device=evidence.device)
        # P = U U^T, U upper triangular, is the Cholesky factor of P turned about; then P^-1 = U^-T U^-1.
        precision = (squares.unflatten(-1, (d, d)) + eye).flip(-1, -2)
        upper = torch.linalg.cholesky_ex(precision)[0].flip(-1, -2)
        lower = torch.linalg.solve_triangular(upper.mT, eye.expand_as(upper), upper=False)
        mean = (lower @ (lower.mT @ eta.unsqueeze(-1))).squeeze(-1)
        return dist.MultivariateNormal(mean, lower)


class LowRankNormal(Posterior):
    """`N(mu, diag sigma^2 + W W^T)`, W of `rank` columns: reads mu, log sigma^2 (within [-20, 6]) and W
    (entries within (-20, 20), by a soft clamp). sigma is at least 0.3% of the root of the shared variance.

    Ong et al. 2018, arXiv:1701.03208, equation 3.
    """

    def __init__(self, size: int, rank: int = 1):
        super().__init__()
        self.size = size
        if not 1 <= rank < size:
            raise ValueError(
                f"LowRankNormal({size}, rank={rank}): expected a rank of at least 1 and below the size; FullNormal"
                f"({size}) has them all, Normal({size}) none"
            )
        self.rank = rank

    @property
    def n_in(self) -> int:
        return self.size * (2 + self.rank)

    def forward(self, evidence: Tensor) -> dist.LowRankNormal:
        mu, log_var, factor = evidence.split([self.size, self.size, self.size * self.rank], -1)
        scale = (0.5 * log_variance(log_var)).exp()
        factor = soft_clamp(factor, -ENTRIES, ENTRIES).unflatten(-1, (self.size, self.rank))
        scale = (scale.square() + (JITTER * factor).square().sum(-1)).sqrt()
        return dist.LowRankNormal(mu, scale, factor)


class Laplace(Posterior):
    """`exp(-|z - mu| / b) / (2 b)` in each dimension: reads mu and log b, the latter kept within [-10, 3].

    A location-scale family of Kingma & Welling 2014, arXiv:1312.6114, section 2.4.
    """

    def __init__(self, size: int):
        super().__init__()
        self.size = size

    @property
    def n_in(self) -> int:
        return 2 * self.size

    def forward(self, evidence: Tensor) -> dist.Laplace:
        mu, log_scale = evidence.chunk(2, -1)
        return dist.Laplace(mu, log_scale.clamp(*LOG_SCALES).exp())


class PointMass(Posterior):
    """All the mass on what the encoder says: an autoencoder. For objectives that need no density."""

    has_density = False

    def __init__(self, size: int):
        super().__init__()
        self.size = size

    @property
    def n_in(self) -> int:
        return self.size

    def forward(self, evidence: Tensor) -> dist.Delta:
        return dist.Delta(evidence)


class Discrete(Posterior):
    """Posteriors of discrete codes. Draws are hard in evaluation; `draws` says what they are in training.

    "relaxed": between the codes, near to them at a low temperature, whose gradients are noisy. "straight-through":
    hard, with the gradient that the relaxed draw of the same noise has. "hard": without a gradient, for an objective
    that uses the score function, `IWAE(gradient="vimco")`. A temperature may follow a schedule: `Ramp(0.5, 10000,
    start=1.0)`.
    """

    space = "codes"
    step: Tensor

    def __init__(self, temperature: float | Hyper = 0.5, draws: Draws = "relaxed"):
        super().__init__()
        self.temperature, self.draws = hyper(temperature), draws
        name = type(self).__name__
        first = float(self.temperature(torch.zeros((), device=self.temperature.value.device)))
        if not (first > 0 and self.temperature.value > 0):
            raise ValueError(
                f"{name}: a temperature from {first:g} to {float(self.temperature.value):g}: expected numbers above 0, "
                "such as Ramp(0.5, 10000, start=1.0)"
            )
        if self.scheduled:
            self.register_buffer("step", torch.zeros((), dtype=torch.int64))

    @property
    def hard(self) -> bool:
        return self.draws == "hard"

    @property
    def scheduled(self) -> bool:
        return type(self.temperature) is not Hyper

    def relaxation(self) -> dict[str, Any]:
        """How the distribution draws at this step."""
        if self.hard or not self.training:
            return {}
        temperature = self.temperature(self.step) if self.scheduled else self.temperature.value
        return {"temperature": temperature, "straight": self.draws == "straight-through"}

    def updates(self) -> dict[str, Tensor]:
        return {"step": self.step + 1} if self.scheduled and self.training else {}


class Categorical(Discrete):
    """Categorical variables as one-hot vectors; `draws` as in `Discrete`.

    Jang et al. 2017, arXiv:1611.01144; Maddison et al. 2017, arXiv:1611.00712.
    """

    def __init__(self, variables: int, categories: int, temperature: float | Hyper = 0.5, draws: Draws = "relaxed"):
        super().__init__(temperature, draws)
        if variables < 1 or categories < 2:
            raise ValueError(
                f"Categorical({variables}, {categories}): expected at least 1 variable of at least 2 categories"
            )
        self.variables, self.categories = variables, categories

    @property
    def size(self) -> int:
        return self.variables * self.categories

    n_in = size

    @property
    def shared(self) -> dict[str, object]:
        return {**super().shared, "variables": self.variables, "categories": self.categories}

    def forward(self, evidence: Tensor) -> dist.OneHot:
        logits = evidence.unflatten(-1, (self.variables, self.categories))
        return dist.OneHot(logits, **self.relaxation())


class Binary(Discrete):
    """Independent bits, of whose logits the evidence consists; `draws` as in `Discrete`.

    Maddison et al. 2017, arXiv:1611.00712, appendix B.
    """

    def __init__(self, size: int, temperature: float | Hyper = 0.5, draws: Draws = "relaxed"):
        super().__init__(temperature, draws)
        self.size = size

    @property
    def n_in(self) -> int:
        return self.size

    def forward(self, evidence: Tensor) -> dist.Bernoulli:
        return dist.Bernoulli(evidence, **self.relaxation())


class Coupling(Posterior):
    """A normal pushed through affine coupling layers with weights of their own, which also read the evidence.

    Reads mu, log sigma^2 and `context` more numbers. Rezende & Mohamed 2015, arXiv:1505.05770; Dinh et al. 2017,
    arXiv:1605.08803. The last layer of each network starts at zero, so that the flow starts as the plain normal.
    """

    def __init__(self, size: int, layers: int = 4, hidden: int = 64, context: int = 16):
        super().__init__()
        if size < 2:
            raise ValueError(f"Coupling(size={size}): a coupling layer needs at least 2 dimensions; use Normal({size})")
        self.size, self.layers, self.hidden, self.context = size, layers, hidden, context
        self.networks = nn.ModuleList(self._network() for _ in range(layers))

    def _network(self) -> nn.Module:
        last = nn.Linear(self.hidden, 2 * self.size)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        return nn.Sequential(nn.Linear(self.size + self.context, self.hidden), nn.ReLU(), last)

    @property
    def n_in(self) -> int:
        return 2 * self.size + self.context

    def forward(self, evidence: Tensor) -> dist.CouplingFlow:
        mu, log_var, context = evidence.split([self.size, self.size, self.context], -1)
        base = dist.Normal(mu, (0.5 * log_variance(log_var)).exp())
        return dist.CouplingFlow(base, context, tuple(FunctionalModule.of(n) for n in self.networks))
