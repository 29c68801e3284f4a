"""Client and server on real sockets of the loopback interface."""

import asyncio
import os
from collections.abc import Callable

from wangell_proto import (
    ClientConfig,
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
    public_key,
)
from wangell_proto.aio import ClientLink, ServerLink, open_client, open_server

PRIVATE_KEY, PSK = os.urandom(32), os.urandom(32)


class Log:
    """Events as they come, and a way to wait for one."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._arrived = asyncio.Event()

    def __call__(self, event: Event) -> None:
        self.events.append(event)
        self._arrived.set()

    def of(self, kind: type) -> list[Event]:
        return [event for event in self.events if isinstance(event, kind)]

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(5):
            while not condition():
                self._arrived.clear()
                await self._arrived.wait()


async def server(log: Log, **config: object) -> ServerLink:
    settings = {"private_key": PRIVATE_KEY, "psks": (PSK,), "epoch": 1, **config}
    return await open_server(ServerConfig(**settings), ("127.0.0.1", 0), log)


async def client(log: Log, *servers: ServerLink, **config: object) -> ClientLink:
    settings = {
        "name": "n1",
        "servers": tuple(server.address for server in servers),
        "server_public_key": public_key(PRIVATE_KEY),
        "psks": (PSK,),
        **config,
    }
    return await open_client(ClientConfig(**settings), log)


def test_wakes_records_and_goodbye_over_loopback():
    async def story() -> None:
        server_log, client_log = Log(), Log()
        served = await server(server_log)
        served.set_record("default/a", b"1")
        dialled = await client(client_log, served)
        await client_log.until(lambda: client_log.of(TableSynced))
        assert dialled.records == {"default/a": b"1"}
        assert [event.peer for event in server_log.of(LinkUp)] == ["n1"]

        sent = dialled.send(b"wake", lane=Lane.WAKE)
        await client_log.until(lambda: client_log.of(MessageAcknowledged))
        (acknowledged,) = client_log.of(MessageAcknowledged)
        assert acknowledged.message_id == sent
        assert 0 < acknowledged.rtt_s < 1
        assert [event.body for event in server_log.of(MessageReceived)] == [b"wake"]

        served.send("n1", b"started", lane=Lane.STATE)
        served.set_record("default/a", b"2")
        served.delete_record("default/a")
        await client_log.until(lambda: client_log.of(MessageReceived) and not dialled.records)
        assert client_log.of(RecordChanged)[-1].value is None

        assert dialled.rtt_s is not None and 0 < dialled.rtt_s < 1
        view = served.peers["n1"]
        assert view.address == dialled.core.links[0].address or view.rtt_s > 0
        dialled.close()
        dialled.close()
        await server_log.until(lambda: server_log.of(LinkDown))
        assert server_log.of(LinkDown)[0].reason is LinkEnd.GOODBYE
        assert served.peers == {}
        served.close()

    asyncio.run(story())


def test_an_event_reaches_the_callback_in_the_turn_that_read_its_datagram():
    async def story() -> None:
        turns = 0
        seen: list[int] = []
        log = Log()

        def on_event(event: Event) -> None:
            log(event)
            if isinstance(event, MessageReceived):
                seen.append(turns)
                # The reply leaves inside the callback, so no turn of the loop lies between.
                served.send(event.peer, b"reply", lane=Lane.WAKE)

        served = await server(log)
        served._on_event = on_event
        client_log = Log()
        dialled = await client(client_log, served)
        await client_log.until(lambda: client_log.of(LinkUp))
        dialled.send(b"wake", lane=Lane.WAKE)
        await client_log.until(lambda: client_log.of(MessageReceived))
        assert len(seen) == 1
        dialled.close()
        served.close()

    asyncio.run(story())


def test_a_wrong_pre_shared_key_is_refused_without_an_answer_and_counted():
    async def story() -> None:
        server_log, client_log = Log(), Log()
        served = await server(server_log)
        dialled = await client(client_log, served, psks=(os.urandom(32),))
        async with asyncio.timeout(5):
            while served.drops[DropReason.BAD_MAC] < 2:
                await asyncio.sleep(0.01)
        assert server_log.events == []
        assert client_log.events == []
        assert sum(dialled.drops.values()) == 0  # Nothing came back that could be dropped.
        dialled.close()
        served.close()

    asyncio.run(story())
