"""Namespaces, held open by one sleeping process and entered with nsenter; they end with it."""

import ctypes
import socket
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path

from tests.cluster.cgroups import Cgroup
from tests.cluster.process import JOIN, Process, environment

# A command that takes longer hangs: none does more than set an address or import an image.
COMMAND_TIMEOUT_S = 120.0
CLONE_NEWNET = 0x40000000  # <linux/sched.h>


class Namespaces:
    """A network namespace, and for a node a mount, UTS and cgroup namespace too.

    Never a PID namespace: BPF reports pids as the machine counts them, and a daemon must find
    them in its /proc, as it does on a node.
    """

    def __init__(
        self, name: str, kinds: Sequence[str], *, cgroup: Cgroup, log_directory: Path
    ) -> None:
        self.name = name
        self.cgroup = cgroup
        self._kinds = kinds
        self._log_directory = log_directory
        self._holder = subprocess.Popen(
            self._hold_command(),
            env=environment(self.cgroup),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self._holder.stdout is not None, "asked for as a pipe"
        with self._holder.stdout as output:
            if output.readline() != "held\n":
                raise RuntimeError(f"cannot make namespaces ({', '.join(kinds)}) for {name}")
        self.run("ip", "link", "set", "lo", "up")

    def _hold_command(self) -> list[str]:
        flags = [f"--{kind}" for kind in self._kinds]
        if "mount" in self._kinds:
            # Mounts of the machine still come in; ours never go out.
            flags += ["--propagation", "slave"]
        hold = ["unshare", *flags, "sh", "-c", "echo held; exec sleep infinity >/dev/null 2>&1"]
        return ["sh", "-c", JOIN, f"{self.name}-namespaces", *hold]

    @property
    def pid(self) -> int:
        """Of the process that holds them."""
        return self._holder.pid

    @property
    def netns(self) -> Path:
        """The network namespace as a file, for setns() and for libraries that take a path."""
        return Path(f"/proc/{self.pid}/ns/net")

    @property
    def enter(self) -> list[str]:
        """The words before a command that is to run inside."""
        return ["nsenter", "--target", str(self.pid), *(f"--{kind}" for kind in self._kinds)]

    def run(self, *command: str | Path) -> str:
        """Run a command inside and return what it prints; RuntimeError with what it says."""
        words = [str(word) for word in command]
        done = subprocess.run(
            ["sh", "-c", JOIN, words[0], *self.enter, *words],
            env=environment(self.cgroup),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT_S,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(
                f"{self.name}: {' '.join(words)} ({done.returncode}): {done.stderr.strip()}"
            )
        return done.stdout

    def open_process(self, *command: str) -> subprocess.Popen[str]:
        """A process inside whose messages the caller reads, and which the caller ends."""
        return subprocess.Popen(
            ["sh", "-c", JOIN, command[0], *self.enter, *command],
            env=environment(self.cgroup),
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def process(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        variables: dict[str, str] | None = None,
    ) -> Process:
        """A process to start inside; its log goes beside the others."""
        return Process(
            name,
            command,
            cgroup=self.cgroup,
            enter=self.enter,
            log=self._log_directory / f"{name}.log",
            variables=variables,
        )

    def open_socket(
        self,
        family: socket.AddressFamily = socket.AF_INET,
        kind: socket.SocketKind = socket.SOCK_STREAM,
    ) -> socket.socket:
        """A socket of this network namespace, for a test that times what it does itself."""
        return open_socket_in(self.netns, family, kind)

    def reap(self) -> None:
        """Wait for the holder, which has been killed with its cgroup."""
        self._holder.wait()


def open_socket_in(
    netns: Path,
    family: socket.AddressFamily = socket.AF_INET,
    kind: socket.SocketKind = socket.SOCK_STREAM,
) -> socket.socket:
    """A socket of a network namespace that a file names."""
    made: list[socket.socket] = []

    def make() -> None:
        with netns.open() as opened:
            _setns(opened.fileno())
            made.append(socket.socket(family, kind))

    # Only this thread enters: the test's own never leaves its namespace, not even in failure.
    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    if not made:
        raise RuntimeError(f"cannot make a socket in the network namespace {netns}")
    return made[0]


def _setns(descriptor: int) -> None:
    """os.setns came with Python 3.12."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")
