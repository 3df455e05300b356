"""The command line: `vaekit VERB ...`. Nothing heavy is imported before a verb runs."""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback
from collections.abc import Sequence

from .arguments import parse

INTERRUPTED = 130
WRONG = (ValueError, TypeError, ImportError)
WRONG_PLACE = (FileNotFoundError, FileExistsError, NotADirectoryError, IsADirectoryError, PermissionError)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command line and returns its exit code; `--help` and `--version` raise SystemExit, as argparse does."""
    argv = list(sys.argv[1:] if argv is None else argv)
    try:
        args = parse(argv)
        verb = getattr(importlib.import_module(".verbs", __package__), args.verb)
        outcome = verb(args)
        print(
            json.dumps(outcome.record, ensure_ascii=False, allow_nan=False) if args.json else outcome.text, flush=True
        )
        return outcome.code
    except KeyboardInterrupt as stop:
        print(f"vaekit: interrupted{f': {stop}' if str(stop) else ''}", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # `vaekit recipes | head`: nobody reads any more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if "--debug" in argv:
            traceback.print_exc()
        print(f"vaekit: error: {_line(error)}", file=sys.stderr)
        return 2 if isinstance(error, (*WRONG, *WRONG_PLACE)) else 1


def _line(error: Exception) -> str:
    """An error and its notes in one line; named where vaekit did not foresee it."""
    foreseen = isinstance(error, (*WRONG, OSError, ArithmeticError))
    text = str(error) if foreseen and str(error) else f"{type(error).__name__}: {error}"
    return " ".join("; ".join([text, *getattr(error, "__notes__", [])]).split())
