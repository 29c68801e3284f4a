"""The wire format, held to bytes that were written down once."""

import json

from tests.proto.helpers.golden import VECTORS, conversation
from wangell_proto.wire import DatagramType

WRITTEN = json.loads(VECTORS.read_text())["datagrams"]


def test_the_same_conversation_gives_the_same_bytes():
    # Changed on purpose? `python -m tests.proto.helpers.golden`, and a word in protocol.md.
    assert conversation() == WRITTEN


def test_the_conversation_has_every_type_of_datagram_and_both_speakers():
    kinds = {bytes.fromhex(said["datagram"])[3] for said in WRITTEN}
    assert kinds == {int(kind) for kind in DatagramType}
    assert {said["from"] for said in WRITTEN} == {"client", "server"}
    assert len({said["what"] for said in WRITTEN}) == 5
    assert all(len(said["datagram"]) <= 2400 for said in WRITTEN)
