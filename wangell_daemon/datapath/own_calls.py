"""Calls that the node itself and hostNetwork pods make: no ingress hook sees them leave.

While their service is held, an nftables chain at output logs and drops their SYNs before conntrack
and kube-proxy see them. A SYN that waits is sent again by a raw socket once a replica listens, and
takes the way that any packet of this node takes; the caller's own socket, which still waits for an
answer to it, tells whether it has one. A placeholder endpoint would cost the caller its own retry.

What is held changes with every wake, and the heartbeat with every second: by orders, for a
transaction would wait for kube-proxy's, which comes with the same pod.
"""

import ipaddress
import socket
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

from wangell_daemon.datapath.nflog import PacketLog
from wangell_daemon.datapath.nfnetlink import Nftables, add, delete, flush
from wangell_daemon.datapath.nft import run_nft
from wangell_daemon.datapath.orders import Order, Orders, draw_password, rules_with
from wangell_daemon.datapath.sockdiag import Caller, Connections
from wangell_daemon.packets import V4_MAPPED, frontend_key, reset_for

__all__ = ["OwnCalls"]

RULES = Path(__file__).with_name("own_calls.nft")
GROUP = 22343  # "WG"; own_calls.nft has it, too
# The kernel's answers to more would not fit into a socket's receive buffer.
CHANGES_MAX = 200

_ASLEEP, _TCP = "own_held4", b"\x06"
_NOBODY = frontend_key("127.0.0.1", 0)
_RESTRICTED, _SOURCES = "restricted4", "sources4"
_Element = tuple[str, bytes, bytes]  # a set's name, a key of it, and the last key if it is a range
_ETHERNET = bytes(12) + b"\x08\x00"


class OwnCalls:
    """Of this network namespace. Frontends are bytes, struct frontend; frames have no addresses."""

    def __init__(
        self,
        *,
        on_syn: Callable[[bytes], None] = lambda _: None,
        on_lost: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_syn` is given a frame, `on_lost` told of SYNs that there was no room for.

        Raises DatapathError, and OSError: EBUSY where another daemon of this network namespace,
        for another interface, sees to them.
        """
        self.on_syn, self.on_lost = on_syn, on_lost
        self.log = PacketLog(
            GROUP,
            on_packet=lambda packet: self.on_syn(_ETHERNET + packet),
            on_lost=lambda: self.on_lost(),  # noqa: PLW0108 (set later)
        )
        password = draw_password()
        # By a pipe: everybody on the node may read a command line.
        run_nft("-f", "-", text=rules_with(password, RULES))
        self._orders = Orders(password)
        self._nftables = Nftables()
        self._raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
        self._connections = Connections()
        self._asleep: set[bytes] = set()
        self._changed: set[bytes] = set()
        self._restrictions: dict[bytes, frozenset[_Element]] = {}

    def hold(self, frontends: Iterable[bytes]) -> None:
        """Hold their SYNs from the next `apply` on."""
        keys = [each for each in frontends if each.startswith(V4_MAPPED)]
        self._changed.update(each for each in keys if each not in self._asleep)
        self._asleep.update(keys)

    def let_pass(self, frontends: Iterable[bytes]) -> None:
        """Hold them no more, from the next `apply` on."""
        keys = self._asleep.intersection(frontends)
        self._changed |= keys
        self._asleep -= keys

    def restrict(self, frontend: bytes, sources: Collection[str]) -> None:
        """Let only these networks call a frontend; none: whoever will. Raises OSError."""
        if not frontend.startswith(V4_MAPPED):
            return
        held = self._restrictions.pop(frontend, frozenset())
        wanted = _elements(frontend, sources)
        if wanted:
            self._restrictions[frontend] = wanted
        messages = [delete(*each) for each in held - wanted]
        messages += [add(*each) for each in wanted - held]
        if messages:
            try:
                self._nftables.commit(*messages)
            except FileNotFoundError:  # Somebody has deleted one.
                self._restate()

    @property
    def is_changed(self) -> bool:
        """Whether `apply` has something to do."""
        return bool(self._changed)

    def holds(self, frontend: bytes) -> bool:
        """Whether its SYNs are held still, perhaps for the proxy's sake."""
        return frontend in self._asleep or frontend in self._changed

    def apply(self) -> None:
        """Tell the kernel. Raises OSError; what is not told yet is told by the next call.

        What the node's proxy would refuse is held until it has caught up.
        """
        for each in list(self._changed):
            if each in self._asleep:
                self._orders.give(Order.HOLD, [each])
            elif self._refuses(each):
                continue
            else:
                self._orders.give(Order.LET_PASS, [each])
            self._changed.discard(each)

    def restore(self) -> None:
        """What a predecessor left that nobody claims goes. Raises OSError."""
        self._restate()
        self._changed = set(self._asleep)
        self._nftables.commit(flush(_ASLEEP))
        self.apply()

    def beat(self) -> None:
        """The daemon lives: SYNs are held for 30 s more. Raises OSError."""
        self._orders.give(Order.LIVE, [_NOBODY])

    def refuse(self, frame: bytes) -> None:
        """Answer a SYN that was held with RST. Raises OSError."""
        self.send(reset_for(frame))

    def send(self, frame: bytes) -> None:
        """Send a SYN that was held, its checksums whole. Raises OSError."""
        packet = frame[len(_ETHERNET) :]
        self._raw.sendto(packet, (socket.inet_ntoa(packet[16:20]), 0))

    def caller(self, flow: bytes) -> Caller:
        """Return what becomes of the caller of a struct flow. Raises OSError."""
        return self._connections.caller(flow)

    def close(self) -> None:
        """Close the sockets; the rules stay for a successor, until the heartbeat times out."""
        for each in (self._orders, self._nftables, self._raw, self._connections, self.log):
            each.close()

    def _refuses(self, frontend: bytes) -> bool:
        """Whether kube-proxy, in nftables mode, knows of no endpoint yet: it looks before nat."""
        key = frontend[12:16] + _TCP.ljust(4, b"\0") + frontend[16:18] + b"\0\0"
        return self._nftables.has("kube-proxy", "no-endpoint-services", key)

    def _restate(self) -> None:
        """Who may call comes before who must ask: nobody is shut out who is inside."""
        elements = {each for held in self._restrictions.values() for each in held}
        ordered = sorted(elements, key=lambda each: (each[0] != _SOURCES, each))
        messages = [flush(_RESTRICTED), flush(_SOURCES), *(add(*each) for each in ordered)]
        for first in range(0, len(messages), CHANGES_MAX):
            self._nftables.commit(*messages[first : first + CHANGES_MAX])


def _elements(frontend: bytes, sources: Collection[str]) -> frozenset[_Element]:
    # The kernel takes no range that overlaps another.
    networks = ipaddress.collapse_addresses(ipaddress.IPv4Network(each) for each in sources)
    key = _key(frontend)
    found = {(_SOURCES, each[0].packed + key, each[-1].packed + key) for each in networks}
    return frozenset(found | {(_RESTRICTED, key, b"")} if found else ())


def _key(frontend: bytes) -> bytes:
    """As nftables concatenates address and port."""
    return frontend[12:16] + frontend[16:18] + b"\0\0"
