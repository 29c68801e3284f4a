"""The SYNs held for one service, and which of them are to go in now.

A connection's newest SYN replaces the older (its timestamps are fresh: replaying the first one
after 3.5 s taught a client an RTO of 10.5 s). Injected is not answered: a SYN stays until its
client's ACK is seen, goes in again after 5, 20 and 80 ms, and no more are out at a time than the
listener's queue has room for, because Linux drops the SYNs that find it full.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from wangell_daemon.packets import Syn, frontend_of

__all__ = ["HELD_MAX", "RESEND_AFTER_NS", "HeldSyn", "HeldSyns", "Tally"]

# A client's retries replace its own SYN, so this bounds clients: 4,096 x 2 KiB at most.
HELD_MAX = 4096
# After each injection. Together well under the client's own retry, which comes 1 s after its SYN.
RESEND_AFTER_NS = (5_000_000, 20_000_000, 80_000_000)
# After the last of them. A client whose ACK we missed sends data or retries well within it.
GIVE_UP_AFTER_NS = 3_000_000_000


@dataclass(slots=True, kw_only=True)
class HeldSyn:
    """One connection that waits."""

    syn: Syn
    first_seen_ns: int
    "XDP saw the first SYN of this attempt"
    seen_ns: int
    "XDP saw the newest"
    ifindex: int
    "Where it came in; 0: this node's own, at output"
    rx_queue: int
    ready_frame: bytes | None = None
    "The frame with its checksums whole, once somebody had the time to make it"
    injections: int = 0
    is_watched: bool = False
    "The kernel tells of its client's first packet"
    due_ns: int = 0
    "When something happens to it next; only once injected"

    @property
    def is_own(self) -> bool:
        """Whether the node itself or a hostNetwork pod calls."""
        return self.ifindex == 0

    @property
    def is_spent(self) -> bool:
        """Whether all its repeats have gone in."""
        return self.injections > len(RESEND_AFTER_NS)


@dataclass(slots=True)
class Tally:
    """How many SYNs all services of a node hold together."""

    held: int = 0


class HeldSyns:
    """A service's held SYNs, oldest connection first. Times are CLOCK_MONOTONIC, as XDP's are."""

    def __init__(self, tally: Tally | None = None) -> None:
        self._waiting: dict[bytes, HeldSyn] = {}
        self._out: dict[bytes, HeldSyn] = {}
        self._tally = tally or Tally()

    def __len__(self) -> int:
        return len(self._waiting) + len(self._out)

    def __iter__(self) -> Iterator[HeldSyn]:
        yield from self._out.values()
        yield from self._waiting.values()

    def __contains__(self, flow: bytes) -> bool:
        return flow in self._waiting or flow in self._out

    @property
    def out(self) -> int:
        """How many are injected and unanswered."""
        return len(self._out)

    @property
    def has_hope(self) -> bool:
        """Whether one is out whose answer may yet come, and make room."""
        return any(not held.is_spent for held in self._out.values())

    @property
    def waiting(self) -> int:
        """How many have not been injected."""
        return len(self._waiting)

    def hold(self, held: HeldSyn) -> bool:
        """Keep it, in place of the connection's older one. Returns whether it is a new one."""
        flow = held.syn.flow
        older = self._out.pop(flow, None) or self._waiting.get(flow)
        if older is not None:
            held.is_watched = older.is_watched
        if older is not None and older.syn.sequence == held.syn.sequence:
            held.first_seen_ns = older.first_seen_ns
        else:
            self._waiting.pop(flow, None)  # another attempt: it goes to the end of the queue
        self._waiting[flow] = held
        self._tally.held += older is None
        return older is None

    def take_due(self, *, now_ns: int, room: int) -> list[HeldSyn]:
        """Those that go in now: repeats that are due, then as many new ones as there is room for.

        Counts them as injected; the caller injects each. A spent one takes no room: it may be
        a client's that is gone, and must not keep others out for the 3 s until it is given up.
        """
        unspent = [held for held in self._out.values() if not held.is_spent]
        due = [held for held in unspent if held.due_ns <= now_ns]
        for flow in list(self._waiting)[: max(0, room - len(unspent))]:
            self._out[flow] = self._waiting.pop(flow)
            due.append(self._out[flow])
        for held in due:
            held.due_ns = now_ns + _pause_after(held.injections)
            held.injections += 1
        return due

    def take_unanswerable(self, *, now_ns: int) -> list[HeldSyn]:
        """Remove and return those whose last repeat went unanswered for GIVE_UP_AFTER_NS."""
        return self._take(self._out, lambda held: held.is_spent and held.due_ns <= now_ns)

    def take_waiting_since(self, before_ns: int) -> list[HeldSyn]:
        """Remove and return those that were first seen by then and have not been injected."""
        return self._take(self._waiting, lambda held: held.first_seen_ns <= before_ns)

    def take_not_to(self, frontends: tuple[bytes, ...]) -> list[HeldSyn]:
        """Remove and return those that go to none of these frontends."""
        gone = self._take(self._out, lambda held: frontend_of(held.syn.flow) not in frontends)
        return gone + self._take(
            self._waiting, lambda held: frontend_of(held.syn.flow) not in frontends
        )

    def answered(self, flow: bytes) -> HeldSyn | None:
        """Remove and return the one whose client has answered; None if it is not held."""
        held = self._out.pop(flow, None) or self._waiting.pop(flow, None)
        self._tally.held -= held is not None
        return held

    def recall(self) -> None:
        """The listener went away: what is out waits again, as new."""
        for held in self._out.values():
            held.injections = 0
        self._waiting = self._out | self._waiting
        self._out = {}

    def clear(self) -> list[HeldSyn]:
        """Remove and return all."""
        gone = list(self)
        self._waiting, self._out = {}, {}
        self._tally.held -= len(gone)
        return gone

    def next_due_ns(self) -> int | None:
        """When take_due or take_unanswerable has something to do next; None: nothing is out."""
        return min((held.due_ns for held in self._out.values()), default=None)

    def oldest_waiting_ns(self) -> int | None:
        """When the oldest that has not been injected was first seen; None: none waits."""
        return next((held.first_seen_ns for held in self._waiting.values()), None)

    def _take(
        self, among: dict[bytes, HeldSyn], is_over: Callable[[HeldSyn], bool]
    ) -> list[HeldSyn]:
        gone = [held for held in among.values() if is_over(held)]
        for held in gone:
            del among[held.syn.flow]
        self._tally.held -= len(gone)
        return gone


def _pause_after(injections: int) -> int:
    """How long after this injection (counted from 0) the next thing happens to it."""
    return RESEND_AFTER_NS[injections] if injections < len(RESEND_AFTER_NS) else GIVE_UP_AFTER_NS
