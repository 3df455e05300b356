"""Values that fit did not see: how they are marked, announced and scored."""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..settings import Choice
from .column import SHOWN, UnknownValueWarning, shown
from .frames import Name

Unknown = Literal["missing", "error"]
UNKNOWN = Choice(("missing", "error"))
"""The rule of the setting."""


@dataclass(frozen=True)
class Encoded:
    """A table as the cells of a model.

    cells: (N, C), float64, NaN where missing or unknown. unknown: (N, C + K), where cells, and then the K constant
    columns, hold a value that fit did not see.
    """

    cells: NDArray
    unknown: NDArray

    @property
    def rows(self) -> Tensor:
        """(N, C), fp32: values keep 1e-7 of the spread of their column; those beyond 1e30 times it are drawn in."""
        return torch.from_numpy(self.cells.clip(-1e30, 1e30).astype(np.float32))


def unknown_cost(unknown: NDArray, rows: int) -> NDArray:
    """The same shape, nats: `log(n + 1)` for each value that none of n rows had, by Laplace's rule of succession."""
    return unknown * math.log(rows + 1)


def warn_of(values: Mapping[Name, NDArray]) -> None:
    """One warning of all values that fit did not see, by column."""
    if values:
        listed = "; ".join(f"column {name!r}: {_counted(own)}" for name, own in list(values.items())[:SHOWN])
        more = f"; and {len(values) - SHOWN} more columns" if len(values) > SHOWN else ""
        text = f"values that fit did not see are treated as missing, in {listed}{more}"
        warnings.warn(text, UnknownValueWarning, stacklevel=_caller())


def _caller() -> int:
    """The level of the stack, seen from the function that warns, at which this package was called."""
    level, frame, package = 1, sys._getframe(1), __name__.partition(".")[0]
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == package:
        level, frame = level + 1, frame.f_back
    return level


def _counted(values: NDArray) -> str:
    """Values by how often they are there, the most frequent first."""
    found, counts = np.unique(values.astype(str) if values.dtype.kind == "O" else values, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    named = [f"{shown(found[i])} ({counts[i]} cells)".replace("(1 cells", "(1 cell") for i in order[:SHOWN]]
    return ", ".join(named) + (", ..." if len(found) > SHOWN else "")
