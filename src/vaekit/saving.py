"""Fitted models into their folders and out of them."""

from __future__ import annotations

import copy
import logging
from pathlib import Path
from typing import Any

import torch
from torch import nn

from . import __version__, storage
from .core import LocalDraws, isolate, trainable_copy
from .data.frames import as_python
from .data.names import name_from_json, name_to_json, plain_name
from .data.spec import DataSpec
from .estimator import VAE
from .networks import is_keras
from .recipes import Recipe
from .suggest import nearest
from .training import Learner
from .training.history import Course

log = logging.getLogger("vaekit")

COUNTERS = ("step", "first_bad")
"""What a learner counts while it trains: not part of a fitted model."""


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


def save(vae: VAE, path: str | Path) -> None:
    """Writes a fitted VAE as `config.json`, `model.safetensors` and `history.jsonl`; what was there is replaced.

    Of several seeds the first one's model is written so, the others' each into a folder of its own, `seed-1`, ...
    """
    path, learner = Path(path), Learner(vae._fitted(), vae.objective_)
    description = describe(vae, learner)
    mine = [name for name in storage.part_types(description) if name.startswith("__main__.")]
    if mine:
        log.warning(
            "%s is defined in the program itself: to load this model elsewhere, move it into a module of its own",
            mine[0].removeprefix("__main__."),
        )
    fitted = {"ended": vae.ended_, "best_epoch": vae.best_epoch_, "epochs": len(vae.history_)}
    if vae.epsilon_ is not None:
        fitted["epsilon"] = vae.epsilon_
    weights = {n: t for n, t in learner.state_dict().items() if n not in COUNTERS}
    storage.write_tensors(path / "model.safetensors", weights, fitted)  # no timings: equal runs give equal bytes
    storage.write_lines(path / "history.jsonl", vae.history_)
    digest = storage.file_digest(path / "model.safetensors")
    members = {f"seed-{member.seed}": member for member in vae.__dict__.get("members_", [])[1:]}
    for name, member in members.items():
        save(member, path / name)
    listed = {"members": list(members)} if members else {}
    if vae.spec_.schema is None and hasattr(vae, "feature_names_in_"):
        listed["feature_names"] = vae.feature_names_in_.tolist()
    storage.write_json(path / "config.json", {**description, **listed, "weights_sha256": digest})


@isolate
def load(path: str | Path, *, device: str = "auto", **modules: nn.Module) -> VAE:
    """The fitted VAE in a folder written by `save` or `fit(run=...)`.

    modules: the user's own networks by name (`encoder=`, `decoder=`), of which the file holds the weights only.
    Raises FileNotFoundError where there is none, StorageError for files that are damaged, foreign or of a newer
    format, or that name parts which are not defined.
    """
    path = Path(path)
    try:
        config = storage.read_json(path / "config.json")
        storage.check_format(config, path / "config.json")
        weights, fitted = storage.read_tensors(path / "model.safetensors")
    except FileNotFoundError as error:
        missing = Path(error.filename or "model.safetensors").name if error.filename else "model.safetensors"
        hint = "; its training has not ended: resume it" if (path / "checkpoint").exists() else ""
        raise FileNotFoundError(f"{path} holds no fitted model ({missing} is not there){hint}") from error
    for name in ("estimator", "data", "model", "objective"):
        if not isinstance(config.get(name), dict):
            raise storage.StorageError(f"{path / 'config.json'} has no {name!r} section: it is damaged or not vaekit's")
    held = storage.external_names([config["model"], config["objective"]])
    own = held - set(modules)
    for name in set(modules) - held:
        raise TypeError(f"{path} holds no module of your own named {name!r}{nearest(name, held)}")
    if own:
        raise storage.StorageError(
            f"{path} holds only the weights of your own modules: pass them in again, "
            f"load(path, {', '.join(f'{name}=...' for name in sorted(own))})"
        )
    # Copies, as in fit: what was passed in is left as it is (a Keras model is only read).
    given, modules = modules, {name: m if is_keras(m) else trainable_copy(m) for name, m in modules.items()}
    settings = dict(config["estimator"])
    recipe = settings.get("recipe")
    try:
        if isinstance(recipe, dict) and "recipe" in recipe:
            settings["recipe"] = Recipe(**recipe["recipe"])
        vae = VAE(**{n: storage.rebuild(v, modules) if isinstance(v, dict) else v for n, v in settings.items()})
        vae.columns = None if vae.columns is None else {name_from_json(name): said for name, said in vae.columns}
        with LocalDraws(0):
            model = storage.rebuild(config["model"], modules)
            objective = storage.rebuild(config["objective"], modules)
        spec = DataSpec.from_dict(config["data"])
        learner = Learner(model, objective)
    except (TypeError, AttributeError) as error:
        raise storage.StorageError(f"{path / 'config.json'} does not fit this version of vaekit: {error}") from error
    counters = {n: t for n, t in learner.state_dict().items() if n in COUNTERS}
    storage.load_weights(learner, {**weights, **counters}, path / "model.safetensors")
    if config.get("weights_sha256") != storage.file_digest(path / "model.safetensors"):
        raise storage.StorageError(
            f"{path / 'model.safetensors'} is not the file that config.json was saved with: it was changed or replaced"
        )
    vae.device = device
    history, ended = storage.read_lines(path / "history.jsonl"), fitted.get("ended", "finished")
    course = Course(history, best_epoch=fitted.get("best_epoch", 0), ended=ended, spent=fitted.get("epsilon"))
    vae._adopt(learner.to(vae._device()), spec, course)
    vae._name(config.get("feature_names"))
    if config.get("members"):
        first = copy.copy(vae)
        first.seeds = None
        vae.members_ = [first, *(load(_inside(path, name), device=device, **given) for name in config["members"])]
    return vae


def _inside(path: Path, name: object) -> Path:
    """A folder in this one. Raises StorageError for a name that leads elsewhere."""
    if not isinstance(name, str) or Path(name).name != name:
        raise storage.StorageError(f"{path / 'config.json'} names {name!r} as a member: it is damaged or not vaekit's")
    return path / name
