"""How busy a node's warm services are, as the controller hears it each second. Pure."""

from collections.abc import Callable, Sequence

from wangell_daemon.service import Service
from wangell_proto.vocabulary import Activity, ServiceActivity

__all__ = ["ACTIVITY_SERVICES_MAX", "activity_of"]

# 70 bytes each: well within a message's 64 KiB.
ACTIVITY_SERVICES_MAX = 500


def activity_of(
    services: Sequence[Service], *, last_packet_ns: Callable[[int], int], now_ns: int
) -> list[Activity]:
    """Return the reports' parts; `last_packet_ns` reads CLOCK_MONOTONIC of a service's slot."""
    each = [_activity(service, last_packet_ns, now_ns) for service in services]
    parts = range(0, len(each), ACTIVITY_SERVICES_MAX)
    return [Activity(services=tuple(each[at : at + ACTIVITY_SERVICES_MAX])) for at in parts]


def _activity(
    service: Service, last_packet_ns: Callable[[int], int], now_ns: int
) -> ServiceActivity:
    last_ns = last_packet_ns(service.routing.slot)
    return ServiceActivity(
        service=service.name,
        idle_s=max(0, now_ns - max(service.warm_since_ns, last_ns)) / 1e9,
        held=len(service.held),
    )
