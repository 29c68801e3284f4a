"""The phase table: every pair has its answer here, written out by hand."""

import itertools

import pytest

from wangell_controller.phases import STOPS_REPLICA, TRANSITIONS, PhaseInput, next_phase
from wangell_proto.vocabulary import Phase

COLD, WAKING, WARM, DRAINING = Phase.COLD, Phase.WAKING, Phase.WARM, Phase.DRAINING

# Columns: from Cold, Waking, Warm, Draining. None: it means nothing there.
EXPECTED = {
    PhaseInput.WAKE:         (WAKING, None, None, WARM),
    PhaseInput.FOUND:        (WAKING, None, None, None),
    PhaseInput.LISTENING:    (None, WARM, None, None),
    PhaseInput.IDLE:         (None, None, DRAINING, None),
    PhaseInput.ARMED_EMPTY:  (None, None, None, COLD),
    PhaseInput.ARMED_BUSY:   (None, None, None, WARM),
    PhaseInput.UNARMED:      (None, None, None, WARM),
    PhaseInput.START_FAILED: (None, COLD, None, None),
    PhaseInput.DEADLINE:     (None, COLD, None, None),
    PhaseInput.ENDED:        (None, COLD, COLD, COLD),
    PhaseInput.REPLACED:     (None, None, WAKING, WAKING),
    PhaseInput.CHANGED:      (None, COLD, COLD, COLD),
}  # fmt: skip
PHASES = (COLD, WAKING, WARM, DRAINING)


@pytest.mark.parametrize(("phase", "happened"), list(itertools.product(PHASES, PhaseInput)))
def test_every_pair(phase: Phase, happened: PhaseInput) -> None:
    assert next_phase(phase, happened) is EXPECTED[happened][PHASES.index(phase)]


def test_every_phase_and_input_is_in_the_table() -> None:
    assert set(PHASES) == set(Phase) == set(TRANSITIONS)
    assert set(EXPECTED) == set(PhaseInput)


def test_the_round_is_the_published_one() -> None:
    phase: Phase | None = COLD
    for happened in ("WAKE", "LISTENING", "IDLE", "ARMED_EMPTY"):
        assert phase is not None
        phase = next_phase(phase, PhaseInput[happened])
    assert phase is COLD


def test_only_draining_goes_down_for_want_of_traffic() -> None:
    lowering = {
        (phase, happened)
        for phase, row in TRANSITIONS.items()
        for happened, target in row.items()
        if target is COLD and happened is PhaseInput.ARMED_EMPTY
    }
    assert lowering == {(DRAINING, PhaseInput.ARMED_EMPTY)}
    assert COLD not in {next_phase(WARM, each) for each in (PhaseInput.IDLE, PhaseInput.WAKE)}


def test_no_phase_follows_itself() -> None:
    assert all(phase not in row.values() for phase, row in TRANSITIONS.items())


def test_what_stops_a_replica_always_leads_to_cold() -> None:
    targets = {next_phase(phase, each) for phase in PHASES for each in STOPS_REPLICA}
    assert targets == {COLD, None}
