"""Every value of the vocabulary: one example of each for reading, strategies for the rest."""

import ipaddress

from hypothesis import strategies as st

from wangell_proto.vocabulary import (
    Activity,
    Armed,
    ColdStart,
    Count,
    Counted,
    Endpoint,
    Following,
    Frontend,
    Listening,
    Phase,
    Raised,
    Report,
    ServiceActivity,
    ServiceRecord,
    Started,
    Wake,
)

RECORD = ServiceRecord(
    phase=Phase.WAKING,
    frontends=(
        Frontend(address="10.46.100.105", port=80, sources=("10.0.0.0/8", "203.0.113.7/32")),
        Frontend(address="fd00::5", port=80),
    ),
    target_port=8080,
    endpoints=(Endpoint(address="10.244.0.5", node="node1", workload="net:[4026532000]"),),
    activation=3,
    activation_timeout_s=60.0,
)

# Numbers whose bytes differ when swapped.
REPORTS: dict[str, Report] = {
    "wake": Wake(
        service="default/x", address="10.0.0.1", port=80, sequence=0x01020304, activation=2
    ),
    "started": Started(
        service="default/x", activation=3, received_ns=258, spawned_ns=66_051, clock="boot"
    ),
    "listening": Listening(
        service="default/x", activation=3, workload="net:[4026532000]", address="10.244.0.5"
    ),
    "armed": Armed(service="default/x", activation=3, connections=258),
    "activity": Activity(services=(ServiceActivity(service="default/x", idle_s=1.5, held=2),)),
    "cold start": ColdStart(
        service="default/x", activation=3, outcome="answered", total_s=0.25, clients=50
    ),
    "raised": Raised(
        service="default/x", activation=3, endpoints=RECORD.endpoints, is_listening=True
    ),
    "count": Count(
        service="default/x", activation=3, number=258, workloads=("net:[4026532000]",), port=8080
    ),
    "counted": Counted(service="default/x", activation=3, number=258, connections=66_051),
    "following": Following(epoch=258),
}

names = st.text(min_size=1, max_size=60).filter(
    lambda text: not any(0xD800 <= ord(c) <= 0xDFFF for c in text)
)
ports = st.integers(1, 65535)
counts = st.integers(0, 2**32)
moments = st.integers(0, 2**63 - 1)
durations = st.floats(0.001, 86400.0)
addresses = st.ip_addresses().map(str)

networks = st.builds(
    lambda address, bits: str(ipaddress.ip_network(f"{address}/{bits}", strict=False)),
    st.ip_addresses(v=4),
    st.integers(0, 32),
)

frontends = st.builds(
    Frontend,
    address=addresses,
    port=ports,
    sources=st.lists(networks, max_size=4).map(tuple),
)
endpoints = st.builds(
    Endpoint,
    address=addresses | st.just(""),
    node=names,
    workload=names,
    is_routed=st.booleans(),
)
records = st.builds(
    ServiceRecord,
    phase=st.sampled_from(Phase),
    frontends=st.lists(frontends, min_size=1, max_size=4).map(tuple),
    target_port=ports,
    endpoints=st.lists(endpoints, max_size=4).map(tuple),
    activation=counts,
    activation_timeout_s=durations,
)
reports: st.SearchStrategy[Report] = st.one_of(
    st.builds(
        Wake, service=names, address=addresses, port=ports, sequence=counts, activation=counts
    ),
    st.builds(
        Started,
        service=names,
        activation=counts,
        received_ns=moments,
        spawned_ns=moments,
        clock=names,
    ),
    st.builds(
        Listening,
        service=names,
        activation=counts,
        workload=names,
        address=addresses | st.just(""),
    ),
    st.builds(Armed, service=names, activation=counts, connections=counts),
    st.builds(
        Activity,
        services=st.lists(
            st.builds(ServiceActivity, service=names, idle_s=durations, held=counts), max_size=5
        ).map(tuple),
    ),
    st.builds(
        ColdStart,
        service=names,
        activation=counts,
        outcome=st.sampled_from(("answered", "abandoned", "timeout", "failed")),
        total_s=durations,
        clients=counts,
    ),
    st.builds(
        Raised,
        service=names,
        activation=counts,
        endpoints=st.lists(endpoints, max_size=4).map(tuple),
        is_listening=st.booleans(),
    ),
    st.builds(
        Count,
        service=names,
        activation=counts,
        number=counts,
        workloads=st.lists(names, max_size=4).map(tuple),
        port=ports,
    ),
    st.builds(
        Counted,
        service=names,
        activation=counts,
        number=counts,
        connections=counts | st.none(),
    ),
    st.builds(Following, epoch=counts),
)
