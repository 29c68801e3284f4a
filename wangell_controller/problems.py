"""What pydantic found wrong, in words: `spec.port: should be a valid integer, got '80'`."""

import difflib
import typing
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ValidationError

__all__ = ["problems_of"]


def problems_of(shape: type[BaseModel], error: ValidationError) -> list[str]:
    """Return one line for each wrong field of a document that should have been a `shape`."""
    names = set(_field_names(shape))
    return [_problem(names, each) for each in error.errors(include_url=False)]


def _problem(names: set[str], error: Any) -> str:
    path = _path(error["loc"])
    kind, got = error["type"], _shown(error["input"])
    if kind == "missing":
        return f"{path}: missing; it is required"
    if kind == "extra_forbidden":
        near = difflib.get_close_matches(str(error["loc"][-1]), names, n=1)
        return f"{path}: no such field" + (f" (did you mean {near[0]}?)" if near else "")
    if kind in ("model_type", "dict_type"):
        return f"{path}: should be a map of fields, got {got}"
    message = error["msg"].removeprefix("Value error, ").removeprefix("Input ")
    return f"{path}: {message}, got {got}"


def _path(loc: tuple[int | str, ...]) -> str:
    steps = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in loc)
    # A key may be any text at all: what a terminal would obey is escaped, what is endless cut.
    return _shortened(steps.removeprefix(".").encode("unicode_escape").decode("ascii"))


def _field_names(shape: type[BaseModel]) -> Iterator[str]:
    for name, field in shape.model_fields.items():
        yield field.alias or name
        for inner in _models_in(field.annotation):
            yield from _field_names(inner)


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for arm in typing.get_args(annotation):
        yield from _models_in(arm)


def _shown(value: object) -> str:
    return _shortened(ascii(value))


def _shortened(text: str) -> str:
    return text if len(text) <= 100 else f"{text[:97]}..."
