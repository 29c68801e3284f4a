"""The header of every datagram, and the frames in the bodies of sealed ones.

Layout, network order: magic 2, version 1, type 1, flags 1, key id 1, session 4, packet number 8.
What follows depends on the type; docs/protocol.md has the tables.
"""

import enum
from typing import Any

import msgpack

from wangell_proto.constants import (
    ACK_RANGES_MAX,
    DATAGRAM_BYTES_MAX,
    DIGEST_BYTES,
    FRAGMENT_BYTES,
    FRAGMENTS_MAX,
    FRAMES_MAX,
    HEADER,
    HEADER_BYTES,
    MAGIC,
    MESSAGE_BYTES_MAX,
    NUMBER_BITS,
    NUMBER_MAX,
    TAG_BYTES,
    VERSION,
)
from wangell_proto.errors import DropReason

__all__ = [
    "DatagramType",
    "Farewell",
    "Frame",
    "FrameType",
    "Header",
    "Kind",
    "pack_header",
    "parse_body",
    "parse_header",
]


class DatagramType(enum.IntEnum):
    """Third field of the header. Append only."""

    INITIATION = 1  # Client to server: cookie, first Noise message, MAC.
    RETRY = 2  # Server to client: a cookie, MAC.
    RESPONSE = 3  # Server to client: second Noise message.
    SEALED = 4  # Either way, under a session's key.


class FrameType(enum.IntEnum):
    """First item of a frame. Append only."""

    ACK = 1  # delay_us, then highest and lowest of each range of packet numbers, newest first
    MESSAGE = 2  # kind, sequence, epoch, body
    FRAGMENT = 3  # kind, sequence, epoch, index, count, part of the body
    HEARTBEAT = 4  # id, echoed id, us since, us of silence, epoch, flags, version, digest
    PING = 5  # nothing more
    PONG = 6  # nothing more
    GOODBYE = 7  # reason


class Kind(enum.IntEnum):
    """What a message is for. Append only. The first three are the application's lanes."""

    WAKE = 0
    STATE = 1
    BULK = 2
    TABLE = 3  # Server to client: a chunk of the table.
    HELLO = 4  # Client to server: the handshake is confirmed.
    WELCOME = 5  # Server to client: admitted.
    SUBSCRIBE = 6  # Client to server: this is what I hold of the table.
    DIGESTS_WANTED = 7  # Server to client: subscribe again, with bucket digests.
    REKEY_WANTED = 8  # Server to client: shake hands anew, this key's time is over.


class Farewell(enum.IntEnum):
    """Why a GOODBYE was said. Append only; a number not known counts as CLOSED."""

    CLOSED = 0  # The process ends, or its caller closed the link.
    REFUSED = 1  # The application refused the credential.
    SILENCE = 2  # The other side was not heard in time; it may hear this nevertheless.
    REPLACED = 3  # The same peer has linked anew.
    KEY_WITHDRAWN = 4  # The pre-shared key of this link is no longer good.


Header = tuple[int, int, int, int, int]  # type, flags, key id, session, packet number
Frame = list[Any]

_TYPES = frozenset(int(member) for member in DatagramType)
_KINDS = len(Kind)
# Smallest bodies: one empty array and a tag for a sealed one; the rest is checked by handshake.py.
_BYTES_MIN = HEADER_BYTES + 1 + TAG_BYTES


def pack_header(kind: int, flags: int, key_id: int, session: int, number: int) -> bytes:
    """Return the 18 bytes that start a datagram."""
    return HEADER.pack(MAGIC, VERSION, kind, flags, key_id, session, number)


def parse_header(datagram: bytes) -> Header | DropReason:
    """Return the fields after magic and version, or why this is no datagram of ours."""
    if len(datagram) < _BYTES_MIN:
        return DropReason.TOO_SHORT
    if len(datagram) > DATAGRAM_BYTES_MAX:
        return DropReason.TOO_LONG
    magic, version, kind, flags, key_id, session, number = HEADER.unpack_from(datagram)
    if magic != MAGIC:
        return DropReason.BAD_MAGIC
    if version != VERSION:
        return DropReason.BAD_VERSION
    if kind not in _TYPES:
        return DropReason.UNKNOWN_TYPE
    return kind, flags, key_id, session, number


def parse_body(body: bytes) -> list[Frame] | None:
    """Return the frames of an authenticated body, each of a shape we know; None for anything else.

    An authenticated peer may still be broken or hostile: no maps, no extension types, no numbers
    beyond 2^62, no more frames than a sender ever packs.
    """
    try:
        frames = msgpack.unpackb(body, max_ext_len=0, max_map_len=0)
    except (ValueError, msgpack.UnpackException):
        return None
    if type(frames) is not list or len(frames) > FRAMES_MAX:
        return None
    for frame in frames:
        if type(frame) is not list or not frame or type(frame[0]) is not int:
            return None
        is_valid = _VALIDATORS.get(frame[0])
        if is_valid is None or not is_valid(frame):
            return None
    return frames


def _is_number(value: object) -> bool:
    return type(value) is int and 0 <= value < NUMBER_MAX


def _is_ack(frame: Frame) -> bool:
    if len(frame) == 4:  # One range: nothing is missing, as mostly.
        _, delay, high, low = frame
        is_shaped = type(delay) is type(high) is type(low) is int
        return is_shaped and not (delay | high | low) >> NUMBER_BITS and high >= low
    if not 4 < len(frame) <= 2 + 2 * ACK_RANGES_MAX or len(frame) % 2:
        return False
    above = NUMBER_MAX - 1  # Highest first: each range ends above the next one's start.
    for bound in frame[2:]:
        if type(bound) is not int or not 0 <= bound <= above:
            return False
        above = bound
    return _is_number(frame[1]) and _are_apart(frame)


def _are_apart(frame: Frame) -> bool:
    return all(low > high for low, high in zip(frame[3::2], frame[4::2], strict=False))


def _is_message(frame: Frame) -> bool:
    if len(frame) != 5:
        return False
    _, kind, sequence, epoch, body = frame
    is_shaped = type(kind) is type(sequence) is type(epoch) is int and type(body) is bytes
    # At once for all three: one that is negative or too large has bits where none should be.
    return is_shaped and not (kind | sequence | epoch) >> NUMBER_BITS and kind < _KINDS


def _is_fragment(frame: Frame) -> bool:
    if len(frame) != 7 or not all(map(_is_number, frame[:6])) or type(frame[6]) is not bytes:
        return False
    _, kind, _, _, index, count, part = frame
    if kind >= _KINDS or kind == Kind.WAKE or not 2 <= count <= FRAGMENTS_MAX or index >= count:
        return False
    # All but the last are full, so that a count bounds the memory and the size follows from it.
    whole = (count - 1) * FRAGMENT_BYTES + len(part)
    if index < count - 1:
        return len(part) == FRAGMENT_BYTES
    return 0 < len(part) <= FRAGMENT_BYTES and whole <= MESSAGE_BYTES_MAX


def _is_heartbeat(frame: Frame) -> bool:
    return (
        len(frame) == 9
        and all(map(_is_number, frame[:8]))
        and type(frame[8]) is bytes
        and len(frame[8]) in (0, DIGEST_BYTES)
    )


def _is_bare(frame: Frame) -> bool:
    return len(frame) == 1


def _is_goodbye(frame: Frame) -> bool:
    return len(frame) == 2 and _is_number(frame[1])


_VALIDATORS = {
    int(FrameType.ACK): _is_ack,
    int(FrameType.MESSAGE): _is_message,
    int(FrameType.FRAGMENT): _is_fragment,
    int(FrameType.HEARTBEAT): _is_heartbeat,
    int(FrameType.PING): _is_bare,
    int(FrameType.PONG): _is_bare,
    int(FrameType.GOODBYE): _is_goodbye,
}
