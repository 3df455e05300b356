"""Settings of all tests: one thread per worker, seeds from the names of tests, and a CUDA device for `gpu` tests."""

import math
import os
import random
import zlib

import numpy as np
import pytest
import torch

from vaekit.training import autotune

if "PYTEST_XDIST_WORKER" in os.environ:
    torch.set_num_threads(1)

# A slow step on a busy machine must not start trials of threads or a compilation: tests that want them ask for them.
autotune.WORTH_TRYING = autotune.WORTH_COMPILING = math.inf

collect_ignore = [] if torch.cuda.is_available() else ["test_gpu.py"]


def pytest_collection_modifyitems(config, items):
    """Leaves out the tests marked `gpu` on a machine without a CUDA device."""
    if torch.cuda.is_available():
        return
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if marked:
        config.hook.pytest_deselected(items=marked)
        items[:] = [item for item in items if not item.get_closest_marker("gpu")]


def seed_all(name):
    """Seeds the generators of the process from a name, so results depend neither on the order nor on the worker."""
    seed = zlib.crc32(name.encode())
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    torch.manual_seed(seed)


@pytest.hookimpl(tryfirst=True)
def pytest_make_collect_report(collector):
    seed_all(collector.nodeid)  # modules draw numbers when they are imported


@pytest.hookimpl(tryfirst=True)
def pytest_fixture_setup(fixturedef):
    seed_all(f"{fixturedef.baseid}::{fixturedef.argname}")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call(item):
    seed_all(item.nodeid)
