"""The WangellService as users declare it, and everything that may be wrong about it.

One model for two readers: manifests are validated by it here, and `kube/crd` turns it into the
schema by which an API server validates them. So what a field may hold, and the words that say what
is wrong, are written once.
"""

from wangell_controller.model.forms import ip_address, rfc3339
from wangell_controller.model.service import Condition, Metadata, Spec, Status, WangellService

__all__ = [
    "Condition",
    "Metadata",
    "Spec",
    "Status",
    "WangellService",
    "ip_address",
    "rfc3339",
]
