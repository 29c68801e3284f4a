"""The node agent: carries out what the pure core asks, and feeds it what happens.

Ring buffers, the link's socket and timers bring events; `node` says what follows; this does it, in
order. Nothing on the wake path is polled, queued or awaited.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Iterable

from wangell_daemon.activity import activity_of
from wangell_daemon.cold_start_log import ColdStartLog, as_sentence
from wangell_daemon.datapath import Datapath, Handover
from wangell_daemon.effects import (
    CountConnections,
    Effect,
    EndColdStart,
    EndHandOver,
    EndUnclaimedHandOvers,
    EndWait,
    ForgetFrontends,
    ForgetReplica,
    GiveUp,
    HandOver,
    Inject,
    Mode,
    Probe,
    Refuse,
    ReportListening,
    ReportWake,
    Restrict,
    SetMode,
    StopProbe,
    Unwatch,
    Watch,
)
from wangell_daemon.handing_over import HandingOver
from wangell_daemon.held import HeldSyn
from wangell_daemon.kernel_events import own_syn, parse_answered, parse_held, parse_listened
from wangell_daemon.link import Link
from wangell_daemon.listeners import Listeners
from wangell_daemon.metrics import Metrics
from wangell_daemon.node import Listens, Node, RecordRefusedError
from wangell_daemon.own_callers import OwnCallers
from wangell_daemon.packets import BadFrameError, with_checksums
from wangell_daemon.readiness.probe import Prober
from wangell_daemon.readiness.workload import WorkloadRule
from wangell_daemon.refusal import Refuser
from wangell_proto import Lane
from wangell_proto.vocabulary import (
    Armed,
    ColdStart,
    Count,
    Counted,
    Listening,
    Raised,
    ServiceRecord,
    Started,
)

__all__ = ["Agent"]

log = logging.getLogger(__name__)

# Thirty within what XDP waits for, and what the controller's idle timers need at the finest.
BEAT_INTERVAL_S = 1.0
# A replica that cannot be asked counts as busy: missing data is never zero traffic.
UNKNOWN_CONNECTIONS = 1


class Agent:
    """One node's services, on one interface."""

    def __init__(
        self,
        *,
        node: Node,
        datapath: Datapath,
        handover: Handover,
        own_callers: OwnCallers,
        refuser: Refuser,
        metrics: Metrics,
        cold_starts: ColdStartLog,
        workload_rule: WorkloadRule,
        clock: str,
        watches_listen: bool,
        reuses_addresses: bool,
    ) -> None:
        """`reuses_addresses`: see HandingOver."""
        self._node = node
        self._datapath = datapath
        handing_over = HandingOver(handover, metrics, reuses_addresses=reuses_addresses)
        self._handing_over = handing_over
        self._own_callers = own_callers
        own_callers.on_answer, own_callers.on_sent = self._own_answered, self._own_sent
        self._refuser = refuser
        self.metrics = metrics
        self._cold_starts = cold_starts
        self._clock = clock
        self._watches_listen = watches_listen
        self._workload_rule = workload_rule
        self._listeners = Listeners(workload_rule)
        self._loop = asyncio.get_running_loop()
        self._is_synced = False
        self._timer: asyncio.TimerHandle | None = None
        self.link = Link(self)
        self.prober: Prober | None = None
        self.on_synced: Callable[[], None] = lambda: None
        self._actions: dict[type, Callable[..., None]] = {
            SetMode: self._set_mode,
            Restrict: self._restrict,
            ForgetFrontends: self._forget,
            HandOver: handing_over.hand_over,
            EndHandOver: handing_over.end,
            EndUnclaimedHandOvers: lambda _: handing_over.end_unclaimed(),
            Watch: lambda effect: datapath.watch(effect.flow),
            Unwatch: lambda effect: datapath.unwatch(effect.flow),
            Inject: self._inject,
            Refuse: self._refuse,
            GiveUp: lambda effect: metrics.gave_up(effect.reason, effect.count),
            ForgetReplica: self._forget_replica,
            EndWait: lambda effect: metrics.answered(
                effect.service, waited_s=effect.waited_ns / 1e9
            ),
            ReportWake: self._report_wake,
            ReportListening: self._report_listening,
            CountConnections: self._count_connections,
            Probe: self._probe,
            StopProbe: self._stop_probe,
            EndColdStart: self._end_cold_start,
        }

    @property
    def serves_nothing(self) -> bool:
        """Whether a controller has said that there is no service, so that nothing need be left."""
        return self._is_synced and not any(True for _ in self._node)

    # What the kernel says.

    def held(self, event: bytes) -> None:
        """XDP held a SYN."""
        self._hold(lambda: parse_held(event), now_ns=time.monotonic_ns())

    def own_held(self, frame: bytes) -> None:
        """A SYN of this node's own was held at output."""
        now_ns = time.monotonic_ns()
        self._hold(lambda: own_syn(frame, seen_ns=now_ns), now_ns=now_ns)

    def _hold(self, parse: Callable[[], HeldSyn], *, now_ns: int) -> None:
        try:
            held = parse()
        except BadFrameError:
            self.metrics.gave_up("bad_frame", 1)
            return
        self._carry_out(self._node.syn(held, now_ns=now_ns))
        # Now, while the server starts, and not when it listens.
        held.ready_frame = with_checksums(held.syn.frame)
        service = self._node.service_of(held.syn.flow)
        if service is not None:
            self.metrics.held(service.name)

    def answered(self, event: bytes) -> None:
        """XDP saw the first packet of a replayed connection's client."""
        answer = parse_answered(event)
        now_ns = time.monotonic_ns()
        self._carry_out(
            self._node.answered(
                answer.flow, seen_ns=answer.seen_ns, is_reset=answer.is_reset, now_ns=now_ns
            )
        )

    def _own_sent(self, flow: bytes) -> None:
        service = self._node.service_of(flow)
        if service is not None:
            self.metrics.replayed(service.name)

    def _own_answered(self, flow: bytes, *, is_reset: bool) -> None:
        now_ns = time.monotonic_ns()
        self._carry_out(self._node.answered(flow, seen_ns=now_ns, is_reset=is_reset, now_ns=now_ns))

    def listened(self, event: bytes) -> None:
        """A process of this machine began to listen."""
        listen = parse_listened(event)
        if listen.is_loopback:
            return
        workload = self._workload_rule.workload_of(listen.pid)
        if workload is None:
            return
        address = self._workload_rule.address_of(listen.pid)
        self._listeners.heard(workload, listen.port, listen.pid)
        if self._watches_listen:
            self._listens(workload, listen.port, seen_ns=listen.seen_ns, address=address)

    def probe_answered(self, workload: str, port: int, seen_ns: int) -> None:
        """An endpoint answered a SYN probe."""
        self._listens(workload, port, seen_ns=seen_ns)

    def _listens(self, workload: str, port: int, *, seen_ns: int, address: str = "") -> None:
        listening = Listens(
            workload=workload,
            port=port,
            seen_ns=seen_ns,
            address=address,
            room=lambda: self._listeners.room(workload, port),
        )
        self._carry_out(self._node.listens(listening, now_ns=time.monotonic_ns()))

    # What the controller says (link.LinkUser).

    def record_changed(self, name: str, record: ServiceRecord | None) -> None:
        """A record is new, has changed, or (None) was deleted."""
        try:
            self._carry_out(self._node.record(name, record, now_ns=time.monotonic_ns()))
        except RecordRefusedError as error:
            log.warning("%s: record refused: %s", name, error)
            self.metrics.failed("record")
        if record is None:
            self.metrics.forget(name)

    def table_synced(self, names: Collection[str]) -> None:
        """The table is whole, and these are its records."""
        for gone in [each.name for each in self._node if each.name not in names]:
            self.record_changed(gone, None)
        if not self._is_synced:
            self._own_callers.restore()
        self._is_synced = self._handing_over.is_vouched_for = True
        self._carry_out(self._node.table_synced(now_ns=time.monotonic_ns()))
        self.on_synced()

    def readdressed(self, own_addresses: tuple[str, ...]) -> None:
        """The node has other addresses than it had."""
        self._carry_out(self._node.readdressed(own_addresses, now_ns=time.monotonic_ns()))

    def replica_started(self, report: Started) -> None:
        """The controller says when it started a replica."""
        rtt_ns = None if report.clock == self._clock else self.link.rtt_ns
        now_ns = time.monotonic_ns()
        self._carry_out(self._node.started(report, rtt_ns=rtt_ns, now_ns=now_ns))

    def replica_raised(self, report: Raised) -> None:
        """A controller that does not lead says where replicas are."""
        self._carry_out(self._node.raised(report, now_ns=time.monotonic_ns()))

    def count(self, question: Count) -> None:
        """The controller asks how many connections live."""
        counted = Counted(
            service=question.service,
            activation=question.activation,
            number=question.number,
            connections=self._listeners.connections_of_all(question.workloads, question.port),
        )
        self.link.report(counted, lane=Lane.STATE)

    def link_changed(self, *, is_up: bool) -> None:
        """A controller answers, or none does."""
        self._handing_over.is_vouched_for &= is_up
        self.metrics.linked(is_up)

    def round_trip(self, seconds: float) -> None:
        """A message was acknowledged."""
        self.metrics.round_trip(seconds)

    # What the clock says.

    def beat(self) -> None:
        """Each second: XDP may go on holding, and the controller hears how busy services are."""
        self._loop.call_later(BEAT_INTERVAL_S, self.beat)
        self._datapath.beat()
        self._own_callers.beat()
        self.link.tell_if_alone(self._loop.time())
        self._handing_over.beat()
        self.metrics.waiting(self._node.held)
        now_ns = time.monotonic_ns()
        self._carry_out(self._node.repeat(now_ns=now_ns))
        last_ns = self._datapath.last_packet_ns
        reports = activity_of(self._node.warm(), last_packet_ns=last_ns, now_ns=now_ns)
        for part, report in enumerate(reports):
            self.link.report(report, lane=Lane.BULK, replaces=f"activity {part}")

    def _deadline(self) -> None:
        self._timer = None
        self._carry_out(self._node.deadline(now_ns=time.monotonic_ns()))

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due_ns = self._node.next_deadline_ns()
        if due_ns is not None:
            self._timer = self._loop.call_at(due_ns / 1e9, self._deadline)

    # What the core asks.

    def _carry_out(self, effects: Iterable[Effect]) -> None:
        """One that fails must not take the others along: SYNs would wait for what never comes."""
        for effect in effects:
            try:
                self._actions[type(effect)](effect)
            except Exception:
                log.exception("%s failed", effect)
                self.metrics.failed(type(effect).__name__)
        self._set_timer()

    def _set_mode(self, effect: SetMode) -> None:
        self._datapath.set_service(effect.frontends, slot=effect.slot, mode=effect.mode)
        self._own_callers.follow(effect.frontends, is_held=effect.mode is Mode.HOLD)

    def _restrict(self, effect: Restrict) -> None:
        self._own_callers.restrict(effect.frontend, effect.sources)
        self._datapath.restrict(effect.frontend, effect.sources)

    def _forget(self, effect: ForgetFrontends) -> None:
        self._datapath.forget(effect.frontends)
        self._own_callers.forget(effect.frontends)

    def _inject(self, effect: Inject) -> None:
        held = effect.held
        frame = held.ready_frame or with_checksums(held.syn.frame)
        # The call returns when the stack is done with the frame, often with the client's ACK too.
        self._node.injected(held, now_ns=time.monotonic_ns())
        if held.is_own:
            self._own_callers.let_in(held, frame)
            return
        self._datapath.inject(frame, ifindex=held.ifindex, rx_queue=held.rx_queue)
        self.metrics.replayed(effect.service)

    def _refuse(self, effect: Refuse) -> None:
        held = effect.held
        if held.is_own:
            self._own_callers.refuse(held)
        else:
            self._refuser.refuse(held.syn.frame, ifindex=held.ifindex)
        self.metrics.refused(effect.service)

    def _report_wake(self, effect: ReportWake) -> None:
        wake = effect.wake
        if effect.is_repeat:  # While no controller answers, one of them waits.
            self.link.report(wake, lane=Lane.WAKE, replaces=f"wake {wake.service}")
            return
        self.link.report(wake, lane=Lane.WAKE)
        self.metrics.woke(wake.service)

    def _report_listening(self, effect: ReportListening) -> None:
        report = Listening(
            service=effect.service,
            activation=effect.activation,
            workload=effect.workload,
            address=effect.address,
        )
        self.link.report(report, lane=Lane.WAKE, replaces=f"listening {effect.service}")

    def _count_connections(self, effect: CountConnections) -> None:
        self._own_callers.apply()  # "New SYNs are held" is what it says.
        live = self._listeners.connections_of_all(effect.workloads, effect.port)
        report = Armed(
            service=effect.service,
            activation=effect.activation,
            connections=UNKNOWN_CONNECTIONS if live is None else live,
        )
        self.link.report(report, lane=Lane.STATE)

    def _probe(self, effect: Probe) -> None:
        assert self.prober is not None
        endpoint = effect.endpoint
        self.prober.start(
            effect.service,
            workload=endpoint.workload,
            address=endpoint.address,
            port=effect.port,
            is_once=effect.is_once,
        )

    def _forget_replica(self, effect: ForgetReplica) -> None:
        self._listeners.forget(effect.workload, effect.port)
        if self.prober is not None:
            self.prober.forget(effect.workload, effect.port)

    def _stop_probe(self, effect: StopProbe) -> None:
        assert self.prober is not None
        self.prober.stop(effect.service)

    def _end_cold_start(self, ended: EndColdStart) -> None:
        now_ns = time.monotonic_ns()
        log.info("%s", as_sentence(ended))
        self._cold_starts.write(ended)
        self.metrics.cold_start(ended, now_ns=now_ns)
        total_ns = ended.timeline.total_ns or now_ns - ended.timeline.first_syn_ns
        report = ColdStart(
            service=ended.service,
            activation=ended.activation,
            outcome=ended.outcome,
            total_s=total_ns / 1e9,
            clients=ended.clients,
        )
        self.link.report(report, lane=Lane.STATE)
