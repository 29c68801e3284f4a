"""The link's table: every pair of state and input has an answer."""

import itertools
from pathlib import Path

import pytest

import wangell_proto
from wangell_proto.states import TRANSITIONS, LinkInput, LinkMachine, LinkState, next_state

PAIRS = list(itertools.product(LinkState, LinkInput))
ROWS = {(state, given): to for state, row in TRANSITIONS.items() for given, to in row.items()}


@pytest.mark.parametrize(("state", "given"), PAIRS)
def test_every_pair_moves_as_the_table_says_or_not_at_all(state: LinkState, given: LinkInput):
    machine = LinkMachine(state)
    expected = ROWS.get((state, given))
    assert next_state(state, given) is expected
    assert machine.move(given) is (expected is not None)
    assert machine.state is (state if expected is None else expected)


def test_every_state_has_a_row_and_can_be_reached():
    assert set(TRANSITIONS) == set(LinkState)
    reached, edge = {LinkState.RESTING, LinkState.PROVING}, [LinkState.RESTING, LinkState.PROVING]
    while edge:
        for state in TRANSITIONS[edge.pop()].values():
            if state not in reached:
                reached.add(state)
                edge.append(state)
    assert reached == set(LinkState)


def test_closed_is_final_and_close_always_leads_there():
    assert TRANSITIONS[LinkState.CLOSED] == {}
    for state in set(LinkState) - {LinkState.CLOSED}:
        assert next_state(state, LinkInput.CLOSE) is LinkState.CLOSED


def test_silence_ends_every_state_that_waits_for_the_other_side():
    for state in set(LinkState) - {LinkState.RESTING, LinkState.CLOSED}:
        assert next_state(state, LinkInput.SILENCE) is LinkState.RESTING


def test_nobody_is_up_without_keys():
    into_up = {state for (state, _), to in ROWS.items() if to is LinkState.UP}
    assert into_up == {LinkState.PROVING, LinkState.JUDGED, LinkState.UP}


def test_only_the_machine_assigns_a_state():
    package = Path(wangell_proto.__file__).parent
    for source in package.glob("*.py"):
        if source.name != "states.py":
            assert ".state =" not in source.read_text(), source.name
