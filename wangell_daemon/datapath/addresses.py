"""The IPv4 addresses of the node's interface, as they come and go: callers find node ports there.

A DHCP lease ends, keepalived moves an address: what the daemon read at its start is no promise.
"""

import logging
from collections.abc import Callable

from wangell_daemon.datapath.rtnetlink import AddressWatch, Rtnetlink

__all__ = ["Addresses"]

log = logging.getLogger(__name__)


class Addresses:
    """Of one interface, in the network namespace where it is made. `fileno` is for an event loop.

    Each change is an occasion to read all of them: one that was lost on the way harms nothing.
    """

    def __init__(
        self,
        ifindex: int,
        known: tuple[str, ...],
        *,
        on_change: Callable[[tuple[str, ...]], None],
        on_failure: Callable[[], None] = lambda: None,
    ) -> None:
        """`known`: those that were read before. `look` once the event loop reads us."""
        self._ifindex = ifindex
        self._known = known
        self._on_change = on_change
        self._on_failure = on_failure
        self._watch = AddressWatch()
        self._requests = Rtnetlink()

    def fileno(self) -> int:
        """Readable when an address of any interface has changed."""
        return self._watch.fileno()

    def consume(self) -> None:
        """Read what has changed."""
        try:
            # kube-proxy in ipvs mode has thousands of addresses, on an interface of its own.
            is_ours = self._ifindex in self._watch.changed()
        except OSError as error:  # ENOBUFS: more has changed than the socket holds.
            log.info("changes of addresses were lost (%s): read anew", error)
            is_ours = True
        if is_ours:
            self.look()

    def look(self) -> None:
        """Tell of the addresses, if they are others than were known."""
        try:
            found = self._requests.addresses(self._ifindex)
        except OSError as error:
            log.warning("the node's addresses could not be read, and stay as known: %s", error)
            self._on_failure()
            return
        if set(found) != set(self._known):
            log.info("addresses of the node: %s", ", ".join(found) or "none")
            self._known = found
            self._on_change(found)

    def close(self) -> None:
        """Follow no more."""
        self._watch.close()
        self._requests.close()
