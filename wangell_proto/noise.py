"""Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s, the two messages of it, after revision 34.

    IKpsk2:  <- s   ...   -> e, es, s, ss    <- e, ee, se, psk

No library on PyPI that implements it is kept up, and this is all of it that is needed. Ephemeral
keys are passed in. Tested against the vectors of cacophony, as snow ships them.
"""

import copy
import hashlib
import hmac

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from wangell_proto.constants import KEY_BYTES, NONCE, TAG_BYTES

__all__ = ["HandshakeError", "Initiator", "PrivateKey", "Responder", "public_key"]

PROTOCOL_NAME = b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s"
INITIATION_OVERHEAD_BYTES = KEY_BYTES + KEY_BYTES + TAG_BYTES + TAG_BYTES
RESPONSE_OVERHEAD_BYTES = KEY_BYTES + TAG_BYTES


class HandshakeError(Exception):
    """A handshake message that is not what the other side should have sent."""


class PrivateKey:
    """An X25519 key, read once: reading it costs as much as using it."""

    __slots__ = ("_key", "public")

    def __init__(self, private: bytes) -> None:
        self._key = X25519PrivateKey.from_private_bytes(private)
        self.public = self._key.public_key().public_bytes_raw()

    def exchange(self, public: bytes) -> bytes:
        """Return the shared secret. Raises HandshakeError on an unusable public key."""
        try:
            return self._key.exchange(X25519PublicKey.from_public_bytes(public))
        except ValueError as error:  # A point of low order: the result would be all zeros.
            raise HandshakeError("not a usable public key") from error


def public_key(private: bytes) -> bytes:
    """Return the public half of an X25519 key, both of 32 bytes."""
    return PrivateKey(private).public


def _hkdf(chaining_key: bytes, material: bytes, outputs: int) -> list[bytes]:
    secret = hmac.digest(chaining_key, material, hashlib.blake2s)
    output, out = b"", []
    for index in range(1, outputs + 1):
        output = hmac.digest(secret, output + bytes([index]), hashlib.blake2s)
        out.append(output)
    return out


class _SymmetricState:
    """Sections 5.1 and 5.2 of the specification in one: there is never more than one cipher."""

    def __init__(self, prologue: bytes) -> None:
        self._hash = hashlib.blake2s(PROTOCOL_NAME).digest()
        self._chaining_key = self._hash
        self._key = b""
        self._nonce = 0
        self.mix_hash(prologue)

    @property
    def handshake_hash(self) -> bytes:
        return self._hash

    def mix_hash(self, data: bytes) -> None:
        self._hash = hashlib.blake2s(self._hash + data).digest()

    def mix_key(self, material: bytes) -> None:
        self._chaining_key, self._key = _hkdf(self._chaining_key, material, 2)
        self._nonce = 0

    def mix_key_and_hash(self, material: bytes) -> None:
        self._chaining_key, mixed, self._key = _hkdf(self._chaining_key, material, 3)
        self.mix_hash(mixed)
        self._nonce = 0

    def mix_ephemeral(self, public: bytes) -> None:
        # With a pre-shared key the ephemeral is mixed into the key as well (section 9.2).
        self.mix_hash(public)
        self.mix_key(public)

    def encrypt_and_hash(self, plaintext: bytes) -> bytes:
        sealed = ChaCha20Poly1305(self._key).encrypt(NONCE.pack(self._nonce), plaintext, self._hash)
        self._nonce += 1
        self.mix_hash(sealed)
        return sealed

    def decrypt_and_hash(self, sealed: bytes) -> bytes:
        try:
            plaintext = ChaCha20Poly1305(self._key).decrypt(
                NONCE.pack(self._nonce), sealed, self._hash
            )
        except InvalidTag as error:
            raise HandshakeError("authentication failed") from error
        self._nonce += 1
        self.mix_hash(sealed)
        return plaintext

    def split(self) -> tuple[bytes, bytes]:
        """Return the initiator's sealing key and the responder's."""
        first, second = _hkdf(self._chaining_key, b"", 2)
        return first, second


class Initiator:
    """The side that knows the other's static key beforehand."""

    def __init__(
        self, *, static: PrivateKey, ephemeral: bytes, remote_static: bytes, prologue: bytes
    ) -> None:
        self._static = static
        self._ephemeral = PrivateKey(ephemeral)
        self._remote_static = remote_static
        self._symmetric = _SymmetricState(prologue)
        self._symmetric.mix_hash(remote_static)

    def write_initiation(self, payload: bytes) -> bytes:
        """Return the first message: -> e, es, s, ss. Raises HandshakeError on an unusable key."""
        symmetric = self._symmetric
        symmetric.mix_ephemeral(self._ephemeral.public)
        symmetric.mix_key(self._ephemeral.exchange(self._remote_static))
        sealed_static = symmetric.encrypt_and_hash(self._static.public)
        symmetric.mix_key(self._static.exchange(self._remote_static))
        return self._ephemeral.public + sealed_static + symmetric.encrypt_and_hash(payload)

    def read_response(self, message: bytes, *, psk: bytes) -> bytes:
        """Return the payload of the second message: <- e, ee, se, psk. Raises HandshakeError."""
        if len(message) < RESPONSE_OVERHEAD_BYTES:
            raise HandshakeError("too short")
        symmetric, remote_ephemeral = self._symmetric, message[:KEY_BYTES]
        symmetric.mix_ephemeral(remote_ephemeral)
        symmetric.mix_key(self._ephemeral.exchange(remote_ephemeral))
        symmetric.mix_key(self._static.exchange(remote_ephemeral))
        symmetric.mix_key_and_hash(psk)
        return symmetric.decrypt_and_hash(message[KEY_BYTES:])

    def fork(self) -> "Initiator":
        """Return a copy to read a response with: a forged one must not spoil the original."""
        other = copy.copy(self)
        other._symmetric = copy.copy(self._symmetric)
        return other

    def keys(self) -> tuple[bytes, bytes]:
        """Return the keys to seal and to open with."""
        return self._symmetric.split()

    @property
    def handshake_hash(self) -> bytes:
        """What both sides have agreed on, for channel binding and for tests."""
        return self._symmetric.handshake_hash


class Responder:
    """The side whose static key is known."""

    def __init__(self, *, static: PrivateKey, prologue: bytes) -> None:
        self._static = static
        self._symmetric = _SymmetricState(prologue)
        self._symmetric.mix_hash(static.public)
        self._remote_ephemeral = b""
        self.remote_static = b""

    def read_initiation(self, message: bytes) -> bytes:
        """Return the payload of the first message. Raises HandshakeError."""
        if len(message) < INITIATION_OVERHEAD_BYTES:
            raise HandshakeError("too short")
        symmetric, sealed_end = self._symmetric, KEY_BYTES + KEY_BYTES + TAG_BYTES
        self._remote_ephemeral = message[:KEY_BYTES]
        symmetric.mix_ephemeral(self._remote_ephemeral)
        symmetric.mix_key(self._static.exchange(self._remote_ephemeral))
        self.remote_static = symmetric.decrypt_and_hash(message[KEY_BYTES:sealed_end])
        symmetric.mix_key(self._static.exchange(self.remote_static))
        return symmetric.decrypt_and_hash(message[sealed_end:])

    def write_response(self, payload: bytes, *, ephemeral: bytes, psk: bytes) -> bytes:
        """Return the second message."""
        symmetric, ours = self._symmetric, PrivateKey(ephemeral)
        symmetric.mix_ephemeral(ours.public)
        symmetric.mix_key(ours.exchange(self._remote_ephemeral))
        symmetric.mix_key(ours.exchange(self.remote_static))
        symmetric.mix_key_and_hash(psk)
        return ours.public + symmetric.encrypt_and_hash(payload)

    def keys(self) -> tuple[bytes, bytes]:
        """Return the keys to seal and to open with."""
        initiators, responders = self._symmetric.split()
        return responders, initiators

    @property
    def handshake_hash(self) -> bytes:
        """What both sides have agreed on, for channel binding and for tests."""
        return self._symmetric.handshake_hash
