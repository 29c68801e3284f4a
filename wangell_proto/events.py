"""What the core tells its caller. Frozen values; a new kind may be added, none changes."""

import enum
from dataclasses import dataclass
from typing import Any, NewType

__all__ = [
    "Address",
    "Event",
    "Lane",
    "LinkDown",
    "LinkEnd",
    "LinkUp",
    "MessageAcknowledged",
    "MessageFailed",
    "MessageId",
    "MessageReceived",
    "PeerName",
    "RecordChanged",
    "TableSynced",
]

PeerName = NewType("PeerName", str)
MessageId = NewType("MessageId", int)
Address = tuple[Any, ...]


class Lane(enum.IntEnum):
    """How much a message hurries. A lower lane waits for every higher one."""

    WAKE = 0  # Someone waits for it. Acknowledged at once, never held back by congestion.
    STATE = 1  # What the peers must know soon.
    BULK = 2  # Statistics, logs.


class LinkEnd(enum.Enum):
    """Why a link ended."""

    SILENCE = "silence"  # Nothing heard for dead_after_s.
    UNHEARD = "unheard"  # We hear the peer, but it has not heard us for dead_after_s.
    GOODBYE = "goodbye"  # The peer closed it.
    CLOSED = "closed"  # We closed it.
    REPLACED = "replaced"  # The peer came back, restarted or from another address.
    REFUSED = "refused"  # The server's application refused the peer.
    KEY_WITHDRAWN = "key-withdrawn"  # Its pre-shared key is no longer good.


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkUp:
    """A peer is linked: authenticated, admitted, messages flow."""

    peer: PeerName
    "On a server the peer's name; on a client the server's `host:port`"
    address: Address
    epoch: int
    "On a client the server's; on a server its own"
    incarnation: bytes
    "Drawn anew when the peer's process restarts: exactly once holds for a pair of these"


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkDown:
    """A link that was up has ended. A client dials again by itself."""

    peer: PeerName
    reason: LinkEnd


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageReceived:
    """A message, delivered once per pair of incarnations. There is no order between messages."""

    peer: PeerName
    body: bytes
    lane: Lane


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageAcknowledged:
    """The peer has the message."""

    peer: PeerName
    message_id: MessageId
    rtt_s: float
    "From its first transmission to this acknowledgement"


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageFailed:
    """Server only: the peer did not come back in time, or restarted; the message may be lost."""

    peer: PeerName
    message_id: MessageId


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordChanged:
    """Client only: a record of the table is new, changed or gone."""

    key: str
    value: bytes | None
    "None: the record was deleted"
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSynced:
    """Client only: after a (re)connection the replica equals the server's table."""

    version: int
    epoch: int


Event = (
    LinkUp
    | LinkDown
    | MessageReceived
    | MessageAcknowledged
    | MessageFailed
    | RecordChanged
    | TableSynced
)
