"""Counts: cells that are simulated, and words of real documents. The held-out bound beside a model without a code, and
what the codes are worth beside principal components.

    PYTHONPATH=src python benchmarks/counts.py             # five seeds, some ten minutes of one core
    PYTHONPATH=src python benchmarks/counts.py --seeds 1 --data words

- cells: 2,500 cells x 500 genes of six types in two batches, simulated by the formulas of Splat (Zappia et al. 2017,
  Genome Biology 18, 174), without its dropout: gamma means of genes, log-normal factors of types and batches,
  log-normal libraries, a biological variation that falls with the mean, Poisson counts. The true shares are known.
- words: docstrings of NumPy, pandas, scikit-learn, SciPy and PyTorch, as they are installed, as counts of their
  frequent words; the class is the package. Real data, which differ a little from version to version.

Every fifth row is held out. bound: nats per held-out row by the importance-weighted bound of 50 draws, given its total
where the library is observed. null: independent columns, negative binomial around their share of the row's total,
fitted to the same rows; where the library is latent, around their means. nearest: the share of held-out rows whose 15
nearest training rows, by the code, tell their class. truth: the correlation over all cells of log expected shares with
the logs of those that the cells were drawn with. scVI stands beside where it is installed. All models have ten latents.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import inspect
import json
import platform
import re
import time
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from scipy import sparse
from sklearn.decomposition import PCA
from sklearn.neighbors import KNeighborsClassifier

import vaekit as vk

LATENTS, DRAWS, EPOCHS = 10, 50, 100
PACKAGES = {
    "numpy": ("numpy", "numpy.linalg", "numpy.random", "numpy.fft", "numpy.ma", "numpy.polynomial"),
    "pandas": ("pandas", "pandas.api.types", "pandas.DataFrame", "pandas.Series", "pandas.Index"),
    "scikit-learn": ("sklearn.linear_model", "sklearn.metrics", "sklearn.preprocessing", "sklearn.ensemble",
                     "sklearn.cluster", "sklearn.model_selection", "sklearn.decomposition"),
    "scipy": ("scipy.stats", "scipy.linalg", "scipy.optimize", "scipy.signal", "scipy.sparse", "scipy.special",
              "scipy.ndimage", "scipy.interpolate"),
    "torch": ("torch", "torch.nn", "torch.nn.functional", "torch.optim", "torch.distributions", "torch.linalg"),
}  # fmt: skip


def cells(n=2500, genes=500, types=6, seed=0):
    """Counts, the type and the batch of each cell, and the shares that they were drawn with, all by Splat's formulas
    and defaults but for the library, e^8 at the median."""
    generator = np.random.default_rng(seed)
    mean = generator.gamma(0.6, 1 / 0.3, genes)
    of_type = np.where(generator.random((types, genes)) < 0.1, generator.lognormal(0.1, 0.4, (types, genes)), 1)
    of_batch = generator.lognormal(0.1, 0.1, (2, genes))
    kind, batch = generator.integers(0, types, n), generator.integers(0, 2, n)
    shares = mean * of_type[kind] * of_batch[batch]
    shares /= shares.sum(1, keepdims=True)
    around = generator.lognormal(8, 0.2, (n, 1)) * shares
    variation = (0.1 + 1 / np.sqrt(np.maximum(around, 1e-9))) * np.sqrt(60 / generator.chisquare(60, genes))
    shape = 1 / variation**2
    return generator.poisson(generator.gamma(shape, around / shape)), kind, batch, shares


def words():
    """Counts of words, and the package that each docstring is of."""
    texts = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for k, names in enumerate(PACKAGES.values()):
            for name in names:
                try:
                    holder = importlib.import_module(name)
                except ImportError:
                    package, _, inner = name.rpartition(".")
                    holder = getattr(importlib.import_module(package), inner)
                for _, thing in inspect.getmembers(holder):
                    if isinstance(text := getattr(thing, "__doc__", None), str):
                        texts.setdefault(text, k)
    told = [Counter(re.findall(r"[a-z]{3,}", text.lower())) for text in texts]
    frequent = Counter(word for document in told for word in document)
    place = {word: i for i, (word, _) in enumerate(frequent.most_common(1000))}
    x = np.array([[document.get(word, 0) for word in place] for document in told])
    kept = x.sum(1) >= 15
    order = np.random.default_rng(0).permutation(kept.sum())
    return x[kept][order], np.array(list(texts.values()))[kept][order]


def nearest(codes, kind, codes_test, kind_test):
    return float(KNeighborsClassifier(15).fit(codes, kind).score(codes_test, kind_test))


def told(shares, truth):
    return float(np.corrcoef(np.log(shares + 1e-9).ravel(), np.log(truth + 1e-9).ravel())[0, 1])


def principal(x, kind, held, truth):
    """Of logarithms of counts, each row brought to a total of 10,000."""
    logs = np.log1p(1e4 * x / x.sum(1, keepdims=True))
    pca = PCA(LATENTS, random_state=0).fit(logs[~held])
    codes = pca.transform(logs)
    own = {"nearest": nearest(codes[~held], kind[~held], codes[held], kind[held])}
    if truth is not None:
        own["truth"] = told(np.expm1(pca.inverse_transform(codes[held])).clip(0) / 1e4, truth[held])
        own["truth, of the counts themselves"] = told(x[held] / x[held].sum(1, keepdims=True), truth[held])
    return own


def ours(recipe, x, kind, batch, held, truth, seed):
    train, test = sparse.csr_matrix(x[~held]), sparse.csr_matrix(x[held])
    context, other = (None, None) if batch is None else (batch[~held], batch[held])
    begin = time.perf_counter()
    vae = vk.VAE(LATENTS, recipe=recipe, epochs=EPOCHS, seed=seed, threads=1, compile=False).fit(train, context=context)
    seconds = time.perf_counter() - begin
    bound = vae.evaluate(test, draws=DRAWS, context=other, against=train)
    codes = vae.transform(train, context), vae.transform(test, other)
    figures = {"bound": bound.figures["log_likelihood"].value, "elbo": bound.figures["elbo"].value}
    if bound.baselines is not None:
        figures["null"] = bound.baselines["factorised"]["log_likelihood"].value
    figures["nearest"] = nearest(codes[0], kind[~held], codes[1], kind[held])
    if truth is not None:
        figures["truth"] = told(vae.expected(test, 1, other), truth[held])
    return {**figures, "seconds": seconds}


def scvi(x, kind, batch, held, seed):
    """scvi-tools' SCVI with its own settings: the representation, since its bound is of another library."""
    import anndata
    import scvi as tools

    tools.settings.seed = seed
    data = [anndata.AnnData(sparse.csr_matrix(x[rows].astype(np.float32))) for rows in (~held, held)]
    for part, rows in zip(data, (~held, held)):
        part.obs["batch"] = "0" if batch is None else batch[rows].astype(str)
    tools.model.SCVI.setup_anndata(data[0], batch_key="batch")
    begin = time.perf_counter()
    model = tools.model.SCVI(data[0], n_latent=LATENTS, gene_likelihood="nb")
    model.train(max_epochs=EPOCHS, accelerator="cpu", enable_progress_bar=False)
    seconds = time.perf_counter() - begin
    codes = [model.get_latent_representation(part) for part in data]
    return {"nearest": nearest(codes[0], kind[~held], codes[1], kind[held]), "seconds": seconds}


def summary(runs):
    """Mean and standard deviation over the seeds, by model and figure."""
    names = {model: sorted({n for r in runs for n in r[model]}) for model in runs[0]}
    found = {m: {n: [r[m][n] for r in runs if n in r[m]] for n in own} for m, own in names.items()}
    return {m: {n: [float(np.mean(v)), float(np.std(v))] for n, v in own.items()} for m, own in found.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--data", choices=("cells", "words"), nargs="+", default=("cells", "words"))
    parser.add_argument("-o", "--output", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    recipes = {
        "counts": vk.recipes.counts(),
        "counts, latent library": vk.recipes.counts(library="latent"),
        "counts, zero-inflated": vk.recipes.counts(zero_inflated=True),
    }
    results = {
        "machine": f"{platform.machine()}, one thread",
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
    for name in args.data:
        runs = []
        for seed in range(args.seeds):
            x, kind, batch, truth = cells(seed=seed) if name == "cells" else (*words(), None, None)
            held = np.arange(len(x)) % 5 == 4
            run = {model: ours(recipe, x, kind, batch, held, truth, seed) for model, recipe in recipes.items()}
            run["PCA of log counts"] = principal(x, kind, held, truth)
            if importlib.util.find_spec("scvi") is not None:
                run["scVI"] = scvi(x, kind, batch, held, seed)
            runs.append(run)
            print(name, seed, json.dumps(run), flush=True)
        results[name] = {"rows": list(x.shape), "models": summary(runs)}
        for model, own in results[name]["models"].items():
            print(f"  {model:26}", "  ".join(f"{n} {m:.3f} ± {s:.3f}" for n, (m, s) in own.items()), flush=True)
    if args.output is not None:
        args.output.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
