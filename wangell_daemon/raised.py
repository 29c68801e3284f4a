"""What a controller that does not lead says of a service, as the record that the table lacks.

Pure.
"""

import dataclasses

from wangell_daemon.effects import Effect, Probe
from wangell_proto.vocabulary import Phase, Raised, ServiceRecord, Started

__all__ = ["has_ended_drain", "probes_of", "record_of"]


def record_of(raised: Raised, table: ServiceRecord) -> ServiceRecord | None:
    """Return the table's record as a leader would have it by now; None: the table knows better.

    It does where it has counted that activation, or a later one, and has said what came of it. In a
    drain, Started says all that there is to say of the replicas that are known. Others have come
    where it went to its end, and the leader was killed before it could say so.
    """
    expected = table.activation + (table.phase in (Phase.COLD, Phase.DRAINING))
    if table.phase is Phase.WARM or raised.activation != expected:
        return None
    known = {each.workload for each in table.endpoints}
    if table.phase is Phase.DRAINING and any(each.workload in known for each in raised.endpoints):
        return None
    return dataclasses.replace(
        table,
        phase=Phase.WARM if raised.is_listening else Phase.WAKING,
        activation=raised.activation,
        endpoints=raised.endpoints,
    )


def probes_of(record: ServiceRecord, service: str, *, node: str) -> list[Effect]:
    """Return what asks the node's replicas whether they listen, once each.

    A leader that was killed in a drain may have left one that has listened all the time: no LISTEN
    will come of it.
    """
    if record.phase is not Phase.WAKING:
        return []
    own = [each for each in record.endpoints if each.node == node and each.address]
    return [Probe(service, each, record.target_port, is_once=True) for each in own]


def has_ended_drain(started: Started, draining: ServiceRecord) -> bool:
    """Return whether the record's drain will lower nothing any more: its replicas all stay.

    Who says so need not lead, and who does may be dead. Where another replica was started, the
    drain had come to its end: ours are going, and would take callers along.
    """
    if started.activation <= draining.activation or not draining.endpoints:
        return False
    return all(each.workload in started.kept for each in draining.endpoints)
