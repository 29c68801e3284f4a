"""The WangellService: the published manifest, and what a cluster asks for beside it."""

from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from wangell_controller.model.closed import Closed
from wangell_controller.model.container import (
    Argument,
    EnvFromSource,
    EnvVar,
    ImagePullPolicy,
    LocalObjectReference,
    Resources,
    Template,
)
from wangell_controller.model.forms import (
    RULES,
    ImageReference,
    IpAddress,
    Ipv4Network,
    LoadBalancerClass,
    NamespaceName,
    ObjectName,
    ServiceName,
    TcpPort,
    Timestamp,
)
from wangell_controller.model.lists import Keyed

__all__ = [
    "ACTIVATION_TIMEOUT_S",
    "Condition",
    "Metadata",
    "ServiceType",
    "Spec",
    "Status",
    "WangellService",
]

# Daemons report once a second, so nothing shorter can be seen. Longer than a year is a slip of
# units (milliseconds), not a wish.
IDLE_TIMEOUT_S_MIN = 1
IDLE_TIMEOUT_S_MAX = 366 * 24 * 3600
# Below 1 s no container starts; nobody's client waits for an hour.
ACTIVATION_TIMEOUT_S_MAX = 3600
ACTIVATION_TIMEOUT_S = 60
# A record has a line of some 100 bytes for each replica, and may have 56,000 bytes.
REPLICAS_MAX = 250

ServiceType = Literal["LoadBalancer", "NodePort", "ClusterIP"]
# As many as a record's frontend may have: see SOURCES_MAX there.
SOURCE_RANGES_MAX = 64
_RANGES_OF_A_BALANCER = (
    "loadBalancerSourceRanges is for serviceType LoadBalancer alone: leave it out"
)
_CLASS_OF_A_BALANCER = "loadBalancerClass is for serviceType LoadBalancer alone: leave it out"


class Metadata(Closed):
    """Which service it is."""

    name: ServiceName
    "The Deployment and the Service have it, too."
    namespace: NamespaceName = "default"
    "Where they are."


class Spec(Closed):
    """What the user asks for."""

    model_config = ConfigDict(
        json_schema_extra={
            RULES: [
                {
                    "rule": "!has(self.loadBalancerClass) || self.serviceType == 'LoadBalancer'",
                    "message": _CLASS_OF_A_BALANCER,
                },
                {
                    "rule": "!has(self.loadBalancerSourceRanges)"
                    " || self.serviceType == 'LoadBalancer'",
                    "message": _RANGES_OF_A_BALANCER,
                },
                {
                    # Kubernetes refuses to change a Service's class, and would at every apply.
                    "rule": "self.serviceType != oldSelf.serviceType"
                    " || has(self.loadBalancerClass) == has(oldSelf.loadBalancerClass)"
                    " && (!has(self.loadBalancerClass)"
                    " || self.loadBalancerClass == oldSelf.loadBalancerClass)",
                    "message": "loadBalancerClass cannot change: delete the service and create it",
                },
            ]
        }
    )

    idle_timeout_s: Annotated[
        int, Field(alias="idleTimeout", ge=IDLE_TIMEOUT_S_MIN, le=IDLE_TIMEOUT_S_MAX)
    ]
    "Seconds without a packet after which the service goes to zero."
    image: ImageReference
    "What to start."
    target_port: TcpPort
    "Port the server listens on."
    port: TcpPort
    "Port that callers use."
    replicas: Annotated[int, Field(ge=0, le=REPLICAS_MAX)] = 0
    """Replicas that run even while nobody calls. 0 lets the service go to zero, and a call raises
    it to 1. This is what `kubectl scale` sets: 1 wakes the service and keeps it awake, 0 puts it
    to sleep as soon as no connection lives."""
    activation_timeout_s: Annotated[
        int, Field(alias="activationTimeout", ge=1, le=ACTIVATION_TIMEOUT_S_MAX)
    ] = ACTIVATION_TIMEOUT_S
    "Seconds from a wake to the server's listening, after which callers are refused."
    service_type: ServiceType = "LoadBalancer"
    "Type of the Service that callers use."
    load_balancer_class: LoadBalancerClass | None = None
    "Which load balancer gives the address; the cluster's own if it is left out."
    load_balancer_source_ranges: (
        Annotated[list[Ipv4Network], Field(min_length=1, max_length=SOURCE_RANGES_MAX)] | None
    ) = None
    """Who may call by the load balancer's address: others wake nothing and reach nothing. Everybody
    if it is left out. By ClusterIP and node port everybody may, as with any Service."""
    command: Annotated[list[Argument], Field(max_length=1024)] | None = None
    "In place of the image's entrypoint."
    args: Annotated[list[Argument], Field(max_length=1024)] | None = None
    "In place of the image's arguments."
    env: Annotated[list[EnvVar], Field(max_length=1024), Keyed("name")] | None = None
    "Environment variables."
    env_from: Annotated[list[EnvFromSource], Field(max_length=64)] | None = None
    "ConfigMaps and Secrets whose keys become environment variables."
    resources: Resources | None = None
    "What the container gets of its node."
    image_pull_policy: ImagePullPolicy = "IfNotPresent"
    """When a node pulls the image. Kubernetes's own default for the tag latest is Always: every
    wake would wait for the registry, and fail with it."""
    image_pull_secrets: (
        Annotated[list[LocalObjectReference], Field(max_length=32), Keyed("name")] | None
    ) = None
    "Secrets to pull the image with."
    service_account_name: ObjectName | None = None
    """Who the pods are to the API server. Their token is mounted only where the template says
    `automountServiceAccountToken: true`: it costs a start 300 ms."""
    template: Template | None = None
    "Laid over the pods' template, for all that has no field of its own."

    @model_validator(mode="after")
    def _has_a_balancer_for_its_class(self) -> Self:
        if self.load_balancer_class is not None and self.service_type != "LoadBalancer":
            raise ValueError(_CLASS_OF_A_BALANCER)
        return self

    @model_validator(mode="after")
    def _has_a_balancer_for_its_ranges(self) -> Self:
        if self.load_balancer_source_ranges is not None and self.service_type != "LoadBalancer":
            raise ValueError(_RANGES_OF_A_BALANCER)
        return self


class Condition(Closed):
    """One thing that is so, is not so, or is not known, and since when."""

    type: Annotated[str, Field(min_length=1, max_length=316)]
    """What is said: Ready, Active, AddressAssigned, ActivationFailed, ScaleDownBlocked or
    Unsupported."""
    status: Literal["True", "False", "Unknown"]
    "Whether it is so."
    observed_generation: Annotated[int, Field(ge=0)] | None = None
    "The metadata.generation for which this was found."
    last_transition_time: Timestamp
    "When the status last became another."
    reason: Annotated[str, Field(min_length=1, max_length=1024)]
    "Why, in one word; where it is Kubernetes's word, such as ImagePullBackOff, it is left so."
    message: Annotated[str, Field(max_length=32768)]
    "Why, for people."


class Status(Closed):
    """What the controller has seen. Read from a manifest it is checked, and otherwise ignored."""

    latest_request: Timestamp | None = None
    "When a caller's packet was last seen."
    load_balancer_ip: Annotated[IpAddress | None, Field(alias="loadBalancerIP")] = None
    "The address that callers use."
    replicas: Annotated[int, Field(ge=0)] = 0
    "Replicas asked for."
    address: Annotated[str, Field(max_length=320)] | None = None
    "Address and port that callers use, as one writes them behind http://."
    phase: Literal["Cold", "Waking", "Warm", "Draining"] | None = None
    "Where the service is between zero and warm."
    reason: Annotated[str, Field(max_length=1024)] | None = None
    "Why it is in this phase."
    awake: Annotated[str, Field(max_length=1024)] | None = None
    """Why it is not let go to zero, while it is warm: a packet, connections, a daemon that is
    silent. Written within 10 s."""
    activations: Annotated[int, Field(ge=0)] | None = None
    "How often it was raised from zero."
    selector: Annotated[str, Field(max_length=1024)] | None = None
    "Selects the service's pods, for `kubectl scale` and autoscalers."
    observed_generation: Annotated[int, Field(ge=0)] | None = None
    "The metadata.generation that the controller has acted on."
    conditions: Annotated[list[Condition], Field(max_length=16), Keyed("type")] | None = None
    "What is so of the service."


class WangellService(Closed):
    """A TCP service that goes to zero and is woken by the first SYN."""

    api_version: Literal["wangell.loutres.me/v1alpha1"]
    kind: Literal["WangellService"]
    metadata: Metadata
    spec: Spec
    "What the user asks for."
    status: Status | None = None
    "What the controller has seen."

    @property
    def key(self) -> str:
        """`namespace/name`, as the table and the logs have it."""
        return f"{self.metadata.namespace}/{self.metadata.name}"
