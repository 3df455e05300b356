"""Saved estimators: a `VAE`, or an `OutlierDetector` with the VAE that it scores by."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from . import saving, storage
from .estimator import VAE
from .outliers import OutlierDetector
from .paths import expanded
from .saving import DETECTOR, DETECTOR_FILE
from .storage import StorageError
from .typecheck import check_arguments


def save_detector(detector: OutlierDetector, path: str | Path, fingerprints: bool = True) -> None:
    """Write a fitted detector: the files of its VAE, its scores, and a section of `config.json`."""
    saving.save(detector.vae_, path, partial(_write_scores, detector), fingerprints)


def _write_scores(detector: OutlierDetector, path: Path) -> dict[str, Any]:
    """Writes the scores of the rows of fit; the section of `config.json` that goes with them."""
    scores = {"decision_scores": detector.decision_scores_, "calibration": detector.calibration_}
    file = path / DETECTOR_FILE
    storage.write_tensors(file, {n: torch.from_numpy(np.array(v, np.float64)) for n, v in scores.items()})
    settings = {n: storage.describe(v, n) for n, v in detector.get_params(deep=False).items() if n != "vae"}
    section = {
        "settings": settings,
        "own_vae": detector.vae is not None,
        "threshold": detector.threshold_,
        "entropy": detector.entropy_,
        "scores_sha256": storage.file_digest(file),
    }
    return {DETECTOR: section}


def load(path: str | Path, **settings: Any) -> VAE | OutlierDetector:
    """Load a fitted estimator from a folder written by ``save`` or ``fit(run=...)``.

    Nothing in the files is executed.

    Parameters
    ----------
    path : str or Path
        The folder.
    **settings
        ``device="auto"``: device of the model. ``verify=True``: whether the files must have the digests that they were
        saved with; pass ``False`` for a ``config.json`` that was edited by hand. All others are your own networks, of
        which the files hold only the weights, under the names by which they were passed to `VAE`: ``encoder=net``, a
        part that contains modules, a list of modules, or a dict by their saved path. Copies are used.

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
    vae, path = saving.load(path, **settings), expanded(path)
    section = storage.read_json(path / "config.json").get(DETECTOR)
    if section is None:
        return vae
    try:
        return _restored(vae, section, path / DETECTOR_FILE, settings.get("verify", True))
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
