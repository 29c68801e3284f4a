"""Who is outside a frontend's source ranges is not handed over, whatever interface it comes by.

XDP drops it at the daemon's own interface; the rules ask by themselves, for there are others.
"""

import contextlib
import socket
from collections.abc import Iterator

import pytest

from tests.kernel.test_handover import FRONTEND, TARGET_PORT, VIP, VIP_PORT, Site
from wangell_daemon.datapath import OwnCalls
from wangell_daemon.packets import frontend_key

CLIENT = "10.9.0.1"
INSIDE, OUTSIDE = ["192.168.0.0/16", f"{CLIENT}/32"], ["192.168.0.0/16", "10.9.0.2/31"]


@pytest.fixture
def site() -> Iterator[Site]:
    with contextlib.ExitStack() as stack:
        made = Site(stack)
        made.serve("pod", made.pod)
        yield made
        made.handover.close()


@pytest.fixture
def own_calls(site: Site) -> Iterator[OwnCalls]:
    """The same daemon's."""
    made = site.node.run(OwnCalls)
    yield made
    made.close()


def hand_over(site: Site, *frontends: bytes, is_away: bool = False) -> None:
    frontends = frontends or (FRONTEND,)
    site.handover.replace(frontends, address="10.9.1.1", port=TARGET_PORT, is_away=is_away)


@pytest.mark.parametrize("is_away", [False, True])
def test_from_outside_it_reaches_nobody(site: Site, own_calls: OwnCalls, is_away: bool) -> None:
    own_calls.restrict(FRONTEND, OUTSIDE)
    hand_over(site, is_away=is_away)
    site.call(reaches=None)


def test_from_inside_it_reaches_the_replica_as_who_it_is(site: Site, own_calls: OwnCalls) -> None:
    own_calls.restrict(FRONTEND, INSIDE)
    hand_over(site)
    assert site.call(reaches="pod") == CLIENT


def test_other_ranges_count_from_the_next_call_on(site: Site, own_calls: OwnCalls) -> None:
    hand_over(site)
    for sources, reached in ((OUTSIDE, None), (INSIDE, "pod"), (OUTSIDE, None), ((), "pod")):
        own_calls.restrict(FRONTEND, sources)
        site.call(reaches=reached)
    assert site.elements("restricted4") == site.elements("sources4") == []


def test_a_connection_that_was_made_before_stays(site: Site, own_calls: OwnCalls) -> None:
    """As kube-proxy has it: XDP alone drops what is under way."""
    hand_over(site)
    with site.client.run(socket.socket) as caller:
        caller.settimeout(2)
        caller.connect((VIP, VIP_PORT))
        accepted, _ = site._servers["pod"].accept()
        with accepted:
            own_calls.restrict(FRONTEND, OUTSIDE)
            caller.sendall(b"still there")
            accepted.settimeout(2)
            assert accepted.recv(20) == b"still there"


def test_another_port_of_the_address_is_for_whoever_will(site: Site, own_calls: OwnCalls) -> None:
    own_calls.restrict(frontend_key(VIP, VIP_PORT + 1), OUTSIDE)
    hand_over(site)
    site.call(reaches="pod")


def test_while_a_daemon_starts_anew_it_holds(site: Site, own_calls: OwnCalls) -> None:
    """Until the table is whole, its predecessor's word counts."""
    own_calls.restrict(FRONTEND, OUTSIDE)
    hand_over(site)
    own_calls.close()
    site.handover.close()
    successor = site.node.run(OwnCalls)
    with contextlib.closing(successor):
        site.call(reaches=None)
        successor.restore()
        site.call(reaches="pod")
