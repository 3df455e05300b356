"""Data files of others: none reads another file, runs code, waits for ever, or takes memory that it does not store."""

import io
import os
import re
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy import sparse

import vaekit as vk
from vaekit.data import annotated, hdf5, limits
from vaekit.data.files import read
from vaekit.data.lazy_rows import stored
from vaekit.data.limits import FileError, available_memory, check_size, check_stored

h5py = pytest.importorskip("h5py")
SECRET = np.arange(12.0).reshape(4, 3) + 1_000
COUNTS = np.random.default_rng(0).poisson(1.0, (4, 3)).astype("float32")


def cells(path, x=None, **parts):
    """A small `.h5ad` file. x: writes X into the file; parts: replace the data, indices, indptr or shape."""
    matrix = sparse.csr_matrix(COUNTS)
    with h5py.File(path, "w") as file:
        if x is not None:
            x(file)
        else:
            group = file.create_group("X")
            shape = parts.pop("shape", matrix.shape)
            group.attrs.update({"encoding-type": parts.pop("kind", "csr_matrix"), "shape": shape})
            for name in ("data", "indices", "indptr"):
                group[name] = parts.get(name, getattr(matrix, name))
        obs, var = file.create_group("obs"), file.create_group("var")
        obs.attrs.update({"_index": "_index", "column-order": ["batch"]})
        obs["_index"], obs["batch"] = [f"cell {i}" for i in range(4)], np.arange(4)
        var.attrs["_index"] = "_index"
        var["_index"] = ["a", "b", "c"]
    return path


def everything(path):
    """Reads all that a fit may read."""
    data = vk.data.Annotated(path)
    for name in data.columns_beside:
        data.beside(name)
    return np.asarray(vk.data.LazyRows(data.store))


@pytest.fixture
def secret(tmp_path):
    """Files of the user's that nobody asked to be read."""
    SECRET.tofile(tmp_path / "secret.bin")
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["X"], file["words"] = SECRET, ["secret"] * 4
    return tmp_path


def external_storage(file, folder):
    file.create_dataset("X", (4, 3), "f8", external=[(str(folder / "secret.bin"), 0, h5py.h5f.UNLIMITED)])


def virtual(file, folder):
    layout = h5py.VirtualLayout((4, 3), "f8")
    layout[:] = h5py.VirtualSource(str(folder / "secret.h5"), "X", (4, 3))
    file.create_virtual_dataset("X", layout)


def external_link(file, folder):
    file["X"] = h5py.ExternalLink(str(folder / "secret.h5"), "X")


def soft_link_to_an_external_one(file, folder):
    file["away"] = h5py.ExternalLink(str(folder / "secret.h5"), "/")
    file["X"] = h5py.SoftLink("/away/X")


def parts_elsewhere(file, folder):
    group = file.create_group("X")
    group.attrs.update({"encoding-type": "csr_matrix", "shape": (4, 3)})
    matrix = sparse.csr_matrix(COUNTS)
    group["indices"], group["indptr"] = matrix.indices, matrix.indptr
    raw = [(str(folder / "secret.bin"), 0, h5py.h5f.UNLIMITED)]
    group.create_dataset("data", (matrix.nnz,), "f8", external=raw)


def circle(file, folder):
    file["X"], file["Y"] = h5py.SoftLink("/Y"), h5py.SoftLink("/X")


def references(file, folder):
    file["Y"] = SECRET
    file.create_dataset("X", data=np.full((4, 3), file["Y"].ref, dtype=h5py.ref_dtype), dtype=h5py.ref_dtype)


def lists(file, folder):
    made = file.create_dataset("X", (4, 3), dtype=h5py.vlen_dtype("f8"))
    made[0, 0] = [1.0]


def plugin(file, folder):
    plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plan.set_chunk((4, 3))
    plan.set_filter(32015, h5py.h5z.FLAG_OPTIONAL)  # Zstandard, as hdf5plugin registers it
    h5py.h5d.create(file.id, b"X", h5py.h5t.IEEE_F64LE, h5py.h5s.create_simple((4, 3)), plan)


def compound(file, folder):
    file["X"] = np.zeros((4, 3), dtype=[("a", "f8")])


ELSEWHERE = {
    external_storage: "X in .*x.h5ad is stored in another file",
    virtual: "X in .*x.h5ad is a virtual data set",
    external_link: "X in .*x.h5ad is a link to another file",
    soft_link_to_an_external_one: "X in .*x.h5ad is a link to another file",
    parts_elsewhere: "X/data in .*x.h5ad is stored in another file",
    circle: "X in .*x.h5ad is a circle of links",
    references: "X in .*x.h5ad holds references",
    lists: "X in .*x.h5ad holds references or lists",
    plugin: "X in .*x.h5ad uses the filter 32015, a plugin",
    compound: "X in .*x.h5ad holds .*expected numbers",
}


@pytest.mark.parametrize("make", ELSEWHERE, ids=lambda make: make.__name__)
def test_an_h5ad_reads_nothing_but_itself(secret, make):
    path = cells(secret / "x.h5ad", lambda file: make(file, secret))
    with pytest.raises(FileError, match=ELSEWHERE[make]):
        everything(path)
    with pytest.raises(ValueError, match=ELSEWHERE[make]):
        vk.VAE(epochs=1, verbose=False).fit(path)


PLACES = ["obs", "var", "layers", "obs/batch", "obs/_index", "var/_index", "layers/raw", "X/data", "X/indptr"]


@pytest.mark.parametrize("place", PLACES)
def test_no_part_of_an_h5ad_may_be_a_link_to_another_file(secret, place):
    path = cells(secret / "x.h5ad")
    with h5py.File(path, "a") as file:
        folder, _, name = place.rpartition("/")
        file.require_group("layers")
        file.pop(place, None)
        file[f"{folder or '/'}/{name}"] = h5py.ExternalLink(str(secret / "secret.h5"), "words")
        if name == "_index" and folder == "obs":
            file["obs"].attrs["column-order"] = ["_index"]
    with pytest.raises(FileError, match=f"{place} in .*x.h5ad is a link to another file"):
        vk.data.Annotated(path, "raw") if place == "layers/raw" else everything(path)


def test_a_soft_link_within_the_file_is_followed(tmp_path):
    def linked(file):
        file["Y"], file["X"] = COUNTS, h5py.SoftLink("Y")

    np.testing.assert_array_equal(everything(cells(tmp_path / "x.h5ad", linked)), COUNTS)


M = sparse.csr_matrix(COUNTS)
SPARSE = {
    "an index above": (dict(indices=np.where(M.indices == 2, 3, M.indices)), "expected indices in 0..2, got 3"),
    "a negative index": (dict(indices=M.indices - 1), "expected indices in 0..2, got -1"),
    "an index far above": (dict(indices=M.indices.astype("i8") + 2**40), "expected indices in 0..2, got"),
    "fractions": (dict(indices=M.indices.astype("f8")), "expected whole numbers .* got float64"),
    "indptr that falls": (dict(indptr=np.array([0, 2, 1, 3, M.nnz])), "expected an indptr .*that falls"),
    "indptr beyond": (dict(indptr=np.array([0, 1, 2, 3, M.nnz + 1])), "expected an indptr .*at most its"),
    "indptr below": (dict(indptr=np.array([-1, 1, 2, 3, M.nnz])), "expected an indptr that rises from 0"),
    "indptr that overflows": (dict(indptr=np.array([0, 1, 2, 3, 2**64 - 1], "u8")), "expected an indptr"),
    "too few rows": (dict(indptr=np.array([0, M.nnz])), "states the shape"),
    "no rows": (dict(indptr=np.array([], int)), "expected an indptr"),
    "a wide shape": (dict(shape=(4, 10**12)), "has 1,000,000,000,000 columns, and var 3 rows"),
    "a negative shape": (dict(shape=(4, -3)), "states the shape"),
    "three numbers": (dict(shape=(4, 3, 1)), "is no sparse matrix"),
    "another kind": (dict(kind="coo_matrix"), "is no sparse matrix"),
    "words": (dict(data=["a"] * M.nnz), "expected numbers in 1"),
    "two dimensions": (dict(data=np.zeros((M.nnz, 1))), "expected numbers in 1"),
}


@pytest.mark.parametrize("where", ["in memory", "from disk"])
@pytest.mark.parametrize("wrong", SPARSE)
def test_sparse_parts_are_checked_before_use(tmp_path, monkeypatch, where, wrong):
    monkeypatch.setattr(annotated, "IN_MEMORY", 2**30 if where == "in memory" else 0)
    parts, message = SPARSE[wrong]
    with pytest.raises(ValueError, match=message) as caught:
        everything(cells(tmp_path / "x.h5ad", **parts))
    assert "x.h5ad" in str(caught.value)


@pytest.mark.parametrize("wrong", [name for name, (parts, _) in SPARSE.items() if not {"shape", "kind"} & set(parts)])
def test_sparse_parts_by_columns_are_checked_too(tmp_path, wrong):
    parts, _ = SPARSE[wrong]
    with pytest.raises(ValueError, match="x.h5ad"):
        everything(cells(tmp_path / "x.h5ad", kind="csc_matrix", shape=(3, 4), **parts))


def test_a_cell_that_a_file_gives_twice_is_added_up_as_in_memory(tmp_path):
    parts = dict(data=np.array([1.0, 2.0, 4.0]), indices=np.array([1, 1, 0]), indptr=np.array([0, 2, 3, 3, 3]))
    path = cells(tmp_path / "x.h5ad", **parts)
    want = sparse.csr_matrix((parts["data"], parts["indices"], parts["indptr"]), (4, 3)).toarray()
    np.testing.assert_array_equal(everything(path), want)


@pytest.mark.parametrize("kind", ["csr", "csc", "coo", "bsr"])
def test_a_scipy_matrix_with_indices_outside_is_refused(kind):
    x = sparse.csr_matrix(COUNTS).asformat(kind)
    (x.coords[1] if kind == "coo" else x.indices)[0] = 2**30
    with pytest.raises(ValueError, match="the sparse matrix: expected indices in 0.."):
        stored(x)
    y = sparse.csr_matrix(COUNTS)
    y.indptr[1] = 2**30
    with pytest.raises(ValueError, match="expected an indptr"):
        stored(y)


def columns_of_categories(path, codes, levels):
    cells(path)
    with h5py.File(path, "a") as file:
        del file["obs/batch"]
        group = file["obs"].create_group("batch")
        group["codes"], group["categories"] = codes, levels
    return path


def test_codes_of_categories_that_are_not_there_are_refused(tmp_path):
    for codes in ([0, 1, 2, 1], [0, 1, -2, 1], [0.0, 1.0, 0.0, 1.0]):
        path = columns_of_categories(tmp_path / "x.h5ad", np.array(codes), ["a", "b"])
        with pytest.raises(FileError, match="x.h5ad"):
            everything(path)
    path = columns_of_categories(tmp_path / "x.h5ad", np.array([-1] * 4, "i1"), np.array([], "S1"))
    assert vk.data.Annotated(path).beside("batch").tolist() == [None] * 4


def words(path):
    """A file whose column `batch` is words, and where in the file their references begin."""
    cells(path)
    with h5py.File(path, "a") as file:
        del file["obs/batch"]
        file["obs/batch"] = ["x" * 5_000, *("y" * 9 for _ in range(1_999))]
        return path, file["obs/batch"].id.get_offset()


def test_words_that_are_named_again_and_again_are_refused_before_they_fill_the_memory(tmp_path):
    path, place = words(tmp_path / "x.h5ad")
    assert vk.data.Annotated(path).beside("batch")[1] == "y" * 9
    content = bytearray(path.read_bytes())
    content[place : place + 16 * 2_000] = content[place : place + 16] * 2_000  # length, address and number of the first
    path.write_bytes(content)
    with pytest.raises(FileError, match="obs/batch in .*x.h5ad holds more words than fit into its file"):
        vk.data.Annotated(path).beside("batch")


def test_a_collection_of_words_that_the_library_reads_for_ever_is_refused(tmp_path):
    path, _ = words(tmp_path / "x.h5ad")
    content = bytearray(path.read_bytes())
    place = content.find(hdf5.HEAP) + 16
    while int.from_bytes(content[place : place + 2], "little"):  # the number of a word; 0: what is free
        place += 16 + -(-int.from_bytes(content[place + 8 : place + 16], "little") // 8) * 8
    content[place + 8 : place + 16] = bytes(8)
    path.write_bytes(content)
    with pytest.raises(FileError, match="x.h5ad has a damaged collection of words"):
        vk.data.Annotated(path)


# -- claims ----------------------------------------------------------------------------------------


def chunks_never_written(file):
    file.create_dataset("X", (10**9, 3), "f8", chunks=(1000, 3), compression="gzip", fillvalue=7.0)


def large_chunks(file):
    file.create_dataset("X", (4, 3), "f8", chunks=(2**28, 1), maxshape=(None, None))


def npy(shape, dtype="<f8", fortran=False):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": dtype, "fortran_order": fortran, "shape": shape})
    return header.getvalue() + b"\0" * 64


def npz(path, content, size=None):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", content)
    if size is not None:  # the size of the member, in both of its headers
        whole, old = bytearray(path.read_bytes()), len(content).to_bytes(4, "little")
        for place in (found.start() for found in re.finditer(re.escape(old), whole)):
            whole[place : place + 4] = size.to_bytes(4, "little")
        path.write_bytes(whole)
    return path


def png(width, height):
    def part(name, data):
        return len(data).to_bytes(4, "big") + name + data + zlib.crc32(name + data).to_bytes(4, "big")

    head = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 0, 0, 0, 0])
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", head) + part(b"IDAT", zlib.compress(b"\0" * 99)) + part(b"IEND", b"")


def put(path, content):
    path.write_bytes(content)
    return path


CLAIMS = {
    "chunks that were never written": (
        lambda f: cells(f / "x.h5ad", chunks_never_written),
        "X in .*x.h5ad claims to hold 24.0 GB and stores 0 bytes",
    ),
    "one chunk above the memory": (lambda f: cells(f / "x.h5ad", large_chunks), "X in .*x.h5ad asks for 4.3 GB"),
    "an .npy of 10**15 rows": (lambda f: put(f / "x.npy", npy((10**15, 8))), "x.npy is not a whole .npy array"),
    "an .npy that overflows": (lambda f: put(f / "x.npy", npy((2**62, 8))), "x.npy is not a whole .npy array"),
    "an .npy below 0": (lambda f: put(f / "x.npy", npy((-1, 8))), "x.npy is not a whole .npy array"),
    "an .npz whose array is longer": (
        lambda f: npz(f / "x.npz", npy((10**15, 8))),
        "'x' in .*x.npz is not a whole .npy array .*its header states",
    ),
    "an .npz whose member is longer": (
        lambda f: npz(f / "x.npz", npy((100, 8)), 2**31),
        "'x' in .*x.npz (claims to hold 2.1 GB and stores|asks for)",
    ),
    "a .png of a square kilometre": (
        lambda f: put(f / "x.png", png(30_000, 30_000)).parent,
        r"x.png .*(above the limit of|exceeds limit of|could be decompression bomb)",
    ),
    "a .png above the limit of a warning": (
        lambda f: put(f / "x.png", png(10_000, 10_000)).parent,
        r"x.png .*(above the limit of|exceeds limit of)",
    ),
    "a .csv of one line": (lambda f: put(f / "x.csv", b"1," * 2**19), "the first line of .*x.csv has"),
}


@pytest.mark.parametrize("claim", CLAIMS)
def test_what_a_file_claims_is_checked_before_memory_is_taken(tmp_path, monkeypatch, claim):
    monkeypatch.setattr(limits, "available_memory", lambda: 2**31)
    make, message = CLAIMS[claim]
    path = make(tmp_path)
    with pytest.raises(ValueError, match=message):
        vk.VAE(epochs=1, verbose=False).fit(read(path) if path.suffix == ".npz" else path)


def test_rows_that_do_not_fit_into_memory_are_refused(tmp_path, monkeypatch):
    pq, pa = pytest.importorskip("pyarrow.parquet"), pytest.importorskip("pyarrow")
    np.save(tmp_path / "x.npy", np.zeros((1000, 10)))
    np.savez(tmp_path / "x.npz", x=np.zeros((1000, 10)))
    pq.write_table(pa.table({"a": np.zeros(10_000), "b": ["w"] * 10_000}), tmp_path / "x.parquet")
    (tmp_path / "x.csv").write_text("a,b\n" + "1,2\n" * 10_000)
    (tmp_path / "images").mkdir()
    for i in range(20):
        Image.fromarray(np.zeros((60, 60), np.uint8)).save(tmp_path / "images" / f"{i}.png")
    monkeypatch.setattr(limits, "SMALL", 0)
    monkeypatch.setattr(limits, "available_memory", lambda: 2**16)
    for name in ("x.npy", "x.npz", "images"):
        with pytest.raises(FileError, match=f"{name}.* asks for .* of memory, and 65.5 kB are free"):
            read(tmp_path / name)
    for name in ("x.parquet", "x.csv"):
        with pytest.raises(FileError, match=f"{name} asks for .* of memory, and 65.5 kB are free"):
            vk.data.Schema.infer(tmp_path / name)
    monkeypatch.setattr(limits, "available_memory", lambda: None)  # a system that does not report it
    assert read(tmp_path / "x.npy").shape == (1000, 10)


def test_the_memory_that_is_free_is_the_least_of_all_limits(tmp_path, monkeypatch):
    assert 0 < available_memory() < 2**50
    monkeypatch.setattr(limits, "_machine", lambda: 1000)
    monkeypatch.setattr(limits, "_cgroups", lambda: iter([10**18]))
    monkeypatch.setattr(limits, "_own_limit", lambda: None)
    assert available_memory() == 1000
    monkeypatch.setattr(limits, "_cgroups", lambda: iter([10**18, -5]))
    assert available_memory() == 0
    monkeypatch.setattr(limits, "_cgroups", lambda: iter(()))
    monkeypatch.setattr(limits, "_machine", lambda: None)
    assert available_memory() is None
    check_size(10**18, "x")


def test_the_limits_of_control_groups_are_read(tmp_path, monkeypatch):
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    (inner / "memory.max").write_text("max\n")
    (inner / "memory.current").write_text("10\n")
    (tmp_path / "a" / "memory.max").write_text("1000\n")
    (tmp_path / "a" / "memory.current").write_text("400\n")
    monkeypatch.setattr(limits, "CGROUPS", tmp_path)
    text = Path.read_text
    monkeypatch.setattr(
        Path, "read_text", lambda self, *a: "0::/a/b\n" if str(self) == "/proc/self/cgroup" else text(self, *a)
    )
    assert list(limits._cgroups()) == [600]


def test_sizes_say_what_was_claimed():
    with pytest.raises(FileError, match="x claims to hold 1.0 PB and stores 1.0 MB: it is damaged"):
        check_stored(10**15, 10**6, "x")
    check_stored(2**26, 0, "x")
    check_stored(1032 * 10**9, 10**9, "x")
    with pytest.raises(FileError, match="a negative size"):
        check_size(-1, "x")


# -- what is no file, and what runs programs -------------------------------------------------------


@pytest.mark.parametrize("suffix", ["npy", "npz", "csv", "parquet", "h5ad", "bin"])
def test_pipes_and_devices_are_refused_at_once(tmp_path, suffix):
    os.mkfifo(tmp_path / f"pipe.{suffix}")
    (tmp_path / f"zero.{suffix}").symlink_to("/dev/zero")
    (tmp_path / "folder.h5").mkdir()
    wrong = {f"pipe.{suffix}": "is a named pipe", f"zero.{suffix}": "is a character device"}
    for name, what in wrong.items():
        doors = [read] if suffix in ("npz", "bin") else [vk.VAE(epochs=1, verbose=False).fit]
        for door in doors:
            with pytest.raises(ValueError, match=f"{name} {what}"):
                door(tmp_path / name)


def test_a_picture_that_is_a_program_for_ghostscript_is_not_run(tmp_path):
    (tmp_path / "a.png").write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n%%EndComments\nshowpage\n%%EOF\n"
    )
    with pytest.raises(FileError, match="a.png cannot be read as an image"):
        read(tmp_path)


def test_a_csv_with_more_cells_than_names_is_refused_and_loses_no_column(tmp_path):
    (tmp_path / "x.csv").write_text("a,b\n1,2,3\n4,5,6\n")
    with pytest.raises(FileError, match="the rows of .*x.csv have more cells than its first line has names"):
        vk.data.Schema.infer(tmp_path / "x.csv")
    (tmp_path / "y.csv").write_text(",a,b\nr1,2,3\nr2,5,6\n")
    assert len(vk.data.Schema.infer(tmp_path / "y.csv", {"Unnamed: 0": "identifier"}).columns) == 3


def test_paths_expand_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    np.save(tmp_path / "x.npy", COUNTS)
    pd.DataFrame(COUNTS).to_csv(tmp_path / "x.csv", index=False)
    cells(tmp_path / "x.h5ad")
    assert read("~/x.npy").shape == stored("~/x.npy").shape == (4, 3)
    assert len(vk.data.Schema.infer("~/x.csv").columns) == 3
    assert len(vk.data.Annotated("~/x.h5ad")) == 4


def test_csv_files_of_another_make_are_refused_with_what_to_do(tmp_path):
    path = tmp_path / "x.csv"
    rows = "a,b\n" + "".join(f"{k % 7}.5,{k % 3}\n" for k in range(60))
    for content, message in {
        b"": "is empty: expected a line of names",
        rows.replace(",", ";").encode(): r"separates its cells by semicolons: .*sep=';'",
        rows.replace(".", "#").replace(",", ";").replace("#", ",").encode(): "separates its cells by semicolons",
        rows.replace(",", "\t").encode(): r"separates its cells by tabs: .*sep='\\t'",
        rows.encode("utf-16"): "is not encoded as UTF-8",
        rows.replace("a", "é").encode("latin-1"): "is not encoded as UTF-8: .*encoding=",
    }.items():
        path.write_bytes(content)
        with pytest.raises(FileError, match=message) as error:
            vk.data.Schema.infer(path)
        assert str(path) in str(error.value)
    path.write_bytes(b"\xef\xbb\xbf" + rows.replace("\n", "\r\n").encode())
    assert [c.name for c in vk.data.Schema.infer(path).columns] == ["a", "b"]
    path.write_text("a;b\n" + "".join(f"{k % 7}.5\n" for k in range(60)))  # a name may hold a semicolon
    assert [c.name for c in vk.data.Schema.infer(path).columns] == ["a;b"]


def test_compressed_files_are_refused_with_what_to_do(tmp_path):
    for name in ("x.csv.gz", "x.csv.zip", "x.npy.xz"):
        (tmp_path / name).write_bytes(b"anything")
        with pytest.raises(ValueError, match="got .*decompress it first"):
            vk.VAE().fit(tmp_path / name)
