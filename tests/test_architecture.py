"""The shape of the house: imports point down only, and importing it brings nothing but torch, numpy, safetensors."""

import ast
import subprocess
import sys
from pathlib import Path

import vaekit

ROOT = Path(vaekit.__file__).parent
ROOMS = [
    {"printable"},
    {"suggest", "paths", "typecheck", "locking", "sklearn_compat"},
    {"settings"},
    {"arguments", "ranges"},
    {"constructors"},
    {"core", "files"},
    {"distributions"},
    {"storage", "networks", "data"},
    {"likelihoods", "latents"},
    {"model"},
    {"objectives"},
    {"recipes"},
    {"training", "manners", "own_modules"},
    {"constraints"},
    {"evaluation", "tasks", "reading"},
    {"fitted", "incremental"},
    {"evaluated"},
    {"estimator"},
    {"saving", "outliers"},
    {"loading"},
    {"report", "testing"},
    {"sweeps"},
    {"cli"},
    {"__main__"},
]
"""From the foundations up: a room imports from rooms below it only, or from itself."""
FLOOR = {room: floor for floor, rooms in enumerate(ROOMS) for room in rooms}
LATE = {("outliers", "loading"), ("evaluated", "report"), ("fitted", "saving"), ("estimator", "sweeps")}
"""Imports inside a function that point up, where a method is a door to a room above."""


def imports(path):
    """(room of the file, room it imports, whether at import time)."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    tree = ast.parse(path.read_text())
    top = set(ast.walk(ast.Module([n for n in tree.body if isinstance(n, (ast.Import, ast.ImportFrom))], [])))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            package = parts[: len(parts) - node.level]
            target = (*package, *(node.module.split(".") if node.module else ()))
            names = [target[0]] if target else [a.name for a in node.names]
            for name in names:
                yield parts[0], name, node in top
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module]
            assert not any(n.startswith("vaekit") for n in names), f"{path}: import relatively"


def test_imports_point_down():
    wrong = []
    for path in ROOT.rglob("*.py"):
        if path == ROOT / "__init__.py":
            continue
        for room, target, at_top in imports(path):
            if room == target or target.startswith("__"):
                continue
            assert room in FLOOR, f"{room} has no floor: place it in ROOMS"
            assert target in FLOOR, f"{target}, imported by {path.name}, has no floor"
            if FLOOR[target] >= FLOOR[room] and not (not at_top and (room, target) in LATE):
                wrong.append(f"{path.relative_to(ROOT)} imports {target}")
    assert not wrong


def test_importing_vaekit_brings_only_its_core_dependencies():
    code = (
        "import sys; import torch, numpy, safetensors.torch; before = set(sys.modules); import vaekit; "
        "new = {m.partition('.')[0] for m in set(sys.modules) - before} - set(sys.stdlib_module_names); "
        "print(sorted(new - {'torch', 'numpy', 'safetensors', 'functorch'}))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "['vaekit']"


def test_no_load_path_can_run_code_from_a_file():
    banned = ("pickle", "cloudpickle", "joblib", "dill", "marshal", "shelve")
    for path in ROOT.rglob("*.py"):
        text = path.read_text()
        for node in ast.walk(ast.parse(text)):
            names = []
            if isinstance(node, ast.Import):
                names = [a.name for a in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                names = [node.func.id] if node.func.id in ("eval", "exec", "__import__") else []
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                names = ["pickle"] if (node.value.id, node.attr) == ("torch", "load") else []
            assert not [n for n in names if n.partition(".")[0] in (*banned, "eval", "exec", "__import__")], path
        assert "allow_pickle=True" not in text
        if path.parent == ROOT and path.stem in ("core", "storage", "fitted", "estimator"):
            assert "import_module" not in text, "a name in a file must not be imported"


def test_every_public_name_says_what_it_is():
    import inspect

    rooms = [vaekit, vaekit.distributions, vaekit.latents, vaekit.likelihoods, vaekit.networks, vaekit.objectives]
    for room in rooms:
        for name, value in vars(room).items():
            if not name.startswith("_") and (inspect.isclass(value) or inspect.isfunction(value)):
                assert inspect.getdoc(value), f"{room.__name__}.{name} has no docstring"
