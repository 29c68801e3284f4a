"""The peer protocol: a server and its peers over UDP, as a library. Sans-IO; `aio` adds asyncio.

`Client` and `Server` take datagrams and times, and give datagrams, deadlines and events; they do
no I/O, read no clock and draw no randomness. Messages are acknowledged and delivered exactly once
per pair of incarnations; the server's table of records is replicated to every client. Nothing is
parsed before it is authenticated. What the caller does wrong raises LocalProtocolError; what a
stranger sends is counted under a DropReason. No service of ours belongs in here.

>>> import os
>>> private_key, psk, now = os.urandom(32), os.urandom(32), 0.0
>>> server = Server(ServerConfig(private_key=private_key, psks=(psk,), epoch=1), random=os.urandom)
>>> client = Client(
...     ClientConfig(
...         name="node-1",
...         servers=(("10.0.0.1", 7946),),
...         server_public_key=public_key(private_key),
...         psks=(psk,),
...     ),
...     random=os.urandom,
...     now=now,
... )
>>> server.set_record("default/example", b"10.46.100.105:80")
>>> message_id = client.send(b"wake", lane=Lane.WAKE, now=now)
>>> for _ in range(5):  # The network: what one has to send, the other receives.
...     client.handle_deadline(now=now)
...     for datagram, _ in client.datagrams_to_send(now=now):
...         server.receive_datagram(datagram, source=("10.1.0.1", 5000), now=now)
...     for datagram, _ in server.datagrams_to_send(now=now):
...         client.receive_datagram(datagram, source=("10.0.0.1", 7946), now=now)
>>> client.records["default/example"]
b'10.46.100.105:80'
>>> server.next_event().peer, server.next_event().body
('node-1', b'wake')
"""

from wangell_proto.client import Client
from wangell_proto.config import ClientConfig, ServerConfig, Timers
from wangell_proto.errors import (
    DropReason,
    LocalProtocolError,
    QueueFullError,
    UnknownPeerError,
)
from wangell_proto.events import (
    Address,
    Event,
    Lane,
    LinkDown,
    LinkEnd,
    LinkRefused,
    LinkUp,
    MessageAcknowledged,
    MessageFailed,
    MessageId,
    MessageReceived,
    PeerAsks,
    PeerMisbehaved,
    PeerName,
    RecordChanged,
    Superseded,
    TableSynced,
)
from wangell_proto.noise import public_key
from wangell_proto.server import Server

__all__ = [
    "Address",
    "Client",
    "ClientConfig",
    "DropReason",
    "Event",
    "Lane",
    "LinkDown",
    "LinkEnd",
    "LinkRefused",
    "LinkUp",
    "LocalProtocolError",
    "MessageAcknowledged",
    "MessageFailed",
    "MessageId",
    "MessageReceived",
    "PeerAsks",
    "PeerMisbehaved",
    "PeerName",
    "QueueFullError",
    "RecordChanged",
    "Server",
    "ServerConfig",
    "Superseded",
    "TableSynced",
    "Timers",
    "UnknownPeerError",
    "public_key",
]
