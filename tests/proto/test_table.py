"""The table, its log, the feeds that follow it and the replicas that they fill."""

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from wangell_proto import LocalProtocolError, RecordChanged, TableSynced
from wangell_proto.constants import CHUNK_BYTES_MAX, MESSAGE_BYTES_MAX, TOMBSTONES_MAX
from wangell_proto.control import Subscription
from wangell_proto.digests import bucket_of
from wangell_proto.feed import Feed
from wangell_proto.publisher import Publisher
from wangell_proto.replica import Replica, parse_chunk
from wangell_proto.table import Table

HISTORY, OTHER_HISTORY = b"h" * 8, b"o" * 8
KEYS = st.sampled_from([f"{space}/{name}" for space in "ab" for name in range(6)])


def publisher(records: dict[str, bytes] | None = None, history: bytes = HISTORY) -> Publisher:
    made = Publisher(history, is_complete=True)
    for key, value in (records or {}).items():
        made.put(key, value)
    return made


def subscription(
    replica: Replica, *, prefixes: tuple[str, ...] = (), with_buckets: bool = False
) -> Subscription:
    return Subscription(
        number=replica.subscribe(),
        history=replica.history,
        version=replica.version,
        prefixes=prefixes,
        root=replica.digests.root(),
        buckets=replica.digests.pack() if with_buckets else b"",
    )


def follow(server: Publisher, replica: Replica, prefixes: tuple[str, ...] = ()) -> Feed:
    """Subscribe, with digests where they are wanted."""
    feed = server.subscribe(subscription(replica, prefixes=prefixes))
    if feed is None:
        feed = server.subscribe(subscription(replica, prefixes=prefixes, with_buckets=True))
    assert feed is not None
    return feed


def pump(server: Publisher, feed: Feed, replica: Replica) -> tuple[list, list[bytes]]:
    """Carry chunks until there are none; return the events and the chunks."""
    events, bodies = [], []
    while feed.has_chunk():
        bodies.append(feed.next_chunk())
        assert len(bodies[-1]) <= MESSAGE_BYTES_MAX
        chunk = parse_chunk(bodies[-1])
        assert chunk is not None
        applied = replica.receive(chunk, epoch=1, history=server.history)
        assert applied is not None
        events += applied
    return events, bodies


# --- The table ---


def test_versions_count_changes_and_equal_values_are_none():
    table = Table()
    assert table.put("a", b"1") is not None
    assert table.put("a", b"1") is None
    assert table.put("b", None) is None
    assert table.version == 1
    old, new = table.put("a", None)
    assert (old.value, new.value, new.version, new.digest) == (b"1", None, 2, 0)
    assert table.records == {}


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("", b"", "1 to 512"),
        ("\ud800", b"", "UTF-8"),
        ("k" * 513, b"", "1 to 512"),
        ("k", bytes(56001), "split it"),
    ],
)
def test_what_a_record_cannot_be_is_refused(key: str, value: bytes, message: str):
    table = Table()
    with pytest.raises(LocalProtocolError, match=message):
        table.put(key, value)
    assert (table.version, table.records) == (0, {})


def test_changes_come_in_order_each_key_once_with_its_newest_value():
    table = Table()
    for key, value in (("a", b"1"), ("b", b"2"), ("a", b"3"), ("c", b"4"), ("b", None)):
        table.put(key, value)
    changes = [(record.key, record.value) for record in table.changes_since(0)]
    assert changes == [("a", b"3"), ("c", b"4"), ("b", None)]
    assert [record.key for record in table.changes_since(4)] == ["b"]
    assert list(table.changes_since(5)) == []


def test_the_log_does_not_grow_with_changes_to_the_same_records():
    table = Table()
    for index in range(20_000):
        table.put("a", b"%d" % index)
    assert len(table._log) < 3000
    assert [record.value for record in table.changes_since(0)] == [b"19999"]


def test_tombstones_are_bounded_and_the_floor_says_so():
    table = Table()
    for index in range(TOMBSTONES_MAX + 5):
        table.put(f"k{index}", b"x")
        table.put(f"k{index}", None)
    assert len(table._tombstones) == TOMBSTONES_MAX
    assert table.floor == 10  # The fifth deletion was the tenth change.


def test_versions_move_past_what_a_peer_holds_but_not_to_the_end_of_numbers():
    table = Table()
    table.advance(500)
    table.advance(3)
    table.put("a", b"1")
    assert table.version == 501
    table.advance(2**62 - 1)
    assert table.version == 501


# --- Feed and replica ---


def test_a_fresh_peer_gets_everything_in_chunks_that_fit():
    records = {f"a/{index}": bytes(1000) for index in range(300)}
    server, replica = publisher(records), Replica()
    events, bodies = pump(server, follow(server, replica), replica)
    assert dict(replica.records) == records
    assert len(bodies) > 5
    assert all(len(body) <= CHUNK_BYTES_MAX + 300 for body in bodies)
    assert events[-1] == TableSynced(version=300, epoch=1)
    assert len([event for event in events if isinstance(event, RecordChanged)]) == 300


def test_an_empty_peer_is_spared_the_digests():
    server = publisher({"a/1": b"1"})
    assert server.subscribe(subscription(Replica())) is not None
    replica = Replica()
    pump(server, follow(server, replica), replica)
    successor = publisher({"a/1": b"2"}, OTHER_HISTORY)
    assert successor.subscribe(subscription(replica)) is None


def test_an_unchanged_peer_gets_nothing_but_the_word():
    records = {f"a/{index}": bytes(100) for index in range(300)}
    server, replica = publisher(records), Replica()
    pump(server, follow(server, replica), replica)
    successor = publisher(dict(reversed(records.items())), OTHER_HISTORY)
    events, (body,) = pump(successor, follow(successor, replica), replica)
    assert [type(event) for event in events] == [TableSynced]
    assert len(body) < 40
    assert replica.version >= 300


def test_a_changed_peer_gets_only_the_buckets_that_differ():
    records = {f"a/{index}": bytes(100) for index in range(3000)}
    server, replica = publisher(records), Replica()
    pump(server, follow(server, replica), replica)
    del records["a/7"]
    records |= {"a/8": b"changed", "b/new": b"new"}
    successor = publisher(records, OTHER_HISTORY)
    events, bodies = pump(successor, follow(successor, replica), replica)
    changed = {event.key: event.value for event in events if isinstance(event, RecordChanged)}
    assert changed == {"a/7": None, "a/8": b"changed", "b/new": b"new"}
    assert dict(replica.records) == records
    assert sum(map(len, bodies)) < 3 * 25 * 130  # Three buckets of 12 records, not 256.


def test_a_peer_that_was_away_gets_the_changes_since():
    server, replica = publisher({f"a/{index}": b"x" for index in range(100)}), Replica()
    pump(server, follow(server, replica), replica)
    server.put("a/1", None)
    server.put("a/2", b"y")
    feed = server.subscribe(subscription(replica))
    assert feed is not None  # No digests are asked for.
    events, (body,) = pump(server, feed, replica)
    assert [event.key for event in events[:-1]] == ["a/1", "a/2"]
    assert len(body) < 80


def test_a_peer_away_for_too_many_deletions_is_compared_by_digests():
    server, replica = publisher({"a/0": b"x"}), Replica()
    pump(server, follow(server, replica), replica)
    for index in range(TOMBSTONES_MAX + 1):
        server.put(f"b/{index}", b"x")
        server.put(f"b/{index}", None)
    server.put("a/0", b"y")
    assert server.subscribe(subscription(replica)) is None
    pump(server, follow(server, replica), replica)
    assert dict(replica.records) == {"a/0": b"y"}


def test_a_change_during_a_resync_is_neither_lost_nor_told_twice():
    records = {f"a/{index}": bytes(2000) for index in range(200)}
    server, replica = publisher(records), Replica()
    feed = follow(server, replica)
    events = replica.receive(parse_chunk(feed.next_chunk()), epoch=1, history=HISTORY)
    server.put("a/1", b"changed")
    server.put("a/2", None)
    server.put("b/1", b"new")
    events += pump(server, feed, replica)[0]
    assert dict(replica.records) == dict(server.records)
    last = {}
    for event in events:
        if isinstance(event, RecordChanged):
            assert last.get(event.key, b"absent") != event.value
            last[event.key] = event.value


def test_a_filter_shows_what_it_should_and_hidden_changes_cost_nothing():
    server, replica = publisher({"a/1": b"1", "b/1": b"1"}), Replica()
    feed = follow(server, replica, ("a/",))
    pump(server, feed, replica)
    assert dict(replica.records) == {"a/1": b"1"}
    server.put("b/1", b"2")
    assert not feed.has_chunk()
    server.put("a/2", b"2")
    pump(server, feed, replica)
    assert dict(replica.records) == {"a/1": b"1", "a/2": b"2"}
    assert feed.view.digests.root() == replica.digests.root()


def test_a_filter_holds_in_a_resync_by_buckets_too():
    records = {f"{space}/{index}": b"x" for space in "ab" for index in range(600)}
    server, replica = publisher(records), Replica()
    pump(server, follow(server, replica, ("a/",)), replica)
    assert set(replica.records) == {key for key in records if key.startswith("a/")}


def test_a_bucket_that_is_larger_than_a_chunk_takes_several():
    keys = [key for key in map(str, range(5000)) if bucket_of(key) == 7][:4]
    server, replica = publisher({key: bytes(50_000) for key in keys}), Replica()
    events, bodies = pump(server, follow(server, replica), replica)
    assert len(bodies) == 4
    assert set(replica.records) == set(keys)
    assert len(events) == 5


def test_a_version_that_no_change_has_taken_is_no_chunk():
    server, replica = publisher({"a/1": b"1"}), Replica()
    feed = follow(server, replica)
    pump(server, feed, replica)
    ahead = Replica()
    ahead.version = 500
    follow(server, ahead)
    assert server.version == 500
    assert not feed.has_chunk()
    server.put("a/1", b"2")
    pump(server, feed, replica)
    assert (dict(replica.records), replica.version) == ({"a/1": b"2"}, 501)


def test_equal_filters_share_a_view_and_the_last_one_to_go_takes_it_along():
    server = publisher({"a/1": b"1"})
    feeds = [follow(server, Replica(), ("a/",)) for _ in range(3)]
    assert len({id(feed.view) for feed in feeds}) == 1
    other = follow(server, Replica())
    assert len(server._views) == 2
    for feed in feeds:
        server.release(feed)
    server.release(None)
    assert list(server._views) == [()]
    server.release(other)
    assert server._views == {}


def test_chunks_are_applied_in_order_and_others_belong_nowhere():
    records = {f"a/{index}": bytes(2000) for index in range(100)}
    server, replica = publisher(records), Replica()
    feed = follow(server, replica)
    chunks = [parse_chunk(feed.next_chunk()) for _ in range(3)]
    assert replica.receive(chunks[1], epoch=1, history=HISTORY) == []
    assert dict(replica.records) == {}
    assert replica.receive(chunks[2], epoch=1, history=HISTORY) is None  # Two at a time.
    assert replica.receive(chunks[0], epoch=1, history=HISTORY)
    assert replica.receive(chunks[0], epoch=1, history=HISTORY) is None
    assert replica.receive(chunks[2], epoch=1, history=HISTORY)
    replica.subscribe()
    assert replica.receive(chunks[0], epoch=1, history=HISTORY) is None


@pytest.mark.parametrize(
    "items",
    [
        None,
        [],
        [1, 0, 5, 1, b""],
        [1, 0, 5, 2, b"", []],
        [1, -1, 5, 1, b"", []],
        [1, 0, 2**62, 1, b"", []],
        [1, 0, True, 1, b"", []],
        [1, 0, 5, 1, "text", []],
        [1, 0, 5, 1, bytes(257), []],
        [1, 0, 5, 1, b"", b"entries"],
        [1, 0, 5, 1, b"", [["a", b"1"]]],
        [1, 0, 5, 1, b"", [["", b"1", 1]]],
        [1, 0, 5, 1, b"", [["k" * 513, b"1", 1]]],
        [1, 0, 5, 1, b"", [[b"a", b"1", 1]]],
        [1, 0, 5, 1, b"", [["a", "text", 1]]],
        [1, 0, 5, 1, b"", [["a", b"1", -1]]],
    ],
)
def test_chunks_of_another_shape_are_none(items: object):
    assert parse_chunk(msgpack.packb(items)) is None
    assert parse_chunk(b"\xc1") is None


class FollowingReplicas(RuleBasedStateMachine):
    """Any history of changes, subscriptions and servers; two replicas, one of them filtered."""

    def __init__(self) -> None:
        super().__init__()
        self.server = publisher()
        self.replicas = [Replica(), Replica()]
        self.prefixes = [(), ("a/",)]
        self.feeds: list[Feed | None] = [None, None]
        self.known: list[dict[str, bytes]] = [{}, {}]
        self.versions = [0, 0]
        self.servers = 0

    @rule(key=KEYS, value=st.none() | st.binary(max_size=2))
    def change(self, key: str, value: bytes | None) -> None:
        self.server.put(key, value)

    @rule(which=st.integers(0, 1))
    def subscribe(self, which: int) -> None:
        self.server.release(self.feeds[which])
        self.feeds[which] = follow(self.server, self.replicas[which], self.prefixes[which])

    @rule(which=st.integers(0, 1))
    def carry_one(self, which: int) -> None:
        feed = self.feeds[which]
        if feed is not None and feed.has_chunk():
            self._apply(which, feed.next_chunk())

    @rule(keep=st.booleans())
    def change_of_server(self, keep: bool) -> None:
        self.servers += 1
        records = dict(self.server.records) if keep else {}
        self.server = publisher(records, b"%08d" % self.servers)
        self.feeds = [None, None]

    @rule()
    def settle(self) -> None:
        for which in (0, 1):
            feed = self.feeds[which]
            if feed is None:
                continue
            while feed.has_chunk():
                self._apply(which, feed.next_chunk())
            shown = {k: v for k, v in self.server.records.items() if feed.view.shows(k)}
            assert dict(self.replicas[which].records) == shown
            assert self.replicas[which].digests.root() == feed.view.digests.root()

    def _apply(self, which: int, body: bytes) -> None:
        replica = self.replicas[which]
        events = replica.receive(parse_chunk(body), epoch=1, history=self.server.history)
        assert events is not None
        for event in events:
            if isinstance(event, RecordChanged):
                assert self.known[which].get(event.key) != event.value
                if event.value is None:
                    del self.known[which][event.key]
                else:
                    self.known[which][event.key] = event.value
        assert replica.version >= self.versions[which], "version went back"
        self.versions[which] = replica.version

    @invariant()
    def what_was_told_is_what_is_held(self) -> None:
        for known, replica in zip(self.known, self.replicas, strict=True):
            assert known == dict(replica.records)


TestFollowingReplicas = FollowingReplicas.TestCase


@given(st.dictionaries(KEYS, st.binary(max_size=3)))
def test_the_records_are_a_copy(records: dict[str, bytes]):
    server = publisher(records)
    copy = server.records
    server.put("a/0", b"changed later")
    assert dict(copy) == records
