"""A node whose kernel, controller and clock are in the test's hand.

`Story` carries effects out on a small model of the kernel and checks, at each step, what must hold
in any story: a frame never goes in while its service holds, never unwatched, and no SYN is lost
without a word. What happened is kept as text and values for the test to read.
"""

from collections import Counter
from collections.abc import Callable, Iterable

from tests.daemon.packets import Segment, held, timestamps
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
from wangell_daemon.node import Listens, Node
from wangell_daemon.packets import client_of, frontend_key, frontend_of
from wangell_proto.vocabulary import (
    Endpoint,
    Frontend,
    Phase,
    Raised,
    ServiceRecord,
    Started,
    Wake,
)

MS, S = 1_000_000, 1_000_000_000
HERE, ELSEWHERE = "node1", "node2"
X = "default/x"
VIP = "10.0.0.2:80"
PORT = 8080
OURS = Endpoint(address="10.244.0.5", node=HERE, workload="net:[1]")
THEIRS = Endpoint(address="10.244.1.5", node=ELSEWHERE, workload="net:[2]")


def record(
    phase: Phase = Phase.COLD,
    *,
    activation: int = 0,
    vips: Iterable[str] = (VIP,),
    sources: tuple[str, ...] = (),
    endpoints: tuple[Endpoint, ...] = (OURS,),
    target_port: int = PORT,
    activation_timeout_s: float = 60.0,
) -> ServiceRecord:
    """A record of the table."""
    return ServiceRecord(
        phase=phase,
        frontends=tuple(
            Frontend(address=address.strip("[]"), port=int(port), sources=sources)
            for address, port in (vip.rsplit(":", 1) for vip in vips)
        ),
        target_port=target_port,
        endpoints=endpoints,
        activation=activation,
        activation_timeout_s=activation_timeout_s,
    )


def key(vip: str) -> bytes:
    """A frontend as the kernel has it."""
    address, port = vip.rsplit(":", 1)
    return frontend_key(address, int(port))


def client(number: int) -> str:
    """One of many clients."""
    return f"10.1.{number // 250}.{number % 250 + 1}:40000"


class Story:
    """One node's daemon from its start. Time stands still but for `pass_ms`."""

    def __init__(
        self,
        *,
        probes: bool = False,
        adopted: dict[bytes, int] | None = None,
        starts_ms: int = 1000,
    ) -> None:
        self.node = Node(HERE, probes=probes, adopted=adopted)
        self.start_ns = self.now_ns = starts_ms * MS
        self.modes: dict[bytes, Mode] = dict.fromkeys(adopted or (), Mode.HOLD)
        self.slots: dict[bytes, int] = dict(adopted or {})
        self.sources: dict[bytes, tuple[str, ...]] = {}
        self.watched: set[bytes] = set()
        self.held: set[bytes] = set()
        self.handed_over: dict[bytes, str] = {}
        self.left_handed_over: set[bytes] = set(adopted or {})
        self.probed: dict[str, list[str]] = {}
        self._probed_as: dict[tuple[str, int], tuple[str, str]] = {}
        self.log: list[str] = []
        self.went_in: list[tuple[float, str]] = []
        self.refused: list[str] = []
        self.gave_up: Counter[str] = Counter()
        self.gone: list[tuple[str, int]] = []
        self.waited_ms: list[float] = []
        self.wakes: list[Wake] = []
        self.repeats: list[Wake] = []
        self.listenings: list[ReportListening] = []
        self.counts: list[CountConnections] = []
        self.cold_starts: list[EndColdStart] = []
        self._answers_on_their_way: list[tuple[bytes, int, bool]] = []
        self._actions: dict[type, Callable[..., None]] = {
            SetMode: self._set_mode,
            Restrict: self._restrict,
            ForgetFrontends: self._forget,
            HandOver: self._hand_over,
            EndHandOver: self._end_hand_over,
            EndUnclaimedHandOvers: lambda _: self.left_handed_over.clear(),
            Watch: self._watch,
            Unwatch: self._unwatch,
            Inject: self._inject,
            Refuse: self._refuse,
            EndWait: lambda effect: self.waited_ms.append(effect.waited_ns / MS),
            ReportWake: self._report_wake,
            ReportListening: self.listenings.append,
            CountConnections: self._count,
            Probe: self._probe,
            StopProbe: self._stop_probe,
            GiveUp: lambda effect: self.gave_up.update({effect.reason: effect.count}),
            ForgetReplica: self._forget_replica,
            EndColdStart: self.cold_starts.append,
        }

    # The controller.

    def table(self, phase: Phase = Phase.COLD, *, name: str = X, **changes: object) -> list[Effect]:
        """A record has come."""
        wanted = record(phase, **changes)  # type: ignore[arg-type]
        return self._do(lambda: self.node.record(name, wanted, now_ns=self.now_ns))

    def deleted(self, name: str = X) -> list[Effect]:
        """The service is gone."""
        return self._do(lambda: self.node.record(name, None, now_ns=self.now_ns))

    def synced(self) -> list[Effect]:
        """The table is whole: of the first controller, or of another."""
        return self._do(lambda: self.node.table_synced(now_ns=self.now_ns))

    def started(
        self, *, name: str = X, activation: int = 1, ago_ms: float = 0, kept: tuple[str, ...] = ()
    ) -> list[Effect]:
        """The controller on this machine has spawned the replica."""
        at_ns = self.now_ns - int(ago_ms * MS)
        report = Started(
            service=name,
            activation=activation,
            received_ns=at_ns,
            spawned_ns=at_ns,
            clock="ours",
            kept=kept,
        )
        return self._do(lambda: self.node.started(report, rtt_ns=None, now_ns=self.now_ns))

    def raised(
        self,
        *,
        activation: int = 1,
        endpoints: tuple[Endpoint, ...] = (OURS,),
        is_listening: bool = False,
        name: str = X,
    ) -> list[Effect]:
        """A controller that does not lead has raised it, or has heard that it listens."""
        report = Raised(
            service=name, activation=activation, endpoints=endpoints, is_listening=is_listening
        )
        return self._do(lambda: self.node.raised(report, now_ns=self.now_ns))

    # Callers.

    def syn(
        self,
        who: str = "10.0.0.1:40000",
        *,
        to: str = VIP,
        sequence: int = 100,
        judged_ms_ago: float = 0,
    ) -> list[Effect]:
        """XDP has held a SYN. With `judged_ms_ago` it was cold then, whatever it is now."""
        if not judged_ms_ago:
            mode, is_watched = self.modes.get(key(to)), flow_of(who, to) in self.watched
            holds = mode is Mode.HOLD or (mode is Mode.METER and not is_watched)
            assert holds, f"XDP would not hold a SYN to {to}"
        seen_ns = self.now_ns - int(judged_ms_ago * MS)
        options = timestamps(seen_ns // MS) + b"\1\1"
        segment = Segment(client=who, vip=to, sequence=sequence, options=options)
        syn = held(segment, seen_ns=seen_ns)
        return self._do(lambda: self.node.syn(syn, now_ns=self.now_ns), arrives=syn.syn.flow)

    def ack(self, who: str = "10.0.0.1:40000", *, to: str = VIP) -> list[Effect]:
        """A client's ACK passes XDP, which tells the daemon at once."""
        self.ack_leaves_kernel(who, to=to)
        return self.ack_arrives(who, to=to)

    def rst(self, who: str = "10.0.0.1:40000", *, to: str = VIP) -> list[Effect]:
        """A client that has given up answers with RST."""
        self.ack_leaves_kernel(who, to=to, is_reset=True)
        return self.ack_arrives(who, to=to)

    def ack_leaves_kernel(
        self, who: str = "10.0.0.1:40000", *, to: str = VIP, is_reset: bool = False
    ) -> None:
        """It has passed XDP, and the daemon's event is in the ring buffer."""
        flow = flow_of(who, to)
        assert flow in self.watched, f"XDP would not tell of {who}"
        self.watched.discard(flow)
        self._answers_on_their_way.append((flow, self.now_ns, is_reset))

    def ack_arrives(self, who: str = "10.0.0.1:40000", *, to: str = VIP) -> list[Effect]:
        """The daemon reads that event, the oldest of this connection."""
        flow = flow_of(who, to)
        event = next(each for each in self._answers_on_their_way if each[0] == flow)
        self._answers_on_their_way.remove(event)
        _flow, seen_ns, is_reset = event
        return self._do(
            lambda: self.node.answered(
                flow, seen_ns=seen_ns, is_reset=is_reset, now_ns=self.now_ns
            ),
            answers=flow,
        )

    # Servers.

    def listens(
        self,
        workload: str = OURS.workload,
        port: int = PORT,
        *,
        room: Callable[[], int] | None = None,
        ago_ms: float = 0,
        address: str = "",
    ) -> list[Effect]:
        """A process of this node has begun to listen."""
        listening = Listens(
            workload=workload,
            port=port,
            seen_ns=self.now_ns - int(ago_ms * MS),
            address=address,
            room=room,
        )
        return self._do(lambda: self.node.listens(listening, now_ns=self.now_ns))

    # Time.

    @property
    def now_ms(self) -> float:
        """Since the story began."""
        return (self.now_ns - self.start_ns) / MS

    def pass_ms(self, duration_ms: float) -> None:
        """Time goes by; each deadline is met on the nanosecond."""
        until_ns = self.now_ns + int(duration_ms * MS)
        for _ in range(100_000):
            due_ns = self.node.next_deadline_ns()
            if due_ns is None or due_ns > until_ns:
                break
            self.now_ns = max(self.now_ns, due_ns)
            self._do(lambda: self.node.deadline(now_ns=self.now_ns))
        else:
            raise AssertionError("deadlines without end")
        self.now_ns = until_ns

    def beat(self) -> list[Effect]:
        """The daemon's second has passed."""
        return self._do(lambda: self.node.repeat(now_ns=self.now_ns))

    # A whole cold start, for stories about what comes after.

    def awake(self, *, activation: int = 1, name: str = X, **changes: object) -> "Story":
        """The service was woken by a client that has long been served."""
        if name not in self.node:
            self.table(Phase.COLD, name=name, activation=activation - 1, **changes)
        self.syn()
        self.table(Phase.WAKING, name=name, activation=activation, **changes)
        self.started(name=name, activation=activation)
        self.listens()
        self.ack()
        self.table(Phase.WARM, name=name, activation=activation, **changes)
        return self

    # Reading.

    def mode(self, vip: str = VIP) -> Mode | None:
        """What the kernel does with SYNs to it; None: it does not know the frontend."""
        return self.modes.get(key(vip))

    def frontends(self, name: str) -> list[bytes]:
        """Those that are the service's: its record's, but for what another has taken over."""
        return list(self.node[name].routing.frontends)

    def clients_in(self) -> list[str]:
        """Whose SYNs went in, repeats included."""
        return [who for _ms, who in self.went_in]

    # What the kernel does with effects.

    def _do(
        self,
        step: Callable[[], list[Effect]],
        *,
        arrives: bytes | None = None,
        answers: bytes | None = None,
    ) -> list[Effect]:
        gave_up_before = self.gave_up.total()
        effects = step()
        self.held |= {arrives} if arrives else set()
        self.held -= {answers}
        for effect in effects:
            self.log.append(type(effect).__name__)
            self._actions[type(effect)](effect)
        self._settle_accounts(self.gave_up.total() - gave_up_before)
        return effects

    def _settle_accounts(self, gave_up: int) -> None:
        """Who was let go is not said one by one, but how many are."""
        assert len(self.held) - gave_up == self.node.held, "forgotten without a word, or kept twice"
        kept = {each.syn.flow for service in self.node for each in service.held}
        lost = self.held - kept
        early = {flow for flow in lost if self.node.service_of(flow) is None}
        self.held -= lost if len(lost) == gave_up else lost - early
        assert len(self.held) == self.node.held

    def _set_mode(self, effect: SetMode) -> None:
        for frontend in effect.frontends:
            self.modes[frontend], self.slots[frontend] = effect.mode, effect.slot

    def _restrict(self, effect: Restrict) -> None:
        self.sources[effect.frontend] = effect.sources

    def _forget(self, effect: ForgetFrontends) -> None:
        for frontend in effect.frontends:
            self.modes.pop(frontend, None)
            self.sources.pop(frontend, None)

    def _report_wake(self, effect: ReportWake) -> None:
        (self.repeats if effect.is_repeat else self.wakes).append(effect.wake)

    def _hand_over(self, effect: HandOver) -> None:
        where = f"{effect.address}:{effect.port}{' away' if effect.is_away else ''}"
        self.handed_over |= dict.fromkeys(effect.frontends, where)

    def _end_hand_over(self, effect: EndHandOver) -> None:
        for frontend in effect.frontends:
            self.handed_over.pop(frontend, None)

    def _watch(self, effect: Watch) -> None:
        assert self.modes[frontend_of(effect.flow)] is not Mode.HOLD, "watched before the flip"
        self.watched.add(effect.flow)

    def _unwatch(self, effect: Unwatch) -> None:
        self.watched.discard(effect.flow)

    def _stop_probe(self, effect: StopProbe) -> None:
        self.probed.pop(effect.service, None)

    def _refuse(self, effect: Refuse) -> None:
        flow = effect.held.syn.flow
        assert flow in self.held, "refused though it had its answer"
        self.held.discard(flow)
        self.refused.append(client_of(flow))

    def _count(self, effect: CountConnections) -> None:
        passing = [each for each in self.frontends(effect.service) if self.modes[each]]
        assert not passing, "counted while SYNs still pass"
        self.counts.append(effect)

    def _probe(self, effect: Probe) -> None:
        assert effect.endpoint.address, "a probe without an address"
        once = " once" if effect.is_once else ""
        where = f"{effect.endpoint.address}:{effect.port}{once}"
        self.probed.setdefault(effect.service, []).append(where)
        self._probed_as[effect.endpoint.workload, effect.port] = effect.service, where

    def _forget_replica(self, effect: ForgetReplica) -> None:
        replica = effect.workload, effect.port
        self.gone.append(replica)
        service, where = self._probed_as.pop(replica, ("", ""))
        left = [each for each in self.probed.pop(service, ()) if each != where]
        if left:
            self.probed[service] = left

    def _inject(self, effect: Inject) -> None:
        flow = effect.held.syn.flow
        mode = self.modes.get(frontend_of(flow))
        assert mode in (Mode.SETTLE, Mode.METER), "let in while its service holds"
        is_answered = any(flow == each[0] for each in self._answers_on_their_way)
        assert flow in self.watched or is_answered, "let in without watching for its answer"
        self.went_in.append((self.now_ms, client_of(flow)))
        self.node.injected(effect.held, now_ns=self.now_ns)


def flow_of(who: str, to: str = VIP) -> bytes:
    """The kernel's struct flow of a connection."""
    return held(Segment(client=who, vip=to)).syn.flow
