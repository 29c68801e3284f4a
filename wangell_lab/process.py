"""Controller or daemon as a process in a namespace: started, known to be ready, ended by pid."""

import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from wangell_lab.errors import LabError
from wangell_lab.namespaces import Namespace

__all__ = ["READY_TIMEOUT_S", "Process"]

# BCC compiles in 0.13 s; on a machine that is busy with other labs that has taken 3 s.
READY_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 5.0
LOG_TAIL_LINES = 20
NOTIFY_BYTES_MAX = 4096


@dataclass(slots=True, kw_only=True)
class Process:
    """One command that says READY=1 (sd_notify) when it serves. Its log outlives its restarts."""

    name: str
    namespace: Namespace
    argv: Sequence[str]
    directory: Path
    "Where its log and its notify socket lie"
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    _popen: subprocess.Popen[bytes] | None = None

    @property
    def log_path(self) -> Path:
        """What it has written to stdout and stderr, over all its lives."""
        return self.directory / f"{self.name}.log"

    @property
    def pid(self) -> int:
        """Its process. Raises LabError where it does not run."""
        if self._popen is None:
            raise LabError(f"{self.name} is not running; start() it first")
        return self._popen.pid

    @property
    def running(self) -> bool:
        """Whether it has been started and has not ended."""
        return self._popen is not None and self._popen.poll() is None

    def start(self, *, timeout_s: float = READY_TIMEOUT_S) -> None:
        """Start it and return when it is ready. Raises LabError with the end of its log."""
        if self.running:
            raise LabError(f"{self.name} is running already; stop() it first")
        # A path, not an abstract name: those are private to a network namespace.
        notify_path = self.directory / f"{self.name}.notify"
        notify_path.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notifications:
            notifications.bind(str(notify_path))
            self._spawn({**self.environment, "NOTIFY_SOCKET": str(notify_path)})
            try:
                self._wait_ready(notifications, timeout_s=timeout_s)
            except BaseException:
                self.kill()
                raise

    def stop(self, *, timeout_s: float = STOP_TIMEOUT_S) -> int:
        """SIGTERM, then SIGKILL if it takes longer; return its exit code. Not running is fine."""
        return self._end(signal.SIGTERM, timeout_s=timeout_s)

    def kill(self) -> int:
        """SIGKILL: it has no chance to clean up. Return its exit code."""
        return self._end(signal.SIGKILL, timeout_s=STOP_TIMEOUT_S)

    def restart(self) -> None:
        """Stop it and start it again with the same command line."""
        self.stop()
        self.start()

    def log_tail(self, lines: int = LOG_TAIL_LINES) -> str:
        """Return the end of its log."""
        with suppress(FileNotFoundError):
            return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-lines:])
        return ""

    def _spawn(self, environment: Mapping[str, str]) -> None:
        with self.log_path.open("ab") as log:
            self._popen = self.namespace.popen(
                self.argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=dict(environment),
                # Ctrl-C in the terminal is for the lab, which then ends its services in order.
                start_new_session=True,
            )

    def _wait_ready(self, notifications: socket.socket, *, timeout_s: float) -> None:
        pidfd = os.pidfd_open(self.pid)
        try:
            deadline_s = time.monotonic() + timeout_s
            while True:  # Other notifications (STATUS=...) may come first.
                left_s = max(0.0, deadline_s - time.monotonic())
                readable = select.select([notifications.fileno(), pidfd], [], [], left_s)[0]
                if notifications.fileno() in readable:
                    if b"READY=1" in notifications.recv(NOTIFY_BYTES_MAX).split(b"\n"):
                        return
                elif readable:
                    raise LabError(self._failure("ended before it was ready"))
                else:
                    raise LabError(self._failure(f"was not ready after {timeout_s:g} s"))
        finally:
            os.close(pidfd)

    def _failure(self, what: str) -> str:
        return f"{self.name} {what}. The end of its log:\n{self.log_tail()}"

    def _end(self, how: signal.Signals, *, timeout_s: float) -> int:
        if self._popen is None:
            return 0
        popen, self._popen = self._popen, None
        popen.send_signal(how)  # Popen does nothing where it has ended already.
        try:
            return popen.wait(timeout_s)
        except subprocess.TimeoutExpired:
            popen.kill()
            return popen.wait(timeout_s)
