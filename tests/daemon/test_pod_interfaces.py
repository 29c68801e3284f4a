"""Behind which interfaces a pod is, by what the kernel tells of them."""

import pytest

from wangell_daemon.datapath.pod_interfaces import AUTO, is_a_pods
from wangell_daemon.datapath.rtnetlink import Link


def link(name: str, kind: str = "veth", *, elsewhere: bool = True) -> Link:
    return Link(index=7, name=name, kind=kind, has_peer_elsewhere=elsewhere)


@pytest.mark.parametrize(
    ("what", "seen"),
    [
        ("a bridge plugin's", link("veth1a2b3c4d")),
        ("Calico's", link("cali12345678901")),
        ("Amazon's", link("eni0123456789a")),
        ("a container's of Docker", link("veth9f8e7d6")),
    ],
)
def test_a_veth_into_another_namespace_leads_to_a_pod(what: str, seen: Link) -> None:
    assert is_a_pods(seen, (AUTO,)), what


@pytest.mark.parametrize(
    ("what", "seen"),
    [
        ("the bridge that pods are on", link("cni0", "bridge", elsewhere=False)),
        ("a card", link("eth0", "", elsewhere=False)),
        ("an overlay's end", link("flannel.1", "vxlan", elsewhere=False)),
        ("both ends are the host's own", link("veth0", elsewhere=False)),
        ("a macvlan on another namespace's card", link("mac0", "macvlan")),
        ("loopback", link("lo", "", elsewhere=False)),
    ],
)
def test_nothing_else_does(what: str, seen: Link) -> None:
    assert not is_a_pods(seen, (AUTO,)), what


def test_a_name_that_is_said_counts_whatever_it_is() -> None:
    assert is_a_pods(link("tap17", "tun", elsewhere=False), ("cali*", "tap*"))
    assert not is_a_pods(link("veth17"), ("cali*", "tap*"))


def test_auto_may_stand_beside_names() -> None:
    for seen in (link("veth17"), link("tap17", "tun", elsewhere=False)):
        assert is_a_pods(seen, (AUTO, "tap*"))


def test_without_patterns_there_are_none() -> None:
    assert not is_a_pods(link("veth17"), ())


def test_case_counts() -> None:
    assert not is_a_pods(link("Cali1"), ("cali*",))
