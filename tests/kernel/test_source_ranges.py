"""Who is outside a frontend's ranges wakes nothing and reaches nothing, at either hook."""

import socket
import time

import pytest

from tests.daemon.packets import ACK, FIN, RST, SYN, Segment
from tests.kernel.conftest import DROP, PASS, Program
from tests.kernel.events import Events
from tests.kernel.place import FRONTEND, PORT, VIP, Place
from wangell_daemon.datapath import Datapath
from wangell_daemon.datapath.headers import EBPF
from wangell_daemon.effects import Mode
from wangell_daemon.packets import frontend_key

BALANCED, NODE_PORT = frontend_key("10.0.0.2", 80), frontend_key("10.0.0.2", 30080)
INSIDE, OUTSIDE = "10.0.0.1:40000", "10.1.0.1:40000"
MORE_FRAGMENTS = 0x2000


@pytest.fixture
def ranged(program: Program) -> Program:
    """Cold; 10.0.0.0/16 may call, and 203.0.113.7. By its node port, whoever will."""
    program.set_service(BALANCED, mode=Mode.HOLD, slot=7)
    program.set_service(NODE_PORT, mode=Mode.HOLD, slot=7)
    program.restrict(BALANCED, "10.0.0.0/16", "203.0.113.7/32")
    program.beat(time.monotonic_ns())
    return program


def last_packet_ns(program: Program, slot: int = 7) -> int:
    return int(program.bpf[b"activity"][slot].last_packet_ns)


@pytest.mark.parametrize("client", [INSIDE, "10.0.255.255:1", "203.0.113.7:40000"])
def test_who_is_inside_is_held(ranged: Program, client: str) -> None:
    assert ranged.run(Segment(client=client).raw) == DROP
    assert ranged.reasons() == {"held": 1}
    assert len(ranged.held) == 1


@pytest.mark.parametrize(
    "client", [OUTSIDE, "10.1.0.0:1", "9.255.255.255:1", "203.0.113.6:1", "1.0.0.10:1"]
)
def test_who_is_outside_is_dropped_and_wakes_nothing(ranged: Program, client: str) -> None:
    assert ranged.run(Segment(client=client).raw) == DROP
    assert ranged.reasons() == {"outside_ranges": 1}
    assert ranged.held == []


@pytest.mark.parametrize("mode", [Mode.PASS, Mode.SETTLE, Mode.METER])
@pytest.mark.parametrize("flags", [SYN, ACK, FIN | ACK, RST, SYN | ACK])
def test_warm_who_is_outside_reaches_nothing_and_keeps_nothing_up(
    ranged: Program, mode: Mode, flags: int
) -> None:
    ranged.set_service(BALANCED, mode=mode, slot=7)
    ranged.restrict(BALANCED, "10.0.0.0/16")
    ranged.bpf[b"activity"].clear()
    assert ranged.run(Segment(client=OUTSIDE, flags=flags).raw) == DROP
    assert ranged.reasons() == {"outside_ranges": 1}
    assert last_packet_ns(ranged) == 0
    assert ranged.held == []


def test_warm_who_is_inside_passes(ranged: Program) -> None:
    ranged.set_service(BALANCED, mode=Mode.PASS, slot=7)
    ranged.restrict(BALANCED, "10.0.0.0/16")
    assert ranged.run(Segment(client=INSIDE).raw) == PASS
    assert ranged.reasons() == {"passed": 1}
    assert last_packet_ns(ranged) > 0


def test_without_a_daemon_who_is_outside_is_dropped_all_the_same(ranged: Program) -> None:
    ranged.beat(1)
    assert ranged.run(Segment(client=OUTSIDE).raw) == DROP
    assert ranged.run(Segment(client=INSIDE).raw) == PASS
    assert ranged.reasons() == {"outside_ranges": 1, "no_daemon": 1}


def test_the_node_port_is_everybodys_as_kube_proxy_has_it(ranged: Program) -> None:
    assert ranged.run(Segment(client=OUTSIDE, vip="10.0.0.2:30080").raw) == DROP
    assert ranged.reasons() == {"held": 1}


def test_another_frontends_ranges_are_not_its_own(ranged: Program) -> None:
    other = frontend_key("10.0.0.3", 80)
    ranged.set_service(other, mode=Mode.HOLD)
    ranged.restrict(other, "10.1.0.0/16")
    assert ranged.run(Segment(client=OUTSIDE, vip="10.0.0.3:80").raw) == DROP
    assert ranged.run(Segment(client=INSIDE, vip="10.0.0.3:80").raw) == DROP
    assert ranged.reasons() == {"held": 1, "outside_ranges": 1}


def test_one_that_is_restricted_to_nobody_is_nobodys(program: Program) -> None:
    """As where the kernel had no room for its ranges: fewer may call, never more."""
    program.set_service(BALANCED, mode=Mode.PASS)
    program.restrict(BALANCED)
    assert program.run(Segment(client=INSIDE).raw) == DROP
    assert program.reasons() == {"outside_ranges": 1}


def test_everybody_may_be_said(program: Program) -> None:
    program.set_service(BALANCED, mode=Mode.PASS)
    program.restrict(BALANCED, "0.0.0.0/0")
    assert program.run(Segment(client="255.255.255.254:1").raw) == PASS


# A datagram in fragments is put together behind us, and would meet the handover then.


def first_fragment(client: str, payload_bytes: int = 8) -> bytes:
    """The shortest that IP allows has ports, and no flags."""
    return Segment(client=client, fragment=MORE_FRAGMENTS).raw[: 14 + 20 + payload_bytes]


def test_an_outsiders_first_fragment_is_dropped(ranged: Program) -> None:
    assert ranged.run(first_fragment(OUTSIDE)) == DROP
    assert ranged.reasons() == {"outside_ranges": 1}


@pytest.mark.parametrize(
    ("what", "frame"),
    [
        ("an insider's", first_fragment(INSIDE)),
        ("a later one, which is nothing by itself", Segment(client=OUTSIDE, fragment=185).raw),
        ("to a port that is not restricted",
         Segment(client=OUTSIDE, vip="10.0.0.2:30080", fragment=MORE_FRAGMENTS).raw),
        ("to no service", Segment(client=OUTSIDE, vip="10.0.0.9:80", fragment=MORE_FRAGMENTS).raw),
    ],
)  # fmt: skip
def test_other_fragments_pass(ranged: Program, what: str, frame: bytes) -> None:
    assert ranged.run(frame) == PASS, what
    assert ranged.reasons() == {"fragment": 1}


# --- As the daemon fills the maps -----------------------------------------------------------------


def attached(place: Place) -> Datapath:
    datapath = place.datapath()
    place.at_node(datapath.attach)
    return datapath


def is_let_in(place: Place) -> bool:
    """Whether a client's connection comes about, with a server that listens on the node."""
    with place.serve(), place.client.run(socket.socket) as caller:
        caller.settimeout(0.3)
        try:
            caller.connect((VIP, PORT))
        except TimeoutError:
            return False
        return True


@pytest.mark.parametrize("comes_first", ["ranges", "verdict"])
def test_ranges_and_verdict_may_come_in_any_order(place: Place, comes_first: str) -> None:
    datapath = attached(place)
    if comes_first == "ranges":
        datapath.restrict(FRONTEND, ["192.168.0.0/16"])
    datapath.set_service([FRONTEND], slot=3, mode=Mode.PASS)
    if comes_first == "verdict":
        datapath.restrict(FRONTEND, ["192.168.0.0/16"])
    assert not is_let_in(place)
    assert datapath.reasons()["outside_ranges"] >= 1


def test_ranges_may_change_and_go(place: Place) -> None:
    datapath = attached(place)
    datapath.set_service([FRONTEND], slot=3, mode=Mode.PASS)
    for sources, expected in (
        (["10.9.0.0/24", "192.168.0.0/16"], True),
        (["192.168.0.0/16"], False),
        (["10.9.0.2/32"], True),
        (["10.9.0.3/32"], False),
        ([], True),
    ):
        datapath.restrict(FRONTEND, sources)
        assert is_let_in(place) is expected, sources
        datapath.set_service([FRONTEND], slot=3, mode=Mode.PASS)
        assert is_let_in(place) is expected, f"{sources}, after another verdict"


def test_a_frontend_that_is_forgotten_comes_back_without(place: Place) -> None:
    datapath = attached(place)
    datapath.restrict(FRONTEND, ["192.168.0.0/16"])
    datapath.forget([FRONTEND])
    assert list(datapath._sources._table.keys()) == [], "and nothing is left of it in the kernel"
    datapath.set_service([FRONTEND], slot=3, mode=Mode.PASS)
    assert is_let_in(place)


def test_a_syn_from_outside_is_not_held(place: Place) -> None:
    datapath = attached(place)
    events = Events(datapath)
    datapath.restrict(FRONTEND, ["192.168.0.0/16"])
    datapath.set_service([FRONTEND], slot=3, mode=Mode.HOLD)
    with place.call():
        events.until(lambda: datapath.reasons()["outside_ranges"])
    assert events.held == []


@pytest.mark.parametrize("sources", [["10.9.0.0/24"], ["192.168.0.0/16"]])
def test_a_successor_keeps_them_before_any_table_comes(place: Place, sources: list[str]) -> None:
    first = attached(place)
    first.restrict(FRONTEND, sources)
    first.set_service([FRONTEND], slot=3, mode=Mode.PASS)
    expected = is_let_in(place)
    place.killed(first)
    assert is_let_in(place) is expected, "while no daemon runs"
    second = place.datapath()
    second.adopt()
    place.at_node(second.attach)
    assert is_let_in(place) is expected
    second.restrict(FRONTEND, [])
    assert is_let_in(place), "and may change them"


def test_where_there_is_no_room_fewer_may_call(place: Place) -> None:
    datapath = attached(place)
    datapath.set_service([FRONTEND], slot=3, mode=Mode.PASS)
    sources_max = int(
        (EBPF / "consts.h").read_text().partition("#define SOURCES_MAX ")[2].split()[0]
    )
    assert sources_max == 65536
    for number in range(sources_max // 256):
        frontend = frontend_key("10.0.0.2", 1 + number)
        datapath.restrict(frontend, [f"10.{each}.0.0/16" for each in range(256)])
    with pytest.raises(OSError, match="no room for one more range"):
        datapath.restrict(FRONTEND, ["10.9.0.0/24"])
    assert not is_let_in(place)
