"""Arrays read from files and folders of images, without pickle."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..paths import expanded, regular_file
from ..printable import listed, printable
from .limits import FileError, check_size, check_stored, reading
from .npy import read_npy
from .sources import Store

if TYPE_CHECKING:
    from PIL import Image

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
IMAGE_FORMATS = ("PNG", "JPEG", "BMP", "WEBP")
"""The decoders of Pillow that are used: others run programs (EPS, with Ghostscript) or are seldom tested."""

COMPRESSED = {".gz", ".bz2", ".xz", ".zip", ".zst"}


def read(source: str | Path) -> NDArray:
    """The array in a `.npy` or `.npz` file or a folder of images, rows first.

    - `.npy`: the array.
    - `.npz`: its only array, or the one named `x`, or `x_train`.
    - a folder: its PNG, JPEG, BMP and WebP files in order of name, uint8 (N, H, W) if grey or (N, H, W, 3)
      if RGB; subfolders, hidden files and other files are left out. Images are turned as their EXIF tag says,
      bits become 0 and 255, palettes become RGB, and an alpha channel is dropped if opaque everywhere.

    Nothing is ever unpickled. Raises FileNotFoundError for a missing or empty source, ValueError for damaged
    or non-numeric content and for images of more than one size or mode, ImportError without Pillow.
    """
    path = expanded(source)
    wanted = "expected a .npy, .npz, .csv, .parquet or .h5ad file, or a folder of images"
    if not path.exists():
        raise FileNotFoundError(f"{wanted}, but {printable(path)} does not exist")
    if path.is_dir():
        images = Images(path)
        return images.read(np.arange(images.shape[0]))
    path = regular_file(path)
    if path.suffix.lower() == ".npy":
        with path.open("rb") as stream:
            return read_npy(stream, path.stat().st_size, str(path))
    if path.suffix.lower() == ".npz":
        return _read_npz(path)
    if path.suffix.lower() in COMPRESSED:
        raise ValueError(f"{wanted}, got {printable(path)}: decompress it first, or read it and pass what it holds")
    raise ValueError(
        f"{wanted}, got {printable(path)}: save the array with np.save, or put the images into a folder and pass the "
        "folder"
    )


# -- arrays ----------------------------------------------------------------------------------------


def _read_npz(path: Path) -> NDArray:
    with _archive(path) as archive:
        members = {name.removesuffix(".npy"): name for name in archive.namelist()}
        keys = list(members) if len(members) == 1 else [key for key in ("x", "x_train") if key in members]
        if not keys:
            raise FileError(
                f"expected one array or one named 'x' or 'x_train' in {printable(path)}, got {listed(members)}: "
                "save it with np.savez(path, x=...)"
            )
        member, name = archive.getinfo(members[keys[0]]), f"{keys[0]!r} in {path}"
        check_size(member.file_size, name)
        if member.compress_type == zipfile.ZIP_DEFLATED:
            check_stored(member.file_size, member.compress_size, name)
        with archive.open(member) as stream:
            return read_npy(stream, member.file_size, name)


@contextmanager
def _archive(path: Path) -> Iterator[zipfile.ZipFile]:
    """A zip file. Raises FileError for a damaged one."""
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except FileError:
        raise
    except Exception as error:  # zipfile raises anything from a damaged directory of members
        raise FileError(
            f"{printable(path)} is not a whole .npz file ({printable(error)}): save it again with np.savez"
        ) from error


# -- images ----------------------------------------------------------------------------------------


class Images(Store):
    """The images in a folder, in order of name, decoded as they are read; see `read`."""

    def __init__(self, folder: Path):
        self.paths = sorted(
            path
            for path in folder.iterdir()
            if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and path.is_file()
        )
        if not self.paths:
            wanted = ", ".join(IMAGE_SUFFIXES)
            raise FileNotFoundError(f"expected images ({wanted}) directly in the folder {printable(folder)}, got none")
        self.first = _read_image(self.paths[0])
        super().__init__((len(self.paths), *self.first.shape), self.first.dtype, str(folder))

    def read(self, index: NDArray) -> NDArray:
        check_size(len(index) * self.row_bytes, self.name)
        images = np.empty((len(index), *self.first.shape), dtype=np.uint8)
        for place, i in enumerate(index.tolist()):
            image = _read_image(self.paths[i])
            if image.shape != self.first.shape:
                first, other = printable(self.paths[0].name), printable(self.paths[i].name)
                raise FileError(
                    f"images must have one size and mode: {first} is {_describe(self.first)}, "
                    f"but {other} is {_describe(image)}: resize or convert the images to match"
                )
            images[place] = image
        return images


def _describe(image: NDArray) -> str:
    height, width = image.shape[:2]
    return f"{width} x {height} {'grey' if image.ndim == 2 else 'RGB'}"


def _read_image(path: Path) -> NDArray:
    """One image file as uint8 (H, W) or (H, W, 3)."""
    try:
        from PIL import Image, ImageOps
    except ImportError as error:
        raise ImportError('reading images needs Pillow: pip install "vaekit[images]"') from error
    with reading(path, "an image", "replace or remove it"):
        with Image.open(regular_file(path), formats=IMAGE_FORMATS) as image:
            _check_pixels(image, path)
            frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)  # MPO: a photo and its preview
            if frames > 1:
                raise FileError(
                    f"expected still images, got {frames} frames in {printable(path)}: save each frame as its own file"
                )
            image = ImageOps.exif_transpose(image)  # reads the pixels, too
        return np.asarray(_plain(image, path))


def _check_pixels(image: Image.Image, path: Path) -> None:
    """Raises FileError for more pixels than Pillow's limit, of which it only warns up to the double, or than fit."""
    from PIL import Image

    pixels = image.size[0] * image.size[1]
    if Image.MAX_IMAGE_PIXELS is not None and pixels > Image.MAX_IMAGE_PIXELS:
        raise FileError(
            f"{printable(path)} claims {image.size[0]} x {image.size[1]} pixels, above the limit of "
            f"{Image.MAX_IMAGE_PIXELS:,} (PIL.Image.MAX_IMAGE_PIXELS): make it smaller, or raise the limit"
        )
    check_size(12 * pixels, path)


def _plain(image: Image.Image, path: Path) -> Image.Image:
    """The image in mode L or RGB, if nothing is lost by it."""
    modes = {"1": "L", "L": "L", "LA": "L", "RGB": "RGB", "RGBA": "RGB", "P": "RGB", "PA": "RGB"}
    if image.mode not in modes:
        raise FileError(
            f"expected 8-bit grey or RGB images, got mode {image.mode} in {printable(path)}: "
            'convert it with Pillow\'s image.convert("RGB"), or read it yourself and pass an array'
        )
    mode = modes[image.mode]
    if image.has_transparency_data:
        image = image.convert("RGBA")
        if image.getchannel("A").getextrema()[0] < 255:
            raise FileError(
                f"expected opaque images, got transparent pixels in {printable(path)}: paste it onto a background "
                "colour first"
            )
    return image.convert(mode)
