"""A network of virtual time between sans-IO cores.

`Network(seed)` delivers datagrams after a delay, or loses, repeats, delays or damages them, all
from a single seed: a failure is replayed by the seed that it prints.
"""

import heapq
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from wangell_proto import Address, Client, ClientConfig, Event, Server, ServerConfig, public_key

PRIVATE_KEY = bytes(range(32))
PUBLIC_KEY = public_key(PRIVATE_KEY)
PSK = b"k" * 32
OTHER_PSK = b"o" * 32
SERVER = ("10.0.0.1", 7946)
SECOND_SERVER = ("10.0.0.2", 7946)


@dataclass
class Path:
    """What happens to datagrams one way, or both."""

    loss: float = 0.0
    duplication: float = 0.0
    corruption: float = 0.0
    delay_s: float = 0.0005
    jitter_s: float = 0.0
    is_cut: bool = False


@dataclass
class Host:
    """A core at an address, and the events it has given."""

    core: Client | Server
    address: Address
    events: list[Event] = field(default_factory=list)
    on_event: Callable[[Event], None] | None = None

    def of(self, *kinds: type) -> list[Event]:
        """Return the events of these kinds, oldest first."""
        return [event for event in self.events if isinstance(event, kinds)]


class Network:
    """Hosts, the time, and the datagrams on their way."""

    def __init__(self, seed: int = 0) -> None:
        self.random = random.Random(seed)
        self.now = 1000.0
        self.hosts: dict[Address, Host] = {}
        self.default = Path()
        self.paths: dict[tuple[Address, Address], Path] = {}
        self.sent: list[tuple[float, Address, Address, bytes]] = []
        self.watch: Callable[[Address, Address, bytes], bool] | None = None
        self._on_the_way: list[tuple[float, int, Address, Address, bytes]] = []
        self._count = 0

    # --- Hosts ---

    def server(
        self, address: Address = SERVER, *, epoch: int = 1, **config: object
    ) -> tuple[Server, Host]:
        """Start a server, in place of one that was there."""
        settings: dict[str, object] = {
            "private_key": PRIVATE_KEY,
            "psks": (PSK,),
            "epoch": epoch,
            **config,
        }
        core = Server(ServerConfig(**settings), random=self.random.randbytes)  # type: ignore[arg-type]
        return core, self.attach(core, address)

    def client(
        self, name: str = "n1", *, address: Address | None = None, **config: object
    ) -> tuple[Client, Host]:
        """Start a client, in place of one that was there. It dials at its first deadline: now."""
        settings: dict[str, object] = {
            "name": name,
            "servers": (SERVER,),
            "server_public_key": PUBLIC_KEY,
            "psks": (PSK,),
            **config,
        }
        core = Client(
            ClientConfig(**settings),
            random=self.random.randbytes,
            now=self.now,  # type: ignore[arg-type]
        )
        return core, self.attach(core, address or (f"10.1.0.{name.removeprefix('n')}", 5000))

    def attach(self, core: Client | Server, address: Address) -> Host:
        """Put a core at an address."""
        host = self.hosts[address] = Host(core, address)
        return host

    def path(self, source: Address, destination: Address) -> Path:
        """Return the path one way, to change it."""
        return self.paths.setdefault((source, destination), Path(**vars(self.default)))

    def cut(self, source: Address, destination: Address) -> None:
        """Lose everything one way."""
        self.path(source, destination).is_cut = True

    def heal(self) -> None:
        """Make every path good again."""
        self.paths.clear()
        self.default = Path()

    # --- Time ---

    def run(self, seconds: float) -> None:
        """Let time pass."""
        end = self.now + seconds
        self.flush()
        while (following := self._next_time()) <= end:
            self.now = max(self.now, following)
            self._step()
        self.now = end

    def run_until(self, condition: Callable[[], object], *, within: float = 10.0) -> None:
        """Let time pass until the condition holds; fail if it does not in time."""
        end = self.now + within
        self.flush()
        while not condition():
            following = self._next_time()
            assert following <= end, f"not within {within} s"
            self.now = max(self.now, following)
            self._step()

    def _next_time(self) -> float:
        deadlines = [
            deadline
            for host in self.hosts.values()
            if (deadline := host.core.next_deadline()) is not None
        ]
        if self._on_the_way:
            deadlines.append(self._on_the_way[0][0])
        return min(deadlines, default=float("inf"))

    def _step(self) -> None:
        while self._on_the_way and self._on_the_way[0][0] <= self.now:
            _, _, source, destination, datagram = heapq.heappop(self._on_the_way)
            host = self.hosts.get(destination)
            if host is not None:
                host.core.receive_datagram(datagram, source=source, now=self.now)
        for host in list(self.hosts.values()):
            deadline = host.core.next_deadline()
            if deadline is not None and deadline <= self.now:
                host.core.handle_deadline(now=self.now)
        self.flush()

    def flush(self) -> None:
        """Collect events, and carry what the hosts have to send."""
        for host in list(self.hosts.values()):
            self._collect(host)
            for datagram, destination in host.core.datagrams_to_send(now=self.now):
                self.carry(host.address, destination, datagram)

    @staticmethod
    def _collect(host: Host) -> None:
        while (event := host.core.next_event()) is not None:
            host.events.append(event)
            if host.on_event is not None:
                host.on_event(event)

    def carry(self, source: Address, destination: Address, datagram: bytes) -> None:
        """Put a datagram on its way."""
        self.sent.append((self.now, source, destination, datagram))
        if self.watch is not None and not self.watch(source, destination, datagram):
            return
        path = self.paths.get((source, destination), self.default)
        for copy in self._fates(path, datagram):
            self._count += 1
            arrival = self.now + path.delay_s + self.random.random() * path.jitter_s
            item = (arrival, self._count, source, destination, copy)
            heapq.heappush(self._on_the_way, item)

    def _fates(self, path: Path, datagram: bytes) -> Iterator[bytes]:
        if path.is_cut or self.random.random() < path.loss:
            return
        copies = 2 if self.random.random() < path.duplication else 1
        for _ in range(copies):
            if self.random.random() < path.corruption:
                damaged = bytearray(datagram)
                damaged[self.random.randrange(len(damaged))] ^= 1 << self.random.randrange(8)
                yield bytes(damaged)
            else:
                yield datagram
