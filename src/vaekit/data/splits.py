"""Which rows are held out from training."""

from __future__ import annotations

import torch
from numpy.random import default_rng  # at the beginning: a Ctrl-C while numpy.random is imported is lost
from torch import Tensor


def held_out_mask(rows: int, share: float | None, seed: int) -> Tensor:
    """(rows,), bool: a random share of the rows, which depends on nothing but these arguments."""
    out = torch.zeros(rows, dtype=torch.bool)
    out[default_rng([seed, 2**31 + 1]).permutation(rows)[: round(rows * (share or 0))]] = True
    return out
