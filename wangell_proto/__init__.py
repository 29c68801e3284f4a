"""The peer protocol: a server and its peers over UDP, as a library. Sans-IO; `aio` adds asyncio.

`Client` and `Server` take datagrams and times, and give datagrams, deadlines and events; they do
no I/O, read no clock and draw no randomness. Messages are acknowledged and delivered exactly once
per pair of incarnations; the server's table of records is replicated to every client. Nothing is
parsed before it is authenticated. What the caller does wrong raises LocalProtocolError; what a
stranger sends is counted under a DropReason. No service of ours belongs in here.
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
