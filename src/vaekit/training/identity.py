"""What a training is, so that a checkpoint is continued by the same training only."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ..data.rows import AbstractRows, StoredRows
from ..printable import printable
from ..storage import describe, json_digest, tensor_digest
from ..typecheck import shown
from .learner import Ensemble, Learner
from .loop import Training

log = logging.getLogger("vaekit")

SAMPLED = 64
"""Rows of a stored source that its digest is taken of, evenly spread, next to its shape and size."""
MOVABLE = ("modified",)
"""What may differ without being refused: a copied file has another time."""
Identity = dict[str, Any]


def identity(training: Training, held: AbstractRows | None, settings: Mapping[str, Any] | None = None) -> Identity:
    """What a training is, as JSON: rows, settings, seeds and parts.

    The number of epochs, patience, threads, compiling, the device and the number of processes are not part of it:
    these may change on resume. A private training is calibrated to its epochs, so they are part of it there.
    settings: of the estimator, those that no part shows.
    """
    learner = training.learner.pattern if isinstance(training.learner, Ensemble) else training.learner
    own = {
        "training_rows": rows_identity(training.rows),
        "held_out_rows": None if held is None else rows_identity(held),
        "rows": len(training.rows),
        "batch_size": training.batch_size,
        "seeds": list(training.seeds),
        "adam": {n: list(v) if isinstance(v, tuple) else v for n, v in asdict(training.step.adam).items()},
        "precision": str(learner.model.low_precision),
        "model": describe(learner.model),
        "objective": describe(learner.objective, "objective"),
        "frozen": _frozen(training.learner),
        **(settings or {}),
    }
    privacy = getattr(training, "privacy", None)
    return own if privacy is None else {**own, "privacy": describe(privacy), "epochs": training.epochs}


def rows_identity(rows: AbstractRows) -> Identity:
    """Digests of rows: of their content in memory, of shape, size and a sample where they are stored."""
    spec = json_digest(rows.spec.to_dict())
    beside = {n: tensor_digest(t) for n in ("weight", "context", "label") if (t := getattr(rows, n, None)) is not None}
    content = _stored(rows) if isinstance(rows, StoredRows) else {"content": tensor_digest(rows.x)}
    return {"shape": list(rows.x.shape), "spec": spec, **content, **beside}


def _stored(rows: StoredRows) -> Identity:
    count = len(rows)
    sample = np.unique(np.linspace(0, count - 1, min(count, SAMPLED)).astype(np.int64))
    index = rows.x.index
    chosen = "all" if index is None else hashlib.sha256(np.ascontiguousarray(index)).hexdigest()
    found = {"chosen": chosen, "sample": tensor_digest(rows.x.tensor(sample))}
    path = Path(rows.x.store.name)
    if rows.x.store.name and path.is_file():
        found |= {"size": path.stat().st_size, "modified": path.stat().st_mtime_ns}
    return found


def _frozen(learner: Learner | Ensemble) -> str | None:
    """The digest of the weights that are not trained, such as the networks around a prior that is fitted later."""
    held = {n: tensor_digest(p) for n, p in learner.named_parameters() if not p.requires_grad}
    return json_digest(held) if held else None


def digest_of(own: Identity) -> str:
    """The digest of what may not differ."""
    return json_digest(_fixed(own))


def _fixed(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _fixed(v) for name, v in value.items() if name not in MOVABLE}
    return [_fixed(v) for v in value] if isinstance(value, list) else value


def check_same(then: Identity, now: Identity, path: Path) -> None:
    """Raises ValueError, saying what differs, unless a checkpoint was taken by the same training."""
    found = _differences(then, now)
    for name in [n for n in found if n.rpartition(".")[2] in MOVABLE]:
        log.warning("%s changed on disk since the checkpoint; its size and a sample are the same", name)
        del found[name]
    if not found:
        return
    rows = [n for n in ("training_rows", "held_out_rows") if any(d.split(".")[0] == n for d in found)]
    others = [
        f"{n}={shown(a)}, this run has {n}={shown(b)}" for n, (a, b) in found.items() if n.split(".")[0] not in rows
    ]
    told = [f"other {name.replace('_', ' ')}" for name in rows]
    raise ValueError(
        f"{printable(path)}: the checkpoint was taken with {'; with '.join([*others[:3], *told])}: resume with what it "
        "began with, or begin a new run"
    )


def _differences(then: Any, now: Any, name: str = "") -> dict[str, tuple[Any, Any]]:
    """Where two JSON values differ, by the path of each place."""
    if isinstance(then, dict) and isinstance(now, dict):
        return {
            path: pair
            for key in dict.fromkeys((*now, *then))
            for path, pair in _differences(then.get(key), now.get(key), f"{name}.{key}".lstrip(".")).items()
        }
    if isinstance(then, list) and isinstance(now, list) and len(then) == len(now):
        return {
            p: pair for i, (a, b) in enumerate(zip(then, now)) for p, pair in _differences(a, b, f"{name}.{i}").items()
        }
    return {} if then == now else {name: (then, now)}
