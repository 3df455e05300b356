"""Arrays read from files and folders of images, without pickle."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from numpy.typing import NDArray

from .arrays import opening_npy
from .stores import Store

if TYPE_CHECKING:
    from PIL import Image

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")


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
    path = Path(source).expanduser()
    if not path.exists():
        raise FileNotFoundError(f"expected a .npy or .npz file or a folder of images, but {path} does not exist")
    if path.is_dir():
        images = Images(path)
        return images.read(np.arange(images.shape[0]))
    if path.suffix.lower() == ".npy":
        with path.open("rb") as stream:
            return _read_npy(stream, str(path))
    if path.suffix.lower() == ".npz":
        return _read_npz(path)
    raise ValueError(
        f"expected a .npy or .npz file or a folder of images, got {path}: save the array with np.save, "
        "or put the images into a folder and pass the folder"
    )


# -- arrays ----------------------------------------------------------------------------------------


def _read_npz(path: Path) -> NDArray:
    try:
        with zipfile.ZipFile(path) as archive:
            members = {name.removesuffix(".npy"): name for name in archive.namelist()}
            keys = list(members) if len(members) == 1 else [key for key in ("x", "x_train") if key in members]
            if not keys:
                listed = ", ".join(members) or "none"
                raise ValueError(
                    f"expected one array or one named 'x' or 'x_train' in {path}, got {listed}: "
                    "save it with np.savez(path, x=...)"
                )
            with archive.open(members[keys[0]]) as stream:
                return _read_npy(stream, f"{keys[0]!r} in {path}")
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError) as error:
        raise ValueError(f"{path} is not a whole .npz file ({error}): save it again with np.savez") from error


def _read_npy(stream: BinaryIO, name: str) -> NDArray:
    with opening_npy(name):
        array = np.lib.format.read_array(stream, allow_pickle=False)
    if array.dtype.kind not in "biuf" or array.ndim == 0:
        raise ValueError(
            f"expected rows of bool, integer or float numbers, got {array.dtype} of shape {array.shape}: "
            f"{name}; save an array of one or more dimensions and a numeric dtype"
        )
    return array


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
            raise FileNotFoundError(f"expected images ({wanted}) directly in the folder {folder}, got none")
        self.first = _read_image(self.paths[0])
        super().__init__((len(self.paths), *self.first.shape), self.first.dtype)

    def read(self, index: NDArray) -> NDArray:
        images = np.empty((len(index), *self.first.shape), dtype=np.uint8)
        for place, i in enumerate(index.tolist()):
            image = _read_image(self.paths[i])
            if image.shape != self.first.shape:
                raise ValueError(
                    f"images must have one size and mode: {self.paths[0].name} is {_describe(self.first)}, "
                    f"but {self.paths[i].name} is {_describe(image)}: resize or convert the images to match"
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
    try:
        with Image.open(path) as image:
            frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)  # MPO: a photo and its preview
            image = ImageOps.exif_transpose(image)  # reads the pixels, too
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path} cannot be read as an image ({error}): replace or remove it") from error
    if frames > 1:
        raise ValueError(f"expected still images, got {frames} frames in {path}: save each frame as its own file")
    return np.asarray(_plain(image, path))


def _plain(image: Image.Image, path: Path) -> Image.Image:
    """The image in mode L or RGB, if nothing is lost by it."""
    modes = {"1": "L", "L": "L", "LA": "L", "RGB": "RGB", "RGBA": "RGB", "P": "RGB", "PA": "RGB"}
    if image.mode not in modes:
        raise ValueError(
            f"expected 8-bit grey or RGB images, got mode {image.mode} in {path}: "
            'convert it with Pillow\'s image.convert("RGB"), or read it yourself and pass an array'
        )
    mode = modes[image.mode]
    if image.has_transparency_data:
        image = image.convert("RGBA")
        if image.getchannel("A").getextrema()[0] < 255:
            raise ValueError(
                f"expected opaque images, got transparent pixels in {path}: paste it onto a background colour first"
            )
    return image.convert(mode)
