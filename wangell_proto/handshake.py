"""The datagrams that start a session, around the two Noise messages.

    INITIATION  header | cookie 16 | piece of Noise message 1 | MAC 16     client to server
    RETRY       header | cookie 16 | MAC 16                                server to client
    RESPONSE    header | Noise message 2                                   server to client

The MAC is keyed by the pre-shared key and the server's public key: a stranger costs one hash and
gets no answer. The cookie proves the address: without a fresh one the answer is a RETRY, which is
smaller than what it answers and needs no memory. Only then is there a Diffie-Hellman to compute.
A credential may make the first message longer than a datagram: then it comes in pieces of equal
size, numbered in the header's flags, of which the first alone is sent until the address is proved.
"""

import hashlib
import hmac
from dataclasses import dataclass
from typing import Any

import msgpack

from wangell_proto.constants import (
    COOKIE_BYTES,
    HEADER_BYTES,
    INCARNATION_BYTES,
    MAC_BYTES,
    PEER_NAME_CHARS_MAX,
    PIECE_BYTES_MAX,
    VERSION,
)
from wangell_proto.noise import (
    INITIATION_OVERHEAD_BYTES,
    RESPONSE_OVERHEAD_BYTES,
    HandshakeError,
)
from wangell_proto.packing import pack
from wangell_proto.wire import DatagramType, pack_header

__all__ = [
    "NO_COOKIE",
    "Greeting",
    "Reply",
    "mac_key",
    "pack_initiation",
    "pack_response",
    "pack_retry",
    "parse_greeting",
    "parse_reply",
    "prologue",
    "read_retry",
    "split_initiation",
]

NO_COOKIE = bytes(COOKIE_BYTES)
# A greeting is at least a name of one character, an incarnation and two more items.
INITIATION_BYTES_MIN = HEADER_BYTES + COOKIE_BYTES + INITIATION_OVERHEAD_BYTES + MAC_BYTES
RETRY_BYTES = HEADER_BYTES + COOKIE_BYTES + MAC_BYTES
RESPONSE_BYTES_MIN = HEADER_BYTES + RESPONSE_OVERHEAD_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class Greeting:
    """The payload of the first Noise message."""

    name: str
    incarnation: bytes
    "Drawn by the client's process at its start"
    resumes: int
    "The server's session whose keys this renews; 0 for a new link"
    credential: bytes

    def pack(self) -> bytes:
        """Return it as msgpack."""
        return pack([self.name, self.incarnation, self.resumes, self.credential])


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """The payload of the second Noise message."""

    session: int
    "What the client puts into its headers from now on"
    key_id: int
    incarnation: bytes
    "Drawn by the server when it first met this peer, or met it again after forgetting it"

    def pack(self) -> bytes:
        """Return it as msgpack."""
        return pack([self.session, self.key_id, self.incarnation])


def mac_key(psk: bytes, server_public_key: bytes) -> bytes:
    """Return the key of the handshake's MACs. Compare `wireguard-go`'s mac1."""
    return hashlib.blake2s(b"wangell handshake" + server_public_key, key=psk).digest()


def _mac(key: bytes, content: bytes) -> bytes:
    return hashlib.blake2s(content, key=key, digest_size=MAC_BYTES).digest()


def prologue(session: int) -> bytes:
    """Return what both sides must agree on before the first byte: version and client's session."""
    return b"wangell" + bytes([VERSION]) + session.to_bytes(4, "big")


def pack_initiation(
    noise: bytes, *, key: bytes, cookie: bytes, session: int, attempt: int
) -> list[bytes]:
    """Return the INITIATIONs, one a piece. `session` is the client's, `attempt` the answer's too.

    The pieces are equally long, so that none is shorter than the answer.
    """
    count = -(-len(noise) // PIECE_BYTES_MAX)
    size = -(-len(noise) // count)
    out = []
    for index in range(count):
        flags = (count - 1) << 4 | index
        header = pack_header(DatagramType.INITIATION, flags, 0, session, attempt)
        content = header + cookie + noise[index * size : (index + 1) * size]
        out.append(content + _mac(key, content))
    return out


def split_initiation(
    datagram: bytes, keys: dict[bytes, bytes]
) -> tuple[bytes, bytes, bytes, bytes] | None:
    """Return (psk, cookie, Noise message, MAC), or None if no key made this MAC."""
    content, mac = datagram[:-MAC_BYTES], datagram[-MAC_BYTES:]
    for psk, key in keys.items():
        if hmac.compare_digest(mac, _mac(key, content)):
            body = content[HEADER_BYTES:]
            return psk, body[:COOKIE_BYTES], body[COOKIE_BYTES:], mac
    return None


def _retry_mac(key: bytes, content: bytes, initiation_mac: bytes) -> bytes:
    return _mac(key, b"retry" + initiation_mac + content)


def pack_retry(
    cookie: bytes, *, key: bytes, initiation_mac: bytes, session: int, attempt: int
) -> bytes:
    """Return a RETRY, bound to the very INITIATION that it answers."""
    content = pack_header(DatagramType.RETRY, 0, 0, session, attempt) + cookie
    return content + _retry_mac(key, content, initiation_mac)


def read_retry(datagram: bytes, *, key: bytes, initiation_mac: bytes) -> bytes | None:
    """Return the cookie, or None if this answers another INITIATION or was forged."""
    content, mac = datagram[:-MAC_BYTES], datagram[-MAC_BYTES:]
    if not hmac.compare_digest(mac, _retry_mac(key, content, initiation_mac)):
        return None
    return content[HEADER_BYTES:]


def pack_response(noise: bytes, *, session: int, attempt: int) -> bytes:
    """Return a RESPONSE to the client's `session`."""
    return pack_header(DatagramType.RESPONSE, 0, 0, session, attempt) + noise


def _unpack(payload: bytes, shape: tuple[type, ...]) -> list[Any]:
    try:
        items = msgpack.unpackb(payload, max_ext_len=0, max_map_len=0)
    except (ValueError, msgpack.UnpackException) as error:
        raise HandshakeError("payload is not msgpack") from error
    if type(items) is not list or tuple(map(type, items)) != shape:
        raise HandshakeError("payload has another shape")
    return items


def parse_greeting(payload: bytes) -> Greeting:
    """Return what a client says of itself. Raises HandshakeError."""
    name, incarnation, resumes, credential = _unpack(payload, (str, bytes, int, bytes))
    if not 0 < len(name) <= PEER_NAME_CHARS_MAX or len(incarnation) != INCARNATION_BYTES:
        raise HandshakeError("name or incarnation out of bounds")
    if not 0 <= resumes < 2**32:
        raise HandshakeError("session out of bounds")
    return Greeting(name=name, incarnation=incarnation, resumes=resumes, credential=credential)


def parse_reply(payload: bytes) -> Reply:
    """Return what a server says. Raises HandshakeError."""
    session, key_id, incarnation = _unpack(payload, (int, int, bytes))
    if not 0 < session < 2**32 or not 0 <= key_id < 256 or len(incarnation) != INCARNATION_BYTES:
        raise HandshakeError("session, key or incarnation out of bounds")
    return Reply(session=session, key_id=key_id, incarnation=incarnation)
