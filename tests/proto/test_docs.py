"""docs/protocol.md says what the code does: its diagram and its numbers are held to it."""

import doctest
import re
from pathlib import Path

import pytest

import wangell_proto
from tests.proto.helpers.diagram import END, START, state_diagram
from wangell_proto import DropReason, Timers, constants
from wangell_proto.wire import DatagramType, Farewell, FrameType, Kind

PAGE = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text()


def test_the_diagram_is_the_one_of_the_table():
    drawn = PAGE.split(START)[1].split(END)[0].strip()
    # Changed on purpose? `python -m tests.proto.helpers.diagram` writes it anew.
    assert drawn == state_diagram().strip()


@pytest.mark.parametrize("enum", [DatagramType, FrameType, Kind, Farewell])
def test_every_number_of_the_wire_is_in_a_table(enum: type):
    for member in enum:
        assert re.search(rf"\| {member.value} \| `{member.name}` \|", PAGE), member


def test_every_reason_for_a_drop_is_explained():
    for reason in DropReason:
        assert f"`{reason.name}`" in PAGE, reason


@pytest.mark.parametrize(
    "name",
    [
        "DATAGRAM_BYTES_MAX",
        "FRAGMENT_BYTES",
        "MESSAGE_BYTES_MAX",
        "WAKE_BYTES_MAX",
        "REPLAY_WINDOW",
        "DELIVERY_WINDOW",
        "QUEUED_MESSAGES_MAX",
        "REASSEMBLIES_PER_PEER_MAX",
        "PEERS_MAX",
        "UNCONFIRMED_MAX",
        "SERVERS_MAX",
        "CREDENTIAL_BYTES_MAX",
        "RECORD_VALUE_BYTES_MAX",
        "TOMBSTONES_MAX",
    ],
)
def test_limits_are_those_of_the_code(name: str):
    value = f"{getattr(constants, name):,}"
    assert re.search(rf"`{name}` \| {re.escape(value)} ", PAGE), f"{name} is {value}"


def test_timers_are_those_of_the_code():
    for name in Timers.__dataclass_fields__:
        value = getattr(Timers(), name)
        shown = f"{value:,}" if isinstance(value, int) else f"{value:g}"
        assert re.search(rf"`{name}` \| {re.escape(shown)} ", PAGE), f"{name} is {shown}"


def test_the_example_in_the_packages_docstring_runs():
    results = doctest.testmod(wangell_proto)
    assert results.attempted > 5
    assert results.failed == 0
