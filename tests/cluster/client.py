"""The caller outside the cluster: curl, connections to time, captures on its link."""

import contextlib
import itertools
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.cluster.namespaces import Namespaces
from tests.cluster.network import INTERFACE

# A wake takes 0.2 s; a caller that waits this long has been forgotten.
REQUEST_TIMEOUT_S = 30.0
SYN = "tcp[tcpflags] & (tcp-syn|tcp-ack) == tcp-syn"


def http_get(connection: socket.socket) -> bytes:
    """Ask for / on a new connection; the whole response, by the server's close."""
    connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
    answer = b""
    while chunk := connection.recv(4096):
        answer += chunk
    return answer


class Capture:
    """Packets of the client's link, in a file that tcpdump wrote and reads."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def lines(self, expression: str = "") -> list[str]:
        """The packets that match a filter, one a line, times in seconds since 1970."""
        command = ["tcpdump", "-nn", "-tt", "-r", str(self.file), expression]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return done.stdout.splitlines()

    def count(self, expression: str) -> int:
        """How many packets match a filter; SYN is one."""
        return len(self.lines(expression))


class Client:
    """A caller: here this machine itself, for a cluster that it can reach."""

    def run(self, *command: str | Path) -> str:
        """Run a command on the client and return what it prints."""
        words = [str(word) for word in command]
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout

    def curl(self, url: str, *options: str, timeout_s: float = REQUEST_TIMEOUT_S) -> str:
        """The body of a response; raises for anything but success."""
        # A proxy in the environment knows nothing of these addresses.
        fixed = (
            "--noproxy",
            "*",
            "--silent",
            "--show-error",
            "--fail",
            "--max-time",
            str(timeout_s),
        )
        return self.run("curl", *fixed, *options, url)

    def connect(
        self, address: str, port: int, *, timeout_s: float = REQUEST_TIMEOUT_S
    ) -> socket.socket:
        """A connection from the client: the call takes as long as the handshake."""
        connection = self._open_socket()
        connection.settimeout(timeout_s)
        try:
            connection.connect((address, port))
        except OSError:
            connection.close()
            raise
        return connection

    def _open_socket(self) -> socket.socket:
        return socket.socket(socket.AF_INET, socket.SOCK_STREAM)


class OutsideClient(Client):
    """A host on the nodes' segment that is no node."""

    def __init__(self, namespaces: Namespaces, directory: Path) -> None:
        self.namespaces = namespaces
        self._directory = directory
        self._captures = itertools.count(1)

    def run(self, *command: str | Path) -> str:
        """Run a command on the client and return what it prints."""
        return self.namespaces.run(*command)

    def _open_socket(self) -> socket.socket:
        return self.namespaces.open_socket()

    @contextlib.contextmanager
    def capture(self, expression: str = "") -> Iterator[Capture]:
        """Capture on the client's link while the block runs; read it after the block."""
        file = self._directory / f"capture-{next(self._captures)}.pcap"
        # Immediate mode: nothing waits in a buffer for more to come when the block ends.
        options = [
            "-i",
            INTERFACE,
            "-n",
            "-p",
            "--immediate-mode",
            "-U",
            "-Z",
            "root",
            "-w",
            str(file),
        ]
        with self.namespaces.open_process("tcpdump", *options, expression) as tcpdump:
            assert tcpdump.stderr is not None, "asked for as a pipe"
            # It says so once its socket is bound, and not before.
            first_line = tcpdump.stderr.readline()
            if "listening on" not in first_line:
                raise RuntimeError(f"tcpdump does not start: {first_line}{tcpdump.stderr.read()}")
            try:
                yield Capture(file)
            finally:
                tcpdump.terminate()
                tcpdump.stderr.read()
