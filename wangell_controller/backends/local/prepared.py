"""A server made ready while nobody calls: a shell that waits in its place for one line, then execs.

What a start costs is off the wake's path by then: the process, its namespace, its session, its
descriptors. *Measured*: releasing one takes 20 us where posix_spawn() takes 200 to 300. Until then
it has nothing of the server but its place, and no mark by which a controller would know it as one.
Its standard input is the pipe, of which we hold the other end: when we end, however, it reads the
end of it and is gone. Decision 0015 says why a shell.
"""

import os
import signal
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic_ns

from wangell_controller.backends.local.launch import Launch
from wangell_controller.backends.local.namespaces import Namespace
from wangell_controller.backends.local.replica import Replica, open_pidfd, spawn_in_place

__all__ = ["PREPARED_MARK", "Prepared", "prepare"]

PREPARED_MARK = "WANGELL_PREPARED"
"In its environment, in place of a server's marks: the run directory that they will name"
_SHELL = "/bin/sh"
_SCRIPT = f"""\
read -r WANGELL_ACTIVATION WANGELL_SPAWNED_NS || exit
WANGELL_RUN_DIR=${PREPARED_MARK}
unset {PREPARED_MARK}
export WANGELL_ACTIVATION WANGELL_SPAWNED_NS WANGELL_RUN_DIR
exec "$@" </dev/null"""
# What the kernel starts by itself. A shell would run any other text as a script, and a start
# without it would not: such a command is not prepared, and refused as ever.
_EXECUTABLE = (b"\x7fELF", b"#!")


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A process that waits. Release it or close it, once."""

    pid: int
    _pidfd: int
    _line: int
    _program: str

    def release(self, *, activation: int) -> Replica | None:
        """Let it become the server; None where it cannot, and is closed: then spawn one."""
        # A shell's word of a program that is gone is a status; a spawn's is the reason.
        if not os.access(self._program, os.X_OK):
            self.close()
            return None
        try:
            os.write(self._line, b"%d %d\n" % (activation, monotonic_ns()))
        except BrokenPipeError:  # Somebody has ended it.
            self.close()
            return None
        spawned_ns = monotonic_ns()
        os.close(self._line)
        return Replica(
            pid=self.pid, pidfd=self._pidfd, activation=activation, spawned_ns=spawned_ns
        )

    def close(self) -> None:
        """End it."""
        os.close(self._line)
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED)
        os.close(self._pidfd)


def prepare(launch: Launch, *, run_dir: Path, home: Namespace) -> Prepared | None:
    """Make a server ready; None where a shell would not start it as we do. Raises OSError."""
    if not _can_be_prepared(launch):
        return None
    script, line = os.pipe2(os.O_CLOEXEC)
    try:
        pid = spawn_in_place(
            launch,
            command=(_SHELL, "-c", _SCRIPT, "wangell", *launch.command),
            marks={"WANGELL_SERVICE": launch.key, PREPARED_MARK: str(run_dir)},
            stdin=script,
            home=home,
        )
        pidfd = open_pidfd(pid)
    except OSError:
        os.close(line)
        raise
    finally:
        os.close(script)
    return Prepared(pid=pid, _pidfd=pidfd, _line=line, _program=launch.command[0])


def _can_be_prepared(launch: Launch) -> bool:
    """A shell passes on no variable but those that it can name itself."""
    with Path(launch.command[0]).open("rb") as program:
        head = program.read(4)
    return head.startswith(_EXECUTABLE) and all(
        name.isascii() and name.isidentifier() for name in launch.environment
    )
