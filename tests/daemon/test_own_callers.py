"""Calls of the node itself: held with their services, let in again, and told of as any other."""
# ruff: noqa: ARG002 (the parts that write down what they are told take the real ones' arguments)

import asyncio
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import cast

import pytest

from tests.daemon.packets import Segment
from tests.daemon.story import VIP, key
from tests.daemon.test_agent import House
from wangell_daemon import own_callers
from wangell_daemon.datapath import Caller, OwnCalls
from wangell_daemon.packets import with_checksums
from wangell_proto.vocabulary import Armed, ColdStart, Phase

FRONTEND = key(VIP)
LET_PASS_AFTER_S = own_callers.LET_PASS_AFTER_S


@pytest.fixture(autouse=True)
def _in_a_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_callers, "LET_PASS_AFTER_S", 0.0)


class Calls:
    """The kernel's part: which frontends it holds, what was sent, and what callers are in."""

    def __init__(self) -> None:
        self.held: set[bytes] = set()
        self.wanted: set[bytes] = set()
        self.restricted: dict[bytes, Collection[str]] = {}
        self.sent: list[bytes] = []
        self.refused: list[bytes] = []
        self.restored = self.beats = 0
        self.callers = [Caller.WAITING]
        self.fails = self.is_refused = False

    @property
    def is_changed(self) -> bool:
        return self.held != self.wanted

    def hold(self, frontends: Iterable[bytes]) -> None:
        self.wanted |= set(frontends)

    def let_pass(self, frontends: Iterable[bytes]) -> None:
        self.wanted -= set(frontends)

    def restrict(self, frontend: bytes, sources: Collection[str]) -> None:
        self.restricted[frontend] = sources

    def apply(self) -> None:
        if self.fails:
            raise OSError("no room")
        if not self.is_refused:
            self.held = set(self.wanted)

    def holds(self, frontend: bytes) -> bool:
        return frontend in self.held

    def restore(self) -> None:
        self.restored += 1
        self.held = set(self.wanted)

    def beat(self) -> None:
        self.beats += 1

    def caller(self, flow: bytes) -> Caller:
        return self.callers.pop(0) if len(self.callers) > 1 else self.callers[0]

    def send(self, frame: bytes) -> None:
        assert FRONTEND not in self.held, "it would be held again"
        self.sent.append(frame)

    def refuse(self, frame: bytes) -> None:
        self.refused.append(frame)


class Node(House):
    """An agent of a node that calls for itself."""

    def __init__(self, tmp_path: Path) -> None:
        self.calls = Calls()
        super().__init__(tmp_path, own_calls=cast("OwnCalls", self.calls))

    def own_syn(self) -> None:
        self.agent.own_held(Segment().raw)

    def wake(self) -> None:
        self.own_syn()
        self.table(Phase.WAKING, activation=1)

    def outcomes(self) -> list[str]:
        return [each.outcome for each in self.controller.of(ColdStart)]


async def turn() -> None:
    """What was to be done soon is done."""
    for _ in range(3):
        await asyncio.sleep(0)


def play(tmp_path: Path, story: Callable[[Node], object]) -> Node:
    """Tell a story, a coroutine or not, within an event loop."""

    async def told() -> Node:
        node = Node(tmp_path)
        node.table()
        await turn()
        waiting = story(node)
        if asyncio.iscoroutine(waiting):
            await waiting
        await turn()
        node.close()
        return node

    return asyncio.run(told())


def test_they_are_held_with_their_service(tmp_path: Path) -> None:
    assert play(tmp_path, lambda _: None).calls.held == {FRONTEND}


def test_they_pass_once_it_is_warm_or_gone(tmp_path: Path) -> None:
    warm = play(tmp_path, lambda node: node.table(Phase.WARM, activation=1))
    assert warm.calls.held == set()
    gone = play(tmp_path, lambda node: node.agent.record_changed("default/x", None))
    assert gone.calls.held == set()


def test_the_kernel_lets_them_pass_when_the_first_answer_is_under_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_callers, "LET_PASS_AFTER_S", LET_PASS_AFTER_S)

    async def story(node: Node) -> None:
        node.table(Phase.WARM, activation=1)
        await turn()
        assert node.calls.held == {FRONTEND}
        await asyncio.sleep(LET_PASS_AFTER_S + 0.01)
        assert node.calls.held == set()

    play(tmp_path, story)


def test_a_whole_table_is_told_at_once_and_not_service_by_service(tmp_path: Path) -> None:
    async def story(node: Node) -> None:
        node.calls.fails = True  # Told now, it would fail.
        node.table(Phase.WARM, activation=1)
        node.table(Phase.COLD, activation=1)
        node.calls.fails = False

    assert play(tmp_path, story).count("wangell_daemon_failures_total", step="own_calls") == 0


def test_armed_is_said_when_they_are_held(tmp_path: Path) -> None:
    async def story(node: Node) -> None:
        node.table(Phase.WARM, activation=1)
        await turn()
        assert node.calls.held == set()
        node.table(Phase.DRAINING, activation=1)
        assert node.controller.of(Armed)
        assert node.calls.held == {FRONTEND}

    play(tmp_path, story)


def test_one_is_sent_again_whole_when_a_replica_listens(tmp_path: Path) -> None:
    async def story(node: Node) -> None:
        node.wake()
        assert node.calls.sent == []
        node.calls.callers = [Caller.WAITING, Caller.ANSWERED]
        node.listen()

    node = play(tmp_path, story)
    assert node.calls.sent == [with_checksums(Segment().raw)]
    assert node.kernel.injected == [], "not by way of an interface"
    assert "watch" not in node.journal, "no program sees its caller's packets"
    assert len(node.node["default/x"].held) == 0, "its caller has its answer"
    assert node.count("wangell_syn_replays_total", namespace="default", service="x") == 1


def test_one_that_answered_and_ended_within_the_call_was_answered(tmp_path: Path) -> None:
    async def story(node: Node) -> None:
        node.wake()
        node.calls.callers = [Caller.WAITING, Caller.GONE]
        node.listen()

    node = play(tmp_path, story)
    assert len(node.node["default/x"].held) == 0
    assert "abandoned" not in node.outcomes()


def test_one_without_an_answer_is_looked_at_before_it_is_sent_again(tmp_path: Path) -> None:
    async def story(node: Node) -> None:
        node.wake()
        node.listen()
        await turn()
        assert len(node.node["default/x"].held) == 1
        node.calls.callers = [Caller.ANSWERED]
        await asyncio.sleep(0.006)  # The first repeat is due after 5 ms.

    node = play(tmp_path, story)
    assert len(node.calls.sent) == 1
    assert len(node.node["default/x"].held) == 0


def test_a_caller_that_has_given_up_gets_nothing(tmp_path: Path) -> None:
    async def story(node: Node) -> None:
        node.wake()
        node.calls.callers = [Caller.GONE]
        node.listen()

    node = play(tmp_path, story)
    assert node.calls.sent == []
    assert node.outcomes() == ["abandoned"]


def test_a_wake_that_fails_refuses_them(tmp_path: Path) -> None:
    async def story(node: Node) -> None:
        node.wake()
        node.table(Phase.COLD, activation=1)

    node = play(tmp_path, story)
    assert node.calls.refused == [Segment().raw]
    assert "refuse" not in node.journal


def test_one_that_comes_after_the_flip_goes_in_at_once(tmp_path: Path) -> None:
    async def story(node: Node) -> None:
        node.table(Phase.WARM, activation=1)
        node.own_syn()  # Before the kernel was told.

    assert len(play(tmp_path, story).calls.sent) == 1


def test_one_that_the_nodes_proxy_would_refuse_goes_in_when_it_has_caught_up(
    tmp_path: Path,
) -> None:
    async def story(node: Node) -> None:
        node.wake()
        node.calls.is_refused = True
        node.listen()
        await asyncio.sleep(0.006)
        assert node.calls.sent == []
        node.calls.is_refused = False
        await asyncio.sleep(0.015)

    node = play(tmp_path, story)
    assert len(node.calls.sent) >= 1
    assert node.count("wangell_syn_replays_total", namespace="default", service="x") >= 1


def test_one_that_was_put_off_for_too_long_is_not_sent(tmp_path: Path) -> None:
    """Its caller has sent another since, or has gone."""

    async def story(node: Node) -> None:
        node.wake()
        node.calls.is_refused = True
        node.listen()
        (held,) = node.node["default/x"].held
        held.due_ns = held.injections = 0  # As long ago.
        node.close()
        node.calls.is_refused = False
        await asyncio.sleep(0.015)

    assert play(tmp_path, story).calls.sent == []


def test_each_beat_renews_and_tries_again_what_was_refused(tmp_path: Path) -> None:
    async def story(node: Node) -> None:
        node.calls.fails = True
        node.table(Phase.WARM, activation=1)
        await turn()
        assert node.count("wangell_daemon_failures_total", step="own_calls") == 1
        node.calls.fails = False
        node.agent.beat()

    node = play(tmp_path, story)
    assert node.calls.beats == 1
    assert node.calls.held == set()


def test_what_a_predecessor_held_goes_once_with_the_first_whole_table(tmp_path: Path) -> None:
    async def story(node: Node) -> None:
        node.agent.table_synced(["default/x"])
        node.agent.table_synced(["default/x"])

    assert play(tmp_path, story).calls.restored == 1


def test_what_is_no_syn_is_counted(tmp_path: Path) -> None:
    node = play(tmp_path, lambda node: node.agent.own_held(b"\0" * 60))
    assert node.count("wangell_syns_dropped_total", reason="bad_frame") == 1
