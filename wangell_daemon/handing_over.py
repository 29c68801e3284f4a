"""Handovers as long as they are right: set and timed, renewed while they are vouched for, ended."""

import time

from wangell_daemon.datapath import Handover
from wangell_daemon.effects import EndHandOver, HandOver
from wangell_daemon.metrics import Metrics

__all__ = ["RENEW_EVERY_BEATS", "HandingOver"]

# Of a second each: well within the 30 s after which the kernel forgets an element.
RENEW_EVERY_BEATS = 10


class HandingOver:
    """Of one node. `end_unclaimed` is the handover's own."""

    def __init__(self, handover: Handover, metrics: Metrics, *, reuses_addresses: bool) -> None:
        """`reuses_addresses`: a replica's may be another's as soon as it has gone.

        Then no handover is renewed while no controller vouches for it.
        """
        self._handover = handover
        self._metrics = metrics
        self._reuses_addresses = reuses_addresses
        self._beats = 0
        self.is_vouched_for = False
        self.end_unclaimed = handover.end_unclaimed

    def hand_over(self, effect: HandOver) -> None:
        """Raises OSError."""
        began_ns = time.monotonic_ns()
        self._handover.replace(
            effect.frontends, address=effect.address, port=effect.port, is_away=effect.is_away
        )
        self._metrics.handed_over((time.monotonic_ns() - began_ns) / 1e9)

    def end(self, effect: EndHandOver) -> None:
        """Raises OSError."""
        for frontend in effect.frontends:
            self._handover.end(frontend)

    def beat(self) -> None:
        """Each second."""
        self._beats += 1
        may_renew = self.is_vouched_for or not self._reuses_addresses
        if self._beats % RENEW_EVERY_BEATS == 0 and may_renew:
            self._handover.renew()
