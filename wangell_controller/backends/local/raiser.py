"""Raises services while another controller leads: one server each, whoever starts it."""

import asyncio
import logging
import os
import select
from collections.abc import Callable, Mapping
from pathlib import Path

from wangell_controller.backends.local.launch import Launch
from wangell_controller.backends.local.replica import Replica
from wangell_controller.backends.local.starter import Starter

__all__ = ["LocalRaiser"]

log = logging.getLogger(__name__)


class LocalRaiser:
    """Starts servers, and stops none. Close it before this controller leads."""

    def __init__(
        self,
        launches: Mapping[str, Launch],
        *,
        run_dir: Path,
        activations: Callable[[], Mapping[str, int]],
    ) -> None:
        """`activations` are the leader's, as it last wrote them down."""
        self._launches = dict(launches)
        self._activations = activations
        self._starter = Starter(run_dir)
        self._loop = asyncio.get_running_loop()
        self._children: dict[int, Replica] = {}

    def replan(self, launches: Mapping[str, Launch]) -> None:
        """Take new launches in place of the old."""
        for launch in self._launches.values():
            launch.close()
        self._launches = dict(launches)

    def raise_from_zero(self, key: str, activation: int) -> int | None:
        """Return when the server was spawned; None where it was not, or long ago."""
        launch = self._launches.get(key)
        if launch is None or self._activations().get(key, 0) >= activation:
            return None
        try:
            replica = self._starter.start_once(launch, activation=activation)
        except OSError as error:
            log.warning("%s: cannot be started: %s: %s", key, launch.command[0], error.strerror)
            return None
        if replica is None:
            return None
        if replica.is_child and replica.pid not in self._children:
            self._watch(replica)
        else:
            os.close(replica.pidfd)
        return replica.spawned_ns

    def close(self) -> None:
        """Leave the servers to whoever leads. The launches stay open: this process may be next."""
        for child in list(self._children.values()):
            if select.select([child.pidfd], [], [], 0)[0]:
                self._on_end(child)
            else:
                self._loop.remove_reader(child.pidfd)
                os.close(child.pidfd)
        self._children.clear()
        self._starter.close()

    def _watch(self, child: Replica) -> None:
        """Nobody but its parent can take it off the kernel's hands when it has ended."""
        self._children[child.pid] = child
        self._loop.add_reader(child.pidfd, self._on_end, child)

    def _on_end(self, child: Replica) -> None:
        self._loop.remove_reader(child.pidfd)
        del self._children[child.pid]
        log.info("a server raised while standing by %s", child.reap())
