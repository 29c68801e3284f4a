"""Who may link, and with which keys."""

import asyncio
import base64
from typing import Any

import pytest

from tests.kube import virtual_time
from tests.kube.fake_cluster import FakeCluster
from tests.kube.virtual_time import settle
from wangell_controller.keys import KeyFileError
from wangell_controller.kube.admission import REVIEWS_MAX, Admission, objection_to, review_of
from wangell_controller.kube.errors import ForbiddenError, UnavailableError
from wangell_controller.kube.life import LEASE_REMEDY
from wangell_controller.kube.link_keys import CONTROLLER_SECRET, DAEMON_SECRET, keys_of, psks_of
from wangell_controller.kube.resources import SECRETS
from wangell_controller.link import SupersededError
from wangell_proto import public_key

USER = "system:serviceaccount:wangell-system:wangell-daemon"
NODE_CLAIM = "authentication.kubernetes.io/node-name"


def reviewed(**changes: Any) -> dict[str, Any]:
    """What the API server says of node1's daemon's token."""
    user = {"username": USER, "extra": {NODE_CLAIM: ["node1"]}, **changes.pop("user", {})}
    return {"authenticated": True, "audiences": ["wangell"], "user": user, **changes}


# --- Admission ------------------------------------------------------------------------------------


def test_a_daemon_is_let_in_as_its_own_node() -> None:
    assert objection_to("node1", reviewed(), user=USER) is None


@pytest.mark.parametrize(
    ("status", "objection"),
    [
        ({}, "does not know its token"),
        (reviewed(authenticated=False, error="token expired"), "token expired"),
        (reviewed(audiences=["https://kubernetes.default.svc"]), "does not know its token"),
        (reviewed(audiences=[]), "does not know its token"),
        (reviewed(user={"username": "system:serviceaccount:default:default"}), "default:default's"),
        (reviewed(user={"username": "system:admin"}), "system:admin's, not"),
        (reviewed(user={"extra": {NODE_CLAIM: ["node2"]}}), "a pod on node2"),
        (reviewed(user={"extra": {}}), "a pod on no node"),
        (reviewed(user={"extra": {NODE_CLAIM: ["node1", "node2"]}}), "a pod on node1, node2"),
        (reviewed(user={"extra": {NODE_CLAIM: []}}), "a pod on no node"),
    ],
)
def test_nobody_else_is(status: dict[str, Any], objection: str) -> None:
    assert objection in (objection_to("node1", status, user=USER) or "")


def test_the_question_is_for_our_audience() -> None:
    assert review_of("t0ken") == {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenReview",
        "spec": {"token": "t0ken", "audiences": ["wangell"]},
    }


class Reviewer:
    """The API server, which knows one token: node1's."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.error: Exception | None = None
        self.at_once = self.most = 0

    async def create(self, path: str, body: Any) -> dict[str, Any]:
        assert path.endswith("/tokenreviews")
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        await asyncio.sleep(0.01)
        self.at_once -= 1
        token = body["spec"]["token"]
        self.asked.append(token)
        if self.error is not None:
            raise self.error
        return {**body, "status": reviewed() if token == "node1's" else {"authenticated": False}}


def judged(peer: str, credential: bytes, reviewer: Reviewer | None = None) -> list[bool]:
    async def story() -> list[bool]:
        admission = Admission(reviewer or Reviewer(), user=USER)
        verdicts: list[bool] = []
        admission.judge(peer, credential, verdicts.append)
        await settle(1)
        await admission.aclose()
        return verdicts

    return virtual_time.run(story())


@pytest.mark.parametrize(
    ("peer", "credential", "verdicts"),
    [
        ("node1", b"node1's", [True]),
        ("node1", b"node1's\n", [True]),
        ("node2", b"node1's", [False]),
        ("node1", b"forged", [False]),
        ("node1", b"", [False]),
        ("node1", b"\xff\xfe", [False]),
    ],
)
def test_verdicts(peer: str, credential: bytes, verdicts: list[bool]) -> None:
    assert judged(peer, credential) == verdicts


def test_what_is_no_token_costs_the_api_server_nothing() -> None:
    reviewer = Reviewer()
    judged("node1", b"", reviewer)
    assert reviewer.asked == []


def test_where_nobody_knows_nobody_judges() -> None:
    reviewer = Reviewer()
    reviewer.error = UnavailableError("down")
    assert judged("node1", b"node1's", reviewer) == [], "it may ask again"


def test_a_crowd_at_the_door_is_no_crowd_at_the_api_server() -> None:
    async def story() -> None:
        reviewer = Reviewer()
        admission = Admission(reviewer, user=USER)
        verdicts: list[bool] = []
        for _ in range(200):
            admission.judge("node1", b"node1's", verdicts.append)
        await settle(5)
        assert verdicts == [True] * 200
        assert reviewer.most == REVIEWS_MAX
        await admission.aclose()

    virtual_time.run(story())


# --- Keys -----------------------------------------------------------------------------------------


def keys(cluster: FakeCluster) -> Any:
    return virtual_time.run(keys_of(cluster, namespace="wangell-system"))


def secret(cluster: FakeCluster, name: str) -> dict[str, bytes]:
    found = cluster.of(SECRETS, name, "wangell-system")["data"]
    return {each: base64.b64decode(base64.b64decode(text)) for each, text in found.items()}


def test_the_first_controller_makes_them_and_the_next_reads_them() -> None:
    cluster = FakeCluster()
    made = keys(cluster)
    assert keys(cluster) == made
    assert len([ask for ask in cluster.did() if ask.startswith("POST")]) == 2


def test_daemons_see_the_public_half_and_never_the_private_one() -> None:
    cluster = FakeCluster()
    made = keys(cluster)
    shown = secret(cluster, DAEMON_SECRET)
    assert shown == {"controller.pub": public_key(made.private_key), "psk": made.psks[0]}
    assert made.private_key not in shown.values()
    assert set(secret(cluster, CONTROLLER_SECRET)) == {"controller.key", "controller.pub", "psk"}


def test_two_that_begin_together_end_with_one_set_of_keys() -> None:
    cluster = FakeCluster()

    async def both() -> list[Any]:
        return await asyncio.gather(*(keys_of(cluster, namespace="wangell-system") for _ in "ab"))

    first, second = virtual_time.run(both())
    assert first == second


def test_a_daemons_secret_that_was_deleted_is_made_anew_and_the_same() -> None:
    cluster = FakeCluster()
    keys(cluster)
    before = secret(cluster, DAEMON_SECRET)
    cluster.remove(SECRETS.path("wangell-system", DAEMON_SECRET))
    keys(cluster)
    assert secret(cluster, DAEMON_SECRET) == before


def test_secrets_that_do_not_fit_together_are_said_to() -> None:
    cluster = FakeCluster()
    keys(cluster)
    cluster.remove(SECRETS.path("wangell-system", CONTROLLER_SECRET))
    with pytest.raises(KeyFileError, match="wangell-daemon-keys does not fit"):
        keys(cluster)


def text(*psks: bytes) -> str:
    lines = "\n".join(base64.b64encode(psk).decode() for psk in psks)
    return base64.b64encode(lines.encode()).decode()


def rotate(cluster: FakeCluster, name: str, *psks: bytes) -> None:
    cluster.of(SECRETS, name, "wangell-system")["data"]["psk"] = text(*psks)


NEW, THIRD = b"n" * 32, b"t" * 32


def test_while_one_is_rotated_there_are_two() -> None:
    cluster = FakeCluster()
    (old,) = keys(cluster).psks
    rotate(cluster, CONTROLLER_SECRET, old, NEW)

    assert keys(cluster).psks == (old, NEW)
    assert virtual_time.run(psks_of(cluster, namespace="wangell-system")) == (old, NEW)
    rotate(cluster, DAEMON_SECRET, NEW)
    assert keys(cluster).psks == (old, NEW), "daemons have the new one already"


def test_a_rotation_that_would_leave_daemons_outside_is_said_to() -> None:
    cluster = FakeCluster()
    keys(cluster)
    rotate(cluster, CONTROLLER_SECRET, NEW)
    with pytest.raises(KeyFileError, match="wangell-daemon-keys does not fit"):
        keys(cluster)


def test_three_are_refused() -> None:
    cluster = FakeCluster()
    (old,) = keys(cluster).psks
    rotate(cluster, CONTROLLER_SECRET, old, NEW, THIRD)
    with pytest.raises(KeyFileError, match="wangell-controller-keys: psk: 3 keys"):
        virtual_time.run(psks_of(cluster, namespace="wangell-system"))


def test_whom_daemons_do_not_obey_is_told_of_the_lease() -> None:
    said = str(SupersededError(7, LEASE_REMEDY))
    assert "a controller of epoch 7: " in said
    assert "Lease wangell-controller" in said
    assert "--run-dir" not in said, "there is none on Kubernetes"


@pytest.mark.parametrize("text", ["", "bm90IGEga2V5", "!!"])
def test_a_secret_that_holds_no_key_is_named(text: str) -> None:
    cluster = FakeCluster()
    content = base64.b64encode(text.encode()).decode()
    cluster.put(
        SECRETS,
        CONTROLLER_SECRET,
        "wangell-system",
        data={"controller.key": content, "psk": content},
    )
    with pytest.raises(KeyFileError, match=r"wangell-controller-keys: controller\.key: not a key"):
        keys(cluster)


def test_keys_that_may_not_be_read_are_no_reason_to_make_others() -> None:
    cluster = FakeCluster()
    cluster.refusals = [("GET", ForbiddenError("rbac"))]
    with pytest.raises(ForbiddenError):
        keys(cluster)
    assert cluster.did() == []
