"""The state of a process that a library must leave as it finds it: what it is, and how to change it."""

import logging
import os
import random
import signal
import sys
import warnings
from contextlib import contextmanager

import numpy as np
import torch

SET_BY_IMPORTS = ("KMP_INIT_AT_FORK", "KMP_DUPLICATE_LIB_OK", "_RJEM_MALLOC_CONF", "TORCHINDUCTOR_CACHE_DIR")
"""Environment variables that joblib, scikit-learn, polars and torch set when they are first imported."""


def snapshot():
    """Everything that a call could change in the process, by name, comparable by ==."""
    state = {
        "torch generator": torch.get_rng_state().tolist(),
        "NumPy generator": [np.asarray(part).tolist() for part in np.random.get_state()],  # noqa: NPY002
        "Python generator": random.getstate(),
        "warning filters": list(warnings.filters),
        "showwarning": warnings.showwarning,
        "signal handlers": {s: signal.getsignal(s) for s in signal.valid_signals()},
        "threads": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "default type": torch.get_default_dtype(),
        "default device": torch.get_default_device(),
        "gradients": torch.is_grad_enabled(),
        "inference mode": torch.is_inference_mode_enabled(),
        "autocast": [(torch.is_autocast_enabled(d), torch.get_autocast_dtype(d)) for d in ("cpu", "cuda")],
        "autocast cache": torch.is_autocast_cache_enabled(),
        "deterministic": (torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.deterministic),
        "precision": (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32),
        "anomalies": torch.is_anomaly_enabled(),
        "floating-point errors": np.geterr(),
        "logging": {n: (log.level, list(log.handlers), list(log.filters)) for n, log in _loggers().items()},
        "environment": {n: v for n, v in os.environ.items() if n not in SET_BY_IMPORTS},
        "folder": os.getcwd(),
        "hooks": (sys.excepthook, sys.displayhook),
    }
    if "matplotlib" in sys.modules:
        import matplotlib

        state["matplotlib"] = (dict(matplotlib.rcParams), matplotlib.get_backend(auto_select=False))
    return state


def _loggers():
    return {name: logging.getLogger(name) for name in (None, "vaekit", "torch", "matplotlib")}


@contextmanager
def unchanged():
    """Raises AssertionError, with what changed, where the state of the process is another after what is inside."""
    before = snapshot()
    try:
        yield
    finally:
        after = snapshot()
        changed = [name for name, value in before.items() if after[name] != value]
        assert not changed, f"changed: {', '.join(changed)}"


@contextmanager
def default_type():
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@contextmanager
def default_device():
    torch.set_default_device("meta")  # any tensor that lands on it has no values
    try:
        yield
    finally:
        torch.set_default_device(None)


@contextmanager
def everything():
    with default_type(), default_device(), torch.autocast("cpu", torch.bfloat16), torch.inference_mode():
        yield


STATES = {
    "float64 by default": default_type,
    "another device by default": default_device,
    "a device context": lambda: torch.device("meta"),
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "inference mode": torch.inference_mode,
    "no_grad": torch.no_grad,
    "everything": everything,
}
"""States that a program may be in when it calls the library."""
