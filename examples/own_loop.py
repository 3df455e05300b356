"""A training loop of your own: `vk.train` is a generator, and the body of the loop is yours.

python examples/own_loop.py [ROWS EPOCHS]
"""

import sys

import vaekit as vk
from vaekit import latents, likelihoods, networks, objectives

rows, epochs = [int(n) for n in sys.argv[1:]] or (60_000, 50)
latent = latents.Latent(latents.Normal(2), latents.StandardNormal())
model = vk.VAEModule(networks.MLP((128,), heads=2), latent, networks.MLP((128,)), likelihoods.Bernoulli())
history = []
for training in vk.train(model, vk.datasets.mnist()[0][:rows], objectives.ELBO(beta=0.1), epochs=epochs):
    if training.taken == 200:
        training.learner.objective.beta.value.fill_(1.0)  # a setting is a tensor of the objective: fill it to change it
    if training.epoch_ended:
        history.append(training.metrics()["elbo"])  # waits for the device, so once an epoch and not at every step
        print(f"epoch {training.epoch}: elbo {history[-1]:.2f}")
        if len(history) > 5 and history[-1] < history[-6] + 0.5:
            break
