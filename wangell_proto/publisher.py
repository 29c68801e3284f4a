"""The server's table as peers see it: views by filter, and where a new subscription starts."""

from collections.abc import Mapping

from wangell_proto.control import Subscription
from wangell_proto.digests import Digests
from wangell_proto.feed import Feed, View
from wangell_proto.table import Table

__all__ = ["Publisher"]

# What a peer that holds no record would send: it is spared the asking.
NOTHING = Digests()


class Publisher:
    """One table and everyone who follows it. `history` names this server's versions."""

    def __init__(self, history: bytes, *, is_complete: bool) -> None:
        self.history = history
        self.is_complete = is_complete
        self._table = Table()
        self._views: dict[tuple[str, ...], View] = {}
        # Set by every change: somewhere a feed may have something to send.
        self.has_moved = False

    @property
    def version(self) -> int:
        """The table's version."""
        return self._table.version

    @property
    def records(self) -> Mapping[str, bytes]:
        """A copy of the table."""
        return {
            key: record.value
            for key, record in self._table.records.items()
            if record.value is not None
        }

    def put(self, key: str, value: bytes | None) -> None:
        """Set or, with None, delete a record. Raises LocalProtocolError as Table.put."""
        change = self._table.put(key, value)
        if change is not None:
            self.has_moved = True
            for view in self._views.values():
                view.on_change(*change)

    def subscribe(self, wanted: Subscription) -> Feed | None:
        """Return a feed that starts where the peer stands; None where its digests are needed.

        Versions of this server: the changes since. Equal contents: nothing. Otherwise the buckets
        that differ.
        """
        table = self._table
        table.advance(wanted.version)
        view = self._views.get(wanted.prefixes)
        if view is None:
            view = View(table, wanted.prefixes)
        buckets: list[int] = []
        cursor = table.version
        if wanted.history == self.history and wanted.version >= table.floor and not wanted.buckets:
            cursor = wanted.version
        elif wanted.root != view.digests.root():
            if not wanted.buckets and wanted.root != NOTHING.root():
                return None
            buckets = view.digests.differing(wanted.buckets or NOTHING.pack())
        self._views[wanted.prefixes] = view
        view.followers += 1
        return Feed(view, wanted.number, cursor=cursor, buckets=buckets)

    def release(self, feed: Feed | None) -> None:
        """Forget a feed, and its view with the last of them: each costs every change a little."""
        if feed is None:
            return
        feed.view.followers -= 1
        if not feed.view.followers:
            del self._views[feed.view.prefixes]
