"""IKpsk2 against the vectors that cacophony published and snow ships."""

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from wangell_proto.constants import NONCE
from wangell_proto.noise import HandshakeError, Initiator, PrivateKey, Responder, public_key

VECTORS = json.loads((Path(__file__).parent / "vectors" / "noise_ikpsk2.json").read_text())
(VECTOR,) = (
    vector
    for vector in VECTORS["vectors"]
    if vector["protocol_name"] == "Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s"
)


def field(name: str) -> bytes:
    return bytes.fromhex(VECTOR[name])


PSK = bytes.fromhex(VECTOR["init_psks"][0])
MESSAGES = [
    (bytes.fromhex(message["payload"]), bytes.fromhex(message["ciphertext"]))
    for message in VECTOR["messages"]
]


def initiator() -> Initiator:
    return Initiator(
        static=PrivateKey(field("init_static")),
        ephemeral=field("init_ephemeral"),
        remote_static=field("init_remote_static"),
        prologue=field("init_prologue"),
    )


def responder() -> Responder:
    return Responder(static=PrivateKey(field("resp_static")), prologue=field("resp_prologue"))


def shaken() -> tuple[Initiator, Responder]:
    client, server = initiator(), responder()
    server.read_initiation(client.write_initiation(b""))
    client.read_response(
        server.write_response(b"", ephemeral=field("resp_ephemeral"), psk=PSK), psk=PSK
    )
    return client, server


def test_handshake_messages_are_those_of_the_vector():
    client, server = initiator(), responder()
    (first, first_sealed), (second, second_sealed) = MESSAGES[:2]
    assert client.write_initiation(first) == first_sealed
    assert server.read_initiation(first_sealed) == first
    assert server.remote_static == public_key(field("init_static"))
    response = server.write_response(second, ephemeral=field("resp_ephemeral"), psk=PSK)
    assert response == second_sealed
    assert client.read_response(second_sealed, psk=PSK) == second
    assert client.handshake_hash == server.handshake_hash == field("handshake_hash")


def test_transport_messages_are_those_of_the_vector():
    client, server = initiator(), responder()
    server.read_initiation(client.write_initiation(MESSAGES[0][0]))
    response = server.write_response(MESSAGES[1][0], ephemeral=field("resp_ephemeral"), psk=PSK)
    client.read_response(response, psk=PSK)
    (client_seals, client_opens), (server_seals, server_opens) = client.keys(), server.keys()
    assert (client_seals, client_opens) == (server_opens, server_seals)
    # The vector continues initiator, responder, initiator, responder, each with its own counter.
    for index, (payload, sealed) in enumerate(MESSAGES[2:]):
        key = client_seals if index % 2 == 0 else server_seals
        assert ChaCha20Poly1305(key).encrypt(NONCE.pack(index // 2), payload, b"") == sealed


@pytest.mark.parametrize("position", range(0, 96, 5))
def test_a_damaged_initiation_is_refused(position: int):
    message = bytearray(initiator().write_initiation(b""))
    message[position] ^= 1
    with pytest.raises(HandshakeError):
        responder().read_initiation(bytes(message))


@pytest.mark.parametrize("position", range(0, 48, 3))
def test_a_damaged_response_is_refused(position: int):
    client, server = initiator(), responder()
    server.read_initiation(client.write_initiation(b""))
    response = bytearray(server.write_response(b"", ephemeral=field("resp_ephemeral"), psk=PSK))
    response[position] ^= 1
    with pytest.raises(HandshakeError):
        client.read_response(bytes(response), psk=PSK)


def test_another_pre_shared_key_is_refused():
    client, server = initiator(), responder()
    server.read_initiation(client.write_initiation(b""))
    response = server.write_response(b"", ephemeral=field("resp_ephemeral"), psk=bytes(32))
    with pytest.raises(HandshakeError, match="authentication failed"):
        client.read_response(response, psk=PSK)


def test_another_prologue_is_refused():
    stranger = Initiator(
        static=PrivateKey(field("init_static")),
        ephemeral=field("init_ephemeral"),
        remote_static=field("init_remote_static"),
        prologue=b"another",
    )
    with pytest.raises(HandshakeError, match="authentication failed"):
        responder().read_initiation(stranger.write_initiation(b""))


def test_a_point_of_low_order_is_refused():
    message = bytes(32) + initiator().write_initiation(b"")[32:]
    with pytest.raises(HandshakeError, match="not a usable public key"):
        responder().read_initiation(message)


def test_short_messages_are_refused():
    with pytest.raises(HandshakeError, match="too short"):
        responder().read_initiation(bytes(95))
    with pytest.raises(HandshakeError, match="too short"):
        initiator().read_response(bytes(47), psk=PSK)


def test_keys_depend_on_both_ephemerals_and_differ_by_direction():
    client, server = shaken()
    sealing, opening = client.keys()
    assert sealing != opening
    assert server.keys() == (opening, sealing)
