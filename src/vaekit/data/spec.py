"""What the data are, and how they get into the likelihood's space and back."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .affine import FARTHEST, UNSEEN, differences, in_units, mean_and_deviation
from .labels import Classes
from .missing_patterns import Patterns
from .schema import Schema

if TYPE_CHECKING:
    from .lazy_rows import LazyRows

Kind = Literal["binary", "bytes", "unit", "real", "count", "table"]

DESCRIPTIONS: dict[Kind, str] = {
    "binary": "values 0 and {top:g}",
    "bytes": "{bits}-bit levels 0..{top:g}",
    "unit": "real numbers in [0, 1]",
    "real": "real numbers",
    "count": "counts 0, 1, 2, ...",
    "table": "columns of a table",
}


BESIDE = ("labels", "context", "schema", "patterns")
DEPTHS = {8: 255.0, 12: 4095.0, 16: 65535.0}
"""Bits of images, and their greatest level."""
DARKEST = 32
"""Whole numbers of another type than uint8 are taken for the levels of images from this greatest value on: smaller ones
are more often counts."""
SIDE = 8
"""Pixels a side from which rows of another type than uint8 are taken for images."""
SINGLE = (torch.float32, torch.float16, torch.bfloat16, torch.uint8, torch.int8, torch.bool)
SINGLE_NAMES = ("float32", "float16", "bfloat16", "uint8", "int8", "bool")
"""Types that are standardised in float32, which holds all their values; others in float64."""
PIECE = 2**17
"""Cells looked at at a time: what is inferred from data does not take a second copy of them."""


def pieces(x: Tensor | LazyRows) -> Iterator[Tensor]:
    """All rows in order, some at a time."""
    yield from x.split(max(1, PIECE // math.prod(x.shape[1:])))


def values(x: Tensor | LazyRows) -> Iterator[Tensor]:
    """All that the rows hold, some cells at a time, in no order."""
    yield from pieces(x) if isinstance(x, Tensor) else x.values(PIECE)


def value_range(x: Tensor) -> tuple[float, float, bool] | None:
    """Least and greatest value that is not missing, and whether all are whole numbers; None where all are missing."""
    if has_gaps(x):
        x = x[~x.isnan()]
    if x.numel() == 0:
        return None
    whole = not x.is_floating_point() or bool((x == x.round()).all())
    return float(x.min()), float(x.max()), whole


def has_gaps(x: Tensor) -> bool:
    """Whether cells are missing (NaN), which is what the least value is then."""
    return x.is_floating_point() and bool(x.min().isnan())


def never_seen(x: Tensor | LazyRows) -> tuple[int, ...]:
    """The cells of a row, counted in order, that are missing in every row."""
    empty = torch.ones(math.prod(x.shape[1:]), dtype=torch.bool)
    for part in pieces(x):
        empty &= part.reshape(len(part), -1).isnan().all(0).cpu()
        if not empty.any():
            return ()
    return tuple(empty.nonzero().flatten().tolist())


def whole_numbers(x: Tensor | LazyRows) -> bool:
    """Whether all that is not missing is a whole number, from 0 on."""
    ranges = [value_range(part) for part in values(x)]
    return all(seen is None or (seen[0] >= 0 and seen[2]) for seen in ranges)


@lru_cache(maxsize=64)
def constants(values: tuple[float, ...], device: torch.device, dtype: torch.dtype) -> Tensor:
    """Numbers on a device, copied there once: a copy at every step would wait for the host."""
    return torch.tensor(values, device=device, dtype=dtype)


@dataclass(frozen=True)
class DataSpec:
    """The type, shape and range of a data set, and the affine map into the space of a likelihood.

    `encode` maps data to the model: `(x - offset) / scale`, images with their channels first; `decode` maps back
    into the data's own units, shape and dtype. offset and scale: one number, or one per column. constant: the columns
    that had one value in fit (0 where offset is one number), in which any other value is `UNSEEN`. empty: the cells of
    a row, counted in order, that held no value in any row of fit, and are missing in what comes back.
    labels, context: of what was given beside the rows, see `vaekit.data.covariates`. schema: of a table, whose cells
    the rows are. patterns: of the gaps in the rows of fit, over the cells of a row and, of a table, its
    `Schema.partial` columns.
    """

    kind: Kind
    shape: tuple[int, ...]
    dtype: str
    channels_last: bool = False
    missing: bool = False
    offset: tuple[float, ...] = (0.0,)
    scale: tuple[float, ...] = (1.0,)
    constant: tuple[int, ...] = ()
    empty: tuple[int, ...] = ()
    low: float = 0.0
    high: float = 1.0
    labels: Classes | None = None
    context: Classes | DataSpec | None = None
    schema: Schema | None = None
    patterns: Patterns | None = None

    @classmethod
    def of_table(cls, schema: Schema) -> DataSpec:
        """The spec of the cells of a table."""
        return cls("table", (len(schema.cells),), "float32", missing=schema.missing, schema=schema)

    def of_numbers(self) -> DataSpec:
        """The spec of the numbers that stand for the cells of a table, see `Schema.numbers`."""
        offset, scale = zip(*((c.offset, c.scale) for c in self.schema.cells))
        return replace(self, kind="real", dtype="float64", offset=offset, scale=scale, schema=None)

    @classmethod
    def infer(cls, x: Tensor | LazyRows, dtype: str) -> DataSpec:
        """What rows (N, ...) of checked values hold; `dtype` is their own. They are read once, and no further than to
        the first byte that tells levels, which are 0..255 whichever are met, from two values: 0 and 1, or 0 and 255 as
        black and white images have them. Images are images whatever their type, see `is_levels`."""
        low, high, whole, gaps, two = math.inf, -math.inf, True, False, True
        counted = not isinstance(x, Tensor) and x.store.counted
        for part in values(x):
            gaps |= has_gaps(part)
            if seen := value_range(part):
                low, high, whole = min(low, seen[0]), max(high, seen[1]), whole and seen[2]
            levels = part.dtype == torch.uint8 and not counted
            two = two and not counted and bool(((part == 0) | (part == 255) | part.isnan()).all())
            if levels and high > 1 and not two:
                low, high = 0.0, 255.0
                break
        if low > high:
            raise ValueError("expected data, got only missing values")
        common = dict(shape=tuple(x.shape[1:]), dtype=dtype, missing=gaps, low=low, high=high)
        levels = part.dtype == torch.uint8 or (whole and cls("bytes", **common).is_levels)
        if (two and levels) or (whole and low >= 0 and high <= 1):
            return cls("binary", **common)
        if counted and whole and low >= 0:
            return cls("count", **common)
        if levels:
            return cls("bytes", **common)
        if not part.is_floating_point() and low >= 0:
            return cls("count", **common)
        if low >= 0 and high <= 1:
            return cls("unit", **common)
        return cls("real", **common)

    @property
    def content(self) -> str:
        """The kind in words."""
        return DESCRIPTIONS[self.kind].format(top=self.top, bits=self._bits)

    @property
    def integer(self) -> bool:
        """Whether the data are whole numbers."""
        return self.kind in ("binary", "bytes", "count")

    @property
    def top(self) -> float:
        """The greatest value that data of this kind may have: of two values 1, or 255 where that was met."""
        if self.kind == "bytes":
            return DEPTHS[self._bits]
        return {"binary": 255.0 if self.high > 1 else 1.0, "unit": 1.0}.get(self.kind, math.inf)

    @property
    def _bits(self) -> int:
        """The fewest bits of an image that hold the greatest value."""
        return next((bits for bits, top in DEPTHS.items() if self.high <= top), 16)

    @property
    def is_levels(self) -> bool:
        """Whether whole numbers of another type than uint8 are the levels of images.

        They are for rows of image shape, at least `SIDE` pixels a side, that reach `DARKEST` and no more than 255; of
        uint16 no more than 65535.
        """
        sides = self.shape[1:] if len(self.shape) == 3 and self.shape[0] in (1, 3, 4) else self.shape[:2]
        most = 65535 if self.dtype == "uint16" else 255
        return self.is_image and min(sides) >= SIDE and self.low >= 0 and DARKEST <= self.high <= most

    def without_images(self) -> Self:
        """The same where levels of another type than uint8 are no images: integers are counts, others real numbers."""
        if self.dtype == "uint8" or not (self.kind == "bytes" or (self.kind == "binary" and self.high > 1)):
            return self
        return replace(self, kind="real" if "float" in self.dtype else "count")

    @property
    def choice(self) -> str | None:
        """What was chosen that the type of the data does not say, in one sentence; None where nothing was."""
        rows = f"rows {'x'.join(map(str, self.shape))} of {self.dtype}"
        if self.dtype != "uint8" and (self.kind == "bytes" or (self.kind == "binary" and self.high > 1)):
            return (
                f"{rows} that hold whole numbers up to {self.high:g} are read as images of {self.content}; a "
                "likelihood of counts or real numbers, such as NegativeBinomial() or Gaussian(), reads them as such"
            )
        if self.kind == "count" and self.is_image and self.high > DEPTHS[8]:
            return f"{rows} that reach {self.high:g} are read as counts; as images they are uint16"
        return None

    @property
    def gappy(self) -> bool:
        """Whether the rows of fit had gaps; where their patterns were not kept, whether they may have had some."""
        if self.patterns is not None:
            return bool(self.patterns)
        return (self.missing and "float" in self.dtype) or (self.schema is not None and bool(self.schema.partial))

    @property
    def is_image(self) -> bool:
        """Rows of two dimensions (height, width), or of three with 1, 3 or 4 channels first or last."""
        return len(self.shape) == 2 or (len(self.shape) == 3 and {self.shape[0], self.shape[-1]} & {1, 3, 4} != set())

    @property
    def model_shape(self) -> tuple[int, ...]:
        """The shape of a row inside the model: (C, H, W) for images, the data's own otherwise."""
        if self.channels_last:
            return (self.shape[-1], *self.shape[:-1])
        return (1, *self.shape) if len(self.shape) == 2 and self.is_image else self.shape

    def for_likelihood(
        self, support: str, x: Tensor | LazyRows, own_layout: bool = False, series: bool = False
    ) -> Self:
        """The spec that brings rows `x` into a likelihood's support.

        own_layout leaves the axes of images as they are. series:
        rows (T, C) are steps, whose C numbers each have a scale of their own. Raises ValueError where the data cannot
        lie in the support.
        """
        if support not in ("unit", "signed", "levels"):
            self = self.without_images()
        if self.missing and support in ("count", "levels") and self.kind == "real" and whole_numbers(x):
            self = replace(self, kind="count")  # floats only because no whole number can be missing
        if self.schema is not None and support != "columns":
            raise ValueError(
                "expected a likelihood of columns for a table, which its schema makes: leave likelihood out, or pass "
                "the numbers alone, df.to_numpy()"
            )
        offset, scale = self._affine(support, x, series)
        constant = tuple(i for i, s in enumerate(scale) if s == 0)
        scale = tuple(s or 1.0 for s in scale)
        last = (
            not own_layout and len(self.shape) == 3 and self.shape[-1] in (1, 3, 4) and self.shape[0] not in (1, 3, 4)
        )
        empty = never_seen(x) if self.missing and self.schema is None else ()
        return replace(self, offset=offset, scale=scale, constant=constant, empty=empty, channels_last=last)

    def _affine(self, support: str, x: Tensor | LazyRows, series: bool) -> tuple[tuple[float, ...], tuple[float, ...]]:
        if support == "unit":
            fits = dict.fromkeys(("binary", "unit", "bytes"), (0.0, self.top))
        elif support == "signed":
            fits = dict.fromkeys(("binary", "unit", "bytes"), (self.top / 2, self.top / 2))
            if self.kind == "real" and self.low >= -1 and self.high <= 1:
                fits["real"] = (0.0, 1.0)
        elif support in ("count", "levels"):
            fits = dict.fromkeys(("binary", "bytes", "count"), (0.0, 1.0))
        elif support == "real":
            return self._standardisation(x, series)
        elif support in ("columns", "raw"):
            return (0.0,), (1.0,)
        else:
            raise ValueError(
                f"unknown support {support!r}: expected unit, signed, real, count, levels or columns as the support of "
                "a likelihood"
            )
        if self.kind not in fits:
            needs = {"unit": "values in [0, 1]", "signed": "values in [-1, 1]"}.get(support, "whole numbers from 0")
            fix = {
                "unit": "scale them into [0, 1], pass 8-bit images as uint8, or use likelihood=Gaussian()",
                "signed": "scale them into [-1, 1], or use a Gaussian without mean='tanh'",
            }.get(support, "pass an integer dtype, or use a likelihood for real numbers")
            raise ValueError(
                f"expected {needs} for this likelihood, got {self} in [{self.low:g}, {self.high:g}]: {fix}"
            )
        offset, scale = fits[self.kind]
        return (offset,), (scale,)

    def _standardisation(
        self, x: Tensor | LazyRows, series: bool = False
    ) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation: of each column for flat rows and for series, of all cells otherwise."""
        columns = self.shape[-1] if len(self.shape) == 1 or (series and len(self.shape) == 2) else 1
        mean, deviation = mean_and_deviation(part.reshape(-1, columns) for part in pieces(x))
        return tuple(mean.tolist()), tuple(deviation.tolist())

    def with_missing(self) -> Self:
        """The same, where any cell may be missing."""
        return replace(self, missing=True)

    def check(self, x: Tensor, anew: bool = False) -> None:
        """Raises ValueError for rows of another kind: gaps where there were none, fractions for levels.

        anew: the rows are read once more, or held out, and real numbers in [0, 1] have to lie there again.
        """
        if not self.missing and has_gaps(x):
            raise ValueError("cells are missing (NaN), but the data in fit had none: fit with missing=True")
        told_by_type = self.kind == "bytes" and x.dtype == torch.uint8
        seen = value_range(x) if not told_by_type and (self.integer or (anew and self.kind == "unit")) else None
        if seen is None:
            return
        low, high, whole = seen
        two = self.kind != "binary" or self.top == 1 or bool(((x == 0) | (x == self.top) | x.isnan()).all())
        if low < 0 or high > self.top or (self.integer and not whole) or not two:
            kind = "whole" if whole else "fractional"
            fix = "pass the rows in the units that the model was fitted to"
            fix = "give all rows in the same units, and the same whenever they are read" if anew else fix
            raise ValueError(f"expected {self.content}, as in fit, got {kind} numbers in [{low:g}, {high:g}]: {fix}")

    def encode(self, x: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """Rows in the data's units -> (B, *model_shape) in the likelihood's space."""
        if x.device.type == "mps":  # it has no float64
            return self.encode(x.cpu(), dtype).to(x.device)
        exact = x.dtype in SINGLE and self.dtype in SINGLE_NAMES
        double = dtype if exact or self.kind in ("binary", "bytes") else torch.float64
        apart = self._apart(x, double)
        if len(self.scale) > 1:
            z = apart / constants(self.scale, x.device, double)
        else:
            z = apart / self.scale[0] if self.scale[0] != 1 else apart
        if self.kind == "real":
            z = z.clamp(-FARTHEST, FARTHEST)
        if self.constant:
            fixed = constants(self._fixed, x.device, double)
            z = torch.where(fixed > 0, self._differs(x, apart).to(double) * apart.sign() * UNSEEN, z)
        return self.laid_out(z.to(dtype))

    def _apart(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        """`x - offset`. In float64 integers are subtracted as integers."""
        if self.offset == (0.0,):
            return x.to(dtype)
        if dtype == torch.float64:
            return differences(x, constants(self.offset, x.device, dtype))
        return x.to(dtype) - (constants(self.offset, x.device, dtype) if len(self.offset) > 1 else self.offset[0])

    @cached_property
    def _fixed(self) -> tuple[float, ...]:
        """1 for the columns that had one value in fit."""
        fixed = set(self.constant)
        return tuple(float(i in fixed) for i in range(len(self.scale)))

    def without_values(self, column: int) -> bool:
        """Whether a column, one of those that `scale` counts, held no value in any row of fit."""
        return set(range(column, math.prod(self.shape), len(self.scale))) <= set(self.empty)

    def unseen(self, x: Tensor) -> dict[int, int]:
        """How many of the rows (B, *shape) differ from the constant of each column that had one value in fit."""
        if not self.constant:
            return {}
        apart = self._apart(x.cpu(), torch.float64)
        rows = self._differs(x.cpu(), apart).reshape(len(x), -1, len(self.scale)).any(1).sum(0)
        return {i: int(rows[i]) for i in self.constant if rows[i]}

    def _differs(self, x: Tensor, apart: Tensor) -> Tensor:
        """Where cells are not the constant of their column, but for rounding to the type of x."""
        precision = 4 * torch.finfo(x.dtype if x.is_floating_point() else torch.float64).eps
        size = constants(self.offset, x.device, apart.dtype).abs()
        return apart.abs() > precision * size

    def laid_out(self, x: Tensor) -> Tensor:
        """(B, *shape) -> (B, *model_shape)."""
        return (x.movedim(-1, 1) if self.channels_last else x).reshape(len(x), *self.model_shape)

    def decode(self, x: Tensor, absent: NDArray | None = None) -> Any:
        """(B, *model_shape) -> rows in the data's own units, shape and dtype, whole numbers rounded and clipped; a
        table of cells, for absent see `Schema.decode`."""
        if self.schema is not None:
            return self.schema.decode(x.cpu().double().numpy(), absent)
        x = x.movedim(1, -1) if self.channels_last else x
        x = x.reshape(len(x), *self.shape).cpu().double()
        if self.kind == "bytes" and self.dtype != "uint8":
            x = ((x * self.scale[0] + self.offset[0]).round().clip(0, self.top) - self.offset[0]) / self.scale[0]
        scale = x.new_tensor(self.scale) * (1 - x.new_tensor(self._fixed))
        rows = in_units(x * scale, x.new_tensor(self.offset), np.dtype(self.dtype))
        if self.empty and rows.dtype.kind == "f":
            rows.reshape(len(rows), -1)[:, list(self.empty)] = np.nan
        return rows

    @property
    def log_jacobian(self) -> float:
        """Nats per row to add to a density in the model's space to get one in the data's units."""
        cells = int(np.prod(self.shape))
        return -float(np.log(self.scale).sum()) * (cells / len(self.scale))

    def log_jacobian_of(self, mask: Tensor | None, rows: int) -> Tensor:
        """(rows,), nats: the same of each row, by the cells that are there; mask: (rows, *model_shape), None: all."""
        if mask is None:
            return torch.full((rows,), self.log_jacobian, dtype=torch.float64)
        logs = torch.tensor(self.scale, dtype=torch.float64).log()  # of columns, which are the last axis, or one
        return -(mask.cpu().double() * logs).flatten(1).sum(1)

    def to_dict(self) -> dict[str, Any]:
        beside = {k: v.to_dict() for k in BESIDE if (v := getattr(self, k)) is not None}
        own = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in BESIDE}
        return {k: list(v) if isinstance(v, tuple) else v for k, v in own.items()} | beside

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> DataSpec:
        makers = {"schema": Schema.from_dict, "patterns": Patterns.from_dict}
        beside = {
            k: makers.get(k, Classes.from_dict if "levels" in values[k] else cls.from_dict)(values[k])
            for k in BESIDE
            if k in values
        }
        own = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items() if k not in BESIDE}
        return cls(**own, **beside)

    def __str__(self) -> str:
        if self.schema is not None:
            return f"a table of {len(self.schema.columns)} columns"
        gaps = ", with missing cells" if self.missing else ""
        return f"{self.content} ({self.dtype}, rows {'x'.join(map(str, self.shape)) or 'scalar'}{gaps})"
