"""What a synthetic table is worth: how alike it is to real rows, what can be learned from it, and whether it copies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..core import public
from ..printable import printable, printable_lines
from .columns import Columns, Name, as_columns
from .metric import Metric, known, plain
from .privacy import closeness
from .similarity import column_shapes, missing_rates, pair_trends, spread
from .utility import learned_target, needs_sklearn, two_sample_test

MOST = 20_000
"""Rows of each table, drawn at random, that are compared."""

MEANING = {
    "column_shapes": "mean over columns: one less Kolmogorov-Smirnov of numbers, total variation of levels",
    "column_pairs": "mean over pairs: likeness of correlations and of contingency tables",
    "missing_cells": "mean over columns: one less the difference of the shares of missing cells",
}


@dataclass(frozen=True, repr=False)
class TableJudgement:
    """Figures of synthetic rows, each beside its floor, what it is for real rows. Shows itself as a table; `to_dict`
    for machines.

    rows: how many of each table were given: synthetic, real, test. shapes, floor_shapes: (D,), of each column. pairs,
    floor_pairs: (D, D), of each two. synthetic_columns, real_columns: what was compared, for pictures.
    """

    synthetic: dict[str, Metric]
    floor: dict[str, Metric]
    names: tuple[Name, ...]
    shapes: NDArray
    floor_shapes: NDArray
    pairs: NDArray
    floor_pairs: NDArray
    rows: dict[str, int]
    target: Name | None = None
    notes: tuple[str, ...] = ()
    synthetic_columns: Columns | None = field(default=None, compare=False)
    real_columns: Columns | None = field(default=None, compare=False)

    def __getitem__(self, name: str) -> float:
        return self.synthetic[name].value

    def to_dict(self) -> dict[str, object]:
        own = zip(map(str, self.names), self.shapes.tolist(), self.floor_shapes.tolist())
        return {
            "rows": dict(self.rows),
            "target": None if self.target is None else str(self.target),
            "synthetic": plain(self.synthetic),
            "floor": plain(self.floor),
            "columns": {name: {"shape": known(shape), "floor": known(floor)} for name, shape, floor in own},
            "pairs": [list(map(known, row)) for row in self.pairs.tolist()],
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        given = ", ".join(f"{count:,} {what}" for what, count in self.rows.items())
        lines = [f"{given} rows of {len(self.names)} columns", f"  {'':<14}  {'synthetic':>17}  {'floor':>17}"]
        for name, figure in self.synthetic.items():
            shown = (str(f) for f in (figure, self.floor[name]))
            lines.append(f"  {name:<14}  {'  '.join(f'{text:>17}' for text in shown)}  {figure.meaning}")
        worst = [i for i in np.argsort(self.shapes) if np.isfinite(self.shapes[i])][:3]
        told = ", ".join(
            f"{printable(self.names[i], 60)} {self.shapes[i]:.3f} ({self.floor_shapes[i]:.3f})" for i in worst
        )
        lines += [f"  least alike are the columns {told}"] if worst else []
        return printable_lines("\n".join([*lines, *(f"  note: {note}" for note in self.notes)]))

    __repr__ = __str__


@public
def judge_table(
    real: object,
    synthetic: object,
    *,
    test: object = None,
    target: Name | None = None,
    levels: Sequence[Name] | None = None,
    seed: int = 0,
) -> TableJudgement:
    """Every figure of a synthetic table, beside the floor: what real rows come to in its place.

    real: the rows that were learned from. test: real rows that were not; without them half of `real` stands for them,
    which then are not unseen. Synthetic rows are compared with the test rows, and so are as many learned ones, the
    floor; that of copies and of what a target teaches is the test rows', and the learned rows'. A table is a data
    frame, an Arrow table, a mapping of names to arrays, a structured array or an array (N, D). target: the column that
    other models are to learn from the rest. levels: see `as_columns`. The same seed gives the same figures.

    Figures: `column_shapes`, `column_pairs`, `missing_cells`, see `likeness`; `told_apart`, see `two_sample_test`;
    `learned`, see `learned_target`; `distance`, `nearer`, `copied`, see `closeness`. Without scikit-learn `told_apart`
    is left out. Raises ValueError for tables that differ in their columns, ImportError for a target without
    scikit-learn.
    """
    given = {"real": real, "synthetic": synthetic} | ({} if test is None else {"test": test})
    tables = as_columns(given, levels)
    rows = {what: len(tables[what]) for what in ("synthetic", "real", "test") if what in tables}
    place = None if target is None else tables["real"].place(target)
    notes, generator = [], np.random.default_rng(seed)
    learned, made = tables["real"], tables["synthetic"]
    if test is None:
        order = generator.permutation(len(learned))
        half = len(order) // 2
        learned, held = learned[order[:half]], learned[order[half:]]
        notes.append("no test rows: half of the real ones stand for them, so a copy of these would not be found")
    else:
        held = tables["test"]
    made_some, learned_some, held_some = _as_many(generator, made, learned, held)
    gaps = any(np.isnan(t.values).any() for t in (made_some, learned_some, held_some))
    synthetic_figures, shapes, pairs = _likeness(made_some, held_some, gaps, seed)
    floor_figures, floor_shapes, floor_pairs = _likeness(learned_some, held_some, gaps, seed)
    try:
        needs_sklearn()
    except ImportError:
        if target is not None:
            raise
        notes.append("scikit-learn is not installed: whether a classifier tells the rows apart was not tried")
    else:
        synthetic_figures["told_apart"] = two_sample_test(made_some, held_some, seed)
        floor_figures["told_apart"] = two_sample_test(learned_some, held_some, seed)
    if place is not None:
        synthetic_figures["learned"] = learned_target(made, held, place, seed)
        floor_figures["learned"] = learned_target(learned, held, place, seed)
    for name, (figure, floor) in closeness(made, learned, held, seed).items():
        synthetic_figures[name], floor_figures[name] = figure, floor
    return TableJudgement(
        synthetic_figures,
        floor_figures,
        learned.names,
        shapes,
        floor_shapes,
        pairs,
        floor_pairs,
        rows,
        target,
        tuple(notes),
        made_some,
        held_some,
    )


def _as_many(generator: np.random.Generator, made: Columns, learned: Columns, held: Columns) -> list[Columns]:
    """Of synthetic and learned rows the same number, of all no more than `MOST`, drawn at random."""
    n = min(len(made), len(learned), MOST)
    return [t[generator.permutation(len(t))[:m]] for t, m in ((made, n), (learned, n), (held, MOST))]


def _likeness(table: Columns, real: Columns, gaps: bool, seed: int) -> tuple[dict[str, Metric], NDArray, NDArray]:
    """The figures of `likeness` with their errors, and shapes and pairs by themselves.

    gaps: whether cells are missing in any of the tables. Synthetic and real rows then have the same figures.
    """
    shapes, pairs = column_shapes(table, real), pair_trends(table, real)
    scores = {"column_shapes": lambda a, b: _mean(column_shapes(a, b))}
    scores |= {"column_pairs": lambda a, b: _mean(pair_trends(a, b))} if len(real.names) > 1 else {}
    scores |= {"missing_cells": lambda a, b: _mean(missing_rates(a, b))} if gaps else {}
    figures = {
        name: Metric(score(table, real), spread(score, table, real, seed), "", MEANING[name])
        for name, score in scores.items()
    }
    return figures, shapes, pairs


def _mean(values: NDArray) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")
