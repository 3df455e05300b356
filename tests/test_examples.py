"""The examples run, and so does the page on parts of your own, block by block."""

import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
PAGE = (ROOT / "docs" / "parts-of-your-own.md").read_text()


def run(folder, *arguments, **settings):
    """What a fresh Python in this folder prints, with the examples importable and warnings as errors."""
    paths = [str(EXAMPLES), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in paths if p)}
    environment.pop("KERAS_BACKEND", None)
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, **settings)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.skipif(find_spec("keras") is None, reason="needs keras")
def test_keras_mnist(tmp_path):
    said = run(tmp_path, EXAMPLES / "keras_mnist.py", "--epochs", 1, "--rows", 400, "--run", "run")
    assert "400 held-out rows" in said and "the same reconstructions: True" in said
    assert float(re.search(r"differ by at most (\S+)", said)[1]) < 1e-5
    assert (tmp_path / "run" / "model.safetensors").exists()


@pytest.mark.slow
def test_own_loop(tmp_path):
    """More epochs than it takes: the loop's own condition ends it, after its own change at step 200."""
    said = run(tmp_path, "-W", "error", EXAMPLES / "own_loop.py", 300, 1000).splitlines()
    assert 200 / 3 < len(said) < 1000
    elbos = [float(line.split()[-1]) for line in said]
    assert elbos[-1] < elbos[-6] + 0.5 + 0.02  # printed to two digits


def test_the_loop_is_short():
    code = [line for line in (EXAMPLES / "own_loop.py").read_text().split('"""')[2].splitlines() if line.strip()]
    assert len(code) <= 15


# -- the page ---------------------------------------------------------------------------------------


def blocks(text):
    return re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


SECTIONS = {part.partition("\n")[0]: blocks(part) for part in re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]}


def test_the_page_s_definitions_are_the_example():
    definitions = "\n\n".join(SECTIONS["What a part promises"])
    assert definitions == (EXAMPLES / "own_parts.py").read_text()


FRESH = """
import json, os, sys
import vaekit
for section, code in json.load(sys.stdin).items():
    print(end="\\0", flush=True)
    if child := os.fork():
        assert os.waitpid(child, 0)[1] == 0, section
    else:
        exec(compile(code, section, "exec"), {"__name__": "__main__"})
        sys.exit()
"""
"""Imports vaekit once; each section runs in a fork, which knows no more than that."""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_the_page_runs_each_section_in_a_fresh_process(tmp_path):
    code = {section: "\n".join(parts) for section, parts in list(SECTIONS.items())[1:]}
    assert all(code.values())
    parts = run(tmp_path, "-W", "error", "-c", FRESH, input=json.dumps(code)).split("\0")[1:]
    said = dict(zip(code, parts, strict=True))
    own, gaussian = (float(n) for n in re.findall(r"-?\d+\.\d+", said["Trained and saved"]))
    assert own > gaussian
    refusal = said["Loaded in a fresh process"]
    assert "names a part 'own_parts.HeavyTailed' that is not defined here" in refusal
    assert "import or define it first" in refusal
