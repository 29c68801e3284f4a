"""One Ethernet segment: a switch, and a veth from it into each member's namespace.

    client 10.200.0.50      control plane 10.200.0.10
              \\               /
               ---- switch ----
              /               \\
    node1 10.200.0.1       node2 10.200.0.2
    pods 10.201.1.0/24     pods 10.201.2.0/24

The switch has an address too: the gateway of the nodes' default route. Nothing is behind it.
"""

from tests.cluster.namespaces import Namespaces

GATEWAY = "10.200.0.254"
CLIENT = "10.200.0.50"
CONTROL_PLANE = "10.200.0.10"
NODES = {"node1": "10.200.0.1", "node2": "10.200.0.2"}
POD_NETWORK = "10.201.0.0/16"
POD_RANGES = {"node1": "10.201.1.0/24", "node2": "10.201.2.0/24"}
SERVICE_RANGE = "10.96.0.0/16"
API_SERVICE = "10.96.0.1"
# What the client and the nodes have as their link; a node's daemon finds it by the default route.
INTERFACE = "eth0"


def create_switch(switch: Namespaces) -> None:
    """A learning bridge that forwards at once: without STP there is no listening phase of 15 s."""
    switch.run("ip", "link", "add", "switch", "type", "bridge", "stp_state", "0")
    switch.run("ip", "address", "add", f"{GATEWAY}/24", "dev", "switch")
    switch.run("ip", "link", "set", "switch", "up")


def connect(member: Namespaces, switch: Namespaces, *, address: str) -> None:
    """Give `member` an eth0 with `address`, and the switch a port named after it."""
    # Both ends are made where they belong: the machine's own namespace never sees a device of ours.
    link = ["link", "add", INTERFACE, "netns", str(member.pid), "type", "veth"]
    switch.run("ip", *link, "peer", "name", member.name, "netns", str(switch.pid))
    switch.run("ip", "link", "set", member.name, "master", "switch", "up")
    member.run("ip", "address", "add", f"{address}/24", "dev", INTERFACE)
    member.run("ip", "link", "set", INTERFACE, "up")


def route_pods(member: Namespaces) -> None:
    """Tell `member` behind which node each pod lives. Outside, nobody knows: not the client."""
    for node, pods in POD_RANGES.items():
        if node != member.name:
            member.run("ip", "route", "add", pods, "via", NODES[node])


def configure_node(node: Namespaces) -> None:
    """What makes a member of the segment a node: it forwards, and has a default route."""
    node.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
    # What a node cannot deliver goes out where it came in: a redirect would send the client there.
    for interface in ("all", INTERFACE):
        node.run("sysctl", "-qw", f"net.ipv4.conf.{interface}.send_redirects=0")
    node.run("ip", "route", "add", "default", "via", GATEWAY)
    route_pods(node)


def configure_control_plane(control_plane: Namespaces) -> None:
    """The API server calls webhooks by their Service: any node's kube-proxy takes it there."""
    route_pods(control_plane)
    control_plane.run("ip", "route", "add", SERVICE_RANGE, "via", NODES["node1"])
