"""Fitted models into their folders and out of them."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .. import __version__, storage
from ..core import LocalDraws, importing, public
from ..data.frames import as_python
from ..data.names import name_from_json, name_to_json, plain_name
from ..data.spec import DataSpec
from ..data.trained_rows import TrainedRows
from ..data.validation import check_spec
from ..fitted import FittedVAE
from ..latents import ExemplarPrior, RiemannianHamiltonian, VampPrior
from ..locking import locked
from ..own_modules import assigned, copied
from ..paths import expanded
from ..printable import printable, printable_line
from ..recipes import RECIPES, Recipe
from ..storage import StorageError
from ..training import Learner
from ..training.config import VAEConfig
from ..training.history import ENDED, TrainingResult, timeless
from ..training.learner import COUNTERS
from ..typecheck import check_arguments, fits, shown

log = logging.getLogger("vaekit")

DETECTOR, DETECTOR_FILE = "detector", "detector.safetensors"
"""The section of `config.json` that makes a folder that of an outlier detector, and the file of its scores."""
TRAINED_ROWS = "estimator.trained_rows"
"""The name that fingerprints of the training rows have among the weights."""
MODEL_FILES = ("config.json", "model.safetensors", "history.jsonl")
SECTIONS = ("estimator", "data", "model", "objective")
"""The parts of `config.json` that are objects of their own."""
KEEP_ROWS = (VampPrior, ExemplarPrior, RiemannianHamiltonian)
"""Parts whose weights begin as training rows, or are such."""
EXTRA = 2**26
"""Numbers that a model may hold next to its weights: constants that are computed again, such as masks."""


def settings_of(config: VAEConfig) -> dict[str, Any]:
    """Settings as JSON."""
    given: dict[str, Any] = {}
    for name, value in config.settings().items():
        if isinstance(value, Recipe):
            given[name] = {"recipe": value.get_params()}
        elif name == "validation" and not isinstance(value, (int, float, type(None))):
            given[name] = None  # rows are data, not settings
        elif name == "columns" and value is not None:
            given[name] = [
                [
                    name_to_json(plain_name(column)),
                    said if isinstance(said, str) else [as_python(level) for level in said],
                ]
                for column, said in value.items()
            ]
        else:
            given[name] = storage.describe(value, name)
    return given


def describe(fitted: FittedVAE, learner: Learner) -> dict[str, Any]:
    """What `config.json` holds: the format and versions, the estimator's settings, the data's spec, the parts."""
    return {
        "format": storage.FORMAT,
        "vaekit": __version__,
        "torch": torch.__version__,
        "estimator": settings_of(fitted.config),
        "data": fitted.spec.to_dict(),
        "model": storage.describe(learner.model),
        "objective": storage.describe(learner.objective, "objective"),
    }


@public
def save(fitted: FittedVAE, path: str | Path, *, fingerprints: bool = True) -> None:
    """Write the model into a folder.

    Writes `config.json`, `model.safetensors` and `history.jsonl`. With several seeds, each other model is written into
    a folder of its own, `seed-1`, ... A model or an outlier detector that was saved there before is replaced. Warns if
    a model that was trained with `privacy` keeps training rows.

    Parameters
    ----------
    path : str or Path
        The folder. ``~`` is expanded.
    fingerprints : bool, default=True
        Whether to save fingerprints of training rows (32 bits each, at most 16,384), by which `evaluate` and `health`
        recognise rows that the model was trained on. Who has the files can test with them whether a row that they know
        was trained on. A model that was trained with `privacy` has none.

    Raises
    ------
    NotFittedError
        If the model has not been fitted.
    ValueError
        If weights are not finite.
    FileExistsError
        If the folder holds a sweep, or another process writes to it.

    See Also
    --------
    vaekit.load
    """
    write(fitted, path, fingerprints=fingerprints)


def write(
    fitted: FittedVAE,
    path: str | Path,
    more: Callable[[Path], Mapping[str, Any]] = lambda path: {},
    *,
    fingerprints: bool = True,
) -> None:
    """`save`, with more files.

    more: writes them into the folder and returns further sections of `config.json`, by name.
    """
    path, learner = expanded(path), Learner(fitted.module, fitted.objective)
    if (path / "sweep.json").exists():
        raise FileExistsError(f"{printable(path)} holds a sweep: save the model into another folder")
    description = describe(fitted, learner)
    weights = {n: t for n, t in learner.state_dict().items() if n not in COUNTERS}
    _check_saved(fitted, learner, description, weights)
    with locked(path):
        before = _members(path)
        sections = more(path)
        kept = _write(fitted, path, {**description, **sections}, weights, fingerprints)
        _remove_stale(path, before - kept, DETECTOR in sections)


def _members(path: Path) -> set[str]:
    """The folders of further seeds in a folder that was written before; none where it cannot be read."""
    try:
        found = storage.read_json(path / "config.json").get("members")
    except (OSError, StorageError):
        return set()
    return set(found) if fits(found, list[str]) else set()


def _remove_stale(path: Path, members: set[str], detector: bool) -> None:
    """Removes what an earlier `save` wrote and the new model does not have: no other file, and through no link."""
    if not detector:
        (path / DETECTOR_FILE).unlink(missing_ok=True)
    for name in members:
        home = path / name
        if not re.fullmatch(r"seed-\d+", name) or home.is_symlink() or not home.is_dir():
            continue
        for own in MODEL_FILES:
            (home / own).unlink(missing_ok=True)
        if not any(home.iterdir()):
            home.rmdir()


def _write(
    fitted: FittedVAE, path: Path, description: dict[str, Any], weights: dict[str, Tensor], fingerprints: bool
) -> set[str]:
    """Writes the files of a run; `config.json`, which names the digests of the others, comes last.

    Returns the names of the folders of further seeds.
    """
    said = {"ended": fitted.ended, "best_epoch": fitted.best_epoch, "epochs": len(fitted.history)}
    if fitted.epsilon is not None:
        said["epsilon"] = fitted.epsilon
    if fingerprints and fitted.trained_rows is not None:
        weights[TRAINED_ROWS] = fitted.trained_rows.to_tensor()
    storage.write_tensors(path / "model.safetensors", weights, said)  # no timings: equal runs give equal bytes
    storage.write_lines(path / "history.jsonl", fitted.history)
    digests = {
        "weights_sha256": storage.file_digest(path / "model.safetensors"),
        "history_sha256": storage.json_digest(timeless(fitted.history)),
    }
    others = {f"seed-{other.config.seed}": other for other in fitted.others}
    for name, other in others.items():
        write(other, storage.inside(path, name), fingerprints=fingerprints)
    listed: dict[str, Any] = {"members": list(others)} if others else {}
    if fitted.spec.schema is None and fitted.feature_names is not None:
        listed["feature_names"] = [str(name) for name in fitted.feature_names]
    storage.write_json(path / "config.json", storage.sealed({**description, **listed, **digests}))
    return set(others)


def _check_saved(fitted: FittedVAE, learner: Learner, description: dict[str, Any], weights: dict[str, Tensor]) -> None:
    """Warns of what a reader of the files should know; raises ValueError for what could not be loaded."""
    mine = [name for name in storage.part_types(description) if name.startswith("__main__.")]
    if mine:
        log.warning(
            "%s is defined in the program itself: to load this model elsewhere, move it into a module of its own",
            mine[0].removeprefix("__main__."),
        )
    part = next((m for m in learner.modules() if isinstance(m, KEEP_ROWS)), None)
    if fitted.config.privacy is not None and part is not None:
        log.warning(
            "%s keeps training rows, or what began as such, in the files of this model: privacy does not cover them",
            type(part).__name__,
        )
    wrong = [name for name, t in weights.items() if t.is_floating_point() and bool(t.isnan().any())]
    if wrong:
        raise ValueError(f"{wrong[0]} holds NaN: the training diverged; fit again with a lower learning rate")


def load_fitted(
    path: str | Path, *, device: str = "auto", verify: bool = True, **modules: nn.Module | list[nn.Module]
) -> FittedVAE:
    """The fitted model in a folder that `save` wrote. See `vaekit.load`, which documents the arguments."""
    path = _folder(path)
    config, weights, fitted = _read(path, verify)
    trained_rows = _trained_rows(weights, path)
    own = {part: config[part] for part in ("model", "objective")}
    given = assigned(storage.external_classes(list(own.values())), modules, path)
    source = path / "config.json"
    try:
        _check_shapes(config, weights, given, path)
        settings = VAEConfig(**{**_settings(config, copied(given)), "device": device})
        spec = DataSpec.from_dict(config["data"])
        check_spec(spec)
        trained = copied(given)
        with LocalDraws(0):
            learner = Learner(*(storage.rebuild(part, trained) for part in own.values()))
        _check_agreement(learner, spec)
    except StorageError as error:
        raise error if printable_line(path) in str(error) else StorageError(f"{source}: {error}") from error
    except Exception as error:  # constructors refuse wrong values in their own ways
        raise StorageError(f"{source} does not fit this version of vaekit: {_told(error)}") from error
    counters = {n: t for n, t in learner.state_dict().items() if n in COUNTERS}
    storage.load_weights(learner, {**weights, **counters}, path / "model.safetensors")
    homes = [storage.inside(path, name) for name in config.get("members") or []]
    return FittedVAE.of(
        learner.to(settings.torch_device()),
        spec,
        settings,
        _course(path, config, fitted, verify),
        trained_rows=trained_rows,
        feature_names=config.get("feature_names"),
        others=tuple(load_fitted(home, device=device, verify=verify, **modules) for home in homes),
    )


def _trained_rows(weights: dict[str, Tensor], path: Path) -> TrainedRows | None:
    """Takes the fingerprints of the training rows from the weights, where they are there."""
    if TRAINED_ROWS not in weights:
        return None
    try:
        return TrainedRows.from_tensor(weights.pop(TRAINED_ROWS))
    except ValueError as error:
        raise StorageError(f"{path / 'model.safetensors'}: {error}") from error


def _folder(path: str | Path) -> Path:
    path = expanded(path)
    if path.is_file():
        raise StorageError(f"{path} is a file: pass the folder of the run, {path.parent}")
    return path


def _read(path: Path, verify: bool) -> tuple[dict[str, Any], dict[str, Tensor], dict[str, Any]]:
    """The content of `config.json`, the weights, and what is said with them."""
    source = path / "config.json"
    try:
        config = storage.read_json(source)
        storage.check_format(config, source)
        _check_sections(config, source)
        if verify:
            storage.check_seal(config, source, "bring the file back, or pass verify=False if you edited it yourself")
        weights, fitted = storage.read_tensors(path / "model.safetensors", verify=False)
    except FileNotFoundError as error:
        missing = Path(error.filename).name if error.filename else "model.safetensors"
        hint = "; its training has not ended: resume it" if (path / "checkpoint").exists() else ""
        raise FileNotFoundError(f"{printable(path)} holds no fitted model ({missing} is not there){hint}") from error
    return config, weights, fitted


def _check_sections(config: dict[str, Any], source: Path) -> None:
    """Raises StorageError for a section, or a list of names, that is missing or of another type."""
    for name in SECTIONS:
        if not isinstance(config.get(name), dict):
            raise StorageError(f"{source} has no {name!r} section: it is damaged or not vaekit's")
    for name in ("members", "feature_names"):
        if not fits(config.get(name), list[str] | None):
            raise StorageError(f"{source} has {name} {shown(config[name])}, expected a list of names: it is damaged")


def _check_shapes(
    config: dict[str, Any], weights: Mapping[str, Tensor], given: dict[str, nn.Module], path: Path
) -> None:
    """Raises StorageError for a description that the weights do not fit, before memory is taken for it."""
    elements = sum(t.numel() for t in weights.values())
    for section in ("model", "objective", "estimator"):
        storage.check_sizes(config[section], elements)
    names = len(weights) + sum(1 for m in given.values() for _ in m.modules())
    with importing(), torch.device("meta"), storage.limited(2_000 + 30 * names):
        modules = copied(given)
        learner = Learner(*(storage.rebuild(config[part], modules) for part in ("model", "objective")))
        settings = _settings(config, copied(given))
    expected = {n: t for n, t in learner.state_dict().items() if n not in COUNTERS}
    storage.check_weights(expected, weights, path / "model.safetensors")
    parts = [learner, *(v for v in settings.values() if isinstance(v, nn.Module))]
    held = sum(t.numel() for part in parts for t in _tensors(part))
    if held > 16 * elements + EXTRA:
        raise StorageError(f"the parts hold {held:,} numbers, the weights {elements:,}: it is damaged or not vaekit's")


def _tensors(module: nn.Module) -> Iterator[Tensor]:
    yield from (t for t in (*module.parameters(), *module.buffers()) if not nn.parameter.is_lazy(t))


def _settings(config: dict[str, Any], modules: dict[str, nn.Module]) -> dict[str, Any]:
    """The estimator's settings, its parts rebuilt. Raises TypeError for a value of another type."""
    settings = dict(config["estimator"])
    recipe = settings.pop("recipe", None)
    settings = {n: storage.rebuild(v, modules) if isinstance(v, dict) else v for n, v in settings.items()}
    if isinstance(recipe, dict):
        own = recipe.get("recipe")
        if not isinstance(own, dict) or own.get("name") not in RECIPES:
            raise ValueError(f"recipe {shown(own)}: expected a recipe by its name and settings")
        check_arguments(own["name"], own, RECIPES[own["name"]].builder)
        recipe = Recipe(**own)
    if not fits(settings.get("columns"), list[list] | None):
        raise TypeError(f"columns={shown(settings['columns'])}: expected pairs of a name and what the column is")
    if settings.get("columns") is not None:
        settings["columns"] = {name_from_json(name): said for name, said in settings["columns"]}
    settings["recipe"] = recipe
    check_arguments("VAE", settings, VAEConfig)
    return settings


def _check_agreement(learner: Learner, spec: DataSpec) -> None:
    """Raises ValueError where the data's rows are not those that the model explains."""
    shape = learner.model.likelihood.shape
    if shape is not None and tuple(shape) != spec.model_shape:
        raise ValueError(f"the model explains rows of {tuple(shape)}, the data have rows of {spec.model_shape}")


def _course(path: Path, config: dict[str, Any], fitted: dict[str, Any], verify: bool) -> TrainingResult:
    """How the training went, from the weights' metadata and `history.jsonl`."""
    weights, lines = path / "model.safetensors", path / "history.jsonl"
    if verify and config.get("weights_sha256") != storage.file_digest(weights):
        raise StorageError(f"{weights} is not the file that config.json was saved with: it was changed or replaced")
    history = storage.read_lines(lines)
    if verify and lines.exists() and config.get("history_sha256") != storage.json_digest(timeless(history)):
        raise StorageError(
            f"{lines} is not the file that config.json was saved with: it was changed, or a later training in this "
            "folder has not ended; resume that, or remove the file to load the model without its history"
        )
    ended, best, spent = fitted.get("ended", "finished"), fitted.get("best_epoch", 0), fitted.get("epsilon")
    if ended not in ENDED or not fits(best, int) or not fits(spent, float | None):
        raise StorageError(f"{weights} says {shown(fitted)} of its training: it is damaged or not vaekit's")
    for record in history:
        if not all(fits(v, float | str | None) for v in record.values()):
            raise StorageError(f"{lines} has a record {shown(record)}: it is damaged; remove it")
    return TrainingResult(history, best_epoch=best, ended=ended, spent=spent)


def _told(error: Exception) -> str:
    """An error in a line of bounded length, with its type where that says more."""
    text = " ".join(str(error).split())
    text = text if len(text) <= 300 else f"{text[:300]}..."
    return text if isinstance(error, (TypeError, ValueError)) and text else f"{type(error).__name__}: {text}"
