"""Files: `config.json` describes the parts, `model.safetensors` holds the numbers. Nothing in them is executed."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn
from torch.nn.modules import module as hooks

from .core import COMPONENTS, Component, type_name
from .files import (
    StorageError,
    check_seal,
    file_digest,
    json_digest,
    read_bytes,
    read_json,
    read_lines,
    read_tensors,
    sealed,
    tensor_digest,
    write_atomic,
    write_json,
    write_lines,
    write_tensors,
)
from .suggest import nearest
from .typecheck import check_arguments, hints_of, shown, written

__all__ = [
    "FORMAT",
    "StorageError",
    "check_format",
    "check_seal",
    "check_sizes",
    "check_weights",
    "describe",
    "external_classes",
    "external_names",
    "file_digest",
    "inside",
    "json_digest",
    "limited",
    "load_weights",
    "mismatches",
    "not_finite",
    "part_types",
    "read_bytes",
    "read_json",
    "read_lines",
    "read_tensors",
    "rebuild",
    "sealed",
    "tensor_digest",
    "write_atomic",
    "write_json",
    "write_lines",
    "write_tensors",
]

FORMAT = 1
"""The version of the file format; files of a later one are refused."""
SIZES = 2**23
"""What the sizes in a description may add up to, where the weights do not show that the model is larger."""
UNSIZED = ("rows", "steps", "period", "until", "total", "k", "m", "turns")
"""Integer arguments of the library's parts that are no sizes: counts of rows, of training steps, of draws."""


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
    """The part that a description describes. Types are looked up among defined components; nothing is imported.

    externals: the user's own modules by the path that they were saved under.
    """
    if isinstance(config, list):
        return [rebuild(c, externals) for c in config]
    if not isinstance(config, dict):
        return config
    if "external" in config:
        return _external(config, externals or {})
    name, arguments = config.get("type"), {n: rebuild(c, externals) for n, c in config.items() if n != "type"}
    cls = COMPONENTS.get(name) if isinstance(name, str) else None
    if cls is None:
        raise StorageError(
            f"the file names a part {shown(name)} that is not defined here"
            f"{nearest(str(name)[:200], COMPONENTS)}: if it is a part of your own, import or define it first"
        )
    try:
        check_arguments(name, arguments, cls.__init__)
        return cls(**arguments)
    except TypeError as error:
        raise StorageError(f"the file's {name} does not fit this version of it: {error}") from error


def _external(config: dict[str, Any], externals: Mapping[str, nn.Module]) -> nn.Module:
    path = config["external"]
    for own in (path, f"{path}.module"):  # an adapter that was put around the module holds it under this name
        if isinstance(own, str) and own in externals:
            return externals[own]
    raise StorageError(f"your own module at {shown(path)} ({shown(config.get('class'))}) has to be passed in again")


def check_sizes(config: Any, elements: int) -> None:
    """Raises StorageError for a description whose sizes no model with so many weights can have.

    Constructors make lists and loops of such sizes before a tensor's shape shows that they are wrong. Parts of the
    user's own are left out: what their numbers mean is not known here.
    """
    found, most = sum(_sizes(config)), max(SIZES, 16 * elements)
    if found > most:
        raise StorageError(f"the model has sizes that add up to {found:,}, its weights allow at most {most:,}")


def _sizes(config: Any) -> Iterator[int]:
    for part in _parts(config):
        name = part.get("type")
        cls = COMPONENTS.get(name) if isinstance(name, str) and name.startswith("vaekit.") else None
        hints = {} if cls is None else hints_of(cls.__init__)
        for argument, value in part.items():
            if argument not in UNSIZED and "int" in written(hints.get(argument, float)):
                yield from _integers(value)


def _parts(config: Any) -> Iterator[dict[str, Any]]:
    """Every object in a description."""
    if isinstance(config, dict):
        yield config
    if isinstance(config, (dict, list)):
        for value in config.values() if isinstance(config, dict) else config:
            if isinstance(value, (dict, list)):
                yield from _parts(value)


def _integers(value: Any) -> Iterator[int]:
    if isinstance(value, int):
        yield abs(value)
    elif isinstance(value, list):
        for inner in value:
            yield from _integers(inner)


@contextmanager
def limited(most: int) -> Iterator[None]:
    """Inside, this thread may give modules at most so many submodules, parameters and buffers.

    Raises StorageError for one more: a number of layers in a file is no reason to build for hours.
    """
    count, thread = 0, threading.get_ident()

    def note(*_: object) -> None:
        nonlocal count
        count += threading.get_ident() == thread
        if count > most:
            raise StorageError(f"the model has more than {most:,} modules and tensors, its weights only allow fewer")

    handles = [
        register(note)
        for register in (
            hooks.register_module_module_registration_hook,
            hooks.register_module_parameter_registration_hook,
            hooks.register_module_buffer_registration_hook,
        )
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def part_types(config: Any) -> list[str]:
    """The types of all parts that a description names."""
    if isinstance(config, dict):
        own = [config["type"]] if isinstance(config.get("type"), str) else []
        return own + [name for value in config.values() for name in part_types(value)]
    return [name for item in config for name in part_types(item)] if isinstance(config, list) else []


def external_classes(config: Any) -> dict[str, str]:
    """The paths of the user's own modules in a description, in its order, each with the name of its class."""
    own = [part for part in _parts(config) if "external" in part]
    return {str(part["external"]): str(part.get("class")) for part in own}


def external_names(config: Any) -> set[str]:
    """The names under which the user's own modules have to be passed in again."""
    return {path.split(".")[0] for path in external_classes(config)}


# -- files ----------------------------------------------------------------------------------------


def inside(folder: Path, name: object) -> Path:
    """A folder in this one. Raises StorageError for a name, or a link, that leads elsewhere."""
    plain = isinstance(name, str) and name not in ("", ".", "..") and not set(name) & set("/\\\0")
    if not plain or Path(name).name != name:
        raise StorageError(f"{folder} names {shown(name)} as a folder inside it: it is damaged or not vaekit's")
    path = folder / name
    if path.is_symlink() and not path.resolve().is_relative_to(folder.resolve()):
        raise StorageError(f"{path} is a link that leads out of its folder: copy the files to where it lies")
    return path


def mismatches(expected: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> list[str]:
    """How tensors differ from those expected in name, shape or kind, in words."""
    problems = [f"{n} is missing" for n in expected if n not in tensors]
    problems += [f"{shown(n)[1:-1]} is not part of the model" for n in tensors if n not in expected]
    return problems + [
        f"{n} is {_kind(tensors[n])}, expected {_kind(t)}"
        for n, t in expected.items()
        if n in tensors and (tensors[n].shape != t.shape or tensors[n].is_floating_point() != t.is_floating_point())
    ]


def check_weights(expected: Mapping[str, Tensor], tensors: Mapping[str, Tensor], path: Path) -> None:
    """Raises StorageError where tensors differ from a model's in name, shape or kind."""
    problems = mismatches(expected, tensors)
    if problems:
        raise StorageError(f"{path} does not fit the model that config.json describes: {_few(problems)}")


def not_finite(tensors: Mapping[str, Tensor], constants: Mapping[str, Tensor]) -> list[str]:
    """The names of tensors that hold NaN, or an infinity that is not in the same place of their `constants`."""
    wrong = []
    for name, tensor in tensors.items():
        if not tensor.is_floating_point() or bool(tensor.isfinite().all()):
            continue
        before = constants.get(name)
        if before is None or not bool((tensor.isfinite() | (tensor.cpu() == before.cpu())).all()):
            wrong.append(name)
    return wrong


def load_weights(module: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Puts tensors into a module.

    Raises StorageError where names, shapes or types differ, or where one holds NaN or an infinity that the new module
    has not (a mask may hold infinities).
    """
    expected = module.state_dict()
    check_weights(expected, tensors, path)
    if wrong := not_finite(tensors, expected):
        raise StorageError(f"{path} holds NaN or infinity in {_few(wrong)}: it is damaged, or its training diverged")
    module.load_state_dict(dict(tensors))


def _kind(t: Tensor) -> str:
    return f"{str(t.dtype).removeprefix('torch.')} {tuple(t.shape)}"


def _few(items: Iterable[str], count: int = 3) -> str:
    items = list(items)
    return "; ".join(items[:count]) + (f"; and {len(items) - count} more" if len(items) > count else "")


def check_format(config: Mapping[str, Any], path: Path) -> None:
    version = config.get("format")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise StorageError(f"{path} states no format version: it is not a file of vaekit's")
    if version > FORMAT:
        raise StorageError(f"{path} has format {version}, this vaekit reads up to {FORMAT}: install a newer vaekit")
