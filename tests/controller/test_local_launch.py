"""The local file, and what is made of it before anybody waits: all problems at once, or none."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.controller.helpers import service
from tests.controller.local import declared, descriptors, settings
from wangell_controller.backends.local import LocalSettings, plan
from wangell_controller.manifests import ManifestError, read_model

ORIGIN = Path("local.yaml")
KEY = "default/serverless-example"


def local_file(directory: Path, **changes: Any) -> Path:
    """A local file of one service; `...` removes a field."""
    entry: dict[str, Any] = {
        "command": ["sleep", "1000"],
        "netns": "/run/netns/pod1",
        "address": "10.244.0.5",
        "node": "node1",
        "frontend": "10.46.100.105",
    }
    entry.update(changes)
    entry = {name: value for name, value in entry.items() if value is not ...}
    file = directory / "local.yaml"
    file.write_text(yaml.safe_dump({"services": {KEY: entry}}))
    return file


def planning_fails(local: LocalSettings, **services: Any) -> list[str]:
    before = descriptors(os.getpid())
    with pytest.raises(ManifestError) as caught:
        plan(local, services or declared(local), origin=ORIGIN)
    assert descriptors(os.getpid()) == before, "what was opened is closed"
    return str(caught.value).splitlines()


def test_a_local_file_is_read(tmp_path: Path) -> None:
    local = read_model(local_file(tmp_path), LocalSettings)
    assert local.services[KEY].command == ["sleep", "1000"]
    assert local.services[KEY].netns == Path("/run/netns/pod1")
    assert local.stop_grace_s == 10.0


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("command", [], "command: List should have at least 1 item after validation, not 0"),
        ("command", "sleep 1000", "command: should be a valid list"),
        ("command", ["a", 5], "command[1]: should be a valid string"),
        ("command", ["a\0b"], "command[0]: should have no NUL character"),
        ("command", ["x"] * 257, "command: List should have at most 256 items"),
        ("command", ..., "command: missing; it is required"),
        ("netns", "run/netns/x", "netns: should be an absolute path"),
        ("address", "10.0.0", "address: should be an IPv4 or IPv6 address"),
        ("frontend", 5, "frontend: should be an IP address in quotes"),
        ("node", "", "node: String should have at least 1 character"),
        ("adress", "10.0.0.1", "adress: no such field (did you mean address?)"),
        ("log", "server.log", "log: should be an absolute path"),
    ],
)
def test_a_wrong_field_is_named(tmp_path: Path, field: str, value: Any, message: str) -> None:
    file = local_file(tmp_path, **{field: value})
    with pytest.raises(ManifestError) as caught:
        read_model(file, LocalSettings)
    [line] = str(caught.value).splitlines()
    assert line.startswith(f"{file}: services.{KEY}.{message}")


def test_two_documents_are_one_too_many(tmp_path: Path) -> None:
    file = local_file(tmp_path)
    file.write_text(file.read_text() + "---\n" + file.read_text())
    with pytest.raises(ManifestError, match="expected one document, found 2"):
        read_model(file, LocalSettings)


def test_more_services_than_descriptors_are_refused(tmp_path: Path) -> None:
    entry = yaml.safe_load(local_file(tmp_path).read_text())["services"][KEY]
    file = tmp_path / "many.yaml"
    file.write_text(yaml.safe_dump({"services": {f"default/s{n}": entry for n in range(301)}}))
    with pytest.raises(ManifestError, match="services: Dictionary should have at most 300 items"):
        read_model(file, LocalSettings)


def test_everything_is_ready_before_the_wake(netns: Path, tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    local = settings(netns, log=str(log))
    launches = plan(local, declared(local, spec__targetPort=9090), origin=ORIGIN)
    launch = launches[KEY]
    assert Path(launch.command[0]).is_absolute()
    assert launch.environment["PORT"] == "9090"
    assert launch.environment["PATH"] == os.environ["PATH"]
    assert launch.place.endpoints[0].workload == f"net:[{netns.stat().st_ino}]"
    assert log.exists()
    launch.close()


def test_services_of_the_file_that_nobody_declares_are_nothing(netns: Path) -> None:
    local = settings(netns, "a", "b")
    launches = plan(local, {"default/a": service("a")}, origin=ORIGIN)
    assert list(launches) == ["default/a"]
    launches["default/a"].close()


def test_a_declared_service_that_is_not_in_the_file(netns: Path) -> None:
    assert planning_fails(settings(netns, "a"), **{"default/b": service("b")}) == [
        "local.yaml: services: no default/b: say what to start for it"
    ]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        (
            {"command": ["no-such-program"]},
            "command: no such program, or not executable: no-such-program",
        ),
        ({"command": ["/etc/passwd"]}, "command: no such program, or not executable: /etc/passwd"),
        (
            {"netns": "/run/netns/wgctl-none"},
            "netns: no such namespace (ip netns add wgctl-none): /run/netns/wgctl-none",
        ),
        ({"netns": "/etc/passwd"}, "netns: not a network namespace: /etc/passwd"),
        ({"netns": "/proc/self/ns/pid"}, "netns: not a network namespace: /proc/self/ns/pid"),
        (
            {"log": "/nonexistent/server.log"},
            "No such file or directory: /nonexistent/server.log",
        ),
    ],
)
def test_what_could_not_be_started_is_refused_beforehand(
    netns: Path, changes: dict[str, Any], problem: str
) -> None:
    assert planning_fails(settings(netns, **changes)) == [f"local.yaml: services.{KEY}: {problem}"]


def test_one_address_is_one_services(new_netns: Callable[[], Path]) -> None:
    local = settings(new_netns(), "a", "b")
    same = local.services["default/a"]
    local = LocalSettings(services={"default/a": same, "default/b": same})
    assert planning_fails(local) == [
        "local.yaml: services.default/b: frontend: 10.46.100.105:80 is default/a's already"
    ]
    services = {"default/a": service("a"), "default/b": service("b", spec__port=81)}
    for launch in plan(local, services, origin=ORIGIN).values():
        launch.close()


def test_all_problems_at_once(netns: Path) -> None:
    local = settings(netns, "a", "b", command=["no-such-program"])
    assert len(planning_fails(local)) == 2
