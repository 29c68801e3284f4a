"""What the programs say to a daemon, for tests that have none."""

import time
from collections.abc import Callable

from wangell_daemon.datapath import Datapath

__all__ = ["Events", "until"]

TIMEOUT_S = 5.0


def until(
    condition: Callable[[], object], *, meanwhile: Callable[[], object] = lambda: None
) -> None:
    """Do `meanwhile` until it holds: packets cross softirqs, and the kernel tells when it will."""
    deadline_s = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline_s, "it did not come"
        meanwhile()


class Events:
    """What came out of a datapath's ring buffers."""

    def __init__(self, datapath: Datapath) -> None:
        self.held: list[bytes] = []
        self.answered: list[bytes] = []
        self._rings = datapath.rings(
            on_held=self.held.append,
            on_answered=self.answered.append,
            on_listen=lambda _: None,
        )

    def until(self, condition: Callable[[], object]) -> None:
        """Read until it holds."""
        until(condition, meanwhile=self.read)

    def read(self) -> None:
        """Read what there is."""
        for ring in self._rings:
            ring.consume()
