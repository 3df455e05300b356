"""Compare the numbers of every recipe between two commits, bit for bit, on one thread.

    python benchmarks/equality.py COMMIT            # the working tree against a commit
    python benchmarks/equality.py COMMIT --recipes vae table

For each recipe it trains a small model from a fixed seed, saves it, loads it, and compares digests of the losses, the
weights, the codes, the samples and the scores. Names may differ between the commits; numbers may not. The exit status
is 1 if any recipe differs.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
SETTINGS = {"latent_dim": 2, "epochs": 2, "batch_size": 50, "validation": 0.25, "threads": 1, "compile": False}


def digest(arrays: Iterable[Any]) -> str:
    """A digest of the values, shapes and types of arrays, in their order."""
    total = hashlib.sha256()
    for array in arrays:
        array = np.ascontiguousarray(array)
        total.update(f"{array.dtype}{array.shape}".encode())
        total.update(array.tobytes())
    return total.hexdigest()[:16]


def rows(name: str) -> tuple[Any, Any]:
    """Rows and context for a recipe."""
    import vaekit as vk

    generator = np.random.default_rng(0)
    if name == "sentence":
        x: Any = generator.integers(0, 9, (100, 12))
    elif name == "table":
        fields = [("real", float), ("count", int), ("level", "U1")]
        x = np.array([(generator.normal(), generator.integers(9), "abc"[i % 3]) for i in range(100)], dtype=fields)
    else:
        x = vk.datasets.mnist()[0][:100]
    return x, np.arange(len(x)) % 3 if vk.recipes.RECIPES[name].needs_context else None


def as_columns(rows: Any) -> list[Any]:
    """A table or an array as arrays of numbers or words."""
    names = getattr(getattr(rows, "dtype", None), "names", None)
    return [rows] if names is None else [rows[n].astype("U") if rows[n].dtype == object else rows[n] for n in names]


def numbers(name: str) -> dict[str, str]:
    """Digests of what a recipe gives."""
    import vaekit as vk

    x, context = rows(name)
    some = None if context is None else context[:5]
    with tempfile.TemporaryDirectory() as folder:
        fitted = vk.VAE(recipe=name, **SETTINGS).fit(x, context=context)
        fitted.save(folder)
        vae = vk.load(folder)
    losses = [v for record in fitted.history_ for n, v in sorted(record.items()) if "second" not in n]
    return {
        "losses": digest(np.array([v for v in losses if isinstance(v, (int, float))], dtype=float)),
        "weights": digest(t.cpu().contiguous().numpy() for t in vae.module_.state_dict().values()),
        "codes": digest([vae.transform(x[:5], some)]),
        "samples": digest(as_columns(vae.sample(5, 1, context=some))),
        "scores": digest([vae.score_samples(x[:5], 3, 1, context=some)]),
    }


def record(recipes: list[str], path: Path) -> None:
    """Write the digests of recipes, or of what they raise, into a JSON file."""
    import torch

    import vaekit as vk

    torch.set_num_threads(1)
    found: dict[str, Any] = {}
    for name in recipes or sorted(vk.recipes.RECIPES):
        start = time.process_time()
        try:
            found[name] = numbers(name)
        except Exception as error:
            found[name] = {"raised": f"{type(error).__name__}: {error}"}
        print(f"{name:24} {time.process_time() - start:6.1f} s", file=sys.stderr, flush=True)
    path.write_text(json.dumps(found, indent=1))


def run(source: Path, recipes: list[str], out: Path) -> dict[str, Any]:
    """The digests that the package in a folder gives, in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(source / "src"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(Path(__file__).resolve()), "--record", str(out), "--recipes", *recipes]
    subprocess.run(command, check=True, env=environment)
    return json.loads(out.read_text())


def compare(before: dict[str, Any], after: dict[str, Any]) -> int:
    """Print what differs; the number of recipes that do."""
    different = 0
    for name in sorted({*before, *after}):
        a, b = before.get(name, {}), after.get(name, {})
        wrong = [what for what in sorted({*a, *b}) if a.get(what) != b.get(what)]
        if wrong or "raised" in a:
            different += 1
            print(f"{name}: {', '.join(wrong)} {a.get('raised', '')} {b.get('raised', '')}".rstrip())
    print(f"{len({*before, *after}) - different} recipes equal, {different} differ or raise")
    return different


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("commit", nargs="?", help="the commit to compare the working tree with")
    parser.add_argument("--recipes", nargs="*", default=[], help="some recipes only")
    parser.add_argument("--record", type=Path, help="only write the digests of the importable package into this file")
    given = parser.parse_args()
    if given.record is not None:
        record(given.recipes, given.record)
        return 0
    if given.commit is None:
        parser.error("expected a commit to compare with")
    with tempfile.TemporaryDirectory() as folder:
        there = Path(folder) / "before"
        subprocess.run(["git", "-C", str(ROOT), "worktree", "add", "--detach", str(there), given.commit], check=True)
        try:
            before = run(there, given.recipes, Path(folder) / "before.json")
            after = run(ROOT, given.recipes, Path(folder) / "after.json")
        finally:
            subprocess.run(["git", "-C", str(ROOT), "worktree", "remove", "--force", str(there)], check=True)
        return int(compare(before, after) > 0)


if __name__ == "__main__":
    sys.exit(main())
