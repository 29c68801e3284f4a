"""The table's records on the wire."""

import contextlib
from typing import Any

import msgpack
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.vocabulary.values import RECORD, records
from wangell_proto.vocabulary import (
    Endpoint,
    Phase,
    ServiceRecord,
    VocabularyError,
    decode_record,
    encode_record,
)

GOLDEN = bytes.fromhex(
    "86a57068617365a677616b696e67a966726f6e74656e64739283a761646472657373ad31302e34362e3130302e31"
    "3035a4706f727450a7736f757263657392aa31302e302e302e302f38ae3230332e302e3131332e372f333283a761"
    "646472657373a7666430303a3a35a4706f727450a7736f757263657390ab7461726765745f706f7274cd1f90a965"
    "6e64706f696e74739184a761646472657373aa31302e3234342e302e35a46e6f6465a56e6f646531a8776f726b6c"
    "6f6164b06e65743a5b343032363533323030305da969735f726f75746564c2aa61637469766174696f6e03b46163"
    "7469766174696f6e5f74696d656f75745f73cb404e000000000000"
)


def fields() -> dict[str, Any]:
    """The record as the wire has it, to be changed."""
    return dict(msgpack.unpackb(encode_record(RECORD)))


def test_the_wire_has_not_changed_unnoticed() -> None:
    # Daemons and controllers of two versions meet during each upgrade.
    assert encode_record(RECORD) == GOLDEN
    assert decode_record(GOLDEN) == RECORD


@given(records)
def test_any_record_comes_back_whole(record: ServiceRecord) -> None:
    assert decode_record(encode_record(record)) == record


@pytest.mark.parametrize("phase", Phase)
def test_every_phase_has_its_word_on_the_wire(phase: Phase) -> None:
    changed = fields() | {"phase": phase.name.lower()}
    assert decode_record(msgpack.packb(changed)).phase is phase


def test_there_are_four_phases() -> None:
    assert [phase.value for phase in Phase] == ["cold", "waking", "warm", "draining"]


def test_an_older_controllers_record_has_defaults() -> None:
    oldest = {name: fields()[name] for name in ("phase", "frontends", "target_port")}
    del oldest["frontends"][1]["sources"]
    record = decode_record(msgpack.packb(oldest))
    assert record.frontends[1].sources == (), "whoever will may call"
    assert record.endpoints == ()
    assert record.activation == 0
    assert record.activation_timeout_s == 60.0


def test_an_endpoint_is_not_routed_unless_it_says_so() -> None:
    changed = fields()
    del changed["endpoints"][0]["is_routed"]
    (endpoint,) = decode_record(msgpack.packb(changed)).endpoints
    assert endpoint == Endpoint(address="10.244.0.5", node="node1", workload="net:[4026532000]")
    assert not endpoint.is_routed


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"phase": "asleep"}, r"ServiceRecord\.phase: not a Phase"),
        ({"phase": None}, r"ServiceRecord\.phase: not a Phase"),
        ({"frontends": "10.0.0.1"}, r"ServiceRecord\.frontends: expected a list"),
        ({"frontends": [{"address": "10.0.0.1"}]}, r"ServiceRecord\.frontends\[0\]: .*'port'"),
        ({"frontends": [[]]}, r"ServiceRecord\.frontends\[0\]: expected a map"),
        ({"target_port": "8080"}, r"ServiceRecord\.target_port: expected int"),
        ({"endpoints": [{}]}, r"ServiceRecord\.endpoints\[0\]"),
        ({"activation": -1.5}, r"ServiceRecord\.activation: expected int"),
        ({"activation_timeout_s": float("nan")}, r"ServiceRecord\.activation_timeout_s"),
        ({"activation_timeout_s": float("inf")}, r"ServiceRecord\.activation_timeout_s"),
        ({"activation_timeout_s": "60s"}, r"ServiceRecord\.activation_timeout_s"),
        ({"activation_timeout_s": 0.0}, r"ServiceRecord: activation_timeout_s: over 0 and at most"),
        ({"activation_timeout_s": 86_401.0}, r"ServiceRecord: activation_timeout_s: over 0"),
        ({"frontends": []}, r"ServiceRecord: frontends: none"),
        ({"target_port": 0}, r"ServiceRecord: target_port: 0 is no TCP port"),
        ({"target_port": 65_536}, r"ServiceRecord: target_port: 65536 is no TCP port"),
        (
            {"frontends": [{"address": "10.0.0.256", "port": 80}]},
            r"ServiceRecord\.frontends\[0\]: frontend: '10\.0\.0\.256' does not appear",
        ),
        (
            {"frontends": [{"address": "10.0.0.1", "port": -1}]},
            r"ServiceRecord\.frontends\[0\]: frontend: -1 is no TCP port",
        ),
        (
            {"frontends": [{"address": "10.0.0.1", "port": 80, "sources": ["10.0.0.1/8"]}]},
            r"ServiceRecord\.frontends\[0\]: sources: 10\.0\.0\.1/8 has host bits set",
        ),
        (
            {"frontends": [{"address": "10.0.0.1", "port": 80, "sources": ["everybody"]}]},
            r"ServiceRecord\.frontends\[0\]: sources: 'everybody' does not appear",
        ),
        (
            {"frontends": [{"address": "10.0.0.1", "port": 80, "sources": ["10.0.0.0/8"] * 65}]},
            r"ServiceRecord\.frontends\[0\]: sources: more than 64",
        ),
        (
            {"endpoints": [{"address": "node1", "node": "node1", "workload": "x"}]},
            r"ServiceRecord\.endpoints\[0\]: endpoint: 'node1' does not appear",
        ),
    ],
)
def test_a_wrong_field_is_named(change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(VocabularyError, match=complaint):
        decode_record(msgpack.packb(fields() | change))


@given(st.binary(max_size=300))
@example(GOLDEN[:-1])
@example(GOLDEN + b"\0")
def test_any_bytes_at_all_give_a_record_or_the_one_error(body: bytes) -> None:
    with contextlib.suppress(VocabularyError):
        assert isinstance(decode_record(body), ServiceRecord)
