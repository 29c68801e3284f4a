"""New keys under a link that goes on, and the rotation of pre-shared keys."""

import pytest

from tests.proto.helpers.network import OTHER_PSK, PSK, SERVER, Network, Path
from tests.proto.helpers.stories import bodies, frames, link_of, sealed_by
from wangell_proto import DropReason, Lane, LinkDown, LinkEnd, LinkUp, Timers
from wangell_proto.wire import DatagramType

TIMERS = Timers(rekey_after_s=10.0)


def key_ids(network: Network) -> list[int]:
    """The key generations of sealed datagrams in the order in which they were first used."""
    seen = [data[5] for *_, data in network.sent if data[3] == DatagramType.SEALED]
    return list(dict.fromkeys(seen))


def test_keys_are_renewed_by_time_and_nobody_notices():
    network = Network()
    server, server_host, client, client_host = linked_with(network, TIMERS)
    for _ in range(350):
        client.send(b"up", lane=Lane.STATE, now=network.now)
        server.send("n1", b"down", lane=Lane.STATE, now=network.now)
        network.run(0.1)
    assert len(bodies(server_host)) == len(bodies(client_host)) == 350
    assert not client_host.of(LinkDown) and not server_host.of(LinkDown)


def linked_with(network: Network, timers: Timers):
    server, server_host = network.server(timers=timers)
    client, client_host = network.client(timers=timers)
    network.run_until(lambda: client_host.of(LinkUp))
    network.run(0.01)
    return server, server_host, client, client_host


def test_generations_follow_each_other_every_ten_seconds():
    network = Network()
    server, server_host, client, client_host = linked_with(network, TIMERS)
    network.run(34.9)
    assert key_ids(network) == [0, 1, 2, 3]
    assert len(server_host.of(LinkUp)) == len(client_host.of(LinkUp)) == 1
    assert link_of(client).channel.keyring.present.key_id == 3
    assert server.links["n1"].channel.keyring.present.key_id == 3


def test_both_directions_turn_to_the_new_keys_and_the_old_ones_end():
    network = Network()
    server, server_host, client, client_host = linked_with(network, TIMERS)
    old = sealed_by(link_of(client), frames([5]))
    late = sealed_by(link_of(client), frames([5]))
    network.run(10.1)
    new_ids = {data[5] for at, *_, data in network.sent if at > 1010.05}
    server_host.core.receive_datagram(old, source=client_host.address, now=network.now)
    assert server.drops[DropReason.UNKNOWN_KEY] == 0
    network.run(3.5)
    server_host.core.receive_datagram(late, source=client_host.address, now=network.now)
    assert server.drops[DropReason.UNKNOWN_KEY] == 1
    assert new_ids <= {0, 1}


def test_keys_are_renewed_by_packets_sealed_on_either_side():
    network = Network()
    timers = Timers(rekey_after_packets=50)
    server, _, client, client_host = linked_with(network, timers)
    for _ in range(60):
        client.send(b"x", lane=Lane.WAKE, now=network.now)
        network.run(0.1)
    assert link_of(client).channel.keyring.present.key_id >= 1
    renewed = link_of(client).channel.keyring.present.key_id
    for _ in range(120):  # The client only acknowledges each second one.
        server.send("n1", b"x", lane=Lane.STATE, now=network.now)
        server.send("n1", b"y", lane=Lane.STATE, now=network.now)
        network.run(0.05)
    assert link_of(client).channel.keyring.present.key_id > renewed
    assert not client_host.of(LinkDown)


@pytest.mark.parametrize("seed", range(10))
def test_renewal_survives_a_bad_network(seed: int):
    network = Network(seed)
    _, server_host, client, client_host = linked_with(network, Timers(rekey_after_s=5.0))
    network.default = Path(loss=0.2, duplication=0.3, jitter_s=0.05)
    for _ in range(100):
        client.send(b"x", lane=Lane.STATE, now=network.now)
        network.run(0.3)
    network.heal()
    network.run(5)
    assert len(bodies(server_host)) == 100
    assert len(set(key_ids(network))) >= 5
    assert not client_host.of(LinkDown)


def test_a_renewal_that_was_overtaken_is_refused():
    network = Network()
    server, _server_host, client, client_host = linked_with(network, TIMERS)
    held: list[bytes] = []

    def hold(source, destination, data: bytes) -> bool:
        if destination == SERVER and data[3] == DatagramType.INITIATION and len(held) < 1:
            held.append(data)
            return False
        return True

    network.watch = hold
    network.run(11)
    assert link_of(client).channel.keyring.present.key_id == 1
    server.receive_datagram(held[0], source=client_host.address, now=network.now)
    network.run(0.01)
    assert server.drops[DropReason.STALE_HANDSHAKE] == 1
    network.run(5)
    assert not client_host.of(LinkDown)


def test_a_renewal_for_a_link_that_is_not_ours_is_refused():
    network = Network()
    server, _, _, _ = linked_with(network, TIMERS)
    thief, thief_host = network.client("n2")
    network.run_until(lambda: thief_host.of(LinkUp))
    link = link_of(thief)
    for session in (server.links["n1"].session, 12345):
        link._server_session = session
        link._dial(network.now, resumes=session)
        network.run(0.02)
        link._attempt = None
    assert server.drops[DropReason.UNKNOWN_SESSION] == 2
    assert link_of(thief).channel.keyring.present.key_id == 0


def test_a_server_ends_a_link_whose_keys_are_never_renewed():
    network = Network()
    _server, server_host = network.server(timers=TIMERS)
    _client, client_host = network.client(timers=Timers(rekey_after_s=1e6))
    network.run_until(lambda: client_host.of(LinkUp))
    network.run(19)
    assert not client_host.of(LinkDown)
    network.run(2)
    assert [event.reason for event in server_host.of(LinkDown)] == [LinkEnd.KEY_WITHDRAWN]
    assert [event.reason for event in client_host.of(LinkDown)] == [LinkEnd.KEY_WITHDRAWN]
    assert len(client_host.of(LinkUp)) == 2  # It dials anew, with new keys.


# --- Rotation ---


def test_a_rotation_loses_no_link_and_no_message():
    network = Network()
    server, server_host, client, client_host = linked_with(network, Timers())
    steps = [
        lambda: server.set_psks((PSK, OTHER_PSK), now=network.now),
        lambda: client.set_psks((OTHER_PSK, PSK), now=network.now),
        lambda: server.set_psks((OTHER_PSK,), now=network.now),
        lambda: client.set_psks((OTHER_PSK,), now=network.now),
    ]
    for step in steps:
        step()
        for _ in range(20):
            client.send(b"x", lane=Lane.WAKE, now=network.now)
            network.run(0.2)
    assert len(bodies(server_host)) == 80
    assert not client_host.of(LinkDown) and not server_host.of(LinkDown)
    assert server.links["n1"].channel.keyring.present.psk == OTHER_PSK


def test_a_client_with_both_keys_follows_a_server_that_withdraws_one():
    network = Network()
    server, _server_host, client, client_host = linked_with(network, Timers())
    client.set_psks((PSK, OTHER_PSK), now=network.now)
    server.set_psks((OTHER_PSK,), now=network.now)
    network.run(10)
    assert server.links["n1"].channel.keyring.present.psk == OTHER_PSK
    assert not client_host.of(LinkDown)


def test_sessions_of_a_withdrawn_key_end_within_ten_seconds():
    network = Network()
    server, _server_host, _client, client_host = linked_with(network, Timers())
    withdrawn_at = network.now
    server.set_psks((OTHER_PSK,), now=network.now)
    network.run_until(lambda: client_host.of(LinkDown), within=10)
    assert network.now - withdrawn_at <= 10
    assert client_host.of(LinkDown)[0].reason is LinkEnd.KEY_WITHDRAWN
    assert server.links == {}
    network.run(10)
    assert len(client_host.of(LinkUp)) == 1  # It does not come back with that key.
    assert server.drops[DropReason.BAD_MAC] > 5


def test_a_handshake_half_done_under_a_withdrawn_key_ends_at_once():
    network = Network()
    server, server_host = network.server()
    _client, _client_host = network.client()
    network.watch = lambda source, _, data: (
        not (source != SERVER and data[3] == DatagramType.SEALED)
    )
    network.run(0.01)
    assert len(server._links) == 1
    server.set_psks((OTHER_PSK,), now=network.now)
    assert len(server._links) == 0
    network.watch = None
    network.run(5)
    assert not server_host.of(LinkUp) and not server_host.of(LinkDown)
