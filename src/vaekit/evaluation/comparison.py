"""Two evaluations of the same rows, compared row by row."""

from __future__ import annotations

from dataclasses import dataclass

from .metric import Metric, plain, table
from .protocol import Protocol, short
from .result import Evaluation

ALIKE = {
    "rows": "evaluate both on all of the same rows",
    "rows_sha256": "evaluate both on the same rows, in the same order and units",
    "given": "log p(x) and log p(x given context) differ: give both models the same context, or neither",
    "measure": "a probability, a density and a loss have no common scale: give both models likelihoods of one sort",
    "binarisation": "give both models the same likelihood's binarise=, or rows that are binarised already",
    "draws": "the bound rises with k: evaluate both with the same draws=",
}
"""The fields in which two evaluations must agree to be compared, and what to do where they do not."""


@dataclass(frozen=True, repr=False)
class Comparison:
    """Differences first less second on the same rows, with the standard errors of these differences."""

    figures: dict[str, Metric]
    protocol: Protocol

    def __getitem__(self, name: str) -> float:
        return self.figures[name].value

    def to_dict(self) -> dict[str, object]:
        return {"figures": plain(self.figures), "protocol": self.protocol.to_dict()}

    def __str__(self) -> str:
        said = f"first less second, on the same {self.protocol.rows:,} rows, k = {self.protocol.draws}"
        return "\n".join([said, *table(self.figures)])

    __repr__ = __str__


def compare(first: Evaluation, second: Evaluation) -> Comparison:
    """How far two evaluations of the same rows are apart, row by row, with paired standard errors.

    What makes a row hard for both models cancels, so that the error is that of `first - second` over rows, smaller
    than the two errors suggest. Raises ValueError where the protocols differ in a field of `ALIKE`, with both values
    and what to do, or where one has none.
    """
    a, b = first.protocol, second.protocol
    if a is None or b is None or not first.per_row or not second.per_row:
        raise ValueError("compare reads evaluations of rows: pass what vae.evaluate(x) returns")
    apart = [n for n in ALIKE if getattr(a, n) != getattr(b, n)]
    if apart:
        told = (f"{n} ({short(getattr(a, n))}; {short(getattr(b, n))}): {ALIKE[n]}" for n in apart)
        raise ValueError(f"these evaluations differ in more than the model: {'. '.join(told)}")
    figures = {
        name: Metric.mean(values - second.per_row[name], first.figures[name].unit, first.figures[name].meaning)
        for name, values in first.per_row.items()
        if name in second.per_row
    }
    return Comparison(figures, a)
