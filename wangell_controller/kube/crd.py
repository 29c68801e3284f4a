"""The CustomResourceDefinition, made from the model: `wangell-controller crd` prints it.

deploy/kustomize/base/crd.yaml is what it printed; a test holds them equal.
"""

from typing import Any

import yaml

from wangell_controller.kube.resources import GROUP, KIND, WANGELL_SERVICES
from wangell_controller.kube.schema import structural_schema
from wangell_controller.model import WangellService
from wangell_controller.model.forms import RULES

__all__ = ["crd", "crd_yaml"]

HEAD = """\
# Made from the model: wangell-controller crd > deploy/kustomize/base/crd.yaml
"""
COLUMNS = (
    ("Address", "string", ".status.address", 0, "What callers use."),
    ("Phase", "string", ".status.phase", 0, "Where the service is between zero and warm."),
    ("Replicas", "integer", ".status.replicas", 0, "Replicas asked for."),
    ("Last Request", "date", ".status.latestRequest", 0, "When a caller was last seen."),
    ("Age", "date", ".metadata.creationTimestamp", 0, "Since it was created."),
    ("Ready", "string", '.status.conditions[?(@.type=="Ready")].status', 1, "Whether it serves."),
    ("Reason", "string", ".status.reason", 1, "Why it is in this phase."),
    ("Awake", "string", ".status.awake", 1, "Why it does not go to zero."),
    ("Image", "string", ".spec.image", 1, "What is started."),
)


def crd() -> dict[str, Any]:
    """Return the definition."""
    group, _, version = WANGELL_SERVICES.group_version.partition("/")
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{WANGELL_SERVICES.plural}.{group}"},
        "spec": {
            "group": GROUP,
            "names": {
                "kind": KIND,
                "listKind": f"{KIND}List",
                "plural": WANGELL_SERVICES.plural,
                "singular": KIND.lower(),
                "shortNames": ["wsvc"],
                "categories": ["all"],
            },
            "scope": "Namespaced",
            "versions": [_version(version)],
        },
    }


def crd_yaml() -> str:
    """Return the definition as the file that is committed."""
    return HEAD + str(yaml.safe_dump(crd(), sort_keys=False, width=100, allow_unicode=True))


def _version(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": _schema()},
        "subresources": {
            "status": {},
            "scale": {
                "specReplicasPath": ".spec.replicas",
                "statusReplicasPath": ".status.replicas",
                "labelSelectorPath": ".status.selector",
            },
        },
        "additionalPrinterColumns": [
            {"name": name, "type": kind, "jsonPath": path, "description": text, **_rank(rank)}
            for name, kind, path, rank, text in COLUMNS
        ],
    }


def _rank(rank: int) -> dict[str, int]:
    """Leave 0 out, as the API server does: else each apply would see a difference, and patch."""
    return {"priority": rank} if rank else {}


def _schema() -> dict[str, Any]:
    """The model's schema; what Kubernetes knows of every object stays Kubernetes's."""
    schema = structural_schema(WangellService)
    fields = schema["properties"]
    for name in ("apiVersion", "kind"):
        fields[name] = {"type": "string"}
    name = fields["metadata"]["properties"]["name"]
    # Of metadata a CRD may judge the name alone: its length here, its form from the root.
    bounds = {"type": "string", "maxLength": name["maxLength"]}
    fields["metadata"] = {"type": "object", "properties": {"name": bounds}}
    schema["required"] = ["spec"]
    schema[RULES] = [_of_name(each) for each in name[RULES]]
    return schema


def _of_name(rule: dict[str, str]) -> dict[str, str]:
    return {
        "rule": rule["rule"].replace("self", "self.metadata.name"),
        "message": f"metadata.name {rule['message']}",
    }
