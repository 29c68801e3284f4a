"""Lists whose items are told apart by their names, as Kubernetes's `listType: map`."""

from dataclasses import dataclass
from typing import Any

from pydantic import GetCoreSchemaHandler
from pydantic.annotated_handlers import GetJsonSchemaHandler
from pydantic_core import core_schema

__all__ = ["Keyed"]


@dataclass(frozen=True, slots=True)
class Keyed:
    """No two items have the same `key`, and an apply merges them by it."""

    key: str

    def check(self, items: Any) -> Any:
        """Return the items. Raises ValueError where two have one name."""
        names = [getattr(each, self.key) for each in items]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"{self.key} {name!r} is given twice")
        return items

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        """Check after everything else."""
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """Say the same as Kubernetes does."""
        keys = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [self.key]}
        return {**handler(schema), **keys}
