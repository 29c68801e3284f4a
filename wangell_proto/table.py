"""The server's table: records by key, each change with a version, and the log of versions.

Versions only grow. A server that takes over from another does not know how far that one came, so
it learns from its peers: `advance` moves past the highest version any of them holds.
"""

from bisect import bisect_right
from collections.abc import Iterator

from wangell_proto.constants import (
    BUCKETS,
    NUMBER_MAX,
    RECORD_KEY_CHARS_MAX,
    RECORD_VALUE_BYTES_MAX,
    TOMBSTONES_MAX,
)
from wangell_proto.digests import bucket_of, digest_of
from wangell_proto.errors import LocalProtocolError, is_text
from wangell_proto.packing import pack

__all__ = ["Record", "Table"]


class Record:
    """A record's newest value; None where it was deleted, and is remembered as such."""

    __slots__ = ("bucket", "digest", "key", "packed", "value", "version")

    def __init__(self, key: str, value: bytes | None, version: int) -> None:
        self.key = key
        self.value = value
        self.version = version
        self.bucket = bucket_of(key)
        self.digest = 0 if value is None else digest_of(key, value)
        # As chunks carry it: packed once, sent to every peer.
        self.packed = pack([key, value, version])


class Table:
    """Records, tombstones, and in which order they changed."""

    def __init__(self) -> None:
        self.version = 0
        # Deltas can be given from this version on; before it tombstones were forgotten.
        self.floor = 0
        self.records: dict[str, Record] = {}
        self.buckets: tuple[dict[str, Record], ...] = tuple({} for _ in range(BUCKETS))
        self._tombstones: dict[str, Record] = {}
        self._log: list[Record] = []

    def put(self, key: str, value: bytes | None) -> tuple[Record | None, Record] | None:
        """Set or, with None, delete a record; return the old and the new, or None if equal.

        Raises LocalProtocolError where key or value are longer than a record may be.
        """
        if not 0 < len(key) <= RECORD_KEY_CHARS_MAX or not is_text(key):
            raise LocalProtocolError(
                f"record key: 1 to {RECORD_KEY_CHARS_MAX} characters that UTF-8 has"
            )
        if value is not None and len(value) > RECORD_VALUE_BYTES_MAX:
            raise LocalProtocolError(
                f"record {key}: {len(value)} bytes, at most {RECORD_VALUE_BYTES_MAX}; split it"
            )
        old = self.records.get(key)
        if (old.value if old is not None else None) == value:
            return None
        self.version += 1
        new = Record(key, value, self.version)
        self._store(new)
        self._log.append(new)
        self._compact()
        return old, new

    def _store(self, record: Record) -> None:
        key = record.key
        self._tombstones.pop(key, None)
        if record.value is None:
            del self.records[key]
            del self.buckets[record.bucket][key]
            self._tombstones[key] = record
        else:
            self.records[key] = record
            self.buckets[record.bucket][key] = record

    def _compact(self) -> None:
        while len(self._tombstones) > TOMBSTONES_MAX:
            oldest = self._tombstones.pop(next(iter(self._tombstones)))
            self.floor = oldest.version
        # Superseded entries are skipped when read; half of the log may be such before it is redone.
        if len(self._log) > 2 * (len(self.records) + len(self._tombstones)) + 1024:
            self._log = [record for record in self._log if self._is_newest(record)]

    def _is_newest(self, record: Record) -> bool:
        newest = self.records.get(record.key) or self._tombstones.get(record.key)
        return newest is record

    def changes_since(self, version: int) -> Iterator[Record]:
        """Yield the newest state of each record that changed after `version`, in order."""
        start = bisect_right(self._log, version, key=lambda record: record.version)
        for index in range(start, len(self._log)):
            if self._is_newest(self._log[index]):
                yield self._log[index]

    def advance(self, version: int) -> None:
        """Move past a version that a peer holds, so that none ever sees versions go back."""
        if self.version < version < NUMBER_MAX // 2:
            self.version = version
