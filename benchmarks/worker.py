"""One contender in a process of its own: `python worker.py TASK` reads JSON and prints a JSON line of figures."""

from __future__ import annotations

import importlib
import json
import sys
import time

import measure


def main() -> None:
    task = json.loads(sys.argv[1])
    clock = measure.Clock(task["started"])
    module, function = task["call"].split(".")
    start = time.perf_counter()
    contender = importlib.import_module(f"contenders.{module}")
    imports = time.perf_counter() - start
    try:
        figures = getattr(contender, function)(task, clock) or {}
    except measure.Skipped as reason:
        print(json.dumps({"skipped": str(reason)}))
        return
    steps = -(-task.get("rows", 1) // task.get("batch", 1))
    figures = {"imports": imports, "peak_mb": measure.peak_mb(), **clock.figures(steps), **figures}
    print(json.dumps({**figures, "versions": measure.versions()}))


if __name__ == "__main__":
    main()
