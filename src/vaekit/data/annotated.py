"""Annotated data: cells x genes with columns beside the cells, as an AnnData or an `.h5ad` file holds them."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from ..suggest import nearest
from .sparse import CompressedRows, Picked, is_sparse
from .stores import Store

if TYPE_CHECKING:
    import h5py

IN_MEMORY = 2**30
"""Bytes of a file's matrix up to which it is read whole."""


class Annotated:
    """The rows of an AnnData, or of an `.h5ad` file, with the columns that stand beside them.

    adata: an AnnData, or the path of a file, which is read by h5py alone; a matrix above 1 GiB stays there. layer: one
    of its layers, such as raw counts; None: X. A fit reads it like an array, and takes `y` and `context` as names of
    columns of obs:

        vae.fit(vk.data.Annotated("cells.h5ad", layer="counts"), context="batch")

    Raises ValueError, with the nearest name, for a layer that is not there.
    """

    def __init__(self, adata: Any, layer: str | None = None):
        opened = _File(Path(adata).expanduser()) if isinstance(adata, (str, Path)) else _Memory(adata)
        self.layer, self._source = layer, opened
        self.store, self.names = opened.matrix(layer), opened.names

    @property
    def shape(self) -> tuple[int, ...]:
        return self.store.shape

    def __len__(self) -> int:
        return self.store.shape[0]

    @property
    def var_names(self) -> NDArray:
        """(D,): the genes."""
        return self.names

    @property
    def columns_beside(self) -> list[str]:
        """The names of obs."""
        return self._source.columns

    def beside(self, name: str) -> NDArray:
        """(N,): a column of obs, by its name. Raises ValueError, with the nearest one, where there is none."""
        if name not in self.columns_beside:
            listed = ", ".join(self.columns_beside) or "none"
            raise ValueError(f"obs has no column {name!r}{nearest(name, self.columns_beside)}; it has: {listed}")
        return self._source.column(name)

    def picked(self, names: Sequence[str]) -> Self:
        """The same with these genes, in this order. Raises ValueError where some are not there, or not once."""
        place = {name: i for i, name in enumerate(self.names)}
        lost = [name for name in names if name not in place]
        if lost:
            more = f", ... ({len(lost)} in all)" if len(lost) > 5 else ""
            raise ValueError(
                f"the model reads {', '.join(lost[:5])}{more}, and these rows have no such gene: pass all that it was "
                "fitted to; those that were not counted are missing cells, NaN"
            )
        if len(place) < len(self.names):
            raise ValueError("several genes have one name, so that none can be picked: adata.var_names_make_unique()")
        again = object.__new__(type(self))
        vars(again).update(vars(self))
        again.store = Picked(self.store, np.array([place[name] for name in names]))
        again.names = np.asarray(names, dtype=object)
        return again


def annotated(x: object) -> Annotated | None:
    """What x is, where it is annotated data; None otherwise. AnnData is told by what it has, and is not imported."""
    if isinstance(x, Annotated):
        return x
    if isinstance(x, (str, Path)):
        return Annotated(x) if Path(x).suffix.lower() == ".h5ad" else None
    has = all(hasattr(x, name) for name in ("X", "obs", "var_names", "layers"))
    return Annotated(x) if has else None


def beside_of(x: object, given: object, known: Callable[[str], bool] = lambda name: False) -> object:
    """What is given beside rows: where it is a word, and these are annotated, the column of obs by this name.

    known: whether a word that names no column means something else. Raises ValueError where it does not.
    """
    if not isinstance(given, str) or (data := annotated(x)) is None:
        return given
    return given if given not in data.columns_beside and known(given) else data.beside(given)


class _Memory:
    """An AnnData."""

    def __init__(self, adata: Any):
        if getattr(adata, "isbacked", False):
            raise ValueError(f"expected an AnnData in memory, got one that is backed: pass its path, {adata.filename}")
        self.adata = adata
        self.names = np.asarray(adata.var_names, dtype=object)
        self.columns = [str(name) for name in adata.obs.columns]

    def matrix(self, layer: str | None) -> Store:
        if layer is not None and layer not in self.adata.layers:
            raise ValueError(_no_layer(layer, list(self.adata.layers)))
        x = self.adata.X if layer is None else self.adata.layers[layer]
        if x is None:
            raise ValueError(f"this AnnData has no X: pass layer=..., one of {', '.join(self.adata.layers)}")
        return CompressedRows.of(x) if is_sparse(x) else Dense(np.asarray(x))

    def column(self, name: str) -> NDArray:
        return np.asarray(self.adata.obs[name])


class Dense(Store):
    """Rows of a matrix of counts, an array or a data set of a file."""

    counted = True

    def __init__(self, x: Any):
        super().__init__(tuple(x.shape), np.dtype(x.dtype))
        self.x = x

    def read(self, index: NDArray) -> NDArray:
        if isinstance(self.x, np.ndarray):
            return self.x[index]
        rows, place = np.unique(index, return_inverse=True)  # a file is read in its own order
        return self.x[rows][place]


class _File:
    """An `.h5ad` file: https://anndata.readthedocs.io/en/stable/fileformat-prose.html.

    It is open while something is read, and as long as a matrix that stays there.
    """

    def __init__(self, path: Path):
        self.path = path
        if not path.exists():
            raise FileNotFoundError(f"expected an .h5ad file, but {path} does not exist")
        with self._opened() as file:
            if any(not hasattr(file.get(group), "keys") for group in ("obs", "var")):
                raise ValueError(f"{path} has no obs and var, as groups: read it with anndata and write it again")
            self.names = _values(file["var"][_word(file["var"].attrs.get("_index", "_index"))])
            self.columns = [_word(name) for name in file["obs"].attrs.get("column-order", [])]

    def _opened(self) -> h5py.File:
        try:
            import h5py
        except ImportError as error:
            raise ImportError('reading .h5ad needs h5py: pip install "vaekit[cells]"') from error
        try:
            return h5py.File(self.path, "r")
        except OSError as error:
            raise ValueError(f"{self.path} is not a whole .h5ad file ({error}): write it again") from error

    def matrix(self, layer: str | None) -> Store:
        file = self._opened()
        store = self._matrix(file, layer)
        stays = isinstance(store, FileRows) or (isinstance(store, Dense) and not isinstance(store.x, np.ndarray))
        weakref.finalize(store, file.close) if stays else file.close()
        return store

    def _matrix(self, file: h5py.File, layer: str | None) -> Store:
        layers = list(file.get("layers", ()))
        if layer is not None and layer not in layers:
            raise ValueError(_no_layer(layer, layers))
        x = file.get("X" if layer is None else f"layers/{layer}")
        if x is None:
            raise ValueError(f"{self.path} has no X: pass layer=..., one of {', '.join(layers) or 'none'}")
        if not hasattr(x, "keys"):
            return Dense(x[:] if x.size * x.dtype.itemsize <= IN_MEMORY else x)
        if _word(x.attrs["encoding-type"]) == "csc_matrix":
            from scipy.sparse import csc_matrix

            return CompressedRows.of(
                csc_matrix(tuple(x[n][:] for n in ("data", "indices", "indptr")), x.attrs["shape"])
            )
        starts, width, whole = x["indptr"][:], x.attrs["shape"][1], 12 * x["data"].size <= IN_MEMORY
        if whole:
            return CompressedRows(x["data"][:], x["indices"][:], starts, width)
        return FileRows(x["data"], x["indices"], starts, width)

    def column(self, name: str) -> NDArray:
        with self._opened() as file:
            return _values(file["obs"][name])


def _values(column: Any) -> NDArray:
    """A column of obs or var: numbers, words, categories, or either with missing values, which are None."""
    if not hasattr(column, "keys"):
        values = column[:]
        return np.array([_word(v) for v in values], dtype=object) if values.dtype.kind in "OS" else values
    if "categories" in column:
        codes, levels = column["codes"][:], _values(column["categories"])
        return levels[codes] if (codes >= 0).all() else _with_gaps(levels[codes], codes < 0)
    values, gone = _values(column["values"]), column["mask"][:]
    return _with_gaps(values, gone) if gone.any() else values


def _with_gaps(values: NDArray, gone: NDArray) -> NDArray:
    values = values.astype(object)
    values[gone] = None
    return values


class FileRows(CompressedRows):
    """The same, whose cells stay in a file, where one row's lie one after the other."""

    def _cells(self, first: NDArray, last: NDArray) -> tuple[NDArray, NDArray]:
        parts = ([], [])
        ahead = np.flatnonzero(np.append(True, first[1:] != last[:-1]))  # of runs of rows that follow one another
        for a, b in zip(first[ahead], last[np.append(ahead[1:], len(first)) - 1]) if len(first) else ():
            for part, kept in zip(parts, (self.values, self.columns)):
                part.append(kept[a:b])
        empty = (np.empty(0, self.dtype), np.empty(0, np.int64))
        values, columns = (np.concatenate([none, *part]) for none, part in zip(empty, parts))
        return values, columns


def _word(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _no_layer(layer: str, there: Sequence[str]) -> str:
    return f"there is no layer {layer!r}{nearest(layer, there)}; there are: {', '.join(there) or 'none'}"
