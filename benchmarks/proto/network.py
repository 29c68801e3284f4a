"""Two network namespaces with a cable between them, and loss on it that both ways have alike."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pyroute2 import IPRoute

from benchmarks.proto.errors import BenchmarkError
from wangell_lab.errors import LabError
from wangell_lab.namespaces import NETNS_DIRECTORY, Namespace

__all__ = ["CLIENT_ADDRESS", "SERVER_ADDRESS", "Network"]

SERVER_ADDRESS, CLIENT_ADDRESS = "10.0.0.1", "10.0.0.2"
PREFIX_LENGTH = 30
LOOPBACK_INDEX = 1
INTERFACE = "cable"
# Of all that arrives over the cable, whatever it carries: UDP and TCP fare alike.
LOSS_RULES = """\
table inet loss {
    chain input {
        type filter hook input priority 0
        iifname "cable" numgen random mod 100 < %d drop
    }
}
"""


class Network:
    """Where servers and clients are."""

    def __init__(self) -> None:
        self.servers = Namespace(f"wb{os.getpid()}s")
        self.clients = Namespace(f"wb{os.getpid()}c")

    @classmethod
    @contextmanager
    def made(cls) -> Iterator["Network"]:
        """Make it, and remove it whatever happens."""
        _remove_orphans()
        network = cls()
        try:
            network.servers.create()
            network.clients.create()
            network._lay_cable()
            yield network
        finally:
            network.servers.remove()
            network.clients.remove()

    def _lay_cable(self) -> None:
        with self.servers.entered(), IPRoute() as rtnl:
            peer = {"ifname": INTERFACE, "net_ns_fd": self.clients.name}
            rtnl.link("add", ifname=INTERFACE, kind="veth", peer=peer)
        for namespace, address in ((self.servers, SERVER_ADDRESS), (self.clients, CLIENT_ADDRESS)):
            with namespace.entered(), IPRoute() as rtnl:
                index = rtnl.link_lookup(ifname=INTERFACE)[0]
                rtnl.addr("add", index=index, address=address, prefixlen=PREFIX_LENGTH)
                rtnl.link("set", index=LOOPBACK_INDEX, state="up")
                rtnl.link("set", index=index, state="up")

    @contextmanager
    def lossy(self, percent: int) -> Iterator[None]:
        """Meanwhile so much of what arrives is dropped, at random, at either end."""
        ends = (self.servers, self.clients)
        try:
            for end in ends:
                end.run(["nft", "-f", "-"], given=LOSS_RULES % percent, check=True)
            yield
        except LabError as error:
            raise BenchmarkError(f"no loss to be had from nftables: {error}") from error
        finally:
            for end in ends:
                end.run(["nft", "flush", "ruleset"])


def _remove_orphans() -> None:
    """Remove what runs left that were killed before they could."""
    if not NETNS_DIRECTORY.exists():
        return
    for path in NETNS_DIRECTORY.iterdir():
        owner = re.fullmatch(r"wb(\d+)[sc]", path.name)
        if owner and not Path("/proc", owner[1]).exists():
            Namespace(path.name).remove()
