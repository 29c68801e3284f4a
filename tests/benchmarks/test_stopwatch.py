"""Parts of a wake, from what two sockets noted."""

import pytest

from benchmarks.proto.stopwatch import PARTS, Stopwatch, split

US = 1e-6


def test_each_part_lies_between_two_notes():
    client = {"sent_at": [1 * US], "read_at": [15 * US]}
    server = {"read_at": [3 * US], "sent_at": [7 * US]}
    parts = split([(0.0, 31 * US)], client, server)
    assert parts == dict(zip(PARTS, [1.0, 2.0, 4.0, 8.0, 16.0], strict=True))


def test_parts_are_medians_and_a_call_that_a_heartbeat_disturbed_does_not_count():
    calls, client, server = [], {"sent_at": [], "read_at": []}, {"read_at": [], "sent_at": []}
    for turn in range(5):
        at = float(turn)
        calls.append((at, 50 * US))
        client["sent_at"].append(at + 10 * US)
        server["read_at"].append(at + 20 * US)
        server["sent_at"].append(at + 30 * US)
        client["read_at"].append(at + 40 * US)
    calls.append((5.0, 50 * US))  # Its acknowledgement was read before it was sent: not its own.
    client["sent_at"].append(5.0 + 60 * US)
    assert split(calls, client, server) == pytest.approx(dict.fromkeys(PARTS, 10.0))


def test_it_is_the_socket_it_watches():
    class Socket:
        def recvmsg(self, *arguments: int) -> tuple[int, ...]:
            return arguments

        def sendto(self, *arguments: object) -> int:
            return len(arguments)

        def fileno(self) -> int:
            return 7

    watch = Stopwatch(Socket())
    assert watch.recvmsg(2048, 32) == (2048, 32)
    assert watch.sendto(b"x", ("10.0.0.1", 1)) == 2
    assert watch.fileno() == 7
    assert len(watch.read_at) == len(watch.sent_at) == 1
    assert watch.read_at <= watch.sent_at
