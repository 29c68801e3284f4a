"""All services of a node: which one an event is about, and what is to be done.

Pure, like `service`: the agent feeds it events and carries its effects out.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from wangell_daemon.effects import Effect, ForgetFrontends
from wangell_daemon.held import HELD_MAX, HeldSyn
from wangell_daemon.packets import frontend_key, frontend_of
from wangell_daemon.service import Service
from wangell_proto.vocabulary import Phase, ServiceRecord, Started

__all__ = ["SLOTS_MAX", "Listens", "Node", "RecordRefusedError"]

SLOTS_MAX = 16384  # ebpf/consts.h; a test holds them equal


# The newest LISTENs of workloads unknown: a node starts some hundred containers at once at most.
HEARD_MAX = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Listens:
    """A process of a workload listens."""

    workload: str
    port: int
    seen_ns: int
    address: str = ""
    "The workload's own address; empty where the record has it"
    room: Callable[[], int] | None = None
    "How many connections its queue still takes; None where that cannot be read"


class RecordRefusedError(ValueError):
    """A record that this node cannot apply. The old one stays in force."""


class Node:
    """The services of one node, by name, by frontend and by flow.

    `adopted` maps the frontends that a predecessor left in the kernel to their slots: they keep
    their verdicts until the table says what they are.
    """

    def __init__(
        self, name: str, *, probes: bool = False, adopted: Mapping[bytes, int] | None = None
    ) -> None:
        self._name = name
        self._probes = probes
        self._services: dict[str, Service] = {}
        self._by_frontend: dict[bytes, Service] = {}
        self._by_replica: dict[tuple[str, int], Service] = {}  # workload and port
        self._busy: dict[str, Service] = {}  # those that hold SYNs: the wake path walks no others
        self._adopted = dict(adopted or {})
        self._heard: dict[tuple[str, int], Listens] = {}  # of workloads that no record names (yet)
        self._early: list[HeldSyn] = []  # for adopted frontends whose record has not come yet
        self._free_slots = _slots_without(set(self._adopted.values()))
        self._returned_slots: list[int] = []

    def __iter__(self) -> Iterator[Service]:
        return iter(self._services.values())

    def __getitem__(self, name: str) -> Service:
        return self._services[name]

    def __contains__(self, name: str) -> bool:
        return name in self._services

    @property
    def held(self) -> int:
        """How many SYNs are held in all."""
        return sum(len(service.held) for service in self._busy.values()) + len(self._early)

    # What the controller says.

    def record(self, name: str, record: ServiceRecord | None, *, now_ns: int) -> list[Effect]:
        """A record is new, has changed, or (None) was deleted. Raises RecordRefusedError."""
        if record is None:
            return self._remove(name)
        keys = self._checked_frontends(name, record)
        service = self._services.get(name) or self._add(name, keys)
        self._unindex(service)
        self._index(service, keys, record)
        effects = service.update(record, now_ns=now_ns)
        effects += self._take_heard(service, now_ns=now_ns)
        return effects + self._take_early(now_ns=now_ns)

    def table_synced(self) -> list[Effect]:
        """The table is whole: forget what a predecessor left and nobody claims; repeat reports."""
        unclaimed, self._adopted, self._early = self._adopted, {}, []
        effects: list[Effect] = [ForgetFrontends(tuple(unclaimed))] if unclaimed else []
        self._returned_slots += set(unclaimed.values()) - {service.slot for service in self}
        for service in self:
            effects += service.link_restored()
        return effects

    def started(self, report: Started, *, rtt_ns: int | None) -> list[Effect]:
        """The controller says when it started a replica; `rtt_ns` is None if its clock is ours."""
        service = self._services.get(report.service)
        if service is None:
            return []
        return service.started(
            received_ns=report.received_ns, spawned_ns=report.spawned_ns, rtt_ns=rtt_ns
        )

    # What the kernel says.

    def syn(self, held: HeldSyn, *, now_ns: int) -> list[Effect] | None:
        """XDP has held a SYN. None: it was dropped, for want of room or of a service."""
        if self.held >= HELD_MAX:
            return None
        key = frontend_of(held.syn.flow)
        service = self._by_frontend.get(key)
        if service is not None:
            self._busy[service.name] = service
            return service.syn(held, now_ns=now_ns)
        if key not in self._adopted:
            return None
        self._early.append(held)
        return []

    def listens(self, listening: Listens, *, now_ns: int) -> list[Effect]:
        """A process listens. Where it is no replica's that we know of, it may soon be one's."""
        key = listening.workload, listening.port
        service = self._by_replica.get(key)
        if service is None:
            self._heard[key] = listening
            if len(self._heard) > HEARD_MAX:
                del self._heard[next(iter(self._heard))]
            return []
        return _tell(service, listening, now_ns=now_ns)

    def serves(self, workload: str, port: int) -> bool:
        """Whether that workload is a replica of this node."""
        return (workload, port) in self._by_replica

    def answered(self, flow: bytes, *, seen_ns: int, is_reset: bool, now_ns: int) -> list[Effect]:
        """XDP saw the first packet of a replayed connection's client."""
        service = self.service_of(flow)
        if service is None:
            return []
        return service.answered(flow, seen_ns=seen_ns, is_reset=is_reset, now_ns=now_ns)

    def service_of(self, flow: bytes) -> Service | None:
        """The service that a flow goes to."""
        return self._by_frontend.get(frontend_of(flow))

    def injected(self, held: HeldSyn, *, now_ns: int) -> None:
        """An Inject is being carried out."""
        service = self.service_of(held.syn.flow)
        if service is not None:
            service.injected(now_ns=now_ns)

    # What the clock says.

    def next_deadline_ns(self) -> int | None:
        """When `deadline` has something to do; None: nothing is under way."""
        for name in [each.name for each in self._busy.values() if not each.is_busy]:
            del self._busy[name]
        deadlines = (service.next_deadline_ns() for service in self._busy.values())
        return min((due for due in deadlines if due is not None), default=None)

    def deadline(self, *, now_ns: int) -> list[Effect]:
        """Do what is due."""
        effects: list[Effect] = []
        for service in list(self._busy.values()):
            due_ns = service.next_deadline_ns()
            if due_ns is not None and due_ns <= now_ns:
                effects += service.deadline(now_ns=now_ns)
        return effects

    def warm(self) -> list[Service]:
        """Those whose activity the controller wants to know."""
        return [each for each in self if each.record and each.record.phase is Phase.WARM]

    # The index.

    def _take_heard(self, service: Service, *, now_ns: int) -> list[Effect]:
        """The controller has just named a workload whose LISTEN came before its name."""
        effects: list[Effect] = []
        for key in [key for key in self._heard if self._by_replica.get(key) is service]:
            effects += _tell(service, self._heard.pop(key), now_ns=now_ns)
        return effects

    def _index(self, service: Service, keys: tuple[bytes, ...], record: ServiceRecord) -> None:
        for key in keys:
            self._by_frontend[key] = service
            self._adopted.pop(key, None)
        for each in record.endpoints:
            if each.node == self._name:
                self._by_replica[each.workload, record.target_port] = service

    def _unindex(self, service: Service) -> None:
        for key in service.frontends:
            self._by_frontend.pop(key, None)
        if service.record is not None:
            for each in service.record.endpoints:
                self._by_replica.pop((each.workload, service.record.target_port), None)

    def _checked_frontends(self, name: str, record: ServiceRecord) -> tuple[bytes, ...]:
        if not record.frontends:
            raise RecordRefusedError("no frontends")
        try:
            keys = tuple(frontend_key(each.address, each.port) for each in record.frontends)
        except (ValueError, OverflowError) as error:
            raise RecordRefusedError(str(error)) from error
        for key in keys:
            owner = self._by_frontend.get(key)
            if owner is not None and owner.name != name:
                raise RecordRefusedError(f"{record.frontends[0].address} belongs to {owner.name}")
        return keys

    def _add(self, name: str, keys: tuple[bytes, ...]) -> Service:
        slot = next((self._adopted[key] for key in keys if key in self._adopted), None)
        if slot is None:
            returned = self._returned_slots
            slot = returned.pop() if returned else next(self._free_slots, None)
        if slot is None:
            raise RecordRefusedError(f"no slot: this node serves {SLOTS_MAX} services already")
        service = Service(name, slot, node=self._name, probes=self._probes)
        self._services[name] = service
        return service

    def _remove(self, name: str) -> list[Effect]:
        service = self._services.pop(name, None)
        if service is None:
            return []
        self._unindex(service)
        self._returned_slots.append(service.slot)
        return service.remove()

    def _take_early(self, *, now_ns: int) -> list[Effect]:
        early, self._early = self._early, []
        effects: list[Effect] = []
        for held in early:
            effects += self.syn(held, now_ns=now_ns) or []
        return effects


def _tell(service: Service, listening: Listens, *, now_ns: int) -> list[Effect]:
    return service.listens(
        listening.workload,
        seen_ns=listening.seen_ns,
        now_ns=now_ns,
        address=listening.address,
        room=listening.room,
    )


def _slots_without(taken: set[int]) -> Iterator[int]:
    return (slot for slot in range(SLOTS_MAX) if slot not in taken)
