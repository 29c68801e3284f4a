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


def pods(wangell: Wangell, kind: str) -> list[str]:
    names = [each["metadata"]["name"] for each in wangell.cluster.get("pods", SYSTEM)["items"]]
    return [name for name in names if name.startswith(f"wangell-{kind}")]


def wait_for_controllers(wangell: Wangell, keys: int) -> None:
    """Those that stand by link daemons too."""
    words = f"wangell-controller-keys has changed: {keys} pre-shared key(s)"
    until(
        lambda: all(words in wangell.log(pod) for pod in pods(wangell, "controller")),
        words,
        timeout_s=30,
    )


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
    wait_for_controllers(declared, 2)
    assert cold_start(declared, ADDRESS).syns == 1, "by the old one"

    give(declared, DAEMON, [new])
    let_nodes_look(declared)
    until(lambda: _have_turned(declared), "every daemon to turn to the new one", timeout_s=100)
    give(declared, CONTROLLER, [new])
    wait_for_controllers(declared, 1)
    assert cold_start(declared, ADDRESS).syns == 1, "by the new one"

    assert declared.restarts() == restarts
    for pod in pods(declared, "controller"):
        assert "link ended" not in declared.log(pod)


def _have_turned(wangell: Wangell) -> bool:
    return all("psk has changed: 1 key" in wangell.log(pod) for pod in pods(wangell, "daemon"))
