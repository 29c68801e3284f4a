"""What a controller that does not lead says of a service, as the record that the table lacks.

Pure.
"""

import dataclasses

from wangell_proto.vocabulary import Phase, Raised, ServiceRecord

__all__ = ["record_of"]


def record_of(raised: Raised, table: ServiceRecord) -> ServiceRecord | None:
    """Return the table's record as a leader would have it by now; None: the table knows better.

    It does where it has counted that activation, or a later one, and has said what came of it. In a
    drain, Started says all that there is to say: the replicas are those that are known.
    """
    expected = table.activation + (table.phase is Phase.COLD)
    if table.phase not in (Phase.COLD, Phase.WAKING) or raised.activation != expected:
        return None
    return dataclasses.replace(
        table,
        phase=Phase.WARM if raised.is_listening else Phase.WAKING,
        activation=raised.activation,
        endpoints=raised.endpoints,
    )
