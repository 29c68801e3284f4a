"""What the machine must have, and the remedy for each lack."""

import os
import subprocess
from pathlib import Path

import pytest

from wangell_lab import Lab, LabError, preflight
from wangell_lab.namespaces import NETNS_DIRECTORY


def test_this_machine_has_what_a_lab_needs() -> None:
    preflight.check()
    preflight.mount_tracefs()
    assert Path("/sys/kernel/tracing/events/sock/inet_sock_set_state/format").exists()


def test_without_root_nothing_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(LabError, match=r"not root: .* sudo"), Lab():
        pytest.fail("a lab without root")


def test_every_missing_command_is_named_at_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("curl", "ss"):
        tmp_path.joinpath(name).touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LabError, match=r"apt-get install nftables$"):
        preflight.check()


def test_tracefs_is_mounted_where_it_is_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(preflight, "TRACEFS", tmp_path)
    try:
        preflight.mount_tracefs()
        assert (tmp_path / "events").exists()
        preflight.mount_tracefs()  # Not a second time, one over the other.
        mounts = Path("/proc/self/mounts").read_text()
        assert mounts.count(f" {tmp_path} ") == 1
    finally:
        subprocess.run(["umount", str(tmp_path)], check=False)


def test_tracefs_that_cannot_be_mounted_is_an_error_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(preflight, "TRACEFS", tmp_path / "absent")
    with pytest.raises(LabError, match=r"no tracefs at .*absent, and it cannot be mounted: "):
        preflight.mount_tracefs()


def test_namespaces_lie_where_ip_netns_has_them(lab: Lab) -> None:
    shown = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True)
    assert lab.namespace("client").path.parent == NETNS_DIRECTORY
    assert lab.namespace("client").name in shown.stdout
