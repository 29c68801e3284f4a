"""The compiled programs, loaded once; packets are run through them without an interface."""

import ctypes
import enum
from collections.abc import Iterator
from typing import Any

import pytest

from tests.kernel.namespaces import Namespace, cable
from tests.kernel.place import Place
from wangell_daemon.datapath.compiler import compile_program, load_tc, load_xdp
from wangell_daemon.datapath.datapath import names_of
from wangell_daemon.datapath.injection import _TestRun
from wangell_daemon.datapath.rings import Ring
from wangell_daemon.datapath.sources import Sources
from wangell_daemon.datapath.syscalls import bpf


class Verdict(enum.Enum):
    """What becomes of a packet, at either hook."""

    DROP = enum.auto()
    PASS = enum.auto()


DROP, PASS = Verdict.DROP, Verdict.PASS
# XDP_DROP, XDP_PASS; TC_ACT_SHOT, and TC_ACT_UNSPEC, after which the next filter is asked.
VERDICTS = {"xdp": {1: DROP, 2: PASS}, "tc": {2: DROP, 0xFFFFFFFF: PASS}}
# Where a test run's packet comes from: loopback.
IFINDEX = 1


class Program:
    """wake.bpf.c in the kernel, at one of its hooks. `run` gives a verdict; maps are BCC's."""

    def __init__(self, hook: str) -> None:
        self.hook = hook
        self.bpf: Any = compile_program("wake.bpf.c")
        if hook == "xdp":
            self.fd = load_xdp(self.bpf, "wangell_wake").fd
        else:
            self.fd = load_tc(self.bpf, "wangell_call").fd
        # The kernel makes no shorter IP packet for a classifier's test run.
        self.frame_bytes_min = 14 if hook == "xdp" else 34
        self.reason_names = names_of("reason")
        self.held: list[bytes] = []
        self.answered: list[bytes] = []
        self.rings = [
            Ring(self.bpf[b"held"].map_fd, self.held.append),
            Ring(self.bpf[b"answers"].map_fd, self.answered.append),
        ]

    def run(self, frame: bytes, *, repeat: int = 1) -> Verdict:
        """Return what becomes of a frame."""
        data = ctypes.create_string_buffer(frame, len(frame))
        call = _TestRun(
            prog_fd=self.fd,
            data_size_in=len(frame),
            data_in=ctypes.addressof(data),
            repeat=repeat,
        )
        bpf(10, call)
        for ring in self.rings:
            ring.consume()
        return VERDICTS[self.hook][call.retval]

    def reasons(self) -> dict[str, int]:
        """How many packets have left for each reason that has any."""
        table = self.bpf[b"reasons"]
        counts = {name: table.sum(i).value for i, name in enumerate(self.reason_names)}
        return {name: count for name, count in counts.items() if count}

    def set_service(self, frontend: bytes, *, mode: int, slot: int = 0) -> None:
        """As the daemon does."""
        table = self.bpf[b"services"]
        table[table.Key.from_buffer_copy(frontend)] = table.Leaf(slot, mode)

    def restrict(self, frontend: bytes, *sources: str) -> None:
        """As the daemon does, after `set_service`."""
        Sources(self.bpf[b"sources"]).replace(frontend, sources)
        table = self.bpf[b"services"]
        leaf = table[table.Key.from_buffer_copy(frontend)]
        leaf.is_restricted = 1
        table[table.Key.from_buffer_copy(frontend)] = leaf

    def beat(self, at_ns: int) -> None:
        """The daemon's last heartbeat."""
        self.bpf[b"heartbeat"][ctypes.c_int(0)] = ctypes.c_uint64(at_ns)

    def reset(self) -> None:
        """As just loaded."""
        for name in ("services", "sources", "activity", "unanswered", "heartbeat", "reasons"):
            self.bpf[name.encode()].clear()
        self.held.clear()
        self.answered.clear()


@pytest.fixture(scope="session", params=["xdp", "tc"])
def _loaded(request: pytest.FixtureRequest) -> Program:
    return Program(request.param)


@pytest.fixture
def program(_loaded: Program) -> Iterator[Program]:
    """The program at each hook in turn, with empty maps and zero counters."""
    _loaded.reset()
    yield _loaded
    _loaded.reset()


@pytest.fixture
def place() -> Iterator[Place]:
    """10.9.0.1 is the node, 10.9.0.2 the client."""
    with Namespace() as node, Namespace() as client:
        cable(node, client)
        made = Place(node, client)
        yield made
        made.close()
