"""Who leads: what a candidate does with what it sees, second by second."""

from typing import Any

import pytest

from wangell_controller.kube.lease import (
    DURATION_S,
    GAP_S,
    LOOK_EVERY_S,
    RENEW_EVERY_S,
    RENEW_WITHIN_S,
    TRANSITIONS_MAX,
    Create,
    Election,
    GiveUp,
    Lease,
    Renew,
    Step,
    Take,
    Wait,
    epoch_of,
    lease_of,
)

CREATED = "2026-11-24T09:00:00Z"


def lease(holder: str = "other", *, version: int = 7, transitions: int = 3) -> Lease:
    return Lease(
        version=str(version),
        holder=holder,
        duration_s=DURATION_S,
        transitions=transitions,
        epoch=100 + transitions,
    )


def leading(*, sent_at: float = 0.0) -> Election:
    election = Election("one")
    election.won(lease("one"), sent_at=sent_at)
    return election


def looked(election: Election, seen: Lease, *, since: float, until: float) -> Step:
    """The last of its looks, one each second."""
    now = since
    while now < until:
        assert isinstance(election.look(seen, now=now), Wait)
        now += 1
    return election.look(seen, now=until)


# --- Before it is ours ----------------------------------------------------------------------------


def test_where_there_is_none_it_is_created_with_the_first_transition() -> None:
    step = Election("one").look(None, now=0)
    assert isinstance(step, Create)
    assert step.body["spec"]["leaseTransitions"] == 1
    assert step.body["spec"]["holderIdentity"] == "one"
    assert step.body["spec"]["leaseDurationSeconds"] == DURATION_S


def test_anothers_is_waited_for_from_when_it_was_first_seen() -> None:
    election = Election("one")
    assert looked(election, lease(), since=100, until=114) == Wait(seconds=LOOK_EVERY_S)
    assert election.look(lease(), now=114.5) == Wait(seconds=0.5)
    assert isinstance(election.look(lease(), now=115), Take)


def test_each_renewal_begins_it_anew() -> None:
    election = Election("one")
    for second in range(100):
        step = election.look(lease(version=second), now=second)
        assert step == Wait(seconds=LOOK_EVERY_S)
    assert isinstance(looked(election, lease(version=99), since=99, until=99 + DURATION_S), Take)


def test_taking_names_the_version_and_raises_the_epoch_in_the_same_write() -> None:
    election = Election("one")
    step = looked(election, lease(version=7, transitions=3), since=0, until=DURATION_S)
    assert isinstance(step, Take)
    assert step.body["metadata"] == {"resourceVersion": "7"}
    assert step.body["spec"]["leaseTransitions"] == 4
    assert step.body["spec"]["holderIdentity"] == "one"


@pytest.mark.parametrize("holder", ["", "one"])
def test_what_was_given_back_or_is_an_earlier_lifes_is_taken_at_once(holder: str) -> None:
    step = Election("one").look(lease(holder), now=0)
    assert isinstance(step, Take)
    assert step.body["spec"]["leaseTransitions"] == 4, "another life is another epoch"


def test_one_that_waits_does_not_lead() -> None:
    election = Election("one")
    election.look(lease(), now=0)
    assert not election.leads(0)
    assert not election.leads(1e9)


def test_a_holder_that_asks_for_longer_has_longer() -> None:
    election = Election("one")
    found = lease_of(
        {
            "metadata": {"resourceVersion": "1", "creationTimestamp": CREATED},
            "spec": {"holderIdentity": "other", "leaseDurationSeconds": 60},
        }
    )
    assert isinstance(looked(election, found, since=0, until=59), Wait)
    assert isinstance(election.look(found, now=60), Take)


@pytest.mark.parametrize("away_s", [GAP_S + 0.1, DURATION_S, 3600])
def test_whoever_was_away_begins_to_wait_anew(away_s: float) -> None:
    """Stopped, suspended, cut off, or its clock has jumped: the holder may have renewed."""
    election = Election("one")
    looked(election, lease(), since=0, until=14)
    assert election.look(lease(), now=14 + away_s) == Wait(seconds=LOOK_EVERY_S)
    back = 14 + away_s
    assert isinstance(looked(election, lease(), since=back, until=back + DURATION_S), Take)


def test_one_request_that_hangs_is_no_absence() -> None:
    election = Election("one")
    looked(election, lease(), since=0, until=11)
    assert isinstance(election.look(lease(), now=11 + LOOK_EVERY_S + 3.0), Take)


# --- While it is ours -----------------------------------------------------------------------------


def test_it_leads_from_when_the_request_was_sent() -> None:
    election = leading(sent_at=50)
    assert election.leads(50 + RENEW_WITHIN_S - 0.001)
    assert not election.leads(50 + RENEW_WITHIN_S)
    assert election.epoch == 103


def test_it_ends_before_anybody_else_may_take_it() -> None:
    """The other saw the renewal when it was sent, at the earliest."""
    holder, other = leading(sent_at=50), Election("two")
    other.look(lease("one"), now=50)
    taken_at = next(
        now for now in range(50, 100) if isinstance(other.look(lease("one"), now=now), Take)
    )
    assert not holder.leads(taken_at)
    assert taken_at - (50 + RENEW_WITHIN_S) >= 3, "for clocks that go at another pace"


def test_it_is_renewed_in_time_and_of_the_version_that_is_ours() -> None:
    election = leading(sent_at=0)
    assert election.next(now=0.5) == Wait(seconds=RENEW_EVERY_S - 0.5)
    step = election.next(now=RENEW_EVERY_S)
    assert isinstance(step, Renew)
    assert step.within_s == RENEW_WITHIN_S - RENEW_EVERY_S
    assert step.body["metadata"] == {"resourceVersion": "7"}
    assert set(step.body["spec"]) == {"renewTime"}, "a renewal takes nothing"


def test_a_renewal_that_fails_is_tried_again_while_there_is_time() -> None:
    election = leading(sent_at=0)
    assert isinstance(election.next(now=RENEW_WITHIN_S - 0.01), Renew)
    assert election.next(now=RENEW_WITHIN_S) == GiveUp(reason="the Lease was not renewed for 12 s")


def test_one_that_slept_gives_up_at_its_first_look() -> None:
    election = leading(sent_at=0)
    assert not election.leads(30)
    assert isinstance(election.next(now=30), GiveUp)


def test_an_answer_that_comes_late_counts_from_its_request() -> None:
    election = leading(sent_at=0)
    election.renewed(lease("one", version=8), sent_at=2)
    assert election.leads(2 + RENEW_WITHIN_S - 0.1)
    assert not election.leads(2 + RENEW_WITHIN_S)


def test_a_renewal_of_ours_whose_answer_was_lost_is_no_loss() -> None:
    election = leading(sent_at=0)
    assert election.check(lease("one", version=9)) is None
    step = election.next(now=RENEW_EVERY_S)
    assert isinstance(step, Renew)
    assert step.body["metadata"]["resourceVersion"] == "9"


@pytest.mark.parametrize(
    ("now_is", "reason"),
    [
        (None, "somebody has deleted the Lease"),
        (lease("two", transitions=4), "the Lease is held by two"),
        (lease("", transitions=3), "the Lease is held by nobody"),
        (lease("one", transitions=4), "the Lease is held by another controller of our name"),
    ],
)
def test_what_is_anothers_is_given_up(now_is: Lease | None, reason: str) -> None:
    election = leading(sent_at=0)
    step = election.check(now_is)
    assert isinstance(step, GiveUp)
    assert step.reason.startswith(reason)
    assert not election.leads(1) or now_is is None


# --- Giving it back -------------------------------------------------------------------------------


def test_it_is_given_back_of_the_version_that_is_ours() -> None:
    election = leading(sent_at=0)
    body = election.release(now=1)
    assert body is not None
    assert body["metadata"] == {"resourceVersion": "7"}
    assert body["spec"]["holderIdentity"] is None
    assert not election.leads(1)


def test_what_is_not_ours_is_not_given_back() -> None:
    assert Election("one").release(now=0) is None
    assert leading(sent_at=0).release(now=RENEW_WITHIN_S) is None


# --- Reading --------------------------------------------------------------------------------------


def test_a_lease_that_nobody_has_filled_in_is_free() -> None:
    found = lease_of({"metadata": {"resourceVersion": "1", "creationTimestamp": CREATED}})
    assert (found.holder, found.transitions, found.duration_s) == ("", 0, DURATION_S)


def test_a_lease_that_was_deleted_does_not_begin_below() -> None:
    def made(created: str, transitions: int) -> dict[str, Any]:
        return {
            "metadata": {"creationTimestamp": created},
            "spec": {"leaseTransitions": transitions},
        }

    before = epoch_of(made(CREATED, TRANSITIONS_MAX - 1))
    assert epoch_of(made("2026-11-24T09:00:01Z", 1)) > before
    assert epoch_of(made(CREATED, 2)) == epoch_of(made(CREATED, 1)) + 1
