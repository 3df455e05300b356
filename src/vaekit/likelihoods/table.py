"""The likelihood of a table: a part for the columns of each kind."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import groupby

from ..data.column import Column
from ..data.schema import Schema
from .base import Likelihood
from .columns import CountColumns, Ordinal, Warped
from .levels import Categorical
from .mixed import Mixed
from .unit import Bernoulli


def of_table(schema: Schema, components: int = 1) -> Mixed:
    """p of a row of cells, columns of one kind side by side in one part; log p is in the table's own units."""
    parts = []
    for (kind, _), group in groupby(schema.cells, key=_part):
        parts.append(_MAKERS[kind](list(group), components))
    return Mixed(parts)


def _part(column: Column) -> tuple[str, int]:
    kind = "real" if column.kind == "datetime" else column.kind
    levels = len(column.levels)
    return kind, levels if kind == "category" else levels.bit_length() if kind == "ordinal" else 0


def _warped(columns: Sequence[Column], components: int) -> Warped:
    return Warped(
        [c.marginal.knots for c in columns],
        [c.marginal.scores for c in columns],
        [0.0 if c.step is None else c.step / c.scale for c in columns],
        [math.log(c.scale) for c in columns],
        columns[0].kind == "positive",
        components,
    )


_MAKERS: dict[str, Callable[[Sequence[Column], int], Likelihood]] = {
    "real": _warped,
    "positive": _warped,
    "count": lambda columns, _: CountColumns(*zip(*(c.shares for c in columns))),
    "ordinal": lambda columns, _: Ordinal([len(c.levels) for c in columns], [c.shares for c in columns]),
    "boolean": lambda columns, _: Bernoulli(shape=(len(columns),)),
    "category": lambda columns, _: Categorical(len(columns[0].levels), shape=(len(columns),)),
}
