"""The daemons that are linked, and what each last said of every service."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from wangell_controller.observe import Sight
from wangell_proto.vocabulary import Activity

__all__ = ["REPORT_AGE_S_MAX", "Fleet"]

# Daemons report each second. Three missed are as long as the silence that ends a link.
REPORT_AGE_S_MAX = 3.0


@dataclass(slots=True, kw_only=True)
class _Daemon:
    linked_at: float
    is_following: bool = False
    "Its table is whole: it holds what sleeps"
    sights: dict[str, tuple[Sight, float]] = field(default_factory=dict)
    "By service, and when it was reported"


class Fleet:
    """Daemons by name, which is their node's. Times are seconds of one monotonic clock."""

    def __init__(self) -> None:
        self._daemons: dict[str, _Daemon] = {}

    @property
    def linked(self) -> frozenset[str]:
        """The daemons whose link is up."""
        return frozenset(self._daemons)

    @property
    def following(self) -> frozenset[str]:
        """Those of them that hold what sleeps, by the table."""
        # A copy first: metrics are read in a thread of their own.
        return frozenset(name for name, each in list(self._daemons.items()) if each.is_following)

    def link_up(self, name: str, *, now: float) -> None:
        """A daemon is linked; what it said over an earlier link counts no more."""
        self._daemons[name] = _Daemon(linked_at=now)

    def link_down(self, name: str) -> None:
        """Its link has ended: what it sees now, nobody knows."""
        self._daemons.pop(name, None)

    def followed(self, name: str) -> None:
        """A daemon's table is whole."""
        daemon = self._daemons.get(name)
        if daemon is not None:
            daemon.is_following = True

    def heard(self, name: str, activity: Activity, *, now: float) -> None:
        """A daemon has reported some of its services; a full node's report comes in parts."""
        daemon = self._daemons.get(name)
        if daemon is None:
            return
        lately = {
            key: (sight, reported_at)
            for key, (sight, reported_at) in daemon.sights.items()
            if now - reported_at <= REPORT_AGE_S_MAX
        }
        for each in activity.services:
            lately[each.service] = Sight(idle_s=each.idle_s, held=each.held), now
        daemon.sights = lately

    def sights(self, key: str, nodes: Iterable[str], *, now: float) -> dict[str, Sight | None]:
        """Return what each node's daemon says of a service; None: it has not, or not lately.

        A daemon that is linked counts even if its node is not expected: callers come through it.
        """
        return {node: self._sight(node, key, now) for node in sorted({*nodes, *self._daemons})}

    def _sight(self, node: str, key: str, now: float) -> Sight | None:
        daemon = self._daemons.get(node)
        sight, reported_at = daemon.sights.get(key, (None, now)) if daemon else (None, now)
        return sight if now - reported_at <= REPORT_AGE_S_MAX else None

    def watched_since(self, nodes: Iterable[str]) -> float | None:
        """Return since when all of these nodes' daemons are linked; None: one is not."""
        since = 0.0
        for node in nodes:
            daemon = self._daemons.get(node)
            if daemon is None:
                return None
            since = max(since, daemon.linked_at)
        return since
