"""Every answer that is no success becomes one error that says whether it passes."""

import json

import pytest

from wangell_controller.kube.errors import (
    MESSAGE_CHARS_MAX,
    ConflictError,
    ExistsError,
    ForbiddenError,
    GoneError,
    KubeError,
    NotFoundError,
    RefusedError,
    UnavailableError,
    error_of,
)


@pytest.mark.parametrize(
    ("code", "reason", "kind", "is_passing"),
    [
        (400, "BadRequest", RefusedError, False),
        (401, "Unauthorized", ForbiddenError, True),
        (403, "Forbidden", ForbiddenError, True),
        (404, "NotFound", NotFoundError, False),
        (405, "MethodNotAllowed", RefusedError, False),
        (408, "Timeout", UnavailableError, True),
        (409, "AlreadyExists", ExistsError, False),
        (409, "Conflict", ConflictError, True),
        (410, "Expired", GoneError, True),
        (410, "Gone", GoneError, True),
        (413, "RequestEntityTooLarge", RefusedError, False),
        (415, "UnsupportedMediaType", RefusedError, False),
        (422, "Invalid", RefusedError, False),
        (429, "TooManyRequests", UnavailableError, True),
        (500, "InternalError", UnavailableError, True),
        (503, "ServiceUnavailable", UnavailableError, True),
        (504, "Timeout", UnavailableError, True),
    ],
)
def test_each_answer_has_its_error(
    code: int, reason: str, kind: type[KubeError], is_passing: bool
) -> None:
    error = error_of(code, json.dumps({"reason": reason, "message": "what it says"}).encode())
    assert type(error) is kind
    assert error.is_passing is is_passing
    assert str(error) == "what it says"


def test_a_watch_tells_errors_as_objects() -> None:
    error = error_of(410, {"kind": "Status", "reason": "Expired", "message": "too old"})
    assert (type(error), str(error)) == (GoneError, "too old")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"upstream connect error\n", "upstream connect error"),
        (b"", ""),
        (b"[1, 2]", "status 502"),
        (b'"text"', "status 502"),
        (b"{}", "status 502"),
        (b"\xff\xfe", "��"),
    ],
)
def test_a_proxy_that_answers_in_its_own_words_is_quoted(body: bytes, message: str) -> None:
    error = error_of(502, body)
    assert type(error) is UnavailableError
    assert str(error) in (message, "status 502")


def test_a_message_without_end_has_one() -> None:
    assert len(str(error_of(500, b"x" * 100_000))) == MESSAGE_CHARS_MAX
