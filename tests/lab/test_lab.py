"""The lab's own words: what it starts, what it knows, and what it says to a mistake."""

from pathlib import Path

import pytest

from tests.lab.clusters import at_zero
from tests.lab.helpers import ended
from wangell_lab import Lab, LabError
from wangell_lab.namespaces import Namespace
from wangell_lab.registry import Registry
from wangell_lab.wakes import problem_with, wake


def test_every_host_of_the_topology_has_a_namespace_and_the_labs_name(lab: Lab) -> None:
    for host in lab.topology.hosts:
        namespace = lab.namespace(host.name)
        assert namespace.identity is not None
        assert namespace.name == f"wl-{lab.lab_id}-{host.name}"


def test_a_host_that_is_not_there_is_named_with_those_that_are(lab: Lab) -> None:
    with pytest.raises(LabError, match="no node2 in this lab; it has switch, client, node1"):
        lab.namespace("node2")
    with pytest.raises(LabError, match="no pod7 in this lab"):
        lab.capture("pod7")


def test_what_was_not_started_is_said_with_the_way_to_say_which(lab: Lab) -> None:
    with pytest.raises(LabError, match="0 daemons were started"):
        _ = lab.daemon
    with pytest.raises(LabError, match="0 controllers were started"):
        _ = lab.controller


def test_two_daemons_are_told_apart_by_their_node(c_server: Path) -> None:
    with Lab(nodes=2) as lab:
        lab.start_controller(server=[str(c_server)])
        lab.start_daemon("node1")
        assert lab.daemon is lab.daemons["node1"]
        lab.start_daemon("node2")
        with pytest.raises(LabError, match=r"2 daemons were started: say which, lab\.daemons"):
            _ = lab.daemon
        assert lab.daemons["node1"].pid != lab.daemons["node2"].pid


def test_a_daemon_is_not_started_twice_on_a_node(c_server: Path) -> None:
    """Its own lock refuses it; the first goes on."""
    with at_zero([str(c_server)]) as lab:
        first = lab.daemon
        with pytest.raises(LabError, match=f"another daemon .pid {first.pid}. serves eth0"):
            lab.start_daemon()
        assert first.running
        assert lab.daemon is first
        assert problem_with(wake(lab, lab.client.get)) is None


def test_a_successor_goes_on_with_the_log_where_its_predecessor_stopped(c_server: Path) -> None:
    with at_zero([str(c_server)]) as lab:
        wake(lab, lab.client.get)
        lab.daemon.stop()
        lab.end_servers()
        successor = lab.start_daemon(readiness="probe")
        assert lab.daemon is successor
        lab.wait_until_at_zero(timeout_s=10)
        woken = wake(lab, lab.client.get)  # Raises if it met the predecessor's line again.
        assert woken.cold_start.activation == 2


def test_keys_are_made_once_and_are_private(lab: Lab) -> None:
    directory = lab.keys()
    before = {path.name: path.read_bytes() for path in directory.iterdir()}
    assert before
    assert lab.keys() == directory
    assert {path.name: path.read_bytes() for path in directory.iterdir()} == before


def test_two_labs_have_different_keys() -> None:
    with Lab() as one, Lab() as other:
        contents = [
            {path.name: path.read_bytes() for path in lab.keys().iterdir()} for lab in (one, other)
        ]
    assert contents[0].keys() == contents[1].keys()
    assert not [name for name in contents[0] if contents[0][name] == contents[1][name]]


def test_the_sample_is_declared_as_it_is_unless_asked_otherwise(lab: Lab) -> None:
    lab.start_controller()
    manifest = (lab.directory / "manifest.yaml").read_text()
    assert "idleTimeout: 1800" in manifest
    lab.controller.wait_for_replicas("default/serverless-example", 0, timeout_s=10)
    assert lab.controller.replicas("default/other") is None


def test_waiting_for_what_does_not_come_ends_with_the_log(lab: Lab) -> None:
    lab.start_controller()
    with pytest.raises(LabError, match="1 replicas of default/serverless-example") as late:
        lab.controller.wait_for_replicas("default/serverless-example", 1, timeout_s=0.2)
    assert ", but 0:" in str(late.value)
    assert "serving daemons at 10.46.100.3:7946" in str(late.value)


def test_everything_ends_with_the_lab_servers_included(c_server: Path, tmp_path: Path) -> None:
    with Lab(registry=Registry(tmp_path)) as lab:
        lab.start_controller(server=[str(c_server)])
        lab.start_daemon()
        wake(lab, lab.client.get)
        pids = [lab.controller.pid, lab.daemon.pid, *lab.server_pids()]
        names = [lab.namespace(host.name).name for host in lab.topology.hosts]
        assert len(pids) == 3
    assert all(ended(pid, timeout_s=0) for pid in pids)
    assert all(Namespace(name).identity is None for name in names)
    assert [path.name for path in tmp_path.iterdir()] == [".guard"]


def test_a_server_that_outlived_its_controller_ends_with_the_lab(c_server: Path) -> None:
    with at_zero([str(c_server)]) as lab:
        wake(lab, lab.client.get)
        lab.controller.kill()
        (server,) = lab.server_pids()
    assert ended(server, timeout_s=0)


def test_servers_can_be_ended_and_are_counted(c_server: Path) -> None:
    with at_zero([str(c_server)]) as lab:
        assert lab.end_servers() == 0
        wake(lab, lab.client.get)
        assert lab.end_servers() == 1
        assert lab.server_pids() == []
