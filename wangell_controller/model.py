"""The WangellService as users declare it: exactly the published manifest, and nothing beside it.

Fields have Kubernetes's names (camelCase) as aliases, so a path in an error is the path in the
manifest.
"""

import ipaddress
import re
from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel
from pydantic.types import StringConstraints

__all__ = [
    "Metadata",
    "Spec",
    "Status",
    "WangellService",
    "ip_address",
    "rfc3339",
]

# The service becomes a Service of the same name, which takes an RFC 1035 label; a namespace takes
# the looser RFC 1123 label. Both end at DNS's 63 characters.
LABEL_CHARS_MAX = 63
_RFC1035_LABEL = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_RFC1123_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")

# A name of at most 255 characters, a tag of 128, `sha512:` and its 128 digits, two separators.
IMAGE_CHARS_MAX = 255 + 1 + 128 + 1 + 135
# The distribution project's grammar of references, without its anchors and groups.
_IMAGE = re.compile(
    r"([a-zA-Z0-9]([-a-zA-Z0-9.]*[a-zA-Z0-9])?(:[0-9]+)?/)?"
    r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*"
    r"(:\w[\w.-]{0,127})?(@[a-z0-9]+:[0-9a-f]{32,128})?",
    re.ASCII,
)

# Daemons report once a second, so nothing shorter can be seen. Longer than a year is a slip of
# units (milliseconds), not a wish.
IDLE_TIMEOUT_S_MIN = 1
IDLE_TIMEOUT_S_MAX = 366 * 24 * 3600


def rfc3339(moment: datetime) -> str:
    """Return the moment as Kubernetes writes one: `2024-11-16T16:29:14Z`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def ip_address(text: object) -> str:
    """Return an IPv4 or IPv6 address in its canonical text. Raises ValueError."""
    if not isinstance(text, str):  # A number is an address to Python: 80 is 0.0.0.80.
        raise ValueError("should be an IP address in quotes")  # noqa: TRY004 (pydantic's way)
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise ValueError("should be an IPv4 or IPv6 address such as 10.46.100.105") from None


def _service_name(text: str) -> str:
    if not _RFC1035_LABEL.fullmatch(text):
        raise ValueError(
            "should be lower-case letters, digits and '-', begin with a letter and end with"
            " a letter or digit (RFC 1035 label: it names the Service)"
        )
    return text


def _namespace_name(text: str) -> str:
    if not _RFC1123_LABEL.fullmatch(text):
        raise ValueError(
            "should be lower-case letters, digits and '-', begin and end with a letter or digit"
            " (RFC 1123 label)"
        )
    return text


def _image_reference(text: str) -> str:
    if not _IMAGE.fullmatch(text):
        raise ValueError("should be an image reference such as registry.example/team/app:1.2")
    return text


def _timestamp(text: object) -> object:
    # YAML makes a datetime of an unquoted one; a number would be taken for seconds since 1970.
    if not isinstance(text, str | datetime):
        raise ValueError("should be a time such as 2024-11-16T16:29:14Z")  # noqa: TRY004
    return text


_Label = Annotated[str, StringConstraints(min_length=1, max_length=LABEL_CHARS_MAX)]
ServiceName = Annotated[_Label, AfterValidator(_service_name)]
NamespaceName = Annotated[_Label, AfterValidator(_namespace_name)]
ImageReference = Annotated[
    str,
    StringConstraints(min_length=1, max_length=IMAGE_CHARS_MAX),
    AfterValidator(_image_reference),
]
IpAddress = Annotated[str, BeforeValidator(ip_address)]
Timestamp = Annotated[AwareDatetime, BeforeValidator(_timestamp), Field(strict=False)]
# 0 is "any port" to bind() and no port to a client; 65535 is all that 16 bits hold.
TcpPort = Annotated[int, Field(ge=1, le=65535)]


class _Closed(BaseModel):
    """Nothing beside the named fields, nothing converted (`port: "80"` is a mistake), no change."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, alias_generator=to_camel, validate_by_name=False
    )


class Metadata(_Closed):
    """Which service it is."""

    name: ServiceName
    namespace: NamespaceName = "default"


class Spec(_Closed):
    """What the user asks for."""

    idle_timeout_s: Annotated[
        int, Field(alias="idleTimeout", ge=IDLE_TIMEOUT_S_MIN, le=IDLE_TIMEOUT_S_MAX)
    ]
    "Seconds without a packet after which the service goes to zero"
    image: ImageReference
    "What to start"
    target_port: TcpPort
    "Port the server listens on"
    port: TcpPort
    "Port that callers use"


class Status(_Closed):
    """What the controller has seen. Read from a manifest it is checked, and otherwise ignored."""

    latest_request: Timestamp | None = None
    "When a caller's packet was last seen"
    load_balancer_ip: Annotated[IpAddress | None, Field(alias="loadBalancerIP")] = None
    "The address that callers use"
    replicas: Annotated[int, Field(ge=0)] = 0
    "Replicas asked for: 0 or 1"


class WangellService(_Closed):
    """A TCP service that goes to zero and is woken by the first SYN."""

    api_version: Literal["wangell.loutres.me/v1alpha1"]
    kind: Literal["WangellService"]
    metadata: Metadata
    spec: Spec
    status: Status | None = None

    @property
    def key(self) -> str:
        """`namespace/name`, as the table and the logs have it."""
        return f"{self.metadata.namespace}/{self.metadata.name}"
