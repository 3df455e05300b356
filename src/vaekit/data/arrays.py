"""Arrays and tensors of the user's: what is accepted, in its own type, and what is refused."""

from __future__ import annotations

from typing import NoReturn

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .containers import FRAMES
from .frames import container_of, names_of


def as_tensor(x: object, allow_missing: bool = True) -> tuple[Tensor, str]:
    """Checked rows (N, ...) as a tensor in their own type, and the name of that type.

    Raises TypeError for what is not a numeric array, ValueError for no rows, a scalar, infinities, or missing
    values where they are not allowed.
    """
    if isinstance(x, Tensor):
        tensor = x.detach().clone() if x.is_inference() else x.detach()  # autograd saves no inference tensors
        name = str(tensor.dtype).removeprefix("torch.")
    else:
        array = _numbers(x)
        tensor, name = from_array(array), array.dtype.name
    check_shape(tuple(tensor.shape))
    if tensor.is_floating_point():
        if bool(tensor.isinf().any()):
            refuse("infinity", tensor.isinf().nonzero()[0].tolist())
        if not allow_missing and bool(tensor.isnan().any()):
            refuse("NaN", tensor.isnan().nonzero()[0].tolist())
    return tensor, name


def from_array(array: NDArray) -> Tensor:
    """An array of numbers as a tensor that holds the same: unsigned types but uint8 become int64."""
    if array.dtype.kind == "u" and array.dtype != np.uint8:
        array = array.astype(np.int64)
    if array.dtype == np.longdouble:
        array = array.astype(np.float64)
    array = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("="), copy=False))
    return torch.from_numpy(array if array.flags.writeable else array.copy())


def check_shape(shape: tuple[int, ...]) -> None:
    """Raises ValueError for a shape that is not (N, ...) with at least one row and one cell."""
    if len(shape) < 2:
        raise ValueError(
            f"expected rows of data, (N, ...), got shape {shape}. Reshape your data: reshape(-1, 1) makes a column, "
            "reshape(1, -1) makes one row"
        )
    if shape[0] == 0:
        raise ValueError(f"Found array with 0 sample(s) (shape={shape}) while a minimum of 1 is required.")
    if 0 in shape:
        raise ValueError(f"0 feature(s) (shape={shape}) while a minimum of 1 is required.")


def refuse(what: str, where: list[int]) -> NoReturn:
    """Raises ValueError for an "infinity" or a "NaN", first met in this row and cell."""
    fix = "mark it missing (NaN)" if what == "infinity" else "say that cells may be missing (missing=True)"
    raise ValueError(
        f"the data hold {'an' if what == 'infinity' else 'a'} {what}, first at {tuple(where)}: mend it, or {fix}"
    )


def check_type(dtype: np.dtype, what: str = "an array") -> None:
    """Raises ValueError for complex numbers, TypeError for what is no number."""
    if dtype.kind == "c":
        raise ValueError("Complex data not supported: pass real and imaginary parts as two columns")
    if dtype.kind not in "biuf":
        raise TypeError(f"expected numbers, got {what} of {dtype}: encode other columns as numbers first")


def column_names(x: object) -> NDArray | None:
    """The names of a frame's columns or of the variables of an AnnData, if all are words; raises as `names_of` does."""
    columns = names_of(x) if container_of(x) in FRAMES else getattr(x, "var_names", None)
    if columns is None or not all(isinstance(c, str) for c in columns):
        return None
    return np.asarray(list(columns), dtype=object)


def _numbers(x: object) -> NDArray:
    array = np.asarray(x)
    if array.dtype.kind == "O":
        try:
            array = array.astype(np.float64)
        except (TypeError, ValueError) as error:
            raise type(error)(
                f"expected numbers, got an array of objects ({error}): encode them as numbers first"
            ) from None
    check_type(array.dtype)
    return array
