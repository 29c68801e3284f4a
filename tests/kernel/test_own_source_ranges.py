"""A call of the node itself from outside the ranges: not held, not handed over, not refused."""

import contextlib
import json
from collections.abc import Iterator

import pytest

from tests.kernel.test_own_calls import AWAY, FRONTEND, POD, PORT, TARGET_PORT, VIP, Site
from wangell_daemon.packets import frontend_key

INSIDE, OUTSIDE = ["10.9.0.0/24"], ["192.168.0.0/16"]


@pytest.fixture
def site() -> Iterator[Site]:
    with contextlib.ExitStack() as stack:
        made = Site(stack)
        yield made


def shut_out(site: Site) -> int:
    said = json.loads(
        site._nft(command=("-j", "list", "counter", "inet", "wangell", "outside_ranges"))
    )
    return int(said["nftables"][1]["counter"]["packets"])


def is_shut_out(site: Site) -> bool:
    """Whether a call comes to nothing at all: no answer, and no refusal either."""
    before, held = shut_out(site), len(site.held)
    with pytest.raises((TimeoutError, ConnectionRefusedError)) as outcome:
        site.call(timeout_s=0.3).result()
    site.own_calls.log.consume()
    is_dropped = outcome.type is TimeoutError and shut_out(site) > before
    return is_dropped and len(site.held) == held


def test_from_outside_it_is_not_held(site: Site) -> None:
    site.own_calls.restrict(FRONTEND, OUTSIDE)
    site.hold()
    assert is_shut_out(site)


def test_from_inside_it_is_held_and_answered(site: Site) -> None:
    server = site.serve(site.pod)
    site.own_calls.restrict(FRONTEND, INSIDE)
    site.hold()
    call = site.call()
    site.let_in(site.read())
    with call.result(timeout=2):
        accepted, _ = server.accept()
        accepted.close()
    assert shut_out(site) == 0


def test_the_handover_is_not_for_who_is_outside(site: Site) -> None:
    site.serve(site.pod)
    site.handover.replace([FRONTEND], address=POD, port=TARGET_PORT, is_away=False)
    site.own_calls.restrict(FRONTEND, OUTSIDE)
    assert is_shut_out(site)
    site.own_calls.restrict(FRONTEND, ())
    site.call().result(timeout=2)


def test_whichever_of_its_addresses_it_calls_from(site: Site) -> None:
    """Also one that the node has later: the kernel compares what the packet says."""
    server = site.serve(site.other_pod)
    site.handover.replace([FRONTEND], address=AWAY, port=TARGET_PORT, is_away=False)
    site.own_calls.restrict(FRONTEND, ["10.9.1.0/24"])
    assert is_shut_out(site)
    site.node.ip("route", "add", f"{VIP}/32", "via", AWAY)
    with site.call().result(timeout=2):
        server.accept()[0].close()


def test_ranges_that_hold_each_other_are_one(site: Site) -> None:
    site.own_calls.restrict(FRONTEND, ["10.9.0.0/24", "10.0.0.0/8", "11.0.0.0/8", "10.9.0.254/32"])
    assert len(site.elements("sources4")) == 1
    for narrower in (["10.9.0.0/16"], ["10.9.0.254/32", "10.9.0.252/32"]):
        site.own_calls.restrict(FRONTEND, narrower)
        assert len(site.elements("sources4")) == len(narrower)
        assert not is_shut_out(site)
    site.own_calls.restrict(FRONTEND, ["10.9.0.253/32"])
    assert is_shut_out(site)


def test_another_port_is_not_restricted(site: Site) -> None:
    site.own_calls.restrict(frontend_key(VIP, PORT + 1), OUTSIDE)
    assert not is_shut_out(site)
    assert shut_out(site) == 0


def test_a_successor_keeps_them_until_the_table_is_whole(site: Site) -> None:
    site.own_calls.restrict(FRONTEND, OUTSIDE)
    site.own_calls.close()
    site.own_calls = site.begin()
    assert is_shut_out(site)
    other = frontend_key(VIP, PORT + 1)
    site.own_calls.restrict(other, INSIDE)
    site.own_calls.restore()
    assert not is_shut_out(site), "nobody has claimed it"
    assert site.elements("restricted4") == [{"concat": [VIP, PORT + 1]}]
    network = {"prefix": {"addr": "10.9.0.0", "len": 24}}
    assert site.elements("sources4") == [{"concat": [network, VIP, PORT + 1]}]


def test_one_that_somebody_has_deleted_is_no_error(site: Site) -> None:
    site.own_calls.restrict(FRONTEND, INSIDE)
    site._nft(command=("flush", "set", "inet", "wangell", "sources4"))
    site.own_calls.restrict(FRONTEND, OUTSIDE)
    assert is_shut_out(site)
    assert len(site.elements("sources4")) == 1
