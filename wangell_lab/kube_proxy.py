"""What stands in for kube-proxy: a DNAT from each virtual address to its pod.

The daemon's own handover map comes before it at `dstnat - 10`. As kube-proxy does with
`externalTrafficPolicy: Cluster`, a connection whose pod is on another node is masqueraded.
"""

from wangell_lab.errors import LabError
from wangell_lab.namespaces import Namespace
from wangell_lab.topology import Exposure, Topology

__all__ = ["TABLE", "load", "ruleset"]

TABLE = "kube-proxy-stand-in"


def ruleset(topology: Topology, node: str) -> str:
    """Return the node's rules in nft's language."""
    translations = "\n".join(f"    {_translate(topology, each)}" for each in topology.exposures)
    masquerades = "\n".join(
        f"    {_masquerade(topology, each)}"
        for each in topology.exposures
        if topology.node_of(each.pod) != node
    )
    return f"""table ip {TABLE} {{
  chain prerouting {{
    type nat hook prerouting priority dstnat; policy accept;
{translations}
  }}
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
{masquerades}
  }}
}}
"""


def load(rules: str, namespace: Namespace) -> None:
    """Load the rules there. Raises LabError with what nft said."""
    loaded = namespace.run(["nft", "-f", "-"], given=rules)
    if loaded.returncode != 0:
        raise LabError(f"nft refused the node's DNAT (has the kernel nf_tables?): {loaded.stderr}")


def _translate(topology: Topology, exposure: Exposure) -> str:
    pod = topology.address(exposure.pod)
    return (
        f"ip daddr {exposure.address} tcp dport {exposure.port} "
        f"dnat to {pod}:{exposure.target_port}"
    )


def _masquerade(topology: Topology, exposure: Exposure) -> str:
    pod = topology.address(exposure.pod)
    # By connection and original address: what a caller sends to the pod itself stays as it is.
    return (
        f"ct status dnat ct original ip daddr {exposure.address} ip daddr {pod} "
        f"tcp dport {exposure.target_port} masquerade"
    )
