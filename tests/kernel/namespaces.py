"""Network namespaces of a test's own: `with Namespace() as node: ...`. Gone when the test ends.

Work in one is done by a thread that enters it, so that the test's own thread never leaves home.
"""

import itertools
import os
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Generic, Self, TypeVar

from wangell_daemon.datapath.syscalls import in_network_namespace

__all__ = ["Namespace", "cable"]

T = TypeVar("T")
_numbers = itertools.count()


class _Outcome(Generic[T]):
    """What a thread's work came to."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self.value: T
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self.value = self._work()
        except BaseException as error:
            self.error = error


class Namespace:
    """One namespace, its loopback up."""

    def __init__(self) -> None:
        self.name = f"wt{os.getpid()}-{next(_numbers)}"
        self.path = Path("/run/netns") / self.name

    def __enter__(self) -> Self:
        subprocess.run(["ip", "netns", "add", self.name], check=True)
        self.ip("link", "set", "lo", "up")
        return self

    def __exit__(self, *_: object) -> None:
        subprocess.run(["ip", "netns", "del", self.name], check=True)

    def ip(self, *arguments: str) -> None:
        """Run `ip` in it."""
        subprocess.run(["ip", "-n", self.name, *arguments], check=True)

    def run(self, work: Callable[[], T]) -> T:
        """Return `work()`, done by a thread that is in the namespace."""
        outcome = _Outcome(work)
        with self.path.open("rb") as namespace:
            thread = threading.Thread(
                target=lambda: in_network_namespace(namespace.fileno(), outcome.run)
            )
            thread.start()
            thread.join()
        if outcome.error is not None:
            raise outcome.error
        return outcome.value


def cable(one: Namespace, other: Namespace, *, name: str = "eth0") -> None:
    """A veth pair between two namespaces: 10.9.0.1/24 and 10.9.0.2/24."""
    peer = f"peer name {name} netns {other.name}".split()
    one.ip("link", "add", name, "type", "veth", *peer)
    for namespace, address in ((one, "10.9.0.1/24"), (other, "10.9.0.2/24")):
        namespace.ip("address", "add", address, "dev", name)
        namespace.ip("link", "set", name, "up")
