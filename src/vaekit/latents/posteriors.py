"""Posterior families q(z | x): evidence (..., n_in), the encoder's last layer, to a distribution."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .. import distributions as dist
from ..core import Bound, Component, Hyper, hyper


class Posterior(Component):
    """`forward(evidence)` is q(z | x). size: numbers in z per row. n_in: numbers read per row.

    has_density: False for a point mass, whose z carries no log q. space: where z lives, and so what its density is
    taken with respect to: "real" (R^size), "sphere", "ball", "simplex" or "codes".
    """

    size: int
    space = "real"
    has_density = True

    @property
    def n_in(self) -> int:
        raise NotImplementedError

    @property
    def shared(self) -> dict[str, object]:
        """Arguments that a prior has to agree with: by them its open ones are settled."""
        return {"size": self.size}

    def forward(self, evidence: Tensor) -> dist.Distribution:
        raise NotImplementedError


def positive_size(part: str, size: int) -> int:
    if not isinstance(size, int) or size < 1:
        raise ValueError(f"{part}(size={size!r}): expected a whole number of latent dimensions, at least 1")
    return size


class Normal(Posterior):
    """`N(mu, diag sigma^2)`: reads mu and log sigma^2, the latter kept within [-20, 20].

    Kingma & Welling 2014, arXiv:1312.6114.
    """

    def __init__(self, size: int):
        super().__init__()
        self.size = positive_size("Normal", size)

    @property
    def n_in(self) -> int:
        return 2 * self.size

    def forward(self, evidence: Tensor) -> dist.Normal:
        mu, log_var = evidence.chunk(2, -1)
        return dist.Normal(mu, (0.5 * log_var.clamp(-20.0, 20.0)).exp())


class FullNormal(Posterior):
    """`N(mu, L L^T)`: reads mu, log diag L (within [-10, 10]) and the entries of L below its diagonal."""

    place: Tensor

    def __init__(self, size: int):
        super().__init__()
        self.size = positive_size("FullNormal", size)
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
        lower = (below @ self.place).unflatten(-1, (d, d))
        return dist.MultivariateNormal(mu, lower + torch.diag_embed(log_diagonal.clamp(-10.0, 10.0).exp()))


class LowRankNormal(Posterior):
    """`N(mu, diag sigma^2 + W W^T)`, W of `rank` columns: reads mu, log sigma^2 (within [-20, 20]) and W.

    Ong et al. 2018, arXiv:1701.03208, equation 3.
    """

    def __init__(self, size: int, rank: int = 1):
        super().__init__()
        self.size = positive_size("LowRankNormal", size)
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
        scale = (0.5 * log_var.clamp(-20.0, 20.0)).exp()
        return dist.LowRankNormal(mu, scale, factor.unflatten(-1, (self.size, self.rank)))


class Laplace(Posterior):
    """`exp(-|z - mu| / b) / (2 b)` in each dimension: reads mu and log b, the latter kept within [-10, 10].

    A location-scale family of Kingma & Welling 2014, arXiv:1312.6114, section 2.4.
    """

    def __init__(self, size: int):
        super().__init__()
        self.size = positive_size("Laplace", size)

    @property
    def n_in(self) -> int:
        return 2 * self.size

    def forward(self, evidence: Tensor) -> dist.Laplace:
        mu, log_scale = evidence.chunk(2, -1)
        return dist.Laplace(mu, log_scale.clamp(-10.0, 10.0).exp())


class PointMass(Posterior):
    """All the mass on what the encoder says: an autoencoder. For objectives that need no density."""

    has_density = False

    def __init__(self, size: int):
        super().__init__()
        self.size = positive_size("PointMass", size)

    @property
    def n_in(self) -> int:
        return self.size

    def forward(self, evidence: Tensor) -> dist.Delta:
        return dist.Delta(evidence)


class Categorical(Posterior):
    """Categorical variables as one-hot vectors: relaxed in training, hard in evaluation.

    Jang et al. 2017, arXiv:1611.01144; Maddison et al. 2017, arXiv:1611.00712. A low temperature is close to hard
    and has noisy gradients.
    """

    space = "codes"

    def __init__(self, variables: int, categories: int, temperature: float | Hyper = 0.5):
        super().__init__()
        if variables < 1 or categories < 2:
            raise ValueError(
                f"Categorical({variables}, {categories}): expected at least 1 variable of at least 2 categories"
            )
        self.variables, self.categories, self.temperature = variables, categories, hyper(temperature)

    @property
    def size(self) -> int:
        return self.variables * self.categories

    n_in = size

    @property
    def shared(self) -> dict[str, object]:
        return {**super().shared, "variables": self.variables, "categories": self.categories}

    def forward(self, evidence: Tensor) -> dist.OneHot:
        logits = evidence.unflatten(-1, (self.variables, self.categories))
        return dist.OneHot(logits, self.temperature.value if self.training else None)


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
        base = dist.Normal(mu, (0.5 * log_var.clamp(-20.0, 20.0)).exp())
        return dist.CouplingFlow(base, context, tuple(Bound.of(n) for n in self.networks))
