"""Checks a `DataSpec` that was read from a file, before a model is used with it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ..typecheck import check_record, shown
from .column import LEVELLED, Column
from .labels import Classes
from .missing_patterns import Patterns
from .schema import Schema
from .spec import DataSpec

CELLS = 2**28
"""The most cells of a row."""


def check_spec(spec: DataSpec, name: str = "data") -> None:
    """Raises TypeError or ValueError, with the field's name, for a spec that no data can have."""
    check_record(spec, name)
    _require(all(isinstance(n, int) and n >= 1 for n in spec.shape), f"{name}.shape", spec.shape, "positive sizes")
    _require(math.prod(spec.shape) <= CELLS, f"{name}.shape", spec.shape, f"at most {CELLS:,} cells")
    _require(np.dtype(spec.dtype).kind in "biuf", f"{name}.dtype", spec.dtype, "a type of numbers")
    _require(not spec.channels_last or len(spec.shape) == 3, f"{name}.channels_last", True, "rows of three axes")
    _require((spec.kind == "table") == (spec.schema is not None), f"{name}.kind", spec.kind, "a schema for a table")
    for field in ("offset", "scale"):
        values = getattr(spec, field)
        columns = {1, spec.shape[-1]} if spec.shape else {1}
        _require(len(values) in columns, f"{name}.{field}", len(values), "one number, or one per column")
        _check_finite(values, f"{name}.{field}")
    _require(min(spec.scale) > 0, f"{name}.scale", min(spec.scale), "numbers above 0")
    _require(all(0 <= i < math.prod(spec.shape) for i in spec.empty), f"{name}.empty", spec.empty[:3], "cells of a row")
    _check_finite((spec.low, spec.high), f"{name}.low, {name}.high")
    if spec.schema is not None:
        _check_schema(spec.schema, spec.shape, f"{name}.schema")
    if spec.patterns is not None:
        _check_patterns(spec, spec.patterns, f"{name}.patterns")
    for field in ("labels", "context"):
        own = getattr(spec, field)
        if isinstance(own, Classes):
            _require(0 < len(own.levels) == len(own.shares), f"{name}.{field}", len(own.levels), "a share per level")
        elif own is not None:
            check_spec(own, f"{name}.{field}")


def _check_schema(schema: Schema, shape: tuple[int, ...], name: str) -> None:
    cells = (len(schema.cells),)
    _require(shape == cells, f"{name}.columns", cells, f"as many modelled columns as cells in a row, {shape}")
    for column in schema.columns:
        _check_column(column, f"{name} column {shown(column.name)}")


def _check_column(column: Column, name: str) -> None:
    _check_finite((column.low, column.high, column.offset, column.scale, column.missing), name)
    _require(column.scale > 0, f"{name}.scale", column.scale, "a number above 0")
    step = column.step
    _require(step is None or (math.isfinite(step) and step > 0), f"{name}.step", step, "a number above 0")
    _require(column.kind not in LEVELLED or len(column.levels) > 0, f"{name}.levels", (), "levels")
    _check_finite(column.shares, f"{name}.shares")
    if column.marginal is not None:
        knots, scores = column.marginal.knots, column.marginal.scores
        _require(len(knots) == len(scores) >= 2, f"{name}.marginal", len(knots), "as many knots as scores")
        _check_finite((*knots, *scores), f"{name}.marginal")


def _check_patterns(spec: DataSpec, patterns: Patterns, name: str) -> None:
    cells = math.prod(spec.shape) + (0 if spec.schema is None else len(spec.schema.partial))
    _require(patterns.cells == cells, f"{name}.cells", patterns.cells, f"the {cells} cells of a row")
    digits = 2 * -(-cells // 8)
    fits = all(len(own) == digits and set(own) <= set("0123456789abcdef") for own in patterns.bits)
    _require(fits, f"{name}.met", len(patterns.bits), f"patterns of {digits} hexadecimal digits")
    counted = all(isinstance(n, int) and n > 0 for n in patterns.counts)
    _require(counted, f"{name}.met", patterns.counts[:3], "positive counts")


def _check_finite(values: Sequence[float], name: str) -> None:
    bad = [v for v in values if not math.isfinite(v)]
    _require(not bad, name, bad[:1], "finite numbers")


def _require(holds: bool, name: str, value: object, expected: str) -> None:
    if not holds:
        raise ValueError(f"{name} = {shown(value)}: expected {expected}")
