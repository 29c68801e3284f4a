"""Whose fault it is: the caller's raises, a stranger's is counted.

Nothing that arrives from the network raises. A datagram that cannot be used is dropped under one
DropReason, and changes nothing.
"""

import enum

__all__ = ["DropReason", "LocalProtocolError", "QueueFullError", "UnknownPeerError", "is_text"]


class LocalProtocolError(Exception):
    """The caller asked for what the protocol does not allow. The message names the remedy."""


class QueueFullError(LocalProtocolError):
    """More messages wait for a peer than are kept for one. Send less, or latest-wins messages."""


class UnknownPeerError(LocalProtocolError):
    """No peer of that name is linked. Wait for its LinkUp."""


def is_text(text: str) -> bool:
    """Say whether UTF-8 has all its characters: a lone surrogate cannot be sent."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class DropReason(enum.IntEnum):
    """Why a datagram, or a message in it, was not used. Append only: metrics read the names."""

    TOO_SHORT = 0  # Shorter than the smallest datagram of its type.
    TOO_LONG = 1  # Longer than a datagram may be.
    BAD_MAGIC = 2  # Not ours at all.
    BAD_VERSION = 3  # A version of the wire format that we do not speak.
    UNKNOWN_TYPE = 4  # No such type of datagram, or one that this side never receives.
    UNKNOWN_SESSION = 5  # No such session: ended, or never was.
    UNKNOWN_KEY = 6  # The session has no such key generation (any more).
    WRONG_SOURCE = 7  # The session belongs to another address.
    REPLAYED = 8  # This packet number was received before.
    TOO_OLD = 9  # This packet number lies below the replay window.
    BAD_TAG = 10  # Forged or damaged: authentication failed.
    BAD_MAC = 11  # A handshake by someone without our pre-shared key, or for another server key.
    ADDRESS_UNPROVEN = 12  # A handshake without a fresh cookie; it was answered with one.
    BAD_HANDSHAKE = 13  # A handshake that does not decrypt, or says nothing we understand.
    REPLAYED_HANDSHAKE = 14  # A handshake datagram that was received before.
    STALE_HANDSHAKE = 15  # An answer to a handshake that we no longer wait for.
    SERVER_FULL = 16  # As many peers as a server keeps are linked or linking.
    MALFORMED = 17  # Authenticated, but not what the protocol allows there.
    DUPLICATE_MESSAGE = 18  # A message that was delivered before; acknowledged again.
    LOWER_EPOCH = 19  # A table or an order from a server that has been superseded.
    REASSEMBLY_FULL = 20  # A fragment of one message more than is put together at a time.
    NOT_ADMITTED = 21  # A message from a peer that has not been admitted yet.
    REFUSED = 22  # The application refused the peer.
    KERNEL_QUEUE_FULL = 23  # The socket's receive buffer was full (SO_RXQ_OVFL).
    SEND_FAILED = 24  # The kernel would not take a datagram; it counts as lost.
    BAD_LENGTH = 25  # Not as long as its type must be.
    STALE_CHUNK = 26  # A part of a table that this client no longer asks for.
    SERVER_BUSY = 27  # More handshakes wait than are kept; the peer will try again.
