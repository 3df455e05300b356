"""The peak resident memory of this process alone.

`ru_maxrss` is unfit on Linux: it survives exec, and so a child that a large process starts reports the size of its
parent. The kernel keeps VmHWM for each address space, which exec replaces.
"""

import os
import resource
import sys
from contextlib import suppress
from pathlib import Path

STATUS = Path("/proc/self/status")


def peak() -> int:
    """Bytes, since this program was started or `forget` was called; elsewhere than on Linux, what getrusage says."""
    if not STATUS.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def forget() -> None:
    """Starts the peak anew from what is in use now, where the system can."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def environment() -> dict[str, str]:
    """The environment for a child that imports this module."""
    known = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, known))}
