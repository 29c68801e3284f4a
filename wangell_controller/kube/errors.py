"""What can go wrong at the API server, as this room tells it apart.

The official client raises one class with a status number, and its transport four others.
"""

import json
from typing import Any

__all__ = [
    "ConflictError",
    "ExistsError",
    "ForbiddenError",
    "GoneError",
    "KubeError",
    "NotFoundError",
    "RefusedError",
    "UnavailableError",
    "error_of",
]


class KubeError(Exception):
    """The API server did not do what it was asked. The message is its own."""

    is_passing = False
    "Whether the same request may succeed later, with nobody's help"


class UnavailableError(KubeError):
    """No answer, or one that says: not now. The request may have been carried out all the same."""

    is_passing = True


class ConflictError(KubeError):
    """The object has changed since the version that the request names."""

    is_passing = True


class ExistsError(KubeError):
    """An object of that name exists."""


class NotFoundError(KubeError):
    """There is no such object, or no such kind."""


class GoneError(KubeError):
    """The version is too old to follow from: list anew."""

    is_passing = True


class ForbiddenError(KubeError):
    """We may not: a rule is missing, or has not reached the API server yet."""

    is_passing = True


class RefusedError(KubeError):
    """The object is not valid, or a policy of the cluster refuses it."""


_BY_CODE: dict[int, type[KubeError]] = {
    401: ForbiddenError,
    403: ForbiddenError,
    404: NotFoundError,
    409: ConflictError,
    410: GoneError,
    429: UnavailableError,
}
_REASONS: dict[str, type[KubeError]] = {
    "AlreadyExists": ExistsError,
    "Expired": GoneError,
    "Gone": GoneError,
}
MESSAGE_CHARS_MAX = 1000


def error_of(code: int, body: bytes | dict[str, Any]) -> KubeError:
    """Return the error that an answer tells of: its Status, or whatever else it holds."""
    status = body if isinstance(body, dict) else _status(body)
    message = str(status.get("message") or f"status {code}")[:MESSAGE_CHARS_MAX]
    kind = _REASONS.get(str(status.get("reason"))) or _BY_CODE.get(code)
    if kind is None:
        kind = UnavailableError if code >= 500 or code == 408 else RefusedError
    return kind(message)


def _status(body: bytes) -> dict[str, Any]:
    try:
        status = json.loads(body)
    except ValueError:  # A proxy in between answers in its own words.
        return {"message": body.decode("utf-8", "replace").strip()}
    return status if isinstance(status, dict) else {}
