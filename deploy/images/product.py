"""The product as layers: the wheels that it depends on, and its own."""

import configparser
import hashlib
import platform
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path

from deploy.images.oci import Layer, layer_of_root, layer_of_tar
from deploy.images.tools import cache_dir, locked

TREE = Path(__file__).resolve().parents[2]
# Where Debian's python3 looks for what pip brings.
PACKAGES_PATH = "usr/local/lib/python3.11/dist-packages"
# bookworm has glibc 2.36; pip does not infer the older platforms from the newest.
GLIBC_PLATFORMS = ("manylinux2014", "manylinux_2_17", "manylinux_2_28", "manylinux_2_34")


def dependencies_layer(extra: str, *, progress: Callable[[str], None]) -> Layer:
    """What `pip install wangell[extra]` brings beside wangell; cached by requirements."""
    requirements = _requirements(extra)
    key = hashlib.sha256("\n".join(requirements).encode()).hexdigest()[:12]
    tar = cache_dir() / f"wheels-{extra}-{key}.tar"
    with locked(tar.with_suffix(".lock")):
        if not tar.exists():
            progress(f"fetching wheels for the {extra} image: {', '.join(requirements)}")
            with tempfile.TemporaryDirectory(dir=cache_dir(), prefix="scratch-") as scratch:
                root = Path(scratch) / "root"
                _pip_install(root, requirements)
                layer_of_root(Path(scratch) / "layer.tar", root).path.rename(tar)
    return layer_of_tar(tar)


def product_layer(out: Path) -> Layer:
    """The tree's own wheel, with its commands in /usr/local/bin. Built anew each time."""
    with tempfile.TemporaryDirectory(dir=cache_dir(), prefix="scratch-") as scratch:
        wheels, root = Path(scratch) / "wheels", Path(scratch) / "root"
        _run("wheel", "--no-deps", "--wheel-dir", str(wheels), str(TREE))
        _pip_install(root, [str(wheel) for wheel in wheels.glob("*.whl")], "--no-deps")
        _write_commands(root)
        return layer_of_root(out, root)


def _requirements(extra: str) -> list[str]:
    project = tomllib.loads((TREE / "pyproject.toml").read_text())["project"]
    return [*project["dependencies"], *project["optional-dependencies"][extra]]


def _pip_install(root: Path, requirements: Sequence[str], *options: str) -> None:
    """Install for the image's Python, whatever the Python of this machine is."""
    platforms = [f"--platform={name}_{platform.machine()}" for name in GLIBC_PLATFORMS]
    target = ["--target", str(root / PACKAGES_PATH), "--python-version=3.11"]
    _run("install", *target, "--only-binary=:all:", *platforms, *options, *requirements)


def _run(verb: str, *arguments: str) -> None:
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, verb, *arguments], check=True)


def _write_commands(root: Path) -> None:
    """pip --target writes commands that start this machine's Python; the image has its own."""
    points = configparser.ConfigParser(delimiters=["="])
    points.optionxform = str  # type: ignore[method-assign,assignment]  # names are case-sensitive
    for file in root.glob(f"{PACKAGES_PATH}/*.dist-info/entry_points.txt"):
        points.read(file)
    commands = root / "usr/local/bin"
    commands.mkdir(parents=True)
    for name, reference in points["console_scripts"].items():
        module, _, function = reference.partition(":")
        script = commands / name
        script.write_text(
            f"#!/usr/bin/python3\nimport sys\n\nfrom {module} import {function}\n\n"
            f"sys.exit({function}())\n"
        )
        script.chmod(0o755)
