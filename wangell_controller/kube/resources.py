"""The kinds of objects that this room speaks of, and where they are at the API server."""

from dataclasses import dataclass
from urllib.parse import quote

__all__ = [
    "CONFIG_MAPS",
    "CONTROLLER_NAME",
    "DEPLOYMENTS",
    "ENDPOINT_SLICES",
    "EPOCH",
    "EVENTS",
    "FINALIZER",
    "GROUP",
    "KIND",
    "LEASES",
    "MANAGED_BY",
    "NAMESPACES",
    "NODES",
    "PODS",
    "RAISED",
    "SECRETS",
    "SERVICES",
    "SERVICE_LABEL",
    "STARTUP_TAINT",
    "TOKEN_REVIEWS",
    "WANGELL_SERVICES",
    "Resource",
    "key_of",
    "split_key",
]

GROUP = "wangell.loutres.me"
KIND = "WangellService"
CONTROLLER_NAME = "wangell-controller"
"Who we are to the API server: field manager, reporter of Events"
SERVICE_LABEL = f"{GROUP}/service"
"On everything of a WangellService: its name. Pods are selected by it"
MANAGED_BY = "app.kubernetes.io/managed-by"
EPOCH = f"{GROUP}/epoch"
"On a Deployment: which leader took it over. A lowering that an earlier one began then fails"
RAISED = f"{GROUP}/raised"
"On a Deployment: the activation that a controller which does not lead was woken for"
STARTUP_TAINT = f"{GROUP}/daemon-not-ready"
"On a Node that has registered with it: its daemon does not hold what sleeps yet"
FINALIZER = f"{GROUP}/release"
"Holds a deleted WangellService until no daemon has its addresses any more"


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """One kind of object."""

    group_version: str
    "`v1`, or `apps/v1`"
    plural: str
    kind: str
    is_namespaced: bool = True

    def path(self, namespace: str | None = None, name: str | None = None, *, sub: str = "") -> str:
        """Return the path of an object, of a namespace's objects, or of all of them."""
        steps = ["api" if "/" not in self.group_version else "apis", self.group_version]
        if namespace is not None and self.is_namespaced:
            steps += ["namespaces", quote(namespace, safe="")]
        steps.append(self.plural)
        if name is not None:
            steps.append(quote(name, safe=""))
        return "/" + "/".join([*steps, *([sub] if sub else [])])

    @property
    def type_meta(self) -> dict[str, str]:
        """The two fields that every object begins with."""
        return {"apiVersion": self.group_version, "kind": self.kind}


WANGELL_SERVICES = Resource(group_version=f"{GROUP}/v1alpha1", plural="wangellservices", kind=KIND)
DEPLOYMENTS = Resource(group_version="apps/v1", plural="deployments", kind="Deployment")
SERVICES = Resource(group_version="v1", plural="services", kind="Service")
PODS = Resource(group_version="v1", plural="pods", kind="Pod")
NODES = Resource(group_version="v1", plural="nodes", kind="Node", is_namespaced=False)
NAMESPACES = Resource(
    group_version="v1", plural="namespaces", kind="Namespace", is_namespaced=False
)
CONFIG_MAPS = Resource(group_version="v1", plural="configmaps", kind="ConfigMap")
SECRETS = Resource(group_version="v1", plural="secrets", kind="Secret")
ENDPOINT_SLICES = Resource(
    group_version="discovery.k8s.io/v1", plural="endpointslices", kind="EndpointSlice"
)
EVENTS = Resource(group_version="events.k8s.io/v1", plural="events", kind="Event")
LEASES = Resource(group_version="coordination.k8s.io/v1", plural="leases", kind="Lease")
TOKEN_REVIEWS = Resource(
    group_version="authentication.k8s.io/v1",
    plural="tokenreviews",
    kind="TokenReview",
    is_namespaced=False,
)


def key_of(namespace: str, name: str) -> str:
    """Return `namespace/name`, as the table and the logs have it."""
    return f"{namespace}/{name}"


def split_key(key: str) -> tuple[str, str]:
    """Return namespace and name."""
    namespace, _, name = key.partition("/")
    return namespace, name
