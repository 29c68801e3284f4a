"""Who may call a frontend is told to the kernel before its verdict, and forgotten with it."""

import pytest

from tests.daemon.story import OURS, VIP, Story, X, key
from wangell_daemon.effects import Effect, Restrict, SetMode
from wangell_daemon.frontends import Restrictions, sources_of
from wangell_daemon.packets import source_key
from wangell_proto.vocabulary import EACH_NODE, Frontend, Phase

INSIDE, OTHERS = ("10.0.0.0/8", "203.0.113.7/32"), ("192.168.0.0/16",)
OTHER_VIP = "10.0.0.3:80"
Y = "default/y"


def told(effects: list[Effect]) -> list[Restrict]:
    return [each for each in effects if isinstance(each, Restrict)]


# --- As the kernel has it -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "bits", "address"),
    [
        ("0.0.0.0/0", 160 + 96, "00000000"),
        ("10.0.0.0/8", 160 + 104, "0a000000"),
        ("203.0.113.7/32", 160 + 128, "cb007107"),
    ],
)
def test_a_source_is_a_prefix_behind_its_frontend(source: str, bits: int, address: str) -> None:
    found = source_key(key(VIP), source)
    assert int.from_bytes(found[:4], "little") == bits
    assert found[4:24] == key(VIP)
    assert found[24:].hex() == "00000000000000000000ffff" + address


def test_a_v6_range_counts_its_own_bits() -> None:
    assert int.from_bytes(source_key(key(VIP), "fd00::/8")[:4], "little") == 160 + 8


@pytest.mark.parametrize("source", ["10.0.0.1/8", "everybody", ""])
def test_what_is_no_network_is_refused(source: str) -> None:
    with pytest.raises(ValueError, match=r"host bits|does not appear"):
        source_key(key(VIP), source)


def test_of_a_frontend_that_is_named_twice_the_first_counts() -> None:
    named = [
        Frontend(address="10.0.0.2", port=80, sources=INSIDE),
        Frontend(address="10.0.0.2", port=80),
        Frontend(address=EACH_NODE, port=30080),
    ]
    assert sources_of(named, own_addresses=("10.0.0.1",)) == {
        key("10.0.0.2:80"): INSIDE,
        key("10.0.0.1:30080"): (),
    }


# --- What is told, and when -----------------------------------------------------------------------


@pytest.mark.parametrize("phase", Phase)
def test_it_comes_before_the_verdict(phase: Phase) -> None:
    effects = Story().table(phase, sources=INSIDE)
    assert told(effects) == [Restrict(key(VIP), INSIDE)]
    kinds = [type(each) for each in effects]
    assert kinds.index(Restrict) < kinds.index(SetMode)


def test_without_ranges_nothing_is_told() -> None:
    story = Story()
    assert told(story.table(Phase.COLD)) == []
    assert told(story.table(Phase.WAKING, activation=1)) == []


def test_a_wake_tells_nothing_anew() -> None:
    story = Story()
    story.table(Phase.COLD, sources=INSIDE)
    for phase in (Phase.WAKING, Phase.WARM, Phase.DRAINING, Phase.COLD):
        assert told(story.table(phase, activation=1, sources=INSIDE)) == []
    assert story.sources == {key(VIP): INSIDE}


def test_other_ranges_are_told_while_the_service_is_warm() -> None:
    story = Story()
    story.table(Phase.WARM, activation=1, sources=INSIDE)
    effects = story.table(Phase.WARM, activation=1, sources=OTHERS)
    assert effects[0] == Restrict(key(VIP), OTHERS)
    assert told(story.table(Phase.WARM, activation=1)) == [Restrict(key(VIP), ())]
    assert told(story.table(Phase.WARM, activation=1)) == [], "once is enough"


def test_a_new_frontend_has_the_ranges_too_and_an_old_one_loses_them() -> None:
    story = Story()
    story.table(Phase.COLD, sources=INSIDE)
    story.table(Phase.COLD, vips=(OTHER_VIP,), sources=INSIDE)
    assert story.sources == {key(OTHER_VIP): INSIDE}


def test_a_deleted_services_frontend_is_free_for_another_without_any() -> None:
    story = Story()
    story.table(Phase.COLD, sources=INSIDE)
    story.deleted()
    assert story.sources == {}
    assert told(story.table(Phase.COLD, name=Y)) == []
    assert told(story.table(Phase.COLD, name=Y, sources=INSIDE)) == [Restrict(key(VIP), INSIDE)]


def test_one_that_goes_to_another_service_has_the_others_ranges() -> None:
    story = Story()
    story.table(Phase.COLD, sources=INSIDE)
    with pytest.raises(ValueError, match="belongs to default/x"):
        story.table(Phase.COLD, name=Y, sources=INSIDE, endpoints=())
    assert story.sources == {key(VIP): INSIDE}
    story.table(Phase.COLD, name=X, vips=(OTHER_VIP,), endpoints=(OURS,))
    assert story.sources == {key(VIP): INSIDE}, "told anew, for the kernel has forgotten it"


def test_a_predecessors_is_told_whatever_it_had() -> None:
    story = Story(adopted={key(VIP): 3, key(OTHER_VIP): 4})
    assert told(story.table(Phase.COLD)) == [Restrict(key(VIP), ())]
    effects = story.table(Phase.COLD, name=Y, vips=(OTHER_VIP,), sources=INSIDE, endpoints=())
    assert told(effects) == [Restrict(key(OTHER_VIP), INSIDE)]


def test_what_is_forgotten_is_unrestricted_for_whoever_is_next() -> None:
    restrictions = Restrictions(())
    assert restrictions.replace({b"a": INSIDE}) == [Restrict(b"a", INSIDE)]
    restrictions.forget(b"a")
    restrictions.forget(b"never heard of")
    assert restrictions.replace({b"a": ()}) == []
