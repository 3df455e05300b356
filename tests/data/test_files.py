"""What is read from disk is the array that was written, or one clear error."""

import pickle
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import vaekit as vk
import vaekit.cli.inputs
from vaekit.data.files import read

GREY = np.random.default_rng(0).integers(0, 256, (5, 6, 4), dtype=np.uint8)  # 5 images, 4 wide, 6 high
COLOUR = np.random.default_rng(1).integers(0, 256, (5, 6, 4, 3), dtype=np.uint8)


def save(path: Path, pixels: np.ndarray, mode: str | None = None, **options: object) -> None:
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(path, **options)


# -- arrays ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["uint8", "bool", "int64", "float16", "float32", ">f8"])
def test_npy_comes_back_as_it_was_saved(tmp_path, dtype):
    x = np.arange(24).reshape(2, 3, 4).astype(dtype)
    np.save(tmp_path / "x.npy", x)
    for source in (tmp_path / "x.npy", str(tmp_path / "x.npy")):
        assert np.array_equal(read(source), x) and read(source).dtype == x.dtype


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("keys", [["weights"], ["x", "y"], ["labels", "x_train", "x_test"], ["x_train", "x"]])
def test_npz_gives_its_only_array_or_x_or_x_train(tmp_path, save, keys):
    arrays = {key: np.full((3, 2), i) for i, key in enumerate(keys)}
    save(tmp_path / "data.npz", **arrays)
    expected = "x" if "x" in keys else "x_train" if "x_train" in keys else keys[0]
    assert np.array_equal(read(tmp_path / "data.npz"), arrays[expected])


# -- images ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["png", "bmp", "BMP"])
@pytest.mark.parametrize("pixels", [GREY, COLOUR], ids=["grey", "colour"])
def test_a_folder_comes_back_in_order_of_name(tmp_path, suffix, pixels):
    for i in (3, 0, 4, 1, 2):
        save(tmp_path / f"{i}.{suffix}", pixels[i])
    (tmp_path / "notes.txt").write_text("not an image")
    (tmp_path / "._0.png").write_bytes(b"not an image")
    (tmp_path / "more").mkdir()
    assert np.array_equal(read(tmp_path), pixels) and read(tmp_path).dtype == np.uint8


@pytest.mark.parametrize("name", ["a.jpg", "a.jpeg", "a.webp"])
def test_lossy_formats_are_decoded(tmp_path, name):
    smooth = np.linspace(0, 255, 32 * 32 * 3).reshape(32, 32, 3).astype(np.uint8)
    save(tmp_path / name, smooth, quality=95)
    assert np.abs(read(tmp_path)[0].astype(int) - smooth).mean() < 3


@pytest.mark.parametrize(
    ("mode", "pixels", "options"),
    [
        ("LA", GREY[0], {}),
        ("RGBA", COLOUR[0], {}),
        ("P", np.zeros((6, 4, 3), np.uint8) + np.uint8([255, 0, 51]), {}),
        ("P", np.zeros((6, 4, 3), np.uint8) + np.uint8([255, 0, 51]), {"transparency": b"\xff" * 256}),
        ("1", (GREY[0] > 127).astype(np.uint8) * 255, {}),
    ],
    ids=["LA", "RGBA", "P", "P opaque", "1"],
)
def test_other_modes_are_converted_where_nothing_is_lost(tmp_path, mode, pixels, options):
    save(tmp_path / "a.png", pixels, mode, **options)
    with Image.open(tmp_path / "a.png") as image:
        assert image.mode == mode
    assert np.array_equal(read(tmp_path), pixels[None])


def test_images_are_turned_as_their_exif_tag_says(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned clockwise by 90 degrees
    save(tmp_path / "a.png", GREY[0], exif=exif)
    assert np.array_equal(read(tmp_path)[0], np.rot90(GREY[0], -1))


def test_images_say_what_brings_pillow(tmp_path, monkeypatch):
    save(tmp_path / "a.png", GREY[0])
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match=r'pip install "vaekit\[images\]"'):
        read(tmp_path)


# -- wrong sources ---------------------------------------------------------------------------------


class Trap:
    """Unpickled, it fails the test with the one exception that `read` does not raise."""

    def __reduce__(self) -> tuple:
        return (exec, ("raise KeyboardInterrupt('unpickled')",))


def truncate(path: Path, keep: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])


def cut_npy(path: Path) -> None:
    np.save(path, GREY)
    truncate(path, 0.7)


def cut_npz(path: Path) -> None:
    np.savez(path, x=GREY)
    truncate(path, 0.7)


def damaged_npz(path: Path) -> None:
    np.savez(path, x=GREY)
    content = bytearray(path.read_bytes())
    content[200] ^= 255  # within the pixels: the archive's checksum no longer fits
    path.write_bytes(content)


def foreign_npz(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", "text")


WRONG_FILES: list[tuple[str, Callable[[Path], object], str]] = [
    (
        "a.npy",
        lambda path: np.save(path, np.array([Trap()]), allow_pickle=True),
        "expected an array of numbers, got Py",
    ),
    (
        "a.npz",
        lambda path: np.savez(path, x=np.array([Trap()])),
        "got Python objects .* never loaded.*: 'x' in .*a.npz",
    ),
    (
        "a.npy",
        lambda path: path.write_bytes(pickle.dumps(Trap())),
        "a.npy is not a whole .npy array .* save it again",
    ),
    ("a.npy", lambda path: path.write_bytes(b""), "a.npy is not a whole .npy array"),
    ("a.npy", cut_npy, "a.npy is not a whole .npy array"),
    ("a.npy", lambda path: np.save(path, np.array(["a"])), "got <U1 of shape .*a.npy; save an array"),
    ("a.npy", lambda path: np.save(path, np.array([1j])), "got complex128 of shape"),
    ("a.npy", lambda path: np.save(path, np.float64(1)), r"expected rows of .* got float64 of shape \(\)"),
    (
        "a.npz",
        lambda path: path.write_bytes(b""),
        "a.npz is not a whole .npz file .* save it again with np.savez",
    ),
    ("a.npz", cut_npz, "a.npz is not a whole .npz file"),
    ("a.npz", damaged_npz, "a.npz is not a whole .npz file"),
    ("a.npz", foreign_npz, "'x' in .*a.npz is not a whole .npy array"),
    (
        "a.npz",
        lambda path: np.savez(path, a=GREY, b=GREY),
        "one named 'x' or 'x_train' in .*a.npz, got a, b: save it",
    ),
    ("a.npz", lambda path: np.savez(path), "got none"),
    (
        "a.pkl",
        lambda path: path.write_bytes(pickle.dumps(Trap())),
        "expected a .npy, .npz, .csv, .parquet or .h5ad file, or a folder of images",
    ),
]


@pytest.mark.parametrize(("name", "write", "message"), WRONG_FILES)
def test_wrong_files_say_what_was_expected(tmp_path, name, write, message):
    write(tmp_path / name)
    with pytest.raises(ValueError, match=message):
        read(tmp_path / name)


def cut_png(folder: Path) -> None:
    save(folder / "a.png", np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8))
    truncate(folder / "a.png", 0.5)


def animation(folder: Path) -> None:
    first, *rest = (Image.fromarray(pixels) for pixels in COLOUR)
    first.save(folder / "a.png", save_all=True, append_images=rest)


def transparent(folder: Path) -> None:
    save(folder / "a.png", np.full((6, 4, 4), 254, np.uint8))


def pair(first: np.ndarray, second: np.ndarray) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        for name, pixels in [("a.png", first), ("b.png", first), ("c.png", second), ("d.png", second)]:
            save(folder / name, pixels)

    return write


WRONG_FOLDERS: list[tuple[Callable[[Path], object], str]] = [
    (
        pair(GREY[0], GREY[0].T),
        "one size and mode: a.png is 4 x 6 grey, but c.png is 6 x 4 grey: resize or convert",
    ),
    (pair(COLOUR[0], GREY[0]), "a.png is 4 x 6 RGB, but c.png is 4 x 6 grey"),
    (
        lambda folder: (folder / "a.png").write_bytes(b"text"),
        "a.png cannot be read as an image .* replace or remove",
    ),
    (lambda folder: (folder / "a.jpg").write_bytes(b""), "a.jpg cannot be read as an image"),
    (cut_png, "a.png cannot be read as an image"),
    (animation, "expected still images, got 5 frames in .*a.png: save each frame"),
    (transparent, "expected opaque images, got transparent pixels in .*a.png: paste it onto a background"),
    (
        lambda folder: save(folder / "a.png", GREY[0].astype(np.uint16)),
        "got mode I;16 in .*a.png: convert it",
    ),
    (lambda folder: save(folder / "a.jpg", COLOUR[0], "CMYK"), "got mode CMYK in .*a.jpg: convert it"),
]


@pytest.mark.parametrize(("write", "message"), WRONG_FOLDERS)
def test_wrong_folders_say_what_was_expected(tmp_path, write, message):
    write(tmp_path)
    with pytest.raises(ValueError, match=message):
        read(tmp_path)


MISSING = {
    "fit": (lambda p: vk.VAE().fit(p), (".csv", ".npy", ".parquet", ".h5ad", "folder of images")),
    "the detector": (lambda p: vk.OutlierDetector().fit(p), (".csv", ".npy", ".parquet", ".h5ad", "folder of images")),
    "a schema": (vk.data.Schema.infer, (".csv", ".parquet")),
    "the command line": (
        lambda p: vaekit.cli.inputs.read(str(p)),
        (".csv", ".npy", ".npz", ".parquet", ".h5ad", "folder of images"),
    ),
}


@pytest.mark.parametrize("name", ["x.csv", "x.CSV", "x.npy", "x.npz", "x.parquet", "x.txt", "x.csv.gz"])
@pytest.mark.parametrize("reader", MISSING)
def test_a_missing_file_names_every_format_that_is_read(reader, name, tmp_path):
    read_it, formats = MISSING[reader]
    with pytest.raises(FileNotFoundError, match=f"{name} does not exist") as refused:
        read_it(tmp_path / name)
    assert all(kind in str(refused.value) for kind in formats)


def test_another_format_names_every_format_that_is_read(tmp_path):
    (tmp_path / "x.txt").write_text("1")
    for reader in ("fit", "the command line"):
        read_it, formats = MISSING[reader]
        with pytest.raises(ValueError, match=r"x\.txt") as refused:
            read_it(tmp_path / "x.txt")
        assert all(kind in str(refused.value) for kind in formats)


def test_a_missing_source_and_an_empty_folder_are_not_found(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"expected a .npy, .npz, .* file, or a folder .*x.npy does not exist"):
        read(tmp_path / "x.npy")
    (tmp_path / "text.txt").write_text("text")
    with pytest.raises(FileNotFoundError, match=r"expected images \(.png, .*\) directly in the folder .*, got none"):
        read(tmp_path)
