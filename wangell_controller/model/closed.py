"""What all parts of a manifest are."""

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

__all__ = ["Closed"]


class Closed(BaseModel):
    """Nothing beside the named fields, nothing converted (`port: "80"` is a mistake), no change.

    Fields have Kubernetes's names (camelCase) as aliases, so a path in an error is the path in the
    manifest; the text under a field is what `kubectl explain` says of it.
    """

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        alias_generator=to_camel,
        validate_by_name=False,
        use_attribute_docstrings=True,
    )
