"""README's section "On your cluster": its commands, and a shell that runs them word for word."""

import os
import re
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.cluster.cluster import Cluster
from tests.cluster.given import GivenCluster

__all__ = ["CALL", "DECLARE", "INSTALL", "REMOVE", "SECTION", "UNINSTALL", "run"]

TREE = Path(__file__).parents[2]
SECTION = "On your cluster"
TIMEOUT_S = 180.0


def blocks(text: str) -> list[str]:
    """The section's fenced blocks, in order."""
    section = re.search(rf"^## {SECTION}\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE)
    assert section is not None, f"README has no section {SECTION!r}"
    return re.findall(r"^```sh\n(.*?)^```$", section[1], re.DOTALL | re.MULTILINE)


INSTALL, DECLARE, CALL, REMOVE = blocks((TREE / "README.md").read_text())
# Its last line is Wangell's own: those before it remove the service.
UNINSTALL = REMOVE.splitlines()[-1]


def run(cluster: Cluster | GivenCluster, block: str) -> str:
    """Run a block as a user in the tree does, and return what it prints.

    `kubectl`, `kustomize` and `curl` are those that the cluster has for it.
    """
    commands = cluster.directory / "commands"
    if not commands.exists():
        commands.mkdir()
        for name, words in cluster.commands.items():
            _command(commands / name, words)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block],
        cwd=TREE,
        env=os.environ | {"PATH": f"{commands}:{os.environ['PATH']}"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def _command(path: Path, words: Sequence[str | Path]) -> None:
    path.write_text(f'#!/bin/sh\nexec {shlex.join(map(str, words))} "$@"\n')
    path.chmod(0o755)
