"""A VAE of two Keras models on MNIST: built as in any Keras script, trained, judged and kept by vaekit.

python examples/keras_mnist.py --epochs 50
"""

import os

os.environ["KERAS_BACKEND"] = "torch"  # before keras is imported: vaekit's loop is torch's

import argparse

import keras
import numpy as np
from keras import layers, ops

import vaekit as vk


class Sampling(layers.Layer):
    """z = mu + sigma * eps, as a Keras model of its own would need it."""

    def call(self, inputs: list) -> object:
        z_mean, z_log_var = inputs
        return z_mean + ops.exp(0.5 * z_log_var) * keras.random.normal(ops.shape(z_mean))


def encoder() -> keras.Model:
    x = keras.Input((28, 28))
    h = layers.Dense(128, activation="relu")(layers.Flatten()(x))
    z_mean, z_log_var = layers.Dense(2, name="z_mean")(h), layers.Dense(2, name="z_log_var")(h)
    # vaekit reads the first two outputs and draws z itself, so that the noise follows its seed; the third may stay.
    return keras.Model(x, [z_mean, z_log_var, Sampling()([z_mean, z_log_var])], name="encoder")


def decoder() -> keras.Model:
    z = keras.Input((2,))
    h = layers.Dense(128, activation="relu")(z)
    p = layers.Dense(784, activation="sigmoid")(h)
    return keras.Model(z, layers.Reshape((28, 28))(p), name="decoder")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("--epochs", type=int, default=50)
    arguments.add_argument("--rows", type=int, default=60_000, help="images to train on")
    arguments.add_argument("--run", default="runs/keras-mnist", help="folder to write")
    given = arguments.parse_args()

    keras.utils.set_random_seed(0)  # of the starting weights, which are Keras'
    x, x_test = vk.datasets.mnist()  # uint8; vaekit brings the rows into [0, 1], and what it gives back to 0..255
    x, x_test = x[: given.rows], x_test[: given.rows]
    mine, mine_too = encoder(), decoder()
    vae = vk.VAE(encoder=mine, decoder=mine_too, latent_dim=2, epochs=given.epochs, verbose=True).fit(x)
    print(vae.evaluate(x_test))

    # A run holds the weights of your own models, not their code: build them again and pass them in to load it.
    vae.save(given.run)
    loaded = vk.load(given.run, encoder=encoder(), decoder=decoder())
    same = np.array_equal(loaded.reconstruct(x_test), vae.reconstruct(x_test))
    print(f"loaded from {given.run}: the same reconstructions: {same}")

    # fit trains copies, so `mine` still holds its starting weights. write_back puts the trained ones into it, and it is
    # a plain Keras model again: predict it, save it as .keras, go on with it. It reads what vaekit gave it: x / 255.
    vae.module_.encoder.write_back()
    vae.module_.decoder.write_back()
    z_mean, _, _ = mine.predict(x_test[:1000] / 255, verbose=0)
    print(f"z_mean by Keras and by vaekit differ by at most {np.abs(z_mean - vae.transform(x_test[:1000])).max():.1e}")
    print(f"images by Keras: {mine_too.predict(z_mean[:8], verbose=0).shape}")


if __name__ == "__main__":
    main()
