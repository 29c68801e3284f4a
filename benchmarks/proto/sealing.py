"""What a wake costs to encode and seal, and to open and decode, without a socket."""

import os
import statistics
import time
from collections.abc import Callable

from benchmarks.proto.plan import Plan
from benchmarks.proto.samples import WAKE, Keys
from wangell_proto import Client, DropReason, Server
from wangell_proto.keyring import Keyring
from wangell_proto.outbox import Message
from wangell_proto.sender import Sender
from wangell_proto.wire import Kind, parse_body, parse_header

__all__ = ["measure"]

BATCH = 1009  # Prime: in step with nothing.
CLIENT, SERVER = ("10.0.0.2", 1), ("10.0.0.1", 2)


def measure(plan: Plan, tick: Callable[[], None]) -> dict[str, float]:
    """Return `seal_us` and `open_us`: medians of batches, so that who else runs hardly counts."""
    sender, keyring = _linked()
    seal_us, open_us = [], []
    for _ in range(plan.seal_batches):
        messages = [_wake(number) for number in range(BATCH)]
        started_at = time.perf_counter()
        # What Sender does for a wake that travels alone, without its bookkeeping.
        sealed = [sender.seal([sender._frame((each, 0), 1.0)], [], 1.0) for each in messages]
        between = time.perf_counter()
        opened = [_open(keyring, datagram) for datagram in sealed]
        ended_at = time.perf_counter()
        assert all(opened)
        seal_us.append((between - started_at) / BATCH * 1e6)
        open_us.append((ended_at - between) / BATCH * 1e6)
        tick()
    return {
        "seal_us": round(statistics.median(seal_us), 2),
        "open_us": round(statistics.median(open_us), 2),
    }


def _linked() -> tuple[Sender, Keyring]:
    """Return a client's sender and the keyring of the server's link to it."""
    keys = Keys.drawn()
    server = Server(keys.server_config(epoch=1, serves_table=False), random=os.urandom)
    client = Client(keys.client_config("one", [SERVER]), random=os.urandom, now=0.0)
    client.handle_deadline(now=0.0)
    while "one" not in server.links or not client.links[0].is_up:
        for datagram, _ in client.datagrams_to_send(now=0.0):
            server.receive_datagram(datagram, source=CLIENT, now=0.0)
        for datagram, _ in server.datagrams_to_send(now=0.0):
            client.receive_datagram(datagram, source=SERVER, now=0.0)
    channel = client.links[0].channel
    assert channel is not None
    return channel.sender, server.links["one"].channel.keyring


def _wake(number: int) -> Message:
    message = Message(Kind.WAKE, WAKE, message_id=number, epoch=3)
    message.sequence = number
    return message


def _open(keyring: Keyring, datagram: bytes) -> object:
    header = parse_header(datagram)
    assert not isinstance(header, DropReason)
    body = keyring.open(datagram, header[2], header[4], 1.0)
    assert not isinstance(body, DropReason)
    return parse_body(body)
