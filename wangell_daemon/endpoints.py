"""Which of a record's replicas a node sends callers to. Pure."""

import dataclasses

from wangell_proto.vocabulary import Endpoint, ServiceRecord

__all__ = ["chosen_endpoint"]


def chosen_endpoint(
    record: ServiceRecord | None, *, heard: str | None, heard_address: str, node: str
) -> Endpoint | None:
    """Return the one that is known to listen, else one of this node: it sees the client's address.

    `heard` is the workload that was heard to listen, and may have an address that the record lacks.
    """
    endpoints = []
    for each in record.endpoints if record is not None else ():
        is_heard = each.workload == heard
        address = each.address or (heard_address if is_heard else "")
        if address:
            endpoints.append(dataclasses.replace(each, address=address))
    endpoints.sort(key=lambda each: (each.workload != heard, each.node != node))
    return endpoints[0] if endpoints else None
