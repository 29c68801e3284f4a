"""Credentials: the application looks at them before a peer may say or hear anything."""

import pytest

from tests.proto.helpers.network import SERVER, Host, Network
from tests.proto.helpers.stories import bodies, frames, join, link_of, linked, sealed_by
from wangell_proto import (
    Client,
    DropReason,
    Lane,
    LinkDown,
    LinkEnd,
    LinkRefused,
    LinkUp,
    PeerAsks,
    RecordChanged,
    Server,
)
from wangell_proto.constants import HANDSHAKES_PER_CALL, UNCONFIRMED_MAX
from wangell_proto.wire import DatagramType

TOKEN = b"eyJhbGciOiJSUzI1NiIsImtpZCI6" * 50  # 1,400 bytes: two datagrams.


def asking(network: Network, credential: bytes = TOKEN) -> tuple[Server, Host, Client, Host, int]:
    server, server_host = network.server(judges_credentials=True)
    server.set_record("default/a", b"secret")
    client, client_host = network.client(credential=credential)
    network.run_until(lambda: server_host.of(PeerAsks))
    return server, server_host, client, client_host, server_host.of(PeerAsks)[0].request


def test_the_application_sees_name_credential_and_address_and_admits():
    network = Network()
    server, server_host, _, client_host, request = asking(network)
    (asks,) = server_host.of(PeerAsks)
    assert (asks.peer, asks.credential, asks.address) == ("n1", TOKEN, client_host.address)
    assert not client_host.of(LinkUp) and not server_host.of(LinkUp)
    server.admit(request, now=network.now)
    network.run_until(lambda: client_host.of(RecordChanged))
    assert len(client_host.of(LinkUp)) == len(server_host.of(LinkUp)) == 1


def test_the_credential_is_readable_by_the_server_only():
    network = Network()
    asking(network)
    assert not [data for *_, data in network.sent if TOKEN[:12] in data]


def test_a_peer_that_is_not_admitted_yet_gets_nothing_and_says_nothing():
    network = Network()
    server, server_host, client, client_host, _ = asking(network)
    client.send(b"early", lane=Lane.WAKE, now=network.now)
    network.run(2)
    assert bodies(server_host) == []
    assert not client_host.of(RecordChanged)
    server.receive_datagram(
        sealed_by(link_of(client), frames([2, 0, 9, 0, b"pushed"])),
        source=client_host.address,
        now=network.now,
    )
    assert server.drops[DropReason.NOT_ADMITTED] == 1
    assert server.next_event() is None
    with pytest.raises(Exception, match="not linked"):
        server.send("n1", b"x", lane=Lane.WAKE, now=network.now)


def test_judging_may_take_longer_than_a_silence():
    network = Network()
    server, _, _, client_host, request = asking(network)
    network.run(8)
    server.admit(request, now=network.now)
    network.run(0.01)
    assert len(client_host.of(LinkUp)) == 1
    assert not client_host.of(LinkDown)


def test_a_refused_peer_is_told_and_tries_on_slowly():
    network = Network()
    server, server_host, _, client_host, request = asking(network)
    server.refuse(request, now=network.now)
    network.run(0.01)
    assert [event.peer for event in client_host.of(LinkRefused)] == ["10.0.0.1:7946"]
    assert server.drops[DropReason.REFUSED] == 1
    network.run(20)
    assert 2 <= len(server_host.of(PeerAsks)) <= 30
    assert not client_host.of(LinkUp) and not client_host.of(LinkDown)


def test_nobody_who_is_not_judged_in_time_stays():
    network = Network()
    _server, server_host, _, client_host, _ = asking(network)
    network.run(10.5)
    assert client_host.of(LinkRefused)
    assert len(server_host.of(PeerAsks)) >= 2


def test_an_answer_to_a_peer_that_has_gone_does_nothing():
    network = Network()
    server, server_host, client, _, request = asking(network)
    client.close(now=network.now)
    network.run(1)
    server.admit(request, now=network.now)
    server.refuse(request, now=network.now)
    server.admit(999, now=network.now)
    network.run(1)
    assert not server_host.of(LinkUp)
    assert server.drops[DropReason.REFUSED] == 0


def test_an_admitted_peer_can_be_sent_away_by_the_same_request():
    network = Network()
    server, server_host, _, client_host, request = asking(network)
    server.admit(request, now=network.now)
    server.admit(request, now=network.now)
    network.run(0.01)
    server.refuse(request, now=network.now)
    network.run(0.01)
    assert [event.reason for event in server_host.of(LinkDown)] == [LinkEnd.REFUSED]
    assert [event.reason for event in client_host.of(LinkDown)] == [LinkEnd.REFUSED]


def test_a_second_claim_to_a_name_replaces_nobody_until_it_is_admitted():
    network = Network()
    server, server_host, _, client_host, request = asking(network)
    server.admit(request, now=network.now)
    network.run(0.01)
    network.client("n1", address=("10.6.6.6", 666), credential=b"stolen")
    network.run(0.1)
    claim = server_host.of(PeerAsks)[-1]
    assert (claim.credential, claim.peer) == (b"stolen", "n1")
    assert not client_host.of(LinkDown)
    server.refuse(claim.request, now=network.now)
    network.run(1)
    assert not client_host.of(LinkDown)


def test_the_next_handshake_shows_the_new_credential():
    network = Network()
    server, server_host, client, _, request = asking(network)
    server.refuse(request, now=network.now)
    client.set_credential(b"renewed")
    network.run(3)
    assert server_host.of(PeerAsks)[-1].credential == b"renewed"


@pytest.mark.parametrize("size", [0, 1, 900, 1000, 1040, 1100, 2200, 4096])
def test_credentials_of_any_length_arrive_whole(size: int):
    network = Network()
    credential = bytes(index % 251 for index in range(size))
    *_, host, _ = asking(network, credential)
    asks = network.hosts[SERVER].of(PeerAsks)[0]
    assert asks.credential == credential
    assert all(len(data) <= 1200 for *_, data in network.sent)
    assert host is not None


def test_no_answer_is_larger_than_what_it_answers_and_none_comes_before_proof():
    network = Network()
    asking(network)
    client_address = ("10.1.0.1", 5000)
    asked = answered = 0
    for _, source, _, data in network.sent:
        if source == client_address:
            asked += len(data)
        else:
            answered += len(data)
            assert answered <= asked


def test_handshakes_that_nobody_confirms_are_bounded_and_forgotten():
    network = Network()
    server, server_host = network.server()
    network.watch = lambda source, _, data: not (source != SERVER and data[3] == 4)
    for index in range(UNCONFIRMED_MAX + 40):
        network.client(f"n{index}", address=("10.7.0.1", index))
        network.run(0.0021)
        del network.hosts[("10.7.0.1", index)]
        assert len(server._links) <= UNCONFIRMED_MAX
    network.run(3.5)
    assert server._links == {} and server._roster.peers == {}
    assert not server_host.events
    assert server.next_deadline() is None


def test_a_flood_of_unconfirmed_handshakes_keeps_nobody_out(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("wangell_proto.roster.UNCONFIRMED_MAX", 100)
    network = Network()
    _server, server_host = network.server()
    network.watch = lambda source, _, data: not (source[0] == "10.7.0.1" and data[3] == 4)
    for index in range(150):
        network.client(f"n{index}", address=("10.7.0.1", index))
    network.run(0.01)
    _, host = network.client("honest", address=("10.8.0.1", 1))
    network.run(0.01)
    assert [event.peer for event in server_host.of(LinkUp)] == ["honest"]
    assert host.of(LinkUp)


def test_handshakes_that_come_together_are_served_a_few_at_a_time():
    network = Network()
    server, _ = network.server()
    _, honest_host = join(network, "n0")
    for index in range(1, 301):
        network.client(f"n{index}", address=("10.7.0.1", index))
    served: list[int] = []
    serve = server.datagrams_to_send

    def counted(*, now: float) -> list:
        out = serve(now=now)
        served.append(sum(data[3] == DatagramType.RESPONSE for data, _ in out))
        return out

    server.datagrams_to_send = counted
    network.run(0.1)
    assert max(served) == HANDSHAKES_PER_CALL
    assert len(server.links) == 301
    assert not honest_host.of(LinkDown)


def test_more_handshakes_than_are_kept_are_counted(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("wangell_proto.reception.HANDSHAKES_WAITING_MAX", 5)
    network = Network()
    server, _ = network.server()
    for index in range(1, 21):
        network.client(f"n{index}", address=("10.7.0.1", index))
    network.run(5)
    assert server.drops[DropReason.SERVER_BUSY] > 5
    assert len(server.links) == 20  # They tried again.


def test_a_server_that_is_full_counts_whom_it_turns_away(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("wangell_proto.roster.PEERS_MAX", 1)
    network = Network()
    server, _, _, _ = linked(network)
    _, host = network.client("n2")
    network.run(1)
    assert not host.of(LinkUp)
    assert server.drops[DropReason.SERVER_FULL] >= 2
    _, again = network.client("n1")  # Whoever is known finds room.
    network.run(1)
    assert again.of(LinkUp)
