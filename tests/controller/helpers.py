"""What the controller's tests share."""

from typing import Any

import yaml

# Section 1 of the design, to the letter.
PUBLISHED = """\
apiVersion: wangell.loutres.me/v1alpha1
kind: WangellService
metadata: {name: serverless-example, namespace: default}
spec: {idleTimeout: 1800, image: registry.loutres.me/helloworld-go:latest, targetPort: 8080, port: 80}
status: {latestRequest: "2024-11-16T16:29:14Z", loadBalancerIP: 10.46.100.105, replicas: 0}
"""  # noqa: E501


def manifest(**changes: Any) -> dict[str, Any]:
    """The published manifest; `metadata__name="x"` changes a field, and `...` removes it."""
    document: dict[str, Any] = yaml.safe_load(PUBLISHED)
    for path, value in changes.items():
        *parents, field = path.split("__")
        place = document
        for parent in parents:
            place = place[parent]
        if value is ...:
            del place[field]
        else:
            place[field] = value
    return document
