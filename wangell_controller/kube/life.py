"""A controller's life on Kubernetes: keys, the daemons, everything that there is; then the Lease.

Whoever has not the Lease stands by, and is ready all the same: it raises what is woken. One that
has led never stands by again: where it loses the Lease it ends, and its pod begins anew.
"""

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from wangell_controller.keys import KeyFileError
from wangell_controller.kube.admission import Admission
from wangell_controller.kube.api import Api, NoClusterError, Selection
from wangell_controller.kube.backoff import Backoff
from wangell_controller.kube.candidate import Candidate
from wangell_controller.kube.errors import KubeError
from wangell_controller.kube.events import Events
from wangell_controller.kube.express import Express
from wangell_controller.kube.health import Health
from wangell_controller.kube.inventory import Bystander, Inventory
from wangell_controller.kube.leading import BOOT_ID, Leading
from wangell_controller.kube.link_keys import CONTROLLER_SECRET, keys_of, psks_of
from wangell_controller.kube.resources import NAMESPACES
from wangell_controller.kube.stand_in import StandIn
from wangell_controller.kube.takeover import take_over
from wangell_controller.kube.warmth import keep_warm
from wangell_controller.kube.watching import Watched
from wangell_controller.link import ProtocolLink
from wangell_controller.metrics import Metrics
from wangell_controller.serving import keep_quick, serve_metrics
from wangell_controller.settings import KubeSettings

__all__ = ["KubeError", "NoClusterError", "run"]

log = logging.getLogger(__name__)

T = TypeVar("T")

TICK_S = 1.0
# Ticks between two looks at the peers' round trips: as often as anybody scrapes.
MEASURE_TICKS = 5
RETRY_S_MIN, RETRY_S_MAX = 0.2, 10.0
# Nodes take a minute to learn of a Secret that has changed: no rotation waits for this.
KEYS_LOOK_S = 10.0
LEASE_REMEDY = (
    "if that one should lead, stop this one; if there is none any more, the Lease"
    " wangell-controller is an older one, put back: delete it, and the next start goes beyond"
)
# The kubelet's own grace is 30 s.
LEAVE_S = 5.0


class Life:
    """The parts, and what drives them."""

    def __init__(self, settings: KubeSettings, api: Api) -> None:
        self.metrics = Metrics()
        self._settings = settings
        self._api, self._wakes = api, api.twin()
        self._express = Express(api)
        user = f"system:serviceaccount:{settings.namespace}:{settings.daemon_account}"
        self._admission = Admission(api, user=user)
        self._link = ProtocolLink(self.metrics, self._admission, remedy=LEASE_REMEDY)
        self._inventory = Inventory(api, Bystander())
        # A pool of its own: a renewal must not wait behind a thousand pages of a list.
        self._lease_api = api.twin()
        self._candidate = Candidate(
            self._lease_api, namespace=settings.namespace, identity=settings.identity
        )
        boot_id = BOOT_ID.read_text().strip()
        # Not fenced as a leader's writes are: an Event tells what was seen, whoever saw it.
        self._events = Events(api, self._inventory.declaration, instance=settings.identity)
        self._stand_in = StandIn(
            self._wakes, self._inventory, self._link, boot_id=boot_id, journal=self._events
        )
        self._link.user = self._stand_in
        self._inventory.hand_to(self._stand_in)
        self._leading: Leading | None = None
        own = Selection(resource=NAMESPACES, fields=f"metadata.name={settings.namespace}")
        self._home = Watched(api, own, self._on_home)
        self.missing: str | None = "the cluster is being read"
        "Before this controller can raise services"
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        self._failure: BaseException | None = None
        self._duties: list[asyncio.Task[None]] = []
        self._ticks = 0
        self._is_ending = False
        self._leaving: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT. Raises what no patience with the API server mends."""
        self._loop.set_exception_handler(self._on_exception)
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._stop.set)
        for duty in (
            self._serve(),
            self._home.follow(),
            keep_warm(self._wakes),
            self._express.keep(),
        ):
            self._take_on(duty)
        await self._stop.wait()
        await self._end()
        if self._failure is not None:
            raise self._failure

    def _take_on(self, duty: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(duty)
        self._duties.append(task)
        task.add_done_callback(self._on_duty_over)

    def _on_duty_over(self, task: asyncio.Task[None]) -> None:
        failure = None if task.cancelled() else task.exception()
        if failure is None and (task.cancelled() or self._stop.is_set()):
            return  # The end is what it waited for.
        self._fail(failure or RuntimeError(f"{task} is over"))

    def _on_exception(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """A part has failed: end, so that whoever started us starts us again."""
        loop.default_exception_handler(context)
        self._fail(context.get("exception") or RuntimeError(context["message"]))

    def _fail(self, failure: BaseException) -> None:
        self._failure = self._failure or failure
        self._stop.set()

    async def _serve(self) -> None:
        namespace = self._settings.namespace
        keys = self._settings.keys
        if keys is None:
            keys = await _insist(lambda: keys_of(self._api, namespace=namespace), "the link's keys")
        epoch = await _insist(self._candidate.epoch, "the Lease")
        await self._link.open(
            bind=self._settings.listen,
            private_key=keys.private_key,
            psks=keys.psks,
            epoch=epoch,
        )
        log.info("daemons are linked at %s:%d", *self._link.address)
        if self._settings.keys is None:
            self._take_on(self._follow_keys(keys.psks))
        self._take_on(self._events.send())
        self._take_on(self._inventory.follow())
        await self._inventory.whole()
        keep_quick()
        self.missing = None
        log.info("standing by with epoch %d", epoch)
        self._take_on(self._tick())
        await self._lead(await self._candidate.win())
        await self._stop.wait()

    async def _lead(self, epoch: int) -> None:
        self._take_on(self._candidate.keep())
        self._inventory.pace.lead()
        claimed = await take_over(self._api, self._inventory, epoch=epoch)
        log.info("the Lease is ours: claimed %d Deployments that are up", claimed)
        leading = Leading(
            api=self._api,
            wakes=self._wakes,
            express=self._express,
            inventory=self._inventory,
            link=self._link,
            metrics=self.metrics,
            events=self._events,
            keeps_announced=self._settings.keeps_announced,
            removes_taint=self._settings.removes_taint,
            leads=lambda: self._candidate.leads,
        )
        self._leading = leading
        await _insist(leading.surroundings.look, "what else the cluster runs")
        self._take_on(leading.surroundings.follow())
        leading.begin(epoch)
        self._let_go_if_ending()

    async def _follow_keys(self, used: tuple[bytes, ...]) -> None:
        """Use the pre-shared keys as the Secret has them: they are rotated without a restart."""
        while True:
            await asyncio.sleep(KEYS_LOOK_S)
            try:
                psks = await psks_of(self._api, namespace=self._settings.namespace)
            except (KubeError, KeyFileError) as error:
                log.warning("the pre-shared keys stay as they were: %s", error)
                continue
            if psks != used:
                self._link.use_psks(psks)
                used = psks
                log.info("%s has changed: %d pre-shared key(s)", CONTROLLER_SECRET, len(psks))

    async def _tick(self) -> None:
        while True:
            if self._leading is not None:
                self._leading.controller.tick()
            if self._ticks % MEASURE_TICKS == 0:
                self._link.measure()
            self._ticks += 1
            await asyncio.sleep(TICK_S)

    def _on_home(
        self, _key: str, _before: dict[str, Any] | None, after: dict[str, Any] | None
    ) -> None:
        """Our namespace has changed: where it is being deleted, so are we, and all our rights."""
        self._is_ending |= after is not None and "deletionTimestamp" in after["metadata"]
        self._let_go_if_ending()

    def _let_go_if_ending(self) -> None:
        if self._is_ending and self._leaving is None and self._leading is not None:
            self._leaving = self._loop.create_task(self._leading.operator.leave())

    async def _end(self) -> None:
        """Leave what runs to the next one; say goodbye to daemons, write the last statuses."""
        log.info("leaving; what runs stays")
        if self._leading is not None:
            self._leading.close()
        self._link.close()
        try:
            await asyncio.wait_for(self._close(), LEAVE_S)
        except TimeoutError:
            log.warning("the last statuses could not be written in %.0f s", LEAVE_S)
        for duty in self._duties:
            duty.remove_done_callback(self._on_duty_over)
            duty.cancel()
        await asyncio.gather(*self._duties, return_exceptions=True)
        await self._candidate.release()  # Not before: whoever takes it finds all as it stays.
        for api in (self._lease_api, self._wakes, self._api):
            await api.aclose()

    async def _close(self) -> None:
        if self._leaving is not None:
            await self._leaving
        await self._stand_in.aclose()
        if self._leading is not None:
            await self._leading.aclose()
        await self._admission.aclose()


async def _insist(ask: Callable[[], Awaitable[T]], what: str) -> T:
    """Ask until the API server answers: at an installation our rights come a moment after us."""
    backoff = Backoff(RETRY_S_MIN, RETRY_S_MAX)
    while True:
        try:
            return await ask()
        except KubeError as error:
            if not error.is_passing:
                raise
            delay_s = backoff.next_s()
            log.warning("%s: asked again in %.1f s: %s", what, delay_s, error)
            await asyncio.sleep(delay_s)


async def run(settings: KubeSettings) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises NoClusterError, KeyFileError, KubeError (LeaseLostError, too), SupersededError, and
    OSError where an address cannot be had.
    """
    api = await Api.connect(settings.kubeconfig)
    life = Life(settings, api)
    if settings.metrics_address is not None:
        serve_metrics(life.metrics, settings.metrics_address)
    health = None
    if settings.health_address is not None:
        health = await Health.serve(settings.health_address, lambda: life.missing)
    try:
        await life.run()
    finally:
        if health is not None:
            await health.aclose()
