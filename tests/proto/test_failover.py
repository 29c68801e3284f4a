"""Several servers: which one is followed, what goes to a second, and who is obeyed no more."""

from tests.proto.helpers.network import SECOND_SERVER, SERVER, Host, Network
from tests.proto.helpers.stories import bodies, frames, sealed_by
from wangell_proto import (
    Client,
    DropReason,
    Lane,
    LinkDown,
    LinkUp,
    MessageAcknowledged,
    MessageReceived,
    RecordChanged,
    Server,
    Superseded,
    TableSynced,
)

THIRD_SERVER = ("10.0.0.3", 7946)


def two_servers(
    network: Network, *, second_serves: bool = False
) -> tuple[Server, Host, Server, Host, Client, Host]:
    """A leader with a table, a second server, and a client of both."""
    leader, leader_host = network.server(SERVER, epoch=1)
    leader.set_record("default/a", b"1")
    second, second_host = network.server(SECOND_SERVER, epoch=1, serves_table=second_serves)
    client, client_host = network.client(servers=(SERVER, SECOND_SERVER))
    network.run(0.1)
    assert len(client_host.of(LinkUp)) == 2
    return leader, leader_host, second, second_host, client, client_host


def primary_of(client: Client) -> object:
    return client.primary.address if client.primary is not None else None


def test_every_server_is_linked_and_the_one_with_the_table_is_followed():
    network = Network()
    leader, _, second, _, client, client_host = two_servers(network)
    assert set(leader.links) == set(second.links) == {"n1"}
    assert primary_of(client) == SERVER
    assert len(client_host.of(TableSynced)) == 1
    client.send(b"report", lane=Lane.STATE, now=network.now)
    network.run(0.1)
    assert bodies(network.hosts[SERVER]) == [b"report"]
    assert bodies(network.hosts[SECOND_SERVER]) == []


def test_the_first_of_equals_is_followed_and_kept():
    network = Network()
    _, _, _, _, client, _ = two_servers(network, second_serves=True)
    network.run(20)
    assert primary_of(client) == SERVER


def test_another_server_takes_over_within_the_silence_with_a_link_that_is_up_already():
    network = Network()
    leader, _, second, second_host, client, client_host = two_servers(network)
    second.set_record("default/a", b"1")
    network.run(2)
    del network.hosts[SERVER]
    died_at = network.now
    client.send(b"report", lane=Lane.STATE, now=network.now)
    second.raise_epoch(2, now=network.now)
    second.serve_table(is_complete=True, now=network.now)
    network.run(0.01)
    # Its epoch is higher: nobody needs to wait for the silence of the old one.
    assert primary_of(client) == SECOND_SERVER
    assert len(client_host.of(TableSynced)) == 2
    network.run_until(lambda: client_host.of(LinkDown))
    network.run(0.01)
    assert network.now - died_at <= 3.2
    assert bodies(second_host) == [b"report"]  # What the dead one had not acknowledged.
    assert not [e for e in client_host.of(RecordChanged) if e.value is None]
    assert leader is not None


def test_a_wake_without_an_answer_goes_to_a_second_server_after_20_ms():
    network = Network()
    _, leader_host, _, second_host, client, client_host = two_servers(network)
    client_host_down_before = len(client_host.of(LinkDown))
    network.cut(client_host.address, SERVER)
    sent = client.send(b"wake", lane=Lane.WAKE, now=network.now)
    state = client.send(b"state", lane=Lane.STATE, now=network.now)
    start = network.now
    network.run_until(lambda: bodies(second_host))
    assert 0.020 <= network.now - start <= 0.0215
    network.run(0.01)
    (acknowledged,) = client_host.of(MessageAcknowledged)
    assert (acknowledged.message_id, acknowledged.peer) == (sent, "10.0.0.2:7946")
    assert acknowledged.rtt_s <= 0.022
    network.run(0.5)
    assert bodies(second_host) == [b"wake"]  # Only what cannot wait.
    assert len(client_host.of(LinkDown)) == client_host_down_before
    network.heal()
    network.run(1)
    assert bodies(leader_host)[-1] == b"state"
    assert {e.message_id for e in client_host.of(MessageAcknowledged)} == {sent, state}


def test_a_wake_that_is_acknowledged_in_time_goes_to_one_server():
    network = Network()
    _, leader_host, _, second_host, client, _ = two_servers(network)
    client.send(b"wake", lane=Lane.WAKE, now=network.now)
    network.run(2)
    assert (bodies(leader_host), bodies(second_host)) == ([b"wake"], [])
    assert client._single_wakes == {}


def test_a_wake_goes_to_a_second_server_as_soon_as_there_is_one():
    network = Network()
    network.server(SERVER, epoch=1)
    client, client_host = network.client(servers=(SERVER, SECOND_SERVER))
    network.run(0.1)
    network.cut(client_host.address, SERVER)
    client.send(b"wake", lane=Lane.WAKE, now=network.now)
    network.run(0.5)
    assert not client_host.of(LinkDown)
    _, second_host = network.server(SECOND_SERVER, epoch=1)
    network.run_until(lambda: bodies(second_host), within=1.5)


def test_a_wake_with_no_link_at_all_goes_to_whoever_comes_first():
    network = Network()
    client, client_host = network.client(servers=(SERVER, SECOND_SERVER))
    client.send(b"wake", lane=Lane.WAKE, now=network.now)
    network.run(1)
    _, second_host = network.server(SECOND_SERVER)
    network.run_until(lambda: bodies(second_host), within=2)
    network.run(1)
    assert len(client_host.of(MessageAcknowledged)) == 1


def test_the_second_may_die_as_well():
    network = Network()
    *_, client, client_host = two_servers(network)
    network.cut(client_host.address, SERVER)
    network.cut(client_host.address, SECOND_SERVER)
    client.send(b"wake", lane=Lane.WAKE, now=network.now)
    network.run(0.1)
    del network.hosts[SECOND_SERVER]
    network.run(4)
    network.heal()
    network.run(3)
    assert len(client_host.of(MessageAcknowledged)) == 1


# --- Fencing ---


def test_a_higher_epoch_is_followed_at_once_and_the_old_leader_is_told():
    network = Network()
    leader, leader_host, second, _, client, client_host = two_servers(network)
    second.set_record("default/a", b"2")
    second.raise_epoch(2, now=network.now)
    second.serve_table(is_complete=True, now=network.now)
    network.run(0.01)
    assert primary_of(client) == SECOND_SERVER
    assert client.epoch == 2
    assert dict(client.records) == {"default/a": b"2"}
    network.run(1.1)
    assert [event.epoch for event in leader_host.of(Superseded)] == [2]
    network.run(5)
    assert len(leader_host.of(Superseded)) == 1
    assert not client_host.of(LinkDown)
    assert leader.epoch == 1


def test_neither_table_nor_order_of_a_lower_epoch_is_taken():
    network = Network()
    leader, _, second, _, client, client_host = two_servers(network)
    second.set_record("default/a", b"2")
    second.raise_epoch(2, now=network.now)
    second.serve_table(is_complete=True, now=network.now)
    network.run(0.01)
    client_host.events.clear()
    leader.set_record("default/a", b"stale")
    leader.send("n1", b"stale order", lane=Lane.WAKE, now=network.now)
    network.run(2)
    assert dict(client.records) == {"default/a": b"2"}
    assert not client_host.of(MessageReceived) and not client_host.of(RecordChanged)
    assert client.drops[DropReason.LOWER_EPOCH] >= 1


def test_a_lower_epoch_is_refused_even_when_nobody_else_is_left():
    network = Network()
    leader, _, second, _, client, _client_host = two_servers(network)
    second.raise_epoch(2, now=network.now)
    second.set_record("default/a", b"2")
    second.serve_table(is_complete=True, now=network.now)
    network.run(0.1)
    del network.hosts[SECOND_SERVER]
    network.run(4)
    assert primary_of(client) == SERVER  # For wakes it will do.
    leader.set_record("default/a", b"stale")
    network.run(2)
    assert dict(client.records) == {"default/a": b"2"}
    leader.raise_epoch(2, now=network.now)
    network.run(0.1)
    assert dict(client.records) == {"default/a": b"stale"}  # It is the leader again.


def test_a_restarted_server_of_a_lower_epoch_is_refused_too():
    network = Network()
    _, _, client, client_host = _one(network, epoch=5)
    successor, _ = network.server(epoch=4)
    successor.set_record("default/b", b"1")
    network.run(6)
    assert len(client_host.of(LinkUp)) == 2
    assert dict(client.records) == {"default/a": b"1"}
    successor.raise_epoch(5, now=network.now)
    network.run(0.1)
    assert dict(client.records) == {"default/b": b"1"}


def _one(network: Network, *, epoch: int) -> tuple[Server, Host, Client, Host]:
    server, server_host = network.server(epoch=epoch)
    server.set_record("default/a", b"1")
    client, client_host = network.client()
    network.run(0.1)
    assert dict(client.records) == {"default/a": b"1"}
    return server, server_host, client, client_host


def test_a_sealed_chunk_of_a_lower_epoch_changes_nothing():
    network = Network()
    server, _, client, client_host = _one(network, epoch=5)
    client_host.events.clear()
    chunk = b"\x96\x01\x01\x63\x01\xc4\x00\x91\x93\xa9default/a\xc4\x06forged\x63"
    datagram = sealed_by(server.links["n1"], frames([2, 3, 900, 4, chunk]))
    client.receive_datagram(datagram, source=SERVER, now=network.now)
    network.run(0.1)
    assert client.drops[DropReason.LOWER_EPOCH] == 1
    assert dict(client.records) == {"default/a": b"1"}
    assert not client_host.of(RecordChanged)


def test_versions_survive_a_change_of_server():
    network = Network()
    leader, _, second, _, client, client_host = two_servers(network)
    for index in range(50):
        leader.set_record("default/a", b"%d" % index)
    network.run(0.1)
    before = client.version
    assert before >= 50
    second.set_record("default/a", b"49")
    second.raise_epoch(2, now=network.now)
    second.serve_table(is_complete=True, now=network.now)
    network.run(0.1)
    client_host.events.clear()
    second.set_record("default/a", b"new")
    network.run(0.1)
    (changed,) = client_host.of(RecordChanged)
    assert changed.version > before
    assert client.version == second.version > before


def test_unchanged_peers_cost_next_to_nothing_after_a_fail_over():
    network = Network()
    leader, _, second, _, _client, client_host = two_servers(network)
    for index in range(1000):
        leader.set_record(f"default/{index}", bytes(100))
    network.run(1)
    for index in reversed(range(1000)):
        second.set_record(f"default/{index}", bytes(100))
    second.set_record("default/a", b"1")
    network.sent.clear()
    client_host.events.clear()
    second.raise_epoch(2, now=network.now)
    second.serve_table(is_complete=True, now=network.now)
    network.run(0.1)
    assert len(client_host.of(TableSynced)) == 1
    assert not client_host.of(RecordChanged)
    assert sum(len(data) for *_, data in network.sent) < 1500


# --- The list of servers ---


def test_servers_can_be_changed_while_running():
    network = Network()
    leader, leader_host, _, _, client, client_host = two_servers(network)
    network.server(THIRD_SERVER, epoch=1)
    client.set_servers((SECOND_SERVER, THIRD_SERVER), now=network.now)
    network.run(0.1)
    assert [link.address for link in client.links] == [SECOND_SERVER, THIRD_SERVER]
    assert leader.links == {} and leader_host.of(LinkDown)
    assert primary_of(client) == THIRD_SERVER
    client.set_servers((THIRD_SERVER, SERVER), now=network.now)
    network.run(0.1)
    assert len(leader.links) == 1
    assert len(client_host.of(LinkUp)) == 4


def test_a_server_taken_out_and_put_back_in_one_breath_is_linked():
    network = Network()
    *_, client, client_host = two_servers(network)
    client.set_servers((SECOND_SERVER,), now=network.now)
    client.set_servers((SECOND_SERVER, SERVER), now=network.now)
    network.run(5)
    assert all(link.is_up for link in client.links)
    assert len(client.links) == 2
    assert client_host.of(LinkDown)


def test_only_a_wake_that_has_left_goes_to_a_second_server():
    network = Network()
    _, _, _, _, client, _ = two_servers(network)
    before = client.next_deadline()
    client.send(b"wake", lane=Lane.WAKE, now=network.now)
    assert client.next_deadline() == before
    assert client.datagrams_to_send(now=network.now)
    assert client._copy_at() == network.now + client.timers.second_server_after_s
    assert client.next_deadline() <= client._copy_at()
