"""The command line: `vaekit VERB ...`. Nothing heavy is imported before a verb runs."""

from __future__ import annotations

import importlib
import io
import json
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout

from ..printable import printable, printable_json, printable_lines
from .arg_types import UsageError
from .arguments import parse

INTERRUPTED = 130
WRONG = (ValueError, TypeError, ImportError)
WRONG_PLACE = (FileNotFoundError, FileExistsError, NotADirectoryError, IsADirectoryError, PermissionError)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command line and returns its exit code; `--help` and `--version` raise SystemExit, as argparse does.

    Of several processes (see `vaekit.training.join`) one prints, and all return the same.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    try:
        with _one_voice():
            args = parse(argv)
        if _several() and args.verb != "fit":
            raise UsageError(f"vaekit {args.verb} runs in one process: start it without torchrun")
        verb = getattr(importlib.import_module(".verbs", __package__), args.verb.replace("-", "_"))
        outcome = verb(args)
        tells, code = _end(outcome.code)
        if tells:
            record = json.dumps(outcome.record, ensure_ascii=False, allow_nan=False) if args.json else ""
            print(printable_json(record) if args.json else printable_lines(outcome.text), flush=True)
        return code
    except KeyboardInterrupt as stop:
        if _end(INTERRUPTED, failed=True)[0]:
            print(f"vaekit: interrupted{f': {printable(stop)}' if str(stop) else ''}", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # `vaekit recipes | head`: nobody reads any more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        tells, code = _end(2 if isinstance(error, (*WRONG, *WRONG_PLACE)) else 1, failed=True)
        if tells and "--debug" in argv:
            print(printable_lines(traceback.format_exc()), end="", file=sys.stderr)
        if tells:
            print(f"vaekit: error: {_line(error)}", file=sys.stderr)
        return code


def _several() -> bool:
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


@contextmanager
def _one_voice() -> Iterator[None]:
    """Leaves it to the first of several processes to print the help."""
    silent = _several() and os.environ.get("RANK") != "0"
    with redirect_stdout(io.StringIO()) if silent else nullcontext():
        yield


def _end(code: int, failed: bool = False) -> tuple[bool, int]:
    """Whether this process tells how the work ended, and the exit code."""
    if not _several():
        return True, code
    from ..training.distributed import verdict

    return verdict(code, failed)


def _line(error: Exception) -> str:
    """An error and its notes in one line; named where vaekit did not foresee it."""
    foreseen = isinstance(error, (*WRONG, OSError, ArithmeticError))
    text = str(error) if foreseen and str(error) else f"{type(error).__name__}: {error}"
    return printable_lines(" ".join("; ".join([text, *getattr(error, "__notes__", [])]).split()))
