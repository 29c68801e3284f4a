"""What all kinds of netlink share: a message's header, its attributes, the walk through a reply.

Our own few lines and not pyroute2's, which takes some ms of Python for each request: two of the
three kinds are asked in the middle of a wake.
"""

import struct
from collections.abc import Iterator

__all__ = [
    "ACK",
    "CREATE",
    "DONE",
    "DUMP",
    "ERROR",
    "EXCLUSIVE",
    "REPLY_BYTES",
    "aligned",
    "attribute",
    "attributes",
    "errno_of",
    "message",
    "split",
]

# include/uapi/linux/netlink.h
ERROR, DONE = 2, 3
_REQUEST, ACK, DUMP, EXCLUSIVE, CREATE = 0x1, 0x4, 0x300, 0x200, 0x400
REPLY_BYTES = 1 << 16

_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr
_ATTRIBUTE = struct.Struct("=HH")  # struct nlattr


def message(kind: int, body: bytes, *, flags: int = 0) -> bytes:
    """Return one request."""
    return _HEADER.pack(_HEADER.size + len(body), kind, _REQUEST | flags, 1, 0) + body


def attribute(kind: int, value: bytes) -> bytes:
    """Return one attribute, padded."""
    head = _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind)
    return (head + value).ljust(aligned(_ATTRIBUTE.size + len(value)), b"\0")


def split(reply: bytes) -> Iterator[tuple[int, bytes]]:
    """Each message's type and body."""
    at = 0
    while at < len(reply):
        length, kind, *_rest = _HEADER.unpack_from(reply, at)
        yield kind, reply[at + _HEADER.size : at + length]
        at += aligned(length)


def attributes(body: bytes) -> dict[int, bytes]:
    """Return the attributes by kind, without its flags; the last of a kind counts."""
    found, at = {}, 0
    while at + _ATTRIBUTE.size <= len(body):
        length, kind = _ATTRIBUTE.unpack_from(body, at)
        found[kind & 0x3FFF] = body[at + _ATTRIBUTE.size : at + length]
        at += max(_ATTRIBUTE.size, aligned(length))
    return found


def errno_of(body: bytes) -> int:
    """What a message of type ERROR says; 0 is success."""
    number: int = struct.unpack_from("=i", body)[0]
    return -number


def aligned(length: int) -> int:
    """Return the next multiple of four."""
    return (length + 3) & ~3
