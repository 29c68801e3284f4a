"""What goes to everybody leaves in batches, and whoever is waited for goes first."""

from collections.abc import Iterator

from tests.proto.helpers.network import SERVER, Host, Network
from tests.proto.helpers.stories import bodies, join
from wangell_proto import Client, Lane, LinkDown, Server
from wangell_proto.constants import DEFERRED_LINKS_BESIDE_URGENT, DEFERRED_LINKS_PER_CALL

PEERS = 3 * DEFERRED_LINKS_PER_CALL + 1
NOTHING_TO_WAIT_FOR = float("-inf")


def crowd(network: Network) -> tuple[Server, list[Client], list[Host]]:
    """A server with many peers that follow its table, and nothing under way."""
    server, _ = network.server()
    joined = [join(network, f"n{number}") for number in range(1, PEERS + 1)]
    network.run(0.05)
    return server, [client for client, _ in joined], [host for _, host in joined]


def batches(server: Server, now: float) -> Iterator[list[tuple[bytes, object]]]:
    """What the server sends call by call, until it has no more to send at once."""
    while True:
        yield server.datagrams_to_send(now=now)
        if server.next_deadline() != NOTHING_TO_WAIT_FOR:
            return


def test_a_change_for_everybody_leaves_in_batches_and_leaves_nobody_out():
    network = Network()
    server, clients, hosts = crowd(network)
    server.set_record("default/a", b"1")
    sent = list(batches(server, network.now))
    assert [len(each) for each in sent] == [DEFERRED_LINKS_PER_CALL] * 3 + [1]
    addresses = [address for batch in sent for _, address in batch]
    assert sorted(addresses) == sorted(host.address for host in hosts)
    for batch in sent:
        for datagram, address in batch:
            network.carry(SERVER, address, datagram)
    network.run(0.01)
    assert all(dict(client.records) == {"default/a": b"1"} for client in clients)


def test_a_wake_is_answered_before_the_rest_of_a_batch():
    network = Network()
    server, clients, hosts = crowd(network)
    server.set_record("default/a", b"1")
    server.datagrams_to_send(now=network.now)
    # The last of them has a wake before its turn has come.
    clients[-1].send(b"wake", lane=Lane.WAKE, now=network.now)
    ((datagram, _),) = clients[-1].datagrams_to_send(now=network.now)
    server.receive_datagram(datagram, source=hosts[-1].address, now=network.now)
    answered, *_ = sent = server.datagrams_to_send(now=network.now)
    assert answered[1] == hosts[-1].address
    assert len(sent) == 1 + DEFERRED_LINKS_BESIDE_URGENT
    rest = [address for batch in batches(server, network.now) for _, address in batch]
    assert hosts[-1].address not in rest  # The change went with the answer.
    assert len(sent) + len(rest) == PEERS - DEFERRED_LINKS_PER_CALL


def test_deadlines_are_set_batch_by_batch():
    # A thousand at the end of a fan-out would keep the next wake waiting.
    network = Network()
    server, _, _ = crowd(network)
    server.set_record("default/a", b"1")
    dispatch = server._dispatch
    for _ in batches(server, network.now):
        assert 0 < len(dispatch._served) <= DEFERRED_LINKS_PER_CALL
        server.next_deadline()
        assert not dispatch._served


def test_who_has_ended_since_it_was_served_is_not_looked_at_again():
    network = Network()
    server, clients, hosts = crowd(network)
    server.set_record("default/a", b"1")
    server.datagrams_to_send(now=network.now)
    clients[0].close(now=network.now)
    ((datagram, _),) = clients[0].datagrams_to_send(now=network.now)
    server.receive_datagram(datagram, source=hosts[0].address, now=network.now)
    del network.hosts[hosts[0].address]
    network.run(10)
    assert len(server.links) == PEERS - 1
    assert not any(host.of(LinkDown) for host in hosts[1:])


def test_a_deadline_holds_though_nobody_asked_for_it():
    # A caller may call handle_deadline by its own clock.
    network = Network()
    server, clients, hosts = crowd(network)
    looked_at, session = server._dispatch._schedule._at, server.links["n1"].session
    network.run_until(lambda: looked_at.get(session, 0.0) > network.now + 0.5)
    server.send("n1", b"order", lane=Lane.WAKE, now=network.now)
    assert server.datagrams_to_send(now=network.now)  # Lost.
    server.handle_deadline(now=network.now + 0.1)
    again = [
        datagram
        for datagram, address in server.datagrams_to_send(now=network.now + 0.1)
        if address == hosts[0].address
    ]
    for datagram in again:
        clients[0].receive_datagram(datagram, source=SERVER, now=network.now + 0.1)
    network.flush()
    assert bodies(hosts[0]) == [b"order"]
