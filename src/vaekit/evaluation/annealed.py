"""log p(x) by annealed importance sampling, and between two bounds where x comes from the model itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..core import Scope, Source
from ..data.rows import AbstractRows
from ..distributions import sum_cells
from ..model import VAEModule
from ..networks import evaluating
from .likelihood import Figure

PILOT = 4
"""Chains per row that only find the step sizes: what is measured must not decide how it is measured."""
WANTED = 0.8
"""The share of proposals to be accepted."""

Density = Callable[[Tensor], tuple[Tensor, Tensor]]
"""z -> log p(z), log p(x | z), each (chains,)."""


def temperatures(count: int) -> list[float]:
    """Inverse temperatures from 0 to 1, a sigmoid between -4 and 4: closer where the change is large.

    Wu et al. 2017, arXiv:1611.04273.
    """
    raw = [1 / (1 + math.exp(4 - 8 * t / count)) for t in range(count + 1)]
    return [(r - raw[0]) / (raw[-1] - raw[0]) for r in raw]


@dataclass(frozen=True)
class Annealing:
    """How chains move: Hamiltonian steps that leave p(z) p(x | z)^beta as it is, by accepting or refusing each.

    steps: of each leapfrog trajectory. betas: inverse temperatures, from 0 to 1.
    """

    betas: Sequence[float]
    steps: int = 10

    def forward(self, log: Density, z: Tensor, scope: Scope, sizes: Sequence[Tensor] | None) -> tuple[Tensor, list]:
        """From z ~ p(z): log w (chains,), whose mean of exp is p(x), and the step sizes in use.

        sizes: of each temperature; None: found on the way.
        """
        log_w, used = z.new_zeros(len(z), dtype=torch.float64), []
        size = z.new_full((len(z), *[1] * (z.dim() - 1)), 0.1)
        for t in range(1, len(self.betas)):
            log_w = log_w + (self.betas[t] - self.betas[t - 1]) * log(z)[1].double()
            size = size if sizes is None else sizes[t - 1]
            z, accepted = self.move(log, z, self.betas[t], size, scope)
            used.append(size)
            if sizes is None:
                size = size * torch.exp(0.1 * (accepted - WANTED)).reshape(size.shape)
        return log_w, used

    def backward(self, log: Density, z: Tensor, scope: Scope, sizes: Sequence[Tensor]) -> Tensor:
        """From z ~ p(z | x): log w (chains,), whose mean of exp(-log w) is 1 / p(x)."""
        log_w = z.new_zeros(len(z), dtype=torch.float64)
        for t in reversed(range(1, len(self.betas))):
            z, _ = self.move(log, z, self.betas[t], sizes[t - 1], scope)
            log_w = log_w + (self.betas[t] - self.betas[t - 1]) * log(z)[1].double()
        return log_w

    def move(self, log: Density, z: Tensor, beta: float, size: Tensor, scope: Scope) -> tuple[Tensor, Tensor]:
        """One trajectory (Neal 2011, arXiv:1206.1901), and the probability that it was accepted with."""

        def energy_and_force(z: Tensor) -> tuple[Tensor, Tensor]:
            with torch.enable_grad():
                leaf = z.detach().requires_grad_()
                log_p, log_lik = log(leaf)
                joint = log_p + beta * log_lik
                force = torch.autograd.grad(joint.sum(), leaf)[0]
            return -joint.detach(), force

        momentum = scope.randn(z.shape)
        before, force = energy_and_force(z)
        start, here, after = 0.5 * sum_cells(momentum.square()) + before, z, before
        for _ in range(self.steps):
            momentum = momentum + 0.5 * size * force
            here = here + size * momentum
            after, force = energy_and_force(here)
            momentum = momentum + 0.5 * size * force
        change = start - after - 0.5 * sum_cells(momentum.square())
        chance = torch.where(change.isfinite(), change.clamp(max=0).exp(), 0.0)
        taken = scope.rand(chance.shape) < chance
        return torch.where(taken.reshape(size.shape), here, z), chance


def _densities(model: VAEModule, x: Tensor, mask: Tensor | None, scope: Scope, chains: int) -> Density:
    """Of `chains` copies of each row, the copies of one row B apart."""
    x, mask = (t if t is None else t.repeat(chains, *[1] * (t.dim() - 1)) for t in (x, mask))

    def log(z: Tensor) -> tuple[Tensor, Tensor]:
        return model.latent.log_prior(z, scope), sum_cells(model.decode(z).log_cells(x, mask))

    return log


def _check(model: VAEModule) -> None:
    if model.latent.ratio != "exact" or model.latent.space != "real":
        raise ValueError(
            f"annealing moves z along gradients, and the codes of {type(model.latent).__name__} are no free real "
            "numbers with a density: score such a model by its importance-weighted bound, score_rows"
        )


def _sizes(
    anneal: Annealing, model: VAEModule, x: Tensor, mask: Tensor | None, scope: Scope, chains: int
) -> list[Tensor]:
    """The step sizes that a few chains of their own came to, for each row and temperature."""
    z = model.latent.generate(PILOT * len(x), scope)
    _, used = anneal.forward(_densities(model, x, mask, scope, PILOT), z, scope, None)
    ones = [1] * (z.dim() - 1)
    return [s.reshape(PILOT, len(x)).mean(0).repeat(chains).reshape(-1, *ones) for s in used]


@torch.no_grad()
def annealed(
    model: VAEModule, rows: AbstractRows, *, chains: int = 16, betas: int = 500, steps: int = 10, seed: int = 0
) -> Tensor:
    """(N,), nats: log p(x) of each row by annealed importance sampling, in the data's units.

    Neal 2001; Wu et al. 2017, arXiv:1611.04273: `chains` chains per row from p(z) to p(z | x) by way of
    p(z) p(x | z)^beta over `betas` temperatures. The mean of the weights is p(x) exactly, so that its logarithm is, in
    expectation, a lower bound, which needs no encoder and tightens with `betas`. It costs chains * betas * steps passes
    through the decoder, forth and back. Raises ValueError for codes that gradients cannot move.
    """
    _check(model)
    anneal, noise, found = Annealing(temperatures(betas), steps), Source.like(model, seed), []
    with evaluating(model):
        scope = model.prior_scope(noise)
        for batch in rows.batches(max(1, 4096 // chains)):
            x = model.likelihood.observe(batch.x, scope)
            sizes = _sizes(anneal, model, x, batch.mask, scope, chains)
            log = _densities(model, x, batch.mask, scope, chains)
            log_w, _ = anneal.forward(log, model.latent.generate(chains * len(x), scope), scope, sizes)
            found.append(torch.logsumexp(log_w.unflatten(0, (chains, -1)), 0) - math.log(chains))
    jacobian = rows.spec.log_jacobian if model.likelihood.density else 0.0
    return torch.cat(found).cpu() + jacobian


@dataclass(frozen=True)
class Bracket:
    """lower, upper, (N,), nats: bounds of log p(x), in expectation, of rows drawn from the model."""

    lower: Tensor
    upper: Tensor

    @property
    def gap(self) -> Figure:
        """How far the two are apart: what either may be wrong by on average."""
        return Figure.mean(self.upper - self.lower, "nats", "upper less lower bound of log p(x)")


@torch.no_grad()
def bracket(
    model: VAEModule, rows: int = 100, *, chains: int = 16, betas: int = 500, steps: int = 10, seed: int = 0
) -> Bracket:
    """Bidirectional Monte Carlo: log p(x) between two bounds, for rows drawn from the model.

    Grosse et al. 2015, arXiv:1511.02543. A row drawn from the model comes with an exact draw of p(z | x), the code that
    it was made of, from which annealing backwards gives an upper bound; annealing forwards gives the lower one. Where
    they meet, both are right, and so is annealing on rows like these. One reversed chain per row.
    """
    _check(model)
    anneal, scope = Annealing(temperatures(betas), steps), model.prior_scope(Source.like(model, seed))
    with evaluating(model):
        z = model.latent.generate(rows, scope)
        x = model.decode(z).draw(scope)
        sizes = _sizes(anneal, model, x, None, scope, chains)
        start = model.latent.generate(chains * rows, scope)
        forward, _ = anneal.forward(_densities(model, x, None, scope, chains), start, scope, sizes)
        one = [s[:rows] for s in sizes]
        upper = anneal.backward(_densities(model, x, None, scope, 1), z, scope, one)
    lower = torch.logsumexp(forward.unflatten(0, (chains, rows)), 0) - math.log(chains)
    return Bracket(lower.cpu(), upper.cpu())
