"""A controller that does not lead: it raises what is woken, and passes on all that it hears.

Raising a service from zero is idempotent, so any controller may do it. Lowering one is not, nor is
writing the table: only the leader does.
"""

import logging
from collections.abc import Callable
from typing import Protocol

from wangell_controller.apply import Link
from wangell_controller.controller import ACTIVATION_MAX
from wangell_proto.vocabulary import Report, Started, Wake

__all__ = ["Raiser", "Standby"]

log = logging.getLogger(__name__)


class Raiser(Protocol):
    """Raises services from zero, whoever else does so at the same moment."""

    def raise_from_zero(self, key: str, activation: int) -> int | None:
        """Return when the replica was spawned (CLOCK_MONOTONIC, ns), now or by somebody else.

        None: that activation was long ago, or the replica cannot be started. Raising is all: what
        follows is the leader's.
        """


class Standby:
    """Told what comes over the link until this controller leads."""

    def __init__(
        self,
        *,
        link: Link,
        raiser: Raiser,
        pass_on: Callable[[str, Report, int], bool],
        boot_id: str,
    ) -> None:
        self._link = link
        self._raiser = raiser
        self._pass_on = pass_on
        self._boot_id = boot_id

    def link_up(self, peer: str) -> None:
        """A daemon is linked."""
        log.info("%s: linked, while standing by", peer)

    def link_down(self, peer: str, reason: str) -> None:
        """A daemon's link has ended."""
        log.info("%s: link ended while standing by: %s", peer, reason)

    def hear(self, peer: str, report: Report, *, received_ns: int) -> None:
        """A daemon reports. `received_ns` is CLOCK_MONOTONIC."""
        if isinstance(report, Wake) and 0 <= report.activation <= ACTIVATION_MAX:
            self._raise(peer, report, received_ns)
        self._pass_on(peer, report, received_ns)

    def _raise(self, peer: str, wake: Wake, received_ns: int) -> None:
        activation = wake.activation + 1
        spawned_ns = self._raiser.raise_from_zero(wake.service, activation)
        if spawned_ns is None:
            return
        started = Started(
            service=wake.service,
            activation=activation,
            received_ns=received_ns,
            spawned_ns=spawned_ns,
            clock=self._boot_id,
        )
        self._link.send(peer, started)
        log.info("%s: woken by %s while standing by", wake.service, peer)
