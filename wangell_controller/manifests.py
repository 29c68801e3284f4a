"""Reads models from files: all that is wrong in all the files at once, or nothing wrong at all."""

from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from wangell_controller.documents import Document, read_documents
from wangell_controller.model import WangellService
from wangell_controller.problems import problems_of

__all__ = ["ManifestError", "read_manifests", "read_model"]

M = TypeVar("M", bound=BaseModel)

# More would tell nobody more.
PROBLEMS_SHOWN_MAX = 50


class ManifestError(ValueError):
    """Files that are not what they should be. One line for each problem: where, what, remedy."""


def read_manifests(paths: Iterable[Path]) -> dict[str, WangellService]:
    """Return the services that the files declare, by `namespace/name`. Raises ManifestError."""
    services: dict[str, WangellService] = {}
    origins: dict[str, str] = {}
    problems: list[str] = []
    for document in read_documents(paths, problems):
        service = _validated(WangellService, document, problems)
        if service is None:
            continue
        earlier = origins.setdefault(service.key, document.origin)
        if service.key in services:
            problems.append(
                f"{document.origin}: {service.key} is in {earlier} too: rename or remove one"
            )
        services[service.key] = service
    _raise_all(problems)
    return services


def read_model(path: Path, shape: type[M]) -> M:
    """Return the model that the file's one document holds. Raises ManifestError."""
    problems: list[str] = []
    documents = list(read_documents([path], problems))
    if len(documents) > 1:
        problems.append(f"{path}: expected one document, found {len(documents)}")
    models = [_validated(shape, document, problems) for document in documents]
    _raise_all(problems)
    assert models[0] is not None
    return models[0]


def _validated(shape: type[M], document: Document, problems: list[str]) -> M | None:
    if not isinstance(document.content, dict):
        kind = type(document.content).__name__
        problems.append(f"{document.origin}: expected a map of fields, got {kind}")
        return None
    try:
        return shape.model_validate(document.content)
    except ValidationError as error:
        problems.extend(f"{document.origin}: {each}" for each in problems_of(shape, error))
        return None


def _raise_all(problems: list[str]) -> None:
    if not problems:
        return
    shown = problems[:PROBLEMS_SHOWN_MAX]
    if len(problems) > len(shown):
        shown.append(f"... and {len(problems) - len(shown)} more")
    raise ManifestError("\n".join(shown))
