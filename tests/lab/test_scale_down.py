"""Back to zero: after idleTimeout and not before, and never with somebody on the line."""

import select
import time
from pathlib import Path

import pytest

from tests.lab.clusters import at_zero
from tests.lab.helpers import ended
from wangell_lab import Lab, LabError
from wangell_lab.topology import EXAMPLE
from wangell_lab.wakes import problem_with, wake


def wait_for_scale_down(lab: Lab, *, timeout_s: float) -> float:
    """Return the seconds it took."""
    began_s = time.monotonic()
    lab.wait_until_at_zero(timeout_s=timeout_s)
    return time.monotonic() - began_s


def test_an_idle_service_goes_to_zero_and_comes_back(c_server: Path) -> None:
    with at_zero([str(c_server)], idle_timeout_s=2) as lab:
        wake(lab, lab.client.get)
        (server,) = lab.server_pids()
        waited_s = wait_for_scale_down(lab, timeout_s=15)
        print(f"\nscaled down {waited_s:.2f} s after the request; idleTimeout is 2 s")
        assert waited_s >= 1.9
        assert ended(server, timeout_s=0)
        assert lab.server_pids() == []
        assert problem_with(wake(lab, lab.client.get)) is None


def test_requests_keep_it_warm(c_server: Path) -> None:
    with at_zero([str(c_server)], idle_timeout_s=1) as lab:
        wake(lab, lab.client.get)
        pids = lab.server_pids()
        until_s = time.monotonic() + 4
        while time.monotonic() < until_s:
            assert lab.client.get().status == 200
        assert lab.server_pids() == pids
        assert lab.daemon.cold_starts.unread() == []


def test_an_open_connection_is_left_to_finish(c_server: Path) -> None:
    with at_zero([str(c_server)], idle_timeout_s=1) as lab:
        wake(lab, lab.client.get)
        with lab.client.connect() as waiting:
            with pytest.raises(LabError, match="0 replicas"):
                lab.controller.wait_for_replicas(EXAMPLE.service, 0, timeout_s=4)
            assert len(lab.server_pids()) == 1
            assert waiting.request().status == 200
        wait_for_scale_down(lab, timeout_s=15)
        assert lab.server_pids() == []


@pytest.mark.timeout(120)
def test_a_caller_at_any_moment_of_a_scale_down_is_served_with_one_syn(c_server: Path) -> None:
    """It meets the service warm, draining or cold: the same to it."""
    with at_zero([str(c_server)], idle_timeout_s=1) as lab:
        wake(lab, lab.client.get)
        for tenths in range(8, 30, 2):
            pause(tenths / 10)
            with lab.capture() as capture:
                exchange = lab.client.get()
            assert exchange.status == 200
            assert len(capture.syns()) == 1, f"{tenths / 10} s after the last request"
            assert not capture.refusals()


def pause(seconds: float) -> None:
    """Let the time pass that is this story's subject: nothing happens that could be waited for."""
    until_s = time.monotonic() + seconds
    select.select([], [], [], max(0.0, until_s - time.monotonic()))
