"""The verbs and their arguments, read without importing torch."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from .. import __version__
from ..suggest import nearest
from .arg_types import (
    Parser,
    UsageError,
    assignment,
    numbers,
    one_of,
    or_auto,
    positive,
    share_or_file,
    whole,
    yes_or_no,
)

FILES = "a .npy, .npz, .csv, .parquet or .h5ad file, or a folder of images"
DATA = f"mnist, digits, shapes[:N] (N random images), {FILES}"
OWN_DATA = f"{DATA}; of a built-in, its test set (default: what fit evaluated on)"
BESIDE = "a .npy or .csv file of as many rows, obs:NAME (a column of an .h5ad file), or own: the labels of a built-in"


@dataclass(frozen=True)
class Setting:
    """An option of `fit` that `run.json` remembers."""

    default: Any
    read: Callable[[str], Any]
    metavar: str
    help: str


SCHEDULES, INITIALISERS = ("constant", "cosine", "linear"), ("glorot", "he", "torch")
PATHS = ("linear", "spherical", "geodesic")
BINARISE = ("none", "static", "dynamic", "threshold")
OF_TABLES = "of tables, by their size"
SETTINGS: dict[str, Setting] = {
    "recipe": Setting(
        None, str, "NAME", "a named model, see `vaekit recipes` (default: vae for images, table for tables, else auto)"
    ),
    "set": Setting([], assignment, "NAME=VALUE", "a setting of the recipe, such as hidden=300,300; may be repeated"),
    "latent_dim": Setting(None, whole(1), "N", f"numbers in z (default: 2; {OF_TABLES})"),
    "epochs": Setting(None, whole(0), "N", f"passes over the training rows (default: 50; {OF_TABLES})"),
    "batch_size": Setting(None, whole(1), "N", f"rows per step (default: 128; {OF_TABLES})"),
    "lr": Setting(None, positive, "X", f"Adam's learning rate (default: 0.001; {OF_TABLES})"),
    "schedule": Setting(
        None,
        one_of(*SCHEDULES),
        "NAME",
        f"of the learning rate: {', '.join(SCHEDULES)} (default: constant; {OF_TABLES})",
    ),
    "warmup": Setting(0, whole(0), "N", "steps over which the learning rate rises"),
    "clip": Setting(
        None,
        positive,
        "X",
        "largest norm of a gradient (default: the recipe's); with --epsilon of each row's (default: 1)",
    ),
    "skip": Setting(None, positive, "X", "norm of a gradient above which a step is left out (default: none)"),
    "average": Setting(None, float, "X", "decay of the weights' running mean, which is kept, such as 0.999"),
    "patience": Setting(None, whole(1), "N", "stop after N epochs without a better held-out ELBO (default: never)"),
    "validation": Setting(0.1, share_or_file, "SHARE|FILE", "rows held out of training: a share, or a file of rows"),
    "initialiser": Setting("glorot", one_of(*INITIALISERS), "NAME", f"of the weights: {', '.join(INITIALISERS)}"),
    "binarise": Setting(
        "none",
        one_of(*BINARISE),
        "NAME",
        "grey levels as probabilities: drawn once (static), at each pass (dynamic), cut at 1/2 (threshold), or as "
        "the recipe has it (none)",
    ),
    "missing": Setting(False, bool, "", "NaN marks a missing cell (default: refused)"),
    "columns": Setting(
        [],
        assignment,
        "NAME=KIND,...",
        "what a table's columns are, where that is known better than it is inferred: real, positive, count, category, "
        "ordinal, boolean, datetime, ordered levels such as S/M/L, or identifier to leave one out; may be repeated",
    ),
    "unknown": Setting(
        "missing",
        one_of("missing", "error"),
        "NAME",
        "values of a table that fit did not see: missing cells, with a warning, or an error",
    ),
    "epsilon": Setting(
        None, positive, "E", "train privately: what the weights may tell of any one row (default: not privately)"
    ),
    "delta": Setting(None, positive, "D", "with --epsilon: far below one over the number of rows (default: 1e-5)"),
    "precision": Setting("fp32", one_of("fp32", "bf16"), "NAME", "of the networks' products in training: fp32, bf16"),
    "threads": Setting(
        "auto", or_auto(whole(1)), "N", "on the CPU in training; auto: the fastest number, tried at first"
    ),
    "compile": Setting(
        "auto", or_auto(yes_or_no), "auto|yes|no", "compile the steps; auto: for long trainings, if faster"
    ),
    "seed": Setting(0, whole(0), "N", "of everything random"),
    "seeds": Setting(None, whole(1), "N", "models to train together, of seed, seed + 1, ... (default: one)"),
    "sharded": Setting(False, bool, "", "several processes (torchrun) spread the networks' weights over them"),
    "device": Setting("auto", str, "NAME", "auto (cuda, mps, else cpu) or a torch device"),
}


def _add_settings(parser: Parser) -> None:
    group = parser.add_argument_group("settings, remembered in RUN")
    for name, setting in SETTINGS.items():
        flag = f"--{name.replace('_', '-')}"
        shown = setting.help
        if "default" not in shown and setting.default not in (None, []):
            shown += (
                f" (default: {setting.default:g})"
                if isinstance(setting.default, float)
                else f" (default: {setting.default})"
            )
        if setting.default is False:
            group.add_argument(flag, action="store_true", default=argparse.SUPPRESS, help=shown)
        else:
            action = "append" if setting.default == [] else "store"
            group.add_argument(
                flag, action=action, type=setting.read, default=argparse.SUPPRESS, metavar=setting.metavar, help=shown
            )


# -- the verbs -------------------------------------------------------------------------------------


def _fit(parser: Parser) -> None:
    parser.add_argument("data", metavar="DATA", nargs="?", help=DATA)
    parser.add_argument(
        "--max-seconds", type=positive, metavar="S", help="stop training after S seconds; --resume continues it"
    )
    parser.add_argument("--resume", metavar="RUN", help="go on with an unfinished run, bit for bit, and its settings")
    parser.add_argument(
        "-o", "--output", metavar="RUN", help="the run folder (default: runs/DATA-RECIPE, or -2, -3, ...)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace the run in RUN (default: refuse)")
    parser.add_argument(
        "--test",
        metavar="FILE",
        help="rows to evaluate on at the end (default: a built-in's test set, else the held-out rows)",
    )
    _context(parser, "none")
    parser.add_argument(
        "--labels", metavar="FILE|obs:NAME|own", help=f"classes, -1 where unknown (default: none): {BESIDE}"
    )
    parser.add_argument("--no-report", action="store_true", help="write no report.html (default: written)")
    parser.add_argument("--quiet", action="store_true", help="show no progress (default: shown on stderr)")
    _add_settings(parser)


PRIORS = ("mixture", "flow", "vamp", "two-stage", "pixels", "transformer")
"""What `fit-prior` can put in the place of a prior; the last two over codes of a codebook or a grid."""


def _fit_prior(parser: Parser) -> None:
    parser.add_argument("run", metavar="RUN", help="a run folder; its prior is replaced in another one")
    parser.add_argument("--prior", required=True, type=one_of(*PRIORS), metavar="NAME", help=", ".join(PRIORS))
    parser.add_argument(
        "--set",
        action="append",
        type=assignment,
        default=[],
        metavar="NAME=VALUE",
        help="a setting of the prior, such as components=50; may be repeated",
    )
    parser.add_argument("--epochs", type=whole(1), metavar="N", help="passes over the rows (default: the run's)")
    parser.add_argument("-o", "--output", metavar="RUN2", help="the new run (default: runs/DATA-RECIPE-2, or -3, ...)")
    parser.add_argument("--resume", action="store_true", help="go on with an interrupted RUN2 (default: begin anew)")
    parser.add_argument("--overwrite", action="store_true", help="replace the run in RUN2 (default: refuse)")
    parser.add_argument("--no-report", action="store_true", help="write no report.html (default: written)")
    parser.add_argument("--quiet", action="store_true", help="show no progress (default: shown on stderr)")
    _device(parser)


def _sweep(parser: Parser) -> None:
    parser.add_argument("data", metavar="DATA", nargs="?", help=DATA)
    parser.add_argument(
        "--over",
        action="append",
        type=assignment,
        metavar="NAME=A,B,...",
        help="a setting below, or of the recipe, and its values; / stands between values that hold commas, as in "
        "hidden=128/300,300; may be repeated: every combination is trained",
    )
    parser.add_argument("--resume", metavar="RUN", help="go on with an unfinished sweep, bit for bit, and its settings")
    parser.add_argument("-o", "--output", metavar="RUN", help="the sweep's folder (default: runs/DATA-RECIPE-sweep)")
    parser.add_argument("--test", metavar="FILE", help="rows that `vaekit evaluate` takes for a member by default")
    parser.add_argument(
        "--draws",
        type=whole(1),
        metavar="K",
        help="bound log p(x) of the held-out rows, too, with K draws (default: no)",
    )
    parser.add_argument("--quiet", action="store_true", help="show no progress (default: shown on stderr)")
    _add_settings(parser)


def _context(parser: Parser, default: str) -> None:
    parser.add_argument(
        "--context", metavar="FILE|obs:NAME|own", help=f"what is known beside each row (default: {default}): {BESIDE}"
    )


def _run_and_data(parser: Parser) -> None:
    parser.add_argument("run", metavar="RUN", help="a run folder")
    parser.add_argument("data", metavar="DATA", nargs="?", help=OWN_DATA)
    _context(parser, "as in fit")
    _device(parser)


def _device(parser: Parser) -> None:
    parser.add_argument("--device", default="auto", metavar="NAME", help=f"{SETTINGS['device'].help} (default: auto)")


def _output(parser: Parser, name: str, kinds: str) -> None:
    parser.add_argument("-o", "--output", metavar="FILE", help=f"{kinds} (default: {name} in RUN)")


def _evaluate(parser: Parser) -> None:
    _run_and_data(parser)
    shown = "draws per row (default: 100, or fewer, at least 10, where that takes minutes; 10 with --quick)"
    parser.add_argument("--draws", type=whole(1), metavar="K", help=shown)
    parser.add_argument("--seed", type=whole(0), metavar="N", help="of the draws (default: the run's)")
    _rows_of(parser, "--ais", "score the first ROWS by annealed importance sampling, too")
    _rows_of(parser, "--bracket", "bracket log p(x) of ROWS of the model's own between two bounds (bidirectional)")
    parser.add_argument("--quick", action="store_true", help="the first 1,000 rows only (default: all)")
    parser.add_argument("--baselines", action="store_true", help="beside simple models of the same rows (default: no)")
    shown = "N samples against test and training rows (default: none; without a number 2,000)"
    shown_target = "with --samples, of a table: the column that other models learn from the samples"
    parser.add_argument("--target", metavar="COLUMN", help=shown_target)
    parser.add_argument("--samples", nargs="?", type=whole(10), const=2000, metavar="N", help=shown)
    parser.add_argument("--probes", action="store_true", help="what the codes tell of labels and factors (default: no)")


def _rows_of(parser: Parser, flag: str, what: str) -> None:
    shown = f"{what} (default: none; without a number 100, or 20 with --quick)"
    parser.add_argument(flag, nargs="?", type=whole(2), const=0, metavar="ROWS", help=shown)


def _report(parser: Parser) -> None:
    _run_and_data(parser)
    parser.add_argument(
        "--other",
        action="append",
        default=[],
        metavar="DATA",
        help="other rows, to show how likely the model finds them; may be given twice (default: none)",
    )
    _output(parser, "report.html", "an .html file")


def _compare(parser: Parser) -> None:
    parser.add_argument("runs", metavar="RUN", nargs="+", help="run folders, two to ten; the first is the reference")
    parser.add_argument("--on", metavar="DATA", help=f"rows to compare on: {OWN_DATA}, the same for all")
    parser.add_argument("--draws", type=whole(1), default=32, metavar="K", help="draws per row (default: 32)")
    parser.add_argument(
        "-o", "--output", metavar="FILE", help="an .html file (default: comparison.html beside the first RUN)"
    )
    _device(parser)


def _sample(parser: Parser) -> None:
    parser.add_argument("run", metavar="RUN", help="a run folder")
    parser.add_argument("-n", "--rows", type=whole(1), default=64, metavar="N", help="new rows (default: 64)")
    parser.add_argument(
        "--context",
        metavar="CLASS|FILE",
        help="of all rows, a class, or a .npy or .csv file of one row for each (default: classes as in fit)",
    )
    parser.add_argument(
        "--given",
        action="append",
        type=assignment,
        default=[],
        metavar="COLUMN=VALUE",
        help="rows that have this value; may be repeated (default: any)",
    )
    parser.add_argument("--gaps", action="store_true", help="missing cells as in the training rows (default: none)")
    parser.add_argument("--seed", type=whole(0), metavar="N", help="of the draws (default: the run's)")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--mean", action="store_true", default=None, help="means of p(x | z) (default for grey levels)")
    kind.add_argument(
        "--draws", action="store_false", dest="mean", default=None, help="draws from p(x | z) (default otherwise)"
    )
    _device(parser)
    _output(parser, "samples.png for images, samples.npy otherwise,", ".png (a sheet of images), .npy or .npz")


def _impute(parser: Parser) -> None:
    _run_and_data(parser)
    parser.add_argument("--n", type=whole(1), metavar="N", help="N imputations by draws (default: one, the best guess)")
    parser.add_argument("--draws", type=whole(1), default=200, metavar="K", help="draws of z per row (default: 200)")
    parser.add_argument("--seed", type=whole(0), metavar="N", help="of the draws (default: the run's)")
    _output(parser, "imputed.csv for tables, imputed.npy otherwise,", ".csv, .parquet, .npy or .npz")


SCORES = ("bound", "elbo", "distortion", "error")


def _score(parser: Parser) -> None:
    _run_and_data(parser)
    parser.add_argument(
        "--by", type=one_of(*SCORES), default="bound", metavar="NAME", help=f"{', '.join(SCORES)} (default: bound)"
    )
    parser.add_argument("--explain", action="store_true", help="what each cell adds to the score, too (default: no)")
    parser.add_argument("--draws", type=whole(1), default=100, metavar="K", help="draws of z per row (default: 100)")
    parser.add_argument("--seed", type=whole(0), metavar="N", help="of the draws (default: the run's)")
    _output(parser, "scores.csv", ".csv, .parquet, .npy or .npz; a row's score first, higher is odder")


def _embed(parser: Parser) -> None:
    _run_and_data(parser)
    _output(parser, "codes.npy", ".npy, .npz, .csv or .parquet; columns z0, z1, ...")


def _reconstruct(parser: Parser) -> None:
    _run_and_data(parser)
    parser.add_argument("-n", "--rows", type=whole(1), default=10, metavar="N", help="the first N rows (default: 10)")
    _output(
        parser,
        "reconstructions.png for images, .npy otherwise,",
        ".png (rows above their reconstructions), .npy (the reconstructions) or .npz (x and reconstruction)",
    )


def _walk(parser: Parser, name: str, steps: int) -> None:
    parser.add_argument("data", metavar="DATA", nargs="?", help=OWN_DATA)
    _context(parser, "as in fit")
    parser.add_argument(
        "--steps", type=whole(2), default=steps, metavar="N", help=f"codes along the way (default: {steps})"
    )
    _device(parser)
    _output(parser, f"{name}.png for images, .npy otherwise,", ".png (a sheet, a walk in each line), .npy or .npz")


def _interpolate(parser: Parser) -> None:
    parser.add_argument("run", metavar="RUN", help="a run folder")
    parser.add_argument("a", metavar="A", type=whole(0), help="the row to begin with, counted from 0")
    parser.add_argument("b", metavar="B", type=whole(0), help="the row to end at")
    parser.add_argument(
        "--path", type=one_of(*PATHS), default="linear", metavar="NAME", help=f"{', '.join(PATHS)} (default: linear)"
    )
    _walk(parser, "interpolation", 10)


def _traverse(parser: Parser) -> None:
    parser.add_argument("run", metavar="RUN", help="a run folder")
    parser.add_argument("--row", type=whole(0), metavar="N", help="around the code of this row (default: the prior's)")
    parser.add_argument("--dimensions", type=numbers, metavar="I,J,...", help="which to move (default: all)")
    parser.add_argument(
        "--reach", type=positive, default=3.0, metavar="X", help="from -X to X, in units of z (default: 3)"
    )
    _walk(parser, "traversal", 11)


def _recipes(parser: Parser) -> None:
    parser.add_argument("name", metavar="NAME", nargs="?", help="show this recipe's settings (default: list all)")


VERBS: dict[str, tuple[str, Callable[[Parser], None], str]] = {
    "fit": ("train a model and judge it", _fit, "vaekit fit mnist --recipe beta-vae --set beta=6 --latent-dim 10"),
    "fit-prior": (
        "train another prior for a trained model",
        _fit_prior,
        "vaekit fit-prior runs/mnist --prior flow -o runs/mnist-flow",
    ),
    "sweep": ("compare settings over seeds", _sweep, "vaekit sweep mnist --over lr=1e-3,3e-3 --seeds 4"),
    "evaluate": ("figures on held-out rows", _evaluate, "vaekit evaluate runs/mnist --draws 500"),
    "report": ("a page of pictures and figures", _report, "vaekit report runs/mnist -o report.html"),
    "compare": (
        "several runs on one page, with differences",
        _compare,
        "vaekit compare runs/mnist runs/mnist-iwae -o comparison.html",
    ),
    "sample": ("new rows from the model", _sample, "vaekit sample runs/mnist -n 100 -o samples.png"),
    "impute": ("missing cells filled", _impute, "vaekit impute runs/people people.csv -o whole.csv"),
    "score": ("how odd rows are, and why", _score, "vaekit score runs/people people.csv --explain"),
    "embed": ("the codes of rows", _embed, "vaekit embed runs/mnist images.npy -o codes.csv"),
    "reconstruct": ("rows through the model and back", _reconstruct, "vaekit reconstruct runs/mnist -n 20"),
    "interpolate": ("from one row to another", _interpolate, "vaekit interpolate runs/mnist 3 8 --path geodesic"),
    "traverse": ("one dimension of the code at a time", _traverse, "vaekit traverse runs/mnist -o traversal.png"),
    "recipes": ("the named models and their settings", _recipes, "vaekit recipes beta-vae"),
}
"""Each verb: what it does, its arguments, an example."""

EXIT_CODES = """exit codes:
  0    done
  1    the work failed: training diverged, the disk is full
  2    wrong usage or bad input, or a folder that cannot be written
  130  interrupted by Ctrl-C"""


def build() -> Parser:
    """The parser of the whole command line."""
    parser = Parser(
        prog="vaekit",
        description="Variational autoencoders from the command line.",
        epilog="example:\n  vaekit fit mnist --epochs 5 -o runs/mnist\n  vaekit sample runs/mnist\n\n" + EXIT_CODES,
    )
    parser.add_argument("--version", action="version", version=f"vaekit {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", title="verbs (vaekit VERB --help says more)")
    for name, (summary, arguments, example) in VERBS.items():
        verb = verbs.add_parser(
            name, help=summary, description=f"vaekit {name}: {summary}.", epilog=f"example:\n  {example}"
        )
        arguments(verb)
        verb.add_argument("--json", action="store_true", help="print one JSON object (default: text)")
        verb.add_argument("--debug", action="store_true", help="show the traceback of an error (default: one line)")
    return parser


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The arguments of a command line. Raises UsageError, with the nearest name where one is unknown."""
    first = argv[0] if argv else ""
    if first not in ("-h", "--help", "--version", *VERBS):
        raise UsageError(_unknown("verb", first, VERBS) if first else f"expected a verb: {', '.join(VERBS)}")
    parser = build()
    args, rest = parser.parse_known_args(argv)
    if rest:
        verb = next(a for a in parser._actions if isinstance(a, argparse._SubParsersAction)).choices[args.verb]
        flags = [word for word in rest if word.startswith("-")]
        if not flags:
            raise UsageError(f"unexpected {rest[0]!r}; see `vaekit {args.verb} --help`")
        raise UsageError(_unknown("argument", flags[0].partition("=")[0], verb._option_string_actions, args.verb))
    return args


def _unknown(what: str, name: str, known: Iterable[str], verb: str = "") -> str:
    return f"unknown {what} {name!r}{nearest(name, known)}; see `{' '.join(['vaekit', verb]).strip()} --help`"
