"""A daemon was stolen, with everything that it had: its key, the pre-shared key and its token.

It can say what it likes for its own node, until its token expires. These are the things it cannot.
"""

import pytest

from tests.proto.helpers.network import PRIVATE_KEY, PSK, SERVER, Host, Network
from tests.proto.helpers.stories import bodies, link_of
from wangell_proto import (
    Client,
    DropReason,
    Lane,
    LinkDown,
    LinkUp,
    MessageReceived,
    PeerAsks,
    RecordChanged,
    Server,
    ServerConfig,
)
from wangell_proto.noise import PrivateKey

# Its own key: for the server's, it has nothing better.
STOLEN_KEY = b"stolen key of n2" * 2
THIEF = ("10.6.6.6", 666)
TOKENS = {b"token of n1": "n1", b"token of n2": "n2"}


class Controller:
    """An application that holds each peer to the node that its token names."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.server, self.host = network.server(judges_credentials=True)
        self.host.on_event = self._on_event

    def _on_event(self, event: object) -> None:
        if isinstance(event, PeerAsks):
            if TOKENS.get(event.credential) == event.peer:
                self.server.admit(event.request, now=self.network.now)
            else:
                self.server.refuse(event.request, now=self.network.now)


def theft() -> tuple[Network, Controller, Client, Host, Client, Host]:
    """Two nodes are linked; the thief has all that n2 had."""
    network = Network()
    controller = Controller(network)
    controller.server.set_record("default/a", b"10.0.9.1:8080")
    honest, honest_host = network.client("n1", credential=b"token of n1")
    stolen, stolen_host = network.client("n2", credential=b"token of n2")
    stolen._static = PrivateKey(STOLEN_KEY)
    network.run_until(lambda: honest.records and stolen.records)
    return network, controller, honest, honest_host, stolen, stolen_host


def test_it_can_report_as_itself():
    network, controller, _, _, stolen, _ = theft()
    stolen.send(b"pod of n2", lane=Lane.STATE, now=network.now)
    network.run(0.1)
    (event,) = controller.host.of(MessageReceived)
    assert event.peer == "n2"


def test_it_cannot_report_for_another_node():
    network, controller, _, honest_host, stolen, _ = theft()
    impostor, impostor_host = network.client("n1", address=THIEF, credential=b"token of n2")
    impostor._static = stolen._static
    impostor.send(b"pod of n1", lane=Lane.WAKE, now=network.now)
    network.run(5)
    assert bodies(controller.host) == []
    assert controller.server.drops[DropReason.REFUSED] >= 2
    assert not impostor_host.of(LinkUp)
    assert not honest_host.of(LinkDown)
    # The peer of a message is that of its link, and no message says otherwise.
    stolen.send(b"pod of n1", lane=Lane.WAKE, now=network.now)
    network.run(0.1)
    assert [event.peer for event in controller.host.of(MessageReceived)] == ["n2"]


def test_it_cannot_pose_as_a_controller_to_another_node():
    """Without the static private key it can answer an INITIATION only with nonsense."""
    network, _, honest, honest_host, _, _ = theft()
    forger = Server(
        ServerConfig(private_key=STOLEN_KEY, psks=(PSK,), epoch=99),
        random=network.random.randbytes,
    )
    forger.set_record("default/a", b"10.6.6.6:666")
    # It even holds the network: everything the node sends to its controller arrives here.
    network.attach(forger, SERVER)
    network.run(30)
    assert honest_host.of(LinkDown) and len(honest_host.of(LinkUp)) == 1
    assert dict(honest.records) == {"default/a": b"10.0.9.1:8080"}
    assert honest.epoch == 1
    assert sum(forger.drops.values()) > 10
    assert forger.links == {}
    assert PRIVATE_KEY != STOLEN_KEY


def test_it_cannot_slip_a_datagram_into_another_nodes_link():
    network, controller, honest, honest_host, stolen, stolen_host = theft()
    keys = link_of(stolen).channel.keyring.present
    session = link_of(honest)._session
    forged = keys.seal(b"\x91\x95\x02\x03\x63\x63\xc4\x00", session=session, number=10**6)
    honest.receive_datagram(forged, source=SERVER, now=network.now)
    assert honest.drops[DropReason.BAD_TAG] == 1
    # Its own traffic, sent on to the other node by whoever holds the network:
    for _, source, destination, data in list(network.sent):
        if (source, destination) == (SERVER, stolen_host.address):
            honest.receive_datagram(data, source=SERVER, now=network.now)
    network.run(1)
    assert len(honest_host.of(RecordChanged)) == 1
    assert not honest_host.of(LinkDown)
    assert set(controller.server.links) == {"n1", "n2"}


def test_it_cannot_write_the_table():
    network, controller, honest, _, stolen, _ = theft()
    for kind in (3, 5, 7, 8):  # TABLE and the other things that servers say.
        datagram = link_of(stolen).channel.sender.seal(
            [b"\x95\x02" + bytes([kind]) + b"\x63\x63\xc4\x00"], [], network.now
        )
        controller.server.receive_datagram(datagram, source=("10.1.0.2", 5000), now=network.now)
    network.run(1)
    assert controller.server.drops[DropReason.NOT_ADMITTED] == 4
    assert dict(controller.server.records) == {"default/a": b"10.0.9.1:8080"}
    assert dict(honest.records) == dict(controller.server.records)


def test_it_cannot_read_what_it_recorded_of_another_node():
    network, _, honest, _, _, stolen_host = theft()
    honest.send(b"very private", lane=Lane.WAKE, now=network.now)
    network.run(0.1)
    assert not [data for *_, data in network.sent if b"private" in data]
    assert stolen_host.of(MessageReceived) == []


def test_its_higher_epoch_does_not_move_the_controller():
    """A client may tell of an epoch; the server only reports it, and its peers stay."""
    network, controller, honest, _, stolen, _ = theft()
    stolen._epoch_seen = 10**6
    network.run(3)
    assert controller.server.epoch == 1
    controller.server.set_record("default/a", b"changed")
    network.run(0.1)
    assert dict(honest.records) == {"default/a": b"changed"}


@pytest.mark.parametrize("credential", [b"", b"token of n1"])
def test_another_nodes_token_admits_only_to_that_node(credential: bytes):
    network, controller, *_ = theft()
    _, host = network.client("n3", address=THIEF, credential=credential)
    network.run(3)
    assert not host.of(LinkUp)
    assert set(controller.server.links) == {"n1", "n2"}
