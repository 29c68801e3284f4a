"""Cookies, MACs, and the order in which an INITIATION is judged."""

import random

import pytest

from tests.proto.helpers.network import OTHER_PSK, PRIVATE_KEY, PSK, PUBLIC_KEY
from wangell_proto import DropReason
from wangell_proto.attempt import Attempt
from wangell_proto.constants import (
    HANDSHAKES_REMEMBERED_MAX,
    HEADER_BYTES,
    PARTIAL_INITIATIONS_MAX,
)
from wangell_proto.cookies import CookieJar
from wangell_proto.doorman import Caller, Doorman, Knock
from wangell_proto.handshake import (
    INITIATION_BYTES_MIN,
    NO_COOKIE,
    RETRY_BYTES,
    Greeting,
    Reply,
    parse_greeting,
    parse_reply,
)
from wangell_proto.noise import HandshakeError, PrivateKey
from wangell_proto.wire import parse_header

HOME, AWAY = ("10.1.0.1", 5000), ("10.1.0.2", 5000)
NOW = 100.0


def doorman(psks: tuple[bytes, ...] = (PSK,), seed: int = 1) -> Doorman:
    draw = random.Random(seed).randbytes
    return Doorman(PRIVATE_KEY, psks, random=draw, cookie_lifetime_s=60.0)


def attempt(
    psk: bytes = PSK, *, credential: bytes = b"", cookie: bytes = NO_COOKIE, number: int = 1,
    server_public_key: bytes = PUBLIC_KEY, seed: int = 2,
) -> Attempt:  # fmt: skip
    draw = random.Random(seed).randbytes
    return Attempt(
        Greeting(name="n1", incarnation=b"i" * 8, resumes=0, credential=credential),
        number=number,
        static=PrivateKey(draw(32)),
        server_public_key=server_public_key,
        psk=psk,
        cookie=cookie,
        random=draw,
        now=NOW,
    )


def judge(door: Doorman, datagram: bytes, source=HOME, now: float = NOW):
    header = parse_header(datagram)
    assert not isinstance(header, DropReason)
    verdict = door.receive(datagram, header, source, now=now)
    return door.open(verdict) if isinstance(verdict, Knock) else verdict


def challenged(door: Doorman, trying: Attempt, source=HOME, now: float = NOW) -> Attempt:
    retry = judge(door, trying.datagrams[0], source, now)
    assert isinstance(retry, bytes)
    assert isinstance(trying.read_retry(retry, now=now), bytes)
    return trying


def test_without_a_cookie_the_answer_is_one_and_smaller_than_the_question():
    door, trying = doorman(), attempt()
    retry = judge(door, trying.datagrams[0])
    assert isinstance(retry, bytes)
    assert len(retry) == RETRY_BYTES < INITIATION_BYTES_MIN <= len(trying.datagrams[0])
    assert (door._partial, door._cookies._seen) == ({}, set())  # It costs no memory.


def test_with_its_cookie_a_caller_is_let_in_and_the_answer_is_smaller_again():
    door, trying = doorman(), attempt(credential=b"token")
    challenged(door, trying)
    caller = judge(door, trying.datagrams[0])
    assert isinstance(caller, Caller)
    assert (caller.greeting.name, caller.greeting.credential) == ("n1", b"token")
    reply = Reply(session=7, key_id=0, incarnation=b"s" * 8)
    response, keys = caller.answer(reply, ephemeral=b"e" * 32, now=NOW)
    assert len(response) < INITIATION_BYTES_MIN
    answer = trying.read_response(response, now=NOW)
    assert not isinstance(answer, DropReason)
    assert answer[0] == reply
    assert keys.open(answer[1].seal(b"hello", session=7, number=0), 0) == b"hello"


def test_a_cookie_is_good_for_its_address_only():
    door, trying = doorman(), challenged(door := doorman(), attempt())
    assert isinstance(judge(door, trying.datagrams[0], AWAY), bytes)


def test_a_cookie_expires_after_one_to_two_lifetimes():
    door = doorman()
    trying = challenged(door, attempt())
    assert isinstance(judge(door, trying.datagrams[0], now=NOW + 59), Caller)
    later = attempt(cookie=trying.datagrams[0][HEADER_BYTES : HEADER_BYTES + 16], seed=3)
    assert isinstance(judge(door, later.datagrams[0], now=NOW + 61), Caller)
    latest = attempt(cookie=trying.datagrams[0][HEADER_BYTES : HEADER_BYTES + 16], seed=4)
    assert isinstance(judge(door, latest.datagrams[0], now=NOW + 121), bytes)


def test_a_cookie_that_nobody_asked_after_for_long_has_expired_too():
    door = doorman()
    trying = challenged(door, attempt())
    assert isinstance(judge(door, trying.datagrams[0], now=NOW + 1000), bytes)


def test_the_same_handshake_is_served_once():
    door, trying = doorman(), attempt()
    challenged(door, trying)
    assert isinstance(judge(door, trying.datagrams[0]), Caller)
    assert judge(door, trying.datagrams[0]) is DropReason.REPLAYED_HANDSHAKE
    assert judge(door, trying.datagrams[0], now=NOW + 70) is DropReason.REPLAYED_HANDSHAKE


def test_a_stranger_gets_no_answer():
    assert judge(doorman(), attempt(OTHER_PSK).datagrams[0]) is DropReason.BAD_MAC
    other_server = attempt(server_public_key=b"\x09" + bytes(31)).datagrams[0]
    assert judge(doorman(), other_server) is DropReason.BAD_MAC


def test_either_of_two_keys_admits_while_they_are_rotated():
    door = doorman((PSK, OTHER_PSK))
    for psk in (PSK, OTHER_PSK):
        trying = challenged(door, attempt(psk))
        caller = judge(door, trying.datagrams[0])
        assert isinstance(caller, Caller)
    door.set_psks((OTHER_PSK,))
    assert judge(door, attempt(PSK, seed=5).datagrams[0]) is DropReason.BAD_MAC


def test_every_byte_of_an_initiation_counts():
    door = doorman()
    datagram = challenged(door, attempt()).datagrams[0]
    for position in range(4, len(datagram)):
        damaged = bytearray(datagram)
        damaged[position] ^= 1
        verdict = judge(door, bytes(damaged))
        assert verdict in (DropReason.BAD_MAC, DropReason.BAD_LENGTH)
    assert isinstance(judge(door, datagram), Caller)


@pytest.mark.parametrize("size", [40, INITIATION_BYTES_MIN - 1])
def test_a_short_initiation_is_dropped_before_anything_is_computed(size: int):
    assert judge(doorman(), attempt().datagrams[0][:size]) is DropReason.BAD_LENGTH


def test_a_member_who_sends_nonsense_is_dropped():
    door = doorman()
    trying = challenged(door, attempt())
    trying._message = bytes(len(trying._message))
    nonsense = trying._pack(trying.datagrams[0][HEADER_BYTES : HEADER_BYTES + 16])[0]
    assert judge(door, nonsense) is DropReason.BAD_HANDSHAKE


# --- A credential that needs several datagrams ---


def long_attempt(**kwargs) -> Attempt:
    return attempt(credential=bytes(range(256)) * 12, **kwargs)


def test_a_long_greeting_sends_one_piece_until_its_address_is_proved():
    door, trying = doorman(), long_attempt()
    assert len(trying.datagrams) == 1
    challenged(door, trying)
    assert len(trying.datagrams) == 3
    sizes = [len(datagram) for datagram in trying.datagrams]
    assert max(sizes) <= 1200 and max(sizes) - min(sizes) <= 2


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 1, 0, 2)])
def test_pieces_come_in_any_order(order: tuple[int, ...]):
    door = doorman()
    trying = challenged(door, long_attempt())
    *early, last = (judge(door, trying.datagrams[index]) for index in order)
    assert set(early) <= {None, DropReason.REPLAYED_HANDSHAKE}
    assert isinstance(last, Caller)
    assert last.greeting.credential == bytes(range(256)) * 12
    assert door._partial == {}


def test_only_the_first_piece_gets_a_cookie():
    door, elsewhere = doorman(), doorman(seed=9)
    trying = challenged(elsewhere, long_attempt())
    assert isinstance(judge(door, trying.datagrams[0]), bytes)
    assert judge(door, trying.datagrams[1]) is DropReason.ADDRESS_UNPROVEN


def test_pieces_of_different_attempts_are_not_mixed():
    door = doorman()
    one = challenged(door, long_attempt(number=1))
    two = challenged(door, long_attempt(number=2, seed=6))
    assert judge(door, one.datagrams[0]) is None
    assert judge(door, two.datagrams[1]) is None
    assert judge(door, one.datagrams[2]) is None


def test_incomplete_greetings_are_bounded():
    door = doorman()
    for number in range(PARTIAL_INITIATIONS_MAX + 10):
        trying = challenged(door, long_attempt(number=number, seed=number))
        assert judge(door, trying.datagrams[0]) is None
    assert len(door._partial) == PARTIAL_INITIATIONS_MAX


@pytest.mark.parametrize("flags", [0x01, 0x12, 0x40, 0xF0, 0x34])
def test_impossible_piece_numbers_are_dropped(flags: int):
    datagram = bytearray(attempt().datagrams[0])
    datagram[4] = flags
    assert judge(doorman(), bytes(datagram)) is DropReason.BAD_LENGTH


# --- The client's side ---


def test_a_retry_that_answers_another_initiation_or_is_forged_is_dropped():
    door = doorman()
    trying, other = attempt(), attempt(seed=8)
    retry = judge(door, other.datagrams[0])
    assert trying.read_retry(retry, now=NOW) is DropReason.BAD_MAC
    right = bytearray(judge(door, trying.datagrams[0]))
    right[-1] ^= 1
    assert trying.read_retry(bytes(right), now=NOW) is DropReason.BAD_MAC
    assert trying.read_retry(bytes(right[:-1]), now=NOW) is DropReason.BAD_LENGTH
    right[-1] ^= 1
    assert isinstance(trying.read_retry(bytes(right), now=NOW), bytes)
    assert trying.read_retry(bytes(right), now=NOW) is DropReason.STALE_HANDSHAKE


def test_a_forged_response_leaves_the_attempt_usable():
    door = doorman()
    trying = challenged(door, attempt())
    caller = judge(door, trying.datagrams[0])
    response, _ = caller.answer(
        Reply(session=7, key_id=0, incarnation=b"s" * 8), ephemeral=b"e" * 32, now=NOW
    )
    forged = bytearray(response)
    forged[-1] ^= 1
    assert trying.read_response(bytes(forged), now=NOW) is DropReason.BAD_HANDSHAKE
    assert trying.read_response(response[:40], now=NOW) is DropReason.BAD_LENGTH
    assert not isinstance(trying.read_response(response, now=NOW), DropReason)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xc1",
        b"\x90",
        b"\x94\xa2n1\xc4\x08iiiiiiii\x00\xa1c",  # The credential is text.
        b"\x94\xa0\xc4\x08iiiiiiii\x00\xc4\x00",  # No name.
        b"\x94\xa2n1\xc4\x07iiiiiii\x00\xc4\x00",  # A short incarnation.
        b"\x94\xa2n1\xc4\x08iiiiiiii\xff\xc4\x00",  # A negative session.
        b"\x94\xa2n1\xc4\x08iiiiiiii\xc3\xc4\x00",  # A boolean one.
        b"\x94\xa2n1\xc4\x08iiiiiiii\xcf" + b"\xff" * 8 + b"\xc4\x00",
    ],
)
def test_greetings_of_another_shape_are_refused(payload: bytes):
    with pytest.raises(HandshakeError):
        parse_greeting(payload)


@pytest.mark.parametrize(
    "payload",
    [
        b"\x93\x00\x00\xc4\x08iiiiiiii",  # No session.
        b"\x93\x01\xcd\x01\x00\xc4\x08iiiiiiii",  # Key 256.
        b"\x93\x01\x00\xc4\x00",
        b"\x80",
    ],
)
def test_replies_of_another_shape_are_refused(payload: bytes):
    with pytest.raises(HandshakeError):
        parse_reply(payload)


def test_remembered_handshakes_are_bounded_and_what_is_forgotten_is_worthless():
    jar = CookieJar(random.Random(1).randbytes, lifetime_s=60.0)
    cookie = jar.make(HOME, now=NOW)
    for index in range(2 * HANDSHAKES_REMEMBERED_MAX + 4):
        assert not jar.is_repeat(index.to_bytes(16, "big"))
        assert len(jar._seen) <= HANDSHAKES_REMEMBERED_MAX
    assert not jar.is_good(cookie, HOME, now=NOW)
