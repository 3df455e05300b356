"""vaekit on a CUDA device, in a few minutes and one process: `PYTHONPATH=src python benchmarks/gpu.py`.

Needs torch, numpy and safetensors. Measures the classic model over 50 epochs, its step beside a CUDA graph of its
matrix products alone, 64 models at once beside one, and the convolutional model in fp32 and bf16; writes
benchmarks/results/gpu-DEVICE.json.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import measure
import numpy as np
import torch
from contenders import floors, kit
from works import CONV, MLP

import vaekit as vk

RESULTS = Path(__file__).parent / "results"


class Marks(kit.Marks):
    """Takes the time when an epoch's figures have been read, which waits for the device; `seconds` does not."""

    def epoch(self, training: object, record: dict) -> None:
        self.clock.step()
        self.clock.epoch()


def trained(name: str, x: np.ndarray, task: dict, **settings) -> dict:
    clock = measure.Clock(time.time())
    torch.cuda.reset_peak_memory_stats()
    try:
        kit.estimator(task, device="cuda", **settings).fit(x, display=Marks(clock))
    except measure.Skipped as reason:
        print(f"{name}: {reason}", flush=True)
        return {"skipped": str(reason)}
    figures = clock.figures(-(-len(x) // task["batch"])) | {"gpu_peak_mb": torch.cuda.max_memory_allocated() / 1e6}
    print(f"{name}: {figures['epoch']:.3f} s/epoch, {figures['step_ms']:.3f} ms/step", flush=True)
    return figures


@torch.no_grad()
def replayed(products: floors.Products, times: int = 2_000) -> float:
    """Milliseconds that a CUDA graph of the products takes."""
    floors.run(products)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        floors.run(products)
    graph.replay()
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    for _ in range(times):
        graph.replay()
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end) / times


def floor(name: str, task: dict) -> dict:
    figures = {"step_ms": replayed(floors.mlp(task, device="cuda"))}
    print(f"{name}: {figures['step_ms']:.3f} ms/step", flush=True)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=50, help="of the classic model")
    parser.add_argument("--members", type=int, default=64, help="models at once")
    args = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit(f"torch {torch.__version__} sees no CUDA device here: nothing is measured")
    digits = vk.datasets.mnist()[0]
    shapes = vk.datasets.shapes(np.random.default_rng(0).choice(737_280, 12_800, replace=False))[0]
    many = {**MLP, "members": args.members}
    trained("warm-up", digits, {**MLP, "epochs": 1})
    figures = {
        "classic": trained("classic", digits, {**MLP, "epochs": args.epochs}),
        "classic, compile=False": trained("classic, compile=False", digits, {**MLP, "epochs": 5}, compile=False),
        "classic, compile=True": trained("classic, compile=True", digits, {**MLP, "epochs": 5}, compile=True),
        "classic, products alone": floor("classic, products alone", MLP),
        f"{args.members} at once": trained(f"{args.members} at once", digits, {**MLP, "epochs": 3}, seeds=args.members),
        f"{args.members} at once, products alone": floor(f"{args.members} at once, products alone", many),
        "conv": trained("conv", shapes, {**CONV, "epochs": 3}),
        "conv, bf16": trained("conv, bf16", shapes, {**CONV, "epochs": 3}, precision="bf16"),
    }
    device = torch.cuda.get_device_name()
    versions = measure.versions() | {"torch": torch.__version__, "cuda": torch.version.cuda}
    record = {"device": device, "machine": measure.machine(), "versions": versions, "figures": figures}
    path = RESULTS / f"gpu-{device.replace(' ', '-').replace('/', '-')}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(record, indent=1) + "\n")
    print(f"{device}, {versions}\n{path}")


if __name__ == "__main__":
    main()
