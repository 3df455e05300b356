"""Saved estimators: a `VAE`, or an `OutlierDetector` with the VAE that it scores by."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import nn

from .. import storage
from ..core import public
from ..io.save_load import DETECTOR, DETECTOR_FILE, load_fitted
from ..paths import expanded
from ..storage import StorageError
from ..typecheck import check_arguments
from .outliers import OutlierDetector
from .vae import VAE


@public
def load(
    path: str | Path, *, device: str = "auto", verify: bool = True, **modules: nn.Module | list[nn.Module]
) -> VAE | OutlierDetector:
    """Load a fitted estimator from a folder written by ``save`` or ``fit(run=...)``.

    Nothing in the files is executed.

    Parameters
    ----------
    path : str or Path
        The folder.
    device : str, default="auto"
        Device of the model.
    verify : bool, default=True
        Whether the files must have the digests that they were saved with. Pass ``False`` for a ``config.json`` that was
        edited by hand; types, sizes and shapes are checked all the same.
    **modules : Module, list or dict
        Your own networks, of which the files hold only the weights, under the names by which they were passed to
        `VAE`: ``encoder=net``, a part that contains modules, a list of modules, or a dict by their saved path. Copies
        are used.

    Returns
    -------
    VAE or OutlierDetector
        The kind of estimator that was saved.

    Raises
    ------
    FileNotFoundError
        If the folder holds no fitted model.
    StorageError
        If files are damaged, foreign, changed or of a newer format, or name parts that are not defined here.
    """
    vae, path = VAE.of(load_fitted(path, device=device, verify=verify, **modules)), expanded(path)
    section = storage.read_json(path / "config.json").get(DETECTOR)
    if section is None:
        return vae
    try:
        return _restored(vae, section, path / DETECTOR_FILE, verify)
    except StorageError:
        raise
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise StorageError(
            f"{path / 'config.json'} describes a detector that does not fit this version of vaekit "
            f"({type(error).__name__}: {error})"
        ) from error


def _restored(vae: VAE, section: Mapping[str, Any], file: Path, verify: bool) -> OutlierDetector:
    check_arguments("OutlierDetector", section["settings"], OutlierDetector.__init__)
    detector = OutlierDetector(vae.__sklearn_clone__() if section["own_vae"] is True else None, **section["settings"])
    detector.check()
    threshold, entropy = (_number(section, name) for name in ("threshold", "entropy"))
    if threshold is None:
        raise ValueError("threshold=None: expected a number")
    scores = _scores(file, section["scores_sha256"] if verify else None)
    return detector.restore(vae, threshold, entropy, scores["decision_scores"], scores["calibration"])


def _number(section: Mapping[str, Any], name: str) -> float | None:
    value = section[name]
    if value is not None and (not isinstance(value, (int, float)) or isinstance(value, bool) or math.isnan(value)):
        raise ValueError(f"{name}={value!r}: expected a number")
    return value


def _scores(file: Path, digest: object) -> dict[str, NDArray]:
    """The scores in a file of this digest, None: of any.

    Raises StorageError for a file that is missing or changed, or holds anything else.
    """
    try:
        tensors, _ = storage.read_tensors(file)
    except FileNotFoundError:
        raise StorageError(f"{file} is missing: bring it back, or fit the detector again") from None
    if digest is not None and digest != storage.file_digest(file):
        raise StorageError(f"{file} is not the file that config.json was saved with: it was changed or replaced")
    for name in ("decision_scores", "calibration"):
        if name not in tensors or tensors[name].dim() != 1 or tensors[name].dtype != torch.float64:
            raise StorageError(f"{file} has no {name} (N,) in fp64: it is damaged or not vaekit's")
    return {name: t.numpy() for name, t in tensors.items()}
