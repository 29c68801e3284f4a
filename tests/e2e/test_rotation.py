"""The pre-shared key is replaced under running links: nobody restarts, and wakes go on."""

import base64
import secrets
from collections.abc import Sequence

import pytest

from tests.cluster.waiting import until
from tests.e2e.cold_starts import cold_start
from tests.e2e.conftest import ADDRESS
from tests.e2e.wangell import SYSTEM, Wangell

pytestmark = pytest.mark.timeout(300)
CONTROLLER, DAEMON = "secret/wangell-controller-keys", "secret/wangell-daemon-keys"


def psk_of(wangell: Wangell, secret: str) -> str:
    data = wangell.cluster.get(secret, SYSTEM)["data"]
    return base64.b64decode(data["psk"]).decode().strip()


def give(wangell: Wangell, secret: str, psks: Sequence[str]) -> None:
    text = base64.b64encode("\n".join(psks).encode()).decode()
    patch = f'{{"data":{{"psk":"{text}"}}}}'
    wangell.cluster.kubectl("patch", secret, SYSTEM, "--type=merge", f"--patch={patch}")


def logs(wangell: Wangell, what: str) -> str:
    return wangell.cluster.kubectl("logs", SYSTEM, what, "--tail=-1")


def wait_for_controller(wangell: Wangell, keys: int) -> None:
    words = f"wangell-controller-keys has changed: {keys} pre-shared key(s)"
    until(lambda: words in logs(wangell, "deployment/wangell-controller"), words, timeout_s=30)


def let_nodes_look(wangell: Wangell) -> None:
    """A node looks after a pod's Secrets each minute, and at once where the pod has changed."""
    label = "--selector=app.kubernetes.io/name=wangell-daemon"
    mark = f"e2e/looked={secrets.token_hex(4)}"
    wangell.cluster.kubectl("annotate", "pods", label, SYSTEM, "--overwrite", mark)


def test_a_psk_is_rotated_and_no_link_ends(declared: Wangell) -> None:
    old, new = psk_of(declared, CONTROLLER), base64.b64encode(secrets.token_bytes(32)).decode()
    restarts = declared.restarts()
    declared.change({"idleTimeout": 1})

    give(declared, CONTROLLER, [old, new])
    wait_for_controller(declared, 2)
    assert cold_start(declared, ADDRESS).syns == 1, "by the old one"

    give(declared, DAEMON, [new])
    let_nodes_look(declared)
    for pod in declared.cluster.get("pods", SYSTEM)["items"]:
        name = pod["metadata"]["name"]
        if "daemon" in name:
            until(lambda name=name: _has_turned(declared, name), name, timeout_s=100)  # type: ignore[misc]
    give(declared, CONTROLLER, [new])
    wait_for_controller(declared, 1)
    assert cold_start(declared, ADDRESS).syns == 1, "by the new one"

    assert declared.restarts() == restarts
    assert "link ended" not in logs(declared, "deployment/wangell-controller")


def _has_turned(wangell: Wangell, pod: str) -> bool:
    return "controllers: " in logs(wangell, f"pod/{pod}").partition("linked to controller")[2]
