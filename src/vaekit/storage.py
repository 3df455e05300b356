"""Files: `config.json` describes the parts, `model.safetensors` holds the numbers. Nothing in them is executed."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from .core import COMPONENTS, Component, type_name
from .suggest import nearest

FORMAT = 1
"""The version of the file format; files of a later one are refused."""


class StorageError(ValueError):
    """A file that cannot be read as what it should be."""


# -- descriptions of parts ------------------------------------------------------------------------


def describe(value: Any, path: str = "") -> Any:
    """A part as JSON: components by type and arguments, a user's own module by the path it is passed in again at."""
    if isinstance(value, Component):
        arguments = {n: describe(v, f"{path}.{n}".lstrip(".")) for n, v in value.arguments().items()}
        return {"type": type_name(type(value)), **arguments}
    if isinstance(value, (list, tuple, nn.ModuleList)):
        return [describe(v, f"{path}.{i}") for i, v in enumerate(value)]
    if isinstance(value, nn.Module):
        return {"external": path, "class": f"{type(value).__module__}.{type(value).__qualname__}"}
    if isinstance(value, Tensor) and value.dim() == 0:
        # The shortest decimal that reads back as the same number in its own precision.
        return float(str(value.detach().cpu().numpy()))
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(
        f"cannot describe {path} = {value!r} in a file: constructor arguments of components are numbers, strings, "
        "lists of these, components, or torch modules"
    )


def rebuild(config: Any, externals: Mapping[str, nn.Module] | None = None) -> Any:
    """The part that a description describes. Types are looked up among defined components; nothing is imported."""
    if isinstance(config, list):
        return [rebuild(c, externals) for c in config]
    if not isinstance(config, dict):
        return config
    if "external" in config:
        return _external(config, externals or {})
    arguments = {n: rebuild(c, externals) for n, c in config.items() if n != "type"}
    cls = COMPONENTS.get(config.get("type", ""))
    if cls is None:
        raise StorageError(
            f"the file names a part {config.get('type')!r} that is not defined here"
            f"{nearest(str(config.get('type')), COMPONENTS)}: if it is a part of your own, import or define it first"
        )
    try:
        return cls(**arguments)
    except TypeError as error:
        raise StorageError(f"the file's {config['type']} does not fit this version of it: {error}") from error


def _external(config: dict[str, Any], externals: Mapping[str, nn.Module]) -> nn.Module:
    path = str(config["external"])
    for name, module in externals.items():
        if path == name or path.startswith(f"{name}."):
            return module
    raise StorageError(f"your own module at {path} ({config.get('class')}) has to be passed in again")


def part_types(config: Any) -> list[str]:
    """The types of all parts that a description names."""
    if isinstance(config, dict):
        own = [config["type"]] if isinstance(config.get("type"), str) else []
        return own + [name for value in config.values() for name in part_types(value)]
    return [name for item in config for name in part_types(item)] if isinstance(config, list) else []


def external_names(config: Any) -> set[str]:
    """The names under which the user's own modules have to be passed in again."""
    if isinstance(config, list):
        return set().union(*(external_names(c) for c in config))
    if not isinstance(config, dict):
        return set()
    if "external" in config:
        return {str(config["external"]).split(".")[0]}
    return set().union(*(external_names(c) for c in config.values()))


# -- files ----------------------------------------------------------------------------------------


def write_atomic(path: Path, content: bytes) -> None:
    """Writes a file whole or not at all: a new file beside it, flushed to the disk, then renamed over it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.partial")  # what a killed writer left is written over
        try:
            with temporary.open("wb") as file:
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
            f"cannot write {path} ({error.strerror}); what was there before is untouched: free space or "
            "choose another folder, then save again",
        ) from error


def write_json(path: Path, value: Any) -> None:
    write_atomic(path, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode())


def write_lines(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    write_atomic(path, "".join(json.dumps(r) + "\n" for r in records).encode())


def read_lines(path: Path) -> list[dict[str, Any]]:
    """What `write_lines` wrote; nothing where there is no file. Raises StorageError for a damaged one."""
    try:
        return [json.loads(line) for line in path.read_bytes().splitlines()]
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise StorageError(f"{path} is not readable as lines of JSON ({error}): it is damaged; remove it") from error


def read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        raise StorageError(f"{path} is not readable as JSON ({error}): the file is damaged or not vaekit's") from error
    if not isinstance(value, dict):
        raise StorageError(f"{path} holds {type(value).__name__}, expected an object: the file is not vaekit's")
    return value


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any] | None = None) -> None:
    """Tensors and JSON metadata as one safetensors file, written atomically."""
    own = {n: t.detach().cpu().contiguous().clone() for n, t in tensors.items()}
    write_atomic(path, to_bytes(own, {"vaekit": json.dumps(metadata or {})}))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What `write_tensors` wrote. Raises StorageError for a truncated or foreign file."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = json.loads((file.metadata() or {}).get("vaekit", "{}"))
            names = list(file.keys())
            return {n: file.get_tensor(n) for n in names}, metadata
    except FileNotFoundError:
        raise
    except (SafetensorError, ValueError, OSError) as error:
        raise StorageError(
            f"{path} is not a whole safetensors file ({error}): it is truncated, damaged or foreign"
        ) from error


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load_weights(module: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Puts tensors into a module. Raises StorageError where names, shapes or types differ, or a value is missing."""
    expected = module.state_dict()
    problems = [f"{n} is missing" for n in expected if n not in tensors]
    problems += [f"{n} is not part of the model" for n in tensors if n not in expected]
    problems += [
        f"{n} is {_kind(tensors[n])}, expected {_kind(t)}"
        for n, t in expected.items()
        if n in tensors and (tensors[n].shape != t.shape or tensors[n].is_floating_point() != t.is_floating_point())
    ]
    if problems:
        raise StorageError(f"{path} does not fit the model that config.json describes: {_few(problems)}")
    module.load_state_dict(dict(tensors))


def _kind(t: Tensor) -> str:
    return f"{str(t.dtype).removeprefix('torch.')} {tuple(t.shape)}"


def _few(items: Iterable[str], count: int = 3) -> str:
    items = list(items)
    return "; ".join(items[:count]) + (f"; and {len(items) - count} more" if len(items) > count else "")


def check_format(config: Mapping[str, Any], path: Path) -> None:
    version = config.get("format")
    if not isinstance(version, int):
        raise StorageError(f"{path} states no format version: it is not a file of vaekit's")
    if version > FORMAT:
        raise StorageError(f"{path} has format {version}, this vaekit reads up to {FORMAT}: install a newer vaekit")
