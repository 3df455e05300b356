"""What each verb does. A verb takes its arguments and returns what to print."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import storage
from ..data import Stored
from ..data.frames import container_of, take
from ..data.labels import Classes
from ..estimator import VAE
from ..evaluation import DIGITS, TableJudgement, representation
from ..evaluation.figures import plain
from ..evaluation.samples import Judgement
from ..recipes import RECIPES, Recipe
from ..training import join
from ..training.display import display_for
from . import INTERRUPTED, outputs
from .arguments import UsageError
from .comparing import compare as compare
from .inputs import Part, beside, train_and_test
from .opened import loaded, opened, sources, what_fit_read
from .outputs import Outcome, say
from .runs import Inputs, Plan, as_json, clear, place, remembered, resume_command
from .settings import kinds, prior
from .sweeping import sweep as sweep

# -- fitting ---------------------------------------------------------------------------------------


def fit(args: Namespace) -> Outcome:
    """Trains, evaluates and reports; everything goes into the run folder.

    Of several processes the first chooses the folder and writes; the others train along.
    """
    processes = join()
    args.quiet = args.quiet or processes.rank > 0
    plan = _new(args) if args.resume is None else _remembered(args)
    folder = Path(processes.first(lambda: str(_folder(plan, args))))
    plan.estimator()  # wrong settings are refused before anything is read
    given = Inputs(plan)
    vae = plan.estimator(given.held_rows)
    try:
        if args.resume is None and processes.rank == 0:
            clear(folder)
            plan = replace(plan, digests=given.digests)
            plan.write(folder)
        say(args, _beginning(plan, given, folder))
        _train(vae, given, folder, args)
        if vae.privacy is not None:
            replace(plan, spent=_spent(vae)["privacy"]).write(folder)
        for member in vae.__dict__.get("members_", [])[1:]:
            plan.of_member(seed=member.seed).write(folder / f"seed-{member.seed}")
        if vae.ended_ == "interrupted":
            return _interrupted(vae, folder)
        if processes.rank > 0:
            return Outcome("", {})
        return _judged(vae, given, folder, args)
    except KeyboardInterrupt as stop:
        raise KeyboardInterrupt(_go_on(folder)) from stop


def _new(args: Namespace) -> Plan:
    if args.data is None:
        raise UsageError("expected DATA to fit, or --resume RUN; see `vaekit fit --help`")
    return Plan.make(args.data, args.test, vars(args))


def _remembered(args: Namespace) -> Plan:
    plan = remembered(args, "data", "output", "test", "overwrite")
    if plan.over:
        raise ValueError(f"{args.resume} is a sweep: go on with `{resume_command(Path(args.resume), 'sweep')}`")
    if plan.rows_seed is not None:
        raise ValueError(f"{args.resume} was trained together with others: go on with the run that it is a part of")
    return plan


def _folder(plan: Plan, args: Namespace) -> Path:
    return place(plan, args.output, args.overwrite) if args.resume is None else Path(args.resume).expanduser()


def _beginning(plan: Plan, given: Inputs, folder: Path) -> str:
    x, model = given.train.x, plan.settings["recipe"] or "a model"
    of = "columns" if container_of(x) else x.dtype
    return f"fitting {model} to {given.train.name}, {' x '.join(map(str, x.shape))} {of}, in {folder}"


def _go_on(folder: Path) -> str:
    return f"go on with `{resume_command(folder)}`" if (folder / "run.json").exists() else "nothing was begun"


def _train(vae: VAE, given: Inputs, folder: Path, args: Namespace) -> None:
    try:
        resume, display, rows = args.resume is not None, display_for(not args.quiet), given.train
        vae.fit(rows.x, rows.classes, context=rows.context, run=folder, resume=resume, display=display)
    except (ValueError, TypeError, ImportError):
        began = (folder / "checkpoint" / "state.safetensors").exists()
        if args.resume is None and not began and join().rank == 0:
            clear(folder)  # it never began
        raise


def fit_prior(args: Namespace) -> Outcome:
    """Another prior for the model of a run, trained on the rows that it was fitted to; a run of its own comes of it."""
    source = Path(args.run).expanduser()
    plan, new, vae = Plan.read(source), prior(args.prior, args.set), loaded(args)
    if plan.rows_seed is not None:
        raise ValueError(f"{source} was trained together with others: name the run that it is a part of")
    if args.resume and args.output is None:
        raise UsageError("--resume goes on with a run that was begun: name it with --output")
    given = Inputs(plan)
    if given.held_rows is not None:
        vae.set_params(validation=given.held_rows)
    folder = Path(args.output).expanduser() if args.resume else place(plan, args.output, args.overwrite)
    if not args.resume:
        clear(folder)
        plan.write(folder)
    say(args, f"fitting a prior ({args.prior}) to the codes of {given.train.name}, in {folder}")
    try:
        shown = display_for(not args.quiet)
        vae.fit_prior(given.train.x, new, epochs=args.epochs, run=folder, resume=args.resume, display=shown)
    except (ValueError, TypeError):
        if not args.resume:
            clear(folder)  # it never began
        raise
    for member in vae.__dict__.get("members_", [])[1:]:
        plan.of_member(seed=member.seed).write(folder / f"seed-{member.seed}")
    if vae.ended_ == "interrupted":
        text = f"interrupted; {folder} can be used as it is\ngo on with: the same command and --resume"
        return Outcome(text, {"run": str(folder), "ended": vae.ended_, "epochs": len(vae.history_)}, INTERRUPTED)
    return _judged(vae, given, folder, args)


def _interrupted(vae: VAE, folder: Path) -> Outcome:
    command, done = resume_command(folder), len(vae.history_)
    record = {"run": str(folder), "ended": vae.ended_, "epochs": done, "resume": command}
    of = "" if vae.epochs is None else f" of {vae.epochs}"
    text = f"interrupted after {done}{of} epochs; {folder} can be used as it is\ngo on with: {command}"
    return Outcome(text, record, INTERRUPTED)


def _judged(vae: VAE, given: Inputs, folder: Path, args: Namespace) -> Outcome:
    """Evaluation and report at the end of a fit."""
    part = given.judged
    say(args, f"evaluating on {len(part.x):,} rows: {part.name}")
    evaluation = vae.evaluate(part.x, None, context=part.context)
    if evaluation.interrupted:
        raise KeyboardInterrupt
    ended = {"ended": vae.ended_, "epochs": len(vae.history_), "best_epoch": vae.best_epoch_, "pace": str(vae.pace_)}
    metrics = as_json({"on": part.name, **evaluation.to_dict(), **ended, **_spent(vae)})
    storage.write_json(folder / "metrics.json", metrics)
    lines, report = (
        [str(evaluation), f"evaluated on: {part.name}", f"trained with: {vae.pace_}", f"run:    {folder}"],
        None,
    )
    if not args.no_report:
        report = folder / "report.html"
        _page(vae, part, given).save(report)
        lines.append(f"report: {report}")
    return Outcome("\n".join(lines), {"run": str(folder), "report": report and str(report), **metrics})


def _spent(vae: VAE) -> dict[str, dict[str, float]]:
    """What a private training has come to; nothing of others."""
    return {} if vae.privacy is None else {"privacy": {"epsilon": vae.epsilon_, "delta": vae.privacy.delta}}


# -- using a run -----------------------------------------------------------------------------------


QUICK = 1000
"""Rows that `evaluate --quick` takes."""


def evaluate(args: Namespace) -> Outcome:
    vae, part = opened(args)
    if args.quick:
        part = part.first(QUICK)
    given = what_fit_read(args) if args.baselines or args.samples or args.probes else None
    learned = None if given is None else given.learned_from
    for rows in (learned, part) if args.probes else ():
        if rows.labels is None:
            raise ValueError(f"--probes needs labels, and {rows.name} has none of its own: use vae.probe from Python")
    few, draws, betas = (20, 10, 100) if args.quick else (100, None, 500)
    asked = {"ais": args.ais, "bracket": args.bracket}
    beside = {name: rows or few for name, rows in asked.items() if rows is not None}
    beside["against"] = learned.x if args.baselines else None
    vae.set_params(verbose=True)  # shows how far long work is
    evaluation = vae.evaluate(part.x, args.draws or draws, args.seed, part.context, betas=betas, **beside)
    record = {"run": args.run, "on": part.name, **evaluation.to_dict(), **_spent(vae)}
    lines = [str(evaluation), f"evaluated on: {part.name}"]
    if evaluation.interrupted:
        return Outcome("\n".join(lines), as_json(record), INTERRUPTED)
    if args.samples:
        judged = _samples_judged(vae, part, learned, given, args)
        record, lines = {**record, "samples": judged.to_dict()}, [*lines, str(judged)]
    if args.probes:
        codes = [vae.transform(rows.x, rows.context) for rows in (learned, part)]
        worth = representation.representation(codes[0], learned.labels, codes[1], part.labels, vae.seed, test=part.x)
        record["probes"] = plain(worth)
        lines.append("codes, by their labels:")
        lines += [f"  {name:<19}  {figure!s:<16}  {figure.meaning}" for name, figure in worth.items()]
    if args.probes and part.factors is not None:
        factors = np.stack(list(part.factors.values()), 1)
        record["disentanglement"] = vae.disentanglement(part.x, factors, args.seed, part.context)
        lines.append(f"codes, by the factors {', '.join(part.factors)}; every score lies in [0, 1]:")
        lines += [f"  {name:<19}  {score:.4f}" for name, score in record["disentanglement"].items()]
    return Outcome("\n".join(lines), as_json(record))


def _samples_judged(vae: VAE, part: Part, learned: Part, given: Inputs, args: Namespace) -> Judgement | TableJudgement:
    """Samples beside the rows of a part and those that fit learned from."""
    if vae.spec_.schema is not None:
        test = None if part.x is learned.x else part.x  # nothing was held out
        return vae.judge_table(learned.x, test, target=args.target, n=args.samples, seed=args.seed)
    if args.target is not None:
        raise ValueError("--target names a column of a table, and this model was fitted to an array: leave it out")
    features = DIGITS if given.plan.data == "mnist" else None
    return vae.judge_samples(part.x, learned.x, args.samples, features=features, seed=args.seed)


def report(args: Namespace) -> Outcome:
    path = outputs.chosen(args.output, Path(args.run) / "report.html", ".html", ".htm")
    vae, part, given = sources(args)
    others = {Path(source).stem: _test_rows(source, vae) for source in args.other}
    _page(vae, part, given, others).save(path)
    return _written(args, path, len(part.x), f"report on {part.name}")


def _page(vae: VAE, part: Part, given: Inputs | None, others: dict[str, Any] | None = None) -> Any:
    """The report on a part; given: where the training rows are at hand."""
    train = None if given is None else given.learned_from.x
    if train is part.x:  # nothing was held out, and rows are not compared with themselves
        train = None
    known = {"context": part.context, "factors": part.factors, "others": others}
    return vae.report(part.x, part.labels, name=part.name, train=train, **known)


def _test_rows(source: str, vae: VAE) -> NDArray | Stored:
    """The rows of a file, or the test set of a built-in."""
    train, test = train_and_test(source, vae.seed)
    return (test or train).x


def sample(args: Namespace) -> Outcome:
    vae = loaded(args)
    default = Path(args.run, "samples").with_suffix(outputs.suffix(vae.spec_))
    path = outputs.chosen(args.output, default, *_kinds(vae))
    known = {"mean": args.mean, "context": _asked(vae, args), "given": _given(vae, args.given), "gaps": args.gaps}
    rows = vae.sample(args.rows, seed=args.seed, **known)
    if vae.spec_.schema is not None:
        outputs.frame(path, rows)
    elif path.suffix.lower() == ".png":
        outputs.sheet(path, rows, vae.spec_)
    else:
        outputs.array(path, x=rows)
    return _written(args, path, len(rows), f"{len(rows)} samples")


def _given(vae: VAE, words: list[str]) -> dict[Any, Any] | None:
    """Columns and their values, as the data have them: levels by their names, dates, numbers."""
    if not words:
        return None
    given: dict[Any, Any] = {}
    for word in words:
        name, _, text = word.partition("=")
        columns = {str(c.name): c for c in vae.spec_.schema.cells} if vae.spec_.schema is not None else {}
        column = columns.get(name)
        if column is not None and column.levels:
            levels = {str(level): level for level in column.levels}
            given[column.name] = levels.get(text, text)
        elif column is not None and column.kind == "datetime":
            given[column.name] = np.datetime64(text)
        else:
            key = name if column is None and not name.isdecimal() else int(name) if column is None else column.name
            given[key] = _number(name, text)
    return given


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"--given {name}={text}: expected a number") from None


def impute(args: Namespace) -> Outcome:
    vae, part = opened(args)
    table = vae.spec_.schema is not None
    path = outputs.chosen(args.output, Path(args.run, f"imputed.{'csv' if table else 'npy'}"), *outputs.TABLES)
    made = vae.impute(part.x, args.n, draws=args.draws, seed=args.seed, context=part.context)
    outputs.rows(path, made, several=args.n is not None)
    what = "filled" if args.n is None else f"filled {args.n} times"
    return _written(args, path, len(part.x), f"{len(part.x):,} rows {what}, from {part.name}")


def score(args: Namespace) -> Outcome:
    vae, part = opened(args)
    path = outputs.chosen(args.output, Path(args.run, "scores.csv"), *outputs.TABLES)
    settings = {"draws": args.draws, "seed": args.seed, "context": part.context}
    columns = {"score": vae.anomaly_score(part.x, args.by, **settings)}
    if args.explain:
        shares = vae.explain(part.x, args.by, **settings)
        flat = shares.reshape(len(shares), -1) if isinstance(shares, np.ndarray) and not shares.dtype.names else None
        columns |= dict(shares.items()) if flat is None else {f"cell{i}": column for i, column in enumerate(flat.T)}
    outputs.columns(path, columns)
    return _written(args, path, len(part.x), f"{len(part.x):,} scores, from {part.name}")


def _kinds(vae: VAE) -> tuple[str, ...]:
    """How rows of these data can be written."""
    return (".png", ".npy", ".npz") if vae.spec_.schema is None else (".csv", ".parquet")


def embed(args: Namespace) -> Outcome:
    path = outputs.chosen(args.output, Path(args.run) / "codes.npy", ".npy", ".npz", ".csv", ".parquet")
    vae, part = opened(args)
    codes = vae.transform(part.x, part.context)
    if path.suffix.lower() in (".csv", ".parquet"):
        outputs.table(path, codes)
    else:
        outputs.array(path, z=codes)
    return _written(args, path, len(codes), f"{len(codes):,} codes of {codes.shape[1]} numbers, from {part.name}")


def reconstruct(args: Namespace) -> Outcome:
    vae, part = opened(args)
    default = Path(args.run, "reconstructions").with_suffix(outputs.suffix(vae.spec_))
    path = outputs.chosen(args.output, default, *_kinds(vae))
    x = part.first(args.rows).x
    again = vae.reconstruct(x, None if part.context is None else part.context[: args.rows])
    if vae.spec_.schema is not None:
        outputs.frame(path, again)
    elif path.suffix.lower() == ".png":
        outputs.sheet(path, x, vae.spec_, below=again)
    else:
        outputs.array(path, x=x, reconstruction=again)
    return _written(args, path, len(x), f"{len(x)} rows and their reconstructions, from {part.name}")


def _asked(vae: VAE, args: Namespace) -> object:
    """The context that samples are asked for: a class by its name, or what a file holds."""
    text, want = args.context, vae.spec_.context
    if text is None:
        return None
    if isinstance(want, Classes):
        named = {str(level): level for level in want.levels}
        if text in named:
            return named[text]
        if not Path(text).expanduser().exists():
            raise ValueError(f"--context {text}: expected a class, one of {want}, or a file of one for each row")
    rows = Part(range(args.rows), None, f"the sample of {args.rows} rows")
    return beside(text, rows, "context")


def interpolate(args: Namespace) -> Outcome:
    vae, part = opened(args)
    a, b = (_row(part, number) for number in (args.a, args.b))
    known = None if part.context is None else part.context[args.a : args.a + 1]
    rows = vae.interpolate(a, b, steps=args.steps, path=args.path, context=known)
    rows = rows if vae.spec_.schema is not None else rows[0]
    return _walked(args, vae, "interpolation", rows, f"{args.path} from row {args.a} to row {args.b} of {part.name}")


def traverse(args: Namespace) -> Outcome:
    if args.row is None and args.data is not None:
        raise UsageError("traverse takes DATA for --row N only; see `vaekit traverse --help`")
    vae, part = (loaded(args), None) if args.row is None else opened(args)
    x, where = (None, "the prior's centre") if part is None else (_row(part, args.row), f"row {args.row}")
    known = _asked(vae, args) if part is None else None if part.context is None else part.context[args.row][None]
    rows = vae.traverse(x, args.dimensions, args.steps, args.reach, context=known)
    if vae.spec_.schema is None:
        rows = rows[0].reshape(-1, *rows.shape[3:])
    moved = len(rows) // args.steps
    count = "1 dimension" if moved == 1 else f"{moved} dimensions"
    return _walked(args, vae, "traversal", rows, f"{count} moved around {where}")


def _row(part: Part, number: int) -> Any:
    """One row, as rows. Raises ValueError where there is none of that number."""
    if number >= len(part.x):
        raise ValueError(f"there is no row {number} in {part.name}: expected 0 to {len(part.x) - 1}")
    return take(part.x, np.array([number])) if container_of(part.x) else part.x[number : number + 1]


def _walked(args: Namespace, vae: VAE, name: str, rows: NDArray, what: str) -> Outcome:
    default = Path(args.run, name).with_suffix(outputs.suffix(vae.spec_))
    path = outputs.chosen(args.output, default, *_kinds(vae))
    if vae.spec_.schema is not None:
        outputs.frame(path, rows)
    elif path.suffix.lower() == ".png":
        outputs.sheet(path, rows, vae.spec_, across=args.steps)
    else:
        outputs.array(path, x=rows)
    return _written(args, path, len(rows), what)


def _written(args: Namespace, path: Path, rows: int, what: str) -> Outcome:
    return Outcome(f"{what}: {path}", {"run": args.run, "output": str(path), "rows": rows})


# -- recipes ---------------------------------------------------------------------------------------


def recipes(args: Namespace) -> Outcome:
    if args.name is None:
        width = max(map(len, RECIPES))
        lines = [f"{name:<{width}}  {e.summary}\n{'':<{width}}  {e.paper}" for name, e in RECIPES.items()]
        return Outcome("\n".join(lines), {"recipes": [_described(name) for name in RECIPES]})
    name = Recipe(args.name).name  # refuses an unknown one
    entry, declared = RECIPES[name], kinds(name)
    lines = [f"{name}: {entry.summary}", entry.paper, "", "settings (--set NAME=VALUE):"]
    width = max(map(len, entry.defaults), default=0)
    lines += [f"  {n:<{width}}  {_shown(v)}  ({declared[n]})" for n, v in entry.defaults.items()]
    return Outcome("\n".join(lines), _described(name))


def _described(name: str) -> dict[str, Any]:
    entry = RECIPES[name]
    return as_json({"name": name, "summary": entry.summary, "paper": entry.paper, "settings": entry.defaults})


def _shown(value: Any) -> str:
    """A default as `--set` reads it."""
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
