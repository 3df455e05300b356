"""The rows of a task: files that `kit.export` writes once, so that every environment reads the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def rows(task: dict, part: str = "train") -> np.ndarray:
    """Rows of the task's data, repeated in a shuffled order where it asks for more than there are."""
    x = np.load(Path(task["folder"]) / f"{task['data']}-{part}.npy")
    if part == "test":
        return x[: task.get("test_rows", len(x))]
    count = task["rows"]
    return x[:count] if count <= len(x) else x[np.random.default_rng(0).permutation(count) % len(x)]


def unit(x: np.ndarray) -> np.ndarray:
    """Float32 in [0, 1]; grey levels are divided by 255."""
    scaled = x.astype(np.float32)
    scaled /= 255 if x.max() > 1 else 1
    return scaled


def widths(task: dict) -> tuple[list[int], list[int]]:
    """Widths of a dense encoder (both heads as one layer) and of its mirror image, the decoder."""
    cells, hidden, latent = task["cells"], task["hidden"], task["latent"]
    return [cells, *hidden, 2 * latent], [latent, *reversed(hidden), cells]
