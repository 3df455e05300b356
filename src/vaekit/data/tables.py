"""Parquet: one file or a folder of them, read by row groups."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..paths import regular_file
from ..printable import listed, printable
from .limits import FileError, check_size, reading
from .stores import Store

if TYPE_CHECKING:
    import pyarrow
    from pyarrow.parquet import FileMetaData, ParquetFile

KEPT = 2**28
"""Bytes of decoded row groups that are kept: rows are shuffled among these."""
SAFE = (14, 0, 1)
"""The first version of pyarrow that does not unpickle the types that a file names."""
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
        words = [name for name, field in fields.items() if not _is_number(field.type)]
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
        gaps = _with_nulls(file.metadata)
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
        with _opened(path) as file:
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


@contextmanager
def _opened(path: Path) -> Iterator[ParquetFile]:
    try:
        import pyarrow
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise ImportError('reading .parquet needs pyarrow: pip install "vaekit[tables]"') from error
    if tuple(map(int, re.findall(r"\d+", pyarrow.__version__)[:3])) < SAFE:
        raise ImportError(
            f"pyarrow {pyarrow.__version__} runs code from files (CVE-2023-47248): install 14.0.1 or later"
        )
    with reading(path, ".parquet"), ParquetFile(regular_file(path)) as file:
        _check_types(file, path)
        yield file


def _check_types(file: ParquetFile, path: Path) -> None:
    """Raises FileError where a part of a column is not of the column's type: its statistics end the process."""
    types = [file.schema.column(i).physical_type for i in range(len(file.schema))]
    for group in range(file.metadata.num_row_groups):
        own = file.metadata.row_group(group)
        if own.num_columns != len(types) or any(own.column(i).physical_type != t for i, t in enumerate(types)):
            raise FileError(f"{printable(path)} has columns of other types than it states: save it again")


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


def check_table(path: Path) -> None:
    """Raises FileError for a Parquet file that is damaged, or whose rows, read at once, ask for more than is free."""
    with _opened(path) as file:
        rows = [file.metadata.row_group(group).num_rows for group in range(file.metadata.num_row_groups)]
        check_size(min(rows, default=0), path)
        check_size(8 * sum(rows) * file.metadata.num_columns, path)
