"""Builds what `topology` says: the one place that speaks rtnetlink and writes sysctls."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute

from wangell_lab.namespaces import Namespace
from wangell_lab.topology import BRIDGE, Cable, End, ProxyNeighbour, Route, Topology

__all__ = ["build"]

LOOPBACK_INDEX = 1
NTF_PROXY = 0x08  # linux/neighbour.h
SYSCTL_DIRECTORY = Path("/proc/sys/net")


def build(topology: Topology, namespaces: Mapping[str, Namespace]) -> None:
    """Lay cables, addresses and routes in `namespaces` (by host name), which exist and are empty.

    Raises pyroute2's NetlinkError, which no user can mend: what it needs was checked before.
    """
    for host in topology.hosts:
        with namespaces[host.name].entered(), IPRoute() as rtnl:
            rtnl.link("set", index=LOOPBACK_INDEX, state="up")
            if host.role == "switch":
                rtnl.link("add", ifname=BRIDGE, kind="bridge")
                rtnl.link("set", index=_index(rtnl, BRIDGE), state="up")
    for cable in topology.cables:
        _lay(cable, namespaces)
    for host in topology.hosts:
        with namespaces[host.name].entered(), IPRoute() as rtnl:
            # Sysctls first: a route or an ARP entry must not act under the wrong ones.
            for path, value in host.sysctls:
                (SYSCTL_DIRECTORY / path).write_text(value)
            for route in topology.routes:
                if route.host == host.name:
                    _add_route(rtnl, route)
            for neighbour in topology.proxy_neighbours:
                if neighbour.host == host.name:
                    _add_proxy_neighbour(rtnl, neighbour)


def _lay(cable: Cable, namespaces: Mapping[str, Namespace]) -> None:
    near, far = cable.near, cable.far
    with namespaces[near.host].entered(), IPRoute() as rtnl:
        peer = {"ifname": far.interface, "net_ns_fd": namespaces[far.host].name}
        rtnl.link("add", ifname=near.interface, kind="veth", peer=peer)
        _bring_up(rtnl, near)
    with namespaces[far.host].entered(), IPRoute() as rtnl:
        _bring_up(rtnl, far)


def _bring_up(rtnl: Any, end: End) -> None:
    index = _index(rtnl, end.interface)
    if end.address is None:
        rtnl.link("set", index=index, master=_index(rtnl, BRIDGE))
    else:
        address, _, prefix = end.address.partition("/")
        rtnl.addr("add", index=index, address=address, prefixlen=int(prefix))
    rtnl.link("set", index=index, state="up")


def _add_route(rtnl: Any, route: Route) -> None:
    way = {"scope": "link"} if route.gateway is None else {"gateway": route.gateway}
    rtnl.route("add", dst=route.destination, oif=_index(rtnl, route.interface), **way)


def _add_proxy_neighbour(rtnl: Any, neighbour: ProxyNeighbour) -> None:
    index = _index(rtnl, neighbour.interface)
    rtnl.neigh("add", dst=neighbour.address, ifindex=index, flags=NTF_PROXY)


def _index(rtnl: Any, interface: str) -> int:
    index: int = rtnl.link_lookup(ifname=interface)[0]
    return index
