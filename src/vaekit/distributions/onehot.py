"""One-hot codes: categorical variables as vectors, hard or relaxed."""

from __future__ import annotations

import torch
from torch import Tensor

from ..core import ForwardContext, record, static
from .base import Distribution, closed_form, per_row, straight_through
from .mixture import gumbel


@record
class OneHot(Distribution):
    """Categorical variables as one-hot vectors laid side by side; one cell per variable.

    logits: (B, variables, categories) or without B. A draw is flat, (B, variables * categories): hard, or, with a
    temperature, the relaxed `softmax((logits + Gumbel) / temperature)` (Jang et al. 2017, arXiv:1611.01144); straight:
    the hard draw of the same noise, with the gradient of the relaxed one. `log_prob` is linear in x: exact for hard
    codes, an extension for relaxed ones.
    """

    logits: Tensor
    temperature: Tensor | None = None
    straight: bool = static(default=False)

    def log_prob(self, x: Tensor) -> Tensor:
        x = x.unflatten(-1, self.logits.shape[-2:])
        return (x * self.logits.log_softmax(-1)).sum(-1)

    def draw(self, scope: ForwardContext, rows: int | None = None) -> Tensor:
        noisy = self.logits + gumbel(scope.rand(per_row(self.logits.shape, rows)))
        if self.temperature is None:
            return self._hard(noisy)
        relaxed = (noisy / self.temperature).softmax(-1).flatten(-2)
        return straight_through(self._hard(noisy), relaxed) if self.straight else relaxed

    def _hard(self, scores: Tensor) -> Tensor:
        classes = torch.arange(scores.shape[-1], device=scores.device)
        return (scores.argmax(-1, keepdim=True) == classes).to(scores.dtype).flatten(-2)

    @property
    def mean(self) -> Tensor:
        return self.logits.softmax(-1).flatten(-2)

    @property
    def mode(self) -> Tensor:
        return self._hard(self.logits)

    def to_torch(self) -> torch.distributions.Distribution:
        """The hard codes as a `torch.distributions` object over (variables, categories)."""
        return torch.distributions.Independent(torch.distributions.OneHotCategorical(logits=self.logits), 1)


@closed_form(OneHot, OneHot)
def _(q: OneHot, p: OneHot) -> Tensor:
    log_q, log_p = q.logits.log_softmax(-1), p.logits.log_softmax(-1)
    return (log_q.exp() * (log_q - log_p)).sum(-1)
