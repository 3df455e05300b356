"""Files of a run: written atomically, read with bounds on their size, and checked against their digests."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

from .paths import regular_file
from .printable import printable, printable_line

JSON_BYTES = 64 << 20
"""The largest JSON file that is read."""
JSON_VALUES = 4_000_000
"""The most values that such a file may hold: the objects that Python makes of them take about 100 bytes each."""
JSON_DEPTH = 200
"""The deepest nesting: models nest to about 20."""
HEADER_BYTES = 100 << 20
"""The longest header of a safetensors file, which is the format's own bound."""
DIGEST = "sha256"
"""The entry of a JSON object, or of a safetensors file's metadata, that holds the digest of the rest."""


class StorageError(ValueError):
    """A file that cannot be read as what it should be. Its message is printable: names in it are escaped."""

    def __init__(self, text: object):
        super().__init__(printable_line(text))


# -- writing ----------------------------------------------------------------------------------------


def write_atomic(path: Path, content: bytes) -> None:
    """Writes a complete file or none: a new file in the same folder, flushed to disk, then renamed.

    A link at the path is replaced, not followed. Raises OSError, and leaves what was there, where this fails.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.partial")
        temporary.unlink(missing_ok=True)  # what a killed writer left, or a link that leads elsewhere
        try:
            with temporary.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise OSError(
            error.errno,
            f"cannot write {printable(path)} ({error.strerror}); what was there before is untouched: free space or "
            "choose another folder, then save again",
        ) from error


def write_json(path: Path, value: Any) -> None:
    write_atomic(path, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode("utf-8", "surrogatepass"))


def write_lines(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    write_atomic(path, "".join(json.dumps(r) + "\n" for r in records).encode())


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any] | None = None) -> None:
    """Writes tensors and JSON metadata as one safetensors file, with the digest of both, atomically."""
    own = {n: t.detach().cpu().contiguous().clone() for n, t in tensors.items()}
    known = json.loads(json.dumps(metadata or {}))
    known[DIGEST] = _digest_of_tensors(own, known)
    write_atomic(path, to_bytes(own, {"vaekit": json.dumps(known)}))  # one entry: the order of several varies


# -- reading ----------------------------------------------------------------------------------------


def read_bytes(path: Path, most: int) -> bytes:
    """The content of a regular file. Raises StorageError for anything else, and for more than `most` bytes."""
    try:
        size = regular_file(path).stat().st_size
        if size > most:
            raise StorageError(f"{path} has {size:,} bytes, expected at most {most:,}: it is damaged or not vaekit's")
        return path.read_bytes()
    except FileNotFoundError:
        raise
    except StorageError:
        raise
    except (OSError, ValueError) as error:
        raise StorageError(f"{path} cannot be read ({error})") from error


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object. Raises StorageError for a file that is damaged, too large or nested too deep."""
    value = _parsed(read_bytes(path, JSON_BYTES), path, "JSON")
    if not isinstance(value, dict):
        raise StorageError(f"{path} holds {type(value).__name__}, expected an object: the file is not vaekit's")
    return value


def read_lines(path: Path) -> list[dict[str, Any]]:
    """What `write_lines` wrote; empty where there is no file. Raises StorageError for a damaged one."""
    try:
        content = read_bytes(path, JSON_BYTES)
    except FileNotFoundError:
        return []
    records = [_parsed(line, path, "lines of JSON") for line in content.splitlines()]
    if not all(isinstance(record, dict) for record in records):
        raise StorageError(f"{path} is not readable as lines of JSON objects: it is damaged; remove it")
    return records


def _parsed(content: bytes, path: Path, what: str) -> Any:
    if content.count(b",") + content.count(b"[") + content.count(b"{") > JSON_VALUES:
        raise StorageError(f"{path} holds more than {JSON_VALUES:,} values: it is damaged or not vaekit's")
    if _depth(content) > JSON_DEPTH:
        raise StorageError(f"{path} is nested deeper than {JSON_DEPTH} levels: it is damaged or not vaekit's")
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise StorageError(
            f"{path} is not readable as {what} ({error}): the file is damaged or not vaekit's"
        ) from error


_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*+"?', re.S)


def _depth(content: bytes) -> int:
    """How deep brackets nest; those in strings do not count."""
    if content.count(b"[") + content.count(b"{") <= JSON_DEPTH:
        return 0
    depth = deepest = 0
    for bracket in re.findall(rb"[\[\]{}]", _STRINGS.sub(b"", content)):
        depth += 1 if bracket in b"[{" else -1
        deepest = max(deepest, depth)
    return deepest


def read_tensors(path: Path, verify: bool = True) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What `write_tensors` wrote.

    Raises StorageError for a file that is truncated or foreign, whose header claims more than the file holds, or, with
    `verify`, whose content does not have the digest that it was written with.
    """
    try:
        _check_header(path)
        with safe_open(path, framework="pt") as file:
            metadata = _parsed((file.metadata() or {}).get("vaekit", "{}").encode(), path, "metadata")
            tensors = {n: file.get_tensor(n) for n in list(file.keys())}
    except (FileNotFoundError, StorageError):
        raise
    except (SafetensorError, ValueError, OSError, RuntimeError, TypeError, KeyError, AttributeError) as error:
        raise StorageError(
            f"{path} is not a whole safetensors file ({_brief(error)}): it is truncated, damaged or foreign"
        ) from error
    if not isinstance(metadata, dict):
        raise StorageError(f"{path} has metadata that are not an object: it is damaged or not vaekit's")
    digest = metadata.pop(DIGEST, None)
    if verify and digest != _digest_of_tensors(tensors, metadata):
        raise StorageError(f"{path} is not as it was written: it was changed or damaged")
    return tensors, metadata


def _check_header(path: Path) -> None:
    """Raises ValueError for a header that claims more than the file holds, or more values than a model has."""
    with regular_file(path).open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        start = file.read(8)
        length = int.from_bytes(start, "little")
        if len(start) < 8 or length > min(HEADER_BYTES, size - 8):
            raise ValueError(f"its header claims {length:,} bytes, the file has {size:,}")
        text = file.read(length)
    if text.count(b",") > JSON_VALUES or _depth(text) > JSON_DEPTH:
        raise ValueError("its header holds too many values")


# -- digests ----------------------------------------------------------------------------------------


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def json_digest(value: Any) -> str:
    """SHA-256 of a JSON value, in hexadecimal; the order of keys and the layout of the text do not count."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def sealed(config: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON object with the digest of its content as its last entry."""
    content = {name: value for name, value in config.items() if name != DIGEST}
    return {**content, DIGEST: json_digest(json.loads(json.dumps(content)))}


def check_seal(config: Mapping[str, Any], path: Path, fix: str) -> None:
    """Raises StorageError, with what to do, where an object does not have the digest that it was sealed with."""
    content = {name: value for name, value in config.items() if name != DIGEST}
    if config.get(DIGEST) != json_digest(content):
        raise StorageError(f"{path} is not as it was saved: it was changed or damaged; {fix}")


def tensor_digest(tensor: Tensor) -> str:
    """SHA-256 of a tensor's type, shape and values, in hexadecimal."""
    sha = hashlib.sha256(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
    sha.update(_bytes(tensor))
    return sha.hexdigest()


def _digest_of_tensors(tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> str:
    sha = hashlib.sha256(json_digest(metadata).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        sha.update(f"\0{name} {tensor.dtype} {tuple(tensor.shape)}\0".encode("utf-8", "surrogatepass"))
        sha.update(_bytes(tensor))
    return sha.hexdigest()


def _bytes(tensor: Tensor) -> memoryview:
    return memoryview(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())


def _brief(error: Exception) -> str:
    text = str(error)
    return text if len(text) < 200 else f"{text[:200]}..."
