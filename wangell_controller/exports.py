"""What Prometheus reads off the other parts at each scrape.

A scrape has its own thread: `list` and `frozenset` of a dict are one step of the interpreter each,
so what they give is whole.
"""

from collections import Counter
from collections.abc import Mapping

from wangell_controller.backends import Backend
from wangell_controller.controller import Controller
from wangell_controller.fleet import Fleet
from wangell_controller.link import ProtocolLink
from wangell_controller.metrics import Metrics
from wangell_proto.vocabulary import Phase

__all__ = ["export"]


def export(
    metrics: Metrics, *, controller: Controller, backend: Backend, link: ProtocolLink
) -> None:
    """Let `metrics` tell of these."""
    metrics.count(
        "datagrams_dropped",
        "Datagrams and messages that were not believed or not used.",
        "reason",
        lambda: link.drops,
    )
    metrics.gauge("services", "Services by phase.", "phase", lambda: _phases(controller))
    metrics.gauge(
        "daemons",
        "Daemons that are linked, those of them that hold what sleeps, and those that are missing.",
        "kind",
        lambda: _daemons(controller.fleet, backend.nodes),
    )
    metrics.gauge(
        "scale_down_blocked_services",
        "Services that stay up only because the node's daemon does not report.",
        "node",
        lambda: _blocked(controller),
    )


def _phases(controller: Controller) -> Mapping[str, int]:
    found = Counter(service.phase for service in list(controller.services.values()))
    return {phase.value: found[phase] for phase in Phase}


def _daemons(fleet: Fleet, expected: frozenset[str]) -> Mapping[str, int]:
    linked = fleet.linked
    return {
        "linked": len(linked),
        "following": len(fleet.following),
        "missing": len(expected - linked),
    }


def _blocked(controller: Controller) -> Mapping[str, int]:
    return Counter(
        node for service in list(controller.services.values()) for node in service.blocked_by
    )
