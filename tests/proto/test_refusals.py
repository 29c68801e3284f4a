"""Datagrams that must change nothing, one by one: sent by strangers, by thieves, or twice.

`untouched` compares everything that a core decides by, before and after, so "changes nothing" is
meant literally: no event, no answer, no moved deadline, only a count.
"""

import pytest

from tests.proto.helpers.network import OTHER_PSK, SERVER, Host, Network
from tests.proto.helpers.stories import bodies, frames, join, link_of, linked, sealed_by
from wangell_proto import Client, DropReason, Lane, LinkUp, Server
from wangell_proto.wire import DatagramType, pack_header

STRANGER = ("10.9.9.9", 99)


def situation(core: Client | Server) -> object:
    """Everything that what a core does next depends on."""
    links = core.links.values() if isinstance(core, Server) else core.links
    return (
        dict(core.records),
        core.version,
        core.next_deadline(),
        [
            (
                link.machine.state,
                link.address,
                channel.liveness.last_heard_at,
                channel.liveness.silence_deadline,
                channel.keyring.present.window.highest,
                channel.keyring.present.window._missing,
                channel.keyring.present.key_id,
                channel.sender.next_number,
                list(channel.sender.flight.packets),
                channel._acks.due_at,
                channel._window.highest,
            )
            for link in links
            if (channel := link.channel) is not None
        ],
    )


def refused(host: Host, datagram: bytes, source, network: Network, *, reason: DropReason) -> None:
    """Give a datagram to a core, and see that it is counted and does nothing else."""
    core = host.core
    assert core.datagrams_to_send(now=network.now) == []
    before, counted, events = situation(core), dict(core.drops), list(host.events)
    core.receive_datagram(datagram, source=source, now=network.now)
    assert core.next_event() is None
    assert host.events == events
    assert core.datagrams_to_send(now=network.now) == [], "it was answered"
    assert situation(core) == before
    changed = {key: core.drops[key] - counted[key] for key in counted}
    assert {key: count for key, count in changed.items() if count} == {reason: 1}


def captured(network: Network, source, destination) -> list[bytes]:
    """What went from one host to another, oldest first."""
    return [data for _, s, d, data in network.sent if (s, d) == (source, destination)]


def story() -> tuple[Network, Server, Host, Client, Host]:
    network = Network()
    server, server_host, client, client_host = linked(network)
    server.set_record("default/a", b"1")
    client.send(b"wake", lane=Lane.WAKE, now=network.now)
    server.send("n1", b"started", lane=Lane.STATE, now=network.now)
    network.run(0.01)
    return network, server, server_host, client, client_host


def test_every_datagram_that_was_ever_received_is_refused_when_replayed():
    network, _, server_host, _, client_host = story()
    to_server = captured(network, client_host.address, SERVER)
    to_client = captured(network, SERVER, client_host.address)
    assert len(to_server) > 5 and len(to_client) > 5
    for host, datagrams, source in (
        (server_host, to_server, client_host.address),
        (client_host, to_client, SERVER),
    ):
        for datagram in datagrams:
            kind = datagram[3]
            if kind == DatagramType.SEALED:
                refused(host, datagram, source, network, reason=DropReason.REPLAYED)
            elif host is client_host:
                refused(host, datagram, source, network, reason=DropReason.STALE_HANDSHAKE)


def test_a_replayed_handshake_is_refused_and_the_link_lives():
    network, server, server_host, client, client_host = story()
    first, second = [
        data for data in captured(network, client_host.address, SERVER)
        if data[3] == DatagramType.INITIATION
    ]  # fmt: skip
    refused(server_host, second, client_host.address, network,
            reason=DropReason.REPLAYED_HANDSHAKE)  # fmt: skip
    # The one without a cookie is answered with a cookie, as it was, to whoever sent it.
    server.receive_datagram(first, source=STRANGER, now=network.now)
    ((answer, address),) = server.datagrams_to_send(now=network.now)
    assert address == STRANGER
    assert len(answer) < len(first)
    assert len(server.links) == 1
    client.send(b"still here", lane=Lane.WAKE, now=network.now)
    network.run(0.01)
    assert b"still here" in bodies(server_host)


@pytest.mark.parametrize("end", ["server", "client"])
def test_a_truncated_datagram_is_refused_at_every_length(end: str):
    network, server, server_host, client, client_host = story()
    if end == "server":
        host, source, link = server_host, client_host.address, link_of(client)
    else:
        host, source, link = client_host, SERVER, server.links["n1"]
    datagram = sealed_by(link, frames([5], [2, 1, 2**40, 1, b"x" * 40]))
    for length in range(len(datagram)):
        short = length < 18 + 1 + 16
        reason = DropReason.TOO_SHORT if short else DropReason.BAD_TAG
        refused(host, datagram[:length], source, network, reason=reason)
    refused(host, datagram + b"x", source, network, reason=DropReason.BAD_TAG)


def test_a_reordered_datagram_is_used_within_the_window_and_refused_below_it():
    network, _, server_host, client, client_host = story()
    link = link_of(client)
    early = [sealed_by(link, frames([2, 1, 1000 + n, 0, b"early"])) for n in range(2)]
    link.channel.sender.next_number += 8190
    late = sealed_by(link, frames([6]))
    for datagram in (late, early[1]):
        server_host.core.receive_datagram(datagram, source=client_host.address, now=network.now)
    network.flush()
    assert bodies(server_host).count(b"early") == 1
    refused(server_host, early[0], client_host.address, network, reason=DropReason.TOO_OLD)


def test_a_datagram_of_one_session_is_refused_in_another():
    network, server, server_host, client, client_host = story()
    _, other_host = join(network, "n2")
    theirs = server.links["n2"].session.to_bytes(4, "big")
    datagram = bytearray(sealed_by(link_of(client), frames([5])))
    datagram[6:10] = theirs
    refused(server_host, bytes(datagram), client_host.address, network,
            reason=DropReason.WRONG_SOURCE)  # fmt: skip
    refused(server_host, bytes(datagram), other_host.address, network,
            reason=DropReason.BAD_TAG)  # fmt: skip


def test_a_session_belongs_to_the_address_that_proved_itself():
    network, _, server_host, client, client_host = story()
    datagram = sealed_by(link_of(client), frames([5]))
    refused(server_host, datagram, STRANGER, network, reason=DropReason.WRONG_SOURCE)
    refused(client_host, datagram, STRANGER, network, reason=DropReason.WRONG_SOURCE)


def test_a_datagram_is_refused_by_the_side_that_sent_it():
    network, server, server_host, client, client_host = story()
    to_server = sealed_by(link_of(client), frames([5]), number=10**6)
    session = link_of(client)._session.to_bytes(4, "big")
    reflected = to_server[:6] + session + to_server[10:]
    refused(client_host, reflected, SERVER, network, reason=DropReason.BAD_TAG)
    to_client = sealed_by(server.links["n1"], frames([5]), number=10**6)
    session = server.links["n1"].session.to_bytes(4, "big")
    reflected = to_client[:6] + session + to_client[10:]
    refused(server_host, reflected, client_host.address, network, reason=DropReason.BAD_TAG)


@pytest.mark.parametrize("end", ["server", "client"])
def test_an_unknown_session_or_key_is_refused(end: str):
    network, server, server_host, client, client_host = story()
    host, source = (server_host, client_host.address) if end == "server" else (client_host, SERVER)
    link = link_of(client) if end == "server" else server.links["n1"]
    datagram = bytearray(sealed_by(link, frames([5])))
    datagram[5] = 77
    refused(host, bytes(datagram), source, network, reason=DropReason.UNKNOWN_KEY)
    datagram[6] ^= 1
    refused(host, bytes(datagram), source, network, reason=DropReason.UNKNOWN_SESSION)


def test_a_handshake_under_another_key_is_refused_without_an_answer():
    network, _, server_host, _, _ = story()
    stranger, stranger_host = network.client("n9", psks=(OTHER_PSK,))
    stranger.handle_deadline(now=network.now)
    ((datagram, _),) = stranger.datagrams_to_send(now=network.now)
    refused(server_host, datagram, stranger_host.address, network, reason=DropReason.BAD_MAC)
    assert stranger.links[0].channel is None


@pytest.mark.parametrize(
    "kind", [DatagramType.RETRY, DatagramType.RESPONSE], ids=["retry", "response"]
)
def test_what_only_servers_send_is_refused_by_servers(kind: DatagramType):
    network, _, server_host, _, client_host = story()
    datagram = pack_header(kind, 0, 0, 1, 1) + bytes(60)
    refused(server_host, datagram, client_host.address, network, reason=DropReason.UNKNOWN_TYPE)


def test_what_only_clients_send_is_refused_by_clients():
    network, _, _, _, client_host = story()
    datagram = pack_header(DatagramType.INITIATION, 0, 0, 1, 1) + bytes(200)
    refused(client_host, datagram, SERVER, network, reason=DropReason.UNKNOWN_TYPE)


@pytest.mark.parametrize(
    ("datagram", "reason"),
    [
        (b"", DropReason.TOO_SHORT),
        (bytes(1201), DropReason.TOO_LONG),
        (bytes(100), DropReason.BAD_MAGIC),
        (b"WG\x09" + bytes(100), DropReason.BAD_VERSION),
        (b"WG\x01\x09" + bytes(100), DropReason.UNKNOWN_TYPE),
    ],
)
def test_noise_is_refused(datagram: bytes, reason: DropReason):
    network, _, server_host, _, client_host = story()
    refused(server_host, datagram, STRANGER, network, reason=reason)
    refused(client_host, datagram, SERVER, network, reason=reason)


def test_nothing_is_parsed_before_it_is_authenticated(monkeypatch: pytest.MonkeyPatch):
    network, _, server_host, client, client_host = story()
    datagram = bytearray(sealed_by(link_of(client), frames([5])))
    datagram[-1] ^= 1
    hello = _first_initiation(network, client_host)

    def parsed(*_: object, **__: object) -> None:
        raise AssertionError("parsed before it was authenticated")

    monkeypatch.setattr("msgpack.unpackb", parsed)
    refused(server_host, bytes(datagram), client_host.address, network, reason=DropReason.BAD_TAG)
    refused(server_host, _damaged(hello), client_host.address, network, reason=DropReason.BAD_MAC)


def _first_initiation(network: Network, host: Host) -> bytes:
    return captured(network, host.address, SERVER)[0]


def _damaged(datagram: bytes) -> bytes:
    return datagram[:60] + bytes([datagram[60] ^ 1]) + datagram[61:]


@pytest.mark.parametrize("seed", range(8))
def test_no_mutation_of_what_was_sent_changes_anything(seed: int):
    """Of authenticated datagrams every changed bit is caught; of handshakes too, by their MAC."""
    network, server, server_host, client, client_host = story()
    network.random.seed(seed)
    cookie_wanted = server.drops[DropReason.ADDRESS_UNPROVEN]
    for _ in range(150):
        to_server = network.random.random() < 0.5
        ends = (client_host.address, SERVER) if to_server else (SERVER, client_host.address)
        datagram = bytearray(network.random.choice(captured(network, *ends)))
        for _ in range(network.random.randrange(1, 4)):
            datagram[network.random.randrange(len(datagram))] ^= 1 << network.random.randrange(8)
        host = server_host if to_server else client_host
        before, events = situation(host.core), len(host.events)
        host.core.receive_datagram(bytes(datagram), source=ends[0], now=network.now)
        assert host.core.next_event() is None and len(host.events) == events
        assert situation(host.core) == before
        host.core.datagrams_to_send(now=network.now)
    assert server.drops[DropReason.ADDRESS_UNPROVEN] == cookie_wanted
    client.send(b"still here", lane=Lane.WAKE, now=network.now)
    network.run(0.01)
    assert b"still here" in bodies(server_host)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (DatagramType.RETRY, DropReason.BAD_MAC),
        (DatagramType.RESPONSE, DropReason.BAD_HANDSHAKE),
    ],
)
def test_a_forged_answer_to_a_handshake_leaves_the_true_one_its_effect(
    kind: DatagramType, reason: DropReason
):
    network = Network()
    network.server()
    client, client_host = network.client()
    forged: list[bytes] = []

    def forge(source, _destination, data: bytes) -> bool:
        if source == SERVER and data[3] == kind:
            forged.append(data[:-1] + bytes([data[-1] ^ 1]))
            client.receive_datagram(forged[-1], source=SERVER, now=network.now)
        return True

    network.watch = forge
    network.run_until(lambda: client_host.of(LinkUp))
    assert len(forged) == 1
    assert client.drops[reason] == 1
    assert sum(client.drops.values()) == 1
