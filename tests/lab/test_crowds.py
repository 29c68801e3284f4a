"""Many clients before a door that is still closed: one wake, and one SYN each."""

from collections import Counter
from pathlib import Path

import pytest

from tests.lab.clusters import at_zero
from wangell_lab.topology import EXAMPLE
from wangell_lab.wakes import back_to_zero

CROWD = 50


@pytest.mark.parametrize("readiness", ["listen", "probe"])
@pytest.mark.parametrize(
    "options",
    [
        pytest.param(["-d", "300"], id="all-held"),
        pytest.param(["-d", "300", "-b", "5"], id="all-held-backlog-5"),
        pytest.param([], id="arriving-as-it-opens"),
        pytest.param(["-b", "5"], id="arriving-as-it-opens-backlog-5"),
    ],
)
def test_fifty_at_once_are_one_wake_and_one_syn_each(
    c_server: Path, readiness: str, options: list[str]
) -> None:
    with at_zero([str(c_server), *options], readiness=readiness) as lab, lab.capture() as capture:
        exchanges = lab.client.get_at_once(CROWD)
        told = lab.daemon.cold_starts.next(timeout_s=5)
        syns = Counter(syn.source_port for syn in capture.syns())
        assert lab.daemon.cold_starts.unread() == []
        assert len(lab.server_pids()) == 1
    print(
        f"\n{told.clients} of {CROWD} had been held; slowest first byte "
        f"{max(each.first_byte_ms for each in exchanges):.1f} ms"
    )
    assert [each.status for each in exchanges] == [200] * CROWD
    assert len(syns) == CROWD
    assert {port: count for port, count in syns.items() if count != 1} == {}
    if "-d" in options:
        assert told.clients == CROWD
    assert told.activation == 1


@pytest.mark.timeout(120)
def test_the_race_at_the_flip_costs_nobody_a_second(c_server: Path) -> None:
    """A SYN judged cold may arrive after the phase has turned warm (design.md section 2)."""
    retried: Counter[int] = Counter()
    with at_zero([str(c_server)]) as lab:
        for turn in range(20):
            back_to_zero(lab, EXAMPLE.service)
            with lab.capture() as capture:
                exchanges = lab.client.get_at_once(CROWD)
                lab.daemon.cold_starts.next(timeout_s=5)
                retried[turn] = len(capture.syns()) - CROWD
            assert [each.status for each in exchanges] == [200] * CROWD
    assert +retried == Counter()
