"""Pythae, by its training pipeline, with its VAE over an encoder and a decoder of the task's widths."""

from __future__ import annotations

import tempfile
from itertools import pairwise

import torch
from measure import Clock
from pythae.models import VAE, VAEConfig
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseEncoder
from pythae.pipelines import TrainingPipeline
from pythae.trainers import BaseTrainerConfig
from pythae.trainers.training_callbacks import TrainingCallback
from torch import Tensor, nn

from .data import rows, unit


class Encoder(BaseEncoder):
    def __init__(self, sizes: list[int], latent: int):
        super().__init__()
        self.layers = nn.Sequential(*(m for pair in pairwise(sizes) for m in (nn.Linear(*pair), nn.ReLU())))
        self.mu, self.log_var = nn.Linear(sizes[-1], latent), nn.Linear(sizes[-1], latent)

    def forward(self, x: Tensor) -> ModelOutput:
        h = self.layers(x)
        return ModelOutput(embedding=self.mu(h), log_covariance=self.log_var(h))


class Decoder(BaseDecoder):
    def __init__(self, sizes: list[int]):
        super().__init__()
        layers = [m for pair in pairwise(sizes) for m in (nn.Linear(*pair), nn.ReLU())]
        self.layers = nn.Sequential(*layers[:-1], nn.Sigmoid())

    def forward(self, z: Tensor) -> ModelOutput:
        return ModelOutput(reconstruction=self.layers(z))


class Marks(TrainingCallback):
    def __init__(self, clock: Clock):
        self.clock = clock

    def on_epoch_begin(self, training_config: BaseTrainerConfig, **kwargs) -> None:
        self.clock.begin()

    def on_train_step_end(self, training_config: BaseTrainerConfig, **kwargs) -> None:
        self.clock.step()

    def on_epoch_end(self, training_config: BaseTrainerConfig, **kwargs) -> None:
        self.clock.epoch()


def fit(task: dict, clock: Clock) -> dict:
    cells, hidden, latent = task["cells"], task["hidden"], task["latent"]
    x, x_test = (unit(rows(task, part)).reshape(-1, cells) for part in ("train", "test"))
    encoder, decoder = Encoder([cells, *hidden], latent), Decoder([latent, *reversed(hidden), cells])
    model = VAE(VAEConfig(input_dim=(cells,), latent_dim=latent, reconstruction_loss="bce"), encoder, decoder)
    with tempfile.TemporaryDirectory() as folder:
        training = BaseTrainerConfig(
            output_dir=folder,
            num_epochs=task["epochs"],
            learning_rate=1e-3,
            per_device_train_batch_size=task["batch"],
        )
        TrainingPipeline(model=model, training_config=training)(x, callbacks=[Marks(clock)])
    if not task.get("evaluate", True):
        return {}
    with torch.no_grad():
        losses = [float(model({"data": batch}).loss) * len(batch) for batch in torch.from_numpy(x_test).split(500)]
    return {"held_out": -sum(losses) / len(x_test)}
