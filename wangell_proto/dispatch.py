"""Which links of a server have something to send, and in which order they may.

What someone waits for goes first. The rest leaves in batches, so that 1,000 peers told of one
change, or answering one, do not keep the next wake from being read.
"""

from itertools import islice

from wangell_proto.accepted import AcceptedLink
from wangell_proto.constants import DEFERRED_LINKS_BESIDE_URGENT, DEFERRED_LINKS_PER_CALL
from wangell_proto.events import Address
from wangell_proto.schedule import Schedule

__all__ = ["Dispatch"]


class Dispatch:
    """Everything a server is about to send, and when it has to look at which link again."""

    def __init__(self) -> None:
        self._answers: list[tuple[bytes, Address]] = []
        self._urgent: dict[int, AcceptedLink] = {}
        self._deferred: dict[int, AcceptedLink] = {}
        # Links whose deadlines may have moved. They are asked when the time is asked for, which is
        # after the datagrams have left.
        self._served: dict[int, AcceptedLink] = {}
        self._schedule = Schedule()

    def answer(self, datagram: bytes, address: Address) -> None:
        """Send a datagram that no link has to make."""
        self._answers.append((datagram, address))

    def mark(self, link: AcceptedLink) -> None:
        """Serve this link in the next call."""
        self._urgent[link.session] = link

    def defer(self, link: AcceptedLink) -> None:
        """Serve this link by and by: at once, unless many others wait or something is urgent."""
        self._deferred[link.session] = link

    def drop(self, session: int) -> None:
        """Forget a link that has ended."""
        self._urgent.pop(session, None)
        self._deferred.pop(session, None)
        self._served.pop(session, None)
        self._schedule.remove(session)

    def look_again(self, link: AcceptedLink) -> None:
        """See to it that the link is due at its next deadline."""
        self._served[link.session] = link

    def _set_deadlines(self) -> None:
        for session, link in self._served.items():
            self._schedule.set(session, link.next_deadline())
        self._served.clear()

    def datagrams(self, now: float) -> list[tuple[bytes, Address]]:
        """Return what is to be sent in this call; with more to come, next_at is in the past."""
        out, self._answers = self._answers, []
        if self._urgent:
            for session, link in self._urgent.items():
                self._deferred.pop(session, None)
                self._serve(link, out, now)
            self._urgent.clear()
        if self._deferred:
            batch = DEFERRED_LINKS_BESIDE_URGENT if out else DEFERRED_LINKS_PER_CALL
            for session in list(islice(self._deferred, batch)):
                self._serve(self._deferred.pop(session), out, now)
        return out

    def _serve(self, link: AcceptedLink, out: list[tuple[bytes, Address]], now: float) -> None:
        address = link.address
        for datagram in link.channel.sender.datagrams(now):
            out.append((datagram, address))
        self.look_again(link)

    def next_at(self) -> float | None:
        """Return when there is something to do; None while there is nothing to wait for."""
        # Also where more is to come: a thousand deadlines at once would keep a wake for 3 ms.
        self._set_deadlines()
        return float("-inf") if self._deferred else self._schedule.next_at()

    def due(self, now: float) -> list[int]:
        """Return some of the sessions that it is time to look at."""
        self._set_deadlines()
        return self._schedule.due(now, DEFERRED_LINKS_PER_CALL)
