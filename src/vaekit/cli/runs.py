"""A run folder and its `run.json`: what was fitted to what, so that it can be continued and judged again."""

from __future__ import annotations

import hashlib
import json
from argparse import Namespace
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from .. import storage
from ..data import LazyRows, datasets
from ..data.frames import container_of, take
from ..estimators import VAE
from ..likelihoods import Bernoulli
from ..paths import expanded
from ..printable import printable, quoted
from . import inputs
from .arg_types import UsageError
from .arguments import SETTINGS
from .inputs import Part
from .settings import columns, privacy, recipe

FILES = ("run.json", "config.json", "model.safetensors", "history.jsonl", "metrics.json", "report.html")
BESIDE = ("context", "labels", "spent")
NEWER = ("columns", "epsilon", "delta", "unknown")
"""Content, and settings, that older runs do not tell of."""
CHECKPOINT = ("state.safetensors", "best.safetensors")


@dataclass(frozen=True)
class RunConfig:
    """What is fitted to what: the content of `run.json`.

    data, test: as on the command line, files by their whole path. settings: every entry of
    `arguments.SETTINGS`. digests: of the arrays as they were read, by part. over: what a sweep sweeps, as on the
    command line. rows_seed: of one of several models on the same rows, the seed that these were split by; None: its
    own. context, labels: what is given beside the rows, "own", "obs:NAME" or a
    file. spent: the epsilon and the delta that a private training has come to.
    """

    data: str
    test: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    over: list[str] = field(default_factory=list)
    rows_seed: int | None = None
    context: str | None = None
    labels: str | None = None
    spent: dict[str, float] | None = None

    @classmethod
    def make(cls, data: str, test: str | None, given: dict[str, Any]) -> RunConfig:
        settings = {name: given.get(name, setting.default) for name, setting in SETTINGS.items()}
        if isinstance(settings["validation"], str):
            settings["validation"] = _whole(settings["validation"])
        data = data if inputs.is_built_in(data) else _whole(data)
        beside = {n: v and _beside(v) for n in ("context", "labels") for v in [given.get(n)]}
        if beside["context"] and (test or isinstance(settings["validation"], str)):
            raise ValueError("--context is of DATA's rows only: hold out a share of these, without --test FILE")
        return cls(data, test and _whole(test), settings, over=given.get("over") or [], **beside)

    @classmethod
    def read(cls, folder: Path) -> RunConfig:
        """The plan of a run. Raises FileNotFoundError where there is none, StorageError where it is damaged."""
        path = folder / "run.json"
        try:
            config = storage.read_json(path)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise FileNotFoundError(f"{printable(folder)} is not a run of `vaekit fit` (it has no run.json)") from error
        storage.check_format(config, path)
        try:
            plan = cls(**{f.name: config[f.name] for f in fields(cls) if f.name in config or f.name not in BESIDE})
            older = {name: SETTINGS[name].default for name in NEWER}
            settings = {name: {**older, **plan.settings}[name] for name in SETTINGS}
            return replace(plan, settings=settings, digests=dict(plan.digests))
        except (KeyError, TypeError, ValueError) as error:
            raise storage.StorageError(f"{path} lacks {error}: it is damaged or not vaekit's") from error

    def write(self, folder: Path) -> None:
        from .. import __version__

        storage.write_json(folder / "run.json", {"format": storage.FORMAT, "vaekit": __version__, **asdict(self)})

    @property
    def seed_of_rows(self) -> int:
        """What the rows were chosen, split and binarised by."""
        return self.settings["seed"] if self.rows_seed is None else self.rows_seed

    def of_member(self, **settings: Any) -> RunConfig:
        """The plan of one of several models that were trained together on these rows, with settings of its own."""
        return replace(
            self, settings={**self.settings, "seeds": None, **settings}, over=[], rows_seed=self.seed_of_rows
        )

    def estimator(self, validation: object = None) -> VAE:
        """The estimator these settings make; unknown or unfit ones are refused. validation: the rows of its file."""
        s = self.settings
        own = ("recipe", "set", "binarise", "validation", "device", "columns", "epsilon", "delta", "clip")
        at_each_pass, private = s["binarise"] in ("dynamic", "threshold"), privacy(s["epsilon"], s["delta"], s["clip"])
        return VAE(
            recipe=recipe(s["recipe"], s["set"]),
            columns=columns(s["columns"]),
            privacy=private,
            clip=s["clip"] if private is None else None,
            likelihood=Bernoulli(binarise=s["binarise"]) if at_each_pass else None,
            validation=s["validation"] if validation is None else validation,
            device=device(s["device"]),
            **{n: v for n, v in s.items() if n not in own},
        )


def remembered(args: Namespace, *words: str) -> RunConfig:
    """The plan of the run to go on with. Raises UsageError where settings or these words are given beside it."""
    also = [name for name in SETTINGS if name in args] + [name for name in words if getattr(args, name)]
    if also:
        named = ", ".join("DATA" if name == "data" else f"--{name.replace('_', '-')}" for name in also)
        raise UsageError(f"--resume goes on with what {printable(args.resume)} remembers: leave out {named}")
    return RunConfig.read(expanded(args.resume))


class Inputs:
    """The arrays of a plan, as the model sees them."""

    def __init__(self, plan: RunConfig):
        self.plan = plan
        train, test = inputs.train_and_test(plan.data, plan.seed_of_rows)
        if plan.test is not None:
            test = Part(inputs.read(plan.test), None, Path(plan.test).name, source=plan.test)
        rows = plan.settings["validation"]
        held = Part(inputs.read(rows), None, Path(rows).name) if isinstance(rows, str) else None
        train = replace(
            train,
            context=inputs.beside(plan.context, train, "context"),
            classes=inputs.beside(plan.labels, train, "labels"),
        )
        if plan.context == "own" and test is not None:
            test = replace(test, context=inputs.beside("own", test, "context"))
        elif plan.context is not None:
            test = None
        found = {"data": train, "test": test, "validation": held}
        parts = {name: part for name, part in found.items() if part is not None}
        self.digests = {name: datasets.digest(part.x) for name, part in parts.items()}
        given = {"context": train.context, "labels": train.classes}
        self.digests |= {name: digest_of(values) for name, values in given.items() if values is not None}
        for name, was in plan.digests.items():
            if self.digests.get(name) != was:
                raise ValueError(
                    f"the {name} rows have changed since the run began: {parts.get(name, train).name} had digest "
                    f"{was[:12]}..., now {self.digests[name][:12]}...: bring them back, or begin a new run"
                )
        for name, part in parts.items():
            if plan.settings["columns"] and container_of(part.x) is None:
                raise ValueError(f"--columns is of a table's columns, and {part.name} is no table: leave it out")
            if part.x.shape[1:] != train.x.shape[1:]:
                raise ValueError(
                    f"expected {name} rows of {train.x.shape[1:]}, as in {train.name}, got {part.x.shape[1:]} in "
                    f"{part.name}: reshape them"
                )
        self.train, self.test, self.validation = (seen(plan, p, i) for i, p in enumerate((train, test, held)))

    @property
    def held_rows(self) -> NDArray | LazyRows | None:
        return None if self.validation is None else self.validation.x

    @property
    def learned_from(self) -> Part:
        """The training rows without those that fit held out."""
        part, validation = self.train, self.plan.settings["validation"]
        if isinstance(validation, str) or not validation:
            return part
        vae = self.plan.estimator().set_params(seed=self.plan.seed_of_rows)
        kept = ~vae.holds_out(len(part.x)).numpy()
        if kept.all() or not kept.any():
            return part
        beside = {n: v if (v := getattr(part, n)) is None else v[kept] for n in ("labels", "context", "classes")}
        factors = part.factors and {n: v[kept] for n, v in part.factors.items()}
        x = take(part.x, kept) if container_of(part.x) else part.x[kept]
        return replace(part, x=x, factors=factors, **beside)

    @cached_property
    def judged(self) -> Part:
        """The rows to evaluate on: the test set, else the held-out rows, else the training rows."""
        if self.test is not None:
            return self.test
        vae = self.plan.estimator(self.held_rows).set_params(seed=self.plan.seed_of_rows)
        held, beside = vae.held_out(self.train.x), self.train.context
        if held is not None and beside is not None:
            beside = beside[vae.holds_out(len(self.train.x)).numpy()]
        chose = "" if vae.patience is None else ", which also chose when to stop"
        if held is not None:
            return Part(held, None, f"held-out rows of {self.train.name}{chose}", beside)
        return Part(self.train.x, None, f"the training rows of {self.train.name}: no others were kept", beside)


def seen(plan: RunConfig, part: Part | None, stream: int) -> Part | None:
    """A part as the model sees it: with `--binarise static`, grey levels are drawn once, by seed + stream."""
    if part is None or plan.settings["binarise"] != "static":
        return part
    if container_of(part.x):
        raise ValueError(f"--binarise is of grey levels, and {part.name} is a table: leave it out")
    if isinstance(part.x, LazyRows):
        raise ValueError(
            f"--binarise static draws all of {part.name} once, in memory, and it is larger than is read whole: pass "
            "--binarise dynamic"
        )
    if _is_binary(part.x):
        return part
    return replace(part, x=datasets.binarise(part.x, plan.seed_of_rows + stream), name=f"{part.name}, binarised")


def digest_of(values: NDArray) -> str:
    """Of labels or context, words too."""
    return hashlib.sha256(json.dumps(np.asarray(values).tolist(), default=str).encode()).hexdigest()


def _is_binary(x: NDArray) -> bool:
    return x.dtype == bool or bool(((x == 0) | (x == 1)).all())


def _beside(given: str) -> str:
    """What stands beside rows, a file by its whole path."""
    return given if given == "own" or given.startswith(inputs.OBS) else _whole(given)


def _whole(path: str) -> str:
    return str(expanded(path).absolute())


def device(name: str) -> str:
    """`name`. Raises ValueError where it is no device of this machine."""
    try:
        kind = "auto" if name == "auto" else torch.device(name).type
    except RuntimeError as error:
        raise ValueError(f"--device {name}: expected auto, cpu, cuda, cuda:N or mps") from error
    if (kind == "cuda" and not torch.cuda.is_available()) or (kind == "mps" and not torch.backends.mps.is_available()):
        raise ValueError(f"--device {name}: torch sees no such device here; pass auto or cpu")
    return name


# -- the folder ------------------------------------------------------------------------------------


def is_finished(folder: Path) -> bool:
    return (folder / "model.safetensors").exists() and (folder / "metrics.json").exists()


def place(plan: RunConfig, output: str | None, overwrite: bool) -> Path:
    """The folder of a new run. Raises FileExistsError where a run would be overwritten unasked."""
    if output is None:
        return _unused(plan)
    folder = expanded(output)
    if (folder / "sweep.json").exists():
        raise FileExistsError(f"{printable(folder)} holds a sweep: choose another --output")
    if overwrite or not any((folder / name).exists() for name in FILES):
        return folder
    if is_finished(folder) or not (folder / "run.json").exists():
        raise FileExistsError(
            f"{printable(folder)} holds a run already: choose another --output, or replace it with --overwrite"
        )
    raise FileExistsError(
        f"{printable(folder)} holds an unfinished run: go on with `{resume_command(folder)}`, or --overwrite it"
    )


def clear(folder: Path) -> None:
    """Removes the files of a run, the checkpoint first, and what a killed writer left; then the folders, if empty."""
    for part in (*folder.glob("seed-*"), *folder.glob("pretraining")):
        clear(part)
    for parent, names in ((folder / "checkpoint", CHECKPOINT), (folder, FILES)):
        if not parent.is_dir():
            continue
        for path in (path for name in names for path in (parent / name, *parent.glob(f".{name}.*"))):
            path.unlink(missing_ok=True)
        if not any(parent.iterdir()):
            parent.rmdir()


def _unused(plan: RunConfig) -> Path:
    data = plan.data.partition(":")[0] if inputs.is_built_in(plan.data) else Path(plan.data).stem
    name = "-".join(filter(None, (data, plan.settings["recipe"], "sweep" if plan.over else None)))
    number = 1
    while (folder := Path("runs", name if number == 1 else f"{name}-{number}")).exists():
        number += 1
    return folder


def resume_command(folder: Path, verb: str = "fit") -> str:
    return f"vaekit {verb} --resume {quoted(folder)}"


def as_json(value: Any) -> Any:
    """A record that JSON can hold: tuples as lists, NaN and infinities as null."""
    if isinstance(value, dict):
        return {name: as_json(v) for name, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_json(v) for v in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
