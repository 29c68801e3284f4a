"""The local backend: `start` spawns before it returns; ends come by pidfd in the event loop."""

import asyncio
import logging
import os
import signal
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from wangell_controller.backends import (
    ReplicaEnded,
    ReplicaFailed,
    ReplicaFound,
    ReplicaStarted,
    Tell,
    Trouble,
)
from wangell_controller.backends.local.adopt import Found, find_replicas, is_listening
from wangell_controller.backends.local.launch import Launch
from wangell_controller.backends.local.replica import Replica
from wangell_controller.backends.local.starter import Starter
from wangell_controller.model import WangellService

__all__ = ["LocalBackend"]

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Slot:
    """The place of one service's replica."""

    replica: Replica | None = None
    kill_timer: asyncio.TimerHandle | None = None
    "Set from the stop on"
    next_activation: int | None = None
    "A start that waits for the end of the one being stopped: they would share a port"
    is_forgotten: bool = False


class LocalBackend:
    """Processes in network namespaces. One event loop, one thread, root."""

    replaces_image = False

    def __init__(
        self,
        launches: Mapping[str, Launch],
        *,
        run_dir: Path,
        tell: Tell,
        stop_grace_s: float,
    ) -> None:
        """Find what an earlier controller with the same run directory left running."""
        self._loop = asyncio.get_running_loop()
        self._tell = tell
        self._stop_grace_s = stop_grace_s
        self._launches = dict(launches)
        self._slots: dict[str, _Slot] = {}
        self._starter = Starter(run_dir)
        self._ended = asyncio.Event()
        self._orphans: list[Found] = list(find_replicas(run_dir))

    @property
    def nodes(self) -> frozenset[str]:
        """The nodes of all the services' replicas."""
        return frozenset(
            endpoint.node
            for launch in self._launches.values()
            for endpoint in launch.place.endpoints
        )

    def replan(self, launches: Mapping[str, Launch], *, stop_grace_s: float) -> None:
        """Take new launches in place of the old; declare() or forget() each service then."""
        for launch in self._launches.values():
            self._starter.discard(launch.key)
            launch.close()
        self._launches = dict(launches)
        self._stop_grace_s = stop_grace_s

    def declare(self, service: WangellService) -> None:
        """Tell where the service is, and of the replica an earlier controller left."""
        key = service.key
        self._slots.setdefault(key, _Slot()).is_forgotten = False
        self._tell(key, self._launches[key].place)
        for found in [orphan for orphan in self._orphans if orphan.service == key]:
            self._orphans.remove(found)
            self._adopt(found)
        self._prepare(key)

    def end_orphans(self) -> None:
        """Stop what an earlier controller left of services that are declared no more."""
        for orphan in self._orphans:
            log.warning("%s: ending a server whose service is gone", orphan.service)
            _end(orphan)
        self._orphans.clear()

    def forget(self, key: str) -> None:
        """Stop the service's replica, which ends on its own time."""
        self.stop(key)
        self._slots[key].is_forgotten = True
        self._starter.discard(key)
        self._drop_if_done(key)

    def start(self, key: str, activation: int) -> None:
        """Spawn the server, or as soon as the one being stopped has ended."""
        slot = self._slots[key]
        if slot.replica is None:
            self._spawn(key, slot, activation)
        elif slot.kill_timer is not None:
            # Drained and told to stop: clients wait, so its grace is over.
            slot.next_activation = activation
            slot.replica.signal(signal.SIGKILL)
        else:
            spawned_ns = slot.replica.spawned_ns
            self._tell(key, ReplicaStarted(activation=activation, spawned_ns=spawned_ns))

    def prepare_stop(self, key: str) -> None:
        """Who stands by starts none that was drained: its daemon's wake comes to us as well."""

    def trouble(self, key: str) -> Trouble | None:
        """What a process has to say is in its log."""

    def stop(self, key: str) -> None:
        """Send SIGTERM now, and SIGKILL after the grace time."""
        slot = self._slots[key]
        slot.next_activation = None
        if slot.replica is None or slot.kill_timer is not None:
            return
        slot.replica.signal(signal.SIGTERM)
        slot.kill_timer = self._loop.call_later(
            self._stop_grace_s, slot.replica.signal, signal.SIGKILL
        )

    async def aclose(self) -> None:
        """Stop everything, wait for the ends, close all descriptors."""
        for key in list(self._slots):
            self.forget(key)
        while any(slot.replica for slot in self._slots.values()):
            self._ended.clear()
            await self._ended.wait()
        self._close()

    def leave(self) -> None:
        """Close all descriptors, and let the servers run on for another controller."""
        for slot in self._slots.values():
            if slot.kill_timer is not None:
                slot.kill_timer.cancel()
            if slot.replica is not None:
                self._loop.remove_reader(slot.replica.pidfd)
                os.close(slot.replica.pidfd)
                slot.replica = None
        self._slots.clear()
        self._close()

    def hurry(self) -> None:
        """Kill what is being stopped, its grace or not."""
        for slot in self._slots.values():
            if slot.replica is not None and slot.kill_timer is not None:
                slot.replica.signal(signal.SIGKILL)

    def _close(self) -> None:
        for launch in self._launches.values():
            launch.close()
        self._starter.close()

    def _spawn(self, key: str, slot: _Slot, activation: int) -> None:
        launch = self._launches[key]
        try:
            replica = self._starter.start(launch, activation=activation)
        except OSError as error:
            failed = ReplicaFailed(
                activation=activation, reason=f"{launch.command[0]}: {error.strerror}"
            )
            # A failure can wait until start() has returned and its caller has finished.
            self._loop.call_soon(self._tell, key, failed)
            return
        replica.activation = activation  # One that stood by may have started it, by another count.
        self._watch(key, slot, replica)
        self._tell(key, ReplicaStarted(activation=activation, spawned_ns=replica.spawned_ns))

    def _watch(self, key: str, slot: _Slot, replica: Replica) -> None:
        slot.replica = replica
        self._loop.add_reader(replica.pidfd, self._on_end, key, slot, replica)

    def _on_end(self, key: str, slot: _Slot, replica: Replica) -> None:
        self._loop.remove_reader(replica.pidfd)
        reason = replica.reap()
        with suppress(OSError):  # The next start looks whether it runs.
            self._starter.ended(key, replica.pid)
        slot.replica = None
        if slot.kill_timer is not None:
            slot.kill_timer.cancel()
            slot.kill_timer = None
        activation, slot.next_activation = slot.next_activation, None
        if activation is not None:
            self._spawn(key, slot, activation)
        self._drop_if_done(key)
        self._ended.set()
        self._tell(key, ReplicaEnded(activation=replica.activation, reason=reason))
        # The record of the end leaves first, in this turn of the loop.
        self._loop.call_soon(self._prepare, key)

    def _prepare(self, key: str) -> None:
        """Make the next start ready while nobody waits for it."""
        slot = self._slots.get(key)
        if slot is not None and slot.replica is None and not slot.is_forgotten:
            self._starter.prepare(self._launches[key])

    def _drop_if_done(self, key: str) -> None:
        slot = self._slots[key]
        if slot.is_forgotten and slot.replica is None:
            del self._slots[key]

    def _adopt(self, found: Found) -> None:
        slot, launch = self._slots[found.service], self._launches[found.service]
        if slot.replica is not None or found.namespace_inode != launch.namespace.inode:
            log.warning("%s: ending a server that is not in its namespace", found.service)
            _end(found)
            return
        self._watch(found.service, slot, found.replica)
        self._tell(
            found.service,
            ReplicaFound(
                activation=found.replica.activation,
                spawned_ns=found.replica.spawned_ns,
                is_listening=is_listening(found.replica.pid, launch.target_port),
            ),
        )


def _end(found: Found) -> None:
    found.replica.signal(signal.SIGKILL)
    os.close(found.replica.pidfd)
