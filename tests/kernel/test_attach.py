"""Attaching, taking over and detaching on a real veth, with real SYNs from the other end."""

import select
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kernel.events import Events
from tests.kernel.place import FOREIGN, FRONTEND, PORT, VIP, Place, retransmitted
from wangell_daemon.datapath import Datapath, DatapathError, ForeignProgramError, XdpMode, detach
from wangell_daemon.datapath.compiler import compile_program, load_xdp
from wangell_daemon.datapath.interface import (
    addresses_of,
    attach,
    attached_program,
    interface_index,
)
from wangell_daemon.effects import Mode
from wangell_daemon.held import HeldSyn
from wangell_daemon.kernel_events import parse_answered, parse_held
from wangell_daemon.packets import client_of, frontend_key, with_checksums

SNMP = Path("/proc/thread-self/net/snmp")


def attached(place: Place, interface: str = "eth0") -> int | None:
    """The id of our program there."""
    found = place.at_node(lambda: attached_program(interface))
    return found.program_id if found else None


def replay(place: Place, datapath: Datapath, held: HeldSyn) -> None:
    """Let it enter by the node's interface: an index means another in the test's own namespace."""
    frame = with_checksums(held.syn.frame)
    place.at_node(lambda: datapath.inject(frame, ifindex=held.ifindex, rx_queue=held.rx_queue))


def resets_sent() -> int:
    """How many RSTs this thread's namespace has sent."""
    names, values, *_ = (
        line.split() for line in SNMP.read_text().splitlines() if line.startswith("Tcp:")
    )
    return int(values[names.index("OutRsts")])


# Attaching.


def test_an_interface_that_does_not_exist_is_said_with_those_that_do(place: Place) -> None:
    with pytest.raises(DatapathError, match=r"no interface 'eth7' here; there are: .*eth0"):
        place.datapath("eth7")


def test_its_addresses_are_those_that_others_may_call(place: Place) -> None:
    place.node.ip("address", "add", "10.9.7.1/24", "dev", "eth0")
    place.node.ip("address", "add", "169.254.7.7/16", "dev", "eth0", "scope", "link")
    place.node.ip("address", "add", "fd00::7/64", "dev", "eth0")
    assert place.at_node(lambda: addresses_of("eth0")) == (VIP, "10.9.7.1")
    assert place.at_node(lambda: addresses_of("lo")) == ()


def test_nothing_is_attached_until_it_is_asked_for(place: Place) -> None:
    datapath = place.datapath()
    assert not datapath.is_taking_over
    assert datapath.adopt() == {}
    assert attached(place) is None


def test_a_veth_takes_it_in_its_driver_and_keeps_it_when_the_daemon_ends(place: Place) -> None:
    datapath = place.datapath()
    assert place.at_node(datapath.attach) is XdpMode.NATIVE
    program_id = attached(place)
    assert program_id is not None
    place.killed(datapath)
    assert attached(place) == program_id


def test_an_interface_without_native_xdp_falls_back_to_generic(place: Place) -> None:
    first = place.datapath("lo")
    assert place.at_node(first.attach) is XdpMode.GENERIC
    second = place.datapath("lo")
    assert place.at_node(second.attach) is XdpMode.GENERIC, "a replaced one keeps its mode"
    assert place.at_node(lambda: detach("lo"))
    assert attached(place, "lo") is None


def test_detaching_takes_it_off_and_says_whether_there_was_one(place: Place) -> None:
    assert not place.at_node(lambda: detach("eth0"))
    place.at_node(place.datapath().attach)
    assert place.at_node(lambda: detach("eth0"))
    assert attached(place) is None
    assert not place.at_node(lambda: detach("eth0"))


# Another's program.


@pytest.fixture
def foreign(place: Place) -> Iterator[str]:
    """An XDP program of another name on eth0."""
    bpf = compile_program(FOREIGN)
    function = load_xdp(bpf, "foreign_pass")
    place.at_node(lambda: attach("eth0", function, replacing=None))
    yield "foreign_pass"
    bpf.cleanup()


def xdp_of(place: Place) -> str:
    shown = subprocess.run(
        ["ip", "-n", place.node.name, "link", "show", "eth0"],
        capture_output=True,
        text=True,
        check=True,
    )
    return shown.stdout


def test_another_program_is_refused_with_its_name_and_the_remedy(
    place: Place, foreign: str
) -> None:
    before = xdp_of(place)
    with pytest.raises(ForeignProgramError, match=f"another XDP program .{foreign}") as refused:
        place.datapath()
    assert "ip link set dev eth0 xdp off" in str(refused.value)
    assert xdp_of(place) == before


def test_uninstall_leaves_another_program_alone(place: Place, foreign: str) -> None:
    before = xdp_of(place)
    with pytest.raises(ForeignProgramError):
        place.at_node(lambda: detach("eth0"))
    assert xdp_of(place) == before
    assert "xdp" in before


# Holding and replaying on a real wire.


def test_a_held_syn_goes_in_and_the_connection_completes_with_one_syn(place: Place) -> None:
    datapath = place.datapath()
    place.at_node(datapath.attach)
    datapath.set_service([FRONTEND], slot=3, mode=Mode.HOLD)
    events = Events(datapath)
    with place.serve() as server, place.call() as caller:
        events.until(lambda: events.held)
        held = parse_held(events.held[0])
        assert held.ifindex == place.at_node(lambda: interface_index("eth0"))
        assert client_of(held.syn.flow) == ":".join(map(str, caller.getsockname()))
        assert held.syn.timestamp is not None
        datapath.set_service([FRONTEND], slot=3, mode=Mode.SETTLE)
        datapath.watch(held.syn.flow)
        replay(place, datapath, held)
        accepted, peer = server.accept()
        with accepted:
            assert peer == caller.getsockname()
            events.until(lambda: events.answered)
        answer = parse_answered(events.answered[0])
        assert (answer.flow, answer.is_reset) == (held.syn.flow, False)
        assert held.seen_ns < answer.seen_ns <= time.monotonic_ns()
        assert len(events.held) == 1
        assert retransmitted(caller) == 0
    assert datapath.reasons()["held"] == 1
    assert datapath.reasons()["answered"] == 1
    assert datapath.last_packet_ns(3) >= answer.seen_ns


@pytest.mark.parametrize("is_watched_again", [False, True])
def test_a_replay_enters_until_its_client_has_answered_and_no_more(
    place: Place, is_watched_again: bool
) -> None:
    # A connection may be over by the time that its repeat is due, the daemon about to hear of it.
    datapath = place.datapath()
    place.at_node(datapath.attach)
    datapath.set_service([FRONTEND], slot=3, mode=Mode.HOLD)
    events = Events(datapath)
    with place.serve() as server:
        with place.call() as caller:
            events.until(lambda: events.held)
            held = parse_held(events.held[0])
            datapath.set_service([FRONTEND], slot=3, mode=Mode.SETTLE)
            datapath.watch(held.syn.flow)
            replay(place, datapath, held)
            accepted, _ = server.accept()
            caller.shutdown(socket.SHUT_WR)
            accepted.close()
            assert select.select([caller], [], [], 5)[0]
            assert caller.recv(1) == b""
        assert place.at_node(resets_sent) == 0
        if is_watched_again:
            datapath.watch(held.syn.flow)
        replay(place, datapath, held)
        # Its SYN-ACK meets a client in TIME_WAIT, and what that says meets a RST, before this call.
        with place.call():
            server.accept()[0].close()
        assert place.at_node(resets_sent) == is_watched_again


def test_a_syn_whose_checksum_was_left_partial_would_not_have_done(place: Place) -> None:
    # What the replay mends: a veth's sender leaves it to a card that is not there.
    datapath = place.datapath()
    place.at_node(datapath.attach)
    datapath.set_service([FRONTEND], slot=3, mode=Mode.HOLD)
    events = Events(datapath)
    with place.call():
        events.until(lambda: events.held)
    held = parse_held(events.held[0])
    assert held.syn.frame != with_checksums(held.syn.frame)


def test_forgotten_and_unwatched_are_gone_and_twice_is_no_error(place: Place) -> None:
    datapath = place.datapath()
    place.at_node(datapath.attach)
    datapath.set_service([FRONTEND], slot=3, mode=Mode.HOLD)
    for _ in range(2):
        datapath.forget([FRONTEND])
        datapath.unwatch(bytes(36))
    with place.serve(), place.client.run(socket.socket) as caller:
        caller.settimeout(5)
        caller.connect((VIP, PORT))
    assert datapath.reasons()["held"] == 0


def test_injecting_into_an_interface_that_is_gone_is_an_os_error(place: Place) -> None:
    datapath = place.datapath()
    with pytest.raises(OSError, match=r"\[Errno"):
        place.at_node(lambda: datapath.inject(bytes(60), ifindex=9999, rx_queue=0))


# Taking over.


def test_a_successor_takes_the_verdicts_the_slots_and_the_activity(place: Place) -> None:
    other = frontend_key("10.9.0.77", 443)
    first = place.datapath()
    place.at_node(first.attach)
    first.set_service([FRONTEND], slot=3, mode=Mode.PASS)
    first.set_service([other], slot=9, mode=Mode.HOLD)
    with place.serve(), place.client.run(socket.socket) as caller:
        caller.settimeout(5)
        caller.connect((VIP, PORT))
    last_ns = first.last_packet_ns(3)
    assert last_ns > 0
    place.killed(first)

    second = place.datapath()
    assert second.is_taking_over
    assert second.adopt() == {FRONTEND: 3, other: 9}
    assert second.last_packet_ns(3) >= last_ns
    assert second.last_packet_ns(9) == 0
    place.at_node(second.attach)
    events = Events(second)
    second.set_service([FRONTEND], slot=3, mode=Mode.HOLD)
    with place.call():
        events.until(lambda: events.held)


def test_replacing_is_one_step_and_leaves_one_program(place: Place) -> None:
    first = place.datapath()
    place.at_node(first.attach)
    first_id = attached(place)
    place.killed(first)
    second = place.datapath()
    assert attached(place) == first_id, "until it attaches, the predecessor's holds"
    second.adopt()
    place.at_node(second.attach)
    assert attached(place) not in (None, first_id)


def test_syns_held_while_no_daemon_ran_are_handed_over(place: Place) -> None:
    first = place.datapath()
    place.at_node(first.attach)
    first.set_service([FRONTEND], slot=3, mode=Mode.HOLD)
    place.killed(first)
    with place.call() as caller:  # the program alone holds it: its heartbeat is young
        second = place.datapath()
        second.adopt()
        place.at_node(second.attach)
        held: list[bytes] = []
        second.drain_predecessor(held.append)
        # Compiling may take longer than the client's first retry does.
        clients = {client_of(parse_held(event).syn.flow) for event in held}
        assert clients == {":".join(map(str, caller.getsockname()))}
        again: list[bytes] = []
        second.drain_predecessor(again.append)
        assert again == []
