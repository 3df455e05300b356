"""The decoder of a topic model."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor, nn

from .network import Network


class TopicMixture(Network):
    """`log sum_k z_k softmax(beta_k)`: the words' log-probabilities in a document that mixes topics by z.

    Blei et al. 2003; Srivastava & Sutton 2017, arXiv:1703.01488, section 2. The product of experts of their ProdLDA is
    the linear map `MLP(())`.
    """

    def __init__(self, in_shape: int | Sequence[int] | None = None, out_shape: int | Sequence[int] | None = None):
        super().__init__(in_shape, out_shape)
        if self.in_shape is not None and self.out_shape is not None:
            self.beta = nn.Parameter(torch.randn(prod(self.in_shape), prod(self.out_shape)))

    def run(self, x: Tensor) -> Tensor:
        return (x.flatten(1) @ self.beta.softmax(-1)).clamp(min=torch.finfo(x.dtype).tiny).log()
