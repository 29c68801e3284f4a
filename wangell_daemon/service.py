"""One service as a node sees it: hold its SYNs, or let them in.

Pure: inputs come as calls with the time, and what is to be done comes back as effects, in order.
The controller's record decides, with one exception: on LISTEN the service is *released* here at
once, because the record's way through the controller would cost the wake a round trip.
"""

import dataclasses
from collections.abc import Callable

from wangell_daemon.effects import (
    CountConnections,
    Effect,
    EndColdStart,
    EndHandOver,
    EndWait,
    ForgetFrontends,
    HandOver,
    Inject,
    Mode,
    Probe,
    Refuse,
    ReportListening,
    ReportWake,
    SetMode,
    StopProbe,
    Unwatch,
    Watch,
)
from wangell_daemon.held import HeldSyn, HeldSyns
from wangell_daemon.packets import frontend_key
from wangell_daemon.timeline import Timeline
from wangell_proto.vocabulary import Endpoint, Phase, ServiceRecord, Wake

__all__ = ["Service"]

# Connections that may be out at a time where the listener's queue cannot be read (another node's,
# a virtual machine's): the smallest backlog in common use, Python's http.server's.
ROOM_UNKNOWN = 5
# How soon to look again when the queue is full and nothing is out whose answer would tell us.
ROOM_RETRY_NS = 2_000_000
# A controller's Started may come after the client's ACK; the cold start is told without it then.
STARTED_WAIT_NS = 1_000_000_000
# A fast server listens before the record says that it was started; what listened longer ago than
# this before it was somebody else's.
HEARD_NS_MAX = 5_000_000_000


class _Wake:
    """A wake under way."""

    def __init__(self, timeline: Timeline) -> None:
        self.timeline = timeline
        self.clients = 0
        self.is_reported = False


class Service:
    """The holds and replays of one service. `slot` is its place in the kernel's activity array."""

    def __init__(self, name: str, slot: int, *, node: str, probes: bool) -> None:
        self.name = name
        self.slot = slot
        self.record: ServiceRecord | None = None
        self.frontends: tuple[bytes, ...] = ()
        self.held = HeldSyns()
        self._node = node
        self._probes = probes
        self._mode: Mode | None = None
        self._wake: _Wake | None = None
        self._heard: str | None = None  # the workload that listens, since the record turned cold
        self._heard_address = ""
        self._listened_ns = 0
        self._room: Callable[[], int] = lambda: ROOM_UNKNOWN
        self._is_released = False
        self._look_again_ns: int | None = None
        self._handed_to: Endpoint | None = None
        self.warm_since_ns = 0

    @property
    def is_busy(self) -> bool:
        """Whether SYNs are held, or a wake is not over."""
        return bool(self.held) or self._wake is not None

    # What the controller says.

    def update(self, record: ServiceRecord, *, now_ns: int) -> list[Effect]:
        """Take a new record. Its frontends have been checked."""
        before, self.record = self.record, record
        effects = self._move_frontends(record)
        if record.phase in (Phase.COLD, Phase.DRAINING):
            self._heard, self._is_released = None, False
        match record.phase:
            case Phase.COLD:
                return effects + self._turned_cold(before)
            case Phase.WAKING:
                return effects + self._turned_waking(before, now_ns=now_ns)
            case Phase.WARM:
                return [*effects, *self._admit(now_ns=now_ns), StopProbe(self.name)]
            case Phase.DRAINING:
                return effects + self._turned_draining()

    def remove(self) -> list[Effect]:
        """The service was deleted."""
        ended = self._end_hand_over()
        return [*ended, ForgetFrontends(self.frontends), *self._refuse_all("failed")]

    def started(self, *, received_ns: int, spawned_ns: int, rtt_ns: int | None) -> list[Effect]:
        """The controller says when it started the replica."""
        if self._wake is None:
            return []
        self._wake.timeline.place_start(
            received_ns=received_ns, spawned_ns=spawned_ns, rtt_ns=rtt_ns
        )
        return self._end_if_told()

    def link_restored(self) -> list[Effect]:
        """The table is whole, perhaps from another controller: say what it may have missed."""
        if self._wake is not None:
            self._wake.is_reported = False
        return self._report_wake() + self._report_listening()

    # What the kernel says.

    def syn(self, held: HeldSyn, *, now_ns: int) -> list[Effect]:
        """XDP has held a SYN. Where the service has been released meanwhile, it goes in at once."""
        is_new = self.held.hold(held)
        if self._is_released:
            return self._let_in(now_ns=now_ns)
        if self._wake is None:
            self._wake = _Wake(Timeline(first_syn_ns=held.first_seen_ns, detected_ns=now_ns))
        self._wake.clients += is_new
        return self._report_wake()

    def listens(
        self,
        workload: str,
        *,
        seen_ns: int,
        now_ns: int,
        address: str = "",
        room: Callable[[], int] | None = None,
    ) -> list[Effect]:
        """A replica of this node listens; `room()`: how many connections its queue still takes."""
        self._heard, self._heard_address, self._listened_ns = workload, address, seen_ns
        self._room = room or (lambda: ROOM_UNKNOWN)
        is_waking = self.record is not None and self.record.phase is Phase.WAKING
        return self._release(now_ns=now_ns) if is_waking or self._wake is not None else []

    def injected(self, *, now_ns: int) -> None:
        """An Inject is being carried out."""
        if self._wake is not None and self._wake.timeline.injected_ns is None:
            self._wake.timeline.injected_ns = now_ns

    def answered(self, flow: bytes, *, seen_ns: int, is_reset: bool, now_ns: int) -> list[Effect]:
        """XDP saw the first packet of a replayed connection's client."""
        held = self.held.answered(flow)
        effects: list[Effect] = []
        if held is not None and not is_reset:
            effects.append(EndWait(self.name, seen_ns - held.first_seen_ns))
        if self._wake is not None and not is_reset and self._wake.timeline.acked_ns is None:
            self._wake.timeline.acked_ns = seen_ns
        effects += self._let_in(now_ns=now_ns) + self._end_if_told()
        if is_reset and not self.held and self._wake and self._wake.timeline.acked_ns is None:
            effects += self._end("abandoned")
        return effects

    # What the clock says.

    def next_deadline_ns(self) -> int | None:
        """When `deadline` has something to do; None: nothing is under way."""
        candidates = [self.held.next_due_ns(), self._look_again_ns, self._hold_deadline_ns()]
        if self._wake is not None and self._wake.timeline.acked_ns is not None:
            candidates.append(self._wake.timeline.acked_ns + STARTED_WAIT_NS)
        return min((due for due in candidates if due is not None), default=None)

    def deadline(self, *, now_ns: int) -> list[Effect]:
        """Repeat what is unanswered, give up what is past its time."""
        effects: list[Effect] = [
            Unwatch(held.syn.flow) for held in self.held.take_unanswerable(now_ns=now_ns)
        ]
        hold_deadline_ns = self._hold_deadline_ns()
        if hold_deadline_ns is not None and hold_deadline_ns <= now_ns:
            return effects + self._refuse_all("timeout")
        if self._is_released:
            effects += self._let_in(now_ns=now_ns)
        acked_ns = self._wake.timeline.acked_ns if self._wake else None
        if acked_ns is not None and acked_ns + STARTED_WAIT_NS <= now_ns:
            return effects + self._end("answered")
        if self._is_released and not self.held and self._wake and acked_ns is None:
            return effects + self._end("timeout")
        return effects

    # The record's phases.

    def _move_frontends(self, record: ServiceRecord) -> list[Effect]:
        frontends = tuple(frontend_key(each.address, each.port) for each in record.frontends)
        if frontends == self.frontends:
            return []
        ended = self._end_hand_over()
        gone = tuple(each for each in self.frontends if each not in frontends)
        self._mode = None  # some are not in the map yet
        self.frontends = frontends
        return [*ended, ForgetFrontends(gone)] if gone else ended

    def _turned_cold(self, before: ServiceRecord | None) -> list[Effect]:
        effects = [*self._set_mode(Mode.HOLD), *self._end_hand_over(), StopProbe(self.name)]
        if before is not None and before.phase is Phase.WAKING:
            return effects + self._refuse_all("failed")
        self.held.recall()
        return effects + self._report_wake()

    def _turned_waking(self, before: ServiceRecord | None, *, now_ns: int) -> list[Effect]:
        if self._is_released:
            return []
        effects = self._set_mode(Mode.HOLD) + self._hand_over()
        if self._heard is not None and now_ns - self._listened_ns <= HEARD_NS_MAX:
            return effects + self._release(now_ns=now_ns)
        # A predecessor may have missed the LISTEN: ask once, after our own watch has begun.
        return effects + self._probe(is_once=not self._probes, wanted=before is None)

    def _turned_draining(self) -> list[Effect]:
        assert self.record is not None
        self.held.recall()
        count = CountConnections(
            service=self.name,
            activation=self.record.activation,
            workloads=tuple(each.workload for each in self._own_endpoints()),
            port=self.record.target_port,
        )
        hold = [*self._set_mode(Mode.HOLD), *self._end_hand_over()]
        return [*hold, count, *self._report_wake()]

    # Letting in.

    def _release(self, *, now_ns: int) -> list[Effect]:
        effects = self._admit(now_ns=now_ns, listened_ns=self._listened_ns)
        return [*effects, *self._report_listening(), StopProbe(self.name)]

    def _admit(self, *, now_ns: int, listened_ns: int | None = None) -> list[Effect]:
        if not self._is_released:
            self._is_released, self.warm_since_ns = True, now_ns
        return self._hand_over() + self._let_in(now_ns=now_ns, listened_ns=listened_ns)

    def _let_in(self, *, now_ns: int, listened_ns: int | None = None) -> list[Effect]:
        """Flip before replaying: in generic mode a replay passes our own program again."""
        if self._wake is not None and self._wake.timeline.listened_ns is None:
            self._wake.timeline.listened_ns = listened_ns or now_ns
        effects = self._set_mode(Mode.SETTLE if self.held else Mode.PASS)
        room = 1 if len(self.held) == 1 else self._room()
        for held in self.held.take_due(now_ns=now_ns, room=room):
            if held.injections == 1:
                effects.append(Watch(held.syn.flow))
            effects.append(Inject(self.name, held))
        is_stuck = self.held.waiting > 0 and self.held.out == 0
        self._look_again_ns = now_ns + ROOM_RETRY_NS if is_stuck else None
        return effects

    def _set_mode(self, mode: Mode) -> list[Effect]:
        if mode is self._mode:
            return []
        self._mode = mode
        return [SetMode(self.frontends, self.slot, mode)]

    # Sending on.

    def _hand_over(self) -> list[Effect]:
        """Point new connections at a replica; set while SYNs are held, off the wake path."""
        endpoint = self._chosen_endpoint()
        if endpoint is None or self.record is None or endpoint.is_routed:
            return self._end_hand_over()
        if endpoint == self._handed_to:
            return []
        self._handed_to = endpoint
        is_away = endpoint.node != self._node
        return [HandOver(self.frontends, endpoint.address, self.record.target_port, is_away)]

    def _end_hand_over(self) -> list[Effect]:
        if self._handed_to is None:
            return []
        self._handed_to = None
        return [EndHandOver(self.frontends)]

    def _chosen_endpoint(self) -> Endpoint | None:
        """The one that is known to listen, else one of this node: it sees the client's address."""
        known = [self._with_address(each) for each in self.record.endpoints] if self.record else []
        endpoints = [each for each in known if each.address]
        endpoints.sort(key=lambda each: (each.workload != self._heard, each.node != self._node))
        return endpoints[0] if endpoints else None

    def _with_address(self, endpoint: Endpoint) -> Endpoint:
        if endpoint.address or endpoint.workload != self._heard:
            return endpoint
        return dataclasses.replace(endpoint, address=self._heard_address)

    # Telling the controller.

    def _report_wake(self) -> list[Effect]:
        record = self.record
        if record is None or record.phase not in (Phase.COLD, Phase.DRAINING):
            return []
        if not self.held or self._wake is None or self._wake.is_reported:
            return []
        self._wake.is_reported = True
        wake = Wake(
            service=self.name,
            address=record.frontends[0].address,
            port=record.frontends[0].port,
            sequence=next(iter(self.held)).syn.sequence,
            activation=record.activation,
        )
        # The handover costs nothing here: the controller has the wake by now, and we would wait.
        return [ReportWake(wake), *self._hand_over(), *self._probe(is_once=False, wanted=False)]

    def _report_listening(self) -> list[Effect]:
        record = self.record
        if record is None or self._heard is None or not self._is_released:
            return []
        if record.phase not in (Phase.COLD, Phase.WAKING):
            return []
        report = ReportListening(self.name, self._activation(), self._heard, self._heard_address)
        return [report]

    def _probe(self, *, is_once: bool, wanted: bool) -> list[Effect]:
        assert self.record is not None
        if not (self._probes or wanted):
            return []
        port = self.record.target_port
        return [Probe(self.name, each, port, is_once) for each in self._own_endpoints()]

    def _own_endpoints(self) -> list[Endpoint]:
        endpoints = self.record.endpoints if self.record else ()
        return [each for each in endpoints if each.node == self._node]

    # Ending.

    def _hold_deadline_ns(self) -> int | None:
        if self._is_released or not self.held or self.record is None:
            return None
        return next(iter(self.held)).first_seen_ns + int(self.record.activation_timeout_s * 1e9)

    def _refuse_all(self, outcome: str) -> list[Effect]:
        refused = self.held.clear()
        effects: list[Effect] = [Unwatch(held.syn.flow) for held in refused if held.injections]
        return effects + [Refuse(self.name, held) for held in refused] + self._end(outcome)

    def _end_if_told(self) -> list[Effect]:
        wake = self._wake
        if wake is None or wake.timeline.acked_ns is None or wake.timeline.spawned_ns is None:
            return []
        return self._end("answered")

    def _end(self, outcome: str) -> list[Effect]:
        wake, self._wake = self._wake, None
        if wake is None:
            return []
        return [EndColdStart(self.name, self._activation(), outcome, wake.clients, wake.timeline)]

    def _activation(self) -> int:
        """Of the wake under way: a record that is still cold is about to count one more."""
        if self.record is None:
            return 0
        return self.record.activation + (self._is_released and self.record.phase is Phase.COLD)
