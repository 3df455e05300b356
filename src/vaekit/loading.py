"""Fitted models out of their folders."""

from __future__ import annotations

import copy
from pathlib import Path

from torch import nn

from . import storage
from .data.spec import DataSpec
from .estimator import VAE
from .networks import is_keras
from .recipes import Recipe
from .suggest import nearest
from .training import Learner


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
    modules = {name: m if is_keras(m) else copy.deepcopy(m) for name, m in modules.items()}
    settings = dict(config["estimator"])
    recipe = settings.get("recipe")
    try:
        if isinstance(recipe, dict) and "recipe" in recipe:
            settings["recipe"] = Recipe(**recipe["recipe"])
        vae = VAE(**{n: storage.rebuild(v, modules) if isinstance(v, dict) else v for n, v in settings.items()})
        model = storage.rebuild(config["model"], modules)
        objective = storage.rebuild(config["objective"], modules)
        spec = DataSpec.from_dict(config["data"])
        learner = Learner(model, objective)
    except (TypeError, AttributeError) as error:
        raise storage.StorageError(f"{path / 'config.json'} does not fit this version of vaekit: {error}") from error
    counters = {n: t for n, t in learner.state_dict().items() if n in ("step", "first_bad")}
    storage.load_weights(learner, {**weights, **counters}, path / "model.safetensors")
    vae.device = device
    vae._adopt(learner.to(vae._device()), spec)
    vae.history_, vae.ended_ = storage.read_lines(path / "history.jsonl"), fitted.get("ended", "finished")
    vae.best_epoch_ = fitted.get("best_epoch", 0)
    return vae
