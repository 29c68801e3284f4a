"""The agent does what the core asks, in order, and one step that fails takes no other along."""
# ruff: noqa: ARG002 (the parts that write down what they are told take the real ones' arguments)

import asyncio
import contextlib
import struct
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, cast

import pytest

from tests.daemon.packets import ACK, Segment
from tests.daemon.story import HERE, OURS, VIP, X, flow_of, key, record
from wangell_daemon import agent as agent_module
from wangell_daemon.activity import ACTIVITY_SERVICES_MAX
from wangell_daemon.agent import Agent
from wangell_daemon.cold_start_log import ColdStartLog
from wangell_daemon.datapath import Datapath, Handover, OwnCalls
from wangell_daemon.effects import Mode
from wangell_daemon.handing_over import RENEW_EVERY_BEATS
from wangell_daemon.link import Link
from wangell_daemon.listeners import Listeners
from wangell_daemon.metrics import Metrics
from wangell_daemon.node import Node
from wangell_daemon.own_callers import OwnCallers
from wangell_daemon.packets import with_checksums
from wangell_daemon.readiness.probe import Prober
from wangell_daemon.readiness.workload import ByNamespace
from wangell_daemon.refusal import Refuser
from wangell_proto import Lane
from wangell_proto.constants import MESSAGE_BYTES_MAX
from wangell_proto.vocabulary import (
    Activity,
    Armed,
    ColdStart,
    Count,
    Counted,
    Listening,
    Phase,
    Report,
    Started,
    Wake,
    encode_report,
)

OUR_PID, STRANGERS_PID = 42, 43


class Kernel:
    """Datapath, handover, refuser and prober in one: writes down what it is told, in order."""

    def __init__(self) -> None:
        self.journal: list[str] = []
        self.injected: list[bytes] = []
        self.fails: dict[str, Exception] = {}

    def _do(self, what: str, *_: object) -> None:
        self.journal.append(what)
        if what in self.fails:
            raise self.fails[what]

    def set_service(self, frontends: Iterable[bytes], *, slot: int, mode: int) -> None:
        self._do(f"mode {Mode(mode).name.lower()}")

    def forget(self, frontends: Iterable[bytes]) -> None:
        self._do("forget")

    def watch(self, flow: bytes) -> None:
        self._do("watch")

    def unwatch(self, flow: bytes) -> None:
        self._do("unwatch")

    def inject(self, frame: bytes, *, ifindex: int, rx_queue: int) -> None:
        self.injected.append(frame)
        self._do("inject")

    def beat(self) -> None:
        self._do("beat")

    def last_packet_ns(self, slot: int) -> int:
        return 0

    def replace(
        self, frontends: Iterable[bytes], *, address: str, port: int, is_away: bool
    ) -> None:
        self._do(f"hand over to {address}:{port}")

    def end(self, frontend: bytes) -> None:
        self._do("end handover")

    def end_unclaimed(self) -> None:
        self._do("end unclaimed handovers")

    def renew(self) -> None:
        self._do("renew")

    def refuse(self, frame: bytes, *, ifindex: int) -> None:
        self._do("refuse")

    def start(self, service: str, **_: object) -> None:
        self._do("probe")

    def stop(self, service: str) -> None:
        self._do("stop probe")


class Controller:
    """Where reports go."""

    rtt_ns = 2_000_000

    def __init__(self, journal: list[str]) -> None:
        self._journal = journal
        self.reports: list[Report] = []
        self.lanes: dict[str, Lane] = {}
        self.replaces: list[str | None] = []

    def report(self, report: Report, *, lane: Lane, replaces: str | None = None) -> None:
        kind = type(report).__name__
        self._journal.append(f"report {kind}")
        self.reports.append(report)
        self.replaces.append(replaces)
        self.lanes[kind] = lane
        assert len(encode_report(report)) <= MESSAGE_BYTES_MAX

    def tell_if_alone(self, now: float) -> None:
        """It answers."""

    def of(self, kind: type) -> list[Any]:
        return [report for report in self.reports if isinstance(report, kind)]


class Rule:
    """Process 42 is of our replica, 43 of another's."""

    def workload_of(self, pid: int) -> str | None:
        return {OUR_PID: OURS.workload, STRANGERS_PID: "net:[43]"}.get(pid)

    def address_of(self, pid: int) -> str:
        return ""


class House:
    """An agent among parts that write everything down."""

    def __init__(
        self,
        tmp_path: Path,
        *,
        watches_listen: bool = True,
        own_calls: OwnCalls | None = None,
        reuses_addresses: bool = False,
    ) -> None:
        self.kernel = Kernel()
        self.controller = Controller(self.kernel.journal)
        self.metrics = Metrics()
        self.node = Node(HERE)
        self.log = tmp_path / "cold-starts"
        self.agent = Agent(
            node=self.node,
            datapath=cast("Datapath", self.kernel),
            handover=cast("Handover", self.kernel),
            own_callers=OwnCallers(own_calls, on_failure=lambda: self.metrics.failed("own_calls")),
            refuser=cast("Refuser", self.kernel),
            metrics=self.metrics,
            cold_starts=ColdStartLog(self.log),
            workload_rule=Rule(),
            clock="ours",
            watches_listen=watches_listen,
            reuses_addresses=reuses_addresses,
        )
        self._listeners = self.agent._listeners
        self.agent.link = cast("Link", self.controller)
        self.agent.prober = cast("Prober", self.kernel)

    @property
    def journal(self) -> list[str]:
        return self.kernel.journal

    def syn(self, segment: Segment | None = None) -> None:
        frame = (segment or Segment()).raw
        head = struct.pack("=QIII", time.monotonic_ns(), 2, 0, len(frame))
        self.agent.held(head + frame)

    def ack(self, *, is_reset: bool = False) -> None:
        flow = flow_of("10.0.0.1:40000")
        self.agent.answered(struct.pack("=Q36sI", time.monotonic_ns(), flow, is_reset))

    def listen(self, *, pid: int = OUR_PID, port: int = 8080, address: bytes = bytes(4)) -> None:
        packed = bytes(10) + b"\xff\xff" + address
        self.agent.listened(struct.pack("=QIHH16s", time.monotonic_ns(), pid, port, 2, packed))

    def table(self, phase: Phase = Phase.COLD, **changes: Any) -> None:
        self.agent.record_changed(X, record(phase, **changes))

    def count(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(name, labels) or 0.0

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.agent._cold_starts.close()
        self._listeners.forget(OURS.workload, 8080)
        if self.agent._timer is not None:
            self.agent._timer.cancel()


@pytest.fixture
def play(tmp_path: Path) -> Callable[[Callable[[House], None]], House]:
    """Tells a story to an agent within an event loop; its timers never run."""

    def run(story: Callable[[House], None]) -> House:
        async def told() -> House:
            house = House(tmp_path)
            story(house)
            house.close()
            return house

        return asyncio.run(told())

    return run


Play = Callable[[Callable[[House], None]], House]


# A whole cold start, step by step.


def test_a_cold_start_from_the_rings_to_the_controller_and_back(play: Play) -> None:
    def story(house: House) -> None:
        house.table()
        assert house.journal == ["mode hold", "stop probe"]
        house.journal.clear()
        house.syn()
        assert house.journal == ["report Wake", "hand over to 10.244.0.5:8080"]
        house.journal.clear()
        house.table(Phase.WAKING, activation=1)
        house.listen()
        assert house.journal == [
            "mode settle",
            "watch",
            "inject",
            "report Listening",
            "stop probe",
        ]
        house.journal.clear()
        house.agent.replica_started(
            Started(service=X, activation=1, received_ns=1, spawned_ns=2, clock="theirs")
        )
        house.ack()
        assert house.journal == ["mode pass", "report ColdStart"]

    house = play(story)
    assert house.controller.lanes["Wake"] is Lane.WAKE
    assert house.controller.lanes["Listening"] is Lane.WAKE
    (cold_start,) = house.controller.of(ColdStart)
    assert (cold_start.outcome, cold_start.clients, cold_start.service) == ("answered", 1, X)
    assert 0 < cold_start.total_s < 5
    assert house.log.read_text().count("\n") == 1
    assert house.count("wangell_wakes_total", namespace="default", service="x") == 1
    assert house.count("wangell_syns_held_total", namespace="default", service="x") == 1
    assert house.count("wangell_syn_replays_total", namespace="default", service="x") == 1


def test_what_goes_in_is_the_frame_with_its_checksums_made_beforehand(play: Play) -> None:
    def story(house: House) -> None:
        house.table()
        house.syn()
        (held,) = house.node[X].held
        assert held.ready_frame == with_checksums(Segment().raw)
        house.table(Phase.WAKING, activation=1)
        house.listen()

    assert play(story).kernel.injected == [with_checksums(Segment().raw)]


def test_a_late_syn_that_goes_in_at_once_has_its_checksums_too(play: Play) -> None:
    def story(house: House) -> None:
        house.table(Phase.WARM, activation=1)
        house.syn()

    assert play(story).kernel.injected == [with_checksums(Segment().raw)]


def test_another_machines_started_is_placed_by_the_links_round_trip(play: Play) -> None:
    def story(house: House) -> None:
        house.table()
        house.syn()
        house.table(Phase.WAKING, activation=1)
        house.agent.replica_started(
            Started(service=X, activation=1, received_ns=5, spawned_ns=5, clock="theirs")
        )
        house.listen()
        house.ack()

    house = play(story)
    phase = {"namespace": "default", "service": "x", "phase": "notify"}
    assert house.count("wangell_cold_start_phase_seconds_sum", **phase) == pytest.approx(0.001)


# Whose LISTEN.


@pytest.mark.parametrize(
    ("what", "listen"),
    [
        ("a stranger's", {"pid": STRANGERS_PID}),
        ("a process that has ended", {"pid": 4242}),
        ("another port", {"port": 8081}),
        ("a loopback listener", {"address": b"\x7f\0\0\1"}),
    ],
)
def test_a_listen_that_is_not_the_replicas_releases_nothing(
    play: Play, what: str, listen: dict[str, Any]
) -> None:
    def story(house: House) -> None:
        house.table()
        house.syn()
        house.table(Phase.WAKING, activation=1)
        house.listen(**listen)

    house = play(story)
    assert house.kernel.injected == [], what
    assert house.controller.of(Listening) == []


def test_a_daemon_that_only_probes_does_not_act_on_listen(tmp_path: Path) -> None:
    async def told() -> House:
        house = House(tmp_path, watches_listen=False)
        house.table()
        house.syn()
        house.table(Phase.WAKING, activation=1)
        house.listen()
        assert house.kernel.injected == []
        house.agent.probe_answered(OURS.workload, 8080, time.monotonic_ns())
        house.close()
        return house

    assert len(asyncio.run(told()).kernel.injected) == 1


# What fails.


@pytest.mark.parametrize(
    ("step", "error"),
    [
        ("inject", OSError(19, "No such device")),
        ("watch", Exception("Could not update table: Argument list too long")),
        ("mode settle", Exception("Could not update table")),
        ("stop probe", RuntimeError("closed")),
        ("hand over to 10.244.0.5:8080", OSError(1, "Operation not permitted")),
    ],
)
def test_a_step_that_fails_is_counted_and_the_others_are_taken(
    play: Play, step: str, error: Exception
) -> None:
    def story(house: House) -> None:
        house.kernel.fails[step] = error
        house.table()
        house.syn()
        house.table(Phase.WAKING, activation=1)
        house.listen()
        assert house.agent._timer is not None, "its repeat is due"

    house = play(story)
    for other in ("report Wake", "mode settle", "watch", "inject", "report Listening"):
        assert other in house.journal
    failures = [
        sample.value
        for family in house.metrics.registry.collect()
        for sample in family.samples
        if sample.name == "wangell_daemon_failures_total"
    ]
    assert sum(failures) >= 1


def test_a_full_disk_under_the_log_harms_no_wake(play: Play) -> None:
    def story(house: House) -> None:
        house.agent._cold_starts.close()
        house.agent._cold_starts = ColdStartLog(Path("/dev/full"))
        house.table()
        house.syn()
        house.table(Phase.WAKING, activation=1)
        house.table(Phase.COLD, activation=1)

    house = play(story)
    assert "refuse" in house.journal
    assert house.journal.index("refuse") > house.journal.index("mode hold")
    assert house.count("wangell_daemon_failures_total", step="EndColdStart") == 1


def test_a_frame_that_is_no_syn_is_counted(play: Play) -> None:
    def story(house: House) -> None:
        house.table()
        house.syn(Segment(flags=ACK))

    house = play(story)
    assert house.count("wangell_syns_dropped_total", reason="bad_frame") == 1
    assert house.controller.of(Wake) == []


def test_a_syn_for_nobody_is_counted(play: Play) -> None:
    house = play(lambda house: house.syn())
    assert house.count("wangell_syns_dropped_total", reason="no_service") == 1


def test_a_record_that_is_refused_is_counted_and_said(
    play: Play, caplog: pytest.LogCaptureFixture
) -> None:
    def story(house: House) -> None:
        house.table()
        house.agent.record_changed("default/y", record())

    house = play(story)
    assert "default/y" not in house.node
    assert house.count("wangell_daemon_failures_total", step="record") == 1
    assert "10.0.0.2:80 belongs to default/x" in caplog.text


# Time.


def test_the_timer_is_set_to_the_cores_next_deadline_and_only_there(play: Play) -> None:
    def story(house: House) -> None:
        house.table()
        assert house.agent._timer is None
        house.syn()
        timer, due_ns = house.agent._timer, house.node.next_deadline_ns()
        assert timer is not None
        assert due_ns is not None
        assert timer.when() == pytest.approx(due_ns / 1e9)
        house.agent.record_changed(X, None)
        assert house.agent._timer is None
        assert timer.cancelled()

    play(story)


def test_each_beat_keeps_xdp_holding_and_tells_of_warm_services(play: Play) -> None:
    def story(house: House) -> None:
        house.table(Phase.WARM, activation=1)
        house.journal.clear()
        house.agent.beat()
        assert house.journal[0] == "beat"

    house = play(story)
    (activity,) = house.controller.of(Activity)
    (seen,) = activity.services
    assert (seen.service, seen.held) == (X, 0)
    assert 0 <= seen.idle_s < 5


def test_handovers_are_renewed_well_within_their_timeout(play: Play) -> None:
    def story(house: House) -> None:
        for _ in range(3 * RENEW_EVERY_BEATS):
            house.agent.beat()

    house = play(story)
    assert house.journal.count("renew") == 3
    assert house.journal.count("beat") == 3 * RENEW_EVERY_BEATS
    assert RENEW_EVERY_BEATS * agent_module.BEAT_INTERVAL_S * 2 < 30


def test_where_addresses_are_reused_nothing_is_renewed_that_no_controller_vouches_for(
    tmp_path: Path,
) -> None:
    async def told() -> House:
        house = House(tmp_path, reuses_addresses=True)

        def renewals() -> int:
            house.journal.clear()
            for _ in range(RENEW_EVERY_BEATS):
                house.agent.beat()
            return house.journal.count("renew")

        assert renewals() == 0, "a predecessor's, of which nothing is known yet"
        house.agent.link_changed(is_up=True)
        assert renewals() == 0, "linked, and its table not here yet"
        house.agent.table_synced([])
        assert renewals() == 1
        house.agent.link_changed(is_up=False)
        assert renewals() == 0
        house.agent.link_changed(is_up=True)
        house.agent.table_synced([])
        assert renewals() == 1
        house.close()
        return house

    asyncio.run(told())


def test_a_handover_is_timed(play: Play) -> None:
    def story(house: House) -> None:
        house.table(Phase.WARM, activation=1)

    house = play(story)
    assert house.count("wangell_handover_seconds_count") == 1
    assert 0 < house.count("wangell_handover_seconds_sum") < 1


def test_one_that_was_refused_is_not_timed(play: Play) -> None:
    def story(house: House) -> None:
        house.kernel.fails["hand over to 10.244.0.5:8080"] = OSError(1, "Operation not permitted")
        house.table(Phase.WARM, activation=1)

    assert play(story).count("wangell_handover_seconds_count") == 0


def test_the_activity_of_ten_thousand_services_goes_in_parts_that_fit(play: Play) -> None:
    # Each part's size is checked where it is sent.
    names = [
        f"namespace-of-some-length/service-of-some-length-{number}" for number in range(10_000)
    ]

    def story(house: House) -> None:
        for number, name in enumerate(names):
            vip = f"10.{number >> 16}.{(number >> 8) & 255}.{number & 255}:443"
            wanted = record(Phase.WARM, activation=1, vips=(vip,), endpoints=())
            house.node.record(name, wanted, now_ns=1)
        house.agent.beat()

    house = play(story)
    parts = house.controller.of(Activity)
    assert [seen.service for part in parts for seen in part.services] == names
    assert max(len(part.services) for part in parts) <= ACTIVITY_SERVICES_MAX
    replaces = [each for each in house.controller.replaces if each is not None]
    assert len(set(replaces)) == len(parts), "each replaces its own older one and no other"


# Draining, deleting, another table.


def test_draining_answers_armed_with_the_connections_counted(play: Play) -> None:
    class Counted7(Listeners):
        def connections(self, workload: str, port: int) -> int:
            assert (workload, port) == (OURS.workload, 8080)
            return 7

        def heard(self, workload: str, port: int, pid: int) -> None:
            raise AssertionError("nobody listened")

    def story(house: House) -> None:
        house.agent._listeners = Counted7(ByNamespace())
        house.table(Phase.WARM, activation=3)
        house.table(Phase.DRAINING, activation=3)

    house = play(story)
    assert house.controller.of(Armed) == [Armed(service=X, activation=3, connections=7)]
    assert house.journal.index("mode hold") < house.journal.index("report Armed")


@pytest.mark.parametrize(("second", "total"), [(2, 7), (None, None)])
def test_connections_are_counted_when_asked_of_all_replicas_or_not_at_all(
    play: Play, second: int | None, total: int | None
) -> None:
    class CountedEach(Listeners):
        def connections(self, workload: str, port: int) -> int | None:
            assert port == 8080
            return {"pod-1": 5, "pod-2": second}[workload]

    def story(house: House) -> None:
        house.agent._listeners = CountedEach(ByNamespace())
        house.agent.count(
            Count(service=X, activation=3, number=9, workloads=("pod-1", "pod-2"), port=8080)
        )

    assert play(story).controller.of(Counted) == [
        Counted(service=X, activation=3, number=9, connections=total)
    ]


def test_a_replica_that_is_gone_is_probed_no_more(play: Play) -> None:
    gone: list[tuple[str, int]] = []

    class Probing:
        def forget(self, workload: str, port: int) -> None:
            gone.append((workload, port))

    def story(house: House) -> None:
        house.table(Phase.WARM, activation=3)
        house.agent.prober = cast("Any", Probing())
        house.table(Phase.WARM, activation=3, endpoints=())

    play(story)
    assert gone == [(OURS.workload, 8080)]


def test_a_deleted_service_takes_its_series_along(play: Play) -> None:
    def story(house: House) -> None:
        house.table()
        house.syn()
        house.agent.record_changed(X, None)

    house = play(story)
    assert house.count("wangell_wakes_total", namespace="default", service="x") == 0
    assert "forget" in house.journal
    assert "refuse" in house.journal


def test_services_that_the_table_no_longer_names_are_forgotten(play: Play) -> None:
    # Deleted while no link was up.
    def story(house: House) -> None:
        synced: list[bool] = []
        house.agent.on_synced = lambda: synced.append(True)
        house.table()
        house.agent.record_changed("default/y", record(vips=("10.0.0.3:80",), endpoints=()))
        house.agent.table_synced(["default/y"])
        assert X not in house.node
        assert "default/y" in house.node
        assert synced == [True]

    play(story)


def test_nothing_is_served_only_when_a_controller_has_said_so(play: Play) -> None:
    def story(house: House) -> None:
        assert not house.agent.serves_nothing
        house.agent.table_synced([])
        assert house.agent.serves_nothing
        house.table()
        assert not house.agent.serves_nothing

    play(story)


def test_the_link_and_its_round_trips_are_told_to_prometheus(play: Play) -> None:
    def story(house: House) -> None:
        house.agent.link_changed(is_up=True)
        house.agent.round_trip(0.001)

    house = play(story)
    assert house.count("wangell_link_up") == 1
    assert house.count("wangell_link_round_trip_seconds_count") == 1


def test_the_frontends_key_is_what_the_kernel_is_told(play: Play) -> None:
    told: list[tuple[bytes, ...]] = []

    def story(house: House) -> None:
        def set_service(frontends: Iterable[bytes], *, slot: int, mode: int) -> None:
            told.append(tuple(frontends))

        cast("Any", house.kernel).set_service = set_service
        house.table(vips=(VIP, "10.0.0.3:443"))

    play(story)
    assert told == [(key(VIP), key("10.0.0.3:443"))]
