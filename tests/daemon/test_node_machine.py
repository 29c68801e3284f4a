"""A node through any history: callers, servers, controllers, races and restarts of the link.

`Story` checks each step: nothing goes in while its service holds, nothing unwatched, nobody is
forgotten. This adds what must hold between steps, and that all of it ends.
"""

import contextlib
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from tests.daemon.story import HERE, VIP, Story, client, flow_of, key
from wangell_daemon.effects import Mode
from wangell_daemon.held import HELD_MAX
from wangell_daemon.node import RecordRefusedError
from wangell_daemon.packets import frontend_of
from wangell_daemon.service import Service
from wangell_proto.vocabulary import Endpoint, Phase

NAMES = ("default/x", "default/y", "default/z")
VIPS = (VIP, "10.0.0.3:80", "10.0.0.4:443")
CLIENTS = tuple(client(number) for number in range(4))
ENDPOINTS = (
    Endpoint(address="10.244.0.5", node=HERE, workload="net:[1]"),
    Endpoint(address="10.244.0.6", node=HERE, workload="net:[6]"),
    Endpoint(address="", node=HERE, workload="pod-uid"),
    Endpoint(address="10.244.1.5", node="node2", workload="net:[1]"),
    Endpoint(address="10.244.0.5", node=HERE, workload="net:[1]", is_routed=True),
)
CONNECTIONS = {flow_of(who, vip): (who, vip) for who in CLIENTS for vip in VIPS}

names, vips, clients = st.sampled_from(NAMES), st.sampled_from(VIPS), st.sampled_from(CLIENTS)

records = st.fixed_dictionaries(
    {
        "phase": st.sampled_from(Phase),
        "vips": st.lists(vips, min_size=1, max_size=2, unique=True),
        "endpoints": st.lists(st.sampled_from(ENDPOINTS), max_size=2, unique=True).map(tuple),
        "activation_timeout_s": st.sampled_from((1.0, 60.0)),
    }
)


class NodeMachine(RuleBasedStateMachine):
    """Everything that may happen to a node, in any order."""

    story: Story

    @initialize(
        probes=st.booleans(), adopted=st.dictionaries(vips.map(key), st.integers(0, 3), max_size=3)
    )
    def the_daemon_starts(self, probes: bool, adopted: dict[bytes, int]) -> None:
        self.story = Story(probes=probes, adopted=adopted)
        self.on_its_way: list[tuple[str, str]] = []
        self.is_synced = False

    # The controller.

    @rule(name=names, rises_by=st.integers(0, 2), wanted=records)
    def a_record_comes(self, name: str, rises_by: int, wanted: dict[str, Any]) -> None:
        current = self.story.node[name].record if name in self.story.node else None
        activation = (current.activation if current else 0) + rises_by
        with contextlib.suppress(RecordRefusedError):
            self.story.table(name=name, activation=activation, **wanted)

    @rule(name=names, phase=st.sampled_from(Phase), rises_by=st.integers(0, 1))
    def a_service_changes_its_phase(self, name: str, phase: Phase, rises_by: int) -> None:
        if name not in self.story.node:
            return
        current = self.story.node[name].record
        assert current is not None
        with contextlib.suppress(RecordRefusedError):
            self.story.table(
                phase,
                name=name,
                activation=current.activation + rises_by,
                vips=[f"{each.address}:{each.port}" for each in current.frontends],
                endpoints=current.endpoints,
                activation_timeout_s=current.activation_timeout_s,
            )

    @rule(name=names)
    def a_service_is_deleted(self, name: str) -> None:
        self.story.deleted(name)

    @rule()
    def the_table_is_whole(self) -> None:
        self.story.synced()
        self.is_synced = True

    @rule(name=names, behind=st.integers(0, 2))
    def a_replica_was_started(self, name: str, behind: int) -> None:
        current = self.story.node[name].record if name in self.story.node else None
        activation = current.activation - behind if current else 0
        self.story.started(name=name, activation=activation)

    @rule(
        name=names,
        ahead=st.integers(0, 2),
        endpoints=st.lists(st.sampled_from(ENDPOINTS), max_size=2, unique=True).map(tuple),
        is_listening=st.booleans(),
    )
    def another_controller_raised_it(
        self, name: str, ahead: int, endpoints: tuple[Endpoint, ...], is_listening: bool
    ) -> None:
        current = self.story.node[name].record if name in self.story.node else None
        self.story.raised(
            name=name,
            activation=current.activation + ahead if current else 0,
            endpoints=endpoints,
            is_listening=is_listening,
        )

    # Callers.

    @rule(who=clients, vip=vips, sequence=st.sampled_from((100, 200)))
    def a_syn_arrives(self, who: str, vip: str, sequence: int) -> None:
        mode = self.story.mode(vip)
        if (who, vip) in self.on_its_way:
            return  # a port is not used again within the microseconds that an event takes
        if mode is Mode.METER and (who, vip) in self.settling():
            return  # passes
        if mode in (Mode.HOLD, Mode.METER):
            self.story.syn(who, to=vip, sequence=sequence)
        elif mode is not None:
            self.story.syn(who, to=vip, sequence=sequence, judged_ms_ago=0.1)

    @precondition(lambda self: self.settling())
    @rule(data=st.data(), is_reset=st.booleans())
    def a_client_answers(self, data: st.DataObject, is_reset: bool) -> None:
        who, vip = data.draw(st.sampled_from(self.settling()))
        self.story.ack_leaves_kernel(who, to=vip, is_reset=is_reset)
        self.on_its_way.append((who, vip))

    @precondition(lambda self: self.on_its_way)
    @rule()
    def the_daemon_reads_an_answer(self) -> None:
        who, vip = self.on_its_way.pop(0)
        self.story.ack_arrives(who, to=vip)

    def settling(self) -> list[tuple[str, str]]:
        """Connections whose next packet the kernel tells of."""
        return sorted(
            CONNECTIONS[flow]
            for flow in self.story.watched
            if self.story.modes.get(frontend_of(flow)) in (Mode.SETTLE, Mode.METER)
        )

    # Servers and time.

    @rule(
        workload=st.sampled_from(("net:[1]", "net:[6]", "pod-uid", "net:[666]")),
        port=st.sampled_from((8080, 8080, 8080, 9090)),
        room=st.sampled_from((0, 1, 5, None)),
        ago_ms=st.sampled_from((0.0, 0.0, 6_000.0)),
        address=st.sampled_from(("", "10.244.0.77")),
    )
    def a_process_listens(
        self, workload: str, port: int, room: int | None, ago_ms: float, address: str
    ) -> None:
        asked = None if room is None else lambda: room
        self.story.listens(workload, port, room=asked, ago_ms=ago_ms, address=address)

    @rule(pause_ms=st.sampled_from((0.0, 0.5, 4.0, 20.0, 100.0, 900.0, 4_000.0)))
    def time_passes(self, pause_ms: float) -> None:
        while pause_ms and self.on_its_way:
            self.the_daemon_reads_an_answer()
        self.story.pass_ms(pause_ms)

    # What holds between any two steps.

    @invariant()
    def each_service_has_the_verdict_of_its_phase(self) -> None:
        for service in self.services():
            assert service.record is not None
            if not self.story.frontends(service.name):
                continue  # another service has taken them over
            modes = {self.story.modes.get(each) for each in self.story.frontends(service.name)}
            assert len(modes) == 1, "frontends of one service, with different verdicts"
            mode = modes.pop()
            match service.record.phase:
                case Phase.COLD if mode is not Mode.HOLD:
                    # The one exception: a server was faster than its record.
                    assert self.story.listenings
                case Phase.DRAINING:
                    assert mode is Mode.HOLD
                case Phase.WARM:
                    assert mode in (Mode.PASS, Mode.SETTLE, Mode.METER)
            assert mode is not Mode.PASS or len(service.held) == 0, "nobody would tell of answers"

    @invariant()
    def the_kernel_watches_only_for_those_who_are_held(self) -> None:
        if hasattr(self, "story"):
            assert self.story.watched <= self.story.held

    @invariant()
    def nobody_waits_without_a_deadline(self) -> None:
        for service in self.services():
            if len(service.held):
                due_ns = self.story.node.next_deadline_ns()
                assert due_ns is not None
                assert due_ns <= self.story.now_ns + 60_000_000_000

    @invariant()
    def no_two_services_share_a_slot(self) -> None:
        slots = [each.routing.slot for each in self.services()]
        assert len(set(slots)) == len(slots)

    @invariant()
    def nothing_is_left_of_services_that_are_gone(self) -> None:
        here = {each.name for each in self.services()}
        if hasattr(self, "story"):
            assert self.story.probed.keys() <= here
            claimed = {each for name in here for each in self.story.frontends(name)}
            assert self.story.handed_over.keys() <= claimed
            if self.is_synced:
                assert self.story.modes.keys() == claimed

    @invariant()
    def the_bound_holds(self) -> None:
        if hasattr(self, "story"):
            assert self.story.node.held <= HELD_MAX

    def services(self) -> list[Service]:
        return list(self.story.node) if hasattr(self, "story") else []

    def teardown(self) -> None:
        """Once nothing happens any more, everything ends: no SYN, no watch, no timer."""
        if not hasattr(self, "story"):
            return
        while self.on_its_way:
            self.the_daemon_reads_an_answer()
        self.story.synced()
        self.story.pass_ms(70_000)
        assert self.story.node.held == 0
        assert self.story.watched == set()
        assert self.story.node.next_deadline_ns() is None


TestNodeMachine = NodeMachine.TestCase
TestNodeMachine.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
