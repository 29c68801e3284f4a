"""What the kernel, Ctrl-C and a caller's callbacks may do to a link on a real socket."""

import asyncio
import errno
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.proto.test_aio import (
    PRIVATE_KEY,
    PSK,
    Log,
    Stage,
    counting,
    play,
    reported_by_the_loop,
)
from wangell_proto import (
    DropReason,
    Event,
    Lane,
    LinkDown,
    LinkEnd,
    LinkUp,
    MessageAcknowledged,
    MessageReceived,
    RecordChanged,
    ServerConfig,
    TableSynced,
    Timers,
)
from wangell_proto.aio import RECEIVE_BUFFER_BYTES, ClientLink, ServerLink, open_server


class Refusing:
    """A socket that refuses so many datagrams before it sends the next."""

    def __init__(self, watched: socket.socket, refusals: int, error: int) -> None:
        self.watched = watched
        self.refusals = refusals
        self.error = error
        self.sent = 0
        self._sends = asyncio.Event()

    async def until(self, sent: int) -> None:
        while self.sent < sent:
            self._sends.clear()
            await self._sends.wait()

    def sendto(self, datagram: bytes, address: object) -> int:
        if self.refusals:
            self.refusals -= 1
            raise OSError(self.error, "refused")
        self.sent += 1
        self._sends.set()
        return self.watched.sendto(datagram, address)

    def __getattr__(self, name: str) -> object:
        return getattr(self.watched, name)


def refusing(link: ClientLink | ServerLink, times: int, error: int) -> Refusing:
    link._socket = Refusing(link._socket, times, error)
    return link._socket


@pytest.mark.parametrize("error", [errno.EAGAIN, errno.ENOBUFS, errno.EPERM, errno.ENETUNREACH])
def test_what_the_kernel_does_not_send_is_sent_again(error: int):
    async def story(stage: Stage) -> None:
        _, server_log, client, client_log = await stage.linked()
        reported = reported_by_the_loop()
        refusing(client, 1, error)
        client.send(b"wake", lane=Lane.WAKE)
        assert client.drops[DropReason.SEND_FAILED] == 1
        await client_log.until(lambda: client_log.of(MessageAcknowledged))
        assert [event.body for event in server_log.of(MessageReceived)] == [b"wake"]
        assert client.drops[DropReason.SEND_FAILED] == 1
        assert not client_log.of(LinkDown)
        assert reported == []

    play(story)


def test_a_server_that_may_not_answer_one_peer_answers_the_next():
    async def story(stage: Stage) -> None:
        server, _, _, client_log = await stage.linked()
        other_log = Log()
        await stage.client(other_log, server, name="n2")
        await other_log.until(lambda: other_log.of(TableSynced))
        gate = refusing(server, 1, errno.EAGAIN)
        server.set_record("default/a", b"1")
        await client_log.until(lambda: client_log.of(RecordChanged))
        await other_log.until(lambda: other_log.of(RecordChanged))
        assert gate.refusals == 0
        assert server.drops[DropReason.SEND_FAILED] == 1

    play(story)


def test_a_port_that_nobody_listens_on_yet_is_dialled_until_somebody_does():
    async def story(stage: Stage) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as reserved:
            reserved.bind(("127.0.0.1", 0))
            address = reserved.getsockname()
        reported = reported_by_the_loop()
        client_log, server_log = Log(), Log()
        client = await stage.client(client_log, servers=(address,))
        gate = refusing(client, 0, 0)
        async with asyncio.timeout(10):
            await gate.until(2)  # Each is answered by ICMP: port unreachable.
        assert client_log.events == []
        server = await open_server(
            ServerConfig(private_key=PRIVATE_KEY, psks=(PSK,), epoch=1), address, server_log
        )
        stage._links.append(server)
        await client_log.until(lambda: client_log.of(LinkUp))
        assert client.drops[DropReason.SEND_FAILED] == 0
        assert reported == []

    play(story)


def test_a_server_on_every_address_takes_ipv4_and_ipv6():
    async def story(stage: Stage) -> None:
        server_log = Log()
        server = await stage.server(server_log, "::")
        port = server.address[1]
        logs = Log(), Log()
        await stage.client(logs[0], servers=(("127.0.0.1", port),), name="v4")
        await stage.client(logs[1], servers=(("::1", port),), name="v6")
        for log in logs:
            await log.until(lambda log=log: log.of(TableSynced))
        server.send("v4", b"x", lane=Lane.STATE)
        server.send("v6", b"x", lane=Lane.STATE)
        for log in logs:
            await log.until(lambda log=log: log.of(MessageReceived))
        assert server.peers["v4"].address[0] == "::ffff:127.0.0.1"
        assert server.peers["v6"].address[0] == "::1"

    play(story)


def test_the_receive_buffer_holds_what_was_asked_for_or_what_the_machine_allows():
    allowed = int(Path("/proc/sys/net/core/rmem_max").read_text())

    async def story(stage: Stage) -> None:
        server = await stage.server(Log())
        held = server._socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        # The kernel doubles what it is asked for, to pay for its own bookkeeping.
        assert held in (2 * RECEIVE_BUFFER_BYTES, 2 * min(RECEIVE_BUFFER_BYTES, allowed))

    play(story)


def closing(link: ClientLink, kind: type, log: Log) -> Callable[[Event], None]:
    """A callback that closes its link at an event of this kind."""

    def on_event(event: Event) -> None:
        log(event)
        if isinstance(event, kind):
            link.close()

    return on_event


def test_a_client_may_close_itself_in_a_callback():
    async def story(stage: Stage) -> None:
        server, server_log, client, client_log = await stage.linked()
        reported = reported_by_the_loop()
        client._on_event = closing(client, MessageReceived, client_log)
        server.send("n1", b"go", lane=Lane.STATE)
        await server_log.until(lambda: server_log.of(LinkDown))
        assert server_log.of(LinkDown)[0].reason is LinkEnd.GOODBYE
        assert client_log.of(LinkDown)[0].reason is LinkEnd.CLOSED
        assert client._timer is None or client._timer.cancelled()
        assert reported == []

    play(story)


def test_a_client_may_close_itself_when_a_timer_tells_it_of_the_end():
    async def story(stage: Stage) -> None:
        timers = Timers(ping_after_s=0.1, ping_interval_s=0.05, dead_after_s=0.3)
        server, client_log = await stage.server(Log()), Log()
        client = await stage.client(client_log, server, timers=timers)
        await client_log.until(lambda: client_log.of(TableSynced))
        reported = reported_by_the_loop()
        client._on_event = closing(client, LinkDown, client_log)
        server.core.close = lambda **_: None  # Killed: it says no goodbye.
        server.close()
        await client_log.until(lambda: client_log.of(LinkDown))
        assert client._timer is None  # It does not dial again.
        assert client_log.of(LinkDown)[0].reason is LinkEnd.SILENCE
        assert reported == []

    play(story)


def test_ctrl_c_says_goodbye_where_the_caller_closes_what_it_opened():
    server_log = Log()

    async def story(stage: Stage) -> None:
        server = await stage.server(server_log)
        client_log = Log()
        client = await stage.client(client_log, server)
        await client_log.until(lambda: client_log.of(TableSynced))
        try:
            signal.raise_signal(signal.SIGINT)  # asyncio.run cancels its task for it.
            await asyncio.sleep(10)
        finally:
            client.close()
            await server_log.until(lambda: server_log.of(LinkDown))

    with pytest.raises(KeyboardInterrupt):
        play(story)
    (ended,) = server_log.of(LinkDown)
    assert ended.reason is LinkEnd.GOODBYE


def test_a_callback_that_is_interrupted_leaves_a_link_that_can_be_closed():
    server_log, client_log = Log(), Log()

    async def story(stage: Stage) -> None:
        server = await stage.server(server_log)
        client = await stage.client(client_log, server)
        await client_log.until(lambda: client_log.of(TableSynced))

        def interrupt(event: Event) -> None:
            if isinstance(event, MessageReceived):
                raise KeyboardInterrupt
            server_log(event)

        server._on_event = interrupt
        client.send(b"wake", lane=Lane.WAKE)
        try:
            await asyncio.sleep(10)
        finally:
            # What the callback was told is not told again; the rest of the link is whole.
            assert not server._is_dispatching
            await client_log.until(lambda: client_log.of(MessageAcknowledged))
            client.close()
            await server_log.until(lambda: server_log.of(LinkDown))

    with pytest.raises(KeyboardInterrupt):
        play(story)
    assert server_log.of(LinkDown)[0].reason is LinkEnd.GOODBYE


def test_drops_go_on_being_counted_where_the_kernels_count_wraps():
    async def story(stage: Stage) -> None:
        server = await stage.server(Log())
        counted = counting(server)
        counted._changed = asyncio.Event()
        for total in (2**32 - 3, 2**32 - 1, 4, 4):
            server._count_overflows([(socket.SOL_SOCKET, 40, total.to_bytes(4, "little"))])
        assert counted[DropReason.KERNEL_QUEUE_FULL] == 2**32 + 4

    play(story)
