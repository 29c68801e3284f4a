"""The client's copy of the table: applies chunks in order, and says what changed."""

from collections.abc import Mapping
from types import MappingProxyType

import msgpack

from wangell_proto.constants import (
    BUCKETS,
    CHUNKS_OUTSTANDING_MAX,
    NUMBER_MAX,
    RECORD_KEY_CHARS_MAX,
)
from wangell_proto.digests import Digests, bucket_of, digest_of
from wangell_proto.events import RecordChanged, TableSynced

__all__ = ["Chunk", "Replica", "parse_chunk"]

Entry = tuple[str, bytes | None, int]


class Chunk:
    """A TABLE message, checked."""

    __slots__ = ("closes", "entries", "is_last", "number", "subscription", "version")

    def __init__(
        self,
        numbers: tuple[int, int, int],
        closes: bytes,
        entries: list[Entry],
        *,
        is_last: bool,
    ) -> None:
        self.subscription, self.number, self.version = numbers
        self.closes = closes
        self.entries = entries
        self.is_last = is_last


def _is_number(value: object) -> bool:
    return type(value) is int and 0 <= value < NUMBER_MAX


def _is_entry(entry: object) -> bool:
    return (
        type(entry) is list
        and len(entry) == 3
        and type(entry[0]) is str
        and 0 < len(entry[0]) <= RECORD_KEY_CHARS_MAX
        and (entry[1] is None or type(entry[1]) is bytes)
        and _is_number(entry[2])
    )


def parse_chunk(body: bytes) -> Chunk | None:
    """Return the chunk that a TABLE message holds, or None if it holds none."""
    try:
        items = msgpack.unpackb(body, max_ext_len=0, max_map_len=0)
    except (ValueError, msgpack.UnpackException):
        return None
    if type(items) is not list or len(items) != 6 or not all(map(_is_number, items[:4])):
        return None
    subscription, number, version, is_last, closes, entries = items
    if type(closes) is not bytes or len(closes) > BUCKETS or type(entries) is not list:
        return None
    if is_last > 1 or not all(map(_is_entry, entries)):
        return None
    return Chunk(
        (subscription, number, version),
        closes,
        [tuple(entry) for entry in entries],
        is_last=bool(is_last),
    )


class Replica:
    """Records by key. It survives links: a new one is told what is held, and sends the rest."""

    def __init__(self) -> None:
        self._records: dict[str, bytes] = {}
        self._buckets: tuple[dict[str, int], ...] = tuple({} for _ in range(BUCKETS))
        self.records: Mapping[str, bytes] = MappingProxyType(self._records)
        self.digests = Digests()
        self.version = 0
        self.history = b""
        self.is_synced = False
        self.subscription = 0
        self._next_number = 0
        self._early: dict[int, Chunk] = {}
        self._fresh: dict[int, set[str]] = {}

    def subscribe(self) -> int:
        """Start a new subscription; chunks of earlier ones count no more."""
        self.subscription += 1
        self._next_number = 0
        self._early.clear()
        self._fresh.clear()
        self.is_synced = False
        return self.subscription

    def receive(
        self, chunk: Chunk, *, epoch: int, history: bytes
    ) -> list[RecordChanged | TableSynced] | None:
        """Apply a chunk and those that waited for it; None if it belongs nowhere.

        `history` names the server whose versions these are, `epoch` is the server's.
        """
        ahead = chunk.number - self._next_number
        if chunk.subscription != self.subscription or not 0 <= ahead < CHUNKS_OUTSTANDING_MAX:
            return None
        self._early[chunk.number] = chunk
        changes: list[RecordChanged | TableSynced] = []
        while (following := self._early.pop(self._next_number, None)) is not None:
            self._next_number += 1
            self._apply(following, changes)
            if following.version:
                self.version, self.history = following.version, history
            if following.is_last and not self.is_synced:
                self.is_synced = True
                self._fresh.clear()
                changes.append(TableSynced(version=self.version, epoch=epoch))
        return changes

    def _apply(self, chunk: Chunk, changes: list[RecordChanged | TableSynced]) -> None:
        for key, value, version in chunk.entries:
            bucket = bucket_of(key)
            if not self.is_synced:
                self._fresh.setdefault(bucket, set()).add(key)
            self._put(key, value, version, bucket, changes)
        for bucket in chunk.closes:
            fresh = self._fresh.pop(bucket, set())
            for key in [key for key in self._buckets[bucket] if key not in fresh]:
                self._put(key, None, chunk.version, bucket, changes)

    def _put(
        self,
        key: str,
        value: bytes | None,
        version: int,
        bucket: int,
        changes: list[RecordChanged | TableSynced],
    ) -> None:
        old = self._records.get(key)
        if old == value:
            if value is not None:
                self._buckets[bucket][key] = version
            return
        if old is not None:
            self.digests.toggle(bucket, digest_of(key, old))
        if value is None:
            del self._records[key]
            del self._buckets[bucket][key]
        else:
            self.digests.toggle(bucket, digest_of(key, value))
            self._records[key] = value
            self._buckets[bucket][key] = version
        changes.append(RecordChanged(key=key, value=value, version=version))
