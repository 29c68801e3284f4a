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
    "LinkRefused",
    "LinkUp",
    "MessageAcknowledged",
    "MessageFailed",
    "MessageId",
    "MessageReceived",
    "PeerAsks",
    "PeerMisbehaved",
    "PeerName",
    "RecordChanged",
    "Superseded",
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
    UNHEARD = "unheard"  # We hear the peer, but it has not heard us: a one-way partition.
    GOODBYE = "goodbye"  # The peer closed it.
    CLOSED = "closed"  # We closed it.
    REPLACED = "replaced"  # The peer came back, restarted or from another address.
    REFUSED = "refused"  # The server's application refused the peer.
    KEY_WITHDRAWN = "key-withdrawn"  # Its keys were not renewed in time.


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
class PeerAsks:
    """Server only: a peer holds the keys and waits; answer with Server.admit or Server.refuse."""

    request: int
    "Names this link in the answer"
    peer: PeerName
    "What the peer calls itself: believe it only as far as the credential does"
    credential: bytes
    address: Address


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkRefused:
    """Client only: the server's application refused the credential. The client tries on."""

    peer: PeerName


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
    """The peer has the message. A peer that knows a higher epoch has it, and does not obey it."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Superseded:
    """Server only: a peer has seen a higher epoch, and no longer obeys this server."""

    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerMisbehaved:
    """A peer, authenticated, sent what the protocol does not allow. It was dropped and counted."""

    peer: PeerName


Event = (
    LinkUp
    | LinkDown
    | LinkRefused
    | PeerAsks
    | PeerMisbehaved
    | Superseded
    | MessageReceived
    | MessageAcknowledged
    | MessageFailed
    | RecordChanged
    | TableSynced
)
