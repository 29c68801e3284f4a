"""Bodies of the messages that the protocol sends for itself."""

from dataclasses import dataclass
from typing import Any

import msgpack

from wangell_proto.constants import (
    DIGEST_BYTES,
    INCARNATION_BYTES,
    NUMBER_MAX,
    PREFIXES_MAX,
    RECORD_KEY_CHARS_MAX,
)
from wangell_proto.digests import PACKED_BYTES
from wangell_proto.packing import pack

__all__ = ["SERVES_TABLE", "Subscription", "Welcome", "parse_subscription", "parse_welcome"]

# Flags of WELCOME and HEARTBEAT: the server's table is complete and may be followed.
SERVES_TABLE = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Welcome:
    """A server admits a client."""

    epoch: int
    flags: int
    history: bytes
    "Names the server process, whose table versions are comparable with each other only"

    def pack(self) -> bytes:
        """Return it as msgpack."""
        return pack([self.epoch, self.flags, self.history])


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """A client asks for the table, and says what it holds of it."""

    number: int
    history: bytes
    "Of the server whose version this is; empty for none"
    version: int
    prefixes: tuple[str, ...]
    "Only keys that start with one of these; empty for all"
    root: bytes
    buckets: bytes
    "All bucket digests, or empty as long as the server has not asked for them"

    def pack(self) -> bytes:
        """Return it as msgpack."""
        return pack(
            [
                self.number,
                self.history,
                self.version,
                list(self.prefixes),
                self.root,
                self.buckets,
            ]
        )


def _unpack(body: bytes, shape: tuple[type, ...]) -> list[Any] | None:
    try:
        items = msgpack.unpackb(body, max_ext_len=0, max_map_len=0)
    except (ValueError, msgpack.UnpackException):
        return None
    if type(items) is not list or tuple(map(type, items)) != shape:
        return None
    return items if all(0 <= n < NUMBER_MAX for n in items if type(n) is int) else None


def parse_welcome(body: bytes) -> Welcome | None:
    """Return the Welcome in a body, or None."""
    items = _unpack(body, (int, int, bytes))
    if items is None or len(items[2]) != INCARNATION_BYTES:
        return None
    return Welcome(epoch=items[0], flags=items[1], history=items[2])


def parse_subscription(body: bytes) -> Subscription | None:
    """Return the Subscription in a body, or None."""
    items = _unpack(body, (int, bytes, int, list, bytes, bytes))
    if items is None or not _are_prefixes(items[3]):
        return None
    number, history, version, prefixes, root, buckets = items
    lengths = (len(history), len(root), len(buckets))
    if lengths[0] not in (0, INCARNATION_BYTES) or lengths[1] != DIGEST_BYTES:
        return None
    if lengths[2] not in (0, PACKED_BYTES):
        return None
    return Subscription(
        number=number,
        history=history,
        version=version,
        prefixes=tuple(prefixes),
        root=root,
        buckets=buckets,
    )


def _are_prefixes(items: list[Any]) -> bool:
    return len(items) <= PREFIXES_MAX and all(
        type(item) is str and 0 < len(item) <= RECORD_KEY_CHARS_MAX for item in items
    )
