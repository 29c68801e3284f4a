"""What daemons are asked to count, and which answers count."""

from wangell_controller.counting import Counting
from wangell_proto.vocabulary import Count, Counted, Endpoint

KEY = "default/x"
ENDPOINTS = tuple(
    Endpoint(address="", node=node, workload=workload)
    for node, workload in (("node1", "pod-1"), ("node2", "pod-2"), ("node1", "pod-3"))
)


def asked(counting: Counting, endpoints: tuple[Endpoint, ...] = ENDPOINTS) -> dict[str, Count]:
    return counting.ask(KEY, endpoints, activation=3, port=8080, now=10.0)


def answer(number: int, connections: int | None = 0) -> Counted:
    return Counted(service=KEY, activation=3, number=number, connections=connections)


def test_each_node_is_asked_for_its_own_replicas() -> None:
    counting = Counting()
    assert asked(counting) == {
        "node1": Count(
            service=KEY, activation=3, number=1, workloads=("pod-1", "pod-3"), port=8080
        ),
        "node2": Count(service=KEY, activation=3, number=1, workloads=("pod-2",), port=8080),
    }
    assert counting.rounds[-1].unanswered == ("node1", "node2")


def test_a_round_is_over_when_the_last_has_answered() -> None:
    counting = Counting()
    asked(counting)
    assert counting.answer("node2", answer(1, 2), now=10.5)
    assert counting.rounds[-1].answered_at is None
    assert counting.answer("node1", answer(1, None), now=11.0)
    [last] = counting.rounds
    assert (last.answered_at, last.connections) == (11.0, {"node1": None, "node2": 2})


def test_without_a_replica_there_is_nothing_to_wait_for() -> None:
    counting = Counting()
    assert asked(counting, endpoints=()) == {}
    assert counting.rounds[-1].answered_at == 10.0


def test_answers_to_other_questions_and_of_other_nodes_are_none() -> None:
    counting = Counting()
    asked(counting)
    asked(counting)
    assert not counting.answer("node1", answer(1), now=11.0)
    assert not counting.answer("node1", answer(3), now=11.0)
    assert not counting.answer("node3", answer(2), now=11.0)
    assert counting.rounds[-1].connections == {}
    assert counting.answer("node1", answer(2), now=11.0)


def test_what_is_forgotten_is_not_answered_any_more() -> None:
    counting = Counting()
    asked(counting)
    counting.forget()
    assert counting.rounds == ()
    assert not counting.answer("node1", answer(1), now=11.0)
    assert asked(counting)["node1"].number == 2, "numbers never begin anew"


def test_two_rounds_are_kept() -> None:
    counting = Counting()
    for _ in range(5):
        asked(counting)
    assert len(counting.rounds) == 2
