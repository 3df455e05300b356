"""The independent model: a likelihood whose decoder says the same of every row, so that each cell stands alone."""

from __future__ import annotations

import copy
from typing import Self

import torch
from torch import Tensor

from ..core import Batch, ForwardContext, Source, importing
from ..data.rows import AbstractRows
from ..distributions import sum_cells
from ..likelihoods import Likelihood, Mixed
from ..likelihoods.base import masked

ROWS = 10_000
"""Rows that it is fitted to, at most, by chance."""
CHUNK = 1000
ROUNDS = 300
"""Of L-BFGS, at most."""


class Independent:
    """`p(x) = prod_cells p(x_i; parameters_i)` by a likelihood of any kind, its parameters at the maximum of log p of
    training rows: what a decoder that ignores z comes to, with the same measure of log p, so that the two compare.

    It is fitted by L-BFGS in fp64, the likelihood's own parameters with those of the cells, on a copy; cells that are
    missing count for nothing. Of probabilities, a Cauchy prior on each number, which weighs no more than a row or so,
    keeps that of what was never met above zero. The given likelihood is left as it is.
    """

    def __init__(self, likelihood: Likelihood, rows: AbstractRows, seed: int = 0):
        self._begin(likelihood, seed)
        x, mask = self._read(rows.batch(rows.order(seed, 0)[:ROWS]))
        self._fit(x, mask, ROUNDS)

    @classmethod
    def of_cells(cls, likelihood: Likelihood, x: Tensor, mask: Tensor | None = None, rounds: int = ROUNDS) -> Self:
        """The model of rows that are in the model's space and binarised, where that is done, already."""
        model = cls.__new__(cls)
        model._begin(likelihood, 0)
        model._fit(x.cpu().double(), None if mask is None else mask.cpu().double(), rounds)
        return model

    def _begin(self, likelihood: Likelihood, seed: int) -> None:
        own = copy.deepcopy(likelihood).double().cpu()
        self.likelihood, self.scope = own, ForwardContext.of(Source(seed, dtype=torch.float64))
        self.parameters = torch.zeros(own.in_shape, dtype=torch.float64, requires_grad=True)

    def _read(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        x = self.likelihood.observe(batch.x.cpu().double(), self.scope)
        return x, None if batch.mask is None else batch.mask.cpu().double()

    def _log_p(self, x: Tensor, mask: Tensor | None) -> tuple[Tensor, dict[str, Tensor]]:
        px, updates = self.likelihood.fitted(
            self.likelihood(self.parameters.expand(len(x), *self.parameters.shape)), x, mask, self.scope
        )
        return sum_cells(px.log_cells(x, mask)), updates

    def _fit(self, x: Tensor, mask: Tensor | None, rounds: int) -> None:
        with torch.no_grad():
            at = self.likelihood.start(masked(x, mask), mask)
            self.parameters.copy_(self.parameters if at is None else at)
        moved = [self.parameters, *(p for p in self.likelihood.parameters() if p.requires_grad)]
        with importing():  # torch's optimisers import its compiler
            optimiser = torch.optim.LBFGS(moved, max_iter=rounds, line_search_fn="strong_wolfe", tolerance_change=1e-10)
        self.likelihood.train()
        pulled = _discrete(self.likelihood)

        def loss() -> Tensor:
            optimiser.zero_grad()
            total = (pulled * self.parameters.square().log1p()).sum() / len(x)
            total.backward()
            total = total.detach()
            for start in range(0, len(x), CHUNK):
                some = slice(start, start + CHUNK)
                part = -self._log_p(x[some], None if mask is None else mask[some])[0].sum() / len(x)
                part.backward()
                total = total + part.detach()
            return total

        with torch.enable_grad():
            optimiser.step(loss)
        with torch.no_grad():  # what training keeps as running values comes to what all rows say
            buffers = dict(self.likelihood.named_buffers())
            for name, value in self._log_p(x, mask)[1].items():
                buffers[name].copy_(value)
        self.likelihood.eval()
        self.parameters.requires_grad_(False)

    @torch.no_grad()
    def log_p_of_cells(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(N,), nats: of rows in the model's space."""
        return self._log_p(x.cpu().double(), None if mask is None else mask.cpu().double())[0]

    @torch.no_grad()
    def log_p(self, rows: AbstractRows) -> Tensor:
        """(N,), nats: of each row, in the data's units."""
        found = []
        for batch in rows.batches(CHUNK):
            x, mask = self._read(batch)
            log_p = self._log_p(x, mask)[0]
            found.append(log_p + (rows.spec.log_jacobian_of(mask, len(x)) if self.likelihood.density else 0.0))
        return torch.cat(found)


def _discrete(likelihood: Likelihood) -> Tensor:
    """(*in_shape): 1 for the numbers that probabilities are made of, 0 for those of densities."""
    whole = getattr(likelihood, "likelihood", likelihood)
    if not isinstance(whole, Mixed):
        return torch.full(likelihood.in_shape, float(not whole.density), dtype=torch.float64)
    widths = torch.tensor(whole.parameter_widths)
    return torch.tensor([float(not part.density) for part in whole.parts]).double().repeat_interleave(widths)
