"""How the server's container is to be run: the fields of Kubernetes's own containers, same names.

What Kubernetes itself will judge is not judged here twice: `valueFrom` and the pod template overlay
pass as they are, and what it says of them becomes a condition.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator
from pydantic.types import StringConstraints

from wangell_controller.model.closed import Closed
from wangell_controller.model.forms import RULES, ObjectName, Quantity, VariableName

__all__ = [
    "Argument",
    "EnvFromSource",
    "EnvVar",
    "ImagePullPolicy",
    "LocalObjectReference",
    "Opaque",
    "Resources",
    "Template",
]

# execve(2) takes no longer one (MAX_ARG_STRLEN); more of them than fields allow are no start
# command but data, which belongs into a ConfigMap.
ARGUMENT_CHARS_MAX = 128 * 1024

Argument = Annotated[str, StringConstraints(max_length=ARGUMENT_CHARS_MAX)]
ImagePullPolicy = Literal["Always", "IfNotPresent", "Never"]
# An object whose fields are Kubernetes's to know.
Opaque = Annotated[
    dict[str, Any], Field(json_schema_extra={"x-kubernetes-preserve-unknown-fields": True})
]
_Texts = Annotated[
    dict[Annotated[str, StringConstraints(max_length=317)], Annotated[str, Field(max_length=4096)]],
    Field(max_length=64),
]
SERVICE_LABEL = "wangell.loutres.me/service"
_OWN_LABEL = f"the label {SERVICE_LABEL} is the controller's own"


class EnvVar(Closed):
    """One environment variable."""

    model_config = ConfigDict(
        json_schema_extra={
            RULES: [
                {
                    "rule": "!(has(self.value) && has(self.valueFrom))",
                    "message": "should have value or valueFrom, not both",
                }
            ]
        }
    )

    name: VariableName
    "Name of the variable."
    value: Annotated[str, StringConstraints(max_length=ARGUMENT_CHARS_MAX)] | None = None
    "Its value; $(OTHER) is replaced by another variable's."
    value_from: Opaque | None = None
    "Where the value is: as in a container of Kubernetes (configMapKeyRef, secretKeyRef, fieldRef)."

    @model_validator(mode="after")
    def _has_one_value(self) -> Self:
        if self.value is not None and self.value_from is not None:
            raise ValueError("should have value or valueFrom, not both")
        return self


class LocalObjectReference(Closed):
    """An object of the same namespace."""

    name: ObjectName
    "Name of the object."


class EnvFromSource(Closed):
    """Every key of a ConfigMap or a Secret as a variable."""

    prefix: Annotated[str, StringConstraints(max_length=253)] | None = None
    "Put before each key."
    config_map_ref: Opaque | None = None
    "The ConfigMap: its name, and whether it is optional."
    secret_ref: Opaque | None = None
    "The Secret: its name, and whether it is optional."


_Amounts = Annotated[
    dict[Annotated[str, StringConstraints(max_length=253)], Quantity], Field(max_length=32)
]


class Resources(Closed):
    """What the container gets of its node."""

    limits: _Amounts | None = None
    "At most, such as {cpu: 500m, memory: 64Mi}."
    requests: _Amounts | None = None
    "At least; the scheduler finds a node that has it."


class TemplateMetadata(Closed):
    """Labels and annotations of the pods."""

    model_config = ConfigDict(
        json_schema_extra={
            RULES: [
                {
                    "rule": f"!has(self.labels) || !('{SERVICE_LABEL}' in self.labels)",
                    "message": _OWN_LABEL,
                }
            ]
        }
    )

    labels: _Texts | None = None
    "Beside the controller's own."
    annotations: _Texts | None = None
    "As they are."

    @model_validator(mode="after")
    def _leaves_our_label(self) -> Self:
        if self.labels and SERVICE_LABEL in self.labels:
            raise ValueError(_OWN_LABEL)
        return self


class Template(Closed):
    """Laid over the pods' template, for all that has no field of its own."""

    metadata: TemplateMetadata | None = None
    "Of the pods."
    spec: Opaque | None = None
    """Fields of a pod's spec. Lists whose items have names are merged by name; the name of the
    server's container is `server`."""
