"""All services of a node: which one an event is about, and what is to be done.

Pure, like `service`: the agent feeds it events and carries its effects out.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from wangell_daemon.deadlines import Deadlines
from wangell_daemon.effects import (
    Effect,
    EndUnclaimedHandOvers,
    ForgetFrontends,
    ForgetReplica,
    GiveUp,
    refusals,
)
from wangell_daemon.frontends import Restrictions, keys_of, sources_of
from wangell_daemon.held import HELD_MAX, HeldSyn, Tally
from wangell_daemon.packets import frontend_of, frontend_text
from wangell_daemon.raised import probes_of, record_of
from wangell_daemon.service import Service
from wangell_daemon.slots import SLOTS_MAX, Slots
from wangell_proto.vocabulary import Phase, Raised, ServiceRecord, Started

__all__ = ["Listens", "Node", "RecordRefusedError"]

# The newest LISTENs of workloads unknown: a node starts some hundred containers at once at most.
HEARD_MAX = 256

Replica = tuple[str, int]
"A workload and the port it serves"


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
    """A record that this node cannot apply (yet). The old one stays in force."""


class Node:
    """The services of one node, by name, by frontend and by replica.

    `adopted` maps the frontends that a predecessor left in the kernel to their slots: they keep
    their verdicts until the table says what they are. `own_addresses` are the node's, where callers
    find node ports.
    """

    def __init__(
        self,
        name: str,
        *,
        probes: bool = False,
        adopted: Mapping[bytes, int] | None = None,
        own_addresses: tuple[str, ...] = (),
    ) -> None:
        self._name = name
        self._own_addresses = own_addresses
        self._probes = probes
        self._services: dict[str, Service] = {}
        self._by_frontend: dict[bytes, Service] = {}
        self._by_replica: dict[Replica, Service] = {}
        self._refused: dict[str, ServiceRecord] = {}  # tried again when a frontend is free
        self._has_freed = False
        # The table's own records of services that a stand-in's word is taken for until its next.
        self._overruled: dict[str, ServiceRecord] = {}
        self._adopted = dict(adopted or {})
        self._restrictions = Restrictions(self._adopted)
        self._has_table = False
        self._slots = Slots(self._adopted.values())
        self._early: dict[bytes, dict[bytes, HeldSyn]] = {}  # by adopted frontend, by flow
        self._heard: dict[Replica, Listens] = {}  # of workloads that no record names (yet)
        self._tally = Tally()
        self._deadlines = Deadlines()
        self._touched: dict[str, Service] = {}  # whose deadlines may be others now

    def __iter__(self) -> Iterator[Service]:
        return iter(self._services.values())

    def __getitem__(self, name: str) -> Service:
        return self._services[name]

    def __contains__(self, name: str) -> bool:
        return name in self._services

    @property
    def held(self) -> int:
        """How many SYNs are held in all."""
        return self._tally.held + sum(len(flows) for flows in self._early.values())

    # What the controller says.

    def record(self, name: str, record: ServiceRecord | None, *, now_ns: int) -> list[Effect]:
        """A record is new, has changed, or (None) was deleted. Raises RecordRefusedError."""
        self._refused.pop(name, None)
        self._overruled.pop(name, None)
        effects = self._remove(name) if record is None else self._apply(name, record, now_ns=now_ns)
        if self._has_freed:
            effects += self._retry_refused(now_ns=now_ns)
        return effects

    def table_synced(self, *, now_ns: int) -> list[Effect]:
        """The table is whole: forget what a predecessor left and nobody claims; repeat reports."""
        unclaimed, self._adopted = tuple(self._adopted), {}
        strays, self._early = sum(len(flows) for flows in self._early.values()), {}
        self._slots.end_reservations()
        effects: list[Effect] = [ForgetFrontends(unclaimed)] if unclaimed else []
        effects += [GiveUp("no_service", strays)] if strays else []
        for name in list(self._overruled):  # Whoever serves this table knows nothing of it.
            effects += self.record(name, self._overruled[name], now_ns=now_ns)
        for service in self:
            effects += self._after(service, service.link_restored())
        if not self._has_table:
            self._has_table = True
            effects.append(EndUnclaimedHandOvers())
        return effects

    def readdressed(self, own_addresses: tuple[str, ...], *, now_ns: int) -> list[Effect]:
        """The node has other addresses: node ports are there from now on, and only there.

        One that is another service's already is taken when it is free.
        """
        self._own_addresses = own_addresses
        effects: list[Effect] = []
        for service in self:
            if service.record is not None:
                effects += self._readdress(service, service.record)
        return effects + (self._retry_refused(now_ns=now_ns) if self._has_freed else [])

    def started(self, report: Started, *, rtt_ns: int | None, now_ns: int) -> list[Effect]:
        """The controller says when it started a replica; `rtt_ns` is None if its clock is ours."""
        service = self._services.get(report.service)
        if service is None:
            return []
        return self._after(service, service.started(report, rtt_ns=rtt_ns, now_ns=now_ns))

    def raised(self, report: Raised, *, now_ns: int) -> list[Effect]:
        """A controller that does not lead says where replicas are; the table's next word counts."""
        service = self._services.get(report.service)
        if service is None or service.record is None or report.service in self._refused:
            return []
        table = self._overruled.get(service.name, service.record)
        record = record_of(report, table)
        if record is None or record == service.record:
            return []
        effects = self._apply(service.name, record, now_ns=now_ns)
        self._overruled[service.name] = table
        is_probed = self._probes or service.is_released
        return effects if is_probed else effects + probes_of(record, service.name, node=self._name)

    # What the kernel says.

    def syn(self, held: HeldSyn, *, now_ns: int) -> list[Effect]:
        """XDP has held a SYN."""
        key = frontend_of(held.syn.flow)
        service = self._by_frontend.get(key)
        is_repeat = service is not None and held.syn.flow in service.held
        if self.held >= HELD_MAX and not is_repeat:
            return [GiveUp("no_room", 1)]
        if service is not None:
            return self._after(service, service.syn(held, now_ns=now_ns))
        if key not in self._adopted:
            return [GiveUp("no_service", 1)]
        self._early.setdefault(key, {})[held.syn.flow] = held
        return []

    def listens(self, listening: Listens, *, now_ns: int) -> list[Effect]:
        """A process listens. Where it is no replica's that we know of, it may soon be one's."""
        replica = listening.workload, listening.port
        service = self._by_replica.get(replica)
        if service is not None:
            return self._tell(service, listening, now_ns=now_ns)
        self._heard[replica] = listening
        if len(self._heard) > HEARD_MAX:
            del self._heard[next(iter(self._heard))]
        return []

    def answered(self, flow: bytes, *, seen_ns: int, is_reset: bool, now_ns: int) -> list[Effect]:
        """XDP saw the first packet of a replayed connection's client."""
        service = self.service_of(flow)
        if service is None:
            return []
        effects = service.answered(flow, seen_ns=seen_ns, is_reset=is_reset, now_ns=now_ns)
        return self._after(service, effects)

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
        self._read_deadlines()
        return self._deadlines.next_ns()

    def deadline(self, *, now_ns: int) -> list[Effect]:
        """Do what is due."""
        effects: list[Effect] = []
        self._read_deadlines()
        for name in self._deadlines.take_due(now_ns):
            service = self._services[name]
            effects += self._after(service, service.deadline(now_ns=now_ns))
        return effects

    def repeat(self, *, now_ns: int) -> list[Effect]:
        """Each second: say again what has not come about."""
        return [effect for service in self for effect in service.repeat(now_ns=now_ns)]

    def warm(self) -> list[Service]:
        """Those whose activity the controller wants to know."""
        return [each for each in self if each.record and each.record.phase is Phase.WARM]

    def _after(self, service: Service, effects: list[Effect]) -> list[Effect]:
        self._touched[service.name] = service
        return effects

    def _read_deadlines(self) -> None:
        """Not in `_after`: what is to be done comes first, and a wake is."""
        for name, service in self._touched.items():
            self._deadlines.set(name, service.next_deadline_ns())
        self._touched.clear()

    def _tell(self, service: Service, listening: Listens, *, now_ns: int) -> list[Effect]:
        effects = service.listens(
            listening.workload,
            seen_ns=listening.seen_ns,
            now_ns=now_ns,
            address=listening.address,
            room=listening.room,
        )
        return self._after(service, effects)

    # Records.

    def _apply(self, name: str, record: ServiceRecord, *, now_ns: int) -> list[Effect]:
        keys = self._checked_frontends(name, record)
        service = self._services.get(name) or self._add(name, keys, record)
        effects = self._take_from_others(service, keys) + self._reindex(service, keys, record)
        effects += self._restrictions.replace(self._sources_of(record))
        effects += self._after(service, service.update(record, keys, now_ns=now_ns))
        for replica in self._own_replicas(record):
            if replica in self._heard:
                effects += self._tell(service, self._heard.pop(replica), now_ns=now_ns)
        for key in keys:
            for held in self._early.pop(key, {}).values():
                effects += self.syn(held, now_ns=now_ns)
        return effects

    def _readdress(self, service: Service, record: ServiceRecord) -> list[Effect]:
        wanted = self._sources_of(record)
        free = {
            key: sources
            for key, sources in wanted.items()
            if self._by_frontend.get(key, service) is service
        }
        if len(free) < len(wanted):
            self._refused.setdefault(service.name, record)
        keys = tuple(free)
        if keys == service.routing.frontends:
            return []
        effects = self._reindex(service, keys, record) + self._restrictions.replace(free)
        effects += service.routing.readdress(keys)
        # Callers of an address that has gone are not sent on.
        return effects + self._after(
            service, refusals(service.name, service.held.take_not_to(keys))
        )

    def _checked_frontends(self, name: str, record: ServiceRecord) -> tuple[bytes, ...]:
        keys = self._keys_of(record)
        for key in keys:
            owner = self._by_frontend.get(key)
            if owner is not None and owner.name != name and not self._gives_up(owner, key):
                self._refused[name] = record
                raise RecordRefusedError(
                    f"{frontend_text(key)} belongs to {owner.name}; applied when it is free"
                )
        return keys

    def _keys_of(self, record: ServiceRecord) -> tuple[bytes, ...]:
        return keys_of(record.frontends, own_addresses=self._own_addresses)

    def _sources_of(self, record: ServiceRecord) -> dict[bytes, tuple[str, ...]]:
        return sources_of(record.frontends, own_addresses=self._own_addresses)

    def _gives_up(self, owner: Service, key: bytes) -> bool:
        """Two services may swap addresses: the first one's record is refused, not the second's."""
        newest = self._refused.get(owner.name)
        return newest is not None and key not in self._keys_of(newest)

    def _take_from_others(self, service: Service | None, keys: tuple[bytes, ...]) -> list[Effect]:
        effects: list[Effect] = []
        for key in keys:
            owner = self._by_frontend.get(key)
            if owner is not None and owner is not service:
                self._restrictions.forget(key)
                effects += self._after(owner, owner.lose(key))
        return effects

    def _add(self, name: str, keys: tuple[bytes, ...], record: ServiceRecord) -> Service:
        slot = self._slots.claim(self._adopted[key] for key in keys if key in self._adopted)
        if slot is None:
            self._refused[name] = record
            raise RecordRefusedError(f"no slot: this node serves {SLOTS_MAX} services already")
        service = Service(name, slot, node=self._name, probes=self._probes, tally=self._tally)
        self._services[name] = service
        return service

    def _remove(self, name: str) -> list[Effect]:
        service = self._services.pop(name, None)
        if service is None:
            return []
        gone = self._reindex(service, (), None)
        self._slots.give_back(service.routing.slot)
        self._deadlines.set(name, None)
        self._touched.pop(name, None)
        return [*gone, *service.remove()]

    def _retry_refused(self, *, now_ns: int) -> list[Effect]:
        """A resync sends records in any order: the one that frees an address may come last."""
        self._has_freed = False
        effects: list[Effect] = []
        for name, record in list(self._refused.items()):
            try:
                effects += self._apply(name, record, now_ns=now_ns)
            except RecordRefusedError:
                continue
            self._refused.pop(name, None)
        return effects

    def _reindex(
        self, service: Service, keys: Iterable[bytes], record: ServiceRecord | None
    ) -> list[Effect]:
        """Find the service by these frontends and replicas from now on."""
        for key in service.routing.frontends:
            if self._by_frontend.get(key) is service:
                del self._by_frontend[key]
                if key not in keys:
                    self._restrictions.forget(key)
        self._has_freed |= bool(set(service.routing.frontends) - set(keys))
        for key in keys:
            self._by_frontend[key] = service
            self._adopted.pop(key, None)
        before = self._own_replicas(service.record)
        after = self._own_replicas(record)
        for replica in before:
            if self._by_replica.get(replica) is service:
                del self._by_replica[replica]
        self._by_replica.update(dict.fromkeys(after, service))
        return [ForgetReplica(*replica) for replica in before if replica not in after]

    def _own_replicas(self, record: ServiceRecord | None) -> list[Replica]:
        endpoints = record.endpoints if record is not None else ()
        return [
            (each.workload, record.target_port)
            for each in endpoints
            if record is not None and each.node == self._name
        ]
