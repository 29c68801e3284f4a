"""Segments that no listener would answer must not wake a service: a stray scan would wake all."""

import time

import pytest

from tests.daemon.packets import ACK, FIN, RST, SYN, Segment
from tests.kernel.conftest import DROP, PASS, Program
from wangell_daemon.effects import Mode
from wangell_daemon.packets import frontend_key

VIP = frontend_key("10.0.0.2", 80)
PSH, URG, ECE, CWR = 0x08, 0x20, 0x40, 0x80


@pytest.fixture
def cold(program: Program) -> Program:
    program.set_service(VIP, mode=Mode.HOLD)
    program.beat(time.monotonic_ns())
    return program


@pytest.mark.parametrize("extra", [RST, FIN, RST | FIN, RST | ACK, FIN | ACK, ACK])
def test_a_syn_that_linux_would_not_answer_is_not_held(cold: Program, extra: int) -> None:
    assert cold.run(Segment(flags=SYN | extra).raw) == PASS
    assert cold.held == []
    assert cold.reasons() == {"passed": 1}


@pytest.mark.parametrize("extra", [0, PSH, URG, ECE | CWR])
def test_a_syn_that_linux_answers_is_held_whatever_else_it_says(cold: Program, extra: int) -> None:
    # ECE and CWR ask for explicit congestion notification; every second client does.
    assert cold.run(Segment(flags=SYN | extra).raw) == DROP
    assert len(cold.held) == 1


@pytest.mark.parametrize("flags", [0, FIN | PSH | URG, FIN, RST, 0xFF])
def test_the_scanners_other_favourites_pass(cold: Program, flags: int) -> None:
    assert cold.run(Segment(flags=flags).raw) == PASS
    assert cold.held == []
