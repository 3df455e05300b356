"""The same models as loops written by hand in PyTorch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from itertools import pairwise

import torch
from measure import Clock, seconds_of
from torch import Tensor, nn
from torch.nn import functional as F

from .data import rows, unit, widths


def dense(sizes: list[int], activation: type[nn.Module]) -> nn.Sequential:
    layers = [layer for pair in pairwise(sizes) for layer in (nn.Linear(*pair), activation())]
    return nn.Sequential(*layers[:-1])


def halving(n_in: int, n_out: int) -> tuple[nn.Module, nn.Module]:
    return nn.Conv2d(n_in, n_out, 4, 2, 1), nn.ReLU()


def doubling(n_in: int, n_out: int) -> tuple[nn.Module, nn.Module]:
    return nn.ReLU(), nn.ConvTranspose2d(n_in, n_out, 4, 2, 1)


class VAE(nn.Module):
    """Encoder -> mu and log sigma^2; decoder -> logits."""

    def __init__(self, task: dict):
        super().__init__()
        if task["model"] == "conv":
            down = [layer for pair in pairwise((1, 32, 32, 64, 64)) for layer in halving(*pair)]
            up = [layer for pair in pairwise((64, 64, 32, 32, 1)) for layer in doubling(*pair)]
            self.encoder = nn.Sequential(*down, nn.Flatten(), dense([1024, 256, 2 * task["latent"]], nn.ReLU))
            self.decoder = nn.Sequential(dense([task["latent"], 256, 1024], nn.ReLU), nn.Unflatten(1, (64, 4, 4)), *up)
        else:
            activation = {"relu": nn.ReLU, "tanh": nn.Tanh}[task.get("activation", "relu")]
            self.encoder, self.decoder = (dense(sizes, activation) for sizes in widths(task))

    def terms(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Distortion and rate, summed over the batch."""
        mu, log_var = self.encoder(x).chunk(2, -1)
        logits = self.decoder(mu + torch.exp(0.5 * log_var) * torch.randn_like(mu))
        distortion = F.binary_cross_entropy_with_logits(logits, x, reduction="sum")
        return distortion, -0.5 * torch.sum(1 + log_var - mu.square() - log_var.exp())

    def log_weights(self, x: Tensor, k: int) -> Tensor:
        """log p(x, z) - log q(z | x) of k draws, (k, B)."""
        mu, log_var = self.encoder(x).chunk(2, -1)
        noise = torch.randn(k, *mu.shape)
        z = mu + torch.exp(0.5 * log_var) * noise
        log_ratio = 0.5 * (noise.square() + log_var - z.square()).sum(-1)
        logits = self.decoder(z)
        log_lik = -F.binary_cross_entropy_with_logits(logits, x.expand_as(logits), reduction="none").sum(-1)
        return log_lik + log_ratio


def elbo_loss(model: VAE, x: Tensor) -> Tensor:
    return sum(model.terms(x)) / len(x)


def iwae_loss(k: int) -> Callable[[VAE, Tensor], Tensor]:
    def loss(model: VAE, x: Tensor) -> Tensor:
        drawn = (torch.rand_like(x) < x).float()
        return math.log(k) - model.log_weights(drawn, k).logsumexp(0).mean()

    return loss


def tensor(task: dict, part: str = "train") -> Tensor:
    x = torch.from_numpy(unit(rows(task, part)))
    return x.unsqueeze(1) if task["model"] == "conv" else x.flatten(1)


def loader(x: Tensor, batch: int) -> Callable[[], Iterable[Tensor]]:
    loaded = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x), batch_size=batch, shuffle=True)
    return lambda: (rows for (rows,) in loaded)


def indexed(x: Tensor, batch: int) -> Callable[[], Iterable[Tensor]]:
    return lambda: (x[index] for index in torch.randperm(len(x)).split(batch))


def fit(task: dict, clock: Clock) -> dict:
    """Trains as the task says: its batches from a DataLoader or indexed, Adam, memory format, bf16, compiled."""
    x, model = tensor(task), VAE(task)
    if task.get("channels_last"):
        x, model = (part.to(memory_format=torch.channels_last) for part in (x, model))
    batches = (loader if task.get("loader") else indexed)(x, task["batch"])
    loss = iwae_loss(task["k"]) if "k" in task else elbo_loss
    loss = torch.compile(loss, dynamic=False) if task.get("compile") else loss
    optimiser = torch.optim.Adam(model.parameters(), 1e-3, fused=True if task.get("fused") else None)
    clock.begin()
    for _ in range(task["epochs"]):
        for batch in batches():
            optimiser.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=task.get("bf16", False)):
                value = loss(model, batch)
            value.backward()
            optimiser.step()
            clock.step()
        clock.epoch()
    return {"held_out": held_out(model, task)} if task.get("evaluate", True) else {}


@torch.no_grad()
def held_out(model: VAE, task: dict) -> float:
    """The ELBO with one draw, or the bound with k, on the test rows."""
    x, k = tensor(task, "test"), task.get("k")
    total = 0.0
    for batch in x.split(500):
        if k is None:
            total -= float(sum(model.terms(batch)))
        else:
            total -= float(iwae_loss(k)(model, batch)) * len(batch)
    return total / len(x)


@torch.no_grad()
def inference(task: dict, clock: Clock) -> dict:
    """The seconds of `kit.inference`."""
    x, model = tensor(task, "test"), VAE(task)

    def score(x: Tensor, at_once: int = 50) -> Tensor:
        parts = []
        for batch in x.split(500):
            drawn = (torch.rand_like(batch) < batch).float()
            taken = [model.log_weights(drawn, at_once).logsumexp(0) for _ in range(task["draws"] // at_once)]
            parts.append(torch.stack(taken).logsumexp(0) - math.log(task["draws"]))
        return torch.cat(parts)

    if task["verb"] == "score_samples":
        return {"seconds": seconds_of(lambda: score(x), times=1, warm=False)}
    if task["verb"] == "transform":
        return {"seconds": seconds_of(lambda: model.encoder(x)[:, : task["latent"]])}
    return {
        "seconds": seconds_of(lambda: torch.bernoulli(model.decoder(torch.randn(len(x), task["latent"])).sigmoid()))
    }
