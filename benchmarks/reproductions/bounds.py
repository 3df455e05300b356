"""VAE, IWAE and DReG on dynamically binarised MNIST, one stochastic layer.

    python benchmarks/reproductions/bounds.py                    # all three; about 25 minutes on 2 cores
    python benchmarks/reproductions/bounds.py vae --epochs 400   # one of them

Burda et al. 2016, arXiv:1509.00519: 784-200-200-z50, tanh, 5000 importance samples. They train for 3280 passes with a
falling learning rate and batches of 20; this is a shortened run: batches of 100 and a cosine schedule.
"""

from __future__ import annotations

import argparse

from protocol import publish, trained

import vaekit as vk

MODELS = {
    "vae": ("VAE, k = 1", vk.objectives.ELBO(), "86.76"),
    "iwae": ("IWAE, k = 5", vk.objectives.IWAE(5), "85.54"),
    "dreg": ("DReG, k = 5", vk.objectives.IWAE(5, gradient="dreg"), "–"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"of {', '.join(MODELS)}; all by default")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--draws", type=int, default=5000)
    parser.add_argument("--test-rows", type=int, default=1000)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--name", default="bounds")
    args = parser.parse_args()
    x, x_test = vk.datasets.mnist()
    results = []
    for name in args.models or MODELS:
        label, objective, paper = MODELS[name]
        vae = vk.VAE(
            50,
            recipe="binarised",
            encoder=vk.networks.MLP((200, 200), "tanh", heads=2),
            decoder=vk.networks.MLP((200, 200), "tanh"),
            objective=objective,
            epochs=args.epochs,
            batch_size=100,
            lr=args.lr,
            schedule="cosine",
            validation=0,
            seed=args.seed,
        )
        results.append(trained(label, vae, x, x_test[: args.test_rows], args.draws, paper))
    pairs = [(0, i) for i in range(1, len(results))] + ([(1, 2)] if len(results) > 2 else [])
    notes = [f"{args.epochs} epochs, {args.draws} draws, the first {args.test_rows} test rows, seed {args.seed}."]
    publish(args.name, "Bounds: one stochastic layer, dynamically binarised MNIST", results, pairs, notes)


if __name__ == "__main__":
    main()
