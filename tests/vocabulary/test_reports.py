"""What daemons and controllers say, on the wire."""

import contextlib
from dataclasses import MISSING, fields

import msgpack
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.vocabulary.values import REPORTS, reports
from wangell_proto.constants import MESSAGE_BYTES_MAX, WAKE_BYTES_MAX
from wangell_proto.vocabulary import (
    Activity,
    Listening,
    Report,
    ServiceActivity,
    VocabularyError,
    Wake,
    decode_report,
    encode_report,
)
from wangell_proto.vocabulary.codec import TEXT_CHARS_MAX

# Append only, as the kinds are: a change here is a change of the wire.
GOLDEN = {
    "wake": "0185a773657276696365a964656661756c742f78a761646472657373a831302e302e302e31a4706f727450a873657175656e6365ce01020304aa61637469766174696f6e02",  # noqa: E501
    "started": "0286a773657276696365a964656661756c742f78aa61637469766174696f6e03ab72656365697665645f6e73cd0102aa737061776e65645f6e73ce00010203a5636c6f636ba4626f6f74a46b65707490",  # noqa: E501
    "listening": "0384a773657276696365a964656661756c742f78aa61637469766174696f6e03a8776f726b6c6f6164b06e65743a5b343032363533323030305da761646472657373aa31302e3234342e302e35",  # noqa: E501
    "armed": "0483a773657276696365a964656661756c742f78aa61637469766174696f6e03ab636f6e6e656374696f6e73cd0102",  # noqa: E501
    "activity": "0581a873657276696365739183a773657276696365a964656661756c742f78a669646c655f73cb3ff8000000000000a468656c6402",  # noqa: E501
    "cold start": "0685a773657276696365a964656661756c742f78aa61637469766174696f6e03a76f7574636f6d65a8616e737765726564a7746f74616c5f73cb3fd0000000000000a7636c69656e747332",  # noqa: E501
    "raised": "0784a773657276696365a964656661756c742f78aa61637469766174696f6e03a9656e64706f696e74739184a761646472657373aa31302e3234342e302e35a46e6f6465a56e6f646531a8776f726b6c6f6164b06e65743a5b343032363533323030305da969735f726f75746564c2ac69735f6c697374656e696e67c3",  # noqa: E501
    "count": "0885a773657276696365a964656661756c742f78aa61637469766174696f6e03a66e756d626572cd0102a9776f726b6c6f61647391b06e65743a5b343032363533323030305da4706f7274cd1f90",  # noqa: E501
    "counted": "0984a773657276696365a964656661756c742f78aa61637469766174696f6e03a66e756d626572cd0102ab636f6e6e656374696f6e73ce00010203",  # noqa: E501
    "following": "0a81a565706f6368cd0102",
}


def test_every_kind_of_report_is_written_down_here() -> None:
    assert GOLDEN.keys() == REPORTS.keys()
    assert [bytes.fromhex(golden)[0] for golden in GOLDEN.values()] == list(range(1, 11))


@pytest.mark.parametrize("name", REPORTS)
def test_the_wire_has_not_changed_unnoticed(name: str) -> None:
    assert encode_report(REPORTS[name]).hex() == GOLDEN[name]
    assert decode_report(bytes.fromhex(GOLDEN[name])) == REPORTS[name]


@given(reports)
def test_any_report_comes_back_whole(report: Report) -> None:
    assert decode_report(encode_report(report)) == report


@pytest.mark.parametrize("name", REPORTS)
def test_a_newer_peers_fields_are_ignored(name: str) -> None:
    body = encode_report(REPORTS[name])
    newer = msgpack.unpackb(body[1:]) | {"colour": "red", "nested": {"deep": [1]}}
    assert decode_report(body[:1] + msgpack.packb(newer)) == REPORTS[name]


@pytest.mark.parametrize("name", REPORTS)
def test_no_field_may_be_left_out_that_has_no_default(name: str) -> None:
    body = encode_report(REPORTS[name])
    sent = msgpack.unpackb(body[1:])
    needed = [each.name for each in fields(REPORTS[name]) if each.default is MISSING]
    assert needed
    for left_out in needed:
        rest = {key: value for key, value in sent.items() if key != left_out}
        with pytest.raises(VocabularyError, match=left_out):
            decode_report(body[:1] + msgpack.packb(rest))


def test_an_older_daemon_says_no_address_of_its_workload() -> None:
    sent = msgpack.unpackb(encode_report(REPORTS["listening"])[1:])
    del sent["address"]
    assert decode_report(b"\x03" + msgpack.packb(sent)) == Listening(
        service="default/x", activation=3, workload="net:[4026532000]", address=""
    )


@pytest.mark.parametrize("name", REPORTS)
def test_one_kind_is_not_mistaken_for_another(name: str) -> None:
    body = encode_report(REPORTS[name])
    for kind in range(256):
        if kind == body[0]:
            continue
        try:
            other = decode_report(bytes([kind]) + body[1:])
        except VocabularyError:
            continue
        # A report whose fields are a part of another's; never the same report.
        assert other != REPORTS[name]


@pytest.mark.parametrize("kind", [0, 11, 0x80, 0xFF])
def test_an_unknown_kind_is_refused(kind: int) -> None:
    with pytest.raises(VocabularyError, match=f"kind {kind:02x}"):
        decode_report(bytes([kind]) + b"\x80")


def test_an_empty_body_is_refused() -> None:
    with pytest.raises(VocabularyError, match="nothing"):
        decode_report(b"")


@given(st.binary(max_size=200))
@example(b"\x01")
@example(b"\x05\x81\xa8services\xdd\xff\xff\xff\xff")
def test_any_bytes_at_all_give_a_report_or_the_one_error(body: bytes) -> None:
    with contextlib.suppress(VocabularyError):
        decode_report(body)


@given(st.integers(1, 6), st.data())
def test_a_damaged_report_gives_a_report_or_the_one_error(kind: int, data: st.DataObject) -> None:
    body = bytearray(encode_report(list(REPORTS.values())[kind - 1]))
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(VocabularyError):
        decode_report(bytes(body))


def test_a_float_that_is_no_number_is_refused() -> None:
    activity = Activity(services=(ServiceActivity(service="default/x", idle_s=1.5, held=2),))
    body = encode_report(activity)
    for bits in ("7ff8000000000000", "7ff0000000000000", "fff0000000000000"):  # NaN, inf, -inf
        damaged = body.replace(bytes.fromhex("3ff8000000000000"), bytes.fromhex(bits))
        assert damaged != body
        with pytest.raises(VocabularyError, match=r"services\[0\]\.idle_s"):
            decode_report(damaged)


def test_the_longest_reports_of_a_wake_fit_their_lane() -> None:
    # A Kubernetes namespace has 63 characters, a name 253; a pod UID 36.
    service = "n" * 63 + "/" + "s" * 253
    assert len(service) < TEXT_CHARS_MAX
    longest = Wake(
        service=service,
        address="ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255",
        port=65535,
        sequence=2**32 - 1,
        activation=2**63,
    )
    listening = Listening(
        service=service, activation=2**63, workload="u" * 36, address=longest.address
    )
    assert len(encode_report(longest)) <= WAKE_BYTES_MAX <= MESSAGE_BYTES_MAX
    assert len(encode_report(listening)) <= WAKE_BYTES_MAX
