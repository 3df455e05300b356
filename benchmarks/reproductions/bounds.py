"""VAE, IWAE and DReG with one stochastic layer.

    PYTHONPATH=src python benchmarks/reproductions/bounds.py
    PYTHONPATH=src python benchmarks/reproductions/bounds.py --models "VAE" --epochs 2

Burda et al. 2016, arXiv:1509.00519: 784-200-200-z50, tanh. They train for 3280 passes with a falling learning rate and
batches of 20; these are shortened runs, with batches of 200 in bfloat16, a cosine schedule, a rate that is warmed up
and a running mean of the weights. The VAE that is set beside the paper is trained for longer than those that are
compared with one another.
"""

from __future__ import annotations

from functools import partial

from protocol import Contest, Entry, contest

from vaekit import Ramp
from vaekit.data.spec import DataSpec
from vaekit.latents import Latent, Normal, StandardNormal
from vaekit.networks import MLP
from vaekit.objectives import ELBO, IWAE, Objective
from vaekit.recipes import Parts
from vaekit.training import Adam


def parts(spec: DataSpec, objective: Objective) -> Parts:
    encoder, decoder = MLP((200, 200), "tanh", heads=2), MLP((200, 200), "tanh")
    return Parts(Latent(Normal(50), StandardNormal()), encoder, decoder, objective=objective)


def vae(spec: DataSpec) -> Parts:
    return parts(spec, ELBO(Ramp(1.0, 10_000)))


ENTRIES = {
    "VAE, longer": Entry(vae, 86.76, epochs=1100),
    "IWAE, k = 5": Entry(partial(parts, objective=IWAE(5)), 85.54),
    "DReG, k = 5": Entry(partial(parts, objective=IWAE(5, gradient="dreg"))),
    "VAE": Entry(partial(parts, objective=ELBO()), 86.76),
}
AHEAD = [("IWAE, k = 5", "VAE"), ("DReG, k = 5", "IWAE, k = 5")]
ADAM = Adam(2e-3, schedule="cosine", warmup=1000, average=0.9995)

if __name__ == "__main__":
    title = "Bounds: one stochastic layer, dynamically binarised MNIST"
    contest(Contest(title, ENTRIES, AHEAD, ADAM, epochs=100, batch_size=200, bf16=True, draws=1000, test_rows=10_000))
