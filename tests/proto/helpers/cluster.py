"""Two servers, three clients, everything that can happen to them, and what must hold all the while.

A `Cluster` is driven by calls, each one thing that happens. `check` holds after every one of them;
`settle` heals the network, waits the stated time, and holds the cluster to its promises.
"""

from collections import Counter
from dataclasses import dataclass, field

from tests.proto.helpers.network import (
    OTHER_PSK,
    PSK,
    SECOND_SERVER,
    SERVER,
    Host,
    Network,
    Path,
)
from wangell_proto import (
    Client,
    Event,
    Lane,
    LinkUp,
    MessageAcknowledged,
    MessageFailed,
    MessageReceived,
    QueueFullError,
    RecordChanged,
    Server,
    TableSynced,
    Timers,
    UnknownPeerError,
)
from wangell_proto.constants import (
    DELIVERY_WINDOW,
    PEERS_MAX,
    QUEUED_BYTES_MAX,
    REASSEMBLIES_PER_PEER_MAX,
    REASSEMBLY_BYTES_MAX,
)

# Silence ends a link after 3 s, the next try comes within 1.25 s, and a few round trips follow.
TABLES_EQUAL_WITHIN_S = 6.0
# What was queued meanwhile, in fragments, through windows that losses have closed.
MESSAGES_ARRIVE_WITHIN_S = 30.0
NAMES = ("n1", "n2", "n3")
SERVERS = (SERVER, SECOND_SERVER)
# Nobody is forgotten, so that exactly once holds for as long as both processes live.
TIMERS = Timers(forget_after_s=1e6, rekey_after_s=20.0, rekey_after_packets=500)


@dataclass
class Process:
    """One run of a core: what it was told, and what it was asked to send."""

    host: Host
    delivered: Counter[bytes] = field(default_factory=Counter)
    sent: dict[int, tuple[int, bytes]] = field(default_factory=dict)
    acknowledged: set[int] = field(default_factory=set)
    failed: set[int] = field(default_factory=set)
    version: int = 0
    epoch: int = 0
    replica: dict[str, bytes] = field(default_factory=dict)
    peers: dict[str, bytes] = field(default_factory=dict)


class Cluster:
    """The cluster, and a model of what it has promised."""

    def __init__(self, seed: int) -> None:
        self.network = Network(seed)
        self.random = self.network.random
        self.processes: dict[object, Process] = {}
        self.ended: list[Process] = []
        self.psks: tuple[bytes, ...] = (PSK,)
        self.table: dict[str, bytes] = {}
        self.leader = SERVER
        self.epoch = 1
        self._message = 0
        self._set_back_s = 0.0
        for address in SERVERS:
            self.start_server(address)
        for name in NAMES:
            self.start_client(name)

    # --- What can happen ---

    def start_server(self, address: tuple[str, int]) -> None:
        """Start a server, or restart it: what it knew is gone but the table, kept elsewhere."""
        self._end(address)
        is_leader = address == self.leader
        epoch = self.epoch if is_leader else 0
        core, host = self.network.server(
            address, epoch=epoch, serves_table=False, psks=self.psks, timers=TIMERS
        )
        self._watch(address, host)
        if is_leader:
            self._take_table(core)

    def _take_table(self, core: Server) -> None:
        keys = list(self.table)
        self.random.shuffle(keys)
        for key in keys:
            core.set_record(key, self.table[key])
        core.serve_table(is_complete=True, now=self.network.now)

    def start_client(self, name: str) -> None:
        """Start a client, or restart it."""
        self._end(name)
        _, host = self.network.client(name, servers=SERVERS, psks=self.psks, timers=TIMERS)
        self._watch(name, host)

    def _end(self, name: object) -> None:
        if name in self.processes:
            self.ended.append(self.processes.pop(name))

    def _watch(self, name: object, host: Host) -> None:
        process = self.processes[name] = Process(host)
        host.on_event = lambda event: self._on_event(process, event)

    def server(self, address: tuple[str, int]) -> Server:
        core = self.processes[address].host.core
        assert isinstance(core, Server)
        return core

    def client(self, name: str) -> Client:
        core = self.processes[name].host.core
        assert isinstance(core, Client)
        return core

    def fail_over(self) -> None:
        """The other server becomes the leader, with the table and a higher epoch."""
        old = self.server(self.leader)
        self.leader = SECOND_SERVER if self.leader == SERVER else SERVER
        self.epoch += 1
        new = self.server(self.leader)
        new.raise_epoch(self.epoch, now=self.network.now)
        for key in [key for key in new.records if key not in self.table]:
            new.delete_record(key)
        self._take_table(new)
        if self.random.random() < 0.5:  # Otherwise it does not know yet that it was replaced.
            old.serve_table(is_complete=False, now=self.network.now)

    def rotate(self) -> None:
        """Servers take a second key, clients turn to it, servers give the first up."""
        new = OTHER_PSK if self.psks[0] == PSK else PSK
        both = (new, self.psks[0])
        for address in SERVERS:
            self.server(address).set_psks(both, now=self.network.now)
        self.network.run(0.2)
        for name in NAMES:
            self.client(name).set_psks(both, now=self.network.now)
        self.network.run(1.0)
        self.psks = (new,)
        for address in SERVERS:
            self.server(address).set_psks(self.psks, now=self.network.now)

    def send_up(self, name: str, lane: Lane, size: int) -> None:
        """A client sends something."""
        body = self._body(size)
        try:
            message_id = self.client(name).send(body, lane=lane, now=self.network.now)
        except QueueFullError:
            return
        self.processes[name].sent[message_id] = (self.epoch, body)
        self.network.flush()

    def send_down(self, address: tuple[str, int], name: str, lane: Lane, size: int) -> None:
        """A server sends something."""
        body = self._body(size)
        try:
            message_id = self.server(address).send(name, body, lane=lane, now=self.network.now)
        except (QueueFullError, UnknownPeerError):
            return
        self.processes[address].sent[message_id] = (self.server(address).epoch, body)
        self.network.flush()

    def _body(self, size: int) -> bytes:
        self._message += 1
        return b"%08d" % self._message + bytes(size)

    def change(self, key: str, value: bytes | None) -> None:
        """The leader changes its table."""
        server = self.server(self.leader)
        if value is None:
            self.table.pop(key, None)
            server.delete_record(key)
        else:
            self.table[key] = value
            server.set_record(key, value)
        self.network.flush()

    def weather(self, path: Path) -> None:
        """Every path is like this from now on."""
        self.network.default = path
        self.network.paths.clear()

    def cut_one_way(self, name: str, address: tuple[str, int], *, towards_server: bool) -> None:
        """Nothing gets through one way between two hosts."""
        client = self.processes[name].host.address
        ends = (client, address) if towards_server else (address, client)
        self.network.cut(*ends)

    def jump(self, seconds: float) -> None:
        """The clock jumps: a machine slept, or was set back; then what is due comes later."""
        self.network.now += seconds
        self._set_back_s += max(0.0, -seconds)
        self.network.flush()

    def run(self, seconds: float) -> None:
        """Time passes."""
        self.network.run(seconds)

    # --- What must hold ---

    def _on_event(self, process: Process, event: Event) -> None:
        match event:
            case MessageReceived():
                process.delivered[event.body] += 1
            case MessageAcknowledged():
                assert event.message_id in process.sent
                assert event.message_id not in process.acknowledged, "acknowledged twice"
                process.acknowledged.add(event.message_id)
            case MessageFailed():
                process.failed.add(event.message_id)
            case LinkUp():
                process.peers[event.peer] = event.incarnation
            case RecordChanged():
                self._on_record(process, event)
            case TableSynced():
                assert event.epoch >= process.epoch, "epoch went back"
                assert event.version >= process.version, "version went back"
                process.epoch, process.version = event.epoch, event.version
            case _:
                pass

    @staticmethod
    def _on_record(process: Process, event: RecordChanged) -> None:
        # Only differences are told.
        assert process.replica.get(event.key) != event.value, "told what was known"
        if event.value is None:
            del process.replica[event.key]
        else:
            process.replica[event.key] = event.value

    def check(self) -> None:
        """Hold what holds at any time."""
        for process in (*self.processes.values(), *self.ended):
            assert not [body for body, times in process.delivered.items() if times > 1], "twice"
        for name in NAMES:
            process, client = self.processes[name], self.client(name)
            assert dict(client.records) == process.replica
            assert client.version >= process.version, "version went back"
            process.version = client.version
            self._check_outbox(client.outbox)
            assert len(client.links) == len(SERVERS)
        for address in SERVERS:
            server = self.server(address)
            assert len(server._roster.peers) <= PEERS_MAX
            assert 0 <= server.budget.bytes_left <= REASSEMBLY_BYTES_MAX
            for peer in server._roster.peers.values():
                self._check_outbox(peer.outbox)

    @staticmethod
    def _check_outbox(outbox: object) -> None:
        waiting = outbox.unacknowledged  # type: ignore[attr-defined]
        if waiting:
            assert max(waiting) - min(waiting) < DELIVERY_WINDOW
        assert sum(m.fragments > 1 for m in waiting.values()) <= REASSEMBLIES_PER_PEER_MAX
        assert 0 <= outbox._bytes <= QUEUED_BYTES_MAX + 2 * 65536  # type: ignore[attr-defined]

    def settle(self) -> None:
        """Heal everything; then tables are equal, and what was promised has arrived."""
        self.network.heal()
        self.network.run(TABLES_EQUAL_WITHIN_S + self._set_back_s)
        self.check()
        for name in NAMES:
            assert dict(self.client(name).records) == self.table, f"{name} has another table"
            primary = self.client(name).primary
            assert primary is not None and primary.address == self.leader
        self.network.run(MESSAGES_ARRIVE_WITHIN_S)
        self.check()
        delivered: Counter[bytes] = Counter()
        for process in (*self.processes.values(), *self.ended):
            delivered.update(process.delivered)
        for process in (*self.processes.values(), *self.ended):
            for message_id in process.acknowledged:
                epoch, body = process.sent[message_id]
                # What a superseded server says is acknowledged, and not obeyed.
                is_fenced = process.host.address in SERVERS and epoch < self.epoch
                assert delivered[body] or is_fenced, "acknowledged, not delivered"
        for name in NAMES:
            process = self.processes[name]
            assert set(process.sent) == process.acknowledged, "not acknowledged"
        for address in SERVERS:
            process = self.processes[address]
            assert set(process.sent) == process.acknowledged | process.failed, "lost"


def random_step(cluster: Cluster) -> str:
    """Let one thing happen, drawn from the cluster's seed; return what it was."""
    random = cluster.random
    name = random.choice(NAMES)
    address = random.choice(SERVERS)
    lane = Lane(random.randrange(3))
    size = (
        random.choice((0, 100, 700)) if lane is Lane.WAKE else random.choice((0, 900, 5000, 60000))
    )
    step = random.choices(list(_STEPS), weights=[weight for weight, _ in _STEPS.values()])[0]
    _STEPS[step][1](cluster, name, address, lane, size)
    cluster.check()
    return step


def _weather(random) -> Path:
    return Path(
        loss=random.choice((0.0, 0.1, 0.3, 0.6)),
        duplication=random.choice((0.0, 0.3)),
        corruption=random.choice((0.0, 0.2)),
        delay_s=random.choice((0.0002, 0.005, 0.05)),
        jitter_s=random.choice((0.0, 0.02)),
    )


_STEPS = {
    "run": (8, lambda c, *_: c.run(c.random.choice((0.001, 0.02, 0.3, 2.0)))),
    "up": (8, lambda c, name, _, lane, size: c.send_up(name, lane, size)),
    "down": (5, lambda c, name, address, lane, size: c.send_down(address, name, lane, size)),
    "set": (6, lambda c, *_: c.change(f"k{c.random.randrange(40)}", c.random.randbytes(50))),
    "set big": (1, lambda c, *_: c.change(f"k{c.random.randrange(40)}", c.random.randbytes(50000))),
    "delete": (3, lambda c, *_: c.change(f"k{c.random.randrange(40)}", None)),
    "weather": (2, lambda c, *_: c.weather(_weather(c.random))),
    "fine weather": (1, lambda c, *_: c.weather(Path())),
    "cut": (1, lambda c, name, address, *_: c.cut_one_way(
        name, address, towards_server=c.random.random() < 0.5)),
    "restart server": (1, lambda c, _, address, *__: c.start_server(address)),
    "restart client": (1, lambda c, name, *_: c.start_client(name)),
    "fail over": (1, lambda c, *_: c.fail_over()),
    "rotate": (0.5, lambda c, *_: c.rotate()),
    "jump": (0.5, lambda c, *_: c.jump(c.random.choice((-0.5, 0.5, 2.0, 10.0)))),
}  # fmt: skip


def history(seed: int, steps: int) -> Cluster:
    """Run a history to its end; an assertion that fails names the seed that replays it."""
    taken: list[str] = []
    try:
        cluster = Cluster(seed)
        cluster.run(1.0)
        for _ in range(steps):
            taken.append(random_step(cluster))
        cluster.settle()
    except Exception as error:
        error.add_note(f"replay with history(seed={seed}, steps={steps}); steps: {taken}")
        raise
    return cluster
