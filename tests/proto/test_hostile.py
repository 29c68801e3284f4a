"""An authenticated peer that breaks the rules: its plaintext is hostile, its seals are right."""

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.proto.helpers.network import SERVER, Host, Network
from tests.proto.helpers.stories import bodies, frames, join, link_of, linked, sealed_by
from wangell_proto import (
    DropReason,
    Lane,
    LinkUp,
    MessageReceived,
    PeerMisbehaved,
)
from wangell_proto.constants import FRAGMENT_BYTES, REASSEMBLY_BYTES_MAX
from wangell_proto.control import Subscription
from wangell_proto.wire import Kind

HOSTILE = [
    b"\xc1",
    b"\x90" + b"x",
    b"\xdd\xff\xff\xff\xff",
    b"\xdf\xff\xff\xff\xff" + bytes(900),
    b"\xc6\xff\xff\xff\xff",
    b"\x91" * 1000 + b"\xc0",
    b"\x81" * 1000 + b"\xc0",
    b"\xd6\xff\x00\x00\x00\x01",
    b"\x91\xc7\x0c\xff" + bytes(12),
    b"\x91\x82\x01\x01\x01\x02",
    frames([2, 0, 1, 1, "text"]),
    frames([2, 0, -1, 1, b""]),
    frames([2, 0, 2**64 - 1, 1, b""]),
    frames([2, 0, 1.5, 1, b""]),
    frames([1, 0, 2**61, 0]),
    frames([5], [1, 0, 2**61, 2**61]),
    frames(*[[3, 1, 10_000, 0, index, 2 + index, b"x"] for index in range(1, 3)]),
    frames([3, 1, 10_000, 0, 1, 2, b"x"], [3, 1, 10_000, 0, 2, 3, b"x"]),
]


class Attack:
    """A link, and what the hostile end of it may send to the other."""

    def __init__(self, *, against: str) -> None:
        self.network = Network()
        self.server, server_host, self.client, client_host = linked(self.network)
        self.victim: Host
        if against == "server":
            self.victim, self.source = server_host, client_host.address
            self.link = link_of(self.client)
        else:
            self.victim, self.source = client_host, SERVER
            self.link = self.server.links["n1"]

    def send(self, plaintext: bytes) -> None:
        self.victim.core.receive_datagram(
            sealed_by(self.link, plaintext), source=self.source, now=self.network.now
        )
        self.network._collect(self.victim)

    def count(self, reason: DropReason) -> int:
        return self.victim.core.drops[reason]

    def assert_the_honest_are_served(self) -> None:
        """Another peer of the server, or the server itself, goes on as if nothing had been."""
        other, other_host = join(self.network, "n7")
        other.send(b"honest", lane=Lane.WAKE, now=self.network.now)
        self.network.run(0.01)
        server_host = self.network.hosts[SERVER]
        assert b"honest" in bodies(server_host)
        assert len(other_host.of(LinkUp)) == 1


@pytest.mark.parametrize("against", ["server", "client"])
@pytest.mark.parametrize("plaintext", HOSTILE)
def test_hostile_plaintext_is_counted_and_reported(plaintext: bytes, against: str):
    attack = Attack(against=against)
    attack.send(plaintext)
    assert attack.count(DropReason.MALFORMED) == 1
    assert len(attack.victim.of(PeerMisbehaved)) == 1
    assert not attack.victim.of(MessageReceived)
    attack.assert_the_honest_are_served()


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.binary(max_size=30)
    | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)
FRAMES = st.lists(
    st.one_of(
        VALUES,
        st.lists(VALUES, max_size=7),
        st.tuples(st.integers(0, 9), st.integers(0, 9), VALUES, VALUES, VALUES).map(list),
        st.tuples(
            st.just(2), st.integers(0, 9), st.integers(0, 2**62), st.integers(0, 3), st.binary()
        ).map(list),
        st.tuples(
            st.just(3), st.integers(0, 9), st.integers(0, 9), st.just(0),
            st.integers(0, 70), st.integers(0, 70), st.binary(max_size=9),
        ).map(list),
        st.tuples(st.just(4), *[st.integers(0, 2**62)] * 7, st.binary(max_size=9)).map(list),
        st.tuples(st.just(1), *[st.integers(0, 2**62)] * 3).map(list),
        st.tuples(st.just(7), st.integers(0, 9)).map(list),
    ),
    max_size=6,
)  # fmt: skip


@settings(max_examples=150)
@given(st.sampled_from(["server", "client"]), st.lists(FRAMES | VALUES, max_size=4))
def test_anything_at_all_gives_events_or_counted_drops(against: str, plaintexts: list):
    attack = Attack(against=against)
    for plaintext in plaintexts:
        attack.send(msgpack.packb(plaintext))
        attack.victim.core.datagrams_to_send(now=attack.network.now)
        attack.victim.core.handle_deadline(now=attack.network.now)
    attack.network.run(5)
    attack.assert_the_honest_are_served()
    assert 0 <= attack.server.budget.bytes_left <= REASSEMBLY_BYTES_MAX


@settings(max_examples=150)
@given(st.lists(st.binary(max_size=1300), max_size=4), st.sampled_from(["server", "client"]))
def test_any_bytes_from_anyone_give_counted_drops(datagrams: list[bytes], against: str):
    attack = Attack(against=against)
    before = sum(attack.victim.core.drops.values())
    for datagram in datagrams:
        attack.victim.core.receive_datagram(datagram, source=attack.source, now=attack.network.now)
        attack.victim.core.receive_datagram(
            b"WG\x01\x04" + datagram, source=attack.source, now=attack.network.now
        )
    assert attack.victim.core.next_event() is None
    assert sum(attack.victim.core.drops.values()) == before + 2 * len(datagrams)
    attack.assert_the_honest_are_served()


@pytest.mark.parametrize("kind", [Kind.SUBSCRIBE, Kind.TABLE, Kind.WELCOME])
def test_a_control_message_that_holds_nonsense_is_counted_and_reported(kind: Kind):
    attack = Attack(against="server" if kind is Kind.SUBSCRIBE else "client")
    attack.send(frames([2, int(kind), 5000, 1, b"nonsense"]))
    assert attack.count(DropReason.MALFORMED) == 1
    assert len(attack.victim.of(PeerMisbehaved)) == 1
    attack.assert_the_honest_are_served()


@pytest.mark.parametrize(
    ("against", "kind"),
    [
        ("server", Kind.TABLE),
        ("server", Kind.WELCOME),
        ("server", Kind.DIGESTS_WANTED),
        ("server", Kind.REKEY_WANTED),
        ("client", Kind.SUBSCRIBE),
        ("client", Kind.HELLO),
    ],
)
def test_what_the_other_side_sends_is_not_admitted(against: str, kind: Kind):
    attack = Attack(against=against)
    attack.send(frames([2, int(kind), 5000, 1, b""]))
    assert attack.count(DropReason.NOT_ADMITTED) == 1


def test_a_second_hello_or_welcome_changes_nothing():
    attack = Attack(against="server")
    attack.send(frames([2, int(Kind.HELLO), 5000, 0, b""]))
    assert len(attack.victim.of(LinkUp)) == 1
    attack = Attack(against="client")
    attack.send(frames([2, int(Kind.WELCOME), 5000, 1, msgpack.packb([9, 0, b"h" * 8])]))
    assert len(attack.victim.of(LinkUp)) == 1
    assert attack.link.channel is not None


def test_fragments_beyond_the_room_are_refused_and_not_acknowledged():
    attack = Attack(against="server")
    for sequence in (101, 102):
        attack.send(frames([3, 1, sequence, 0, 0, 60, bytes(FRAGMENT_BYTES)]))
    room = attack.server.budget.bytes_left
    assert room == REASSEMBLY_BYTES_MAX - 2 * 60 * FRAGMENT_BYTES
    for sequence in range(103, 130):
        attack.send(frames([3, 1, sequence, 0, 1, 2, b"x"]))
    assert attack.count(DropReason.REASSEMBLY_FULL) == 27
    assert attack.server.budget.bytes_left == room
    attack.network.run(5)
    attack.assert_the_honest_are_served()


def test_many_fragments_in_one_datagram_are_counted_together():
    attack = Attack(against="server")
    attack.send(frames(*[[3, 1, 200 + n, 0, 59, 60, b"x"] for n in range(15)]))
    assert attack.count(DropReason.REASSEMBLY_FULL) == 1
    assert attack.server.budget.bytes_left == REASSEMBLY_BYTES_MAX


def test_memory_for_fragments_comes_back_when_the_link_ends():
    attack = Attack(against="server")
    attack.send(frames([3, 1, 101, 0, 0, 60, bytes(FRAGMENT_BYTES)]))
    attack.send(frames([7, 0]))
    assert attack.server.links == {}
    assert attack.server.budget.bytes_left == REASSEMBLY_BYTES_MAX


def test_what_follows_a_goodbye_in_its_datagram_is_not_applied():
    attack = Attack(against="server")
    subscription = Subscription(
        number=9, history=b"", version=0, prefixes=("a/",), root=bytes(8), buckets=b""
    ).pack()
    attack.send(frames([7, 0], [2, 1, 500, 0, b"late"], [2, 6, 501, 0, subscription]))
    assert attack.server.links == {}
    assert not attack.victim.of(MessageReceived)
    assert attack.server._publisher._views == {}


def test_pings_are_answered_once_a_flush_however_many_came():
    attack = Attack(against="server")
    attack.network.run(0.01)
    for _ in range(20):
        attack.send(frames(*[[5]] * 15))
    ((datagram, _),) = attack.server.datagrams_to_send(now=attack.network.now)
    assert len(datagram) < 60


def test_a_claim_to_have_heard_nothing_ends_only_the_claimants_link():
    attack = Attack(against="server")
    join(attack.network, "n2")
    attack.send(frames([4, 1, 0, 0, 2**61, 1, 0, 0, b""]))
    assert set(attack.server.links) == {"n2"}


def test_digests_that_never_agree_cost_the_claimant_a_resync_and_no_more():
    attack = Attack(against="server")
    for beat in range(1, 40):
        attack.send(frames([4, beat, 0, 0, 0, 1, 1, 0, b"d" * 8]))
    link = attack.server.links["n1"]
    assert link.feed is None
    assert sum(map(len, link.channel.sender._pending)) <= 20
    attack.assert_the_honest_are_served()


def test_versions_that_are_claimed_cannot_use_up_the_numbers():
    attack = Attack(against="server")
    subscription = Subscription(
        number=9, history=b"", version=2**62 - 1, prefixes=(), root=bytes(8), buckets=b""
    ).pack()
    attack.send(frames([2, int(Kind.SUBSCRIBE), 500, 0, subscription]))
    assert attack.server.version < 2**61
    attack.server.set_record("a", b"1")
    attack.assert_the_honest_are_served()


def test_a_wrong_history_hurts_only_whoever_claims_it():
    attack = Attack(against="server")
    attack.server.set_record("a", b"1")
    subscription = Subscription(
        number=9,
        history=attack.server._publisher.history,
        version=10**9,
        prefixes=(),
        root=bytes(8),
        buckets=b"",
    ).pack()
    attack.send(frames([2, int(Kind.SUBSCRIBE), 500, 0, subscription]))
    attack.network.run(0.01)
    attack.server.set_record("b", b"2")
    attack.assert_the_honest_are_served()
