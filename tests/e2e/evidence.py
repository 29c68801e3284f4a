"""What Wangell had to say when a test failed: CI's output is all that is left of its cluster."""

import subprocess

from tests.cluster.kubectl import KubectlError
from tests.e2e.wangell import SYSTEM, AnyWangell

# Of each: a wake is a dozen lines, a failure is read soon after it, and a crowd is 5,000 Services.
LINES_MAX = 40


def evidence(wangell: AnyWangell) -> str:
    """The state of pods and services, and each container's last lines, an ended one's too."""
    parts = [_said(wangell, "get", "pods", "--all-namespaces", "--output=wide")]
    parts.append(_said(wangell, "get", "wsvc,deployments", "--all-namespaces"))
    for pod in _said(wangell, "get", "pods", SYSTEM, "--output=name").split():
        parts.append(f"-- {pod}:\n" + _said(wangell, "logs", SYSTEM, pod))
        ended = _said(wangell, "logs", SYSTEM, pod, "--previous")
        parts.append(f"-- {pod}, before its restart:\n{ended}" if ended else "")
    return "\n".join(filter(None, parts))


def _said(wangell: AnyWangell, *arguments: str) -> str:
    """The end of what kubectl prints; nothing where there is nothing, or nobody to ask."""
    try:
        lines = wangell.cluster.kubectl(*arguments, timeout_s=20).splitlines()
    except (KubectlError, subprocess.TimeoutExpired):
        return ""
    return "\n".join(lines[-LINES_MAX:])
