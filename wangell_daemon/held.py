"""The SYNs held for one service, and which of them are to go in now.

A connection's newest SYN replaces the older (its timestamps are fresh: replaying the first one
after 3.5 s taught a client an RTO of 10.5 s). Injected is not answered: a SYN stays until its
client's ACK is seen, goes in again after 5, 20 and 80 ms, and no more are out at a time than the
listener's queue has room for, because Linux drops the SYNs that find it full.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from wangell_daemon.packets import Syn

__all__ = ["HELD_MAX", "RESEND_AFTER_NS", "HeldSyn", "HeldSyns"]

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
    rx_queue: int
    ready_frame: bytes | None = None
    "The frame with its checksums whole, once somebody had the time to make it"
    injections: int = 0
    due_ns: int = 0
    "When something happens to it next; only once injected"


class HeldSyns:
    """A service's held SYNs, oldest connection first. Times are CLOCK_MONOTONIC, as XDP's are."""

    def __init__(self) -> None:
        self._waiting: dict[bytes, HeldSyn] = {}
        self._out: dict[bytes, HeldSyn] = {}

    def __len__(self) -> int:
        return len(self._waiting) + len(self._out)

    def __iter__(self) -> Iterator[HeldSyn]:
        yield from self._out.values()
        yield from self._waiting.values()

    @property
    def out(self) -> int:
        """How many are injected and unanswered."""
        return len(self._out)

    def hold(self, held: HeldSyn) -> bool:
        """Keep it, in place of the connection's older one. Returns whether it is a new one."""
        flow = held.syn.flow
        older = self._out.pop(flow, None) or self._waiting.get(flow)
        if older is not None and older.syn.sequence == held.syn.sequence:
            held.first_seen_ns = older.first_seen_ns
        else:
            self._waiting.pop(flow, None)  # another attempt: it goes to the end of the queue
        self._waiting[flow] = held
        return older is None

    def take_due(self, *, now_ns: int, room: int) -> list[HeldSyn]:
        """Those that go in now: repeats that are due, then as many new ones as there is room for.

        Counts them as injected; the caller injects each.
        """
        repeats = [
            held for held in self._out.values() if held.due_ns <= now_ns and not _spent(held)
        ]
        fresh = list(self._waiting)[: max(0, room - len(self._out))]
        for flow in fresh:
            self._out[flow] = self._waiting.pop(flow)
        due = repeats + [self._out[flow] for flow in fresh]
        for held in due:
            held.due_ns = now_ns + _pause_after(held.injections)
            held.injections += 1
        return due

    def take_unanswerable(self, *, now_ns: int) -> list[HeldSyn]:
        """Remove and return those whose last repeat went unanswered for GIVE_UP_AFTER_NS."""
        gone = [held for held in self._out.values() if _spent(held) and held.due_ns <= now_ns]
        for held in gone:
            del self._out[held.syn.flow]
        return gone

    def answered(self, flow: bytes) -> HeldSyn | None:
        """Remove and return the one whose client has answered; None if it is not held."""
        return self._out.pop(flow, None) or self._waiting.pop(flow, None)

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
        return gone

    def next_due_ns(self) -> int | None:
        """When take_due or take_unanswerable has something to do next; None: nothing is out."""
        return min((held.due_ns for held in self._out.values()), default=None)

    @property
    def waiting(self) -> int:
        """How many have not been injected."""
        return len(self._waiting)


def _spent(held: HeldSyn) -> bool:
    return held.injections > len(RESEND_AFTER_NS)


def _pause_after(injections: int) -> int:
    """How long after this injection (counted from 0) the next thing happens to it."""
    return RESEND_AFTER_NS[injections] if injections < len(RESEND_AFTER_NS) else GIVE_UP_AFTER_NS
