"""The forms that texts may have: names, images, addresses, times.

A form with a message is checked twice by the same words: here by pydantic, and at the API server by
a CEL rule, for which CRDs keep `x-kubernetes-validations` beside a schema.
"""

import ipaddress
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BeforeValidator,
    Field,
    GetCoreSchemaHandler,
    WithJsonSchema,
)
from pydantic.annotated_handlers import GetJsonSchemaHandler
from pydantic.types import StringConstraints
from pydantic_core import core_schema

__all__ = [
    "RULES",
    "Form",
    "ImageReference",
    "IpAddress",
    "Ipv4Network",
    "LoadBalancerClass",
    "NamespaceName",
    "ObjectName",
    "Quantity",
    "ServiceName",
    "TcpPort",
    "Timestamp",
    "VariableName",
    "ip_address",
    "rfc3339",
]

RULES = "x-kubernetes-validations"

# The service becomes a Service of the same name, which takes an RFC 1035 label; a namespace takes
# the looser RFC 1123 label. Both end at DNS's 63 characters.
LABEL_CHARS_MAX = 63
# Names of most other objects are DNS names.
NAME_CHARS_MAX = 253
# A name of at most 255 characters, a tag of 128, `sha512:` and its 128 digits, two separators.
IMAGE_CHARS_MAX = 255 + 1 + 128 + 1 + 135
# The distribution project's grammar of references, without its anchors and groups.
_IMAGE = (
    r"([a-zA-Z0-9]([-a-zA-Z0-9.]*[a-zA-Z0-9])?(:[0-9]+)?/)?"
    r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*"
    r"(:[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,127})?(@[a-z0-9]+:[0-9a-f]{32,128})?"
)
_BYTE = "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
# As Kubernetes writes it for its own quantities.
_NUMBER = r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)"
_QUANTITY = rf"{_NUMBER}([KMGTPE]i|[numkMGTPE]|[eE]{_NUMBER})?"


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """A pattern for the whole text, in what Python's and Go's regular expressions share."""

    pattern: str
    message: str
    "What the text should be"

    def check(self, text: Any) -> Any:
        """Return the text if it has this form. Raises ValueError."""
        if not isinstance(text, str) or re.fullmatch(self.pattern, text):
            return text
        raise ValueError(self.message)

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        """Check after everything else."""
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """Say the same as a CEL rule."""
        rule = {"rule": f"self.matches(r'^({self.pattern})$')", "message": self.message}
        return {**handler(schema), RULES: [rule]}


def ipv4_network(text: str) -> str:
    """Return the network, if no address bit lies behind its prefix. Raises ValueError."""
    network = ipaddress.ip_network(text, strict=False)
    if str(network) != text:
        raise ValueError(f"has bits behind its prefix: write {network}")
    return text


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


def _timestamp(text: object) -> object:
    # YAML makes a datetime of an unquoted one; a number would be taken for seconds since 1970.
    if not isinstance(text, str | datetime):
        raise ValueError("should be a time such as 2024-11-16T16:29:14Z")  # noqa: TRY004
    return text


def _quantity(amount: object) -> object:
    return str(amount) if type(amount) is int else amount


_Label = Annotated[str, StringConstraints(min_length=1, max_length=LABEL_CHARS_MAX)]
_Name = Annotated[str, StringConstraints(min_length=1, max_length=NAME_CHARS_MAX)]

ServiceName = Annotated[
    _Label,
    Form(
        pattern=r"[a-z]([-a-z0-9]*[a-z0-9])?",
        message="should be lower-case letters, digits and '-', begin with a letter and end with a"
        " letter or digit (RFC 1035 label: it names the Service)",
    ),
]
NamespaceName = Annotated[
    _Label,
    Form(
        pattern=r"[a-z0-9]([-a-z0-9]*[a-z0-9])?",
        message="should be lower-case letters, digits and '-', begin and end with a letter or digit"
        " (RFC 1123 label)",
    ),
]
ObjectName = Annotated[
    _Name,
    Form(
        pattern=r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*",
        message="should be lower-case letters, digits, '-' and '.', begin and end with a letter or"
        " digit (RFC 1123 name)",
    ),
]
ImageReference = Annotated[
    str,
    StringConstraints(min_length=1, max_length=IMAGE_CHARS_MAX),
    Form(
        pattern=_IMAGE,
        message="should be an image reference such as registry.example/team/app:1.2",
    ),
]
LoadBalancerClass = Annotated[
    _Name,
    Form(
        pattern=r"([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[a-zA-Z0-9]([-a-zA-Z0-9_.]*[a-zA-Z0-9])?",
        message="should be a class such as metallb.example/internal",
    ),
]
Ipv4Network = Annotated[
    str,
    StringConstraints(max_length=18),
    Form(
        pattern=rf"{_BYTE}(\.{_BYTE}){{3}}/(3[0-2]|[12]?[0-9])",
        message="should be an IPv4 network such as 10.46.0.0/16 or 203.0.113.7/32",
    ),
    # Of no schema: Kubernetes before 1.31 has no rule for it.
    AfterValidator(ipv4_network),
]
VariableName = Annotated[
    _Name,
    Form(
        pattern=r"[^=\x00-\x1f\x7f]+",
        message="should be the name of a variable, without '=' and control characters",
    ),
]
# The one field that Kubernetes takes in two types: 1 and "250m".
Quantity = Annotated[
    str,
    StringConstraints(min_length=1, max_length=32),
    Form(pattern=_QUANTITY, message="should be a quantity such as 250m or 64Mi"),
    BeforeValidator(_quantity),
    WithJsonSchema(
        {
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "pattern": f"^({_QUANTITY})$",
            "x-kubernetes-int-or-string": True,
        }
    ),
]
IpAddress = Annotated[str, BeforeValidator(ip_address), Field(max_length=45)]
Timestamp = Annotated[AwareDatetime, BeforeValidator(_timestamp), Field(strict=False)]
# 0 is "any port" to bind() and no port to a client; 65535 is all that 16 bits hold.
TcpPort = Annotated[int, Field(ge=1, le=65535)]
