"""Rare turns of a link, each made to happen."""

import itertools
from dataclasses import replace

import pytest

from tests.proto.helpers.network import PRIVATE_KEY, PSK, SECOND_SERVER, SERVER, Network
from tests.proto.helpers.stories import bodies, frames, join, link_of, linked, sealed_by
from wangell_proto import (
    DropReason,
    Lane,
    LinkDown,
    LinkEnd,
    LinkUp,
    PeerMisbehaved,
    RecordChanged,
    Server,
    ServerConfig,
    TableSynced,
    Timers,
)
from wangell_proto.accepted import Peer
from wangell_proto.control import Subscription
from wangell_proto.handshake import Greeting
from wangell_proto.wire import DatagramType, Kind


def test_a_client_learns_from_a_heartbeat_that_it_is_not_heard():
    network = Network()
    server, _, client, client_host = linked(network)
    heartbeat = frames([4, 1, 0, 0, 3_000_000, 1, 1, 0, b""])
    client.receive_datagram(
        sealed_by(server.links["n1"], heartbeat), source=SERVER, now=network.now
    )
    network.flush()
    assert [event.reason for event in client_host.of(LinkDown)] == [LinkEnd.UNHEARD]


def test_digests_are_sent_only_to_the_server_that_is_followed():
    network = Network()
    network.server(SERVER)
    second, _ = network.server(SECOND_SERVER, serves_table=False)
    client, _ = network.client(servers=(SERVER, SECOND_SERVER))
    network.run(0.1)
    before = client._replica.subscription
    wanted = frames([2, int(Kind.DIGESTS_WANTED), 900, 1, b""])
    client.receive_datagram(
        sealed_by(second.links["n1"], wanted), source=SECOND_SERVER, now=network.now
    )
    assert client._replica.subscription == before


def test_a_chunk_of_a_server_that_is_not_followed_is_counted():
    network = Network()
    network.server(SERVER)
    second, _ = network.server(SECOND_SERVER, serves_table=False)
    client, client_host = network.client(servers=(SERVER, SECOND_SERVER))
    network.run(0.1)
    chunk = b"\x96\x01\x00\x63\x01\xc4\x00\x91\x93\xa1a\xc4\x01x\x63"
    client.receive_datagram(
        sealed_by(second.links["n1"], frames([2, int(Kind.TABLE), 900, 1, chunk])),
        source=SECOND_SERVER,
        now=network.now,
    )
    assert client.drops[DropReason.STALE_CHUNK] == 1
    assert not client_host.of(RecordChanged) and dict(client.records) == {}


def test_a_response_for_another_session_renews_nothing():
    network = Network()
    _, _, client, client_host = linked(network)
    link = link_of(client)
    link._dial(network.now, resumes=link._server_session)
    link._server_session += 1
    network.run(0.05)
    assert client.drops[DropReason.STALE_HANDSHAKE] == 1
    assert link.channel.keyring.present.key_id == 0
    assert not client_host.of(LinkDown)


def test_a_renewal_by_another_run_at_the_same_address_is_refused():
    network = Network()
    server, _, client, client_host = linked(network)
    session = server.links["n1"].session
    again, _ = network.client("n1", address=client_host.address)
    again.handle_deadline(now=network.now)
    link_of(again)._attempt = None
    link_of(again)._outgoing.clear()
    link_of(again)._dial(network.now, resumes=session)
    network.run(0.01)
    assert server.drops[DropReason.UNKNOWN_SESSION] == 1
    assert server.links["n1"].channel.keyring.present.key_id == 0
    assert client.primary is not None


def test_a_run_of_a_peer_is_known_by_its_key_and_its_incarnation():
    greeting = Greeting(name="n1", incarnation=b"i" * 8, resumes=0, credential=b"")
    peer = Peer(greeting, b"key" * 8, b"o" * 8)
    assert peer.is_same(greeting, b"key" * 8)
    assert not peer.is_same(greeting, b"KEY" * 8)
    assert not peer.is_same(replace(greeting, incarnation=b"I" * 8), b"key" * 8)


def test_sessions_are_never_given_twice():
    network = Network()
    draws = itertools.chain(
        [b"\0\0\0\0", b"\0\0\0\7", b"\0\0\0\7", b"\0\0\0\0", b"\0\0\0\x08"], itertools.repeat(b"")
    )

    def random(size: int) -> bytes:
        return (next(draws) if size == 4 else b"") or network.random.randbytes(size)

    server = Server(ServerConfig(private_key=PRIVATE_KEY, psks=(PSK,), epoch=1), random=random)
    network.attach(server, SERVER)
    join(network, "n1")
    join(network, "n2")
    assert sorted(server._links) == [7, 8]


def test_a_heartbeat_that_was_overtaken_says_nothing_new():
    network = Network()
    server, _, client, _ = linked(network)
    link = server.links["n1"]
    late, early = (frames([4, beat, 0, 0, 0, 1, flags, 0, b""]) for beat, flags in ((8, 1), (7, 0)))
    for heartbeat in (late, early):
        client.receive_datagram(sealed_by(link, heartbeat), source=SERVER, now=network.now)
    assert link_of(client).flags == 1


def test_a_link_keeps_the_filter_that_it_began_with():
    network = Network()
    server, server_host, client, client_host = linked(network)
    subscription = Subscription(
        number=9, history=b"", version=0, prefixes=("a/",), root=bytes(8), buckets=b""
    ).pack()
    server.receive_datagram(
        sealed_by(link_of(client), frames([2, int(Kind.SUBSCRIBE), 900, 0, subscription])),
        source=client_host.address,
        now=network.now,
    )
    network.flush()
    assert server.drops[DropReason.MALFORMED] == 1
    assert server_host.of(PeerMisbehaved)
    assert list(server._publisher._views) == [()]


def test_wakes_that_were_replaced_are_not_kept_in_mind():
    network = Network()
    client, _ = network.client(servers=(SERVER, SECOND_SERVER))
    for index in range(50):
        client.send(b"%d" % index, lane=Lane.WAKE, replaces="wake", now=network.now)
    assert len(client._single_wakes) == 1
    _, host = network.server(SECOND_SERVER)
    network.run(2)
    assert bodies(host) == [b"49"]


def test_a_chunk_that_is_refused_for_its_epoch_is_asked_for_again_at_once():
    network = Network()
    server, _, client, _ = linked(network)
    held: list[bytes] = []

    def hold(source, _destination, data: bytes) -> bool:
        if source == SERVER and len(data) > 200:
            held.append(data)
            return False
        return True

    network.watch = hold
    server.set_record("default/a", bytes(300))
    network.flush()
    server.raise_epoch(2, now=network.now)
    network.run(0.001)
    network.watch = None
    assert client.epoch == 2
    client.receive_datagram(held[0], source=SERVER, now=network.now)
    assert client.drops[DropReason.LOWER_EPOCH] == 1
    network.run(0.1)
    assert dict(client.records) == {"default/a": bytes(300)}


def test_a_member_whose_greeting_is_nonsense_is_counted():
    network = Network()
    server, server_host = network.server()
    client, host = network.client()
    client.handle_deadline(now=network.now)
    attempt = link_of(client)._attempt
    attempt._message = bytes(len(attempt._message))  # Sealed under no key at all.
    network.run(0.005)
    assert server.drops[DropReason.BAD_HANDSHAKE] == 1
    assert not server_host.events
    network.run(1)
    assert host.of(LinkUp)  # The next try is honest.


def test_calling_early_is_harmless():
    network = Network()
    server, server_host = network.server()
    client, client_host = network.client()
    for _ in range(40):
        network.run(0.0001)
        server.handle_deadline(now=network.now)
        client.handle_deadline(now=network.now)
        network.flush()
    assert len(client_host.of(LinkUp)) == len(server_host.of(LinkUp)) == 1
    assert sum(data[3] == DatagramType.INITIATION for *_, data in network.sent) == 2


def test_a_subscription_that_comes_while_the_table_is_withheld_waits_for_it():
    network = Network()
    server, _, client, client_host = linked(network)
    server.set_record("default/a", b"1")
    network.run(0.1)
    server.serve_table(is_complete=False, now=network.now)
    subscription = Subscription(
        number=client._replica.subscribe(), history=b"", version=0, prefixes=(),
        root=client._replica.digests.root(), buckets=b"",
    ).pack()  # fmt: skip
    server.receive_datagram(
        sealed_by(link_of(client), frames([2, int(Kind.SUBSCRIBE), 900, 0, subscription])),
        source=client_host.address,
        now=network.now,
    )
    synced = len(client_host.of(TableSynced))
    network.run(3)
    assert len(client_host.of(TableSynced)) == synced
    server.serve_table(is_complete=True, now=network.now)
    network.run(0.1)
    assert len(client_host.of(TableSynced)) == synced + 1


def test_a_subscription_that_was_withheld_and_forgotten_is_asked_for_again():
    """The flag went off and on again between two heartbeats: the client saw nothing of it."""
    network = Network()
    server, _, client, client_host = linked(network)
    link = server.links["n1"]
    server._publisher.release(link.feed)
    link.feed = None
    server.set_record("default/a", b"1")
    network.run(4)
    assert dict(client.records) == {"default/a": b"1"}
    assert not client_host.of(LinkDown)


def test_a_feed_that_nobody_follows_any_more_ends():
    network = Network()
    server, _, client, _ = linked(network)
    client.primary.is_followed = False
    network.run(4)
    assert server.links["n1"].feed is None
    assert server._publisher._views == {}


def test_a_subscription_with_digests_waits_for_room_among_the_fragments():
    network = Network()
    server, server_host, client, client_host = linked(network)
    for index in range(40):
        server.set_record(f"default/{index}", b"x")
    network.run(0.1)
    # Two long messages fill the room that the receiver has, and nothing gets through.
    network.cut(client_host.address, SERVER)
    for _ in range(2):
        client.send(bytes(2000), lane=Lane.STATE, now=network.now)
    network.run(0.01)
    client._replica.history = b"another!"
    client._subscribe(client.primary, with_buckets=True)
    assert len(client.primary.channel.sender._waiting) == 1
    network.heal()
    network.run(2)
    assert len(client.primary.channel.sender._waiting) == 0
    assert len(bodies(server_host)) == 2
    assert client_host.of(TableSynced)


def test_a_link_that_ends_takes_a_waiting_subscription_along():
    network = Network()
    _, _, client, client_host = linked(network)
    network.cut(client_host.address, SERVER)
    for _ in range(2):
        client.send(bytes(2000), lane=Lane.STATE, now=network.now)
    network.run(0.01)
    client._subscribe(client.primary, with_buckets=True)
    network.run(5)
    network.heal()
    network.run(5)
    assert len(client_host.of(LinkUp)) == 2
    assert len(client.outbox.unacknowledged) == 0


def test_only_a_server_makes_chunks():
    network = Network()
    _, _, client, _ = linked(network)
    sender = link_of(client).channel.sender
    sender.may_make = True
    assert sender.datagrams(network.now) == []
    assert sender.may_make is False


def test_of_each_type_of_control_frame_the_newest_is_sent():
    network = Network()
    _, _, client, _ = linked(network)
    sender = link_of(client).channel.sender
    for reason in range(20):
        sender.say(frames([7, reason])[1:])
        sender.say(frames([5])[1:])
    (datagram,) = sender.datagrams(network.now)
    assert len(datagram) == 18 + 1 + 3 + 2 + 16


def test_a_chunk_that_is_late_holds_those_after_the_next():
    """A peer takes one that is one ahead; of what is further ahead it has no room for."""
    network = Network()
    server, _, client, client_host = linked(network)
    link = server.links["n1"]
    network.cut(SERVER, client_host.address)
    chunks = []
    for value in (b"1", b"2"):
        server.set_record("default/a", value)
        chunks.append(link._make_chunk())
    server.set_record("default/a", b"3")
    assert link._make_chunk() is None
    early, late = chunks[1], chunks[0]
    for arrived, may_follow in ((early, False), (late, True)):
        arrived.is_done = True
        link.on_delivered(arrived, now=network.now)
        assert link.has_chunk is may_follow
    assert client.drops[DropReason.STALE_CHUNK] == 0


def test_forgotten_peers_go_one_by_one():
    network = Network()
    server, server_host = network.server(timers=Timers(forget_after_s=5.0))
    first, _ = join(network, "n1")
    second, _ = join(network, "n2")
    first.close(now=network.now)
    network.run(3)
    second.close(now=network.now)
    network.run(3)
    assert set(server._roster.peers) == {"n2"}
    network.run(3)
    assert server._roster.peers == {}
    assert len(server_host.of(LinkDown)) == 2


@pytest.mark.parametrize("lane", list(Lane))
def test_a_window_full_of_unacknowledged_messages_takes_no_new_ones(
    lane: Lane, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("wangell_proto.outbox.DELIVERY_WINDOW", 4)
    network = Network()
    _, server_host, client, _ = linked(network)
    network.run(1)
    network.default.is_cut = True
    for index in range(10):
        client.send(b"%d" % index, lane=lane, now=network.now)
    network.run(0.3)
    waiting = client.outbox.unacknowledged
    assert max(waiting) - min(waiting) < 4
    network.heal()
    network.run(2)
    assert len(bodies(server_host)) == 10
