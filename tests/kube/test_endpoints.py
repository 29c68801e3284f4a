"""Where replicas are, told from the moment they are scheduled until node proxies know them."""

from tests.kube.objects import leaving, pod, running
from wangell_controller.kube.endpoints import ROUTED_AFTER_S, Endpoints
from wangell_controller.kube.observed import pod_of
from wangell_proto.vocabulary import Endpoint, Frontend

NOW = 1000.0


def seen(*pods: dict[str, object]) -> Endpoints:
    endpoints = Endpoints()
    endpoints.see_pods(pod_of(each) for each in pods)
    return endpoints


def told(endpoints: Endpoints, now: float = NOW) -> tuple[Endpoint, ...]:
    return endpoints.placed(now=now).endpoints


def test_a_pod_that_no_node_has_is_nowhere() -> None:
    assert told(seen(pod())) == ()


def test_a_scheduled_pod_is_told_of_before_anybody_knows_its_address() -> None:
    assert told(seen(pod(node="node1"))) == (Endpoint(address="", node="node1", workload="pod-1"),)


def test_its_address_follows() -> None:
    (found,) = told(seen(pod(node="node1", address="10.244.0.5")))
    assert (found.address, found.is_routed) == ("10.244.0.5", False)


def test_a_pod_that_leaves_is_told_of_no_more() -> None:
    assert told(seen(leaving(running()), running("pod-2"))) == (
        Endpoint(address="10.244.0.5", node="node1", workload="pod-2"),
    )


def test_ready_ones_are_named() -> None:
    placed = seen(running(), pod("pod-2", node="node2")).placed(now=NOW)
    assert placed.ready == {"pod-1"}
    assert [each.workload for each in placed.endpoints] == ["pod-1", "pod-2"]


def test_frontends_are_handed_on() -> None:
    endpoints = seen(running())
    endpoints.frontends = (Frontend(address="10.46.100.105", port=80),)
    assert endpoints.placed(now=NOW).frontends == endpoints.frontends


def test_it_is_routed_once_its_slice_has_called_it_ready_for_a_while() -> None:
    endpoints = seen(running())
    assert endpoints.next_at(now=NOW) is None
    endpoints.see_ready({"pod-1"}, now=NOW)
    assert endpoints.next_at(now=NOW) == NOW + ROUTED_AFTER_S
    assert not told(endpoints, NOW + ROUTED_AFTER_S - 0.1)[0].is_routed
    assert told(endpoints, NOW + ROUTED_AFTER_S)[0].is_routed
    assert endpoints.next_at(now=NOW + ROUTED_AFTER_S) is None


def test_one_that_stops_being_ready_before_it_is_routed_begins_anew() -> None:
    endpoints = seen(running())
    endpoints.see_ready({"pod-1"}, now=NOW)
    endpoints.see_ready(frozenset(), now=NOW + 1)
    assert endpoints.next_at(now=NOW + 1) is None
    endpoints.see_ready({"pod-1"}, now=NOW + 4)
    assert not told(endpoints, NOW + ROUTED_AFTER_S)[0].is_routed
    assert told(endpoints, NOW + 4 + ROUTED_AFTER_S)[0].is_routed


def test_said_again_ready_does_not_count_anew() -> None:
    endpoints = seen(running())
    for after_s in range(4):
        endpoints.see_ready({"pod-1"}, now=NOW + after_s)
    assert told(endpoints, NOW + ROUTED_AFTER_S)[0].is_routed


def test_a_container_that_ended_is_routed_only_after_its_slice_calls_the_next_one_ready() -> None:
    """It will listen again half a second later, and proxies would refuse its callers until then."""
    endpoints = seen(running())
    endpoints.see_ready({"pod-1"}, now=NOW)
    assert told(endpoints, NOW + 100)[0].is_routed
    crashed = pod("pod-1", node="node1", address="10.244.0.5", state={"waiting": {}})
    endpoints.see_pods([pod_of(crashed)])
    endpoints.see_ready({"pod-1"}, now=NOW + 100)  # The slice follows the pod.
    assert not told(endpoints, NOW + 200)[0].is_routed

    endpoints.see_pods([pod_of(running())])
    endpoints.see_ready({"pod-1"}, now=NOW + 201)
    assert not told(endpoints, NOW + 201)[0].is_routed
    assert told(endpoints, NOW + 201 + ROUTED_AFTER_S)[0].is_routed


def test_routed_once_it_stays_so() -> None:
    endpoints = seen(running())
    endpoints.see_ready({"pod-1"}, now=NOW)
    endpoints.see_ready(frozenset(), now=NOW + 100)
    assert told(endpoints, NOW + 200)[0].is_routed, "a failing probe is for Kubernetes to act on"


def test_a_pod_of_the_same_name_begins_anew() -> None:
    endpoints = seen(running())
    endpoints.see_ready({"pod-1"}, now=NOW)
    endpoints.see_pods([])
    endpoints.see_pods([pod_of(running())])
    assert not told(endpoints, NOW + 100)[0].is_routed


def test_a_slice_that_names_a_stranger_says_nothing() -> None:
    endpoints = seen(running())
    endpoints.see_ready({"stranger"}, now=NOW)
    assert endpoints.next_at(now=NOW) is None


def test_the_next_to_be_routed_is_the_first_of_several() -> None:
    endpoints = seen(running("a"), running("b"))
    endpoints.see_ready({"a"}, now=NOW)
    endpoints.see_ready({"a", "b"}, now=NOW + 2)
    assert endpoints.next_at(now=NOW + 2) == NOW + ROUTED_AFTER_S
    assert endpoints.next_at(now=NOW + ROUTED_AFTER_S) == NOW + 2 + ROUTED_AFTER_S


def test_the_order_of_events_changes_nothing() -> None:
    assert told(seen(running("a"), running("b"))) == told(seen(running("b"), running("a")))


def test_something_runs_while_one_does() -> None:
    assert not seen(pod(node="node1")).is_running
    assert seen(pod(node="node1"), running("b")).is_running
    assert not seen(leaving(running())).is_running
