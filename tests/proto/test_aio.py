"""Client and server on real sockets of the loopback interface."""

import asyncio
import os
import socket
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from wangell_proto import (
    ClientConfig,
    DropReason,
    Event,
    Lane,
    LinkDown,
    LinkEnd,
    LinkRefused,
    LinkUp,
    LocalProtocolError,
    MessageAcknowledged,
    MessageReceived,
    PeerAsks,
    RecordChanged,
    ServerConfig,
    Superseded,
    TableSynced,
    Timers,
    public_key,
)
from wangell_proto.aio import (
    DATAGRAMS_PER_TURN,
    LOOK_EVERY,
    SO_RCVBUFFORCE,
    ClientLink,
    ServerLink,
    _widen,
    open_client,
    open_server,
)

PRIVATE_KEY, PSK, OTHER_PSK = os.urandom(32), os.urandom(32), os.urandom(32)


class Log:
    """Events as they come, and a way to wait for one."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._arrived = asyncio.Event()

    def __call__(self, event: Event) -> None:
        self.events.append(event)
        self._arrived.set()

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                self._arrived.clear()
                await self._arrived.wait()


class CountingDrops(dict[DropReason, int]):
    """Drops, and a way to wait for a count of them: they come without an event."""

    _changed: asyncio.Event

    def __setitem__(self, reason: DropReason, count: int) -> None:
        super().__setitem__(reason, count)
        self._changed.set()

    async def until(self, reason: DropReason, count: int) -> None:
        self._changed = asyncio.Event()
        async with asyncio.timeout(10):
            while self[reason] < count:
                self._changed.clear()
                await self._changed.wait()


def counting(link: ServerLink | ClientLink) -> CountingDrops:
    link._core.drops = drops = CountingDrops(link._core.drops)
    return drops


class Stage:
    """Servers and clients that are closed when the story ends, however it ends."""

    def __init__(self) -> None:
        self._links: list[ServerLink | ClientLink] = []

    async def server(self, log: Log, host: str = "127.0.0.1", **config: object) -> ServerLink:
        settings: dict[str, Any] = {"private_key": PRIVATE_KEY, "psks": (PSK,), "epoch": 1}
        link = await open_server(ServerConfig(**settings | config), (host, 0), log)
        self._links.append(link)
        return link

    async def client(self, log: Log, *servers: ServerLink, **config: object) -> ClientLink:
        settings: dict[str, Any] = {
            "name": "n1",
            "servers": tuple(server.address[:2] for server in servers),
            "server_public_key": public_key(PRIVATE_KEY),
            "psks": (PSK,),
        }
        link = await open_client(ClientConfig(**settings | config), log)
        self._links.append(link)
        return link

    async def linked(self) -> tuple[ServerLink, Log, ClientLink, Log]:
        server_log, client_log = Log(), Log()
        server = await self.server(server_log)
        client = await self.client(client_log, server)
        await client_log.until(lambda: client_log.of(TableSynced))
        return server, server_log, client, client_log

    def close(self) -> None:
        for link in self._links:
            link.close()


def reported_by_the_loop() -> list[dict]:
    """What the loop is told of callbacks that failed."""
    reported: list[dict] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
    return reported


def play(story: Callable[[Stage], Coroutine[None, None, None]]) -> None:
    """Run a story on a loop of its own; a descriptor it leaves open is an error by the settings."""

    async def whole() -> None:
        stage = Stage()
        try:
            await story(stage)
        finally:
            stage.close()

    asyncio.run(whole())


def test_wakes_records_and_goodbye_over_loopback():
    async def story(stage: Stage) -> None:
        server, server_log, client, client_log = await stage.linked()
        assert [event.peer for event in server_log.of(LinkUp)] == ["n1"]
        sent = client.send(b"wake", lane=Lane.WAKE)
        await client_log.until(lambda: client_log.of(MessageAcknowledged))
        (acknowledged,) = client_log.of(MessageAcknowledged)
        assert acknowledged.message_id == sent
        assert 0 < acknowledged.rtt_s < 1
        assert [event.body for event in server_log.of(MessageReceived)] == [b"wake"]

        server.send("n1", b"started", lane=Lane.STATE)
        server.set_record("default/a", b"1")
        server.set_record("default/b", b"1")
        await client_log.until(lambda: len(client_log.of(RecordChanged)) == 2)
        server.delete_record("default/a")
        await client_log.until(lambda: client_log.of(MessageReceived) and len(client.records) == 1)
        assert dict(client.records) == {"default/b": b"1"}

        assert client.rtt_s is not None
        assert 0 < client.rtt_s < 1
        view = server.peers["n1"]
        assert view.address[1] == client.address[1]
        assert 0 < view.rtt_s < 1
        assert view.last_heard_s >= 0
        client.close()
        client.close()
        await server_log.until(lambda: server_log.of(LinkDown))
        assert server_log.of(LinkDown)[0].reason is LinkEnd.GOODBYE
        assert server.peers == {}
        assert client.rtt_s is None

    play(story)


def test_records_that_are_set_in_one_turn_leave_together():
    async def story(stage: Stage) -> None:
        server, _, client, client_log = await stage.linked()
        before = server.core._links[next(iter(server.core._links))].channel.sender.next_number
        for index in range(20):
            server.set_record(f"default/{index}", b"x")
        await client_log.until(lambda: len(client.records) == 20)
        after = server.core._links[next(iter(server.core._links))].channel.sender.next_number
        assert after - before <= 2

    play(story)


def test_a_change_that_the_loop_did_not_live_to_send_harms_nothing():
    async def story(stage: Stage) -> None:
        server, _, _, _ = await stage.linked()
        server.set_record("default/a", b"x")
        server.close()
        await asyncio.sleep(0)

    play(story)


@contextmanager
def sends_of(link: ServerLink | ClientLink) -> Iterator[list[bytes]]:
    """The datagrams that a link sends in the block, which leave all the same."""
    sent: list[bytes] = []
    real = link._socket

    class Watching:
        def sendto(self, datagram: bytes, address: object) -> int:
            sent.append(datagram)
            return real.sendto(datagram, address)

        def __getattr__(self, name: str) -> object:
            return getattr(real, name)

    link._socket = Watching()
    try:
        yield sent
    finally:
        link._socket = real


def test_a_message_leaves_in_the_call_that_sends_it():
    async def story(stage: Stage) -> None:
        _server, _, client, _ = await stage.linked()
        with sends_of(client) as sent:
            client.send(b"wake", lane=Lane.WAKE)
            assert len(sent) == 1

    play(story)


def test_what_is_no_wake_leaves_in_one_datagram_with_a_record_and_the_acknowledgement():
    async def story(stage: Stage) -> None:
        server, server_log, client, client_log = await stage.linked()

        def answer(event: Event) -> None:
            server_log(event)
            if isinstance(event, MessageReceived):
                server.send(event.peer, b"started", lane=Lane.STATE)
                server.set_record("default/a", b"x")
                assert sent == []

        server._on_event = answer
        with sends_of(server) as sent:
            client.send(b"wake", lane=Lane.WAKE)
            await client_log.until(lambda: client_log.of(MessageReceived))
            assert len(sent) == 1
        assert client.records["default/a"] == b"x"

    play(story)


def test_an_answer_leaves_in_the_callback_with_the_acknowledgement():
    async def story(stage: Stage) -> None:
        server, server_log, client, client_log = await stage.linked()

        def answer(event: Event) -> None:
            server_log(event)
            if isinstance(event, MessageReceived):
                server.send(event.peer, b"started", lane=Lane.WAKE)

        server._on_event = answer
        session = server.core.links["n1"].channel.sender
        before = session.next_number
        client.send(b"wake", lane=Lane.WAKE)
        await client_log.until(lambda: client_log.of(MessageReceived))
        await client_log.until(lambda: client_log.of(MessageAcknowledged))
        assert session.next_number == before + 1  # One datagram: answer and acknowledgement.

    play(story)


def test_a_callback_that_fails_does_not_stop_the_link():
    async def story(stage: Stage) -> None:
        server, server_log, client, client_log = await stage.linked()
        reported: list[dict] = []
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: reported.append(context)
        )

        def fail(event: Event) -> None:
            server_log(event)
            assert not isinstance(event, MessageReceived), "a defect of the application"

        server._on_event = fail
        for _ in range(3):
            client.send(b"wake", lane=Lane.WAKE)
        await client_log.until(lambda: len(client_log.of(MessageAcknowledged)) == 3)
        assert len(server_log.of(MessageReceived)) == 3
        assert len(reported) == 3
        for context in reported:
            assert "a defect of the application" in str(context["exception"])

    play(story)


def test_a_callback_that_fails_at_a_timer_does_not_stop_the_timers():
    async def story(stage: Stage) -> None:
        timers = Timers(ping_after_s=0.1, ping_interval_s=0.05, dead_after_s=0.3)
        server, client_log = await stage.server(Log()), Log()
        client = await stage.client(client_log, server, timers=timers)
        await client_log.until(lambda: client_log.of(TableSynced))
        reported: list[dict] = []
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: reported.append(context)
        )

        def fail(event: Event) -> None:
            client_log(event)
            assert not isinstance(event, LinkDown), "a defect of the application"

        client._on_event = fail
        port = server.address[1]
        server.core.close = lambda **_: None  # Killed: it says no goodbye.
        server.close()
        await client_log.until(lambda: client_log.of(LinkDown))
        again_log = Log()
        config = ServerConfig(private_key=PRIVATE_KEY, psks=(PSK,), epoch=1)
        again = await open_server(config, ("127.0.0.1", port), again_log)
        await again_log.until(lambda: again_log.of(LinkUp))
        again.close()
        assert "a defect of the application" in str(reported[0]["exception"])

    play(story)


def test_a_callback_may_close_its_link():
    async def story(stage: Stage) -> None:
        server, server_log, client, _ = await stage.linked()
        other_log = Log()
        other = await stage.client(other_log, server, name="n2")
        await other_log.until(lambda: other_log.of(LinkUp))

        def close(event: Event) -> None:
            server_log(event)
            if isinstance(event, MessageReceived):
                server.close()

        server._on_event = close
        client.send(b"one", lane=Lane.WAKE)
        other.send(b"two", lane=Lane.WAKE)
        server._has_backlog = True  # Several are read in one turn.
        await other_log.until(lambda: other_log.of(LinkDown))
        assert [event.body for event in server_log.of(MessageReceived)] == [b"one"]
        assert len(server_log.of(LinkDown)) == 2

    play(story)


def test_a_wrong_pre_shared_key_is_refused_without_an_answer_and_counted():
    async def story(stage: Stage) -> None:
        server_log, client_log = Log(), Log()
        server = await stage.server(server_log)
        client = await stage.client(client_log, server, psks=(OTHER_PSK,))
        await counting(server).until(DropReason.BAD_MAC, 2)
        assert server_log.events == []
        assert client_log.events == []
        assert sum(client.drops.values()) == 0  # Nothing came back that could be dropped.
        assert client.rtt_s is None

    play(story)


def test_rotation_of_keys_and_servers_through_the_adapter():
    async def story(stage: Stage) -> None:
        server, server_log, client, client_log = await stage.linked()
        server.set_psks((PSK, OTHER_PSK))
        client.set_psks((OTHER_PSK, PSK))
        client.set_credential(b"renewed")
        server.set_psks((OTHER_PSK,))
        ring = server.core.links["n1"].channel.keyring
        client.send(b"x", lane=Lane.WAKE)
        await server_log.until(lambda: server_log.of(MessageReceived))
        async with asyncio.timeout(5):
            while ring.present.psk != OTHER_PSK:
                client.send(b"x", lane=Lane.WAKE)
                acknowledged = len(client_log.of(MessageAcknowledged))
                await client_log.until(
                    lambda: len(client_log.of(MessageAcknowledged)) > acknowledged  # noqa: B023
                )
        assert not client_log.of(LinkDown)
        second_log = Log()
        second = await stage.server(second_log, psks=(OTHER_PSK,))
        client.set_servers((second.address[:2],))
        await second_log.until(lambda: second_log.of(LinkUp))
        await server_log.until(lambda: server_log.of(LinkDown))

    play(story)


def test_admission_through_the_adapter():
    async def story(stage: Stage) -> None:
        server_log, client_log = Log(), Log()
        server = await stage.server(server_log, judges_credentials=True)
        await stage.client(client_log, server, credential=b"token")
        await server_log.until(lambda: server_log.of(PeerAsks))
        server.refuse(server_log.of(PeerAsks)[0].request)
        await client_log.until(lambda: client_log.of(LinkRefused))
        await server_log.until(lambda: len(server_log.of(PeerAsks)) == 2)
        server.admit(server_log.of(PeerAsks)[1].request)
        assert server_log.of(LinkUp)  # In the same call.
        await client_log.until(lambda: client_log.of(LinkUp))

    play(story)


def test_a_callback_may_answer_at_once_and_its_events_come_after_it():
    async def story(stage: Stage) -> None:
        server_log, client_log = Log(), Log()
        server = await stage.server(server_log, judges_credentials=True)

        def judge(event: Event) -> None:
            if isinstance(event, PeerAsks):
                server.admit(event.request)
                assert not server_log.events
            server_log(event)

        server._on_event = judge
        await stage.client(client_log, server, credential=b"token")
        await client_log.until(lambda: client_log.of(LinkUp))
        assert [type(event) for event in server_log.events] == [PeerAsks, LinkUp]

    play(story)


def test_a_higher_epoch_and_a_withheld_table_through_the_adapter():
    async def story(stage: Stage) -> None:
        logs = Log(), Log()
        first = await stage.server(logs[0])
        second = await stage.server(logs[1], serves_table=False)
        client_log = Log()
        client = await stage.client(client_log, first, second)
        await client_log.until(lambda: len(client_log.of(LinkUp)) == 2)
        second.set_record("default/a", b"1")
        second.raise_epoch(2)
        second.serve_table(is_complete=True)
        await client_log.until(lambda: client.records)
        assert client.core.primary.address == second.address
        await logs[0].until(lambda: logs[0].of(Superseded))
        with pytest.raises(LocalProtocolError):
            second.raise_epoch(1)

    play(story)


def test_ipv6():
    async def story(stage: Stage) -> None:
        server_log, client_log = Log(), Log()
        server = await stage.server(server_log, "::1")
        client = await stage.client(client_log, server)
        await client_log.until(lambda: client_log.of(TableSynced))
        client.send(b"wake", lane=Lane.WAKE)
        await server_log.until(lambda: server_log.of(MessageReceived))

    play(story)


def test_datagrams_that_the_kernel_had_no_room_for_are_counted():
    async def story(stage: Stage) -> None:
        server = await stage.server(Log())
        server._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            for _ in range(300):  # Nobody reads meanwhile: this is one turn of the loop.
                stranger.sendto(bytes(1000), server.address)
            await counting(server).until(DropReason.BAD_MAGIC, 1)
            stranger.sendto(bytes(1000), server.address)
            drops = counting(server)
            await drops.until(DropReason.KERNEL_QUEUE_FULL, 1)
            # All that was sent and not read is in the count.
            await drops.until(DropReason.BAD_MAGIC, 301 - drops[DropReason.KERNEL_QUEUE_FULL])

    play(story)


@pytest.mark.parametrize("may_force", [True, False])
def test_the_receive_buffer_is_as_large_as_may_be(may_force: bool):
    asked: list[int] = []

    class Socket:
        def setsockopt(self, _level: int, option: int, _value: int) -> None:
            asked.append(option)
            if option == SO_RCVBUFFORCE and not may_force:
                raise PermissionError

    _widen(Socket())
    assert asked == ([SO_RCVBUFFORCE] if may_force else [SO_RCVBUFFORCE, socket.SO_RCVBUF])


def test_a_flood_leaves_the_loop_its_turns():
    async def story(stage: Stage) -> None:
        server = await stage.server(Log())
        drops = counting(server)
        drops._changed = asyncio.Event()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            for _ in range(DATAGRAMS_PER_TURN + 4):
                stranger.sendto(b"noise", server.address)
        server._on_readable()
        assert drops[DropReason.TOO_SHORT] == 1  # Mostly there is one to read.
        server._turns = LOOK_EVERY - 1
        server._on_readable()
        assert drops[DropReason.TOO_SHORT] == 1 + DATAGRAMS_PER_TURN
        server._on_readable()
        assert drops[DropReason.TOO_SHORT] == 4 + DATAGRAMS_PER_TURN
        server._on_readable()  # Called for nothing it finds nothing.
        assert not server._has_backlog
        assert drops[DropReason.TOO_SHORT] == 4 + DATAGRAMS_PER_TURN

    play(story)


def test_a_datagram_that_the_kernel_will_not_send_is_counted_and_the_client_goes_on():
    async def story(stage: Stage) -> None:
        log = Log()
        client = await stage.client(log, servers=(("255.255.255.255", 9),))  # Broadcast: EACCES.
        assert client.drops[DropReason.SEND_FAILED] == 1
        await counting(client).until(DropReason.SEND_FAILED, 2)
        assert log.events == []

    play(story)


def test_an_address_that_cannot_be_bound_leaves_no_socket_behind():
    async def story(stage: Stage) -> None:
        server = await stage.server(Log())
        with pytest.raises(OSError, match="in use"):
            await open_server(server.core.config, server.address, Log())

    play(story)


@pytest.mark.parametrize(
    ("servers", "message"),
    [
        ((("controller.default.svc", 7946),), "is no IP address; resolve it first"),
        ((("127.0.0.1", 7946), ("::1", 7946)), "all IPv4 or all IPv6"),
    ],
)
def test_servers_that_one_socket_cannot_reach_are_refused(servers: tuple, message: str):
    async def story(stage: Stage) -> None:
        with pytest.raises(LocalProtocolError, match=message):
            await stage.client(Log(), servers=servers)
        client = await stage.client(Log(), servers=(("127.0.0.1", 7946),))
        with pytest.raises(LocalProtocolError, match=message):
            client.set_servers(servers)
        assert [link.address for link in client.core.links] == [("127.0.0.1", 7946)]

    play(story)


def test_a_bind_address_must_be_one():
    with pytest.raises(LocalProtocolError, match="resolve it first"):
        asyncio.run(
            open_server(
                ServerConfig(private_key=PRIVATE_KEY, psks=(PSK,), epoch=1),
                ("localhost", 0),
                Log(),
            )
        )
