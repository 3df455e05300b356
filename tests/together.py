"""What several processes do in `test_distributed.py`: each runs `python together.py TASKS FOLDER`.

With a third word, a number of processes, one process imports what all need and becomes so many.
"""

import copy
import importlib
import json
import os
import signal
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path

import numpy as np
import torch
from compositions import LATENTS, OBJECTIVES, REFUSED, batch, build, conv
from torch import nn

import vaekit as vk
from vaekit import latents as lt
from vaekit import objectives as ob
from vaekit.core import Batch, LossOutput, Source, peers_of
from vaekit.networks import MLP
from vaekit.storage import write_tensors
from vaekit.training import Adam, Ensemble, Learner, Step, Training, distributed, join, recovery, sharded
from vaekit.training.sharded import Sharded
from vaekit.training.train import assemble

# -- steps -----------------------------------------------------------------------------------------

SIZES = (14, 13, 1, 14)
"""Rows per batch: even, ragged, and one row, of which the second process has none."""


class Portion:
    """A process's rows of the noise that one process draws for the whole batch; what is not per row, whole."""

    def __init__(self, source, processes, draws):
        self.source, self.processes, self.draws = source, processes, draws
        self.peers = peers_of(processes.among(Source()))
        self.rows = 0

    def _draw(self, kind, shape):
        size = self.processes.size
        share = -(-self.rows // size)
        if shape[0] not in (share, self.draws * share):
            return getattr(self.source, kind)(shape)
        draws = 1 if shape[0] == share else self.draws
        whole = getattr(self.source, kind)((draws * self.rows, *shape[1:])).unflatten(0, (draws, self.rows))
        filled = torch.cat([whole, whole[:, :1].expand(-1, size * share - self.rows, *shape[1:])], 1)
        return filled[:, self.processes.rank :: size].flatten(0, 1)

    def randn(self, shape):
        return self._draw("randn", tuple(shape))

    def rand(self, shape):
        return self._draw("rand", tuple(shape))


def reviving():
    torch.manual_seed(0)
    latent = lt.Codebook(8, 2, positions=3, decay=0.5, revive=0.9)
    return vk.VAEModule(MLP((8,)), latent, MLP((8,)), vk.likelihoods.Bernoulli()).resolve_shapes((5,)).double()


CASES = {
    **{
        f"elbo, {latent}": (lambda n=latent: build(n), ob.ELBO) for latent in LATENTS if ("elbo", latent) not in REFUSED
    },
    **{
        f"{objective}, {latent}": (lambda n=latent: build(n), OBJECTIVES[objective])
        for objective in OBJECTIVES
        for latent in ("normal", "categorical", "ladder over a codebook")
        if (objective, latent) not in REFUSED and objective != "elbo" and not OBJECTIVES[objective]().couples_rows
    },
    "a codebook that revives its codes": (reviving, ob.ELBO),
    "a variance of all rows": (lambda: build(likelihood="gaussian optimal"), ob.ELBO),
    "bits without a gradient": (lambda: build("binary, hard"), OBJECTIVES["iwae vimco"]),
    "an objective with a term that is no mean": (build, lambda: ob.RAE(decoder_l2=0.1)),
    "images": (conv, ob.ELBO),
    # Between the mean rates of the shares of the first batch: one of them would bend the other way.
    "free bits between the shares": (build, lambda: ob.ELBO(free_bits=0.0832)),
    "capacity between the shares": (build, lambda: ob.ELBO(beta=10.0, capacity=0.1753)),
}
MASKED, WEIGHTED, TRACED, COMPILED, SHARDED = "masked", "weighted", "traced", "compiled", "sharded"
ADAM = Adam(1e-2, clip=0.5, schedule="cosine")


def batches(model, kind="", sizes=SIZES):
    for t, n in enumerate(sizes):
        if len(model.likelihood.shape) > 1:
            yield Batch(torch.rand(n, 1, 8, 8, generator=torch.Generator().manual_seed(t), dtype=torch.float64).round())
            continue
        rows = batch(model, n, seed=t, masked=kind == MASKED)
        weight = 0.5 + torch.arange(n, dtype=torch.float64) if kind == WEIGHTED else None
        yield Batch(rows.x, rows.mask, weight=weight)


def portion(processes, rows):
    """A process's share of a batch."""
    index = processes.own(torch.arange(len(rows.x)))
    share = Batch(*(None if t is None else t[index] for t in (rows.x, rows.mask, rows.context, rows.weight)))
    return processes.weighed(share, len(rows.x))


def take_steps(case, processes, kind="", sizes=SIZES):
    """Weights, buffers and metrics after a few steps with one and the same noise, by so many processes as there are."""
    make, objective = CASES[case]
    learner = Learner(make(), objective()).double().train()
    spread = Sharded(learner, processes) if kind == SHARDED and processes.size > 1 else None
    compiled = kind in (TRACED, COMPILED)
    step = Step(learner, ADAM, len(sizes), compiled=compiled, processes=processes, sharded=spread)
    if kind == TRACED:
        step.program.backend = lambda graph, example: graph
    noise = Portion(Source.like(learner, 5), processes, getattr(learner.objective, "draws", 1))
    told = {}
    for t, rows in enumerate(batches(learner.model, kind, sizes)):
        noise.rows = len(rows.x)
        terms = step(portion(processes, rows), noise)
        told |= {f"step {t}/{name}": value for name, value in (terms.metrics | terms.losses).items()}
    assert step.program.failure is None
    if spread is not None:
        assert len(spread.shards) >= 4
        spread.end()
    return {**learner.state_dict(), **told}


STEPS = [(case, "") for case in CASES]
STEPS += [(case, kind) for case in ("elbo, normal", "iwae dreg, normal") for kind in (MASKED, WEIGHTED)]
SPREAD = ("normal", "vamp", "ladder over a codebook", "flow")
STEPS += [(f"elbo, {latent}", SHARDED) for latent in SPREAD]
STEPS += [(case, SHARDED) for case in ("iwae dreg, normal", "factor, normal", "images")]
PROGRAMS = [(f"{case}, normal", TRACED) for case in ("iwae dreg", "capacity", "factor")]
PROGRAMS += [("elbo, codebook", COMPILED)]
THREE = [(f"elbo, {latent}", "") for latent in ("normal", "vamp", "codebook", "ladder over a codebook")]
THREE += [(case, "") for case in ("iwae dreg, normal", "factor, normal", "a variance of all rows", "images")]
THREE += [(case, "") for case in ("free bits between the shares", "capacity between the shares")]
THREE += [("elbo, normal", kind) for kind in (MASKED, WEIGHTED, SHARDED)]
"""Steps that three processes take, too."""


def sizes_of(kind):
    """Rows per batch of a program: compiled ones are of one shape, for every shape is compiled anew."""
    return SIZES[:2] if kind == COMPILED else SIZES


def steps(processes, folder):
    sharded.WORTH_SHARDING = 1
    for case, kind in STEPS if processes.size == 2 else THREE:
        write_tensors(folder / f"{case}, {kind} {processes.rank}", take_steps(case, processes, kind))


def programs(processes, folder):
    for case, kind in PROGRAMS:
        write_tensors(folder / f"{case}, {kind} {processes.rank}", take_steps(case, processes, kind, sizes_of(kind)))


def broken_row(processes, folder):
    """A row that is not a number, which the last process has: the first bad step of all."""
    learner = Learner(build(), ob.ELBO()).double()
    step = Step(learner, processes=processes)
    for t in range(3):
        rows = batch(learner.model, 4, seed=t)
        rows.x[1] = float("nan") if t == 1 else rows.x[1]
        step(portion(processes, rows), Source.like(learner, processes.rank))
    write_tensors(folder / f"first bad {processes.rank}", {"first_bad": learner.first_bad})


# -- trainings -------------------------------------------------------------------------------------


def digits(rows=300):
    return vk.datasets.mnist()[0][:rows]


def dropping(**settings):
    """A model with noise of torch's own generator."""
    torch.manual_seed(0)
    decoder = nn.Sequential(nn.Linear(2, 16), nn.Dropout(0.5), nn.Linear(16, 784))
    return vk.VAE(decoder=decoder, validation=0.1, batch_size=64, **settings)


def resumed(processes, folder):
    """4 epochs at once, and in two halves; a run of one process that goes on here; one that goes on there."""
    x = digits()
    whole = dropping(epochs=4).fit(x, run=folder / "whole")
    dropping(epochs=2).fit(x, run=folder / "halves")
    dropping(epochs=2).fit(x, run=folder / "to one")
    torch.rand(7)
    halves = dropping(epochs=4).fit(x, run=folder / "halves", resume=True)
    grown = dropping(epochs=4).fit(x, run=folder / "to two", resume=True)
    told = {f"whole/{n}": t for n, t in whole.module_.state_dict().items()}
    told |= {f"halves/{n}": t for n, t in halves.module_.state_dict().items()}
    told["steps"] = torch.tensor([r["step"] for r in grown.history_])
    told["codes"] = torch.from_numpy(grown.transform(x))
    write_tensors(folder / f"resumed {processes.rank}", told)


SEEDS = range(6)
CURVE = {"epochs": 6, "batch_size": 64, "threads": 1, "compile": False}


def curve(processes, folder):
    elbos = [[r["val_elbo"] for r in vk.VAE(seed=s, **CURVE).fit(digits(3000)).history_] for s in SEEDS]
    if processes.rank == 0:
        (folder / "curve.json").write_text(json.dumps(elbos))


def loop(processes, folder):
    """A loop of the user's own: every process stands between the steps, and sees the same figures."""
    model = vk.VAEModule(
        MLP((16,)), lt.Latent(lt.Normal(2), lt.StandardNormal()), MLP((16,)), vk.likelihoods.Bernoulli()
    )
    metrics = [t.metrics() for t in vk.train(model, digits(), epochs=2, batch_size=100)]
    (folder / f"loop {processes.rank}.json").write_text(json.dumps(metrics))


def early(processes, folder):
    """Early stopping: all stop after the same epoch, with the same weights."""
    vae = vk.VAE(epochs=40, patience=2, lr=2e-2).fit(digits(), run=folder / "early")
    told = {"codes": torch.from_numpy(vae.transform(digits())), "epochs": torch.tensor(len(vae.history_))}
    write_tensors(folder / f"early {processes.rank}", told)


class Breaking(ob.ELBO):
    """A loss that is not finite once a last bias of the decoder is above 1/4."""

    def forward(self, model, batch, step, noise):
        terms = super().forward(model, batch, step, noise)
        bias = [p for name, p in model.decoder.named_parameters() if name.endswith("bias")][-1]
        broken = torch.where(bias.detach().abs().max() > 0.25, torch.nan, 0.0)
        return LossOutput({"model": terms.losses["model"] + broken}, terms.metrics, terms.updates)


def returned(processes, folder):
    """A training that diverges goes back on all processes at once, with weights that are spread or not."""
    recovery.WINDOW, told = 4, {}
    for name, how in (("plain", {}), ("spread", {"sharded": True})):
        settings = dict(epochs=8, batch_size=64, lr=2e-2, skip=1e6, threads=1, validation=0)
        vae = vk.VAE(objective=Breaking(), **settings, **how).fit(digits(), run=folder / f"returned {name}")
        told[f"{name}/codes"] = torch.from_numpy(vae.transform(digits()))
        told[f"{name}/back"] = torch.tensor([r.get("rolled_back", -1) for r in vae.history_])
        assert vae.ended_ == "recovered"
    write_tensors(folder / f"returned {processes.rank}", told)


def stored(processes, folder):
    """Rows read from a file, by each process its own."""
    np.save(folder / f"rows {processes.rank}.npy", digits())
    fits = [vk.VAE(epochs=2).fit(x) for x in (digits(), folder / f"rows {processes.rank}.npy")]
    codes = [torch.from_numpy(vae.transform(digits())) for vae in fits]
    write_tensors(folder / f"stored {processes.rank}", dict(zip(("memory", "file"), codes)))


def spread(processes, folder):
    """Trained with weights that are spread, whole and in two halves of which the second is not; beside the plain."""
    x, settings = digits(), dict(validation=0.1, batch_size=64, threads=1, patience=10, average=0.9, skip=1e4)
    told = {}
    for name, how in (("plain", {}), ("spread", {"sharded": True})):
        vae = vk.VAE(epochs=4, **settings, **how).fit(x, run=folder / name)
        told |= {f"{name}/{n}": t for n, t in vae.module_.state_dict().items()}
    vk.VAE(epochs=2, sharded=True, **settings).fit(x, run=folder / "spread at first")
    mixed = vk.VAE(epochs=4, **settings).fit(x, run=folder / "spread at first", resume=True)
    told |= {f"mixed/{n}": t for n, t in mixed.module_.state_dict().items()}
    write_tensors(folder / f"spread {processes.rank}", told)


# -- refusals --------------------------------------------------------------------------------------


class Pairs(ob.ELBO):
    """A loss that reads the rows two by two."""

    couples_rows = True


def wrong(processes):
    """Trainings that are refused."""
    x = digits(60)
    learner, rows = assemble(build().float(), np.zeros((20, 5)), ob.ELBO(), seed=0)
    yield "ensemble", lambda: Training(Ensemble([learner, copy.deepcopy(learner)]), rows, seeds=[0, 1])
    yield "seeds", lambda: vk.VAE(seeds=2).fit(x)
    yield "couples", lambda: vk.VAE(objective=Pairs()).fit(x)
    mixing = nn.Sequential(nn.Linear(2, 16), nn.BatchNorm1d(16), nn.Linear(16, 784))
    yield "batch norm", lambda: vk.VAE(decoder=mixing).fit(x)
    yield "rows", lambda: vk.VAE(epochs=1).fit(x[: 60 - 10 * processes.rank])
    yield "reads weights", lambda: vk.VAE(recipe=vk.recipes.rae(decoder_l2=0.1), sharded=True).fit(x)
    yield "follows gradients", lambda: vk.VAE(recipe="hamiltonian", sharded=True).fit(x)
    yield "sharded, compiled", lambda: vk.VAE(sharded=True, compile=True).fit(x)
    yield "run", lambda: vk.VAE(epochs=1).fit(x, run=None if processes.rank else "nowhere")


def refused(processes, folder):
    told = {}
    for name, call in wrong(processes):
        try:
            call()
        except ValueError as error:
            told[name] = str(error)
    (folder / f"refused {processes.rank}.json").write_text(json.dumps(told))


# -- ends ------------------------------------------------------------------------------------------


class Fails:
    """A display, which only the first process has, and a way for the last one to fail: at the third step."""

    def __init__(self, error):
        self.error, self.take = error, Step.__call__

    def __call__(self, step, batch, noise):
        if step.taken == 3:
            raise self.error
        return self.take(step, batch, noise)


def fails(processes, folder):
    """The last process fails in the middle of `vaekit fit`."""
    if processes.rank == processes.size - 1:
        failing = Fails(OSError("the disk of process 1 is gone"))
        Step.__call__ = lambda step, batch, noise: failing(step, batch, noise)
    sys.exit(vk.cli.main(["fit", "digits", "--epochs", "50", "--no-report", "-o", str(folder / "run")]))


def diverges(processes, folder):
    sys.exit(vk.cli.main(["fit", "digits", "--lr", "1e30", "--epochs", "5", "--no-report", "-o", str(folder / "run")]))


def silent(processes, folder):
    """The last process stops answering."""
    if processes.rank == processes.size - 1:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        threading.Event().wait()
    vk.VAE(epochs=1).fit(digits())


def meet(folder):
    """Waits until both processes have imported what they need: a short timeout must not count that time."""
    (folder / f"here {os.environ['RANK']}").touch()
    while not all((folder / f"here {rank}").exists() for rank in range(2)):
        time.sleep(0.01)


def become(size):
    """Returns in each of so many processes; the one that was ends with them, well if all of them did."""
    importlib.import_module("torch._dynamo")  # which codebooks and flows import at first use
    children = []
    for rank in range(size):
        if not (child := os.fork()):
            os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
            return
        children.append(child)
    ends = [os.waitpid(child, 0)[1] for child in children]
    sys.exit(any(ends))


if __name__ == "__main__":
    task, folder, *size = sys.argv[1:]
    import vaekit.cli

    if size:
        become(int(*size))
    if task == "silent":
        meet(Path(folder))
        distributed.TIMEOUT = timedelta(seconds=5)
    for name in task.split(","):
        globals()[name](join(), Path(folder))
