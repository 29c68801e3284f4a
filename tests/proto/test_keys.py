"""Sealing, opening, replay, and generations of keys."""

import pytest

from wangell_proto import DropReason
from wangell_proto.constants import HEADER_BYTES, REPLAY_WINDOW
from wangell_proto.keyring import Keyring
from wangell_proto.keys import TrafficKeys

KEY, OTHER_KEY, PSK = b"a" * 32, b"b" * 32, b"p" * 32


def pair(key_id: int = 0, key: bytes = KEY) -> tuple[TrafficKeys, TrafficKeys]:
    """The keys of both ends of one direction."""
    return (
        TrafficKeys(key_id=key_id, sealing=key, opening=OTHER_KEY, psk=PSK, made_at=0.0),
        TrafficKeys(key_id=key_id, sealing=OTHER_KEY, opening=key, psk=PSK, made_at=0.0),
    )


def test_a_sealed_body_opens_once():
    ours, theirs = pair()
    datagram = ours.seal(b"body", session=5, number=9)
    assert b"body" not in datagram
    assert theirs.open(datagram, 9) == b"body"
    assert theirs.open(datagram, 9) is DropReason.REPLAYED


@pytest.mark.parametrize("position", range(HEADER_BYTES + 4 + 16))
def test_every_bit_of_header_body_and_tag_is_authenticated(position: int):
    ours, theirs = pair()
    datagram = bytearray(ours.seal(b"body", session=5, number=9))
    datagram[position] ^= 0x10
    assert theirs.open(bytes(datagram), 9) is DropReason.BAD_TAG
    datagram[position] ^= 0x10
    assert theirs.open(bytes(datagram), 9) == b"body"  # The forgery used nothing up.


def test_the_replay_window_is_8192_wide_and_moves_only_for_the_authentic():
    ours, theirs = pair()
    early = [ours.seal(b"", session=1, number=number) for number in (0, 1)]
    forged = bytearray(ours.seal(b"", session=1, number=10**9))
    forged[-1] ^= 1
    assert theirs.open(bytes(forged), 10**9) is DropReason.BAD_TAG
    assert theirs.open(ours.seal(b"", session=1, number=REPLAY_WINDOW), REPLAY_WINDOW) == b""
    assert theirs.open(early[1], 1) == b""
    assert theirs.open(early[0], 0) is DropReason.TOO_OLD


def test_directions_have_their_own_keys():
    ours, _ = pair()
    datagram = ours.seal(b"body", session=1, number=0)
    assert ours.open(datagram, 0) is DropReason.BAD_TAG  # Reflected to its sender.


def generations() -> tuple[Keyring, list[TrafficKeys]]:
    ends = [pair(key_id=index, key=bytes([index]) * 32) for index in range(3)]
    return Keyring(ends[0][1], overlap_s=3.0), [theirs for _, theirs in ends]


def sealed(index: int, number: int) -> bytes:
    return pair(key_id=index, key=bytes([index]) * 32)[0].seal(b"x", session=1, number=number)


def test_an_offered_generation_is_used_when_the_peer_uses_it():
    ring, keys = generations()
    assert ring.next_key_id == 1
    assert ring.open(sealed(1, 0), 1, 0, now=0.0) is DropReason.UNKNOWN_KEY
    ring.offer(keys[1])
    assert ring.open(sealed(0, 1), 0, 1, now=0.0) == b"x"
    assert ring.present is keys[0]
    damaged = bytearray(sealed(1, 2))
    damaged[-1] ^= 1
    assert ring.open(bytes(damaged), 1, 2, now=0.0) is DropReason.BAD_TAG
    assert ring.present is keys[0]
    assert ring.open(sealed(1, 2), 1, 2, now=1.0) == b"x"
    assert ring.present is keys[1]
    assert ring.next_key_id == 2


def test_the_last_generation_opens_for_a_while_and_then_is_gone():
    ring, keys = generations()
    ring.use(keys[1], now=10.0)
    assert ring.retire_at == 13.0
    ring.retire(12.9)
    assert ring.open(sealed(0, 0), 0, 0, now=12.9) == b"x"
    ring.retire(13.0)
    assert ring.retire_at is None
    assert ring.open(sealed(0, 1), 0, 1, now=13.0) is DropReason.UNKNOWN_KEY
    ring.retire(99.0)
    assert ring.present is keys[1]


def test_a_second_offer_takes_the_place_of_the_first():
    ring, keys = generations()
    ring.offer(keys[1])
    again = TrafficKeys(key_id=1, sealing=KEY, opening=KEY, psk=PSK, made_at=0.0)
    ring.offer(again)
    assert ring.open(sealed(1, 0), 1, 0, now=0.0) is DropReason.BAD_TAG
    assert len(ring._by_id) == 2


def test_a_generation_offered_again_takes_the_place_of_the_one_that_was_never_seen():
    """Our first datagrams under new keys were all lost, and the keys were renewed once more."""
    ring, keys = generations()
    ring.use(keys[1], now=10.0)
    again = TrafficKeys(key_id=1, sealing=KEY, opening=KEY, psk=PSK, made_at=0.0)
    ring.use(again, now=11.0)
    assert ring.open(sealed(0, 0), 0, 0, now=11.0) == b"x"  # What the other side still seals with.
    ring.retire(14.0)
    assert ring.open(sealed(0, 1), 0, 1, now=14.0) is DropReason.UNKNOWN_KEY
    ours = TrafficKeys(key_id=1, sealing=KEY, opening=KEY, psk=PSK, made_at=0.0)
    assert ring.open(ours.seal(b"y", session=1, number=5), 1, 5, now=14.0) == b"y"


def test_a_first_generation_may_be_offered_again_as_well():
    ring, keys = generations()
    again = TrafficKeys(key_id=0, sealing=KEY, opening=KEY, psk=PSK, made_at=0.0)
    ring.use(again, now=1.0)
    assert ring.present is again
    assert ring.retire_at is None
    assert list(ring._by_id) == [0]
    assert keys[0] not in ring._by_id.values()


def test_key_ids_go_round():
    last = TrafficKeys(key_id=255, sealing=KEY, opening=KEY, psk=PSK, made_at=0.0)
    assert Keyring(last, overlap_s=1.0).next_key_id == 0
