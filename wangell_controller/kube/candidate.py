"""Takes part in the election by the Lease: asks the API server what `lease` decides.

`kubernetes.aio.leaderelection` is not used: see docs/decisions/0010-leading-by-a-lease.md.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, Protocol

from wangell_controller.kube.errors import (
    ConflictError,
    ExistsError,
    KubeError,
    NotFoundError,
    UnavailableError,
)
from wangell_controller.kube.lease import (
    LOOK_EVERY_S,
    Create,
    Election,
    GiveUp,
    Lease,
    LeaseLostError,
    Renew,
    Take,
    Wait,
    lease_of,
)
from wangell_controller.kube.resources import CONTROLLER_NAME, LEASES

__all__ = ["Candidate", "LeaseApi", "since_boot"]

log = logging.getLogger(__name__)

# Three that hang fit into the time that a leader has.
REQUEST_S = 3.0
RETRY_S = 0.5


class LeaseApi(Protocol):
    """What taking part needs of the API server."""

    async def get(self, path: str) -> dict[str, Any]:
        """Return the object there."""

    async def create(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Create an object."""

    async def merge(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Change some fields."""


def since_boot() -> float:
    """Return seconds that go on while the machine is suspended, unlike CLOCK_MONOTONIC's."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Candidate:
    """One controller. `win`, then `keep` what was won; `release` at the end."""

    def __init__(
        self,
        api: LeaseApi,
        *,
        namespace: str,
        identity: str,
        clock: Callable[[], float] = since_boot,
    ) -> None:
        """`clock` gives seconds and never goes back."""
        self._api = api
        self._namespace = namespace
        self._path = LEASES.path(namespace, CONTROLLER_NAME)
        self._clock = clock
        self._election = Election(identity)
        self._told = ""

    @property
    def leads(self) -> bool:
        """Whether this one leads at this moment, and nobody else can."""
        return self._election.leads(self._clock())

    async def epoch(self) -> int:
        """Return the epoch that the Lease stands for; 0 where there is none. Raises KubeError."""
        lease = await self._look()
        return 0 if lease is None else lease.epoch

    async def win(self) -> int:
        """Return the epoch to lead with, once this one leads."""
        while True:
            wait_s = await self._try_to_win()
            if wait_s is None:
                return self._election.epoch
            await asyncio.sleep(wait_s)

    async def keep(self) -> NoReturn:
        """Renew it for as long as it is ours. Raises LeaseLostError in time, then."""
        while True:
            step = self._election.next(now=self._clock())
            match step:
                case Wait():
                    await asyncio.sleep(step.seconds)
                case Renew():
                    await self._renew(step)
                case GiveUp():
                    raise LeaseLostError(f"{step.reason}: leading no more")

    async def release(self) -> None:
        """Give it back, so that another takes it at once. Does nothing where it is not ours."""
        body = self._election.release(now=self._clock())
        if body is None:
            return
        try:
            await self._write(body)
        except KubeError as error:
            log.warning("the Lease is not given back, and ends by itself: %s", error)

    async def _try_to_win(self) -> float | None:
        """Return after how many seconds to try again; None: it is won."""
        try:
            step = self._election.look(await self._look(), now=self._clock())
            if isinstance(step, Wait):
                return step.seconds
            assert isinstance(step, Create | Take)
            sent_at = self._clock()
            lease = await self._write(step.body, is_new=isinstance(step, Create))
        except (ConflictError, ExistsError):
            return RETRY_S  # Another was faster; whoever it is, the next look tells.
        except KubeError as error:
            self._tell(f"the Lease: {error}")
            return LOOK_EVERY_S
        self._election.won(lease, sent_at=sent_at)
        return None

    async def _renew(self, step: Renew) -> None:
        sent_at = self._clock()
        try:
            lease = await self._write(step.body, within_s=step.within_s)
        except (ConflictError, NotFoundError):
            await self._check()
        except KubeError as error:
            log.warning("the Lease is not renewed yet: %s", error)
            await asyncio.sleep(RETRY_S)
        else:
            self._election.renewed(lease, sent_at=sent_at)

    async def _check(self) -> None:
        """See whether it is still ours. Raises LeaseLostError."""
        try:
            lost = self._election.check(await self._look())
        except KubeError as error:
            log.warning("the Lease cannot be read: %s", error)
            await asyncio.sleep(RETRY_S)
            return
        if lost is not None:
            assert isinstance(lost, GiveUp)
            raise LeaseLostError(f"{lost.reason}: leading no more")

    async def _look(self) -> Lease | None:
        try:
            async with asyncio.timeout(REQUEST_S):
                return lease_of(await self._api.get(self._path))
        except NotFoundError:
            return None
        except TimeoutError as error:
            raise UnavailableError(f"no answer within {REQUEST_S:.0f} s") from error

    async def _write(
        self, body: Mapping[str, Any], *, is_new: bool = False, within_s: float = REQUEST_S
    ) -> Lease:
        try:
            async with asyncio.timeout(min(within_s, REQUEST_S)):
                if is_new:
                    return lease_of(await self._api.create(LEASES.path(self._namespace), body))
                return lease_of(await self._api.merge(self._path, body))
        except TimeoutError as error:
            raise UnavailableError(f"no answer within {REQUEST_S:.0f} s") from error

    def _tell(self, problem: str) -> None:
        """Say it once, and not each second."""
        if problem != self._told:
            log.warning("%s", problem)
        self._told = problem
