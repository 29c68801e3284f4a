"""Which of a record's replicas a node sends callers to. Pure."""

import dataclasses

from wangell_proto.vocabulary import Endpoint, ServiceRecord

__all__ = ["chosen_endpoint"]


def chosen_endpoint(
    record: ServiceRecord | None, *, heard: str | None, heard_address: str, node: str
) -> Endpoint | None:
    """Return the one that is known to listen, else one of this node: it sees the client's address.

    None where the node's own proxy knows one by now: to another that is new, it sends callers when
    that is ready, and not before. `heard` is the workload that was heard to listen, and its address
    there is newer than the record's: a pod whose sandbox was made anew has another.
    """
    endpoints = []
    for each in record.endpoints if record is not None else ():
        if each.is_routed:
            return None
        is_heard = each.workload == heard
        address = (heard_address if is_heard else "") or each.address
        if address == each.address != "":
            endpoints.append(each)  # A copy parses its address, and a wake waits meanwhile.
        elif address:
            endpoints.append(dataclasses.replace(each, address=address))
    endpoints.sort(key=lambda each: (each.workload != heard, each.node != node))
    return endpoints[0] if endpoints else None
