"""A fixed conversation, byte for byte: `python -m tests.proto.helpers.golden` writes its vectors.

Everything that is drawn comes from one counter and time is given, so another implementation that
draws the same must send the same. Written anew only when the wire format changes on purpose.
"""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

from wangell_proto import Client, ClientConfig, Lane, Server, ServerConfig, public_key

VECTORS = Path(__file__).parents[1] / "vectors" / "wire.json"
PRIVATE_KEY, PSK = bytes(range(32)), bytes(range(32, 64))
SERVER, CLIENT = ("10.0.0.1", 7946), ("10.1.0.1", 5000)
START = 1000.0


def drawn(label: str) -> Callable[[int], bytes]:
    """Bytes that look random and are the same for everybody: BLAKE2s of label and counter."""
    count = 0

    def draw(size: int) -> bytes:
        nonlocal count
        count += 1
        return hashlib.blake2s(f"{label} {count}".encode()).digest()[:size]

    return draw


def conversation() -> list[dict[str, str]]:
    """Return who sends what: handshake, table, wake, a long message, a change, a goodbye."""
    server = Server(
        ServerConfig(private_key=PRIVATE_KEY, psks=(PSK,), epoch=7), random=drawn("server")
    )
    client = Client(
        ClientConfig(
            name="n1",
            servers=(SERVER,),
            server_public_key=public_key(PRIVATE_KEY),
            psks=(PSK,),
            credential=b"token",
        ),
        random=drawn("client"),
        now=START,
    )
    server.set_record("default/a", b"10.46.100.105:80")
    said: list[dict[str, str]] = []

    def exchange(what: str, now: float) -> None:
        # A millisecond a turn, until both have nothing left to say.
        for turn in range(20):
            at = now + turn / 1000
            for core in (client, server):
                deadline = core.next_deadline()
                if deadline is not None and deadline <= at:
                    core.handle_deadline(now=at)
            for data, _ in client.datagrams_to_send(now=at):
                said.append({"what": what, "from": "client", "datagram": data.hex()})
                server.receive_datagram(data, source=CLIENT, now=at)
            for data, _ in server.datagrams_to_send(now=at):
                said.append({"what": what, "from": "server", "datagram": data.hex()})
                client.receive_datagram(data, source=SERVER, now=at)

    exchange("handshake and table", START)
    client.send(b"wake", lane=Lane.WAKE, now=START + 1)
    exchange("wake and heartbeats", START + 1)
    server.send("n1", bytes(range(256)) * 10, lane=Lane.BULK, now=START + 2)
    exchange("a message in three fragments", START + 2)
    server.delete_record("default/a")
    exchange("a deletion", START + 2.5)
    client.close(now=START + 3)
    exchange("goodbye", START + 3)
    assert dict(client.records) == {}
    return said


if __name__ == "__main__":
    VECTORS.write_text(json.dumps({"datagrams": conversation()}, indent=1) + "\n")
