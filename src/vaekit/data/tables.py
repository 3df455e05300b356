"""Parquet: one file or a folder of them, read by row groups."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .stores import Store

if TYPE_CHECKING:
    import pyarrow
    from pyarrow.parquet import FileMetaData, ParquetFile

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
            with _opened(path) as file:
                types += self._types(path, file)
                for group in range(file.metadata.num_row_groups):
                    if rows := file.metadata.row_group(group).num_rows:
                        self.groups.append((path, group))
                        sizes.append(rows)
        self.edges = np.cumsum([0, *sizes])
        super().__init__((sum(sizes), len(self.names)), np.result_type(*types))
        self.width = max(1, KEPT // (max(sizes) * self.row_bytes))

    def _types(self, path: Path, file: ParquetFile) -> list[np.dtype]:
        """The types of a file's columns, which have to be those of the first."""
        schema = file.schema_arrow
        index = (schema.pandas_metadata or {}).get("index_columns", [])
        fields = {field.name: field for field in schema if field.name not in index}
        words = [name for name, field in fields.items() if not _is_number(field.type)]
        if words or not fields:
            got = ", ".join(words) or "none"
            raise ValueError(f"expected columns of numbers in {path}, got {got}: encode or drop them first")
        self.names = self.names or list(fields)
        if list(fields) != self.names:
            raise ValueError(
                f"expected the columns {', '.join(self.names)} in every file, got {', '.join(fields)} in {path}: write "
                "files of one schema"
            )
        gaps = _with_nulls(file.metadata)
        types = {name: np.dtype(field.type.to_pandas_dtype()) for name, field in fields.items()}
        return [np.dtype(float) if name in gaps and t.kind != "f" else t for name, t in types.items()]

    def read(self, index: NDArray) -> NDArray:
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
        with _opened(path) as file:
            for part in file.iter_batches(AT_ONCE, row_groups=[group], columns=self.names, use_threads=False):
                for column, name in enumerate(self.names):
                    rows[start : start + len(part), column] = _values(part[name])
                start += len(part)
        return rows


def parquet_files(folder: Path) -> list[Path]:
    """The Parquet files directly in a folder, in order of name."""
    return sorted(p for p in folder.iterdir() if p.suffix.lower() == ".parquet" and not p.name.startswith((".", "_")))


@contextmanager
def _opened(path: Path) -> Iterator[ParquetFile]:
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise ImportError('reading .parquet needs pyarrow: pip install "vaekit[tables]"') from error
    try:
        with ParquetFile(path) as file:
            yield file
    except (ArrowException, OSError) as error:
        raise ValueError(f"{path} cannot be read as .parquet ({error}): save it again") from error


def _is_number(kind: pyarrow.DataType) -> bool:
    from pyarrow import types

    return types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)


def _with_nulls(metadata: FileMetaData) -> set[str]:
    """The columns that have nulls, or do not say that they have none."""
    found = set()
    for group in range(metadata.num_row_groups):
        for i in range(metadata.num_columns):
            column = metadata.row_group(group).column(i)
            if column.statistics is None or not column.statistics.has_null_count or column.statistics.null_count:
                found.add(column.path_in_schema)
    return found


def _values(column: pyarrow.Array) -> NDArray:
    """A column as an array, its nulls as NaN."""
    from pyarrow import types, uint8

    return (column.cast(uint8()) if types.is_boolean(column.type) else column).to_numpy(zero_copy_only=False)


def column_kinds(path: Path) -> tuple[list[bool], bool]:
    """Of each column of a file whether it holds numbers, and whether cells may be missing."""
    with _opened(path) as file:
        schema = file.schema_arrow
        index = (schema.pandas_metadata or {}).get("index_columns", [])
        fields = [field for field in schema if field.name not in index]
        return [_is_number(field.type) for field in fields], bool(_with_nulls(file.metadata) & {f.name for f in fields})
