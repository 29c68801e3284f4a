"""What a lab needs of the machine, looked for before anything is made, each with its remedy."""

import os
import shutil
import subprocess
from pathlib import Path

from wangell_lab.errors import LabError

__all__ = ["check", "mount_tracefs"]

TRACEFS = Path("/sys/kernel/tracing")
# Command, and the package of Debian and Ubuntu that brings it.
COMMANDS = {"nft": "nftables", "curl": "curl", "ss": "iproute2"}


def check() -> None:
    """Raises LabError where no lab can be made here."""
    if os.geteuid() != 0:
        raise LabError(
            "not root: network namespaces and BPF programs need it; run it again with sudo"
        )
    missing = sorted(package for tool, package in COMMANDS.items() if shutil.which(tool) is None)
    if missing:
        raise LabError(f"commands are missing here: apt-get install {' '.join(missing)}")


def mount_tracefs() -> None:
    """Mount tracefs where it is not: BCC reads a tracepoint's layout there."""
    if TRACEFS.joinpath("events").exists():
        return
    mounted = subprocess.run(
        ["mount", "-t", "tracefs", "tracefs", str(TRACEFS)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode != 0:
        raise LabError(
            f"no tracefs at {TRACEFS}, and it cannot be mounted: {mounted.stderr.strip()}; "
            f"the kernel needs CONFIG_TRACING"
        )
