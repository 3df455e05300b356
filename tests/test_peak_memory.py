"""The peak is of this process alone: not of the one that started it, nor, once forgotten, of what it held before."""

import os
import subprocess
import sys

import peak_memory
import pytest

HELD = 512 << 20
linux = pytest.mark.skipif(not peak_memory.STATUS.exists(), reason="no /proc")


def printed(code):
    words = [sys.executable, "-c", f"import peak_memory; {code}"]
    out = subprocess.run(words, capture_output=True, text=True, check=True, env=peak_memory.environment())
    return [int(word) for word in out.stdout.split()]


@linux
def test_the_peak_of_a_child_leaves_out_its_parent():
    held = bytearray(b"x") * HELD
    assert peak_memory.peak() > HELD
    [child] = printed("print(peak_memory.peak())")
    assert 0 < child < HELD / 2 and len(held) == HELD


@linux
def test_what_was_returned_is_in_the_peak_until_it_is_forgotten():
    took = f"held = bytearray(b'x') * {HELD}; del held; print(peak_memory.peak())"
    before, kept, after = printed(f"print(peak_memory.peak()); {took}; peak_memory.forget(); print(peak_memory.peak())")
    assert before < HELD / 2 and kept > HELD
    if os.access("/proc/self/clear_refs", os.W_OK):
        assert after < HELD / 2
