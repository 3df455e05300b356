"""A class that is known for some rows."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ..core import ForwardContext, LatentSample
from .latent import Latent, LatentWrapper
from .posteriors import Categorical


class Labelled(LatentWrapper):
    """A class y that labels tell: `q(y | x)` is a classifier, and a known label takes the place of its draw.

    Kingma et al. 2014, arXiv:1406.5298. inner: a latent of one categorical variable. In a row whose label is known (in
    the batch, one-hot) z is the label and `log_ratio = log p(y)`, so that `exp(log_lik + log_ratio)` estimates p(x, y);
    in the others it estimates p(x).
    """

    labelled = True
    space = "codes"

    def __init__(self, inner: Latent):
        super().__init__()
        posterior = getattr(inner, "posterior", None)
        if not isinstance(posterior, Categorical) or posterior.variables != 1:
            raise ValueError(
                "Labelled reads one class per row: build it as Labelled(Latent(Categorical(1, classes), "
                "UniformCategorical()))"
            )
        self.inner = inner

    @property
    def classes(self) -> int:
        return self.inner.posterior.categories

    @property
    def hard(self) -> bool | None:
        return self.inner.hard

    def infer(
        self, evidence: Tensor, scope: ForwardContext, above: Tensor | None = None, held: Tensor | None = None
    ) -> LatentSample:
        draw = self.inner.infer(evidence, scope, above, held)
        if scope.label is None:
            return draw
        known = scope.label.sum(1) > 0
        log_p = draw.p.log_density(scope.label)
        return replace(
            draw,
            z=torch.where(known.unsqueeze(1), scope.label, draw.z),
            log_ratio=torch.where(known, log_p, draw.log_ratio),
            kl=torch.where(known.unsqueeze(1), -log_p.unsqueeze(1), draw.kl),
            log_q=torch.where(known, 0.0, draw.log_q),
        )
