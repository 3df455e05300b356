"""Keras 3, on the backend that KERAS_BACKEND names: `model.fit` over NumPy arrays, jit as it is by default."""

from __future__ import annotations

import keras
import numpy as np
from keras import layers, ops
from measure import Clock

from .data import rows, unit


class VAE(keras.Model):
    def __init__(self, encoder: keras.Model, decoder: keras.Model):
        super().__init__()
        self.encoder, self.decoder = encoder, decoder
        self.noise = keras.random.SeedGenerator(0)

    def call(self, x: object) -> tuple:
        mu, log_var = ops.split(self.encoder(x), 2, axis=-1)
        z = mu + ops.exp(0.5 * log_var) * keras.random.normal(ops.shape(mu), seed=self.noise)
        return self.decoder(z), mu, log_var

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True) -> object:
        logits, mu, log_var = y_pred
        cells = ops.reshape(ops.binary_crossentropy(x, logits, from_logits=True), (ops.shape(mu)[0], -1))
        rate = -0.5 * ops.sum(1 + log_var - ops.square(mu) - ops.exp(log_var), axis=-1)
        return ops.mean(ops.sum(cells, axis=-1) + rate)


def dense(task: dict) -> tuple[list, list]:
    hidden = [layers.Dense(n, activation="relu") for n in task["hidden"]]
    mirrored = [layers.Dense(n, activation="relu") for n in reversed(task["hidden"])]
    return [*hidden, layers.Dense(2 * task["latent"])], [*mirrored, layers.Dense(task["cells"])]


def conv(task: dict) -> tuple[list, list]:
    def stage(kind: type, channels: int, activation: str | None = "relu") -> layers.Layer:
        return kind(channels, 4, strides=2, padding="same", activation=activation)

    down = [stage(layers.Conv2D, channels) for channels in (32, 32, 64, 64)]
    up = [stage(layers.Conv2DTranspose, channels) for channels in (64, 32, 32)]
    encoder = [*down, layers.Flatten(), layers.Dense(256, activation="relu"), layers.Dense(2 * task["latent"])]
    wide = [layers.Dense(256, activation="relu"), layers.Dense(1024, activation="relu"), layers.Reshape((4, 4, 64))]
    return encoder, [*wide, *up, stage(layers.Conv2DTranspose, 1, None)]


class Marks(keras.callbacks.Callback):
    async_safe = True  # Keras then calls it beside the training, and waits for no step on its account

    def __init__(self, clock: Clock):
        super().__init__()
        self.clock = clock

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self.clock.begin()

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        self.clock.step()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        self.clock.epoch()


def fit(task: dict, clock: Clock) -> dict:
    shape = (64, 64, 1) if task["model"] == "conv" else (task["cells"],)
    x, x_test = (unit(rows(task, part)).reshape(-1, *shape) for part in ("train", "test"))
    parts = (conv if task["model"] == "conv" else dense)(task)
    encoder, decoder = (keras.Sequential([keras.Input(s), *p]) for s, p in zip((shape, (task["latent"],)), parts))
    model = VAE(encoder, decoder)
    model.compile(optimizer=keras.optimizers.Adam(1e-3), steps_per_execution=task.get("steps_per_call", 1))
    model.fit(x, batch_size=task["batch"], epochs=task["epochs"], verbose=0, callbacks=[Marks(clock)])
    if not task.get("evaluate", True):
        return {}
    losses = [
        float(model.compute_loss(x=ops.convert_to_tensor(batch), y_pred=model(batch))) * len(batch)
        for batch in np.split(x_test, range(500, len(x_test), 500))
    ]
    return {"held_out": -sum(losses) / len(x_test)}
