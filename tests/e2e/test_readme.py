"""README's section "On your cluster", word for word, by a shell. Its first block installed us."""

import threading
from collections.abc import Iterator

import pytest

from tests.cluster.waiting import until
from tests.e2e.cold_starts import request
from tests.e2e.conftest import ADDRESS
from tests.e2e.footprint import Footprint, footprint
from tests.e2e.readme import CALL, DECLARE, INSTALL, REMOVE, run
from tests.e2e.wangell import NAME, AnyWangell, Wangell, sample

pytestmark = pytest.mark.timeout(300)
# Its selector is a field that patches replace as a whole, so kubectl sends one and says so each
# time; the API server finds nothing in it, and the generation stays.
KUBECTL_BELIEVES = "poddisruptionbudget.policy/wangell-controller configured"
FORGOTTEN, FORGOTTEN_ADDRESS = "forgotten", "10.200.1.107"


@pytest.fixture
def load_balancer(installed: AnyWangell) -> Iterator[threading.Thread]:
    """Gives the service its address as soon as it is there: the cluster has no MetalLB."""
    balancer = threading.Thread(target=installed.expose, args=(ADDRESS,))
    balancer.start()
    yield balancer
    balancer.join()
    installed.remove(ADDRESS, NAME)  # Wangell may have been removed meanwhile, and is back.


@pytest.mark.any_cluster
def test_the_sections_commands_do_what_it_says(
    installed: AnyWangell, load_balancer: threading.Thread
) -> None:
    said = run(installed.cluster, DECLARE)
    load_balancer.join()
    assert f"wangellservice.wangell.loutres.me/{NAME} condition met" in said

    called = run(installed.cluster, CALL)

    answer, columns, shown, *_ = called.splitlines()
    assert answer == "Hello World!"
    assert columns.split()[:3] == ["NAME", "ADDRESS", "PHASE"]
    assert shown.split()[:2] == [NAME, installed.address()]
    installed.wait_for_event(r"woke in \d+ ms$")


@pytest.mark.any_cluster
def test_a_second_apply_changes_nothing(installed: AnyWangell) -> None:
    build_and_apply, *_ = INSTALL.splitlines()
    versions = _versions(installed)

    lines = run(installed.cluster, build_and_apply).splitlines()

    assert len(lines) > 10
    assert [line for line in lines if not line.endswith(" unchanged")] == [KUBECTL_BELIEVES]
    assert _versions(installed) == versions


def _versions(wangell: AnyWangell) -> dict[str, int]:
    """What of ours the API server has, by its generation: a status may change, a spec may not."""
    kinds = "deployments,daemonsets,poddisruptionbudgets,crds,clusterroles,roles,networkpolicies"
    found = wangell.cluster.get_all(kinds, "--all-namespaces")
    ours = [each for each in found if "wangell" in each["metadata"]["name"]]
    assert {each["kind"] for each in ours} >= {"Deployment", "DaemonSet", "PodDisruptionBudget"}
    return {
        f"{each['kind']}/{each['metadata']['name']}": each["metadata"].get("generation", 0)
        for each in ours
    }


def test_removed_it_leaves_cluster_and_nodes_as_they_were(
    installed: Wangell, before: Footprint, load_balancer: threading.Thread
) -> None:
    """With one service asleep and one awake, which nobody deletes before Wangell goes."""
    cluster = installed.cluster
    run(cluster, DECLARE)
    load_balancer.join()
    installed.declare(FORGOTTEN_ADDRESS, manifest=sample(FORGOTTEN), name=FORGOTTEN)
    request(cluster, FORGOTTEN_ADDRESS)
    assert any("XDP" in each for each in footprint(cluster).beyond(before))
    try:
        run(cluster, REMOVE)

        until(
            lambda: not footprint(cluster).beyond(before),
            "what there was before",
            timeout_s=30,
        )
        assert before.beyond(footprint(cluster)) == frozenset()
    except TimeoutError as error:
        error.add_note("left: " + "\n".join(sorted(footprint(cluster).beyond(before))))
        raise
    finally:
        cluster.withdraw(FORGOTTEN_ADDRESS)
        run(cluster, INSTALL)  # For the tests that follow.
        installed.wait_until_ready()
