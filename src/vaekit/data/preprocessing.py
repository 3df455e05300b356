"""From what the user passes to a fitted model to the rows that it reads."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ..paths import names_file
from .affine import UNSEEN
from .annotated import annotated, beside_of
from .containers import collected
from .covariates import Covariates, spread
from .frames import container_of, in_order
from .labels import Classes
from .lazy_rows import LazyRows, as_data
from .rows import AbstractRows, as_rows
from .spec import DataSpec, has_gaps, pieces
from .unknown import Unknown


@dataclass(frozen=True)
class Preprocessor:
    """Reads rows like those that a model was fitted to.

    Parameters
    ----------
    spec : DataSpec
        What the rows of fit were.
    missing : bool
        Whether NaN marks a missing cell of an array.
    unknown : {"missing", "error"}
        What to do with values of a table that fit did not see.
    names : sequence of str or None
        Names of the columns, where the rows of fit had names.
    """

    spec: DataSpec
    missing: bool = False
    unknown: Unknown = "missing"
    names: Sequence[str] | None = None

    @names_file
    def rows(
        self,
        x: object,
        context: object = None,
        *,
        device: torch.device,
        check: Callable[[Tensor], None],
        gaps: bool = False,
    ) -> AbstractRows:
        """Rows x with their context, on a device.

        check: raises for values that the likelihood does not explain. gaps: whether cells may be missing although none
        was in fit.
        """
        x, context = self.aligned(x, context)
        schema, unknown = self.spec.schema, None
        if schema is None:
            data, _ = self.data(x, gaps)
        else:
            read = schema.read(x, self.unknown)
            data, unknown = read.rows, read.unknown if read.unknown.any() else None
        self.check_shape(tuple(data.shape[1:]))
        gaps = gaps or (schema is not None and has_gaps(data))
        spec = self.spec.with_missing() if gaps else self.spec
        rows = self.placed(data, context, spec, device=device, check=check)
        return rows if unknown is None else replace(rows, unknown=unknown)

    def data(self, x: object, gaps: bool = False) -> tuple[Tensor | LazyRows, str]:
        """Checked rows in the data's units, of a table its cells, and the name of their type."""
        if self.spec.schema is not None:
            return self.spec.schema.rows_of(x, self.unknown), "float32"
        return as_data(x, allow_missing=gaps or self.missing)

    def placed(
        self,
        data: Tensor | LazyRows,
        context: object,
        spec: DataSpec,
        *,
        device: torch.device,
        check: Callable[[Tensor], None],
    ) -> AbstractRows:
        """Rows that `data` has checked, with their context, on a device."""
        self._warn_unseen(data, spec)
        beside = Covariates.of(len(data), context=spread(context, len(data), self.spec))
        return as_rows(data, spec, device, beside).checked(check)

    def check_shape(self, got: tuple[int, ...]) -> None:
        """Raise ValueError for rows of another shape than those of fit."""
        want = self.spec.shape
        if len(want) == len(got) == 1 and want != got:
            raise ValueError(
                f"X has {got[0]} features, but VAE is expecting {want[0]} features as input: pass the columns that it "
                "was fitted to"
            )
        if want != got:
            raise ValueError(f"expected rows of {want}, as in fit, got rows of {got}: reshape them")

    def aligned(self, x: object, context: object) -> tuple[object, object]:
        """Rows and context with the columns that the model reads, in its order.

        This applies to annotated data and to a data frame that is read as an array. A context that names a column of
        obs is replaced by that column, unless it is a class.
        """
        data = annotated(x)
        if data is None:
            x = collected(x)
            as_array = self.names is not None and self.spec.schema is None and container_of(x) is not None
            return in_order(x, self.names) if as_array else x, context
        context = beside_of(data, context, self._is_class)
        same = self.names is None or np.array_equal(self.names, data.names)
        return data if same else data.picked(self.names), context

    def _is_class(self, word: str) -> bool:
        return isinstance(self.spec.context, Classes) and word in self.spec.context.levels

    def _warn_unseen(self, data: Tensor | LazyRows, spec: DataSpec) -> None:
        """Warn of values that differ from the only one that a column had in fit."""
        counts: Counter[int] = Counter()
        for part in pieces(data) if spec.constant else ():
            counts.update(spec.unseen(part))
        if not counts:
            return
        column, rows = counts.most_common(1)[0]
        name = f"column {column if self.names is None else repr(self.names[column])}"
        name = name if len(spec.scale) > 1 else "every cell"
        others = f"; so have {len(counts) - 1:,} more columns" if len(counts) > 1 else ""
        had, have, back = f"one value in fit ({spec.offset[column]:g})", "another", "hold the value of fit"
        if spec.without_values(column):
            had, have, back = "no value in fit", "one", "have none there"
        warnings.warn(
            f"{name} had {had}, and {rows:,} of the rows have {have}{others}: "
            f"such a cell scores as {UNSEEN:g} standard deviations, and reconstructions {back}",
            UserWarning,
            stacklevel=4,
        )
