"""One service as a node sees it: hold its SYNs, or let them in.

Pure: inputs come as calls with the time, and what is to be done comes back as effects, in order.
The controller's record decides, with one exception: on LISTEN the service is *released* here at
once, because the record's way through the controller would cost the wake a round trip.
"""

from collections.abc import Callable

from wangell_daemon.effects import (
    CountConnections,
    Effect,
    EndColdStart,
    EndWait,
    GiveUp,
    Inject,
    Mode,
    Probe,
    ReportListening,
    ReportWake,
    StopProbe,
    Unwatch,
    Watch,
    refusals,
)
from wangell_daemon.endpoints import chosen_endpoint
from wangell_daemon.held import HeldSyn, HeldSyns, Tally
from wangell_daemon.meter import Meter
from wangell_daemon.raised import has_ended_drain
from wangell_daemon.routing import Routing
from wangell_daemon.timeline import Timeline
from wangell_daemon.wake import REPEAT_NS, Wake, is_later, wake_message
from wangell_proto.vocabulary import Endpoint, Phase, ServiceRecord, Started

__all__ = ["Service"]

# Connections that may be out at a time where the listener's queue cannot be read (another node's,
# a virtual machine's): the smallest backlog in common use, Python's http.server's.
ROOM_UNKNOWN = 5
# How soon to look again when the queue is full and nothing is out whose answer would tell us.
ROOM_RETRY_NS = 2_000_000
# A fast server listens before the record says that it was started; what listened longer ago than
# this before it was somebody else's.
HEARD_NS_MAX = 5_000_000_000


class Service:
    """The holds and replays of one service; times are CLOCK_MONOTONIC."""

    def __init__(
        self, name: str, slot: int, *, node: str, probes: bool, tally: Tally | None = None
    ) -> None:
        self.name = name
        self.record: ServiceRecord | None = None
        self.routing = Routing(slot)
        self.held = HeldSyns(tally)
        self.warm_since_ns = 0
        self._node = node
        self._probes = probes
        self._wake: Wake | None = None
        self.is_released = False
        self._heard: str | None = None  # the workload that listens, since the record turned cold
        self._heard_address = ""
        self._listened_ns = self._waking_since_ns = self._timeout_ns = 0
        self._room: Callable[[], int] = lambda: ROOM_UNKNOWN
        self._look_again_ns: int | None = None
        self._meter = Meter()

    # What the controller says.

    def update(
        self, record: ServiceRecord, frontends: tuple[bytes, ...], *, now_ns: int
    ) -> list[Effect]:
        """Take a new record; `frontends` are its own, as this node has them, and checked."""
        before, self.record = self.record, record
        self._timeout_ns = int(record.activation_timeout_s * 1e9)
        effects = self._move(frontends)
        if record.phase in (Phase.COLD, Phase.DRAINING) or is_later(record, before):
            self._recall()
        match record.phase:
            case Phase.COLD:
                return effects + self._turned_cold(before)
            case Phase.WAKING:
                if before is None or before.phase is not Phase.WAKING:
                    self._waking_since_ns = now_ns
                return effects + self._turned_waking(before, now_ns=now_ns)
            case Phase.WARM:
                return [*effects, *self._admit(now_ns=now_ns), StopProbe(self.name)]
            case Phase.DRAINING:
                return effects + self._turned_draining()

    def remove(self) -> list[Effect]:
        """The service was deleted."""
        return [*self.routing.forget(), *self._refuse_all("failed")]

    def lose(self, frontend: bytes) -> list[Effect]:
        """Another service has the address now; our own record that says so waits for another's."""
        remaining = tuple(each for each in self.routing.frontends if each != frontend)
        effects = self.routing.move(remaining)
        return effects + refusals(self.name, self.held.take_not_to(remaining))

    def started(self, report: Started, *, rtt_ns: int | None, now_ns: int) -> list[Effect]:
        """A controller says when it started the replica."""
        if self._wake is not None:
            self._wake.take_start(report, rtt_ns=rtt_ns)
        record = self.record
        if record is None or record.phase is not Phase.DRAINING:
            return self._end_if_told()
        admitted = self._admit(now_ns=now_ns) if has_ended_drain(report, record) else []
        return admitted + self._end_if_told()

    def link_restored(self) -> list[Effect]:
        """The table is whole, perhaps from another controller: say what it may have missed."""
        if self._wake is not None:
            self._wake.reported_activation = None
        is_draining = self.record is not None and self.record.phase is Phase.DRAINING
        armed = [self._count_connections()] if is_draining else []
        return [*armed, *self._report_wake(), *self._report_listening()]

    def repeat(self, *, now_ns: int) -> list[Effect]:
        """Say again what has not come about: whoever acknowledged it may not have acted on it."""
        if self.record is not None and self.record.phase is Phase.WAKING and self._heard is None:
            # It may have listened before we began, or all through a drain that has come to nothing.
            is_long = now_ns - self._waking_since_ns >= REPEAT_NS and not self._probes
            return self._probe(is_once=True, wanted=True) if is_long else []
        is_long = now_ns - self._listened_ns >= REPEAT_NS
        return self._report_listening() if is_long else []

    # What the kernel says.

    def syn(self, held: HeldSyn, *, now_ns: int) -> list[Effect]:
        """XDP has held a SYN. Where the service has been released meanwhile, it goes in at once."""
        is_new = self.held.hold(held)
        if self._wake is None and not self.is_released:
            self._wake = Wake(Timeline(first_syn_ns=held.first_seen_ns, detected_ns=now_ns))
        if self._wake is not None:
            self._wake.clients += is_new
        return self._let_in(now_ns=now_ns) if self.is_released else self._report_wake()

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
        if now_ns - seen_ns > HEARD_NS_MAX:
            return self._probe(is_once=True, wanted=True) if self._is_awaited() else []
        self._heard, self._heard_address, self._listened_ns = workload, address, seen_ns
        self._room = room or (lambda: ROOM_UNKNOWN)
        return self._release(now_ns=now_ns) if self._is_awaited() else []

    def injected(self, *, now_ns: int) -> None:
        """An Inject is being carried out."""
        if self._wake is not None:
            self._wake.injected(now_ns)

    def answered(self, flow: bytes, *, seen_ns: int, is_reset: bool, now_ns: int) -> list[Effect]:
        """XDP saw the first packet of a replayed connection's client."""
        held = self.held.answered(flow)
        effects: list[Effect] = []
        if held is not None and not is_reset:
            effects.append(EndWait(self.name, seen_ns - held.first_seen_ns))
        if self._wake is not None and not is_reset:
            self._wake.acked(seen_ns)
        if self.is_released:
            effects += self._let_in(now_ns=now_ns)
        return effects + self._end_if_told() + self._end_if_abandoned("abandoned")

    # What the clock says.

    def next_deadline_ns(self) -> int | None:
        """When `deadline` has something to do; None: nothing is under way."""
        candidates = [self.held.next_due_ns(), self._look_again_ns, self._waiting_until_ns()]
        candidates += [self._meter.until_ns, self._repeat_at_ns()]
        if self._wake is not None:
            candidates.append(self._wake.waits_for_start_until_ns())
        return min((due for due in candidates if due is not None), default=None)

    def deadline(self, *, now_ns: int) -> list[Effect]:
        """Repeat what is unanswered, give up what is past its time."""
        effects = self._give_up(self.held.take_unanswerable(now_ns=now_ns))
        waiting_until_ns = self._waiting_until_ns()
        if waiting_until_ns is not None and waiting_until_ns <= now_ns:
            effects += self._refuse_waiting(now_ns=now_ns)
        if self.is_released:
            effects += self._let_in(now_ns=now_ns)
        effects += self._repeat_wake(now_ns=now_ns)
        told_ns = self._wake.waits_for_start_until_ns() if self._wake else None
        if told_ns is not None and told_ns <= now_ns:
            return effects + self._end("answered")
        return effects + self._end_if_abandoned("timeout")

    # The record's phases.

    def _move(self, frontends: tuple[bytes, ...]) -> list[Effect]:
        """Callers of an address that is no longer the service's are not sent on: refused."""
        before = self.routing.frontends
        effects = self.routing.move(frontends)
        if before in ((), self.routing.frontends):
            return effects
        return effects + refusals(self.name, self.held.take_not_to(self.routing.frontends))

    def _turned_cold(self, before: ServiceRecord | None) -> list[Effect]:
        effects = [*self.routing.set_mode(Mode.HOLD), *self.routing.end_hand_over()]
        if self._has_failed(before):
            return effects + self._refuse_all("failed")
        return [*effects, StopProbe(self.name), *self._report_wake()]

    def _has_failed(self, before: ServiceRecord | None) -> bool:
        """Whether the wake came to nothing; its record of waking may have been skipped."""
        assert self.record is not None
        if before is not None and before.phase is Phase.WAKING:
            # A lower one is of a leader that does not know of what was raised without it.
            return self.record.activation >= before.activation
        reported = self._wake.reported_activation if self._wake is not None else None
        return reported is not None and self.record.activation > reported

    def _turned_waking(self, before: ServiceRecord | None, *, now_ns: int) -> list[Effect]:
        if self.is_released:
            return self._admit(now_ns=now_ns)
        effects = self.routing.set_mode(Mode.HOLD) + self._hand_over()
        if self._heard is not None and now_ns - self._listened_ns <= HEARD_NS_MAX:
            return effects + self._release(now_ns=now_ns)
        # A predecessor may have missed the LISTEN, or it came before a late record that made us
        # forget it: ask once, after our own watch has begun.
        wanted = before is None or self._may_have_listened(now_ns)
        return effects + self._probe(is_once=not self._probes, wanted=wanted)

    def _may_have_listened(self, now_ns: int) -> bool:
        """Whether what was forgotten may be this activation's; not what came before its SYN."""
        since_ns = now_ns - HEARD_NS_MAX
        if self._wake is not None:
            since_ns = max(since_ns, self._wake.timeline.first_syn_ns)
        return self._listened_ns >= max(1, since_ns)

    def _turned_draining(self) -> list[Effect]:
        hold = [*self.routing.set_mode(Mode.HOLD), *self.routing.end_hand_over()]
        return [*hold, self._count_connections(), *self._report_wake()]

    def _recall(self) -> None:
        """Nothing listens any more: what is out waits again."""
        self._heard, self.is_released, self._look_again_ns = None, False, None
        self._meter.stop()
        self.held.recall()

    # Letting in.

    def _release(self, *, now_ns: int) -> list[Effect]:
        effects = self._admit(now_ns=now_ns, listened_ns=self._listened_ns)
        return [*effects, *self._report_listening(), StopProbe(self.name)]

    def _admit(self, *, now_ns: int, listened_ns: int | None = None) -> list[Effect]:
        if not self.is_released:
            self.is_released, self.warm_since_ns = True, now_ns
            self._meter.start(now_ns=now_ns, callers=len(self.held))
        if self._wake is not None:
            self._wake.listened(listened_ns or now_ns)
        return self._hand_over() + self._let_in(now_ns=now_ns)

    def _let_in(self, *, now_ns: int) -> list[Effect]:
        """Flip before replaying: in generic mode a replay passes our own program again."""
        is_metered = self._meter.is_on(now_ns)
        settled = Mode.SETTLE if self.held else Mode.PASS
        effects = self.routing.set_mode(Mode.METER if is_metered else settled)
        is_alone = len(self.held) <= 1 and not is_metered
        room = 1 if is_alone else self._room()
        for held in self.held.take_due(now_ns=now_ns, room=room):
            if not held.is_watched:
                held.is_watched = True
                effects.append(Watch(held.syn.flow))
            effects.append(Inject(self.name, held))
        is_stuck = self.held.waiting > 0 and not self.held.has_hope
        self._look_again_ns = now_ns + ROOM_RETRY_NS if is_stuck else None
        return effects

    def _hand_over(self) -> list[Effect]:
        """Point new connections at a replica; set while SYNs are held, off the wake path."""
        endpoint = chosen_endpoint(
            self.record, heard=self._heard, heard_address=self._heard_address, node=self._node
        )
        if endpoint is None or self.record is None:
            return self.routing.end_hand_over()
        is_away = endpoint.node != self._node
        return self.routing.hand_over(endpoint.address, self.record.target_port, is_away=is_away)

    # Telling the controller.

    def _report_wake(self) -> list[Effect]:
        record = self.record
        if record is None or record.phase not in (Phase.COLD, Phase.DRAINING):
            return []
        if not self.held or self._wake is None or self._wake.is_reported:
            return []
        self._wake.reported_activation = record.activation
        wake = wake_message(self.name, self.held, record.activation)
        if record.phase is Phase.DRAINING:  # What would answer, or be handed to, is going, perhaps.
            return [ReportWake(wake)]
        # The handover costs nothing here: the controller has the wake by now, and we would wait.
        return [ReportWake(wake), *self._hand_over(), *self._probe(is_once=False, wanted=False)]

    def _repeat_at_ns(self) -> int | None:
        """When the wake is to be said again; None: nobody waits for a controller."""
        record, is_over = self.record, not self.held or self.is_released
        if is_over or self._wake is None or record is None or record.phase is Phase.WARM:
            return None
        return self._wake.repeat_at_ns

    def _repeat_wake(self, *, now_ns: int) -> list[Effect]:
        record, wake, due_ns = self.record, self._wake, self._repeat_at_ns()
        if record is None or wake is None or due_ns is None or now_ns < due_ns:
            return []
        wake.repeat_at_ns = now_ns + REPEAT_NS
        # While it is waking, the wake was for the activation before the record's.
        activation = max(0, record.activation - (record.phase is Phase.WAKING))
        if record.phase is not Phase.WAKING:
            wake.reported_activation = activation
        return [ReportWake(wake_message(self.name, self.held, activation), is_repeat=True)]

    def _is_awaited(self) -> bool:
        """Whether a LISTEN is what the wake waits for."""
        phase = self.record.phase if self.record else None
        is_woken_here = self._wake is not None and self._wake.is_reported
        return phase is Phase.WAKING or (phase is Phase.COLD and is_woken_here)

    def _report_listening(self) -> list[Effect]:
        record = self.record
        if record is None or self._heard is None or not self.is_released:
            return []
        if record.phase not in (Phase.COLD, Phase.WAKING):
            return []
        return [ReportListening(self.name, self._activation(), self._heard, self._heard_address)]

    def _count_connections(self) -> CountConnections:
        assert self.record is not None
        return CountConnections(
            service=self.name,
            activation=self.record.activation,
            workloads=tuple(each.workload for each in self._own_endpoints()),
            port=self.record.target_port,
        )

    def _probe(self, *, is_once: bool, wanted: bool) -> list[Effect]:
        assert self.record is not None
        if not (self._probes or wanted):
            return []
        port = self.record.target_port
        endpoints = [each for each in self._own_endpoints() if each.address]
        return [Probe(self.name, each, port, is_once) for each in endpoints]

    def _own_endpoints(self) -> list[Endpoint]:
        endpoints = self.record.endpoints if self.record else ()
        return [each for each in endpoints if each.node == self._node]

    # Ending.

    def _waiting_until_ns(self) -> int | None:
        """When a SYN that has not been injected is refused, released or not."""
        oldest_ns = self.held.oldest_waiting_ns()
        return None if oldest_ns is None else oldest_ns + self._timeout_ns

    def _refuse_waiting(self, *, now_ns: int) -> list[Effect]:
        if not self.is_released:
            return self._refuse_all("timeout")
        expired = self.held.take_waiting_since(now_ns - self._timeout_ns)
        return refusals(self.name, expired)

    def _refuse_all(self, outcome: str) -> list[Effect]:
        refused = refusals(self.name, self.held.clear())
        return [*refused, StopProbe(self.name), *self._end(outcome)]

    def _give_up(self, gone: list[HeldSyn]) -> list[Effect]:
        if not gone:
            return []
        return [*(Unwatch(held.syn.flow) for held in gone), GiveUp("unanswered", len(gone))]

    def _end_if_told(self) -> list[Effect]:
        return self._end("answered") if self._wake is not None and self._wake.is_told else []

    def _end_if_abandoned(self, outcome: str) -> list[Effect]:
        """Nobody is left who waits for it, and nobody was answered."""
        is_over = self.is_released and not self.held
        is_open = self._wake is not None and not self._wake.is_answered
        return self._end(outcome) if is_over and is_open else []

    def _end(self, outcome: str) -> list[Effect]:
        wake, self._wake = self._wake, None
        if wake is None:
            return []
        outcome = "answered" if wake.is_answered else outcome
        return [EndColdStart(self.name, self._activation(), outcome, wake.clients, wake.timeline)]

    def _activation(self) -> int:
        """Of the wake under way: a record that is still cold is about to count one more."""
        if self.record is None:
            return 0
        return self.record.activation + (self.is_released and self.record.phase is Phase.COLD)
