"""The columns of a table together: how rows get into the model's cells, and how they come out again."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..printable import listed, printable
from ..settings import checked
from ..suggest import nearest
from .column import KINDS, SHOWN, Column, SchemaWarning
from .frames import Name, Raw, column_axis, container_of, names_of, opened, raw
from .inference import Columns, infer_column
from .names import name_from_json, name_to_json
from .unknown import UNKNOWN, Encoded, Unknown, warn_of
from .writer import Made, build

ORDER = ("real", "datetime", "positive", "count", "ordinal", "boolean", "category")
"""The kinds that are modelled, in the order of their cells."""


@dataclass(frozen=True)
class Schema:
    """The columns of a table, as they came, whose table it was (`container`), and the names of the levels of a pandas
    column index (`axis`).

    `encode` gives the cells of the model, (N, C): a column for each that is modelled, in the order of `cells`, kinds
    side by side; `decode` gives a table back.

        schema = vk.data.Schema.infer(frame, {"age": "count"})
        print(schema)
    """

    columns: tuple[Column, ...]
    container: str
    rows: int = 0
    axis: tuple | None = None
    cells: tuple[Column, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        modelled = [c for c in self.columns if c.modelled]
        ordered = sorted(modelled, key=lambda c: (ORDER.index(c.kind), len(c.levels)))
        object.__setattr__(self, "cells", tuple(ordered))

    @classmethod
    def infer(cls, table: object, columns: Columns | None = None, learned: NDArray | None = None) -> Schema:
        """The schema of a pandas or polars data frame, an Arrow table, a structured array, or a .csv or .parquet file.

        columns: what is known better, by name: a kind, or the ordered levels of an ordinal column; "identifier" leaves
        a column out. learned: (N,), the rows that scales and spreads are taken from; None: all. Kinds and levels are
        those of all rows. Warns of columns that are left out. Raises TypeError for what is no table and for types that
        are not understood, ValueError for infinities, two columns of one name, no rows or columns, and for kinds that
        a column cannot be.
        """
        table = opened(table)
        names, container = names_of(table), container_of(table)
        rows = table.num_rows if container == "pyarrow" else len(table)
        if rows == 0:
            raise ValueError(
                f"Found array with 0 sample(s) (shape=(0, {len(names)})) while a minimum of 1 is required."
            )
        given = dict(columns or {})
        for name, kind in given.items():
            if name not in names:
                raise ValueError(
                    f"columns={{{name!r}: ...}}: the table has no such column{nearest(str(name), map(str, names))}"
                )
            if isinstance(kind, str) and kind not in KINDS:
                raise ValueError(
                    f"columns={{{name!r}: {kind!r}}}: expected one of {', '.join(KINDS)}, or ordered levels"
                    f"{nearest(kind, KINDS)}"
                )
        learned = np.ones(rows, dtype=bool) if learned is None else np.asarray(learned, dtype=bool)
        columns_read = [raw(table, i, n) for i, n in enumerate(names)]
        found = tuple(infer_column(n, r, given.get(n), learned) for n, r in zip(names, columns_read))
        for c, r in zip(found, columns_read):
            if note := r.note or _loss(c, r):
                warnings.warn(f"column {c.name!r} {note}", SchemaWarning, stacklevel=2)
        schema = cls(found, container, rows, column_axis(table))
        if not schema.cells:
            raise ValueError(f"no column of the table can be modelled, pass rows that differ:\n{schema}")
        for c in found:
            if c.kind == "identifier" and c.name not in given:
                warnings.warn(
                    f"column {c.name!r} names the rows and is left out: columns={{{c.name!r}: 'category'}} models it",
                    SchemaWarning, stacklevel=2,
                )  # fmt: skip
        return schema

    @property
    def names(self) -> list[Name]:
        """Of all columns, as they came."""
        return [c.name for c in self.columns]

    def column(self, name: Name) -> Column:
        """Raises KeyError, with the nearest name, where there is none."""
        for c in self.columns:
            if c.name == name:
                return c
        raise KeyError(f"the table has no column {name!r}{nearest(str(name), map(str, self.names))}")

    def encode(self, table: object, unknown: Unknown = "error") -> NDArray:
        """(N, C), float64: a cell for each column that is modelled, in the order of `cells`, NaN where it is missing.

        Columns may come in another order, in other types and in another container; others than those of fit are left
        aside. unknown: as in `read`.
        """
        return self.read(table, unknown).cells

    def read(self, table: object, unknown: Unknown = "missing") -> Encoded:
        """The cells of a table, and which of them hold values that fit did not see.

        Parameters
        ----------
        table : data frame, Arrow table, structured array or path
            Columns may come in another order, in other types and in another container; others than those of fit are
            left aside.
        unknown : {"missing", "error"}, default="missing"
            What to do with a new level, a value that the kind of its column cannot hold, and another value than that
            of a constant: treat the cell as missing and warn once, or raise ValueError.

        Raises
        ------
        ValueError
            For a column that is not there, and for one of another type, such as dates for numbers.
        """
        unknown = checked("unknown", unknown, UNKNOWN)
        table = opened(table)
        names = names_of(table)
        place = {n: i for i, n in enumerate(names)}
        lost = [c.name for c in self.columns if c.modelled and c.name not in place]
        if lost:
            raise ValueError(
                f"the table has no column {', '.join(map(repr, lost[:SHOWN]))}, which fit read; it has "
                f"{listed(names, SHOWN)}: pass it, empty if it is not known"
            )
        rows = table.num_rows if container_of(table) == "pyarrow" else len(table)
        if rows == 0:
            raise ValueError(
                f"Found array with 0 sample(s) (shape=(0, {len(names)})) while a minimum of 1 is required."
            )
        known = (*self.cells, *self.constants)
        cells, new, values = np.full((rows, len(known)), np.nan), np.zeros((rows, len(known)), dtype=bool), {}
        for i, c in enumerate(known):
            if c.name not in place:
                continue
            column = raw(table, place[c.name], c.name, mixed=unknown == "missing")
            if unknown == "error":
                cells[:, i] = c.encode(column)
                continue
            cells[:, i], new[:, i] = c.read(column)
            if new[:, i].any():
                values[c.name] = column.values[new[:, i]]
        warn_of(values)
        return Encoded(cells[:, : len(self.cells)], new)

    @property
    def constants(self) -> tuple[Column, ...]:
        """The columns that hold one value, or none: they have no cells."""
        return tuple(c for c in self.columns if c.kind == "constant")

    @property
    def partial(self) -> tuple[Column, ...]:
        """The constants that are missing in some rows: they have gaps, though no cells."""
        return tuple(c for c in self.columns if c.kind == "constant" and c.value is not None and c.missing > 0)

    def absent(self, table: object) -> NDArray:
        """(N, P), bool: where the `partial` columns of a table are missing."""
        table = opened(table)
        names = names_of(table)
        return np.stack([~raw(table, names.index(c.name), c.name).seen for c in self.partial], 1)

    def decode(self, cells: NDArray, absent: NDArray | None = None) -> Any:
        """Cells (N, C) as a table like the one that came in, without the columns that were left out; a cell that is
        NaN is missing there, and so are the `partial` columns where they are absent, (N, P)."""
        return build(self.container, self.made(cells, absent), self.axis)

    def made(self, cells: NDArray, absent: NDArray | None = None) -> list[Made]:
        """The columns of that table."""
        cells = np.asarray(cells, dtype=np.float64)
        if cells.ndim != 2 or cells.shape[1] != len(self.cells):
            raise ValueError(f"expected cells (N, {len(self.cells)}), got {cells.shape}: pass what encode gives")
        place = {c.name: i for i, c in enumerate(self.cells)}
        gone = {} if absent is None else {c.name: own for c, own in zip(self.partial, absent.T)}
        kept = [c for c in self.columns if c.kind != "identifier"]
        return [
            c.decode(cells[:, place[c.name]]) if c.modelled else c.constant(len(cells), gone.get(c.name)) for c in kept
        ]

    def numbers(self, table: object, unknown: Unknown = "error") -> NDArray:
        """(N, C), float64: the cells in the columns' own units, levels by their number, dates in seconds since 1970;
        less the origin of columns that have one, see `Column`."""
        offset, scale = (np.array(values) for values in zip(*((c.offset, c.scale) for c in self.cells)))
        return self.encode(table, unknown) * scale + offset

    def rows_of(self, table: object, unknown: Unknown = "error") -> Tensor:
        """(N, C), fp32: the cells, for the model, see `Encoded.rows`."""
        return self.read(table, unknown).rows

    def finite(self, cells: Tensor) -> Tensor:
        """Cells (N, C) that a model made, with the centre of its column in place of each that is not a number.

        Warns of these: a model that has diverged must not look like a table with missing cells.
        """
        wrong = cells.isnan()
        if not wrong.any():
            return cells
        named = [f"{c.name!r} ({int(k)})" for c, k in zip(self.cells, wrong.sum(0)) if k]
        warnings.warn(
            f"the model made cells that are not numbers, in column {', '.join(named[:SHOWN])}: the centre of the "
            "column stands in; the model has diverged on these rows, see `health`", SchemaWarning, stacklevel=3,
        )  # fmt: skip
        centres = torch.tensor([c.centre for c in self.cells], dtype=cells.dtype, device=cells.device)
        return torch.where(wrong, centres, cells)

    @property
    def missing(self) -> bool:
        """Whether cells were missing."""
        return any(c.missing > 0 for c in self.cells)

    def to_dict(self) -> dict[str, Any]:
        own = {"container": self.container, "rows": self.rows, "columns": [c.to_dict() for c in self.columns]}
        return own if self.axis is None else own | {"axis": [name_to_json(name) for name in self.axis]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Schema:
        columns, axis = tuple(Column.from_dict(c) for c in values["columns"]), values.get("axis")
        axis = None if axis is None else tuple(name_from_json(name) for name in axis)
        return cls(columns, values["container"], values["rows"], axis)

    def __str__(self) -> str:
        lines = [("column", "kind", "type", "missing", "values")]
        lines += [
            (printable(c.name, 60), c.kind, c.dtype, f"{c.missing:.1%}" if c.missing else "", printable(c.described))
            for c in self.columns
        ]
        widths = [max(map(len, cells)) for cells in zip(*lines)]
        return "\n".join("  ".join(c.ljust(w) for c, w in zip(line, widths)).rstrip() for line in lines)


def _loss(column: Column, values: Raw) -> str | None:
    """What the cells of a column of whole numbers cannot keep."""
    if column.kind not in ("real", "positive") or values.values.dtype.kind not in "iu":
        return None
    made = column.decode(column.encode(values)).values[values.seen]
    if (made.astype(values.values.dtype) == values.values[values.seen]).all():
        return None
    return "holds whole numbers of more than 15 digits over a wide range, which are kept to 15 digits"
