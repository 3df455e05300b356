"""Nothing that a file holds is run: the source has no door that would run it."""

import ast
from pathlib import Path

import pytest

import vaekit

ROOT = Path(vaekit.__file__).parent
MODULES = {
    *(
        "pickle",
        "cPickle",
        "cloudpickle",
        "joblib",
        "dill",
        "marshal",
        "shelve",
        "yaml",
        "ruamel",
        "jsonpickle",
        "runpy",
    ),
    *("urllib", "requests", "httpx", "http", "ftplib", "aiohttp", "socket", "xml", "lxml", "imp", "code", "runpy"),
}
"""Modules that run what they read, or that fetch something."""
FUNCTIONS = {"eval", "exec", "compile", "__import__", "execfile"}
ATTRIBUTES = {
    *("read_pickle", "to_pickle", "read_hdf", "read_html", "read_xml", "read_sql", "loads_pickle", "load_module"),
    *("unsafe_load", "system", "popen", "spawnl", "execv", "hub", "from_buffer_unsafe", "torch_load"),
}


def sources():
    return sorted(ROOT.rglob("*.py"))


def doors(tree):
    """What in a file could run what another file holds."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            level = getattr(node, "level", 0)
            yield from (name for name in names if not level and name.partition(".")[0] in MODULES)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.attr in ATTRIBUTES or (node.value.id, node.attr) in {("torch", "load"), ("torch", "hub")}:
                yield f"{node.value.id}.{node.attr}"
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name) and node.func.id in FUNCTIONS:
                yield node.func.id
            settings = {k.arg: k.value for k in node.keywords}
            if "allow_pickle" in settings and getattr(settings["allow_pickle"], "value", True) is not False:
                yield "allow_pickle"
            if "weights_only" in settings and getattr(settings["weights_only"], "value", False) is not True:
                yield "weights_only"
            if "shell" in settings:
                yield "shell"


def test_no_file_of_the_package_has_a_door_for_code():
    found = {str(path.relative_to(ROOT)): list(doors(ast.parse(path.read_text("utf-8")))) for path in sources()}
    assert len(found) > 100 and not {path: opened for path, opened in found.items() if opened}


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from joblib import load",
        "import yaml",
        "eval('1')",
        "np.load(path, allow_pickle=True)",
        "np.load(path, allow_pickle=given)",
        "torch.load(path)",
        "pd.read_pickle(path)",
        "import urllib.request",
        "os.system('true')",
        "subprocess.run('true', shell=True)",
    ],
)
def test_the_search_finds_every_kind_of_door(code):
    assert list(doors(ast.parse(code)))


def test_numpy_does_not_unpickle_by_default():

    import inspect

    import numpy as np

    for reader in (np.load, np.lib.format.read_array):
        assert inspect.signature(reader).parameters["allow_pickle"].default is False
