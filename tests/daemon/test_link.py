"""The daemon's end of the protocol, against a real server of it on loopback."""

import asyncio
import dataclasses
import logging
import os
import time
from collections.abc import Callable, Collection, Coroutine
from typing import Any

import pytest

from tests.daemon.story import X, record
from wangell_daemon.link import Link
from wangell_proto import (
    ClientConfig,
    Event,
    Lane,
    LinkUp,
    MessageReceived,
    ServerConfig,
    public_key,
)
from wangell_proto.aio import ServerLink, open_server
from wangell_proto.vocabulary import (
    Activity,
    Following,
    Phase,
    Raised,
    ServiceRecord,
    Started,
    Wake,
    decode_report,
    encode_record,
    encode_report,
)

PRIVATE_KEY, PSK = os.urandom(32), os.urandom(32)
NODE = "node1"
WAKE = Wake(service=X, address="10.0.0.2", port=80, sequence=1, activation=0)
STARTED = Started(service=X, activation=1, received_ns=1, spawned_ns=2, clock="boot")
RAISED = Raised(service=X, activation=1, endpoints=(), is_listening=False)


class User:
    """Keeps what the link tells, in order."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []
        self.round_trips_s: list[float] = []
        self.names: set[str] = set()

    def record_changed(self, name: str, record: ServiceRecord | None) -> None:
        self.told.append(("record", name, record))

    def table_synced(self, names: Collection[str]) -> None:
        self.told.append(("synced",))
        self.names = set(names)

    def replica_started(self, report: Started) -> None:
        self.told.append(("started", report))

    def replica_raised(self, report: Raised) -> None:
        self.told.append(("raised", report))

    def link_changed(self, *, is_up: bool) -> None:
        self.told.append(("up" if is_up else "down",))

    def round_trip(self, seconds: float) -> None:
        self.round_trips_s.append(seconds)


class House:
    """A controller's server and a daemon's link to it."""

    server: ServerLink

    def __init__(self) -> None:
        self.user = User()
        self.link = Link(self.user)
        self.heard: list[Event] = []

    async def open(self, *, psk: bytes = PSK, serves_table: bool = True) -> None:
        config = ServerConfig(
            private_key=PRIVATE_KEY, psks=(PSK,), epoch=1, serves_table=serves_table
        )
        self.server = await open_server(config, ("127.0.0.1", 0), self.heard.append)
        self.server.set_record(X, encode_record(record()))
        await self.link.use(self.config(psk=psk))

    def config(self, *, psk: bytes = PSK) -> ClientConfig:
        return ClientConfig(
            name=NODE,
            servers=(self.server.address,),
            server_public_key=public_key(PRIVATE_KEY),
            psks=(psk,),
        )

    def reports(self) -> list[Any]:
        """But for what comes of each link by itself."""
        return [each for each in self._said() if not isinstance(each, Following)]

    def following(self) -> list[Following]:
        return [each for each in self._said() if isinstance(each, Following)]

    def _said(self) -> list[Any]:
        return [
            decode_report(event.body) for event in self.heard if isinstance(event, MessageReceived)
        ]

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(5):
            while not condition():  # noqa: ASYNC110 (drops come without an event)
                await asyncio.sleep(0.001)

    async def linked(self) -> None:
        await self.open()
        await self.until(lambda: ("synced",) in self.user.told)

    def close(self) -> None:
        self.link.close()
        self.server.close()


def play(story: Callable[[House], Coroutine[Any, Any, None]]) -> House:
    async def run() -> House:
        house = House()
        try:
            await story(house)
        finally:
            house.close()
        return house

    return asyncio.run(run())


def test_the_table_comes_record_by_record_and_is_then_whole() -> None:
    house = play(House.linked)
    assert house.user.told[:3] == [("up",), ("record", X, record()), ("synced",)]


def test_a_change_and_a_deletion_come_after_it() -> None:
    warm = record(Phase.WARM, activation=1)

    async def story(house: House) -> None:
        await house.linked()
        house.server.set_record(X, encode_record(warm))
        await house.until(lambda: ("record", X, warm) in house.user.told)
        house.server.delete_record(X)
        await house.until(lambda: ("record", X, None) in house.user.told)

    play(story)


def test_whose_table_is_whole_is_said_to_the_leader_after_all_of_it_was_told() -> None:
    async def story(house: House) -> None:
        await house.linked()
        await house.until(house.following)

    house = play(story)
    assert house.following() == [Following(epoch=1)]
    assert house.user.told.index(("record", X, record())) < house.user.told.index(("synced",))


def test_a_server_without_a_table_is_not_followed() -> None:
    async def story(house: House) -> None:
        await house.open(serves_table=False)
        house.link.report(WAKE, lane=Lane.WAKE)
        await house.until(house.reports)
        assert house.following() == []
        house.server.raise_epoch(7)
        house.server.serve_table(is_complete=True)
        await house.until(house.following)

    assert play(story).following() == [Following(epoch=7)]


def test_a_report_reaches_the_controller_and_its_round_trip_is_told() -> None:
    async def story(house: House) -> None:
        await house.linked()
        house.link.report(WAKE, lane=Lane.WAKE)
        await house.until(lambda: house.user.round_trips_s)
        await house.until(house.reports)
        assert house.link.rtt_ns > 0

    house = play(story)
    assert house.reports() == [WAKE]
    assert 0 < house.user.round_trips_s[0] < 5


def test_a_report_before_the_link_is_up_is_not_lost() -> None:
    async def story(house: House) -> None:
        await house.open()
        house.link.report(WAKE, lane=Lane.WAKE)
        await house.until(house.reports)

    assert play(story).reports() == [WAKE]


def test_of_reports_that_replace_each_other_the_newest_arrives() -> None:
    async def story(house: House) -> None:
        await house.open()
        for _ in range(2_000):  # more than a queue takes: none of it may raise
            house.link.report(Activity(services=()), lane=Lane.BULK, replaces="activity")
        await house.until(house.reports)

    assert len(play(story).reports()) == 1


def test_a_report_before_anything_was_opened_goes_nowhere_and_raises_nothing() -> None:
    link = Link(User())
    link.report(WAKE, lane=Lane.WAKE)
    assert link.rtt_ns == 0
    assert link.drops() == {}
    link.close()


def test_a_full_queue_is_counted_and_the_caller_goes_on() -> None:
    async def story(house: House) -> None:
        await house.open()
        for number in range(2_000):
            wake = Wake(service=X, address="10.0.0.2", port=80, sequence=number, activation=0)
            house.link.report(wake, lane=Lane.WAKE)
        assert house.link.drops()["queue_full"] > 0

    play(story)


def test_started_is_told() -> None:
    async def story(house: House) -> None:
        await house.linked()
        house.server.send(NODE, encode_report(STARTED), lane=Lane.STATE)
        await house.until(lambda: ("started", STARTED) in house.user.told)

    play(story)


@pytest.mark.parametrize(
    "body", [b"", b"\xff", b"\x02", encode_report(STARTED)[:-1], b"\x02" + b"\x91" * 500]
)
def test_a_report_that_nobody_understands_is_counted_and_said_once(
    body: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async def story(house: House) -> None:
        await house.linked()
        for _ in range(3):
            house.server.send(NODE, body, lane=Lane.STATE)
        await house.until(lambda: house.link.drops().get("malformed_report") == 3)

    with caplog.at_level(logging.WARNING):
        house = play(story)
    assert not [told for told in house.user.told if told[0] == "started"]
    assert sum("not understood" in each.message for each in caplog.records) == 1


def test_a_report_that_is_not_for_daemons_is_ignored() -> None:
    async def story(house: House) -> None:
        await house.linked()
        house.server.send(NODE, encode_report(WAKE), lane=Lane.STATE)
        house.server.send(NODE, encode_report(STARTED), lane=Lane.STATE)
        await house.until(lambda: ("started", STARTED) in house.user.told)

    told = [each[0] for each in play(story).user.told if each != ("down",)]
    assert told == ["up", "record", "synced", "started"]


@pytest.mark.parametrize("value", [b"", b"\xc1", b"\x80", encode_record(record())[:-1]])
def test_a_record_that_nobody_understands_changes_nothing_and_is_counted(value: bytes) -> None:
    async def story(house: House) -> None:
        await house.linked()
        house.server.set_record("default/other", value)
        await house.until(lambda: house.link.drops().get("malformed_record"))

    assert [told[1] for told in play(story).user.told if told[0] == "record"] == [X]


def test_a_controller_that_goes_is_told() -> None:
    async def story(house: House) -> None:
        await house.linked()
        house.server.close()
        await house.until(lambda: ("down",) in house.user.told)

    play(story)


def test_a_wrong_key_never_links_and_the_controller_counts_it() -> None:
    async def story(house: House) -> None:
        await house.open(psk=bytes(32))
        await house.until(lambda: sum(house.server.drops.values()) >= 2)

    house = play(story)
    assert house.user.told == []
    assert not [event for event in house.heard if isinstance(event, LinkUp)]


def test_the_same_configuration_again_keeps_the_link() -> None:
    async def story(house: House) -> None:
        await house.linked()
        await house.link.use(house.config())
        house.link.report(WAKE, lane=Lane.WAKE)
        await house.until(house.reports)

    house = play(story)
    assert house.reports() == [WAKE]
    assert house.user.told.count(("synced",)) == 1
    assert house.user.told.count(("up",)) == 1


def test_a_whole_table_names_its_records() -> None:
    async def story(house: House) -> None:
        await house.linked()

    assert play(story).user.names == {X}


def test_that_no_controller_answers_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    link = Link(User())
    link.tell_if_alone(time.monotonic() + 4.0)
    assert not caplog.records
    link.tell_if_alone(time.monotonic() + 6.0)
    link.tell_if_alone(time.monotonic() + 60.0)
    assert [each.message[:22] for each in caplog.records] == ["no controller has answ"]


def test_one_controller_of_two_that_goes_is_not_the_end_of_the_link() -> None:
    async def story(house: House) -> None:
        await house.linked()
        config = ServerConfig(private_key=PRIVATE_KEY, psks=(PSK,), epoch=1)
        second_heard: list[Event] = []
        second = await open_server(config, ("127.0.0.1", 0), second_heard.append)
        second.set_record(X, encode_record(record()))
        await house.link.use(
            dataclasses.replace(house.config(), servers=(house.server.address, second.address))
        )
        await house.until(lambda: [each for each in second_heard if isinstance(each, LinkUp)])
        second.close()  # says goodbye
        house.link.report(WAKE, lane=Lane.WAKE)
        await house.until(house.reports)
        house.server.set_record(X, encode_record(record(Phase.WARM, activation=1)))
        changed = ("record", X, record(Phase.WARM, activation=1))
        await house.until(lambda: changed in house.user.told)
        assert ("down",) not in house.user.told
        house.server.close()
        await house.until(lambda: ("down",) in house.user.told)

    play(story)


def test_a_psk_is_rotated_under_the_link() -> None:
    new = bytes(32)

    async def story(house: House) -> None:
        await house.linked()
        house.server.set_psks((PSK, new))
        await house.link.use(house.config(psk=new))
        house.link.report(WAKE, lane=Lane.WAKE)
        await house.until(house.reports)
        house.server.set_psks((new,))
        house.link.report(WAKE, lane=Lane.WAKE)
        await house.until(lambda: len(house.reports()) == 2)
        assert house.user.told.count(("up",)) == 1
        assert ("down",) not in house.user.told

    play(story)
