"""How long a statement takes in a fresh process."""

from __future__ import annotations

import time

from measure import Clock


def statement(task: dict, clock: Clock) -> dict:
    start = time.perf_counter()
    exec(task["statement"], {})
    return {"seconds": time.perf_counter() - start}
