"""Measures vaekit beside others that do the same work, in turn, in one run.

    make bench                                                       # all works; about 40 minutes on 2 cores
    python benchmarks/run.py --work classic --rounds 5 --epochs 2    # one of them
    python benchmarks/run.py --work conv --only vaekit --rows 1280 --rounds 1 --out /tmp/try    # a quick look

Needs Python 3.11 and nothing else: environments are built under .bench/ (see environments/). Each round runs every
contender once, in a process of its own. The figures, of which the tables give the median over rounds:

    s/epoch, ms/step    the epochs after the first (or the only one), without the loading of data
    x vaekit, x floor   the median over rounds of the ratio within the round
    floor               the matrix products and convolutions of the same steps alone (contenders/floors.py)
    cpu s/epoch         of all threads
    to first step       from the start of the process to the end of the first optimiser step
    imports             of the libraries, within the process
    process             from its start to its end, held-out figure and all
    peak                the most memory held up to the end of training
    held out            minus cross-entropy minus KL on the test rows, one draw of z (k = 50: the bound, with k draws),
                        by each contender's own means: whether it learned the same

Results go to benchmarks/results: WORK-MACHINE.json with every round, and the tables as WORK-MACHINE.md. Threads are
what each library takes by default, unless --threads N tells all of them.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import environments
import measure
from works import WORKS, Contender, Group, Work

HERE = Path(__file__).parent
DATA = environments.HOME / "data"
TIMEOUT = 1200


def surroundings(contender: Contender, threads: int | None) -> dict[str, str]:
    """The variables of a contender's process."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "NPROC")
    told = dict.fromkeys(names, str(threads)) if threads else {}
    told["TORCHINDUCTOR_CACHE_DIR"] = str(environments.HOME / "compiled")
    backend = {"keras-tf": "tensorflow", "keras-jax": "jax"}.get(contender.environment)
    if backend:
        told |= {"KERAS_BACKEND": backend, "KERAS_HOME": str(environments.HOME), "TF_CPP_MIN_LOG_LEVEL": "3"}
    return {**os.environ, **told}


def measured(contender: Contender, task: dict, threads: int | None) -> dict:
    """A contender's figures; {"skipped": why} or {"failed": its last words} where there are none."""
    started = time.time()
    task = {**task, "call": contender.call, "folder": str(DATA), "started": started}
    command = [environments.python(contender.environment), HERE / "worker.py", json.dumps(task)]
    try:
        done = subprocess.run(
            command, env=surroundings(contender, threads), capture_output=True, text=True, timeout=TIMEOUT
        )
    except subprocess.TimeoutExpired:
        return {"failed": f"no result within {TIMEOUT} s"}
    if done.returncode:
        print(done.stderr[-2000:], file=sys.stderr)
        return {"failed": (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]}
    return {**json.loads(done.stdout.splitlines()[-1]), "wall": time.time() - started}


def export() -> None:
    """Writes the data, once, by vaekit's environment."""
    if not (DATA / "columns-train.npy").exists():
        told = measured(Contender("export", "vaekit", "kit.export"), {}, None)
        if "failed" in told:
            raise SystemExit(told["failed"])


def run_group(group: Group, results: dict[str, list[dict]], changed: dict, threads: int | None, only: str) -> None:
    """One round of a group; its figures are added to the results."""
    for contender in group.contenders:
        if only not in contender.name or any("skipped" in r for r in results.get(contender.name, [])):
            continue
        figures = measured(contender, {**group.task, **contender.settings, **changed}, threads)
        results.setdefault(contender.name, []).append(figures)
        said = figures.get("skipped") or figures.get("failed")
        heading, form = measure.COLUMNS[group.figure]
        said = said or f"{measure.written(figures[group.figure], form)} {heading}"
        print(f"  {group.title}: {contender.name}: {said}", flush=True)


def tables(work: Work, results: dict[str, dict[str, list[dict]]]) -> str:
    parts = [work.about]
    for group in work.groups:
        usable = {n: t for n, t in results[group.title].items() if any(group.figure in r for r in t)}
        if usable:
            parts.append(f"**{group.title}**\n\n{measure.table(group.figure, usable, group.contenders[0].name)}")
    return "\n\n".join(parts)


def run_work(name: str, args: argparse.Namespace) -> bool:
    """Measures a work, writes its results after every round; whether nothing failed."""
    work, changed = WORKS[name], {n: getattr(args, n) for n in ("rows", "epochs") if getattr(args, n)}
    results: dict[str, dict[str, list[dict]]] = {group.title: {} for group in work.groups}
    record = {"work": name, "about": work.about, "machine": measure.machine(), "threads": args.threads, "load": []}
    record |= {"date": time.strftime("%Y-%m-%d"), "versions": {}, "tasks": {}, "results": results}
    for i in range(args.rounds or work.rounds):
        print(f"{name}, round {i + 1} of {args.rounds or work.rounds}", flush=True)
        record["load"].append(round(os.getloadavg()[0], 2))
        for group in work.groups:
            record["tasks"][group.title] = {**group.task, **changed}
            run_group(group, results[group.title], changed, args.threads, args.only)
        write(name, work, record, args)
    print(f"\n{tables(work, results)}\n", flush=True)
    return not any("failed" in r for group in results.values() for taken in group.values() for r in taken)


def write(name: str, work: Work, record: dict, args: argparse.Namespace) -> None:
    for group in record["results"].values():
        for contender, taken in group.items():
            for figures in taken:
                record["versions"].setdefault(contender, {}).update(figures.pop("versions", {}))
    machine = record["machine"]
    threads = f"-{args.threads}thread" if args.threads else ""
    path = args.out / f"{name}-{machine['architecture']}-{machine['cores']}cpu{threads}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=1) + "\n")
    about = f"{machine['cpu']}, {machine['cores']} cores, {args.threads or 'default'} threads; {record['date']}"
    path.with_suffix(".md").write_text(f"{tables(work, record['results'])}\n\n{about}\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", nargs="+", choices=WORKS, default=list(WORKS), metavar="WORK", help=", ".join(WORKS))
    parser.add_argument("--rounds", type=int, help="of each work, instead of its own number")
    parser.add_argument("--epochs", type=int, help="of each contender")
    parser.add_argument("--rows", type=int, help="to train on")
    parser.add_argument("--threads", type=int, help="for every library; default: each library's own choice")
    parser.add_argument("--only", default="", help="contenders whose name contains this")
    parser.add_argument("--out", type=Path, default=HERE / "results", help="folder of the results")
    args = parser.parse_args()
    for name in {c.environment for work in args.work for g in WORKS[work].groups for c in g.contenders}:
        environments.python(name)
    export()
    sound = [run_work(name, args) for name in args.work]
    if not all(sound):
        sys.exit("some contenders failed: see above")


if __name__ == "__main__":
    main()
