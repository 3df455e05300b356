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
    {"training", "own_modules"},
    {"fitted", "tasks"},
    {"inference"},
    {"evaluation", "io"},
    {"report", "testing"},
    {"estimators"},
    {"sweeps"},
    {"cli"},
    {"__main__"},
]
"""From the foundations up: a room imports from rooms below it only, or from itself."""
FLOOR = {room: floor for floor, rooms in enumerate(ROOMS) for room in rooms}


def module_of(path):
    """The name of a file as a module, in parts, without the package."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" else parts


MODULES = {module_of(path): path for path in ROOT.rglob("*.py")}


def imports(path):
    """The modules of the package that a file imports, anywhere in it, as parts."""
    name = module_of(path)
    package = name if path.name == "__init__.py" else name[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            source = package[: len(package) - node.level + 1] + tuple(node.module.split(".") if node.module else ())
            for alias in node.names:
                yield (*source, alias.name) if (*source, alias.name) in MODULES else source
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module]
            assert not any(n.startswith("vaekit") for n in names), f"{path}: import relatively"


def test_imports_point_down():
    """No import points up: not in a function, and not for a type checker either."""
    wrong = []
    for name, path in MODULES.items():
        for target in imports(path) if name else ():
            if not target or target[0] == name[0] or target[0].startswith("__"):
                continue
            assert name[0] in FLOOR, f"{name[0]} has no floor: place it in ROOMS"
            assert target[0] in FLOOR, f"{target[0]}, imported by {path.name}, has no floor"
            if FLOOR[target[0]] >= FLOOR[name[0]]:
                wrong.append(f"{path.relative_to(ROOT)} imports {'.'.join(target)}")
    assert not wrong


def test_no_files_import_each_other_in_a_circle():
    graph = {name: {t for t in imports(path) if t in MODULES and t != name and t} for name, path in MODULES.items()}
    graph[()] = set()  # its names are imported at first use
    while leaves := {name for name, targets in graph.items() if not targets}:
        graph = {name: targets - leaves for name, targets in graph.items() if name not in leaves}
    assert not graph


def test_private_names_stay_in_their_module():
    """No module reads a name with an underscore that another module of the package defines."""
    wrong = []
    for path in MODULES.values():
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.level:
                wrong += [
                    f"{path.name} imports {a.name}" for a in node.names if a.name.startswith("_") and "__" not in a.name
                ]
        defined = {n.name for n in ast.walk(tree) if isinstance(n, (ast.FunctionDef, ast.ClassDef))}
        defined |= {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
        defined |= {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute) and isinstance(n.ctx, ast.Store)}
        for node in ast.walk(tree):
            if not isinstance(node, ast.Attribute) or not node.attr.startswith("_") or node.attr.startswith("__"):
                continue
            own = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
            if not own and node.attr not in defined | OF_OTHERS:
                wrong.append(f"{path.name}:{node.lineno} reads {ast.unparse(node)}")
    assert not wrong


OF_OTHERS = {
    *(
        "_calculate_fan_in_and_fan_out",
        "_foreach_copy_",
        "_foreach_lerp_",
        "_foreach_add",
        "_foreach_add_",
        "_fused_adam_",
    ),
    *("_overloadname", "_schema", "_BatchNorm", "_getframe"),
    *("_actions", "_option_string_actions", "_SubParsersAction"),
}
"""Names with an underscore of torch, Python and argparse that have no public equivalent."""


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
        if path.parent == ROOT and path.stem in ("storage", "fitted"):
            assert "import_module" not in text, "a name in a file must not be imported"


def test_every_public_name_says_what_it_is():
    import inspect

    rooms = [vaekit, vaekit.distributions, vaekit.latents, vaekit.likelihoods, vaekit.networks, vaekit.objectives]
    for room in rooms:
        for name, value in vars(room).items():
            if not name.startswith("_") and (inspect.isclass(value) or inspect.isfunction(value)):
                assert inspect.getdoc(value), f"{room.__name__}.{name} has no docstring"
