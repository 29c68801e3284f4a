"""Tells the stories of services as Kubernetes's Events: `kubectl describe wsvc` shows them."""

import asyncio
import logging
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from wangell_controller.backends import Trouble
from wangell_controller.kube.allowance import Allowance
from wangell_controller.kube.errors import KubeError
from wangell_controller.kube.resources import CONTROLLER_NAME, EVENTS, WANGELL_SERVICES, split_key
from wangell_proto.vocabulary import ColdStart

__all__ = ["EventApi", "Events", "Story", "event_of"]

log = logging.getLogger(__name__)

# client-go's own bound for one object begins at 25, too; the cluster keeps each Event for an hour.
BURST, REFILL_S = 25, 30.0
# That wait to be told, of all services: more would be told too late to be of use.
WAITING_MAX = 1000
NOTE_CHARS_MAX = 1024  # The API's.
# A cold start is told of while its caller still waits for the server's answer, on the same CPU.
SEND_AFTER_S = 0.2


class EventApi(Protocol):
    """What telling needs of the API server."""

    async def create(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Create an object."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """What happened to a service."""

    reason: str
    "In one word, for machines"
    action: str
    "What was being done"
    note: str
    "For people"
    is_warning: bool = False


def event_of(
    about: Mapping[str, Any], story: Story, *, instance: str, now: datetime, token: str
) -> dict[str, Any]:
    """Return the Event about a WangellService; `token` makes its name the only one."""
    metadata = about["metadata"]
    regarding = {name: metadata[name] for name in ("namespace", "name", "uid")}
    return {
        **EVENTS.type_meta,
        "metadata": {"namespace": metadata["namespace"], "name": f"{metadata['name']}.{token}"},
        "eventTime": now.isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "reportingController": CONTROLLER_NAME,
        "reportingInstance": instance,
        "type": "Warning" if story.is_warning else "Normal",
        "reason": story.reason,
        "action": story.action,
        "note": story.note[:NOTE_CHARS_MAX],
        "regarding": {**WANGELL_SERVICES.type_meta, **regarding},
    }


class Events:
    """A Journal. Events are sent one after the other, in the order of what they tell."""

    def __init__(
        self, api: EventApi, about: Callable[[str], Mapping[str, Any] | None], *, instance: str
    ) -> None:
        """`about` returns a service's WangellService; `instance` names this controller."""
        self._api = api
        self._about = about
        self._instance = instance
        self._loop = asyncio.get_running_loop()
        self._waiting: asyncio.Queue[tuple[str, dict[str, Any]]] = asyncio.Queue(WAITING_MAX)
        self._allowance = Allowance(burst=BURST, refill_s=REFILL_S)

    def woke(self, key: str, report: ColdStart) -> None:
        """A cold start is over."""
        if report.outcome == "answered":
            note = f"woke in {report.total_s * 1e3:.0f} ms"
            self._tell(key, Story(reason="Woke", action="Wake", note=note))

    def failed(self, key: str, trouble: Trouble) -> None:
        """An activation has failed."""
        note = f"activation failed: {trouble}"
        story = Story(reason="ActivationFailed", action="Wake", note=note, is_warning=True)
        self._tell(key, story)

    def slept(self, key: str, reason: str) -> None:
        """The service went to zero."""
        note = f"scaled to zero: {reason}"
        self._tell(key, Story(reason="ScaledToZero", action="Sleep", note=note))

    def hindered(self, key: str, trouble: Trouble) -> None:
        """Its Deployment or Service cannot be as it should."""
        self._tell(
            key,
            Story(reason=trouble.reason, action="Apply", note=trouble.message, is_warning=True),
        )

    async def send(self) -> None:
        """Send what is told, soon, for as long as it is let.

        An Event that does not get through is lost: what it told is in the log.
        """
        while True:
            first = await self._waiting.get()
            await asyncio.sleep(SEND_AFTER_S)
            await self._send(*first)
            while not self._waiting.empty():
                await self._send(*self._waiting.get_nowait())

    async def _send(self, namespace: str, body: Mapping[str, Any]) -> None:
        try:
            await self._api.create(EVENTS.path(namespace), body)
        except KubeError as error:
            log.warning("%s: an Event is lost: %s", body["metadata"]["name"], error)

    def _tell(self, key: str, story: Story) -> None:
        about = self._about(key)
        if about is None or self._waiting.full():
            return
        # Each kind of story for itself: many wakes must not use up what a failure has to say.
        kind = f"{about['metadata']['uid']}/{story.reason}"
        if not self._allowance.take(kind, now=self._loop.time()):
            return
        token, now = secrets.token_hex(8), datetime.now(UTC)
        body = event_of(about, story, instance=self._instance, now=now, token=token)
        self._waiting.put_nowait((split_key(key)[0], body))
