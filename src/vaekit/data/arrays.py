"""Arrays and tensors of the user's: what is accepted, in its own type, and what is refused."""

from __future__ import annotations

import inspect
import warnings
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
        tensor, name = _own(
            x.detach().clone() if x.is_inference() else x.detach()
        )  # autograd saves no inference tensors
    else:
        array = as_numbers(x)
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
        if array.dtype.itemsize == 8 and array.size and array.max() > np.iinfo(np.int64).max:
            raise ValueError(f"expected integers up to 2^63 - 1, got {array.max()}: subtract an offset, or pass floats")
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
    fix = "mark it missing (NaN)"
    if what == "NaN":
        fix = "say that cells, masked ones among them, may be missing (missing=True)"
    article = "an" if what == "infinity" else "a"
    raise ValueError(f"the data hold {article} {what}, first at {tuple(where)}: replace it, or {fix}")


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


def unmasked(x: object) -> NDArray:
    """`np.asarray(x)` in which masked cells of `numpy.ma`, and of lists of such arrays, are missing.

    A missing cell is NaN, NaT, or None among objects and words; integers and truth values become float64. Structured
    arrays are returned with their mask.

    Raises
    ------
    ValueError
        If integers with masked cells are too large for float64.
    """
    if isinstance(x, (list, tuple)) and any(isinstance(row, np.ma.MaskedArray) and row.ndim for row in x):
        x = np.ma.stack([np.ma.asanyarray(row) for row in x])
    if not isinstance(x, np.ma.MaskedArray):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Warning: converting a masked element to nan")
            return np.asarray(x)
    if x.dtype.names:
        return x
    mask, values = np.ma.getmaskarray(x), np.ma.getdata(x)
    if not mask.any():
        return values
    kind = values.dtype.kind
    seen = values[~mask]
    if kind in "iu" and seen.size and max(int(seen.max()), -int(seen.min())) > 2**53:
        raise ValueError("integers above 2^53 with masked cells do not fit float64: subtract an offset first")
    values = values.astype(np.float64 if kind in "biu" else object if kind in "US" else values.dtype)
    values[mask] = {"M": np.datetime64("NaT"), "m": np.timedelta64("NaT"), "O": None}.get(values.dtype.kind, np.nan)
    return values


def _own(tensor: Tensor) -> tuple[Tensor, str]:
    """A tensor in a type that PyTorch computes in, and the name of the type that NumPy knows for its own."""
    name = str(tensor.dtype).removeprefix("torch.")
    if tensor.is_complex():
        check_type(np.dtype(complex))
    if tensor.layout != torch.strided:
        raise TypeError(f"expected a dense tensor, got one of layout {tensor.layout}: pass x.to_dense()")
    if tensor.is_meta:
        raise TypeError("expected a tensor with values, got one on the meta device: pass rows")
    if tensor.dtype in (torch.uint16, torch.uint32, torch.uint64):
        return from_array(tensor.cpu().numpy()).to(tensor.device), name
    return (tensor.float(), "float32") if tensor.dtype == torch.bfloat16 else (tensor, name)


def as_numbers(x: object) -> NDArray:
    """An array of numbers in its own type, missing cells as NaN. Raises as `check_type` and `unmasked` do."""
    if isinstance(x, Tensor):
        return _own(x.detach())[0].cpu().numpy()
    if x is None or isinstance(x, (int, float, dict, set, frozenset, bytes)) or inspect.isroutine(x):
        fix = ": pass pandas.DataFrame(x)" if isinstance(x, dict) else ""
        raise TypeError(f"expected rows: an array (N, ...), a table, or a path, got {type(x).__name__}{fix}")
    if hasattr(x, "toarray"):
        x = x.toarray()
    try:
        array = unmasked(x)
    except ValueError as error:
        if "inhomogeneous" not in str(error):
            raise
        raise ValueError(
            "expected rows of one shape, got rows of several: pad them, vaekit.data.padded(x), or make them alike"
        ) from None
    if array.dtype.kind == "O":
        array = _of_objects(array)
    check_type(array.dtype)
    return array


def _of_objects(array: NDArray) -> NDArray:
    """Python numbers as float64, or int64 where all are whole and fit; None, NaT and pandas.NA are missing."""
    flat = array.ravel()
    if flat.size and all(type(v) is int and -(2**63) <= v < 2**63 for v in flat):
        return array.astype(np.int64)
    absent = [v is None or v is np.ma.masked or type(v).__name__ in ("NAType", "NaTType") for v in flat]
    try:
        return np.where(np.reshape(absent, array.shape), np.nan, array).astype(np.float64)
    except (TypeError, ValueError) as error:
        raise type(error)(
            f"expected numbers, got an array of objects ({error}): encode them as numbers first"
        ) from None
