"""Two commands for hands-on work, written beside a cluster that stays: kubectl, and enter."""

import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.cluster.namespaces import Namespaces


def write(directory: Path, *, kubectl: Sequence[str], members: Iterable[Namespaces]) -> None:
    """Write `kubectl` and `enter MEMBER [COMMAND...]` into the cluster's directory."""
    _script(directory / "kubectl", f'exec {shlex.join(kubectl)} "$@"\n')
    names = " | ".join(member.name for member in members)
    _script(
        directory / "enter",
        'member=$1; [ $# -eq 0 ] || shift\n[ $# -gt 0 ] || set -- bash\ncase "$member" in\n'
        + "".join(f'{member.name}) exec {shlex.join(member.enter)} "$@" ;;\n' for member in members)
        + f"esac\necho 'enter {names} [COMMAND...]' >&2; exit 2\n",
    )


def _script(path: Path, body: str) -> None:
    path.write_text(f"#!/bin/sh\n{body}")
    path.chmod(0o755)
