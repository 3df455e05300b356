"""Data-parallel training: two processes against one at the same batch, and against DistributedDataParallel's loop.

    torchrun --nproc-per-node=2 benchmarks/distributed.py

What is compared takes turns within one run; printed are medians over the rounds.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from measure import versions
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import vaekit as vk
from vaekit.core import Batch, Source
from vaekit.likelihoods import Bernoulli
from vaekit.networks import MLP, ConvDecoder, ConvEncoder
from vaekit.training import Adam, Learner, Processes, Step, join

BATCH, STEPS, ROUNDS = 512, 5, 15
MODELS = {
    "dense 784-512-512-20": (lambda: (MLP((512, 512)), MLP((512, 512))), (784,)),
    "dense 784-2048-2048-20": (lambda: (MLP((2048, 2048)), MLP((2048, 2048))), (784,)),
    "convolutions 32-64": (lambda: (ConvEncoder((32, 64), 256), ConvDecoder((64, 32), 256)), (1, 28, 28)),
}


class Loss(nn.Module):
    """A learner's loss as DistributedDataParallel takes it: one forward, one backward."""

    def __init__(self, learner: Learner):
        super().__init__()
        self.learner = learner

    def forward(self, x: torch.Tensor, noise: Source) -> torch.Tensor:
        return self.learner(Batch(x), noise).losses["model"]


def learner(name: str) -> Learner:
    torch.manual_seed(0)
    networks, shape = MODELS[name]
    encoder, decoder = networks()
    latent = vk.latents.Latent(vk.latents.Normal(20), vk.latents.StandardNormal())
    model = vk.VAEModule(encoder, latent, decoder, Bernoulli()).resolve_shapes(shape)
    return Learner(model, vk.objectives.ELBO()).train()


def contenders(name: str, processes: Processes) -> dict[str, Callable[[], None]]:
    x = torch.rand(BATCH, *MODELS[name][1])
    noise = Source(processes.rank)
    own = Batch(processes.share(x))
    alone, together = Step(learner(name), Adam(1e-4)), Step(learner(name), Adam(1e-4), processes=processes)
    wrapped = DistributedDataParallel(Loss(learner(name)), gradient_as_bucket_view=True)
    adam = torch.optim.Adam(wrapped.parameters(), 1e-4, fused=True)

    def by_ddp() -> None:
        adam.zero_grad()
        wrapped(own.x, noise).backward()
        adam.step()

    def by_one() -> None:
        if processes.rank == 0:
            alone(Batch(x), noise)

    return {"one process": by_one, "two processes": lambda: together(own, noise), "two, by DDP": by_ddp}


def main() -> None:
    processes = join()
    torch.set_num_threads(1)
    if processes.rank == 0:
        print(versions(), f"{BATCH} rows per step, {processes.size} processes of 1 thread; medians of {ROUNDS}")
    for name in MODELS:
        steps = contenders(name, processes)
        taken: dict[str, list[float]] = {who: [] for who in steps}
        for _ in range(ROUNDS + 1):
            for who, step in steps.items():
                processes.largest(0.0)  # begins when all are here
                start = time.perf_counter()
                for _ in range(STEPS):
                    step()
                taken[who].append(processes.largest(time.perf_counter() - start) / STEPS)
        if processes.rank == 0:
            medians = {who: 1e3 * statistics.median(seconds[1:]) for who, seconds in taken.items()}
            size = sum(p.numel() for p in learner(name).parameters())
            print(f"{name}, {size:,} parameters:", "  ".join(f"{who} {ms:.1f} ms" for who, ms in medians.items()))


if __name__ == "__main__":
    main()
