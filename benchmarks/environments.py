"""Virtual environments for the contenders, built under .bench/ on first use and when what they ask for changes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent
HOME = ROOT / ".bench"


def python(name: str) -> Path:
    """The interpreter of the environment that environments/NAME.txt describes."""
    asked = HERE / "environments" / f"{name}.txt"
    sources = [asked, ROOT / "constraints.txt", *([ROOT / "pyproject.toml"] if "-e ." in asked.read_text() else [])]
    wanted = "".join(path.read_text() for path in sources)
    interpreter, stamp = HOME / name / "bin" / "python", HOME / name / "installed.txt"
    if not stamp.exists() or stamp.read_text() != wanted:
        print(f"Building .bench/{name} (a minute or two the first time)", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", HOME / name], check=True)
        pip = [interpreter, "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
        subprocess.run([*pip, "-c", "constraints.txt", "-r", asked], cwd=ROOT, check=True)
        stamp.write_text(wanted)
    return interpreter
