"""Digests of a set of records, kept incrementally: 256 buckets of 64 bits.

A bucket is the exclusive or of its records' digests, so a change costs two hashes wherever it
falls, and equal contents give equal digests whatever their history. 64 bits guard against chance,
not malice: only an authenticated server's records are ever compared.
"""

import hashlib
import struct

from wangell_proto.constants import BUCKETS, DIGEST_BYTES

__all__ = ["Digests", "bucket_of", "digest_of"]

_BUCKETS = struct.Struct(f"!{BUCKETS}Q")
_LENGTH = struct.Struct("!I")


def bucket_of(key: str) -> int:
    """Return the bucket that a key belongs to, 0 to 255."""
    return hashlib.blake2s(key.encode(), digest_size=1).digest()[0]


def digest_of(key: str, value: bytes) -> int:
    """Return the 64-bit digest of one record."""
    named = key.encode()
    content = _LENGTH.pack(len(named)) + named + value
    return int.from_bytes(hashlib.blake2s(content, digest_size=DIGEST_BYTES).digest(), "big")


class Digests:
    """The digest of each bucket. Adding and removing a record are the same operation."""

    __slots__ = ("_root", "buckets")

    def __init__(self) -> None:
        self.buckets = [0] * BUCKETS
        self._root = 0

    def toggle(self, bucket: int, digest: int) -> None:
        """Add a record's digest, or take it away."""
        self.buckets[bucket] ^= digest
        self._root ^= digest

    def root(self) -> bytes:
        """Return one digest of everything, 8 bytes."""
        return self._root.to_bytes(DIGEST_BYTES, "big")

    def pack(self) -> bytes:
        """Return all buckets, 2,048 bytes."""
        return _BUCKETS.pack(*self.buckets)

    def differing(self, packed: bytes) -> list[int]:
        """Return the buckets that differ from those that another side packed."""
        theirs = _BUCKETS.unpack(packed)
        return [
            bucket
            for bucket, (ours, other) in enumerate(zip(self.buckets, theirs, strict=True))
            if ours != other
        ]


PACKED_BYTES = _BUCKETS.size
