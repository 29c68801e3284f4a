"""Where the API server has a resource: what kubectl finds out anew, in 0.1 s of every call."""

from urllib.parse import urlencode

_CORE = "/api/v1"
# Of those that tests read, by their plurals.
_API_OF = {
    "configmaps": _CORE,
    "nodes": _CORE,
    "pods": _CORE,
    "secrets": _CORE,
    "services": _CORE,
    "deployments": "/apis/apps/v1",
    "endpointslices": "/apis/discovery.k8s.io/v1",
    "events": "/apis/events.k8s.io/v1",
    "leases": "/apis/coordination.k8s.io/v1",
    "poddisruptionbudgets": "/apis/policy/v1",
    "servicel2statuses": "/apis/metallb.io/v1beta1",
    "wangellservices": "/apis/wangell.loutres.me/v1alpha1",
}
_SHORT = {"wsvc": "wangellservices"}
_CLUSTER_WIDE = {"nodes"}
_PARAMETERS = {"selector": "labelSelector", "field-selector": "fieldSelector"}


def path(resource: str, *options: str) -> str:
    """The path of `kubectl get RESOURCE`: pods, or pod/web, with the options that say which.

    These are --namespace, --all-namespaces, --selector and --field-selector. Raises ValueError
    for another option, and for a resource that no test has read yet.
    """
    kind, _, name = resource.partition("/")
    given = dict(option.removeprefix("--").partition("=")[::2] for option in options)
    namespace = given.pop("namespace", "default")
    is_everywhere = given.pop("all-namespaces", None) is not None
    if unknown := given.keys() - _PARAMETERS.keys():
        raise ValueError(f"get {resource}: no option --{min(unknown)} here: use kubectl()")
    plural = _plural(kind)
    scope = "" if is_everywhere or plural in _CLUSTER_WIDE else f"/namespaces/{namespace}"
    query = urlencode({_PARAMETERS[option]: value for option, value in given.items()})
    one = f"/{name}" if name else ""
    return f"{_API_OF[plural]}{scope}/{plural}{one}" + (f"?{query}" if query else "")


def _plural(kind: str) -> str:
    for plural in (_SHORT.get(kind), kind, f"{kind}s"):
        if plural in _API_OF:
            return plural
    raise ValueError(f"get {kind}: add it to tests/cluster/resources.py")
