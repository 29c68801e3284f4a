"""A held SYN answered with RST: the caller knows at once, by the kernel's own word for it."""

import errno
import select
import socket
import struct
from collections.abc import Iterator

import pytest

from tests.kernel.namespaces import Namespace, cable
from wangell_daemon.refusal import Refuser

NODE, PORT = "10.9.0.1", 8080
ETH_P_IP = 0x0800


@pytest.fixture
def ends() -> Iterator[tuple[Namespace, Namespace]]:
    """A node whose kernel stays silent, and a client."""
    with Namespace() as node, Namespace() as client:
        cable(node, client)
        # What XDP does in real life: the node's own stack never sees the SYN.
        node.ip("address", "flush", "dev", "eth0")
        client.ip("neigh", "add", NODE, "lladdr", _mac(node), "dev", "eth0")
        yield node, client


def _mac(node: Namespace) -> str:
    def ask() -> str:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as packets:
            packets.bind(("eth0", 0))
            return bytes(packets.getsockname()[4]).hex(":")

    return node.run(ask)


def capture(node: Namespace) -> socket.socket:
    """All IPv4 frames that reach the node."""

    def open_capture() -> socket.socket:
        packets = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_IP))
        packets.bind(("eth0", ETH_P_IP))
        packets.settimeout(5)
        return packets

    return node.run(open_capture)


def test_a_refused_caller_gets_connection_refused(ends: tuple[Namespace, Namespace]) -> None:
    node, client = ends
    refuser, ifindex = node.run(lambda: (Refuser(), socket.if_nametoindex("eth0")))
    with capture(node) as packets, client.run(socket.socket) as caller:
        caller.setblocking(False)
        assert caller.connect_ex((NODE, PORT)) == errno.EINPROGRESS
        refuser.refuse(packets.recv(2048), ifindex=ifindex)
        _, writable, _ = select.select([], [caller], [], 5)
        assert writable == [caller]
        assert caller.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNREFUSED
    refuser.close()


def test_only_the_one_that_is_refused_is_told(ends: tuple[Namespace, Namespace]) -> None:
    node, client = ends
    refuser, ifindex = node.run(lambda: (Refuser(), socket.if_nametoindex("eth0")))
    callers = [client.run(socket.socket) for _ in range(2)]
    with capture(node) as packets:
        frames = {}
        for caller in callers:
            caller.setblocking(False)
            caller.connect_ex((NODE, PORT))
            frame = packets.recv(2048)
            frames[struct.unpack_from("!H", frame, 34)[0]] = frame
        second = callers[1]
        refuser.refuse(frames[second.getsockname()[1]], ifindex=ifindex)
        _, writable, _ = select.select([], callers, [], 5)
        assert writable == [second]
    for caller in callers:
        caller.close()
    refuser.close()


def test_a_caller_whose_interface_has_gone_is_an_os_error(
    ends: tuple[Namespace, Namespace],
) -> None:
    refuser = ends[0].run(Refuser)
    with pytest.raises(OSError, match="No such device"):
        refuser.refuse(bytes(54), ifindex=9999)
    refuser.close()
