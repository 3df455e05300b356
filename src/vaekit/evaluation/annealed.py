"""log p(x) by annealed importance sampling, and between two bounds where x comes from the model itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..core import ForwardContext, Noise, Source, public
from ..data.rows import AbstractRows
from ..distributions import sum_cells
from ..model import VAEModule
from ..networks import evaluating
from .likelihood import BUDGET
from .metric import Metric
from .observed import Observed
from .progress import ProgressMonitor, Stopped
from .result import Evaluation

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

    steps: of each leapfrog trajectory. betas: inverse temperatures, from 0 to 1. passed: is called after each of them.
    """

    betas: Sequence[float]
    steps: int = 10
    passed: Callable[[], None] = lambda: None

    def forward(
        self, log: Density, z: Tensor, scope: ForwardContext, sizes: Sequence[Tensor] | None
    ) -> tuple[Tensor, list]:
        """From z ~ p(z): log w (chains,), whose mean of exp is p(x), and the step sizes in use.

        sizes: of each temperature; None: found on the way.
        """
        log_w, used = z.new_zeros(len(z), dtype=torch.float64), []
        size = z.new_full((len(z), *[1] * (z.dim() - 1)), 0.1)
        for t in range(1, len(self.betas)):
            log_w = log_w + (self.betas[t] - self.betas[t - 1]) * log(z)[1].double()
            size = size if sizes is None else sizes[t - 1]
            z, accepted = self.move(log, z, self.betas[t], size, scope)
            self.passed()
            used.append(size)
            if sizes is None:
                size = size * torch.exp(0.1 * (accepted - WANTED)).reshape(size.shape)
        return log_w, used

    def backward(self, log: Density, z: Tensor, scope: ForwardContext, sizes: Sequence[Tensor]) -> Tensor:
        """From z ~ p(z | x): log w (chains,), whose mean of exp(-log w) is 1 / p(x)."""
        log_w = z.new_zeros(len(z), dtype=torch.float64)
        for t in reversed(range(1, len(self.betas))):
            z, _ = self.move(log, z, self.betas[t], sizes[t - 1], scope)
            self.passed()
            log_w = log_w + (self.betas[t] - self.betas[t - 1]) * log(z)[1].double()
        return log_w

    def move(self, log: Density, z: Tensor, beta: float, size: Tensor, scope: ForwardContext) -> tuple[Tensor, Tensor]:
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


@dataclass(frozen=True)
class _Rows:
    """What is annealed: rows x of a model, with their mask and context, and the noise."""

    model: VAEModule
    x: Tensor
    mask: Tensor | None
    context: Tensor | None
    noise: Noise

    def _copies(self, t: Tensor | None, chains: int) -> Tensor | None:
        """Of each row, the copies of one row B apart."""
        return t if t is None else t.repeat(chains, *[1] * (t.dim() - 1))

    def scope(self, chains: int) -> ForwardContext:
        return self.model.prior_scope(self.noise, self.model.read(self._copies(self.context, chains)))

    def densities(self, chains: int) -> Density:
        x, mask, context = (self._copies(t, chains) for t in (self.x, self.mask, self.context))
        above, scope = self.model.read(context), self.scope(chains)

        def log(z: Tensor) -> tuple[Tensor, Tensor]:
            log_p = self.model.latent.log_prior(z, scope, above)
            return log_p, sum_cells(self.model.decode(z, context).log_cells(x, mask))

        return log

    def drawn(self, chains: int) -> Tensor:
        """z ~ p(z), of every chain of every row."""
        return self.model.generate(chains * len(self.x), self.noise, self._copies(self.context, chains))

    def sizes(self, anneal: Annealing, chains: int) -> list[Tensor]:
        """The step sizes that a few chains of their own came to, for each row and temperature."""
        z = self.drawn(PILOT)
        _, used = anneal.forward(self.densities(PILOT), z, self.scope(PILOT), None)
        ones = [1] * (z.dim() - 1)
        return [s.reshape(PILOT, len(self.x)).mean(0).repeat(chains).reshape(-1, *ones) for s in used]

    def lower(self, anneal: Annealing, chains: int, sizes: Sequence[Tensor]) -> Tensor:
        """(B,): log p(x) by annealing forwards."""
        log_w, _ = anneal.forward(self.densities(chains), self.drawn(chains), self.scope(chains), sizes)
        return torch.logsumexp(log_w.unflatten(0, (chains, -1)), 0) - math.log(chains)


def check_annealing(model: VAEModule) -> None:
    """Raises ValueError for codes that gradients cannot move."""
    if model.latent.ratio != "exact" or model.latent.space != "real":
        raise ValueError(
            f"annealing moves z along gradients, and the codes of {type(model.latent).__name__} are no free real "
            "numbers with a density: score such a model by its importance-weighted bound, score_rows"
        )


def _at_once(model: VAEModule, cells: int, chains: int) -> int:
    """How many rows are annealed at a time, so that the memory is bounded."""
    kind = next(model.parameters()).device.type
    return max(1, BUDGET.get(kind, BUDGET["cuda"]) // (cells * chains))


@public
@torch.no_grad()
def annealed(
    model: VAEModule,
    rows: AbstractRows,
    *,
    chains: int = 16,
    betas: int = 500,
    steps: int = 10,
    seed: int = 0,
    most: int | None = None,
    watch: ProgressMonitor | None = None,
) -> Tensor:
    """(N,), nats: log p(x) of each row (of the first `most`) by annealed importance sampling, in the data's units.

    Neal 2001; Wu et al. 2017, arXiv:1611.04273: `chains` chains per row from p(z) to p(z | x) by way of
    p(z) p(x | z)^beta over `betas` temperatures. The mean of the weights is p(x) exactly, so that its logarithm is, in
    expectation, a lower bound, which needs no encoder and tightens with `betas`. It costs chains * betas * steps passes
    through the decoder, forth and back. watch: tells the cost; after Ctrl-C the rows that are done come back, if any.
    Raises ValueError for codes that gradients cannot move.
    """
    check_annealing(model)
    size, noise, found = _at_once(model, math.prod(rows.spec.shape), chains), Source.like(model, seed), []
    count = len(rows) if most is None else min(most, len(rows))
    what, passes = f"annealing {count:,} rows", 2 * betas * -(-count // size)
    some = rows.stream(slice(start, min(start + size, count)) for start in range(0, count, size))
    with evaluating(model), (watch or ProgressMonitor()).over(what, passes) as passed:
        anneal = Annealing(temperatures(betas), steps, passed)
        try:
            for batch in Observed(model, some):
                these = _Rows(model, batch.x, batch.mask, batch.context, noise)
                log_p = these.lower(anneal, chains, these.sizes(anneal, chains)).cpu()
                units = rows.spec.log_jacobian_of(batch.mask, len(batch.x)) if model.likelihood.density else 0.0
                found.append(log_p + units)
        except Stopped:
            if not found:
                raise KeyboardInterrupt from None
    return torch.cat(found)


@dataclass(frozen=True)
class Bracket:
    """lower, upper, (N,), nats: bounds of log p(x), in expectation, of rows drawn from the model."""

    lower: Tensor
    upper: Tensor

    @property
    def gap(self) -> Metric:
        """How far the two are apart: what either may be wrong by on average."""
        return Metric.mean(self.upper - self.lower, "nats", "upper less lower bound of log p(x)")


@public
@torch.no_grad()
def bracket(
    model: VAEModule,
    rows: int = 100,
    *,
    chains: int = 16,
    betas: int = 500,
    steps: int = 10,
    seed: int = 0,
    context: Tensor | None = None,
    watch: ProgressMonitor | None = None,
) -> Bracket:
    """Bidirectional Monte Carlo: log p(x) between two bounds, for rows drawn from the model, in the model's space.

    Grosse et al. 2015, arXiv:1511.02543. A row drawn from the model comes with an exact draw of p(z | x), the code that
    it was made of, from which annealing backwards gives an upper bound; annealing forwards gives the lower one. Where
    they meet, both are right, and so is annealing on rows like these. One reversed chain per row. context: (rows, ...),
    of a model that reads one. watch: as for `annealed`.
    """
    check_annealing(model)
    if rows < 2:
        raise ValueError(f"rows={rows}: expected at least two rows, so that the gap has an error")
    noise, lower, upper = Source.like(model, seed), [], []
    size = _at_once(model, math.prod(model.likelihood.shape), chains)
    parts = [min(size, rows - start) for start in range(0, rows, size)]
    given = [None] * len(parts) if context is None else context.split(size)
    with (
        evaluating(model),
        (watch or ProgressMonitor()).over(f"bracketing {rows:,} rows", 3 * betas * len(parts)) as passed,
    ):
        anneal = Annealing(temperatures(betas), steps, passed)
        try:
            for count, own in zip(parts, given):
                z = model.generate(count, noise, own)
                some = _Rows(model, model.decode(z, own).draw(ForwardContext.of(noise)), None, own, noise)
                sizes = some.sizes(anneal, chains)
                below = some.lower(anneal, chains, sizes)
                upper.append(anneal.backward(some.densities(1), z, some.scope(1), [s[:count] for s in sizes]))
                lower.append(below)
        except Stopped:
            if not lower:
                raise KeyboardInterrupt from None
    return Bracket(torch.cat(lower).cpu(), torch.cat(upper).cpu())


@public
def with_annealing(
    evaluation: Evaluation,
    model: VAEModule,
    rows: AbstractRows,
    ais: int,
    bracketed: int,
    *,
    betas: int = 500,
    seed: int = 0,
    watch: ProgressMonitor | None = None,
) -> Evaluation:
    """The evaluation with figures by annealing: of the first `ais` rows, and of so many rows of the model's own."""
    settings = {"betas": betas, "seed": seed, "watch": watch}
    figures, notes, stopped = dict(evaluation.figures), list(evaluation.notes), evaluation.interrupted
    if ais and not stopped:
        found = annealed(model, rows, most=ais, **settings)
        bound, what = evaluation.per_row["log_likelihood"][: len(found)], f"of the first {len(found):,} rows"
        figures["ais"] = Metric.mean(found, "nats", f"log p(x) {what}, by annealed importance sampling")
        figures["ais_gain"] = Metric.mean(
            found - bound, "nats", f"the same less the bound {what}, k = {evaluation.draws}"
        )
        stopped = len(found) < min(ais, len(rows))
    if bracketed and not stopped:
        context = rows.batch(slice(0, bracketed)).context
        if context is not None and len(context) < bracketed:
            raise ValueError(f"bracket={bracketed} takes the context of as many rows, and there are {len(context)}")
        both = bracket(model, bracketed, context=context, **settings)
        units = rows.spec.log_jacobian if model.likelihood.density else 0.0
        for name, values in (("below", both.lower), ("above", both.upper)):
            meaning = f"log p(x) of the model's own rows, whole ones, from {name}"
            figures[f"bracket_{name}"] = Metric.mean(values + units, "nats", meaning)
        figures["bracket_gap"] = both.gap
        stopped = len(both.lower) < bracketed
    if stopped and not evaluation.interrupted:
        notes.insert(0, "interrupted: annealing did not come to all rows asked for")
    return replace(evaluation, figures=figures, notes=notes, interrupted=stopped)
