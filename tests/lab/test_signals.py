"""Signals unwind once, and do not disturb the cleaning up."""

import os
import signal
import threading

import pytest

from wangell_lab import Lab
from wangell_lab.signals import undisturbed, unwinding

SIGNALS = (signal.SIGTERM, signal.SIGHUP)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_leaves_every_block_and_ends_with_the_shells_status(
    number: signal.Signals,
) -> None:
    left = []
    with pytest.raises(SystemExit) as ended, unwinding():
        try:
            os.kill(os.getpid(), number)
            signal.sigwait([])  # Not reached: the handler raises first.
        finally:
            left.append("inner")
    assert ended.value.code == 128 + number
    assert left == ["inner"]


@pytest.mark.parametrize("number", SIGNALS)
def test_the_handlers_are_as_before_afterwards(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with unwinding():
        assert signal.getsignal(number) is not before
    assert signal.getsignal(number) is before


def test_a_lab_leaves_no_handler_behind() -> None:
    before = [signal.getsignal(each) for each in (signal.SIGINT, *SIGNALS)]
    with Lab(), Lab():
        assert signal.getsignal(signal.SIGTERM) is not before[1]
    assert [signal.getsignal(each) for each in (signal.SIGINT, *SIGNALS)] == before


def test_a_callers_own_handler_stays() -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: heard.append(number))
    try:
        with unwinding():
            os.kill(os.getpid(), signal.SIGTERM)
        assert heard == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)


def test_cleaning_up_is_not_cut_short_by_a_second_ctrl_c() -> None:
    cleaned = []
    with undisturbed():
        for number in (signal.SIGINT, *SIGNALS):
            os.kill(os.getpid(), number)
            cleaned.append(number)
    assert cleaned == [signal.SIGINT, *SIGNALS]
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)


def test_in_another_thread_no_handler_is_touched() -> None:
    """Python lets only the main thread set them; a lab in a thread is still a lab."""
    before = [signal.getsignal(each) for each in (signal.SIGINT, *SIGNALS)]
    seen: list[object] = []

    def enter_both() -> None:
        with unwinding(), undisturbed():
            seen.extend(signal.getsignal(each) for each in (signal.SIGINT, *SIGNALS))

    thread = threading.Thread(target=enter_both)
    thread.start()
    thread.join()
    assert seen == before
