"""A measured number with its unit and its error."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Metric:
    """A measured number: its value, its standard error over rows (None where it has none), unit and meaning."""

    value: float
    error: float | None
    unit: str
    meaning: str

    def __str__(self) -> str:
        error = "" if self.error is None else f" ± {self.error:.2g}"
        return f"{self.value:.4f}{error} {self.unit}".rstrip()

    @classmethod
    def mean(cls, values: Tensor, unit: str, meaning: str) -> Metric:
        """The mean over rows and its standard error."""
        values = values.double()
        error = float(values.std() / math.sqrt(len(values))) if len(values) > 1 else None
        return cls(float(values.mean()), error, unit, meaning)


def plain(figures: dict[str, Metric]) -> dict[str, dict[str, object]]:
    """Figures for JSON, which knows no NaN: None for what is not finite."""
    return {n: {"value": known(f.value), "error": known(f.error), "unit": f.unit} for n, f in figures.items()}


def known(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def table(figures: dict[str, Metric]) -> list[str]:
    """A line for each figure: its name, value, error, unit and meaning."""
    names = max(map(len, figures), default=0)
    return [f"  {name:<{names}}  {_shown(f):<26}  {f.meaning}".rstrip() for name, f in figures.items()]


def _shown(f: Metric) -> str:
    error = "" if f.error is None else f" ± {f.error:.3f}"
    return f"{f.value:9.3f}{error} {f.unit}"
