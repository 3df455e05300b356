"""One class of MNIST against the nine others: models that have seen one digit alone, and how well they tell the rest.

    PYTHONPATH=src python benchmarks/one_class.py                  # the ten digits, about ten minutes of one core
    PYTHONPATH=src python benchmarks/one_class.py --digits 8 2 --development

For each digit a VAE is fitted to nine tenths of its training images; the others are the normal rows that its scores
are held against. One score is taken for all ten, without labels: the one that tells held-out images from chimeras of
them best, on average over the digits. It is judged by the ROC-AUC of that digit's test images against all other test
images, 10,000 in all, beside the reconstruction error of 20 principal components, and the same score of these.
--development judges on training images that were held out, and so leaves the test set unseen.
"""

from __future__ import annotations

import argparse
import platform
import time
from pathlib import Path

import numpy as np
import torch

import vaekit as vk
from vaekit.evaluation.detection import roc_auc, smoothed
from vaekit.evaluation.simple_models import ProbabilisticPCA

COMPONENTS = 20


def model(seed):
    recipe = vk.recipes.auto(hidden=(256, 128))
    gaussian = vk.likelihoods.Gaussian("optimal")
    settings = dict(epochs=30, validation=0.1, threads=1, compile=False)
    return vk.VAE(16, recipe=recipe, likelihood=gaussian, seed=seed, **settings)


def principal(x, test):
    """The scores of PCA: the squared error, and the smooth one, relative to the size of the image."""
    a, b = (torch.from_numpy(t).flatten(1).double() / 255 for t in (x, test))
    pca = ProbabilisticPCA.fit(a, COMPONENTS)
    off = b - pca.reconstruct(b)
    smooth = smoothed(off.reshape(-1, 1, 28, 28)).square().flatten(1).sum(1)
    return {"PCA error": off.square().sum(1).numpy(), "PCA smooth_error": (smooth / b.square().sum(1)).numpy()}


def one(digit, seed, development):
    """How well each score tells the digit (as figures), and the chimeras, by name."""
    (x, y), (x_test, y_test) = vk.datasets.mnist(labels=True)
    own = x[y == digit]
    if development:
        order, rest = np.random.default_rng(digit).permutation(len(own)), x[y != digit]
        some = rest[np.random.default_rng(digit).permutation(len(rest))[:5000]]
        x_test, y_test = np.concatenate([own[order[:600]], some]), np.repeat([digit, -1], [600, len(some)])
        own = own[order[600:]]
    vae = model(seed).fit(own)
    detector = vae.detector(vae.held_out(own), seed=seed)
    odd = y_test != digit
    scores = {**detector.scores(x_test), **principal(own, x_test)}
    figures = {name: roc_auc(values, odd) for name, values in scores.items()}
    return figures, {name: f.value for name, f in detector.on_chimeras.items()}


def table(digits, judged, chosen):
    columns = [f"ours, {chosen}", "ours, best of all for the digit", "PCA error", "PCA smooth_error"]
    lines = [f"| digit | {' | '.join(columns)} |", "|---|---|---|---|---|"]
    for digit, figures in zip(digits, judged):
        ours = {n: f for n, f in figures.items() if not n.startswith("PCA")}
        best = max(ours, key=lambda n: ours[n].value)
        cells = [_cell(figures[chosen]), f"{ours[best].value:.4f} {best}", *(_cell(figures[n]) for n in columns[2:])]
        lines.append(f"| {digit} | {' | '.join(cells)} |")
    means = [f"{np.mean([f[n].value for f in judged]):.4f}" for n in (chosen, *columns[2:])]
    lines.append(f"| mean | **{means[0]}** | | {means[1]} | {means[2]} |")
    return "\n".join(lines)


def _cell(figure):
    return f"{figure.value:.4f} ± {figure.error:.4f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--digits", type=int, nargs="+", default=list(range(10)))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--development", action="store_true")
    parser.add_argument("-o", "--output", type=Path, help="write the tables to this file")
    args = parser.parse_args()
    start, judged, chimeras = time.perf_counter(), [], []
    for digit in args.digits:
        figures, told = one(digit, args.seed, args.development)
        judged.append(figures)
        chimeras.append(told)
        print(f"digit {digit}, {time.perf_counter() - start:.0f} s", flush=True)
    on_chimeras = {name: np.mean([told[name] for told in chimeras]) for name in chimeras[0]}
    chosen = max(on_chimeras, key=on_chimeras.get)
    lines = [
        table(args.digits, judged, chosen),
        "",
        "| score | against chimeras | against other digits |",
        "|---|---|---|",
    ]
    for name in sorted(on_chimeras, key=on_chimeras.get, reverse=True):
        lines.append(f"| {name} | {on_chimeras[name]:.4f} | {np.mean([f[name].value for f in judged]):.4f} |")
    seconds, where = time.perf_counter() - start, f"{platform.machine()}, torch {torch.__version__}"
    lines += ["", f"seed {args.seed}, {seconds:.0f} s on {where}, {torch.get_num_threads()} thread(s)"]
    text = "\n".join(lines)
    print(text)
    if args.output:
        args.output.write_text(text + "\n", "utf-8")


if __name__ == "__main__":
    main()
