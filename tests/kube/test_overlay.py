"""One pod template laid over another, as kubectl patch does it."""

from typing import Any

import pytest

from wangell_controller.kube.overlay import overlaid


@pytest.mark.parametrize(
    ("below", "above", "expected"),
    [
        ({"a": 1}, {"b": 2}, {"a": 1, "b": 2}),
        ({"a": 1}, {"a": 2}, {"a": 2}),
        ({"a": {"b": 1, "c": 2}}, {"a": {"c": 3}}, {"a": {"b": 1, "c": 3}}),
        ({"a": 1, "b": 2}, {"a": None}, {"b": 2}),
        ({"a": 1}, {"gone": None}, {"a": 1}),
        ({"a": {"b": 1}}, {"a": 5}, {"a": 5}),
        ({"a": 5}, {"a": {"b": 1}}, {"a": {"b": 1}}),
        ({"args": ["x", "y"]}, {"args": ["z"]}, {"args": ["z"]}),
    ],
)
def test_maps_are_merged_and_plain_lists_replaced(below: Any, above: Any, expected: Any) -> None:
    assert overlaid(below, above) == expected


def test_containers_are_merged_by_name() -> None:
    below = {"containers": [{"name": "server", "image": "a", "ports": [{"containerPort": 80}]}]}
    above = {
        "containers": [
            {"name": "helper", "image": "b"},
            {"name": "server", "ports": [{"containerPort": 80, "name": "http"}]},
        ]
    }
    assert overlaid(below, above) == {
        "containers": [
            {"name": "server", "image": "a", "ports": [{"containerPort": 80, "name": "http"}]},
            {"name": "helper", "image": "b"},
        ]
    }


def test_variables_and_mounts_are_merged_by_their_own_names() -> None:
    below = {"env": [{"name": "A", "value": "1"}], "volumeMounts": [{"mountPath": "/a"}]}
    above = {
        "env": [{"name": "A", "value": "2"}, {"name": "B", "value": "3"}],
        "volumeMounts": [{"mountPath": "/a", "readOnly": True}, {"mountPath": "/b"}],
    }
    merged = overlaid(below, above)
    assert merged["env"] == above["env"]
    assert merged["volumeMounts"] == above["volumeMounts"]


@pytest.mark.parametrize("odd", [[{"image": "nameless"}], ["text"], [None], []])
def test_items_without_a_name_are_added(odd: list[Any]) -> None:
    below = {"containers": [{"name": "server"}]}
    assert overlaid(below, {"containers": odd}) == {"containers": [{"name": "server"}, *odd]}


def test_neither_side_is_changed() -> None:
    below = {"a": {"b": [1]}, "env": [{"name": "A"}]}
    above = {"a": {"c": 2}, "env": [{"name": "A", "value": "x"}]}
    overlaid(below, above)
    assert below == {"a": {"b": [1]}, "env": [{"name": "A"}]}
    assert above == {"a": {"c": 2}, "env": [{"name": "A", "value": "x"}]}
