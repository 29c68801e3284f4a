"""A node port is open at a node's own addresses, whichever node reads the record."""

import pytest

from tests.daemon.packets import Segment, held
from tests.daemon.story import HERE, VIP, X, key, record
from wangell_daemon.effects import (
    EndHandOver,
    ForgetFrontends,
    HandOver,
    Mode,
    Refuse,
    ReportWake,
    SetMode,
)
from wangell_daemon.frontends import keys_of
from wangell_daemon.node import Node, RecordRefusedError
from wangell_proto.vocabulary import EACH_NODE, Frontend, Phase

OWN = ("10.200.0.1", "10.200.7.1")
NODE_PORT = f"{EACH_NODE}:30080"


def node() -> Node:
    return Node(HERE, own_addresses=OWN)


def frontends(*vips: str) -> tuple[Frontend, ...]:
    return record(vips=vips).frontends


def test_a_node_port_is_one_frontend_for_each_own_address() -> None:
    assert keys_of(frontends(VIP, NODE_PORT), own_addresses=OWN) == (
        key(VIP),
        key("10.200.0.1:30080"),
        key("10.200.7.1:30080"),
    )


def test_an_address_that_is_said_and_own_is_one() -> None:
    found = keys_of(frontends("10.200.0.1:30080", NODE_PORT), own_addresses=OWN)
    assert found == (key("10.200.0.1:30080"), key("10.200.7.1:30080"))


def test_without_addresses_a_node_has_no_node_ports() -> None:
    assert keys_of(frontends(NODE_PORT), own_addresses=()) == ()


def test_a_call_of_a_node_port_is_held_and_wakes() -> None:
    here = node()
    (flip, *_) = here.record(X, record(vips=(VIP, NODE_PORT)), now_ns=0)
    assert isinstance(flip, SetMode)
    assert flip.mode is Mode.HOLD
    assert set(flip.frontends) == {key(VIP), *(key(f"{own}:30080") for own in OWN)}
    (woken,) = [
        effect
        for effect in here.syn(held(Segment(vip="10.200.7.1:30080")), now_ns=1)
        if isinstance(effect, ReportWake)
    ]
    assert (woken.wake.service, woken.wake.address, woken.wake.port) == (X, "10.200.7.1", 30080)


def test_another_nodes_address_is_not_held_here() -> None:
    here = node()
    (flip, *_) = here.record(X, record(vips=(NODE_PORT,)), now_ns=0)
    assert isinstance(flip, SetMode)
    assert key("10.200.0.2:30080") not in flip.frontends
    assert here.service_of(held(Segment(vip="10.200.0.2:30080")).syn.flow) is None


def test_a_node_port_that_goes_is_forgotten_and_its_callers_are_refused() -> None:
    here = node()
    here.record(X, record(vips=(VIP, NODE_PORT)), now_ns=0)
    here.syn(held(Segment(vip="10.200.0.1:30080")), now_ns=1)
    effects = here.record(X, record(vips=(VIP,)), now_ns=2)
    gone = [each for each in effects if isinstance(each, ForgetFrontends)]
    assert gone == [ForgetFrontends((key("10.200.0.1:30080"), key("10.200.7.1:30080")))]
    assert len([each for each in effects if isinstance(each, Refuse)]) == 1


def test_a_node_port_has_one_owner() -> None:
    here = node()
    here.record(X, record(vips=(NODE_PORT,)), now_ns=0)
    with pytest.raises(RecordRefusedError, match=r"10\.200\.0\.1:30080 belongs to default/x"):
        here.record("default/y", record(vips=(NODE_PORT,)), now_ns=0)


def test_two_services_may_swap_a_node_port_for_an_address() -> None:
    here = node()
    here.record(X, record(vips=(NODE_PORT,)), now_ns=0)
    here.record("default/y", record(vips=(VIP,), endpoints=()), now_ns=0)
    with pytest.raises(RecordRefusedError):
        here.record(X, record(vips=(VIP,)), now_ns=1)
    here.record("default/y", record(vips=(NODE_PORT,), endpoints=()), now_ns=2)
    names = [here.service_of(held(Segment(vip=vip)).syn.flow) for vip in ("10.200.0.1:30080", VIP)]
    assert [each.name if each else None for each in names] == ["default/y", X]


# The node's addresses come and go.

LATER = "10.200.9.1"


def at(own: str) -> bytes:
    return key(f"{own}:30080")


def test_an_address_that_comes_later_is_held_and_wakes() -> None:
    here = node()
    here.record(X, record(vips=(VIP, NODE_PORT)), now_ns=0)
    (flip,) = here.readdressed((*OWN, LATER), now_ns=1)
    assert isinstance(flip, SetMode)
    assert (at(LATER) in flip.frontends, flip.mode) == (True, Mode.HOLD)
    effects = here.syn(held(Segment(vip=f"{LATER}:30080")), now_ns=2)
    assert any(isinstance(each, ReportWake) for each in effects)


def test_one_that_goes_is_forgotten_and_its_callers_are_refused() -> None:
    here = node()
    here.record(X, record(vips=(VIP, NODE_PORT)), now_ns=0)
    here.syn(held(Segment(vip=f"{OWN[1]}:30080", client="10.0.0.9:40000")), now_ns=1)
    here.syn(held(Segment(vip=f"{OWN[0]}:30080")), now_ns=1)
    effects = here.readdressed(OWN[:1], now_ns=2)
    assert ForgetFrontends((at(OWN[1]),)) in effects
    assert len([each for each in effects if isinstance(each, Refuse)]) == 1, "the other waits on"
    assert here.held == 1
    assert here.service_of(held(Segment(vip=f"{OWN[1]}:30080")).syn.flow) is None


def test_a_warm_services_new_address_passes_and_is_handed_over() -> None:
    here = node()
    here.record(X, record(Phase.WARM, activation=1, vips=(VIP, NODE_PORT)), now_ns=0)
    effects = here.readdressed((*OWN, LATER), now_ns=1)
    (flip,) = [each for each in effects if isinstance(each, SetMode)]
    (handed,) = [each for each in effects if isinstance(each, HandOver)]
    assert flip.mode is Mode.PASS
    assert at(LATER) in flip.frontends
    assert at(LATER) in handed.frontends
    ended = [each for each in effects if isinstance(each, EndHandOver)]
    assert all(effects.index(each) < effects.index(handed) for each in ended)


def test_a_service_without_a_node_port_feels_nothing_of_it() -> None:
    here = node()
    here.record(X, record(vips=(VIP,)), now_ns=0)
    assert here.readdressed((LATER,), now_ns=1) == []


def test_what_is_declared_later_is_at_the_addresses_of_then() -> None:
    here = node()
    assert here.readdressed((LATER,), now_ns=0) == []
    (flip, *_) = here.record(X, record(vips=(NODE_PORT,)), now_ns=1)
    assert isinstance(flip, SetMode)
    assert flip.frontends == (at(LATER),)


def test_the_same_address_again_is_held_again() -> None:
    here = node()
    here.record(X, record(vips=(NODE_PORT,)), now_ns=0)
    here.readdressed((), now_ns=1)
    (flip,) = here.readdressed(OWN, now_ns=2)
    assert isinstance(flip, SetMode)
    assert (set(flip.frontends), flip.mode) == ({at(own) for own in OWN}, Mode.HOLD)


def test_an_address_that_is_anothers_already_is_taken_when_it_is_free() -> None:
    here = node()
    here.record(X, record(vips=(NODE_PORT,)), now_ns=0)
    here.record("default/y", record(vips=(f"{LATER}:30080",), endpoints=()), now_ns=0)
    assert here.readdressed((*OWN, LATER), now_ns=1) == []
    flow = held(Segment(vip=f"{LATER}:30080")).syn.flow
    owner = here.service_of(flow)
    assert owner is not None
    assert owner.name == "default/y"
    here.record("default/y", None, now_ns=2)
    owner = here.service_of(flow)
    assert owner is not None
    assert owner.name == X


def test_an_address_that_goes_frees_it_for_another() -> None:
    here = node()
    here.record(X, record(vips=(VIP, NODE_PORT)), now_ns=0)
    with pytest.raises(RecordRefusedError):
        here.record("default/y", record(vips=(f"{OWN[1]}:30080",), endpoints=()), now_ns=0)
    here.readdressed(OWN[:1], now_ns=1)
    owner = here.service_of(held(Segment(vip=f"{OWN[1]}:30080")).syn.flow)
    assert owner is not None
    assert owner.name == "default/y"
