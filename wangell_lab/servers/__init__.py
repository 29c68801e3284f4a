"""Servers to start from zero: one in Python for the demo, one in C for tests and benchmarks."""

import shutil
import subprocess
import sys
from pathlib import Path

from wangell_lab.errors import LabError

__all__ = ["PYTHON_SERVER", "compile_c_server"]

_HERE = Path(__file__).parent

# -I -S: without the environment's and the site's modules it starts twice as fast.
PYTHON_SERVER = (sys.executable, "-I", "-S", str(_HERE / "http_server.py"))


def compile_c_server(directory: Path) -> Path:
    """Compile the C server into `directory` and return its path. Raises LabError."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise LabError("no C compiler here: apt-get install gcc libc6-dev")
    program = directory / "http_server"
    compiled = subprocess.run(
        [compiler, "-O2", "-static", "-o", str(program), str(_HERE / "http_server.c")],
        capture_output=True,
        text=True,
        check=False,
    )
    if compiled.returncode != 0:
        raise LabError(f"http_server.c does not compile:\n{compiled.stderr}")
    return program
