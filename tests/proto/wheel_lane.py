"""The protocol as others get it: `python -m tests.proto.wheel_lane`.

Builds the wheel, installs it with its dependencies alone into an environment of its own, and runs
tests/proto there. What the tests need besides comes from a directory that is no part of it.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEST_TOOLS = ("pytest", "pytest-timeout", "hypothesis")
# cryptography's own dependencies are its business.
ALLOWED = {"wangell", "msgpack", "cryptography", "cffi", "pycparser", "pip", "setuptools"}


def run(*command: str | Path, **kwargs: object) -> str:
    """Run a command, show what it says where it fails, and return its output."""
    done = subprocess.run(
        [str(part) for part in command], check=False, capture_output=True, text=True, **kwargs
    )
    if done.returncode != 0:
        raise SystemExit(
            f"{' '.join(map(str, command))}:\n{done.stdout[-4000:]}{done.stderr[-2000:]}"
        )
    return done.stdout


def installed(python: Path) -> set[str]:
    """Return the names of what is installed in an environment."""
    listed = json.loads(run(python, "-m", "pip", "list", "--format", "json"))
    return {each["name"].lower() for each in listed}


def main() -> int:
    """Return 0 where the tests pass."""
    with tempfile.TemporaryDirectory(prefix="wangell-wheel-") as name:
        place = Path(name)
        run(sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", place, ROOT)
        (wheel,) = place.glob("*.whl")
        venv.create(place / "venv", with_pip=True)
        python = place / "venv" / "bin" / "python"
        run(python, "-m", "pip", "install", wheel)
        surplus = installed(python) - ALLOWED
        if surplus:
            raise SystemExit(f"the base install brings more than it should: {sorted(surplus)}")
        run(python, "-m", "pip", "install", "--target", place / "tools", *TEST_TOOLS)
        shutil.copytree(ROOT / "tests" / "proto", place / "tests" / "proto")
        shutil.copy(ROOT / "tests" / "__init__.py", place / "tests")
        shutil.copytree(ROOT / "docs", place / "docs")
        shutil.copy(ROOT / "pyproject.toml", place)
        said = run(
            python, "-m", "pytest", "-q", "tests/proto",
            cwd=place, env={**os.environ, "PYTHONPATH": str(place / "tools")},
        )  # fmt: skip
        print(f"{wheel.name}, {', '.join(sorted(installed(python)))}: {said.splitlines()[-1]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
