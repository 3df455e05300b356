"""Draws of z given what is seen of a row, weighed: what p(z | seen cells) is reached by."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from ..core import Batch, Noise, Source
from ..data.rows import AbstractRows
from ..distributions import Distribution, sum_cells
from ..latents import Latent
from ..model import VAEModule

DRAWS = 200
"""Draws of z per row."""
FROM_PRIOR = 0.25
"""The share of the draws that come from the prior."""
BUDGET = 2**21
"""Numbers that one pass may hold per tensor."""


@dataclass(frozen=True)
class Weighed:
    """S draws of z for each of B rows, the draws of one row B apart.

    z: (S * B, *Z). px: p(x | z). log_ratio: (S, B), fp64 = log p(z) - log of the density that z was drawn from. cells:
    (S, B, *cells) = log p(x | z) by cell, 0 where the mask is. log_weight: (S, B), fp64, nats.
    """

    z: Tensor
    px: Distribution
    log_ratio: Tensor
    cells: Tensor

    @property
    def log_weight(self) -> Tensor:
        return self.log_ratio + sum_cells(self.cells, 2).double()


class Weigher:
    """Weighs draws of z for batches of rows, so many rows and draws at a time that they stay small.

    The draws come from `a q(z | x) + (1 - a) p(z)`, a share of each, and are weighed by `p(x, z)` over that mixture
    (the balance heuristic, Veach & Guibas 1995; the prior's share bounds the weights, Hesterberg 1995), x being the
    cells that are seen. Where q's density cannot be asked for at foreign z, as in a hierarchy, all come from q. The
    weights of a latent without a density are equal. per_draw: numbers that the caller makes of a draw.

    Raises ValueError for a likelihood whose cells depend on one another given z.
    """

    def __init__(
        self, model: VAEModule, rows: AbstractRows, draws: int, from_prior: float = FROM_PRIOR, per_draw: int = 1
    ):
        if draws < 1:
            raise ValueError(f"draws={draws}: expected at least one draw per row")
        if not 0 <= from_prior < 1:
            raise ValueError(f"from_prior={from_prior}: expected a share of the draws in [0, 1)")
        self.model, self.draws = model, draws if model.latent.ratio == "exact" else 1
        plain = type(model.latent) is Latent and model.latent.ratio == "exact"
        self.share = from_prior if plain else 0.0
        numbers = max(per_draw, math.prod(model.likelihood.in_shape))
        self.rows = min(512, max(1, BUDGET // (numbers * min(self.draws, 128))))
        self.at_once = max(1, min(self.draws, BUDGET // (numbers * self.rows)))
        self.batches = rows.batches(self.rows)

    def __call__(self, batch: Batch, noise: Noise) -> Iterator[Weighed]:
        """All draws of a batch, `at_once` at a time."""
        prior = round(self.share * self.draws)
        share = prior / self.draws
        for of_prior, count in ((False, self.draws - prior), (True, prior)):
            for done in range(0, count, self.at_once):
                size = min(self.at_once, count - done)
                yield (self._of_prior if of_prior else self._of_q)(batch, noise, size, share)

    def _of_q(self, batch: Batch, noise: Noise, draws: int, share: float) -> Weighed:
        out = self.model(batch, noise, draws=draws)
        if not out.px.apart:
            raise ValueError(
                f"the cells that {type(self.model.likelihood).__name__} explains depend on one another given z, so "
                "that some cannot be drawn given others: use a likelihood whose cells are independent given z"
            )
        ratio = torch.zeros_like(out.log_lik) if out.draw.log_ratio is None else out.draw.log_ratio
        return self._weighed(out.draw.z, out.px, ratio, out.cells, draws, share)

    def _of_prior(self, batch: Batch, noise: Noise, draws: int, share: float) -> Weighed:
        model, rows = self.model, len(batch.x)

        def fold(t: Tensor) -> Tensor:
            return t.expand(draws, *t.shape).flatten(0, 1)

        folded = replace(pytree.tree_map_only(Tensor, fold, batch), weight=None)
        q = model.infer(batch, noise).q.map(fold)
        z, scope = model.generate(draws * rows, noise, folded.context), model.prior_scope(noise, folded.context)
        ratio = model.latent.log_prior(z, scope, model.read(folded.context)) - q.log_density(z)
        px = model.likelihood.fitted(model.decode(z, folded.context), folded.x, folded.mask, scope)[0]
        return self._weighed(z, px, ratio, px.log_cells(folded.x, folded.mask), draws, share)

    def _weighed(self, z: Tensor, px: Distribution, ratio: Tensor, cells: Tensor, draws: int, share: float) -> Weighed:
        ratio, cells = (t.unflatten(0, (draws, -1)) for t in (ratio.double(), cells))
        if share:
            ratio = -torch.logaddexp(math.log1p(-share) - ratio, torch.full_like(ratio, math.log(share)))
        return Weighed(z, px, ratio, cells)


class Mean:
    """The self-normalised mean of what draws say, and the effective sample size, draws after draws.

    `sum_s w_s f_s / sum_s w_s` and `(sum_s w_s)^2 / sum_s w_s^2`, of weights that may lie any number of nats apart.
    """

    def __init__(self) -> None:
        self.total = self.squares = torch.tensor(-torch.inf, dtype=torch.float64)
        self.value: Any = None

    def add(self, log_weight: Tensor, values: Any) -> None:
        """log_weight: (S, B), fp64. values: a tree of (S * B, ...)."""
        top = torch.logaddexp(self.total, torch.logsumexp(log_weight, 0))
        kept, own = (self.total - top).exp(), (log_weight - top).exp()

        def joined(f: Tensor, before: Tensor | None) -> Tensor:
            f = f.unflatten(0, own.shape)
            new = (own.to(f.dtype).reshape(*own.shape, *[1] * (f.dim() - 2)) * f).sum(0)
            return new if before is None else new + before * kept.to(f.dtype).reshape(-1, *[1] * (f.dim() - 2))

        before = pytree.tree_map(lambda t: None, values) if self.value is None else self.value
        leaves, structure = pytree.tree_flatten(values)
        earlier = [None] * len(leaves) if self.value is None else pytree.tree_leaves(before)
        self.value = pytree.tree_unflatten([joined(*pair) for pair in zip(leaves, earlier)], structure)
        self.squares = torch.logaddexp(self.squares, torch.logsumexp(2 * log_weight, 0))
        self.total = top

    @property
    def effective(self) -> Tensor:
        """(B,): how many draws count."""
        return (2 * self.total - self.squares).exp()


class Resampled:
    """n draws of z for each row, each taken with a chance in proportion to its weight, draws after draws.

    The draw with the largest `log w + Gumbel noise` of its own is such a one (Yellott 1977): no weight need be kept.
    """

    def __init__(self, n: int, source: Source):
        self.n, self.source = n, source
        self.best: Tensor | None = None
        self.z: Tensor | None = None

    def add(self, log_weight: Tensor, z: Tensor) -> None:
        """log_weight: (S, B), fp64. z: (S * B, *Z)."""
        draws, rows = log_weight.shape
        u = self.source.rand((draws, rows, self.n)).double()
        keys = log_weight.unsqueeze(-1) - torch.log(-torch.log(u.clamp(1e-12, 1 - 1e-8)))
        best, chosen = keys.max(0)
        places = (chosen * rows + torch.arange(rows, device=z.device).unsqueeze(1)).T
        new = z[places.flatten()].unflatten(0, (self.n, rows))
        best = best.T
        if self.best is not None and self.z is not None:
            better = best > self.best
            new = torch.where(better.reshape(*better.shape, *[1] * (z.dim() - 1)), new, self.z)
            best = torch.maximum(best, self.best)
        self.best, self.z = best, new
