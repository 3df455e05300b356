"""Parquet: one file or a folder of them, read by row groups."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..paths import regular_file
from ..printable import listed, printable
from .limits import FileError, check_size
from .parquet import is_number, opening_parquet, with_nulls
from .sources import Store

if TYPE_CHECKING:
    import pyarrow
    from pyarrow.parquet import ParquetFile

KEPT = 2**28
"""Bytes of decoded row groups that are kept: rows are shuffled among these."""
AT_ONCE = 2**16
"""Rows decoded at a time."""


class Table(Store):
    """The numeric columns of Parquet files of one schema; a null is NaN, and makes its type float64 if it was whole.

    A row group is decoded as a whole, and the last few are kept, `KEPT` bytes in all, or one. Raises ValueError for
    columns that are not numbers, files that differ in their columns and files that are damaged, ImportError without
    pyarrow.
    """

    def __init__(self, paths: list[Path]):
        self.groups: list[tuple[Path, int]] = []
        self.names: list[str] = []
        self.kept: OrderedDict[int, NDArray] = OrderedDict()
        sizes, types = [], []
        for path in paths:
            with opening_parquet(path) as file:
                types += self._types(path, file)
                for group in range(file.metadata.num_row_groups):
                    if rows := file.metadata.row_group(group).num_rows:
                        check_size(rows * 8 * file.metadata.num_columns, path)
                        self.groups.append((path, group))
                        sizes.append(rows)
        self.edges = np.cumsum([0, *sizes])
        name = str(paths[0] if len(paths) == 1 else paths[0].parent)
        super().__init__((sum(sizes), len(self.names)), np.result_type(*types), name)
        self.width = max(1, KEPT // (max(sizes) * self.row_bytes))

    def _types(self, path: Path, file: ParquetFile) -> list[np.dtype]:
        """The types of a file's columns, which have to be those of the first."""
        schema = file.schema_arrow
        index = (schema.pandas_metadata or {}).get("index_columns", [])
        fields = {field.name: field for field in schema if field.name not in index}
        if len(set(schema.names)) < len(schema.names):
            twice = [name for name in fields if schema.names.count(name) > 1]
            raise FileError(f"several columns of {printable(path)} are named {listed(twice)}: rename them")
        words = [name for name, field in fields.items() if not is_number(field.type)]
        if words or not fields:
            raise FileError(
                f"expected columns of numbers in {printable(path)}, got {listed(words)}: encode or drop them first"
            )
        self.names = self.names or list(fields)
        if list(fields) != self.names:
            raise FileError(
                f"expected the columns {listed(self.names)} in every file, got {listed(fields)} in {printable(path)}: "
                "write files of one schema"
            )
        gaps = with_nulls(file.metadata)
        types = {name: np.dtype(field.type.to_pandas_dtype()) for name, field in fields.items()}
        return [np.dtype(float) if name in gaps and t.kind != "f" else t for name, t in types.items()]

    def read(self, index: NDArray) -> NDArray:
        check_size(len(index) * self.row_bytes, self.name)
        rows = np.empty((len(index), self.shape[1]), self.dtype)
        groups = np.searchsorted(self.edges, index, side="right") - 1
        for group in sorted(np.unique(groups).tolist(), key=lambda g: g not in self.kept):
            here = groups == group
            rows[here] = self._group(group)[index[here] - self.edges[group]]
        return rows

    def _group(self, number: int) -> NDArray:
        """A row group, decoded or kept."""
        if number not in self.kept:
            while len(self.kept) >= self.width:
                self.kept.popitem(last=False)
            self.kept[number] = self._decoded(number)
        self.kept.move_to_end(number)
        return self.kept[number]

    def _decoded(self, number: int) -> NDArray:
        path, group = self.groups[number]
        rows = np.empty((self.edges[number + 1] - self.edges[number], self.shape[1]), self.dtype)
        start = 0
        with opening_parquet(path) as file:
            for part in file.iter_batches(AT_ONCE, row_groups=[group], columns=self.names, use_threads=False):
                if start + len(part) > len(rows):
                    raise FileError(f"{printable(path)} has more rows than it states: save it again")
                for column, name in enumerate(self.names):
                    if part[name].null_count and self.dtype.kind != "f":
                        raise FileError(f"{printable(path)} has nulls that it does not state: save it again")
                    rows[start : start + len(part), column] = _values(part[name])
                start += len(part)
        if start < len(rows):
            raise FileError(f"{printable(path)} has fewer rows than it states: save it again")
        return rows


def parquet_files(folder: Path) -> list[Path]:
    """The Parquet files directly in a folder, in order of name."""
    found = (p for p in folder.iterdir() if p.suffix.lower() == ".parquet" and not p.name.startswith((".", "_")))
    return sorted(map(regular_file, found))


def _values(column: pyarrow.Array) -> NDArray:
    """A column as an array, its nulls as NaN."""
    from pyarrow import types, uint8

    return (column.cast(uint8()) if types.is_boolean(column.type) else column).to_numpy(zero_copy_only=False)
