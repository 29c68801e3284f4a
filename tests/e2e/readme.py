"""README's section "On your cluster": its commands, and a shell that runs them word for word."""

import os
import re
import shlex
import subprocess
from pathlib import Path

from deploy.images.tools import find
from tests.cluster.cluster import Cluster

__all__ = ["CALL", "DECLARE", "INSTALL", "REMOVE", "SECTION", "run"]

TREE = Path(__file__).parents[2]
SECTION = "On your cluster"
TIMEOUT_S = 180.0


def blocks(text: str) -> list[str]:
    """The section's fenced blocks, in order."""
    section = re.search(rf"^## {SECTION}\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE)
    assert section is not None, f"README has no section {SECTION!r}"
    return re.findall(r"^```sh\n(.*?)^```$", section[1], re.DOTALL | re.MULTILINE)


INSTALL, DECLARE, CALL, REMOVE = blocks((TREE / "README.md").read_text())


def run(cluster: Cluster, block: str) -> str:
    """Run a block as a user in the tree does, and return what it prints.

    `kubectl` and `kustomize` are the cluster's, and `curl` is the client's outside of it.
    """
    commands = cluster.directory / "commands"
    if not commands.exists():
        commands.mkdir()
        _command(commands / "kubectl", cluster.kubectl_command)
        _command(commands / "kustomize", [str(cluster.binaries / "kustomize")])
        # By its path: by its name it would find this command again.
        curl = [str(find("curl")), "--noproxy", "*"]
        _command(commands / "curl", [*cluster.client.namespaces.enter, *curl])
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


def _command(path: Path, words: list[str]) -> None:
    path.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
    path.chmod(0o755)
