"""What a caller may ask for, and the words in which it is refused."""

import pytest

from tests.proto.helpers.network import Network
from wangell_proto import (
    ClientConfig,
    Lane,
    LocalProtocolError,
    ServerConfig,
    UnknownPeerError,
)

KEY = bytes(32)
CLIENT = {"name": "n1", "servers": (("10.0.0.1", 1),), "server_public_key": KEY, "psks": (KEY,)}
SERVER = {"private_key": KEY, "psks": (KEY,), "epoch": 1}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": ""}, "name: 1 to 253"),
        ({"name": "n" * 254}, "name: 1 to 253"),
        ({"name": "n\ud800"}, "characters that UTF-8 has"),
        ({"servers": ()}, "servers: give 1 to 4"),
        ({"servers": tuple((f"10.0.0.{n}", 1) for n in range(5))}, "servers: give 1 to 4"),
        ({"servers": (("10.0.0.1", 1),) * 2}, "given twice"),
        ({"server_public_key": b"short"}, "server_public_key: 32 bytes, not 5"),
        ({"psks": ()}, "psks: give one, or two while rotating, not 0"),
        ({"psks": (KEY, b"a" * 32, b"b" * 32)}, "not 3"),
        ({"psks": (KEY, KEY)}, "given twice"),
        ({"psks": (b"short",)}, "psks: each is 32 bytes, not 5"),
        ({"credential": bytes(4097)}, "credential: at most 4096"),
        ({"record_prefixes": ("",)}, "none empty"),
        ({"record_prefixes": ("a",) * 17}, "at most 16"),
    ],
)
def test_a_client_that_cannot_work_is_refused(change: dict, message: str):
    with pytest.raises(LocalProtocolError, match=message):
        ClientConfig(**CLIENT | change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"private_key": b"x"}, "private_key: 32 bytes, not 1"),
        ({"psks": ()}, "psks: give one"),
        ({"epoch": -1}, "epoch: 0 to"),
        ({"epoch": 2**62}, "epoch: 0 to"),
    ],
)
def test_a_server_that_cannot_work_is_refused(change: dict, message: str):
    with pytest.raises(LocalProtocolError, match=message):
        ServerConfig(**SERVER | change)


def test_no_secret_is_in_the_text_of_a_config():
    client = ClientConfig(**CLIENT | {"psks": (b"s" * 32,), "credential": b"token"})
    server = ServerConfig(**SERVER | {"private_key": b"p" * 32})
    for text in (repr(client), repr(server)):
        for secret in ("ssss", "token", "pppp"):
            assert secret not in text


def test_messages_longer_than_their_lane_takes_are_refused():
    network = Network()
    client, _ = network.client()
    with pytest.raises(LocalProtocolError, match="lane WAKE has at most 900 bytes, not 901"):
        client.send(bytes(901), lane=Lane.WAKE, now=network.now)
    with pytest.raises(LocalProtocolError, match="lane BULK has at most 65536"):
        client.send(bytes(65537), lane=Lane.BULK, now=network.now)
    assert len(client.outbox) == 0
    assert client.send(bytes(900), lane=Lane.WAKE, now=network.now) == 1


def test_an_unknown_peer_is_the_callers_mistake():
    network = Network()
    server, _ = network.server()
    with pytest.raises(UnknownPeerError, match="nobody is not linked; send after its LinkUp"):
        server.send("nobody", b"", lane=Lane.STATE, now=network.now)


def test_an_epoch_can_only_be_raised():
    network = Network()
    server, _ = network.server(epoch=5)
    with pytest.raises(LocalProtocolError, match="epoch 4 is below 5"):
        server.raise_epoch(4, now=network.now)
    server.raise_epoch(6, now=network.now)
    assert server.epoch == 6


def test_keys_credentials_and_servers_are_checked_when_they_change_too():
    network = Network()
    server, _ = network.server()
    client, _ = network.client()
    for call in (
        lambda: server.set_psks((), now=network.now),
        lambda: client.set_psks((b"x",), now=network.now),
        lambda: client.set_credential(bytes(4097)),
        lambda: client.set_servers((), now=network.now),
    ):
        with pytest.raises(LocalProtocolError):
            call()
