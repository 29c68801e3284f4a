"""A node and a client, with the hold program at the cable between them."""

import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from tests.kernel.namespaces import Namespace
from wangell_daemon.datapath import Datapath
from wangell_daemon.packets import frontend_key

VIP, PORT = "10.9.0.1", 8080
# For compile_program, from wherever ours are.
FOREIGN = str(Path(__file__).with_name("foreign.bpf.c"))
FRONTEND = frontend_key(VIP, PORT)
T = TypeVar("T")
TOTAL_RETRANS = struct.Struct("=100xI")  # struct tcp_info, as far as tcpi_total_retrans


class Place:
    """A node and a client on a cable. Work on the node's kernel is done in its namespace."""

    def __init__(self, node: Namespace, client: Namespace) -> None:
        self.node, self.client = node, client
        self._datapaths: list[Datapath] = []

    def at_node(self, work: Callable[[], T]) -> T:
        return self.node.run(work)

    def datapath(self, interface: str = "eth0") -> Datapath:
        made = self.at_node(lambda: Datapath(interface))
        self._datapaths.append(made)
        return made

    def killed(self, datapath: Datapath) -> None:
        """Its daemon has ended; what is attached stays."""
        self._datapaths.remove(datapath)
        datapath.close()

    def call(self) -> socket.socket:
        """A client that has sent its SYN, and waits."""
        caller = self.client.run(socket.socket)
        caller.setblocking(False)
        assert caller.connect_ex((VIP, PORT)) != 0
        return caller

    def serve(self) -> socket.socket:
        """A server on the node."""
        server = self.at_node(socket.socket)
        server.bind(("0.0.0.0", PORT))
        server.listen()
        server.settimeout(5)
        return server

    def close(self) -> None:
        for datapath in self._datapaths:
            datapath.close()


def retransmitted(caller: socket.socket) -> int:
    """How many segments its kernel has sent again."""
    info = caller.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TOTAL_RETRANS.size)
    (segments,) = TOTAL_RETRANS.unpack(info)
    return int(segments)
