"""A node port is open at a node's own addresses, whichever node reads the record."""

import pytest

from tests.daemon.packets import Segment, held
from tests.daemon.story import HERE, VIP, X, key, record
from wangell_daemon.effects import ForgetFrontends, Mode, Refuse, ReportWake, SetMode
from wangell_daemon.frontends import keys_of
from wangell_daemon.node import Node, RecordRefusedError
from wangell_proto.vocabulary import EACH_NODE, Frontend

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
