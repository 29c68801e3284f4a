"""Brings one peer's replica to the server's table and keeps it there.

Nothing is buffered for a peer but where it stands: chunks are made when there is room to send
them, from the table as it is then. A slow peer so gets fewer, fuller chunks and the newest values.
"""

from wangell_proto.constants import CHUNK_BYTES_MAX
from wangell_proto.digests import Digests
from wangell_proto.packing import pack, pack_array_header
from wangell_proto.table import Record, Table

__all__ = ["Feed", "View"]


class View:
    """What a filter lets through, with its digests. Peers with equal filters share one."""

    def __init__(self, table: Table, prefixes: tuple[str, ...]) -> None:
        self.table = table
        self.prefixes = prefixes
        self.digests = Digests()
        self.followers = 0
        for record in table.records.values():
            if self.shows(record.key):
                self.digests.toggle(record.bucket, record.digest)

    def shows(self, key: str) -> bool:
        """Say whether the filter lets this key through. No prefix lets everything through."""
        return not self.prefixes or key.startswith(self.prefixes)

    def on_change(self, old: Record | None, new: Record) -> None:
        """Keep the digests."""
        if self.shows(new.key):
            self.digests.toggle(new.bucket, new.digest ^ (old.digest if old is not None else 0))


class Feed:
    """Where one subscription stands: buckets still to be sent whole, then changes by version."""

    __slots__ = (
        "_buckets",
        "_cursor",
        "_is_caught_up",
        "_number",
        "_sent",
        "subscription",
        "told",
        "view",
    )

    def __init__(
        self, view: View, subscription: int, *, cursor: int, buckets: list[int] | None = None
    ) -> None:
        self.view = view
        self.subscription = subscription
        self._cursor = cursor
        # The version that a peer has which has applied every chunk; 0 while buckets are missing.
        self.told = 0
        self._buckets = (buckets or [])[::-1]
        # Keys of the bucket that is being sent: one may take several chunks.
        self._sent: set[str] = set()
        self._number = 0
        self._is_caught_up = False

    def has_chunk(self) -> bool:
        """Say whether the peer lacks something.

        Changes that its filter hides are passed over, and versions that no change has taken.
        """
        table = self.view.table
        if self._is_caught_up and self._cursor < table.version:
            shown = (r for r in table.changes_since(self._cursor) if self.view.shows(r.key))
            if next(shown, None) is None:
                self._cursor = table.version
        return not self._is_caught_up or self._cursor < table.version

    def next_chunk(self) -> bytes:
        """Return the body of the next TABLE message. Only where has_chunk."""
        closes: list[int] = []
        entries = self._bucket_entries(closes) if self._buckets else self._changes()
        is_last = not self._buckets and self._cursor == self.view.table.version
        self.told = 0 if self._buckets else self._cursor
        self._is_caught_up = self._is_caught_up or is_last
        head = (self.subscription, self._number, self.told, int(is_last), bytes(closes))
        self._number += 1
        return b"".join(
            (
                pack_array_header(len(head) + 1),
                *map(pack, head),
                pack_array_header(len(entries)),
                *entries,
            )
        )

    def _bucket_entries(self, closes: list[int]) -> list[bytes]:
        entries: list[bytes] = []
        size = 0
        while self._buckets:
            for record in self.view.table.buckets[self._buckets[-1]].values():
                if record.key in self._sent or not self.view.shows(record.key):
                    continue
                size += len(record.packed)
                if entries and size > CHUNK_BYTES_MAX:
                    return entries
                entries.append(record.packed)
                self._sent.add(record.key)
            closes.append(self._buckets.pop())
            self._sent.clear()
        return entries

    def _changes(self) -> list[bytes]:
        entries: list[bytes] = []
        size = 0
        for record in self.view.table.changes_since(self._cursor):
            if self.view.shows(record.key):
                size += len(record.packed)
                if entries and size > CHUNK_BYTES_MAX:
                    return entries
                entries.append(record.packed)
            self._cursor = record.version
        self._cursor = self.view.table.version
        return entries
