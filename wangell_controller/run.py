"""A controller's life: read, stand by or lead, leave."""

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Callable
from typing import Any

from wangell_controller.backends.local import LocalSettings, plan
from wangell_controller.keys import Keys, read_keys
from wangell_controller.leadership import FileLeadership
from wangell_controller.link import ProtocolLink
from wangell_controller.manifests import ManifestError, read_manifests, read_model
from wangell_controller.metrics import Metrics
from wangell_controller.roles import Declared, Leader, Role, StandIn
from wangell_controller.run_directory import RunDirectory
from wangell_controller.serving import keep_quick, serve_metrics
from wangell_controller.settings import Settings

__all__ = ["run"]

log = logging.getLogger(__name__)

TICK_S = 1.0
# Ticks between two looks at the peers' round trips: as often as anybody scrapes.
MEASURE_TICKS = 5


async def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises ManifestError, KeyFileError, RunDirectoryError, SupersededError, and OSError where an
    address cannot be had. Whatever is raised later leaves the servers running, for a successor to
    adopt.
    """
    keys = read_keys(settings.key_dir)
    declared = _read(settings)
    life = _Life(settings, RunDirectory(settings.run_dir), declared)
    await life.begin(keys)
    if settings.metrics_address is not None:
        serve_metrics(life.metrics, settings.metrics_address)
    keep_quick()
    _notify_ready()
    await life.until_stopped()
    await life.end()


def _read(settings: Settings) -> Declared:
    services = read_manifests(settings.manifests)
    local = read_model(settings.local, LocalSettings)
    launches = plan(local, services, origin=settings.local)
    return Declared(services, launches, local.stop_grace_s)


class _Life:
    """The parts, and what drives them: signals and the tick."""

    _role: Role

    def __init__(self, settings: Settings, run_directory: RunDirectory, declared: Declared) -> None:
        self.metrics = Metrics()
        self._settings = settings
        self._run_directory = run_directory
        self._declared = declared
        self._link = ProtocolLink(self.metrics)
        self._leadership = FileLeadership(run_directory.path)
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        self._failure: BaseException | None = None
        self._tick_timer: asyncio.TimerHandle | None = None
        self._reload: asyncio.Task[None] | None = None
        self._ticks = 0

    async def begin(self, keys: Keys) -> None:
        """Let daemons in, and lead them if nobody does."""
        self._loop.set_exception_handler(self._on_exception)
        await self._link.open(
            bind=self._settings.listen,
            private_key=keys.private_key,
            psks=keys.psks,
            epoch=self._run_directory.epoch(),
        )
        log.info("serving daemons at %s:%d", *self._link.address)
        if self._leadership.campaign(self._succeed):
            self._lead()
        else:
            self._stand_by()
        self._tick()

    def _stand_by(self) -> None:
        self._role = StandIn(
            link=self._link, run_directory=self._run_directory, declared=self._declared
        )
        log.info("standing by: another controller with %s leads", self._run_directory.path)

    def _succeed(self) -> None:
        """Whoever led has ended."""
        if not self._stop.is_set():
            assert isinstance(self._role, StandIn)
            self._role.close()
            self._lead()

    def _lead(self) -> None:
        self._role = Leader(
            settings=self._settings,
            metrics=self.metrics,
            link=self._link,
            run_directory=self._run_directory,
            declared=self._declared,
        )
        self.metrics.leads(True)
        log.info("leading with epoch %d", self._run_directory.epoch())

    async def until_stopped(self) -> None:
        """Serve. Raises what went wrong, if that is why it ends."""
        self._on_signals(signal.SIGTERM, signal.SIGINT, call=self._stop.set)
        self._on_signals(signal.SIGHUP, call=self._reload_soon)
        await self._stop.wait()
        if self._failure is not None:
            raise self._failure

    async def end(self) -> None:
        """Stop every server if nobody is there to care for them. A second signal hurries."""
        has_successor = self._leadership.has_successor()
        self._on_signals(signal.SIGTERM, signal.SIGINT, call=self._role.hurry)
        await self._role.end(has_successor=has_successor)
        self._link.close()
        if self._tick_timer is not None:
            self._tick_timer.cancel()
        self._leadership.close()  # The last of all: the successor takes over what is written.

    def _on_signals(self, *numbers: signal.Signals, call: Callable[[], None]) -> None:
        for number in numbers:
            self._loop.add_signal_handler(number, call)

    def _tick(self) -> None:
        self._tick_timer = self._loop.call_later(TICK_S, self._tick)
        self._role.tick()
        if self._ticks % MEASURE_TICKS == 0:
            self._link.measure()
        self._ticks += 1

    def _reload_soon(self) -> None:
        if self._reload is None or self._reload.done():
            self._reload = self._loop.create_task(self._reread())
        else:
            self._reload.add_done_callback(lambda _: self._reload_soon())

    async def _reread(self) -> None:
        """Read the files in a thread, for wakes do not wait for YAML; then follow them."""
        try:
            declared = await asyncio.to_thread(_read, self._settings)
        except (ManifestError, OSError) as error:
            log.error("the files are not right, and change nothing:\n%s", error)  # noqa: TRY400
            self.metrics.reload_failed()
            return
        self._declared = declared
        self._role.follow(declared)
        log.info("read the files again: %d services", len(declared.services))

    def _on_exception(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """A part has failed: end, so that whoever started us starts us again."""
        loop.default_exception_handler(context)
        self._failure = context.get("exception") or RuntimeError(context["message"])
        self._stop.set()


def _notify_ready() -> None:
    """Tell whoever started us (sd_notify) that daemons are served."""
    address = os.environ.pop("NOTIFY_SOCKET", None)
    if address is not None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.sendto(b"READY=1", address.replace("@", "\0", 1))
