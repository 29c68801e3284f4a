"""What a WangellService becomes: a Deployment and a Service of its name. Pure."""

from collections.abc import Mapping
from typing import Any

from wangell_controller.kube.overlay import overlaid
from wangell_controller.kube.resources import (
    DEPLOYMENTS,
    MANAGED_BY,
    SERVICE_LABEL,
    SERVICES,
    WANGELL_SERVICES,
)
from wangell_controller.model import WangellService

__all__ = ["CONTAINER", "OWNED", "deployment", "kube_service", "metadata_of", "selector_of"]

CONTAINER = "server"
OWNED = f"{MANAGED_BY}=wangell"
"Selects whatever we have made"


def selector_of(name: str) -> str:
    """Return the label selector of a service's pods."""
    return f"{SERVICE_LABEL}={name}"


def deployment(service: WangellService, uid: str, *, replicas: int, version: str | None) -> Any:
    """Return the Deployment.

    It is applied with the `version` that was seen, for `replicas` is what was seen, too: whoever
    raises in between is not overruled. (Left out, it would be 1 as soon as we had ever set it.)
    """
    return {
        **DEPLOYMENTS.type_meta,
        "metadata": {**metadata_of(service, uid), **_given(resourceVersion=version)},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {SERVICE_LABEL: service.metadata.name}},
            # The old replica serves until the new one does: an update is no cold start.
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0},
            },
            # Each is an object that every list of ReplicaSets carries; one step back is enough.
            "revisionHistoryLimit": 1,
            "template": _template(service),
        },
    }


def kube_service(service: WangellService, uid: str) -> Any:
    """Return the Service that callers use."""
    spec = service.spec
    port = {"name": "tcp", "port": spec.port, "targetPort": spec.target_port, "protocol": "TCP"}
    return {
        **SERVICES.type_meta,
        "metadata": metadata_of(service, uid),
        "spec": {
            "type": spec.service_type,
            **_given(
                loadBalancerClass=spec.load_balancer_class,
                loadBalancerSourceRanges=spec.load_balancer_source_ranges,
            ),
            "selector": {SERVICE_LABEL: service.metadata.name},
            "ports": [port],
        },
    }


def metadata_of(service: WangellService, uid: str) -> dict[str, Any]:
    """Return the metadata of everything that is made for the WangellService of this uid."""
    metadata = service.metadata
    owner = {
        **WANGELL_SERVICES.type_meta,
        "name": metadata.name,
        "uid": uid,
        "controller": True,
        # Without it, `kubectl delete --cascade=foreground` would not wait for this object.
        "blockOwnerDeletion": True,
    }
    return {
        "name": metadata.name,
        "namespace": metadata.namespace,
        "labels": _labels(metadata.name),
        "ownerReferences": [owner],
    }


def _labels(name: str) -> dict[str, str]:
    return {MANAGED_BY: "wangell", "app.kubernetes.io/name": name, SERVICE_LABEL: name}


def _template(service: WangellService) -> dict[str, Any]:
    overlay = service.spec.template
    labels = {"metadata": {"labels": _labels(service.metadata.name)}}
    template: dict[str, Any] = {**labels, "spec": _pod(service)}
    if overlay is not None:
        template = overlaid(template, overlay.model_dump(by_alias=True, exclude_unset=True))
        # By these the Deployment finds its pods, and we find them, whatever the overlay says.
        template = overlaid(template, labels)
    return template


def _pod(service: WangellService) -> dict[str, Any]:
    spec = service.spec
    return {
        # A volume with a token makes a start 300 ms slower, a variable for each Service longer.
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        **_given(
            serviceAccountName=spec.service_account_name,
            imagePullSecrets=_dumped(spec.image_pull_secrets),
        ),
        "containers": [_container(service)],
    }


def _container(service: WangellService) -> dict[str, Any]:
    spec = service.spec
    return {
        "name": CONTAINER,
        "image": spec.image,
        "imagePullPolicy": spec.image_pull_policy,
        "ports": [{"containerPort": spec.target_port, "protocol": "TCP"}],
        **_given(
            command=spec.command,
            args=spec.args,
            env=_dumped(spec.env),
            envFrom=_dumped(spec.env_from),
            resources=_dumped(spec.resources),
        ),
    }


def _dumped(value: Any) -> Any:
    if isinstance(value, list):
        return [_dumped(each) for each in value]
    return None if value is None else value.model_dump(by_alias=True, exclude_unset=True)


def _given(**fields: Any) -> Mapping[str, Any]:
    """Return the fields that have a value: an applied null would be a value, too."""
    return {name: value for name, value in fields.items() if value is not None}
