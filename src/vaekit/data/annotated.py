"""Annotated data: cells x genes with columns beside the cells, as an AnnData or an `.h5ad` file holds them."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from ..core import importing
from ..paths import expanded
from ..printable import listed, printable
from ..suggest import nearest
from . import hdf5
from .limits import FileError, check_size, reading
from .sources import Store
from .sparse import CompressedRows, Picked, check_indices, check_starts, is_sparse

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
        opened = _File(expanded(adata)) if isinstance(adata, (str, Path)) else _Memory(adata)
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
            there = listed(self.columns_beside)
            raise ValueError(f"obs has no column {name!r}{nearest(name, self.columns_beside)}; it has: {there}")
        return self._source.column(name)

    def picked(self, names: Sequence[str]) -> Self:
        """The same with these genes, in this order. Raises ValueError where some are not there, or not once."""
        place = {name: i for i, name in enumerate(self.names)}
        lost = [name for name in names if name not in place]
        if lost:
            raise ValueError(
                f"the model reads {listed(lost, 5)}, and these rows have no such gene: pass all that it was "
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
            name = printable(adata.filename)
            raise ValueError(f"expected an AnnData in memory, got one that is backed: pass its path, {name}")
        self.adata = adata
        self.names = np.asarray(adata.var_names, dtype=object)
        self.columns = [str(name) for name in adata.obs.columns]

    def matrix(self, layer: str | None) -> Store:
        if layer is not None and layer not in self.adata.layers:
            raise ValueError(_no_layer(layer, list(self.adata.layers)))
        x = self.adata.X if layer is None else self.adata.layers[layer]
        if x is None:
            raise ValueError(f"this AnnData has no X: pass layer=..., one of {listed(self.adata.layers)}")
        return CompressedRows.of(x) if is_sparse(x) else Dense(np.asarray(x))

    def column(self, name: str) -> NDArray:
        return np.asarray(self.adata.obs[name])


class Dense(Store):
    """Rows of a matrix of counts, an array or a data set of a file."""

    counted = True

    def __init__(self, x: Any, name: str = ""):
        super().__init__(tuple(x.shape), np.dtype(x.dtype), name)
        self.x = x

    def read(self, index: NDArray) -> NDArray:
        check_size(len(index) * self.row_bytes, self.name)
        if isinstance(self.x, np.ndarray):
            return self.x[index]
        rows, place = np.unique(index, return_inverse=True)  # a file is read in its own order
        with reading(self.name, ".h5ad", "write it again"):
            return self.x[rows][place]


class _File:
    """An `.h5ad` file: https://anndata.readthedocs.io/en/stable/fileformat-prose.html.

    It is open while something is read, and as long as a matrix that stays there.
    """

    def __init__(self, path: Path):
        self.path = path
        if not path.exists():
            raise FileNotFoundError(f"expected an .h5ad file, but {printable(path)} does not exist")
        with self._reading(), hdf5.open_file(path) as file:
            if any(not hasattr(hdf5.member(file, group), "keys") for group in ("obs", "var")):
                raise FileError(
                    f"{printable(path)} has no obs and var, as groups: read it with anndata and write it again"
                )
            self.names = self._index(hdf5.needed(file, "var"))
            order = hdf5.attribute(hdf5.needed(file, "obs"), "column-order", [])
            self.columns = [str(name) for name in order]

    def _reading(self) -> Any:
        return reading(self.path, ".h5ad", "read it with anndata and write it again")

    def _index(self, group: h5py.Group) -> NDArray:
        return hdf5.values(hdf5.dataset(group, _name(hdf5.attribute(group, "_index", "_index")), "biufOS"))

    def matrix(self, layer: str | None) -> Store:
        with self._reading():
            file = hdf5.open_file(self.path)
            try:
                store = self._matrix(file, layer)
            except BaseException:
                file.close()
                raise
            stays = isinstance(store, FileRows) or (isinstance(store, Dense) and not isinstance(store.x, np.ndarray))
            weakref.finalize(store, file.close) if stays else file.close()
            return store

    def _matrix(self, file: h5py.File, layer: str | None) -> Store:
        group = hdf5.member(file, "layers")
        layers = list(group) if hasattr(group, "keys") else []
        if layer is not None and layer not in layers:
            raise ValueError(_no_layer(layer, layers))
        x = hdf5.member(file, "X") if layer is None else hdf5.member(group, layer)
        if x is None:
            raise FileError(f"{printable(self.path)} has no X: pass layer=..., one of {listed(layers)}")
        store = _sparse(x, str(self.path)) if hasattr(x, "keys") else _dense(x, str(self.path))
        if len(store.shape) == 2 and store.shape[1] != len(self.names):
            raise FileError(
                f"{hdf5.place(x)} has {store.shape[1]:,} columns, and var {len(self.names):,} rows: write it again"
            )
        check_size(store.row_bytes, self.path)
        return store

    def column(self, name: str) -> NDArray:
        with self._reading(), hdf5.open_file(self.path) as file:
            return _values(hdf5.needed(hdf5.needed(file, "obs"), name))


def _dense(x: h5py.Dataset, name: str) -> Dense:
    """A matrix that is a data set: in memory, if it is small."""
    if x.dtype.kind not in "biuf":
        raise FileError(f"{hdf5.place(x)} holds {printable(x.dtype)}, expected numbers: write counts or intensities")
    return Dense(hdf5.values(x) if x.size * x.dtype.itemsize <= IN_MEMORY else x, name)


def _sparse(x: h5py.Group, name: str) -> CompressedRows:
    """A matrix that is a group of data, indices and indptr, checked: in memory, if it is small."""
    kind, shape = _name(hdf5.attribute(x, "encoding-type", "")), np.asarray(hdf5.attribute(x, "shape", ()))
    if kind not in ("csr_matrix", "csc_matrix") or shape.shape != (2,) or shape.dtype.kind not in "iu":
        raise FileError(
            f"{hdf5.place(x)} is no sparse matrix (encoding-type {kind!r}, shape {printable(shape)}): expected "
            "csr_matrix or csc_matrix and two numbers"
        )
    data, indices = hdf5.dataset(x, "data", "biuf"), hdf5.dataset(x, "indices", "iu")
    starts, where = hdf5.values(hdf5.dataset(x, "indptr", "iu")), hdf5.place(x)
    rows, width = shape.tolist() if kind == "csr_matrix" else shape.tolist()[::-1]
    check_starts(starts, min(len(data), len(indices)), where)
    if len(starts) != rows + 1 or width < 0:
        raise FileError(f"{where} states the shape {tuple(shape.tolist())} and has an indptr of {len(starts):,}")
    if kind == "csc_matrix":
        with importing():
            from scipy.sparse import csc_matrix

        columns = hdf5.values(indices)
        check_indices(columns, width, where)
        return CompressedRows.of(csc_matrix((hdf5.values(data), columns, starts), tuple(shape.tolist())), name)
    if 12 * data.size <= IN_MEMORY:
        return CompressedRows(hdf5.values(data), hdf5.values(indices), starts, width, name)
    return FileRows(data, indices, starts, width, name)


def _values(column: Any) -> NDArray:
    """A column of obs or var: numbers, words, categories, or either with missing values, which are None."""
    if not hasattr(column, "keys"):
        if len(column.shape) != 1:
            raise FileError(f"expected a column (N,), got shape {column.shape} as {hdf5.place(column)}")
        return hdf5.values(column)
    if hdf5.member(column, "categories") is not None:
        codes, levels = hdf5.values(hdf5.dataset(column, "codes", "iu")), _levels(column)
        hdf5.check_column(codes, levels, hdf5.place(column))
        if len(levels) == 0:
            return np.full(len(codes), None, dtype=object)
        return levels[codes] if (codes >= 0).all() else _with_gaps(levels[codes], codes < 0)
    values = hdf5.values(hdf5.dataset(column, "values", "biufOS"))
    gone = hdf5.values(hdf5.dataset(column, "mask", "b"))
    if len(values) != len(gone):
        raise FileError(f"{hdf5.place(column)} has {len(values):,} values and a mask of {len(gone):,}: write it again")
    return _with_gaps(values, gone) if gone.any() else values


def _levels(column: h5py.Group) -> NDArray:
    """The categories of a column: words or numbers, which may have missing values of their own."""
    found = hdf5.needed(column, "categories")
    if hasattr(found, "keys"):
        return hdf5.values(hdf5.dataset(found, "values", "biufOS"))
    return hdf5.values(hdf5.dataset(column, "categories", "biufOS"))


def _name(value: Any) -> str:
    """An attribute that is one word."""
    if not isinstance(value, str):
        raise FileError(f"expected a word as an attribute, got {printable(value)}: write the file again with anndata")
    return value


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
                with reading(self.name, ".h5ad", "write it again"):
                    part.append(kept[a:b])
        empty = (np.empty(0, self.dtype), np.empty(0, np.int64))
        values, columns = (np.concatenate([none, *part]) for none, part in zip(empty, parts))
        return values, columns


def _no_layer(layer: str, there: Sequence[str]) -> str:
    return f"there is no layer {layer!r}{nearest(layer, there)}; there are: {listed(there)}"
