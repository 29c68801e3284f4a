"""The asyncio adapter: one UDP socket for a client or a server.

The only module with a clock, a socket and random bytes. Everything happens in the call that it
belongs to: a wake leaves in `send`, an event reaches the callback in the turn that its datagram
was read. A task or a queue between them would cost each wake a turn of the loop.
"""

import asyncio
import ipaddress
import os
import socket
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from wangell_proto.client import Client
from wangell_proto.config import ClientConfig, ServerConfig
from wangell_proto.errors import DropReason, LocalProtocolError
from wangell_proto.events import Address, Event, Lane, MessageId
from wangell_proto.server import Server

__all__ = ["ClientLink", "PeerView", "ServerLink", "open_client", "open_server"]

# Read at a time before the loop gets its turn: a flood must not starve timers.
DATAGRAMS_PER_TURN = 32
# 1,000 peers answering one change at once are 1,000 datagrams of some 2 KiB of kernel memory.
RECEIVE_BUFFER_BYTES = 8 * 1024 * 1024
# How often a turn looks for a second datagram where there was none before.
LOOK_EVERY = 8
SO_RCVBUFFORCE, SO_RXQ_OVFL = 33, 40  # Of Linux; the socket module names neither.
_OVERFLOWS = struct.Struct("=I")
_ANCILLARY_BYTES = socket.CMSG_SPACE(_OVERFLOWS.size)
# One more than a datagram may have, so that a longer one is seen to be longer.
_READ_BYTES = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerView:
    """A peer as the server sees it now."""

    address: Address
    rtt_s: float
    "Smoothed round-trip time"
    last_heard_s: float
    "Since its last datagram"


def _family(servers: Iterable[tuple[str, int]]) -> int:
    """Return the family of these addresses, which must be one: a client has one socket."""
    versions = set()
    for host, _ in servers:
        try:
            versions.add(ipaddress.ip_address(host).version)
        except ValueError:
            # sendto would look the name up, and the loop would stand still meanwhile.
            raise LocalProtocolError(f"{host!r} is no IP address; resolve it first") from None
    if len(versions) > 1:
        raise LocalProtocolError("servers: all IPv4 or all IPv6; a client has one socket")
    return socket.AF_INET6 if versions == {6} else socket.AF_INET


def _widen(sock: socket.socket) -> None:
    """Make the receive buffer large: beyond net.core.rmem_max where we may, else up to it."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER_BYTES)
    except PermissionError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)


def _open_socket(family: int, bind: Address | None) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        _widen(sock)
        sock.setsockopt(socket.SOL_SOCKET, SO_RXQ_OVFL, 1)
        if bind is not None:
            sock.bind(bind)
    except OSError:
        sock.close()
        raise
    return sock


class _Endpoint:
    """Moves bytes, times and events between a socket and a core."""

    def __init__(
        self, core: Client | Server, sock: socket.socket, on_event: Callable[[Any], None]
    ) -> None:
        self._core = core
        self._socket = sock
        self._on_event = on_event
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = float("inf")
        self._overflows = 0
        self._turns = 0
        self._has_backlog = False
        self._is_dispatching = False
        # Whether the socket is; a callback may close it.
        self._is_open = True
        self._loop.add_reader(sock.fileno(), self._on_readable)

    @property
    def address(self) -> Address:
        """The address that the socket is bound to."""
        return self._socket.getsockname()  # type: ignore[no-any-return]

    @property
    def drops(self) -> Mapping[DropReason, int]:
        """Datagrams and messages not used, by reason, since the start."""
        return self._core.drops

    def _on_readable(self) -> None:
        now = self._loop.time()
        try:
            self._read(now)
        finally:
            self._flush(now)  # Also where a callback failed.

    def _read(self, now: float) -> None:
        """Read one datagram, or all where there have been more.

        A read that finds nothing costs as much as one that does, and a wake comes alone; so where
        the last turns found one each, only each LOOK_EVERY-th looks whether there is another.
        """
        receive, core = self._socket.recvmsg, self._core
        self._turns += 1
        looks = self._has_backlog or self._turns % LOOK_EVERY == 0
        for count in range(DATAGRAMS_PER_TURN if looks else 1):
            try:
                data, ancillary, _, source = receive(_READ_BYTES, _ANCILLARY_BYTES)
            except BlockingIOError:
                self._has_backlog = count > 1
                return
            if ancillary:
                self._count_overflows(ancillary)
            # IPv6 adds flow and scope; the scope is part of the host as well where it counts.
            core.receive_datagram(data, source=source[:2], now=now)
            self._dispatch()
            if not self._is_open:
                return
        self._has_backlog = looks

    def _count_overflows(self, ancillary: list[tuple[int, int, bytes]]) -> None:
        ((_, _, content),) = ancillary  # Nothing else was asked for.
        (total,) = _OVERFLOWS.unpack(content)
        # The kernel's count is 32 bits wide and wraps.
        self._core.drops[DropReason.KERNEL_QUEUE_FULL] += (total - self._overflows) % 2**32
        self._overflows = total

    def _dispatch(self) -> None:
        if self._is_dispatching:
            return  # A callback sent something: its events come after the one it is in.
        self._is_dispatching = True
        try:
            next_event, on_event = self._core.next_event, self._on_event
            while (event := next_event()) is not None:
                on_event(event)
        finally:
            self._is_dispatching = False

    def _flush(self, now: float) -> None:
        if not self._is_open:
            return
        send = self._socket.sendto
        for datagram, address in self._core.datagrams_to_send(now=now):
            try:
                send(datagram, address)
            except OSError:  # Buffer full, or no route: as if lost on the way, and tried again.
                self._core.drops[DropReason.SEND_FAILED] += 1
        deadline = self._core.next_deadline()
        if deadline is not None and deadline < self._timer_at:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at = deadline
            self._timer = self._loop.call_at(deadline, self._on_timer)

    def _on_timer(self) -> None:
        # Deadlines mostly move back; so the timer is left alone and looks again when it rings.
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._timer_at = None, float("inf")
        now = self._loop.time()
        self._core.handle_deadline(now=now)
        try:
            self._dispatch()
        finally:
            self._flush(now)

    def close(self) -> None:
        """Say goodbye and close the socket. A second call does nothing."""
        if not self._is_open:
            return
        now = self._loop.time()
        self._core.close(now=now)
        self._flush(now)
        if self._timer is not None:
            self._timer.cancel()
        self._is_open = False
        self._loop.remove_reader(self._socket.fileno())
        self._socket.close()
        self._dispatch()


class ClientLink(_Endpoint):
    """A client on its socket."""

    def __init__(self, core: Client, sock: socket.socket, on_event: Callable[[Any], None]) -> None:
        super().__init__(core, sock, on_event)
        self.core = core
        self._on_timer()

    @property
    def rtt_s(self) -> float | None:
        """Smoothed round-trip time to the primary server; None without one."""
        primary = self.core.primary
        return primary.channel.rtt.smoothed_s if primary and primary.channel else None

    @property
    def records(self) -> Mapping[str, bytes]:
        """The replica of the table."""
        return self.core.records

    def send(self, body: bytes, *, lane: Lane, replaces: str | None = None) -> MessageId:
        """Send a message in this very call, or when a link is up. Errors as Client.send."""
        now = self._loop.time()
        message_id = self.core.send(body, lane=lane, replaces=replaces, now=now)
        self._flush(now)
        return message_id

    def set_psks(self, psks: tuple[bytes, ...]) -> None:
        """Rotate; see Client.set_psks."""
        self.core.set_psks(psks, now=self._loop.time())
        self._on_timer()

    def set_credential(self, credential: bytes) -> None:
        """Show this from the next handshake on; see Client.set_credential."""
        self.core.set_credential(credential)

    def set_servers(self, servers: tuple[tuple[str, int], ...]) -> None:
        """Link to these servers and no others; see Client.set_servers."""
        _family((*servers, *(link.address[:2] for link in self.core.links)))
        self.core.set_servers(servers, now=self._loop.time())
        self._on_timer()


class ServerLink(_Endpoint):
    """A server on its socket."""

    def __init__(self, core: Server, sock: socket.socket, on_event: Callable[[Any], None]) -> None:
        super().__init__(core, sock, on_event)
        self.core = core
        self._flush_handle: asyncio.Handle | None = None
        self._on_timer()

    @property
    def peers(self) -> Mapping[str, PeerView]:
        """The peers that are linked, by name."""
        now = self._loop.time()
        return {
            name: PeerView(
                address=link.address,
                rtt_s=link.channel.rtt.smoothed_s,
                last_heard_s=now - link.channel.liveness.last_heard_at,
            )
            for name, link in self.core.links.items()
        }

    def send(self, peer: str, body: bytes, *, lane: Lane, replaces: str | None = None) -> MessageId:
        """Send a wake in this very call, the rest with all that this turn of the loop has to say.

        Errors as Server.send.
        """
        now = self._loop.time()
        message_id = self.core.send(peer, body, lane=lane, replaces=replaces, now=now)
        if lane is Lane.WAKE:
            self._flush(now)
        else:
            self._flush_soon()
        return message_id

    def admit(self, request: int) -> None:
        """Let a peer in that a PeerAsks event told of."""
        now = self._loop.time()
        self.core.admit(request, now=now)
        self._dispatch()
        self._flush(now)

    def refuse(self, request: int) -> None:
        """Send a peer away that a PeerAsks event told of."""
        now = self._loop.time()
        self.core.refuse(request, now=now)
        self._dispatch()
        self._flush(now)

    def set_psks(self, psks: tuple[bytes, ...]) -> None:
        """Rotate; see Server.set_psks."""
        now = self._loop.time()
        self.core.set_psks(psks, now=now)
        self._dispatch()
        self._flush(now)

    def set_record(self, key: str, value: bytes) -> None:
        """Set a record; those set in one turn of the loop leave together. Errors as the core's."""
        self.core.set_record(key, value)
        self._flush_soon()

    def delete_record(self, key: str) -> None:
        """Delete a record; see set_record."""
        self.core.delete_record(key)
        self._flush_soon()

    def serve_table(self, *, is_complete: bool) -> None:
        """Say whether the table is complete and may be followed."""
        self.core.serve_table(is_complete=is_complete, now=self._loop.time())
        self._flush_soon()

    def raise_epoch(self, epoch: int) -> None:
        """Take a higher epoch. Raises LocalProtocolError for a lower one."""
        self.core.raise_epoch(epoch, now=self._loop.time())
        self._flush_soon()

    def _flush_soon(self) -> None:
        if self._flush_handle is None:
            self._flush_handle = self._loop.call_soon(self._flush_now)

    def _flush_now(self) -> None:
        self._flush_handle = None
        self._flush(self._loop.time())


async def open_client(config: ClientConfig, on_event: Callable[[Event], None]) -> ClientLink:
    """Open a client. It dials at once; LinkUp comes to `on_event`, which must not block.

    Raises LocalProtocolError for servers that are no IP addresses of one family, OSError where
    there is no socket to be had.
    """
    family = _family(config.servers)
    core = Client(config, random=os.urandom, now=asyncio.get_running_loop().time())
    return ClientLink(core, _open_socket(family, None), on_event)


async def open_server(
    config: ServerConfig, bind: tuple[str, int], on_event: Callable[[Event], None]
) -> ServerLink:
    """Open a server on an IP address and a UDP port. `on_event` must not block.

    Raises LocalProtocolError for a host that is no IP address, OSError where the address cannot be
    bound.
    """
    family = _family([bind])
    core = Server(config, random=os.urandom)
    return ServerLink(core, _open_socket(family, bind), on_event)
