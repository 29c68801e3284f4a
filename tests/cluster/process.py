"""One long-lived process of the cluster: in its cgroup and namespaces, with a log."""

import os
import select
import signal
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path

from deploy.images.tools import SEARCH_PATH
from tests.cluster.cgroups import Cgroup

# The shell joins the cgroups before it becomes the command: nothing is ever outside them.
JOIN = (
    'for file in $CGROUP_PROCS; do echo 0 > "$file" || exit 1; done; unset CGROUP_PROCS; exec "$@"'
)
# A component that does not stop when asked is killed: what it would still write is not kept.
STOP_TIMEOUT_S = 10.0


def environment(cgroup: Cgroup) -> dict[str, str]:
    """What JOIN needs, beside what this process has."""
    files = " ".join(str(file) for file in cgroup.procs_files)
    return os.environ | {"PATH": SEARCH_PATH, "CGROUP_PROCS": files}


class Process:
    """A component. `start` and `stop` may follow each other; the log is appended to."""

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        cgroup: Cgroup,
        enter: Sequence[str],
        log: Path,
        variables: dict[str, str] | None = None,
    ) -> None:
        self.name = name
        self.log = log
        self._command = [*enter, *(str(word) for word in command)]
        self._cgroup = cgroup
        self._variables = variables or {}
        self._popen: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Of the running process; for signals that a test wants to send itself."""
        assert self._popen is not None, f"{self.name} is not running"
        return self._popen.pid

    def start(self, *, ready_timeout_s: float | None = None) -> None:
        """Start it. With a timeout, return once it says READY=1, as it would to systemd."""
        if ready_timeout_s is None:
            self._spawn({})
            return
        address = self.log.with_suffix(".notify")
        address.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notifications:
            notifications.bind(str(address))
            self._spawn({"NOTIFY_SOCKET": str(address)})
            self._wait_ready(notifications, ready_timeout_s)
        address.unlink()

    def stop(self) -> None:
        """SIGTERM, then SIGKILL to one that takes too long. Does nothing to one that has ended."""
        if self._popen is None:
            return
        self._popen.send_signal(signal.SIGTERM)
        try:
            self._popen.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._popen.kill()
        self.reap()

    def kill(self) -> None:
        """SIGKILL: the crash that a test wants."""
        assert self._popen is not None, f"{self.name} is not running"
        self._popen.kill()
        self.reap()

    def reap(self) -> None:
        """Wait for one that has been killed."""
        if self._popen is not None:
            self._popen.wait()
            self._popen = None

    def last_lines(self, count: int) -> list[str]:
        """The end of its log."""
        if not self.log.exists():
            return []
        return self.log.read_text(errors="replace").splitlines()[-count:]

    def _spawn(self, more: dict[str, str]) -> None:
        assert self._popen is None, f"{self.name} is running already"
        with self.log.open("ab") as log:
            self._popen = subprocess.Popen(
                ["sh", "-c", JOIN, self.name, *self._command],
                env=environment(self._cgroup) | self._variables | more,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Ctrl-C in the terminal is for the harness, which ends its processes in order.
                start_new_session=True,
            )

    def _wait_ready(self, notifications: socket.socket, timeout_s: float) -> None:
        pidfd = os.pidfd_open(self.pid)
        try:
            while True:
                readable, _, _ = select.select([notifications.fileno(), pidfd], [], [], timeout_s)
                if notifications.fileno() in readable:
                    if b"READY=1" in notifications.recv(4096):
                        return
                else:
                    self._fail("ended" if readable else f"was not ready in {timeout_s:.0f} s")
        finally:
            os.close(pidfd)

    def _fail(self, why: str) -> None:
        lines = "\n".join(self.last_lines(20))
        raise RuntimeError(f"{self.name} {why}; the end of {self.log}:\n{lines}")
