"""What a SYN meets in the kernel, read from outside, in every phase."""

from pathlib import Path

import pytest

from tests.lab.clusters import at_zero
from wangell_daemon.effects import Mode
from wangell_lab import Lab, LabError, xdp
from wangell_lab.topology import EXAMPLE, Exposure
from wangell_lab.wakes import wake

UNKNOWN = Exposure(
    service="default/unknown", address="10.46.100.107", port=80, pod="node1-pod1", target_port=8080
)


def test_without_a_program_there_is_no_mode(lab: Lab) -> None:
    node = lab.namespace("node1")
    assert xdp.mode(node, EXAMPLE) is None
    with pytest.raises(LabError, match=r"not held on wl-.*-node1; its SYNs are let pass"):
        xdp.wait_until_held(node, EXAMPLE, timeout_s=0.1)


def test_it_follows_the_service_from_zero_to_warm_and_back(c_server: Path) -> None:
    with at_zero([str(c_server)]) as lab:
        node = lab.namespace("node1")
        assert xdp.mode(node, EXAMPLE) is Mode.HOLD
        assert xdp.mode(node, UNKNOWN) is None
        wake(lab, lab.client.get)
        warm = xdp.mode(node, EXAMPLE)
        assert warm in (Mode.PASS, Mode.SETTLE)
        with pytest.raises(LabError, match=f"its SYNs are {warm.name.lower()}"):
            xdp.wait_until_held(node, EXAMPLE, timeout_s=0.1)
        lab.end_servers()
        lab.wait_until_at_zero(timeout_s=10)
        assert xdp.mode(node, EXAMPLE) is Mode.HOLD


def test_what_is_attached_stays_while_the_daemon_is_away(c_server: Path) -> None:
    with at_zero([str(c_server)]) as lab:
        lab.daemon.kill()
        assert xdp.mode(lab.namespace("node1"), EXAMPLE) is Mode.HOLD


def test_looking_leaves_nothing_open(c_server: Path) -> None:
    with at_zero([str(c_server)]) as lab:
        xdp.mode(lab.namespace("node1"), EXAMPLE)
        before = len(list(Path("/proc/self/fd").iterdir()))
        for _ in range(20):
            xdp.mode(lab.namespace("node1"), EXAMPLE)
        assert len(list(Path("/proc/self/fd").iterdir())) == before
