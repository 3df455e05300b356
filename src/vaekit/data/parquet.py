"""What a Parquet file says of itself, checked before its rows are read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ..paths import regular_file
from ..printable import printable
from .limits import FileError, check_size, reading

if TYPE_CHECKING:
    import pyarrow
    from pyarrow.parquet import FileMetaData, ParquetFile

SAFE = (14, 0, 1)
"""The first version of pyarrow that does not unpickle the types that a file names."""


@contextmanager
def opening_parquet(path: Path) -> Iterator[ParquetFile]:
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


def is_number(kind: pyarrow.DataType) -> bool:
    from pyarrow import types

    return types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)


def with_nulls(metadata: FileMetaData) -> set[str]:
    """The columns that have nulls, or do not say that they have none."""
    found = set()
    for group in range(metadata.num_row_groups):
        for i in range(metadata.num_columns):
            column = metadata.row_group(group).column(i)
            if column.statistics is None or not column.statistics.has_null_count or column.statistics.null_count:
                found.add(column.path_in_schema)
    return found


def column_kinds(path: Path) -> tuple[list[bool], bool]:
    """Of each column of a file whether it holds numbers, and whether cells may be missing."""
    with opening_parquet(path) as file:
        schema = file.schema_arrow
        index = (schema.pandas_metadata or {}).get("index_columns", [])
        fields = [field for field in schema if field.name not in index]
        return [is_number(field.type) for field in fields], bool(with_nulls(file.metadata) & {f.name for f in fields})


def check_table(path: Path) -> None:
    """Raises FileError for a Parquet file that is damaged, or whose rows, read at once, ask for more than is free."""
    with opening_parquet(path) as file:
        rows = [file.metadata.row_group(group).num_rows for group in range(file.metadata.num_row_groups)]
        check_size(min(rows, default=0), path)
        check_size(8 * sum(rows) * file.metadata.num_columns, path)
