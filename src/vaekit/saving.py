"""Fitted models into their folders and out of them."""

from __future__ import annotations

import copy
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from . import __version__, storage
from .core import LocalDraws, importing, public
from .data.frames import as_python
from .data.names import name_from_json, name_to_json, plain_name
from .data.spec import DataSpec
from .data.validation import check_spec
from .estimator import VAE
from .evaluation.trained_rows import TrainedRows
from .latents import ExemplarPrior, RiemannianHamiltonian, VampPrior
from .locking import locked
from .own_modules import assigned, copied
from .paths import expanded
from .printable import printable, printable_line
from .recipes import RECIPES, Recipe
from .storage import StorageError
from .training import Learner
from .training.history import ENDED, Course, timeless
from .training.learner import COUNTERS
from .typecheck import check_arguments, fits, shown

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


def settings_of(vae: VAE) -> dict[str, Any]:
    """An estimator's settings as JSON."""
    given: dict[str, Any] = {}
    for name, value in vae.get_params(deep=False).items():
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


def describe(vae: VAE, learner: Learner) -> dict[str, Any]:
    """What `config.json` holds: the format and versions, the estimator's settings, the data's spec, the parts."""
    return {
        "format": storage.FORMAT,
        "vaekit": __version__,
        "torch": torch.__version__,
        "estimator": settings_of(vae),
        "data": vae.spec_.to_dict(),
        "model": storage.describe(learner.model),
        "objective": storage.describe(learner.objective, "objective"),
    }


def save(
    vae: VAE,
    path: str | Path,
    more: Callable[[Path], Mapping[str, Any]] = lambda path: {},
    fingerprints: bool = True,
) -> None:
    """Write a fitted VAE as `config.json`, `model.safetensors` and `history.jsonl`.

    A model that was there is replaced: the files of a detector and the folders of seeds that the new model does not
    have are removed. With several seeds the first model is written this way, and each other model into a folder of its
    own, `seed-1`, ... Warns where a model that was trained with `privacy` keeps training rows.

    Parameters
    ----------
    vae : VAE
        The fitted estimator.
    path : str or Path
        The folder.
    more : callable
        Writes further files into the folder and returns further sections of `config.json`, by name.
    fingerprints : bool
        Whether to save the fingerprints of training rows.

    Raises
    ------
    ValueError
        If weights are not finite.
    FileExistsError
        If the folder holds a sweep, or another process writes to it.
    """
    path, learner = expanded(path), Learner(vae._fitted(), vae.objective_)
    if (path / "sweep.json").exists():
        raise FileExistsError(f"{printable(path)} holds a sweep: save the model into another folder")
    description = describe(vae, learner)
    weights = {n: t for n, t in learner.state_dict().items() if n not in COUNTERS}
    _check_saved(vae, learner, description, weights)
    with locked(path):
        before = _members(path)
        sections = more(path)
        kept = _write(vae, path, {**description, **sections}, weights, fingerprints)
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
    vae: VAE, path: Path, description: dict[str, Any], weights: dict[str, Tensor], fingerprints: bool
) -> set[str]:
    """Writes the files of a run; `config.json`, which names the digests of the others, comes last.

    Returns the names of the folders of further seeds.
    """
    fitted = {"ended": vae.ended_, "best_epoch": vae.best_epoch_, "epochs": len(vae.history_)}
    if vae.epsilon_ is not None:
        fitted["epsilon"] = vae.epsilon_
    if fingerprints and vae.trained_rows_ is not None:
        weights[TRAINED_ROWS] = vae.trained_rows_.to_tensor()
    storage.write_tensors(path / "model.safetensors", weights, fitted)  # no timings: equal runs give equal bytes
    storage.write_lines(path / "history.jsonl", vae.history_)
    digests = {
        "weights_sha256": storage.file_digest(path / "model.safetensors"),
        "history_sha256": storage.json_digest(timeless(vae.history_)),
    }
    members = {f"seed-{member.seed}": member for member in vae.__dict__.get("members_", [])[1:]}
    for name, member in members.items():
        save(member, storage.inside(path, name), fingerprints=fingerprints)
    listed = {"members": list(members)} if members else {}
    if vae.spec_.schema is None and hasattr(vae, "feature_names_in_"):
        listed["feature_names"] = vae.feature_names_in_.tolist()
    storage.write_json(path / "config.json", storage.sealed({**description, **listed, **digests}))
    return set(members)


def _check_saved(vae: VAE, learner: Learner, description: dict[str, Any], weights: dict[str, Tensor]) -> None:
    """Warns of what a reader of the files should know; raises ValueError for what could not be loaded."""
    mine = [name for name in storage.part_types(description) if name.startswith("__main__.")]
    if mine:
        log.warning(
            "%s is defined in the program itself: to load this model elsewhere, move it into a module of its own",
            mine[0].removeprefix("__main__."),
        )
    if vae.privacy is not None and (part := next((m for m in learner.modules() if isinstance(m, KEEP_ROWS)), None)):
        log.warning(
            "%s keeps training rows, or what began as such, in the files of this model: privacy does not cover them",
            type(part).__name__,
        )
    wrong = [name for name, t in weights.items() if t.is_floating_point() and bool(t.isnan().any())]
    if wrong:
        raise ValueError(f"{wrong[0]} holds NaN: the training diverged; fit again with a lower learning rate")


@public
def load(path: str | Path, *, device: str = "auto", verify: bool = True, **modules: nn.Module | list[nn.Module]) -> VAE:
    """The fitted VAE in a folder written by `save` or `fit(run=...)`.

    Parameters
    ----------
    path : str or Path
        The folder. ``~`` is expanded.
    device : str, default="auto"
        Device of the loaded model.
    verify : bool, default=True
        Whether the files must have the digests that they were saved with. Pass ``False`` for a ``config.json`` that
        was edited by hand; types, sizes and shapes are checked all the same.
    **modules : torch.nn.Module, list or dict
        Your own networks, of which the files hold the weights only. Pass what was passed to `VAE`, by the same name:
        a module (``encoder=net``), or a part that contains modules (``latent=Ladder([...])``). Several modules under
        one name may also be given as a list in the order of the description, or as a dict by their saved path. Copies
        are used.

    Returns
    -------
    VAE
        The fitted estimator, with `members_` where it was trained with several seeds.

    Raises
    ------
    FileNotFoundError
        If the folder holds no fitted model.
    StorageError
        If a file is damaged, foreign, changed, of a newer format, or names parts that are not defined here. Nothing
        in the files is executed, and memory is taken only after the shapes were compared.
    """
    path = _folder(path)
    config, weights, fitted = _read(path, verify)
    trained_rows = _trained_rows(weights, path)
    own = {part: config[part] for part in ("model", "objective")}
    given = assigned(storage.external_classes(list(own.values())), modules, path)
    source = path / "config.json"
    try:
        _check_shapes(config, weights, given, path)
        vae, spec = VAE(**_settings(config, copied(given))), DataSpec.from_dict(config["data"])
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
    vae.device = device
    vae._adopt(learner.to(vae._device()), spec, _course(path, config, fitted, verify))
    vae.trained_rows_ = trained_rows
    vae._name(config.get("feature_names"))
    if config.get("members"):
        first = copy.copy(vae)
        first.seeds = None
        homes = [storage.inside(path, name) for name in config["members"]]
        vae.members_ = [first, *(load(home, device=device, verify=verify, **modules) for home in homes)]
    return vae


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
    check_arguments("VAE", settings, VAE.__init__)
    return settings


def _check_agreement(learner: Learner, spec: DataSpec) -> None:
    """Raises ValueError where the data's rows are not those that the model explains."""
    shape = learner.model.likelihood.shape
    if shape is not None and tuple(shape) != spec.model_shape:
        raise ValueError(f"the model explains rows of {tuple(shape)}, the data have rows of {spec.model_shape}")


def _course(path: Path, config: dict[str, Any], fitted: dict[str, Any], verify: bool) -> Course:
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
    return Course(history, best_epoch=best, ended=ended, spent=spent)


def _told(error: Exception) -> str:
    """An error in a line of bounded length, with its type where that says more."""
    text = " ".join(str(error).split())
    text = text if len(text) <= 300 else f"{text[:300]}..."
    return text if isinstance(error, (TypeError, ValueError)) and text else f"{type(error).__name__}: {text}"
