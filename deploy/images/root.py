"""A Debian root tree as a layer: what a Dockerfile has from debian:bookworm-slim and apt-get.

Made by debootstrap once, kept in the cache as a tar, keyed by what went into it.
"""

import contextlib
import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from deploy.images.oci import Layer, layer_of_root, layer_of_tar
from deploy.images.tools import cache_dir, find, locked, require

SUITE = "bookworm"
MIRROR = "http://deb.debian.org/debian"
# What debian:bookworm-slim leaves out too, and the package lists: nobody reads them here.
PRUNED = (
    "usr/share/doc",
    "usr/share/info",
    "usr/share/locale",
    "usr/share/man",
    "var/cache",
    "var/lib/apt/lists",
    "var/log",
)


def debian_layer(packages: Sequence[str], *, progress: Callable[[str], None]) -> Layer:
    """A minimal Debian with `packages`; a minute the first time, then from the cache."""
    tar = cache_dir() / f"debian-{_key(packages)}.tar"
    with locked(tar.with_suffix(".lock")):
        if not tar.exists():
            progress(f"building a Debian {SUITE} root with {', '.join(packages)}")
            with _scratch() as scratch:
                _debootstrap(scratch / "root", packages)
                _prune(scratch / "root")
                layer_of_root(scratch / "layer.tar", scratch / "root").path.rename(tar)
    return layer_of_tar(tar)


def _key(packages: Sequence[str]) -> str:
    recipe = "\n".join([SUITE, MIRROR, *PRUNED, *packages])
    return hashlib.sha256(recipe.encode()).hexdigest()[:12]


@contextlib.contextmanager
def _scratch() -> Iterator[Path]:
    """A directory beside the cache's tars, so that the result moves there by a rename."""
    with tempfile.TemporaryDirectory(dir=cache_dir(), prefix="scratch-") as name:
        yield Path(name)


def _debootstrap(root: Path, packages: Sequence[str]) -> None:
    require("debootstrap", "unshare")
    # In a mount namespace of its own: what debootstrap mounts ends with it, killed or not.
    command = [str(find("unshare")), "--mount", str(find("debootstrap")), "--variant=minbase"]
    command += [f"--include={','.join(packages)}", SUITE, str(root), MIRROR]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last_lines = "\n".join((done.stdout + done.stderr).splitlines()[-10:])
        raise RuntimeError(f"debootstrap failed ({done.returncode}); its last lines:\n{last_lines}")


def _prune(root: Path) -> None:
    for name in PRUNED:
        shutil.rmtree(root / name)
        # Debian's policy wants the directories themselves; a pod may mount over them.
        (root / name).mkdir()
