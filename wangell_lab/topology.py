"""The lab's network as data: who is there, which cable joins whom, which address is whose.

    client  node1 .. nodeN  controller1 .. controllerM      10.46.100.0/24
       \\      |               /
        +--- switch ---------+
    node K --- pods of node K                               10.244.K.0/24

Nothing here touches the machine; `wiring` does.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from wangell_lab.errors import LabError

__all__ = [
    "EXAMPLE",
    "Cable",
    "End",
    "Exposure",
    "Host",
    "ProxyNeighbour",
    "Role",
    "Route",
    "Topology",
    "example",
    "plan",
]

Role = str  # "switch", "client", "node", "controller" or "pod"

# Nodes are .2, .12, .22 ..., controllers .3, .13, .23 ...; from .105 on the addresses are VIPs.
MEMBERS_MAX = 9
PODS_PER_NODE_MAX = 200
BRIDGE = "br0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A network namespace."""

    name: str
    role: Role
    sysctls: tuple[tuple[str, str], ...] = ()
    "Paths below /proc/sys/net, with what to write there; set once the interfaces exist"


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """One end of a cable: an interface of a host."""

    host: str
    interface: str
    address: str | None = None
    "With its prefix length. None: a port of the switch"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cable:
    """A veth pair."""

    near: End
    "The switch's port, or the node's interface towards a pod"
    far: End
    "The eth0 of a host"


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """An entry of a host's routing table."""

    host: str
    destination: str
    "With its prefix length"
    interface: str
    gateway: str | None = None
    "None: the destination is on the link itself"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyNeighbour:
    """A host answers ARP for an address that it does not own, as MetalLB's speaker does."""

    host: str
    address: str
    interface: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """How callers reach a service: what MetalLB and kube-proxy know of it."""

    service: str
    "namespace/name, as in the manifest"
    address: str
    port: int
    pod: str
    "The host its server runs in"
    target_port: int
    announced_by: str = "node1"
    "The node that callers' packets come to"


# The service of samples/serverless-example.yaml.
EXAMPLE = Exposure(
    service="default/serverless-example",
    address="10.46.100.105",
    port=80,
    pod="node1-pod1",
    target_port=8080,
)


def example(*, nodes: int = 1) -> Exposure:
    """Return the sample's service; with several nodes, its pod is not on the callers' one."""
    return EXAMPLE if nodes == 1 else replace(EXAMPLE, pod="node2-pod1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """Everything that has to exist before the first process starts."""

    hosts: tuple[Host, ...]
    cables: tuple[Cable, ...]
    routes: tuple[Route, ...]
    proxy_neighbours: tuple[ProxyNeighbour, ...]
    exposures: tuple[Exposure, ...]

    def address(self, host: str) -> str:
        """Return the address of the host's eth0, without prefix length. Raises LabError."""
        for cable in self.cables:
            if cable.far.host == host and cable.far.address is not None:
                return cable.far.address.partition("/")[0]
        raise LabError(f"no {host} in this lab; it has {', '.join(h.name for h in self.hosts)}")

    def node_of(self, pod: str) -> str:
        """Return the node that the pod is cabled to."""
        return next(cable.near.host for cable in self.cables if cable.far.host == pod)

    def names(self, role: Role) -> tuple[str, ...]:
        """Return the names of all hosts of that role, in order."""
        return tuple(host.name for host in self.hosts if host.role == role)

    def exposure(self, service: str) -> Exposure:
        """Return how `service` is reached. Raises LabError."""
        for exposure in self.exposures:
            if exposure.service == service:
                return exposure
        known = ", ".join(exposure.service for exposure in self.exposures)
        raise LabError(f"no service {service} in this lab; it has {known}")


def plan(
    *,
    nodes: int = 1,
    controllers: int = 1,
    pods_per_node: int = 1,
    exposures: tuple[Exposure, ...] = (EXAMPLE,),
) -> Topology:
    """Lay out a lab. Raises LabError for a number out of range or an exposure of no pod."""
    for count, what, most in (
        (nodes, "nodes", MEMBERS_MAX),
        (controllers, "controllers", MEMBERS_MAX),
        (pods_per_node, "pods per node", PODS_PER_NODE_MAX),
    ):
        if not 1 <= count <= most:
            raise LabError(f"a lab has 1 to {most} {what}, not {count}")
    node_hosts = [_node(number) for number in range(1, nodes + 1)]
    controller_hosts = [
        Host(name=f"controller{number}", role="controller") for number in range(1, controllers + 1)
    ]
    pods = [(node, pod) for node in range(1, nodes + 1) for pod in range(1, pods_per_node + 1)]
    hosts = (
        Host(name="switch", role="switch"),
        Host(name="client", role="client"),
        *node_hosts,
        *controller_hosts,
        *(Host(name=_pod_name(*pod), role="pod") for pod in pods),
    )
    _refuse_strange_exposures(exposures, {host.name for host in hosts})
    return Topology(
        hosts=hosts,
        cables=(*_uplinks(nodes, controllers), *(_pod_cable(*pod) for pod in pods)),
        routes=(
            *(route for pod in pods for route in _pod_routes(*pod)),
            *_routes_between_nodes(nodes),
            *(_vip_route(exposure) for exposure in exposures),
        ),
        proxy_neighbours=tuple(
            ProxyNeighbour(host=exposure.announced_by, address=exposure.address, interface="eth0")
            for exposure in exposures
        ),
        exposures=exposures,
    )


def _pod_name(node: int, pod: int) -> str:
    return f"node{node}-pod{pod}"


def _node_address(number: int) -> str:
    return f"10.46.100.{2 + 10 * (number - 1)}"


def _controller_address(number: int) -> str:
    return f"10.46.100.{3 + 10 * (number - 1)}"


def _pod_address(node: int, pod: int) -> str:
    return f"10.244.{node}.{4 + pod}"


def _node(number: int) -> Host:
    return Host(
        name=f"node{number}",
        role="node",
        sysctls=(
            ("ipv4/ip_forward", "1"),
            # As on a Kubernetes node: a replayed frame has to pass it like any other.
            ("ipv4/conf/all/rp_filter", "1"),
            ("ipv4/conf/eth0/rp_filter", "1"),
            # A packet for a pod elsewhere leaves by eth0, where it came from: no ICMP about that.
            ("ipv4/conf/all/send_redirects", "0"),
            ("ipv4/conf/eth0/send_redirects", "0"),
            # By default the kernel waits up to 0.8 s before it answers for a proxy neighbour.
            ("ipv4/neigh/eth0/proxy_delay", "0"),
        ),
    )


def _uplinks(nodes: int, controllers: int) -> Iterator[Cable]:
    yield _uplink("client", "10.46.100.1")
    for number in range(1, nodes + 1):
        yield _uplink(f"node{number}", _node_address(number))
    for number in range(1, controllers + 1):
        yield _uplink(f"controller{number}", _controller_address(number))


def _uplink(host: str, address: str) -> Cable:
    return Cable(
        near=End(host="switch", interface=host),
        far=End(host=host, interface="eth0", address=f"{address}/24"),
    )


def _pod_cable(node: int, pod: int) -> Cable:
    # Point to point, as the CNI plugin `ptp` does it, so that a node may have several pods.
    return Cable(
        near=End(host=f"node{node}", interface=f"pod{pod}", address=f"10.244.{node}.1/32"),
        far=End(
            host=_pod_name(node, pod), interface="eth0", address=f"{_pod_address(node, pod)}/32"
        ),
    )


def _pod_routes(node: int, pod: int) -> Iterator[Route]:
    name, gateway = _pod_name(node, pod), f"10.244.{node}.1"
    yield Route(
        host=f"node{node}", destination=f"{_pod_address(node, pod)}/32", interface=f"pod{pod}"
    )
    yield Route(host=name, destination=f"{gateway}/32", interface="eth0")
    yield Route(host=name, destination="0.0.0.0/0", interface="eth0", gateway=gateway)


def _routes_between_nodes(nodes: int) -> Iterator[Route]:
    for here in range(1, nodes + 1):
        for there in range(1, nodes + 1):
            if here != there:
                yield Route(
                    host=f"node{here}",
                    destination=f"10.244.{there}.0/24",
                    interface="eth0",
                    gateway=_node_address(there),
                )


def _vip_route(exposure: Exposure) -> Route:
    # The kernel answers ARP for a proxy neighbour only if the address is routed to another
    # interface than the one asked on. Packets never go there: they are translated before.
    return Route(host=exposure.announced_by, destination=f"{exposure.address}/32", interface="pod1")


def _refuse_strange_exposures(exposures: tuple[Exposure, ...], hosts: set[str]) -> None:
    for exposure in exposures:
        for host in (exposure.pod, exposure.announced_by):
            if host not in hosts:
                raise LabError(
                    f"{exposure.service} needs {host}, which this lab does not have; "
                    f"give it more nodes or pods"
                )
