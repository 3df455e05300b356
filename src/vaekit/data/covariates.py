"""What is given beside the rows: their labels, and their context."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from .arrays import as_tensor, unmasked
from .labels import Classes, as_labels
from .spec import DataSpec


def as_context(context: object) -> NDArray | Tensor:
    """Checked context of N rows: classes (N,), whole numbers or words; or numbers (N, ...)."""
    array = unmasked(context)
    if array.ndim == 1 and array.dtype.kind in "iubUSO":
        return array
    return as_tensor(array.reshape(-1, 1) if array.ndim == 1 else array, allow_missing=False)[0]


@dataclass(frozen=True)
class Covariates:
    """Labels and context of as many rows, each None where it is not given.

    context: classes (N,), or numbers (N, C), which are standardised, or images (N, H, W), (N, C, H, W) or
    (N, H, W, C). Raises ValueError for another number of rows.
    """

    labels: NDArray | None = None
    context: NDArray | Tensor | None = None

    @classmethod
    def of(cls, rows: int, labels: object = None, context: object = None) -> Covariates:
        own = cls(
            None if labels is None else unmasked(labels),
            None if context is None else as_context(context),
        )
        for name, given in (("label", own.labels), ("context", own.context)):
            if given is not None and len(given) != rows:
                raise ValueError(f"expected a {name} for each of the {rows} rows, got {len(given)}")
        return own

    def __getitem__(self, index: Tensor) -> Covariates:
        """Those of some rows."""
        at = index.numpy()
        return Covariates(
            *(g if g is None else g[index if isinstance(g, Tensor) else at] for g in (self.labels, self.context))
        )

    def inferred(self, spec: DataSpec, trained: Tensor) -> DataSpec:
        """The spec of the rows, with what these tell: of numbers only those to be trained on."""
        context = self.context
        if isinstance(context, Tensor):
            context = context[trained]
            context = DataSpec.infer(context, str(context.dtype).removeprefix("torch.")).for_likelihood("real", context)
        elif context is not None:
            context = Classes.infer(context)
        labels = None if self.labels is None or not as_labels(self.labels)[1].any() else Classes.infer(self.labels)
        return replace(spec, context=context, labels=labels)

    def encoded(self, spec: DataSpec) -> dict[str, Tensor | None]:
        """Context (N, C) and label (N, K) as the model reads them. Raises ValueError where context is missing, is not
        expected, or is of another kind than in fit."""
        label = None if self.labels is None or spec.labels is None else spec.labels.encode(self.labels, partly=True)
        return {"context": encoded_context(self.context, spec), "label": label}


NOTHING = Covariates()
"""What stands beside rows that come alone."""


def encoded_context(context: NDArray | Tensor | None, spec: DataSpec) -> Tensor | None:
    want = spec.context
    if want is None and context is None:
        return None
    if want is None:
        raise ValueError("this model was fitted without context: leave context out, or fit(x, context=...)")
    if context is None:
        raise ValueError(f"this model was fitted with context: pass context=..., {told(want)} for each row")
    if isinstance(want, Classes):
        if isinstance(context, Tensor):
            raise ValueError(f"expected classes as context, as in fit ({want}), got numbers {tuple(context.shape)}")
        return want.encode(context)
    if not isinstance(context, Tensor) and context.dtype.kind in "US":
        raise ValueError(f"expected numbers as context, as in fit ({told(want)}), got words")
    context = context if isinstance(context, Tensor) else as_tensor(context.reshape(-1, 1))[0]
    if tuple(context.shape[1:]) != want.shape:
        raise ValueError(f"expected context of {want.shape} per row, as in fit, got {tuple(context.shape[1:])}")
    return want.encode(context)


def told(context: Classes | DataSpec) -> str:
    """What stands beside a row, in words."""
    if isinstance(context, Classes):
        return f"one of {context}"
    return f"{' x '.join(map(str, context.shape))} numbers"


def spread(context: object, rows: int, spec: DataSpec) -> object:
    """Context of `rows` rows: one class, or the numbers of one row, stand for all of them."""
    want, array = spec.context, None if context is None else unmasked(context)
    one = () if isinstance(want, Classes) or want is None else want.shape
    if context is None or array.shape != one or array.shape == (rows, *one):
        return context
    return np.broadcast_to(array, (rows, *array.shape)).copy()


def sampled(context: object, rows: int, seed: int, spec: DataSpec) -> object:
    """Context of rows to be sampled: as given, or classes by their shares in fit. Raises ValueError for numbers that
    are not given."""
    if context is not None or spec.context is None:
        return spread(context, rows, spec)
    if not isinstance(spec.context, Classes):
        raise ValueError(
            f"this model was fitted with context: pass sample({rows}, context=...), {told(spec.context)} for all rows "
            "or for each"
        )
    return spec.context.draw(rows, seed)


def context_shape(spec: DataSpec) -> tuple[int, ...]:
    """Of the context as the model reads it, per row: () where there is none."""
    want = spec.context
    return () if want is None else (len(want),) if isinstance(want, Classes) else want.model_shape
