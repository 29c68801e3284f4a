"""Callers on the node itself: their SYNs are held with their services', and let in again.

The kernel is told after a verdict has changed, and not with it: the change takes 0.2 ms and more of
a wake in which nobody of this node may wait. A SYN that comes in between is let in at once.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Iterable
from functools import partial
from typing import Protocol

from wangell_daemon.datapath import Caller, OwnCalls
from wangell_daemon.held import HeldSyn
from wangell_daemon.packets import frontend_of

__all__ = ["OnAnswer", "OwnCallers"]

# kube-proxy takes 20 ms or more after its EndpointSlice; nothing tells when.
LOOK_AGAIN_S = 0.01
# The server that has just begun to listen answers its first callers meanwhile, on the same CPU.
LET_PASS_AFTER_S = 0.02

log = logging.getLogger(__name__)


class OnAnswer(Protocol):
    """Who is told that a caller has an answer."""

    def __call__(self, flow: bytes, *, is_reset: bool) -> None:
        """A SYN that was let in was answered; `is_reset`: or its caller has gone."""


class OwnCallers:
    """`calls` is None where the node's own calls are not seen: then nothing is held."""

    on_answer: OnAnswer
    on_sent: Callable[[bytes], None]
    "Told the flow of each SYN that is sent"

    def __init__(self, calls: OwnCalls | None, *, on_failure: Callable[[], None]) -> None:
        """`on_failure` is called when the kernel refuses something; it is tried again each beat."""
        self._calls = calls
        self._on_failure = on_failure
        self._loop = asyncio.get_running_loop()
        self._is_due = False
        # Until the node's proxy has caught up; no more than are held.
        self._put_off: dict[bytes, tuple[HeldSyn, bytes]] = {}

    def follow(self, frontends: Iterable[bytes], *, is_held: bool) -> None:
        """Their services are held from now on, or are no more. The kernel hears it soon."""
        if self._calls is None:
            return
        (self._calls.hold if is_held else self._calls.let_pass)(frontends)
        if self._calls.is_changed and is_held:
            self._loop.call_soon(self.apply)
        else:
            self._apply_in(LET_PASS_AFTER_S)

    def restrict(self, frontend: bytes, sources: Collection[str]) -> None:
        """Let only these networks call a frontend; none: whoever will."""
        if self._calls is not None:
            calls = self._calls
            self._try(lambda: calls.restrict(frontend, sources))

    def forget(self, frontends: Iterable[bytes]) -> None:
        """They are no service's any more."""
        for frontend in frontends:
            self.restrict(frontend, ())
        self.follow(frontends, is_held=False)

    def apply(self) -> None:
        """Tell the kernel now; what the node's proxy is to know first, as soon as it does."""
        if self._calls is None or not self._calls.is_changed:
            return
        self._try(self._calls.apply)
        self._apply_in(LOOK_AGAIN_S)

    def restore(self) -> None:
        """The table is whole: what a predecessor held, and this daemon does not, is let go."""
        if self._calls is not None:
            self._try(self._calls.restore)

    def beat(self) -> None:
        """The daemon lives."""
        if self._calls is not None:
            self._try(self._calls.beat)
            self.apply()

    def let_in(self, held: HeldSyn, frame: bytes) -> None:
        """Send it, unless its caller has an answer by now. Raises OSError."""
        assert self._calls is not None
        self.apply()
        flow = held.syn.flow
        if self._calls.holds(frontend_of(flow)):
            self._put_off[flow] = held, frame
            return
        caller = self._calls.caller(flow)
        if caller is not Caller.WAITING:
            is_gone = caller is Caller.GONE
            self._loop.call_soon(lambda: self.on_answer(flow, is_reset=is_gone))
            return
        self._calls.send(frame)
        self.on_sent(flow)
        # Often it has its answer by now: on one node all of it happens in that very call.
        self._loop.call_soon(self._look, flow)

    def refuse(self, held: HeldSyn) -> None:
        """Answer it with RST. Raises OSError."""
        assert self._calls is not None
        self._calls.refuse(held.syn.frame)

    def _look(self, flow: bytes) -> None:
        """Where there is no answer yet, the next repeat looks again."""
        assert self._calls is not None
        # Who waited a moment ago and has gone was answered, and has ended.
        if self._calls.caller(flow) is not Caller.WAITING:
            self.on_answer(flow, is_reset=False)

    def _apply_in(self, wait_s: float) -> None:
        assert self._calls is not None
        if self._calls.is_changed and not self._is_due:
            self._is_due = True
            self._loop.call_later(wait_s, self._apply_soon)

    def _apply_soon(self) -> None:
        self._is_due = False
        self.apply()
        put_off, self._put_off = self._put_off, {}
        for held, frame in put_off.values():
            # Older ones are given up; their callers have sent another since.
            if held.due_ns > time.monotonic_ns():
                self._try(partial(self.let_in, held, frame))

    def _try(self, step: Callable[[], None]) -> None:
        try:
            step()
        except OSError as error:
            log.warning("calls of the node itself are not held as they should be: %s", error)
            self._on_failure()
