"""Who leads, when the leader ends, and what those who stand by do meanwhile."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.controller.helpers import RecordingLink
from wangell_controller.leadership import FileLeadership
from wangell_controller.relay import RelayInlet, RelayOutlet
from wangell_controller.standby import Standby
from wangell_proto.vocabulary import Activity, Armed, Listening, Report, ServiceActivity, Wake

KEY = "default/serverless-example"
LISTENING = Listening(service=KEY, activation=1, workload="net:[1]")
# A controller's process that leads, says so, and waits to be ended.
LEADS = """
import asyncio, sys
from pathlib import Path
from wangell_controller.leadership import FileLeadership

async def main():
    leadership = FileLeadership(Path(sys.argv[1]))
    assert leadership.campaign(lambda: None)
    print("leads", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


def a_wake(activation: int = 0) -> Wake:
    return Wake(service=KEY, address="10.46.100.105", port=80, sequence=7, activation=activation)


@contextmanager
def another_leads(run_dir: Path) -> Iterator["subprocess.Popen[str]"]:
    with subprocess.Popen(
        [sys.executable, "-c", LEADS, str(run_dir)], stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        try:
            assert other.stdout.readline() == "leads\n"
            yield other
        finally:
            other.kill()


class Candidate:
    """One that campaigns in this process."""

    def __init__(self, run_dir: Path) -> None:
        self.leadership = FileLeadership(run_dir)
        self.led = asyncio.Event()
        self.leads_at_once = self.leadership.campaign(self.led.set)

    async def leads_soon(self) -> None:
        await asyncio.wait_for(self.led.wait(), 5)


# --- The lock --------------------------------------------------------------------------------


def test_the_first_leads_at_once_and_is_not_called_for_it(tmp_path: Path) -> None:
    async def story() -> None:
        first = Candidate(tmp_path)
        assert first.leads_at_once
        await asyncio.sleep(0)
        assert not first.led.is_set()
        first.leadership.close()

    asyncio.run(story())


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_other_leads_as_soon_as_the_leaders_process_has_ended(
    tmp_path: Path, number: signal.Signals
) -> None:
    async def story() -> None:
        with another_leads(tmp_path) as other:
            heir = Candidate(tmp_path)
            assert not heir.leads_at_once
            await asyncio.sleep(0.05)
            assert not heir.led.is_set(), "one leads at a time"
            other.send_signal(number)
            await heir.leads_soon()
            third = Candidate(tmp_path)
            assert not third.leads_at_once, "and now it has the lock"
            third.leadership.close()
            heir.leadership.close()

    asyncio.run(story())


def test_of_three_one_leads_after_the_other(tmp_path: Path) -> None:
    async def story() -> None:
        waiting = [Candidate(tmp_path) for _ in range(3)]
        assert [each.leads_at_once for each in waiting] == [True, False, False]
        leading = waiting.pop(0)
        while waiting:
            leading.leadership.close()
            done, _ = await asyncio.wait(
                {
                    asyncio.create_task(each.led.wait(), name=str(i))
                    for i, each in enumerate(waiting)
                },
                timeout=5,
                return_when=asyncio.FIRST_COMPLETED,
            )
            [one] = done
            leading = waiting.pop(int(one.get_name()))
            assert not any(each.led.is_set() for each in waiting)
        leading.leadership.close()

    asyncio.run(story())


def test_a_leader_knows_whether_somebody_stands_by(tmp_path: Path) -> None:
    async def story() -> None:
        leader = Candidate(tmp_path)
        assert not leader.leadership.has_successor()
        heir, third = Candidate(tmp_path), Candidate(tmp_path)
        assert leader.leadership.has_successor()
        third.leadership.close()
        assert leader.leadership.has_successor()
        leader.leadership.close()
        await heir.leads_soon()
        assert not heir.leadership.has_successor(), "who leads does not stand by any more"
        heir.leadership.close()

    asyncio.run(story())


def test_one_that_has_left_is_not_called(tmp_path: Path) -> None:
    async def story() -> None:
        leader, gone = Candidate(tmp_path), Candidate(tmp_path)
        gone.leadership.close()
        leader.leadership.close()
        await asyncio.sleep(0.05)
        assert not gone.led.is_set()
        last = Candidate(tmp_path)
        if not last.leads_at_once:  # The thread of the one that left may have it for a moment.
            await last.leads_soon()
        last.leadership.close()

    asyncio.run(story())


def test_one_that_has_left_keeps_the_lock_s_file_while_its_thread_waits(tmp_path: Path) -> None:
    """Or the thread would lock whatever file is given the descriptor's number next."""

    async def story() -> None:
        leader, gone = Candidate(tmp_path), Candidate(tmp_path)
        descriptor = gone.leadership._lock.fileno()
        gone.leadership.close()
        assert os.path.samestat(os.fstat(descriptor), (tmp_path / "leader").stat())
        leader.leadership.close()

    asyncio.run(story())


# --- Passing on ------------------------------------------------------------------------------


class Heard:
    """What a leader was told by those who stand by."""

    def __init__(self) -> None:
        self.reports: list[tuple[str, Report, int]] = []
        self._arrived = asyncio.Event()

    def __call__(self, peer: str, report: Report, received_ns: int) -> None:
        self.reports.append((peer, report, received_ns))
        self._arrived.set()

    async def one_more(self) -> tuple[str, Report, int]:
        await asyncio.wait_for(self._arrived.wait(), 5)
        self._arrived.clear()
        return self.reports[-1]


@pytest.mark.parametrize(
    "report",
    [
        a_wake(3),
        LISTENING,
        Armed(service=KEY, activation=1, connections=2),
        # A full node's report is the longest.
        Activity(
            services=tuple(
                ServiceActivity(service=f"default/{'s' * 50}-{n}", idle_s=1.0, held=0)
                for n in range(500)
            )
        ),
    ],
    ids=lambda report: type(report).__name__,
)
def test_the_leader_hears_what_was_said_to_another(tmp_path: Path, report: Report) -> None:
    async def story() -> None:
        heard = Heard()
        inlet, outlet = RelayInlet(tmp_path, heard), RelayOutlet(tmp_path)
        assert outlet.pass_on("node2", report, 77)
        assert await heard.one_more() == ("node2", report, 77)
        inlet.close()
        outlet.close()

    asyncio.run(story())


def test_while_nobody_leads_it_is_said_to_nobody_and_the_next_leader_hears_again(
    tmp_path: Path,
) -> None:
    async def story() -> None:
        outlet = RelayOutlet(tmp_path)
        assert not outlet.pass_on("node1", LISTENING, 1), "nobody has ever led"
        RelayInlet(tmp_path, Heard()).close()
        assert not outlet.pass_on("node1", LISTENING, 2), "it has gone, and its socket's name not"
        heard = Heard()
        inlet = RelayInlet(tmp_path, heard)
        assert outlet.pass_on("node1", LISTENING, 3)
        assert await heard.one_more() == ("node1", LISTENING, 3)
        assert len(heard.reports) == 1
        inlet.close()
        outlet.close()

    asyncio.run(story())


def test_a_leader_that_reads_nothing_holds_nobody_up(tmp_path: Path) -> None:
    async def story() -> None:
        inlet, outlet = RelayInlet(tmp_path, Heard()), RelayOutlet(tmp_path)
        passed_on = [outlet.pass_on("node1", LISTENING, n) for n in range(10_000)]
        assert passed_on[0]
        assert not passed_on[-1]
        inlet.close()
        outlet.close()

    asyncio.run(story())


@pytest.mark.parametrize("message", [b"", b"\xc1", b"\x01", b"\x93\x01\x02\x03", b"\x90"])
def test_what_is_not_understood_changes_nothing(tmp_path: Path, message: bytes) -> None:
    async def story() -> None:
        heard = Heard()
        inlet, outlet = RelayInlet(tmp_path, heard), RelayOutlet(tmp_path)
        outlet._socket.sendto(message, outlet._place.path)
        assert outlet.pass_on("node1", LISTENING, 3)
        assert await heard.one_more() == ("node1", LISTENING, 3)
        assert len(heard.reports) == 1
        inlet.close()
        outlet.close()

    asyncio.run(story())


def test_the_run_directory_may_have_a_long_name(tmp_path: Path) -> None:
    async def story() -> None:
        deep = tmp_path / ("d" * 120)
        deep.mkdir()
        heard = Heard()
        inlet, outlet = RelayInlet(deep, heard), RelayOutlet(deep)
        assert outlet.pass_on("node1", LISTENING, 3)
        assert (await heard.one_more())[0] == "node1"
        inlet.close()
        outlet.close()

    asyncio.run(story())


# --- Standing by -----------------------------------------------------------------------------


class Bench:
    """One that stands by, and all it did in `journal`."""

    def __init__(self, *, spawned_ns: int | None = 5_000) -> None:
        self.journal: list[str] = []
        self.link = RecordingLink(journal=self.journal)
        self.spawned_ns = spawned_ns
        self.standby = Standby(link=self.link, raiser=self, pass_on=self._pass_on, boot_id="boot")

    def raise_from_zero(self, key: str, activation: int) -> int | None:
        assert key == KEY
        self.journal.append(f"raise {activation}")
        return self.spawned_ns

    def _pass_on(self, peer: str, report: Report, received_ns: int) -> bool:
        self.journal.append(f"pass on {type(report).__name__} of {peer} at {received_ns}")
        return True

    def hears(self, report: Report) -> list[str]:
        self.journal.clear()
        self.standby.hear("node1", report, received_ns=1_000)
        return self.journal


def test_a_wake_is_raised_answered_and_passed_on() -> None:
    bench = Bench()
    assert bench.hears(a_wake(4)) == [
        "raise 5",
        "sent Started to node1",
        "pass on Wake of node1 at 1000",
    ]
    [(_, started)] = bench.link.sent
    assert (started.activation, started.received_ns, started.spawned_ns) == (5, 1_000, 5_000)  # type: ignore[union-attr]


def test_what_was_not_raised_is_not_answered() -> None:
    bench = Bench(spawned_ns=None)
    assert bench.hears(a_wake(4)) == ["raise 5", "pass on Wake of node1 at 1000"]


@pytest.mark.parametrize("activation", [-1, 2**53 + 1])
def test_an_impossible_activation_raises_nothing_and_is_the_leaders_to_count(
    activation: int,
) -> None:
    assert Bench().hears(a_wake(activation)) == ["pass on Wake of node1 at 1000"]


@pytest.mark.parametrize(
    "report", [LISTENING, Armed(service=KEY, activation=1, connections=0), Activity(services=())]
)
def test_everything_else_is_only_passed_on(report: Report) -> None:
    """Above all it lowers nothing, and writes no record."""
    bench = Bench()
    assert bench.hears(report) == [f"pass on {type(report).__name__} of node1 at 1000"]
    bench.standby.link_up("node1")
    bench.standby.link_down("node1", "silence")
    assert bench.link.published == []
