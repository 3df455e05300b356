"""Five ways to weigh the rate, five seeds each, on 64 x 64 shapes: how well their codes stand for the factors.

    PYTHONPATH=src python benchmarks/disentanglement.py -o runs/disentanglement            # a short sweep, on a CPU
    PYTHONPATH=src python benchmarks/disentanglement.py -o runs/disentanglement --resume   # goes on
    PYTHONPATH=src python benchmarks/disentanglement.py -o runs/full --full                # 300,000 steps, on a GPU

One sweep trains the convolutional model with beta = 1 and 4, FactorVAE, beta-TCVAE and DIP-VAE-II on the same random
images. The posterior means of other images are scored by the factors that made them, and UDR, which reads no factors,
compares the seeds of each configuration with one another. Writes results/disentanglement-short.json (or -full), the
tables in Markdown, and the figure of docs/disentanglement.md.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

import measure
import numpy as np
import torch
from matplotlib.figure import Figure

import vaekit as vk
from vaekit.evaluation.disentanglement import disentanglement, ranks, udr
from vaekit.likelihoods import Bernoulli
from vaekit.networks import MLP, ConvDecoder, ConvEncoder
from vaekit.objectives import DIP, ELBO, FactorTC, Objective, TotalCorrelation
from vaekit.report import paper
from vaekit.training.display import Lines

RESULTS = Path(__file__).parent / "results"
IMAGES = Path(__file__).parents[1] / "docs" / "images"
METHODS = ("beta = 1", "beta = 4", "FactorVAE, 35", "beta-TC, 6", "DIP-II, 10")
HELD, SCORED = 5_000, 2_000
"""Images that no model is trained on, and how many of them are scored."""
SHOWN = {
    "mig": "MIG",
    "sap": "SAP",
    "dci_disentanglement": "DCI",
    "factor_vae": "FactorVAE score",
    "beta_vae": "beta-VAE score",
    "modularity": "modularity",
    "udr": "UDR",
    "elbo": "held-out ELBO",
}
DIGITS = {"elbo": 0}


def objectives(critic: tuple[int, ...]) -> list[Objective]:
    """In the order of `METHODS`."""
    factor = FactorTC(MLP(critic, activation="leaky_relu"), 35.0)
    return [ELBO(1.0), ELBO(4.0), factor, TotalCorrelation(6.0), DIP(2, 10.0, 10.0)]


def trained(args: argparse.Namespace) -> vk.Sweep:
    """The sweep. Each model sees args.steps batches, rounded up to whole epochs."""
    channels, hidden = ((32, 32, 64, 64), 256) if args.full else ((16, 16, 32, 32), 128)
    order, batch = images(), 64 if args.full else 32
    x = vk.datasets.shapes(order[HELD:] if args.full else order[HELD : HELD + args.rows])[0]
    vae = vk.VAE(
        10,
        encoder=ConvEncoder(channels, hidden),
        decoder=ConvDecoder(channels[::-1], hidden),
        likelihood=Bernoulli(),
        epochs=max(1, round(args.steps * batch / len(x))),
        batch_size=batch,
        lr=1e-4 if args.full else 2e-3,
        validation=vk.datasets.shapes(order[:500])[0],
        threads="auto" if args.full else 1,
        compile="auto" if args.full else False,
    )
    over = {"objective": objectives((1000,) * 6 if args.full else (256, 256))}
    return vk.sweep(vae, x, over=over, seeds=args.seeds, run=args.output, resume=args.resume, display=Lines())


def images() -> np.ndarray:
    """All of them, by their index, in a random order: the first are held out, others are trained on."""
    return np.random.default_rng(0).permutation(math.prod(vk.datasets.SHAPES_FACTORS.values()))


def scored(folder: Path, seeds: int) -> list[dict[str, dict[int, float]]]:
    """For each method, of every score the value by seed: of the models that lie in the folder of the sweep.

    What is scored once is kept there, in scores.json.
    """
    x, factors = vk.datasets.shapes(images()[:SCORED])
    done = folder / "scores.json"
    known = json.loads(done.read_text("utf-8")) if done.exists() else {}
    found: list[dict[str, dict[int, float]]] = []
    for number, method in enumerate(METHODS):
        finished = sorted(path.parent for path in folder.glob("[0-9]*/config.json"))
        folders = [path for path in finished if int(path.name[:3]) // seeds == number]
        table: dict[str, dict[int, float]] = {}
        codes, rates = [], []
        for path in folders:
            vae, seed = vk.load(path, device="cpu"), int(path.name[:3]) % seeds
            q = vae.posterior(x).base_dist
            codes.append(q.mean.numpy())
            rates.append(torch.distributions.kl_divergence(q, torch.distributions.Normal(0.0, 1.0)).mean(0).numpy())
            if path.name not in known:
                known[path.name] = disentanglement(codes[-1], factors)
                done.write_text(json.dumps(known, indent=1) + "\n", "utf-8")
            own = known[path.name] | {"elbo": vae.history_[-1]["val_elbo"]}
            for name, value in own.items():
                table.setdefault(name, {})[seed] = value
            print(f"{method}, seed {seed}: {' '.join(f'{n} {v:.3f}' for n, v in own.items())}", flush=True)
        if len(codes) > 1:
            table["udr"] = dict(zip(table["mig"], udr(codes, rates).tolist()))
        found.append(table)
    return found


def as_markdown(found: list[dict[str, dict[int, float]]]) -> str:
    """Medians over the seeds, with their quartiles."""
    lines = [f"| model | seeds | {' | '.join(SHOWN.values())} |", "|---" * (len(SHOWN) + 2) + "|"]
    for method, table in zip(METHODS, found):
        cells = [_cell(table.get(name, {}), name) for name in SHOWN]
        lines.append(f"| {method} | {len(table.get('mig', {}))} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(by_seed: dict[int, float], name: str) -> str:
    if not by_seed:
        return "–"
    low, middle, high = np.quantile(list(by_seed.values()), (0.25, 0.5, 0.75))
    digits = DIGITS.get(name, 3)
    return f"{middle:.{digits}f} ({low:.{digits}f}–{high:.{digits}f})"


def told_by_udr(found: list[dict[str, dict[int, float]]]) -> str:
    """Spearman's correlation of UDR with each score: over the seeds of a method, the mean over the methods."""
    lines = ["| score | " + " | ".join(METHODS) + " |", "|---" * (len(METHODS) + 1) + "|"]
    for name, title in SHOWN.items():
        if name not in ("udr", "elbo"):
            cells = [_correlation(table, name) for table in found]
            lines.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _correlation(table: dict[str, dict[int, float]], name: str) -> str:
    if len(table.get("udr", {})) < 3:
        return "–"
    a, b = (ranks(np.array(list(table[n].values()))) for n in ("udr", name))
    return "–" if a.std() == 0 or b.std() == 0 else f"{np.corrcoef(a, b)[0, 1]:+.2f}"


def picture(found: list[dict[str, dict[int, float]]]) -> Figure:
    """A panel for each score: a dot for every seed, a line at the median."""
    names = [name for name in SHOWN if name != "elbo"]
    figure, panels = paper.panels_of([SHOWN[name] for name in names], 4, 190, 170, foot=28)
    for axes, name in zip(panels, names):
        for place, (table, color) in enumerate(zip(found, paper.SERIES)):
            values = list(table.get(name, {}).values())
            axes.scatter([place] * len(values), values, s=20, color=color, alpha=0.8, linewidths=0)
            if values:
                axes.plot([place - 0.35, place + 0.35], [np.median(values)] * 2, color=paper.INK, linewidth=1.6)
        highest = max((v for table in found for v in table.get(name, {}).values()), default=1.0)
        axes.set(xlim=(-0.6, len(METHODS) - 0.4), ylim=(0, 1.1 * highest))
        paper.steady(axes)
        axes.set_xticks([])
    paper.key(figure, METHODS)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, help="of training; 900, with --full 300,000")
    parser.add_argument("--rows", type=int, default=14_400, help="images trained on, without --full")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--full", action="store_true", help="as published: all images, wider networks, on a GPU")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--score", action="store_true", help="score the models that are there, without training")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the folder of the sweep")
    args = parser.parse_args()
    args.steps = args.steps or (300_000 if args.full else 900)
    if not args.score:
        print(trained(args), flush=True)
    found = scored(args.output, args.seeds)
    name = f"disentanglement-{'full' if args.full else 'short'}"
    told = {"methods": METHODS, "scores": found, "versions": measure.versions(), "machine": measure.machine()}
    (RESULTS / f"{name}.json").write_text(json.dumps(told, indent=1) + "\n", "utf-8")
    tables = f"{as_markdown(found)}\n\n{told_by_udr(found)}\n"
    (RESULTS / f"{name}.md").write_text(tables, "utf-8")
    picture(found).savefig(IMAGES / "disentanglement.png")
    print(tables)


if __name__ == "__main__":
    main()
