"""A client and a server over a network of virtual time."""

from tests.proto.helpers.network import SERVER, Network, Path
from wangell_proto import (
    Lane,
    LinkDown,
    LinkEnd,
    LinkUp,
    MessageAcknowledged,
    MessageReceived,
    TableSynced,
)


def linked(network: Network):
    server, server_host = network.server()
    client, client_host = network.client()
    network.run_until(lambda: client_host.of(TableSynced))
    return server, server_host, client, client_host


def test_a_link_comes_up_in_three_round_trips():
    network = Network()
    start = network.now
    _, server_host, _, client_host = linked(network)
    assert network.now - start < 0.005  # 0.5 ms each way: RETRY, RESPONSE, WELCOME, table.
    assert len(server_host.of(LinkUp)) == len(client_host.of(LinkUp)) == 1


def test_a_wake_arrives_once_and_is_acknowledged_at_once():
    network = Network()
    _, server_host, client, client_host = linked(network)
    client.send(b"wake", lane=Lane.WAKE, now=network.now)
    start = network.now
    network.run_until(lambda: client_host.of(MessageAcknowledged))
    assert network.now - start <= 0.0011
    assert [event.body for event in server_host.of(MessageReceived)] == [b"wake"]


def test_everything_arrives_exactly_once_over_a_bad_network():
    network = Network(seed=7)
    server, server_host, client, client_host = linked(network)
    network.default = Path(loss=0.3, duplication=0.2, corruption=0.1, jitter_s=0.01)
    bodies = [b"%d" % index for index in range(200)]
    for body in bodies:
        client.send(body, lane=Lane(int(body) % 3), now=network.now)
        server.send("n1", body, lane=Lane.STATE, now=network.now)
    big = bytes(60000)
    client.send(big, lane=Lane.BULK, now=network.now)
    network.run_until(lambda: len(client_host.of(MessageAcknowledged)) == 201, within=60)
    network.run(5)
    assert sorted(e.body for e in server_host.of(MessageReceived)) == sorted([*bodies, big])
    assert sorted(e.body for e in client_host.of(MessageReceived)) == sorted(bodies)


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


def test_a_dead_server_is_known_within_its_time_and_found_again():
    network = Network()
    _, _, client, client_host = linked(network)
    silent_since = network.now
    del network.hosts[SERVER]
    network.run_until(lambda: client_host.of(LinkDown))
    assert network.now - silent_since <= 3.1
    assert client_host.of(LinkDown)[0].reason is LinkEnd.SILENCE
    client.send(b"kept", lane=Lane.STATE, now=network.now)
    _, server_host = network.server()
    network.run_until(lambda: server_host.of(MessageReceived), within=3)
    assert len(client_host.of(LinkUp)) == 2


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
    assert sum(len(datagram) for *_, datagram in network.sent) < 20_000
