"""Damaged data files for the fuzzer: small files of every format, changed at random and by their structure."""

import io
import json
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from mutations import SECONDS, SIZES, VALUES, Case, mutated, mutated_json
from PIL import Image
from scipy import sparse

import vaekit as vk
from vaekit.cli import inputs

SEED = 16
PICTURES = (".png", ".jpg", ".bmp", ".webp")
FITS = 40
"""Of so many cases one is fitted to."""
warnings.simplefilter("ignore")  # damage makes libraries warn; what counts is how reading ends
torch.set_num_threads(1)
X = np.random.default_rng(0).poisson(2.0, (20, 3))
FRAME = pd.DataFrame({"a": X[:, 0], "b": X[:, 1] / 3, "word": np.where(X[:, 2] > 1, "yes", "no"), "day": "2020-01-02"})
FRAME.loc[3, "b"] = np.nan


def _bytes(write: Callable[[io.BytesIO], object]) -> bytes:
    buffer = io.BytesIO()
    write(buffer)
    return buffer.getvalue()


def _cells(kind: str) -> bytes:
    with h5py.File(io.BytesIO(), "w") as file:
        if kind == "dense":
            file.create_dataset("X", data=X.astype("f4"), chunks=(5, 3), compression="gzip")
        else:
            matrix = getattr(sparse, kind)(X.astype("f4"))
            group = file.create_group("X")
            group.attrs.update({"encoding-type": kind, "encoding-version": "0.1.0", "shape": X.shape})
            for name in ("data", "indices", "indptr"):
                group[name] = getattr(matrix, name)
        obs, var = file.create_group("obs"), file.create_group("var")
        obs.attrs.update({"_index": "_index", "column-order": ["batch", "plate", "flag"]})
        var.attrs.update({"_index": "_index", "column-order": np.array([], float)})
        obs["_index"], var["_index"] = [f"cell {i}" for i in range(len(X))], ["a", "b", "c"]
        batch, flag = obs.create_group("batch"), obs.create_group("flag")
        batch["codes"], batch["categories"] = (X[:, 0] % 2).astype("i1"), ["one", "two"]
        flag["values"], flag["mask"] = X[:, 1], X[:, 1] > 3
        obs["plate"] = X[:, 2]
        file.flush()
        return file.id.get_file_image()


def _picture(kind: str, mode: str = "L") -> bytes:
    image = Image.fromarray(np.kron(X[:8], np.ones((1, 3))).astype("u1")).convert(mode)
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "turned"
    more = {"exif": exif} if kind in ("JPEG", "PNG", "WEBP") else {}
    return _bytes(lambda b: image.save(b, kind, **more))


@cache
def originals() -> dict[str, bytes]:
    """The undamaged files, by name."""
    real = (X / 3).astype("f4")
    return {
        "real.npy": _bytes(lambda b: np.save(b, real)),
        "whole.npy": _bytes(lambda b: np.save(b, X)),
        "x.npz": _bytes(lambda b: np.savez(b, x=real, y=X)),
        "small.npz": _bytes(lambda b: np.savez_compressed(b, real)),
        "mixed.csv": FRAME.to_csv(index=False).encode(),
        "numbers.csv": pd.DataFrame(X, columns=list("abc")).to_csv(index=False).encode(),
        "mixed.parquet": _bytes(lambda b: FRAME.to_parquet(b)),
        "numbers.parquet": _bytes(lambda b: pd.DataFrame(real, columns=list("abc")).to_parquet(b)),
        "csr.h5ad": _cells("csr_matrix"),
        "csc.h5ad": _cells("csc_matrix"),
        "dense.h5ad": _cells("dense"),
        "grey.png": _picture("PNG"),
        "palette.png": _picture("PNG", "P"),
        "photo.jpg": _picture("JPEG", "RGB"),
        "plain.bmp": _picture("BMP", "RGB"),
        "web.webp": _picture("WEBP", "RGB"),
    }


# -- changes that keep the format ------------------------------------------------------------------


def odd(rng: np.random.Generator) -> object:
    return (VALUES + SIZES)[rng.integers(len(VALUES) + len(SIZES))]


def npy_header(content: bytes, rng: np.random.Generator) -> bytes:
    """Another header before the same values."""
    shape = [(20, 3), (SIZES[rng.integers(len(SIZES))], 3), (-1, 3), (20,), (), (2, 30), (0, 3), (2**40, 2**40)]
    types = ["<f4", "<f8", ">i8", "|O", "<U9", "|V8", "<c16", "<M8[s]", "|b1", "<f2", "<u8", [("a", "<f4")], "x", "|S0"]
    header = {
        "descr": types[rng.integers(len(types))],
        "fortran_order": bool(rng.integers(2)),
        "shape": shape[rng.integers(len(shape))],
    }
    if rng.random() < 0.3:
        header[["descr", "fortran_order", "shape", "more"][rng.integers(4)]] = odd(rng)
    text = repr(header).encode("latin1", "replace")
    version = [b"\1\0", b"\2\0", b"\3\0", b"\xff\xff"][rng.integers(4) if rng.random() < 0.3 else 0]
    length = struct.pack("<H" if version == b"\1\0" else "<I", min(len(text), 2**16 - 1))
    return b"\x93NUMPY" + version + length + text + content[128:]


def npz_member(content: bytes, rng: np.random.Generator) -> bytes:
    """Another archive: damaged members, names that leave it, or sizes that lie."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            change = int(rng.integers(5))
            data = npy_header(old.read(name), rng) if change == 0 else old.read(name)
            data = mutated(data, rng) if change == 1 else data
            name = ["../../x.npy", "/x.npy", "x", "", "x.npy/", "y.npy"][rng.integers(6)] if change == 2 else name
            new.writestr(name, data)
    whole = bytearray(out.getvalue())
    if rng.random() < 0.4:
        place = whole.rfind(b"PK\1\2") + [20, 24, 10, 42][rng.integers(4)]
        whole[place : place + 4] = int(SIZES[rng.integers(len(SIZES))] % 2**32).to_bytes(4, "little")
    return bytes(whole)


def csv_cells(content: bytes, rng: np.random.Generator) -> bytes:
    """Cells replaced, removed, added and quoted; lines joined and repeated."""
    lines = [line.split(",") for line in content.decode().splitlines()]
    for _ in range(int(rng.integers(1, 6))):
        line = lines[rng.integers(len(lines)) if rng.random() < 0.6 else 0]
        place, change = int(rng.integers(len(line) + 1)), int(rng.integers(5))
        if change < 2:
            line[place : place + 1] = [str(odd(rng))]
        elif change == 2:
            line.insert(place, ['"', '""', '"a\n', "#", "\t", "-inf", "1e999", "0x1F", "2020-13-45"][rng.integers(9)])
        elif change == 3:
            del line[place:]
            line.append("")
        else:
            lines.append(list(line))
    return "\n".join(map(",".join, lines)).encode(errors=["surrogatepass", "replace"][rng.integers(2)])


def parquet_metadata(content: bytes, rng: np.random.Generator) -> bytes:
    """Other pandas metadata, names or types, in a file whose checks fit."""
    table = pq.read_table(io.BytesIO(content))
    metadata = dict(table.schema.metadata)
    if rng.random() < 0.7:
        metadata[b"pandas"] = mutated_json(json.loads(metadata[b"pandas"]), rng)
    if rng.random() < 0.3:
        names = [str(odd(rng)).encode(errors="replace").decode() for _ in table.column_names]
        table = table.rename_columns(names)
    if rng.random() < 0.3:
        types = [pa.large_string(), pa.binary(), pa.list_(pa.string()), pa.dictionary(pa.int8(), pa.string())]
        values = pa.array(["a"] * table.num_rows).cast(types[3]) if rng.random() < 0.5 else pa.nulls(table.num_rows)
        table = table.append_column(f"more {rng.integers(3)}", values)
    if rng.random() < 0.2:
        table = table.slice(0, int(rng.integers(3)))
    return _bytes(lambda b: pq.write_table(table.replace_schema_metadata(metadata), b))


def h5ad_parts(content: bytes, rng: np.random.Generator) -> bytes:
    """One to three data sets, attributes or links replaced, in a file that is whole."""
    with h5py.File(io.BytesIO(content), "r+") as file:
        for _ in range(int(rng.integers(1, 4))):
            found: list[str] = []
            file.visit(found.append)
            name = found[rng.integers(len(found))]
            _h5_change(file, name, rng)
        file.flush()
        return file.id.get_file_image()


def _h5_change(file: h5py.File, name: str, rng: np.random.Generator) -> None:
    change, old = int(rng.integers(6)), file.get(name)
    if change == 0 and len(getattr(old, "attrs", ())):
        key = list(old.attrs)[rng.integers(len(old.attrs))]
        new = [odd(rng), X.shape, (20, 2**62), (-1, 3), ["a", "b"], file.ref, np.zeros((9, 9))][rng.integers(7)]
        try:
            old.attrs[key] = new
        except (TypeError, ValueError, OverflowError):
            del old.attrs[key]
        return
    del file[name]
    if change == 1:
        return
    if change == 2:
        links = [h5py.ExternalLink("/etc/passwd", "/X"), h5py.SoftLink("/"), h5py.SoftLink(name), h5py.SoftLink("/obs")]
        file[name] = links[rng.integers(4)]
    elif change == 3:
        size = int(SIZES[rng.integers(len(SIZES))] % 2**62)
        file.create_dataset(name, (size,), "i4", chunks=(min(size, 4) or 1,), maxshape=(None,), compression="gzip")
    elif change == 4 and isinstance(old, h5py.Dataset):
        file[name] = old
    else:
        values = [
            *(np.array([2**62, -1, 3]), np.full(20, np.nan), np.array(b"a"), np.zeros((20, 3), bool), np.zeros(0)),
            *(["\x1b[31m"] * 20, np.arange(21), np.full((20, 3), 1e308), np.zeros(3, "S0,i4"), X[:, :2], 1.5),
        ]
        file[name] = values[rng.integers(len(values))]


def png_chunks(content: bytes, rng: np.random.Generator) -> bytes:
    """Chunks changed, with the right checksum; or sizes that lie."""
    out, place = content[:8], 8
    while place < len(content):
        length, name = int.from_bytes(content[place : place + 4], "big"), content[place + 4 : place + 8]
        data, place = content[place + 8 : place + 8 + length], place + 12 + length
        if rng.random() < 0.3:
            data = mutated(data or b"x", rng)
        if name == b"IHDR" and rng.random() < 0.3:
            data = struct.pack(">II", *rng.choice([1, 8, 10_000, 30_000, 2**31 - 1], 2)) + data[8:]
        for _ in range(2 if rng.random() < 0.1 else 1):
            out += len(data).to_bytes(4, "big") + name + data + zlib.crc32(name + data).to_bytes(4, "big")
    return out


BY_FORMAT = {
    ".npy": npy_header,
    ".npz": npz_member,
    ".csv": csv_cells,
    ".parquet": parquet_metadata,
    ".h5ad": h5ad_parts,
    ".png": png_chunks,
}


# -- reading ---------------------------------------------------------------------------------------


def prepared(path: Path) -> None:
    """What `fit` does before it trains, and what the command line reads."""
    source = path.parent if path.suffix in PICTURES else path
    if path.suffix != ".npz":
        np.asarray(vk.VAE(validation=0.5, seed=0).held_out(source))
    inputs.read(str(source))
    if path.suffix == ".h5ad":
        data = vk.data.Annotated(path)
        for name in data.columns_beside:
            data.beside(name)
    if path.name == "numbers.csv":
        inputs.beside(str(path), inputs.Part(X, None, "rows"), "context")


def fitted(path: Path) -> None:
    source = path.parent if path.suffix in PICTURES else path
    if path.suffix == ".npz":
        source = inputs.read(str(path))
    vk.VAE(epochs=1, latent_dim=2, verbose=False, seed=0, device="cpu").fit(source)


def changed(content: bytes, suffix: str, rng: np.random.Generator, donor: bytes) -> tuple[bytes, str]:
    """A damaged file, and how: in half of the cases within the format, where that is known."""
    own = BY_FORMAT.get(suffix)
    if own is None or rng.random() < 0.5:
        return mutated(content, rng, donor), "bytes"
    try:
        return own(content, rng), own.__name__
    except Exception:  # the library that writes refuses to
        return mutated(content, rng, donor), "bytes"


def make(folder: Path, number: int, seed: int = SEED) -> Case:
    """The damaged file of this number."""
    rng, files = np.random.default_rng([seed, number]), originals()
    names = list(files)
    name = names[number % len(names)]
    content, how = changed(files[name], Path(name).suffix, rng, files[names[rng.integers(len(names))]])
    place = folder / f"of_{Path(name).suffix[1:]}"
    place.mkdir(exist_ok=True)
    for other in place.iterdir():
        other.unlink()
    path = place / name
    path.write_bytes(content)
    read = fitted if (number // len(names)) % FITS == FITS - 1 else prepared
    shown = place if path.suffix in PICTURES else path
    seconds = SECONDS if read is prepared else 6 * SECONDS  # the first of a kind imports and compiles
    return Case(path, read, f"{how} of {name}", shown.name if shown == place else None, seconds)
