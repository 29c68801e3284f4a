"""How busy warm services are: since their last packet, or since they are warm."""

from tests.daemon.story import S, Story, X
from wangell_daemon.activity import ACTIVITY_SERVICES_MAX, activity_of
from wangell_proto.vocabulary import Activity, Phase, ServiceActivity


def warm() -> Story:
    story = Story()
    story.table(Phase.WARM, activation=1)
    return story


def test_idle_is_the_time_since_the_last_packet() -> None:
    story = warm()
    since_ns = story.node[X].warm_since_ns
    (report,) = activity_of(
        list(story.node), last_packet_ns=lambda _: since_ns + 2 * S, now_ns=since_ns + 5 * S
    )
    assert report == Activity(services=(ServiceActivity(service=X, idle_s=3.0, held=0),))


def test_without_a_packet_it_is_the_time_since_it_is_warm() -> None:
    story = warm()
    since_ns = story.node[X].warm_since_ns
    (report,) = activity_of(list(story.node), last_packet_ns=lambda _: 0, now_ns=since_ns + S)
    assert report.services[0].idle_s == 1.0


def test_a_packet_that_is_seen_while_it_is_asked_is_no_time_ago() -> None:
    story = warm()
    now_ns = story.node[X].warm_since_ns + S
    (report,) = activity_of(list(story.node), last_packet_ns=lambda _: now_ns + 1, now_ns=now_ns)
    assert report.services[0].idle_s == 0.0


def test_many_are_several_reports_and_none_is_none() -> None:
    (service,) = warm().node
    reports = activity_of(
        [service] * (ACTIVITY_SERVICES_MAX + 1), last_packet_ns=lambda _: 0, now_ns=S
    )
    assert [len(report.services) for report in reports] == [ACTIVITY_SERVICES_MAX, 1]
    assert activity_of([], last_packet_ns=lambda _: 0, now_ns=S) == []
