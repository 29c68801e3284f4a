"""One client and one server: coming up, delivering, falling silent, coming back."""

import itertools

import pytest

from tests.proto.helpers.network import SERVER, Network, Path
from tests.proto.helpers.stories import bodies, join, link_of, linked
from wangell_proto import (
    Lane,
    LinkDown,
    LinkEnd,
    LinkUp,
    MessageAcknowledged,
    MessageFailed,
    MessageReceived,
    TableSynced,
    Timers,
)
from wangell_proto.digests import bucket_of, digest_of


def test_a_link_comes_up_in_three_round_trips():
    network = Network()
    start = network.now
    _, server_host = network.server()
    _, client_host = network.client()
    network.run_until(lambda: client_host.of(LinkUp))
    assert network.now - start <= 0.0031  # 0.5 ms each way: RETRY, RESPONSE, WELCOME.
    (up,) = server_host.of(LinkUp)
    assert (up.peer, up.address) == ("n1", client_host.address)


def test_the_round_trip_is_known_from_the_handshake_on():
    network = Network()
    network.default.delay_s = 0.010
    server, _, client, _ = linked(network)
    assert link_of(client).channel.rtt.smoothed_s == pytest.approx(0.020, rel=0.1)
    assert server.links["n1"].channel.rtt.smoothed_s == pytest.approx(0.020, rel=0.1)
    network.run(5)
    assert server.links["n1"].channel.rtt.smoothed_s == pytest.approx(0.020, rel=0.5)


def test_a_wake_arrives_and_is_acknowledged_in_one_round_trip():
    network = Network()
    _, server_host, client, client_host = linked(network)
    start = network.now
    sent = client.send(b"wake", lane=Lane.WAKE, now=start)
    network.run_until(lambda: client_host.of(MessageAcknowledged))
    (acknowledged,) = client_host.of(MessageAcknowledged)
    assert acknowledged.message_id == sent
    assert acknowledged.rtt_s == pytest.approx(0.001)
    assert network.now - start == pytest.approx(0.001)
    (received,) = server_host.of(MessageReceived)
    assert (received.body, received.lane, received.peer) == (b"wake", Lane.WAKE, "n1")


@pytest.mark.parametrize("delay_s", [0.0, 0.0005])
def test_what_is_no_wake_is_acknowledged_when_it_has_waited_for_company(delay_s: float):
    network = Network()
    _, _, client, client_host = linked(network, timers=Timers(ack_delay_s=delay_s))
    client.send(b"state", lane=Lane.STATE, now=network.now)
    start = network.now
    network.run_until(lambda: client_host.of(MessageAcknowledged))
    assert network.now - start == pytest.approx(0.001 + delay_s)


def test_a_wake_jumps_every_queue_and_a_closed_window():
    network = Network()
    _, server_host, client, _ = linked(network)
    for index in range(200):
        client.send(bytes(1000) + b"%d" % index, lane=Lane.BULK, now=network.now)
    client.send(b"state", lane=Lane.STATE, now=network.now)
    network.flush()
    client.send(b"wake", lane=Lane.WAKE, now=network.now)
    start = network.now
    network.run_until(lambda: b"wake" in bodies(server_host))
    assert network.now - start == pytest.approx(0.0005)
    assert len(bodies(server_host)) < 20
    network.run_until(lambda: b"state" in bodies(server_host))
    assert len(bodies(server_host)) < 40
    network.run(5)
    assert len(bodies(server_host)) == 202


def test_the_network_is_not_flooded():
    network = Network()
    _, _, client, _ = linked(network)
    for _ in range(500):
        client.send(bytes(1000), lane=Lane.BULK, now=network.now)
    network.sent.clear()
    network.flush()
    assert sum(len(data) for *_, data in network.sent) <= 12_000  # Ten datagrams, then it waits.


@pytest.mark.parametrize("size", [0, 1, 1100, 1101, 2200, 30_000, 65_536])
def test_messages_of_every_size_arrive_whole(size: int):
    network = Network()
    server, server_host, client, client_host = linked(network)
    body = network.random.randbytes(size)
    client.send(body, lane=Lane.BULK, now=network.now)
    server.send("n1", body, lane=Lane.STATE, now=network.now)
    network.run(1)
    assert bodies(server_host) == bodies(client_host) == [body]
    assert all(len(data) <= 1200 for *_, data in network.sent)
    assert server.budget.bytes_left == 16 * 1024 * 1024


@pytest.mark.parametrize("seed", range(5))
def test_everything_arrives_exactly_once_over_a_bad_network(seed: int):
    network = Network(seed)
    server, server_host, client, client_host = linked(network)
    network.default = Path(loss=0.3, duplication=0.2, corruption=0.1, jitter_s=0.01)
    wanted = [b"%d" % index for index in range(200)]
    for body in wanted:
        client.send(body, lane=Lane(int(body) % 3), now=network.now)
        server.send("n1", body, lane=Lane.STATE, now=network.now)
    big = bytes(60000)
    client.send(big, lane=Lane.BULK, now=network.now)
    network.run_until(lambda: len(client_host.of(MessageAcknowledged)) == 201, within=60)
    network.run(5)
    assert sorted(bodies(server_host)) == sorted([*wanted, big])
    assert sorted(bodies(client_host)) == sorted(wanted)


def test_wakes_are_quick_at_ten_percent_loss_each_way():
    network = Network(seed=11)
    network.default.delay_s = 0.0001
    _, _, client, client_host = linked(network)
    network.default.loss = 0.1
    for _ in range(1000):
        client.send(b"wake", lane=Lane.WAKE, now=network.now)
        network.run(0.05)
    taken = sorted(event.rtt_s for event in client_host.of(MessageAcknowledged))
    assert len(taken) == 1000
    assert taken[500] < 0.001
    assert taken[990] <= 0.025


def test_latest_wins_sends_the_latest():
    network = Network()
    _, server_host, client, _ = linked(network)
    network.default.is_cut = True
    for index in range(50):
        client.send(b"load %d" % index, lane=Lane.STATE, replaces="load", now=network.now)
        network.run(0.001)
    network.heal()
    network.run(1)
    assert bodies(server_host) == [b"load 49"]


# --- Silence ---


def test_a_dead_server_is_known_within_3_1_s_by_its_last_datagram():
    network = Network()
    _, _, client, client_host = linked(network)
    network.run(5.37)
    del network.hosts[SERVER]
    died_at = network.now
    network.run_until(lambda: client_host.of(LinkDown))
    assert network.now - died_at <= 3.1
    assert client_host.of(LinkDown)[0].reason is LinkEnd.SILENCE
    assert link_of(client).channel is None


def test_a_silent_peer_is_pinged_each_100_ms_after_1_2_s():
    network = Network()
    _, _, _, client_host = linked(network)
    network.run(3.0)
    del network.hosts[SERVER]
    heard = network.hosts[client_host.address].core.links[0].channel.liveness.last_heard_at
    network.sent.clear()
    network.run_until(lambda: client_host.of(LinkDown))
    # A PING alone is 37 bytes.
    times = [at - heard for at, _, _, data in network.sent if len(data) == 37]
    assert times[0] == pytest.approx(1.2, abs=0.001)
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert all(0.09 <= gap <= 0.11 + 1e-9 for gap in gaps), gaps
    assert len(times) >= 17


def test_a_one_way_partition_is_seen_from_both_sides():
    for cut_towards_server in (True, False):
        network = Network()
        _server, server_host, _client, client_host = linked(network)
        network.run(2)
        ends = (client_host.address, SERVER)
        network.cut(*(ends if cut_towards_server else ends[::-1]))
        start = network.now
        network.run_until(lambda: client_host.of(LinkDown) and server_host.of(LinkDown))  # noqa: B023
        assert network.now - start <= 3.2
        deaf, mute = (
            (server_host, client_host) if cut_towards_server else (client_host, server_host)
        )
        assert deaf.of(LinkDown)[0].reason is LinkEnd.SILENCE
        # It hears all the while, and so learns at once that it is not heard.
        assert mute.of(LinkDown)[0].reason is LinkEnd.UNHEARD
        network.heal()
        network.run(2)
        assert len(client_host.of(LinkUp)) == 2


def test_a_heartbeat_that_tells_of_long_silence_ends_the_link_too():
    network = Network()
    _server, server_host, _client, _client_host = linked(network)
    # The goodbye of the side that gave up is lost; its heartbeats before that were not.
    network.watch = lambda source, _, data: source == SERVER and len(data) > 45
    network.run(3.4)
    assert server_host.of(LinkDown)
    network.watch = lambda *_: True
    network.run(5)
    assert len(server_host.of(LinkUp)) == 2


def test_messages_outlive_a_link_and_arrive_once():
    network = Network()
    server, server_host, client, client_host = linked(network)
    network.run(2)
    network.default.is_cut = True
    client.send(b"up", lane=Lane.STATE, now=network.now)
    server.send("n1", b"down", lane=Lane.STATE, now=network.now)
    client.send(bytes(5000), lane=Lane.BULK, now=network.now)
    network.run(5)
    assert client_host.of(LinkDown) and server_host.of(LinkDown)
    server.send("n1", b"later", lane=Lane.WAKE, now=network.now)
    network.heal()
    network.run(5)
    assert sorted(bodies(server_host)) == sorted([b"up", bytes(5000)])
    assert sorted(bodies(client_host)) == [b"down", b"later"]
    assert len(client_host.of(MessageAcknowledged)) == 2
    assert len(server_host.of(MessageAcknowledged)) == 2


def test_a_message_whose_acknowledgement_was_lost_with_the_link_is_not_delivered_again():
    network = Network()
    _, server_host, client, client_host = linked(network)
    network.run(2)
    network.cut(SERVER, client_host.address)
    client.send(b"once", lane=Lane.STATE, now=network.now)
    network.run(5)
    assert bodies(server_host) == [b"once"]
    assert not client_host.of(MessageAcknowledged)
    network.heal()
    network.run(5)
    assert bodies(server_host) == [b"once"]
    assert len(client_host.of(MessageAcknowledged)) == 1


def test_a_peer_that_does_not_come_back_is_forgotten_and_its_messages_reported():
    network = Network()
    server, server_host, _, client_host = linked(network)
    del network.hosts[client_host.address]
    sent = server.send("n1", b"down", lane=Lane.STATE, now=network.now)
    network.run(30)
    assert not server_host.of(MessageFailed)
    network.run(40)
    assert [event.message_id for event in server_host.of(MessageFailed)] == [sent]
    assert server._roster.peers == {}
    assert server.next_deadline() is None  # Nothing is left to wait for.


def test_a_restarted_peer_is_another_one():
    network = Network()
    server, server_host, _, _client_host = linked(network)
    network.default.is_cut = True
    sent = server.send("n1", b"for the old one", lane=Lane.STATE, now=network.now)
    network.heal()
    _, again = join(network, "n1")
    assert [event.reason for event in server_host.of(LinkDown)] == [LinkEnd.REPLACED]
    assert [event.message_id for event in server_host.of(MessageFailed)] == [sent]
    first, second = server_host.of(LinkUp)
    assert first.incarnation != second.incarnation
    network.run(2)
    assert bodies(again) == []


def test_a_restarted_server_is_found_again_and_gets_what_was_kept():
    network = Network()
    _, _, client, client_host = linked(network)
    del network.hosts[SERVER]
    network.run_until(lambda: client_host.of(LinkDown))
    client.send(b"kept", lane=Lane.STATE, now=network.now)
    network.run(3)
    _, server_host = network.server()
    network.run_until(lambda: bodies(server_host), within=1.3)
    assert len(client_host.of(LinkUp)) == 2


def test_a_server_that_restarts_at_once_is_noticed_by_silence_not_by_chance():
    network = Network()
    _, _, _, client_host = linked(network)
    _, server_host = network.server()
    network.run_until(lambda: client_host.of(LinkDown))
    network.run(2)
    assert server_host.of(LinkUp)


def test_goodbyes_end_links_at_once():
    network = Network()
    server, server_host, client, client_host = linked(network)
    client.close(now=network.now)
    network.run(0.01)
    assert [event.reason for event in server_host.of(LinkDown)] == [LinkEnd.GOODBYE]
    assert [event.reason for event in client_host.of(LinkDown)] == [LinkEnd.CLOSED]
    assert client.next_deadline() is None
    client.close(now=network.now)
    assert client.datagrams_to_send(now=network.now) == []
    _, again = join(network, "n2")
    server.close(now=network.now)
    network.run(0.01)
    assert [event.reason for event in again.of(LinkDown)] == [LinkEnd.GOODBYE]
    assert server.links == {}


def test_a_link_half_made_says_goodbye_too():
    network = Network()
    server, _ = network.server(judges_credentials=True)
    client, _ = network.client()
    network.run(0.01)
    client.close(now=network.now)
    network.run(0.01)
    assert server._links == {}


# --- The table on the link ---


def test_the_table_follows_over_a_bad_network():
    network = Network(seed=3)
    server, _, client, client_host = linked(network)
    network.default = Path(loss=0.3, duplication=0.2, corruption=0.1, jitter_s=0.01)
    for index in range(300):
        server.set_record(f"default/{index % 50}", b"%d" % index * 50)
        if index % 7 == 0:
            server.delete_record(f"default/{index % 50}")
        network.run(0.01)
    network.heal()
    network.run(2)
    assert client.records == server.records
    assert not client_host.of(LinkDown)


def test_a_restarted_server_sends_only_what_differs():
    network = Network()
    server, _, client, client_host = linked(network)
    for index in range(500):
        server.set_record(f"default/{index}", b"x" * 100)
    network.run(1)
    client_host.events.clear()
    successor, _ = network.server(serves_table=False)
    for index in range(1, 500):
        successor.set_record(f"default/{index}", b"x" * 100)
    successor.set_record("default/500", b"new")
    successor.serve_table(is_complete=True, now=network.now)
    network.sent.clear()
    network.run_until(lambda: client_host.of(TableSynced))
    changed = {event.key: event.value for event in client_host.events if hasattr(event, "key")}
    assert changed == {"default/0": None, "default/500": b"new"}
    assert client.records == successor.records
    assert sum(len(data) for *_, data in network.sent) < 20_000


def test_a_slow_peer_gets_the_newest_and_is_not_buffered_for():
    network = Network()
    server, _, client, client_host = linked(network)
    join(network, "n2")
    network.cut(SERVER, client_host.address)
    for index in range(2000):
        server.set_record("default/a", b"%d" % index * 200)
        network.run(0.001)
    peer = server._roster.peers["n1"]
    assert peer.outbox._bytes < 130_000
    network.heal()
    network.run(2)
    assert client.records == server.records


def test_a_damaged_replica_is_repaired_by_its_digests():
    network = Network()
    server, _, client, _client_host = linked(network)
    server.set_record("default/a", b"1")
    network.run(1)
    replica = client._replica
    replica._records["default/a"] = b"damaged"
    replica.digests.toggle(bucket_of("default/a"), digest_of("default/a", b"1"))
    replica.digests.toggle(bucket_of("default/a"), digest_of("default/a", b"damaged"))
    network.run(4)
    assert dict(client.records) == {"default/a": b"1"}


def test_a_filter_is_kept_on_the_link():
    network = Network()
    server, _, _, _ = linked(network)
    client, _ = join(network, "n2", record_prefixes=("team/",))
    server.set_record("team/a", b"1")
    server.set_record("default/a", b"2")
    network.run(5)
    assert dict(client.records) == {"team/a": b"1"}
    assert server.links["n2"].disagreements == 0


def test_a_server_that_withholds_its_table_keeps_peers_as_they_are():
    network = Network()
    server, _, client, client_host = linked(network)
    server.set_record("default/a", b"1")
    network.run(1)
    successor, _ = network.server(serves_table=False)
    network.run(8)
    assert len(client_host.of(LinkUp)) == 2
    assert dict(client.records) == {"default/a": b"1"}
    successor.serve_table(is_complete=True, now=network.now)
    network.run(0.1)
    assert dict(client.records) == {}


def test_forgetting_can_be_set():
    network = Network()
    server, server_host = network.server(timers=Timers(forget_after_s=2.0))
    client, _ = join(network, "n1")
    client.close(now=network.now)
    network.run(3)
    assert server._roster.peers == {}
    assert server_host.of(LinkDown)
