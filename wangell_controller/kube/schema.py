"""From pydantic's JSON schema to the structural schema that Kubernetes takes. Pure.

Structural means: each field has one type, nothing refers to elsewhere, and `null` is no value but
the absence of one.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

__all__ = ["structural_schema"]

Schema = dict[str, Any]

# What pydantic says that Kubernetes does not take: it refuses unknown fields by itself.
_DROPPED = ("title", "propertyNames", "$defs")
_INT32_MAX = 2**31 - 1


def structural_schema(shape: type[BaseModel]) -> Schema:
    """Return the schema of a model, fields under their aliases."""
    schema = shape.model_json_schema(by_alias=True)
    return _structural(schema, schema.get("$defs", {}))


def _structural(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Schema:
    found = _one_type(_resolved(schema, definitions), definitions)
    for name in _DROPPED:
        found.pop(name, None)
    if found.get("default", ...) is None:
        del found["default"]
    if "const" in found:
        found["enum"] = [found.pop("const")]
    if "description" in found:
        found["description"] = " ".join(found["description"].split())
    if found.get("type") == "integer":
        found["format"] = "int32" if found.get("maximum", _INT32_MAX + 1) <= _INT32_MAX else "int64"
    _descend(found, definitions)
    return found


def _resolved(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Schema:
    """Put what is referred to in its place; what a field says of itself comes first."""
    found = dict(schema)
    reference = found.pop("$ref", None)
    if reference is None:
        return found
    return {**definitions[reference.rpartition("/")[2]], **found}


def _one_type(schema: Schema, definitions: Mapping[str, Any]) -> Schema:
    if "x-kubernetes-int-or-string" in schema:
        return schema
    arms = [each for each in schema.pop("anyOf", ()) if each.get("type") != "null"]
    if not arms:
        return schema
    assert len(arms) == 1, "a field of Kubernetes has one type"
    return {**_resolved(arms[0], definitions), **schema}


def _descend(schema: Schema, definitions: Mapping[str, Any]) -> None:
    if "properties" in schema:
        schema["properties"] = {
            name: _structural(each, definitions) for name, each in schema["properties"].items()
        }
    if "items" in schema:
        schema["items"] = _structural(schema["items"], definitions)
    values = schema.pop("additionalProperties", False)
    if isinstance(values, dict):
        schema["additionalProperties"] = _structural(values, definitions)
