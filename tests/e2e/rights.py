"""What a ServiceAccount may do, as the API server itself lists it, without what everybody may."""

import re

from tests.cluster.cluster import Cluster
from tests.cluster.given import GivenCluster

__all__ = ["SYSTEM_NAMESPACE", "rights_of"]

SYSTEM_NAMESPACE = "wangell-system"
# Any authenticated account may ask about itself, and read what the API server is.
OF_EVERYBODY = ("selfsubject",)


def rights_of(cluster: Cluster | GivenCluster, account: str) -> set[tuple[str, str, str]]:
    """Resource, names (space between them) and verbs (likewise), in our own namespace."""
    user = f"--as=system:serviceaccount:{SYSTEM_NAMESPACE}:{account}"
    said = cluster.kubectl(
        "auth", "can-i", "--list", "--no-headers", f"--namespace={SYSTEM_NAMESPACE}", user
    )
    found = set()
    for line in said.splitlines():
        row = re.match(r"(\S*)\s+\[(.*?)\]\s+\[(.*?)\]\s+\[(.*?)\]$", line)
        assert row is not None, line
        resource, urls, names, verbs = row.groups()
        if not urls and not resource.startswith(OF_EVERYBODY):
            found.add((resource, names, " ".join(sorted(verbs.split()))))
    return found
