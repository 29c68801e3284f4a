"""The two things a controller can be: the one that leads, or one that stands by.

Each takes over the link's calls when it is made. A controller stands by at first, unless nobody
leads, and never does so again once it has led.
"""

import asyncio
import logging
from pathlib import Path
from typing import NamedTuple, Protocol

from wangell_controller.backends.local import Launch, LocalBackend, LocalRaiser
from wangell_controller.controller import Controller
from wangell_controller.exports import export
from wangell_controller.link import ProtocolLink
from wangell_controller.metrics import Metrics
from wangell_controller.model import WangellService
from wangell_controller.notes import Notes
from wangell_controller.relay import RelayInlet, RelayOutlet
from wangell_controller.run_directory import RunDirectory
from wangell_controller.settings import Settings
from wangell_controller.standby import Standby
from wangell_controller.status import StatusFile
from wangell_proto.vocabulary import Report

__all__ = ["Declared", "Leader", "Role", "StandIn"]

log = logging.getLogger(__name__)

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Declared(NamedTuple):
    """What the files say."""

    services: dict[str, WangellService]
    launches: dict[str, Launch]
    stop_grace_s: float


class Role(Protocol):
    """What a controller's life drives."""

    def follow(self, declared: Declared) -> None:
        """The files were read again."""

    def tick(self) -> None:
        """A second has passed."""

    def hurry(self) -> None:
        """End sooner than it may."""

    async def end(self, *, has_successor: bool) -> None:
        """Leave; the link is closed after it."""


class StandIn:
    """Stands by: raises services, and passes on what it hears."""

    def __init__(
        self, *, link: ProtocolLink, run_directory: RunDirectory, declared: Declared
    ) -> None:
        """Raises OSError."""
        self._raiser = LocalRaiser(
            declared.launches, run_dir=run_directory.path, activations=run_directory.activations
        )
        self._outlet = RelayOutlet(run_directory.path)
        link.user = Standby(
            link=link,
            raiser=self._raiser,
            pass_on=self._outlet.pass_on,
            boot_id=BOOT_ID.read_text().strip(),
        )

    def follow(self, declared: Declared) -> None:
        """Raise what the files say now."""
        self._raiser.replan(declared.launches)

    def tick(self) -> None:
        """Nothing changes by itself."""

    def hurry(self) -> None:
        """It waits for nothing."""

    async def end(self, *, has_successor: bool) -> None:  # noqa: ARG002 (others lead anyway)
        """Leave everything as it is: all that runs is the leader's."""
        self.close()

    def close(self) -> None:
        """Make room for the leader's role, which goes on with the same launches."""
        self._raiser.close()
        self._outlet.close()


class Leader:
    """Leads: adopts what runs, serves the table, lowers what is idle."""

    def __init__(
        self,
        *,
        settings: Settings,
        metrics: Metrics,
        link: ProtocolLink,
        run_directory: RunDirectory,
        declared: Declared,
    ) -> None:
        """Raises OSError, RunDirectoryError, SupersededError."""
        epoch = run_directory.next_epoch()
        status = StatusFile(settings.status_file) if settings.status_file else None
        self._notes = Notes(run_directory, status)
        self._controller = Controller(
            link=link,
            metrics=metrics,
            boot_id=BOOT_ID.read_text().strip(),
            activations=self._notes.activations,
            activation_timeout_s=settings.activation_timeout_s,
            on_change=self._notes.write_soon,
        )
        self._backend = LocalBackend(
            declared.launches,
            run_dir=run_directory.path,
            tell=self._controller.tell,
            stop_grace_s=declared.stop_grace_s,
        )
        self._controller.use(self._backend)
        self._take_over(link, declared)
        export(metrics, controller=self._controller, backend=self._backend, link=link)
        link.lead(epoch)
        self._inlet = RelayInlet(run_directory.path, self._hear)

    def _take_over(self, link: ProtocolLink, declared: Declared) -> None:
        """Know what runs and who is linked, before any daemon sees the table."""
        link.user = self._controller
        self._controller.declare(declared.services)
        self._backend.end_orphans()
        self._notes.recall(self._controller.services)
        for peer in link.linked:
            self._controller.link_up(peer)

    def follow(self, declared: Declared) -> None:
        """Make these the services."""
        self._backend.replan(declared.launches, stop_grace_s=declared.stop_grace_s)
        self._controller.declare(declared.services)

    def tick(self) -> None:
        """Look at every service that is not at rest."""
        self._controller.tick()

    def hurry(self) -> None:
        """Kill what is being stopped, its grace or not."""
        self._backend.hurry()

    async def end(self, *, has_successor: bool) -> None:
        """Stop every server, or leave them to who stands by; write the last notes."""
        self._controller.close()
        if has_successor:
            log.info("leaving the servers to the controller that stands by")
            self._backend.leave()
        else:
            log.info("stopping the servers and leaving")
            await self._backend.aclose()
        await asyncio.sleep(0)  # The records of what has ended leave with this turn of the loop.
        self._inlet.close()
        self._notes.write()

    def _hear(self, peer: str, report: Report, received_ns: int) -> None:
        self._controller.hear(peer, report, received_ns=received_ns)
