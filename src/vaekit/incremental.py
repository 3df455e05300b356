"""Training in passes: `partial_fit` trains on the given rows once, from the weights of the last call."""

from __future__ import annotations

import copy
from typing import Any

from .reading import Reading

ALONE = {
    "seeds": "train the models one by one",
    "privacy": "the passes would spend more than the budget of one fit",
    "sharded": "pass sharded=False",
}
"""Settings that `partial_fit` refuses, and what to do."""
PASS = {"epochs": 1, "validation": 0, "patience": None, "warmup": 0, "schedule": "constant", "warm_start": True}
"""Settings of one pass, in place of the estimator's."""


def check_passes(vae: Reading) -> None:
    """Raise ValueError for settings that `partial_fit` does not support."""
    for name, fix in ALONE.items():
        if getattr(vae, name) not in ((None, 1) if name == "seeds" else (None, False)):
            raise ValueError(f"partial_fit with {name}={getattr(vae, name)!r} is not supported: {fix}")


def one_pass(vae: Any, x: object, y: object, context: object) -> None:
    """Train a VAE for one epoch on rows x and extend its history. A new seed for each pass gives it new noise."""
    check_passes(vae)
    before = vae.history_ if hasattr(vae, "module_") else []
    own = copy.copy(vae)
    vars(own).update(PASS, seed=vae.seed + len(before))
    own.fit(x, y, context=context)
    vars(vae).update({name: value for name, value in vars(own).items() if name.endswith("_")})
    vae.history_ = [*before, *({**record, "epoch": len(before) + record["epoch"]} for record in own.history_)]
