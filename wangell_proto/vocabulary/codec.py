"""Frozen dataclasses to msgpack maps and back, by their annotations.

A sender that is authenticated may still be broken or hostile, so decoding checks every type and
bound and raises one error, VocabularyError; unknown fields are ignored, for a newer peer may send
more. Shapes that annotations may take: bool, int, float, str, an enum of str, another dataclass,
tuple[X, ...] and X | None.
"""

import dataclasses
import enum
import functools
import math
import types
import typing
from typing import Any, TypeVar

import msgpack

__all__ = ["VocabularyError", "decode", "encode"]

T = TypeVar("T")

TEXT_CHARS_MAX = 1024  # The longest legal text is an error message; names are 253.
ITEMS_MAX = 4096  # A record lists endpoints; a Service of Kubernetes has at most some thousands.


class VocabularyError(ValueError):
    """Bytes that say nothing in this vocabulary. The message names the field."""


def encode(value: Any) -> bytes:
    """Return `value`, a dataclass of this vocabulary, as a msgpack map."""
    return typing.cast("bytes", msgpack.packb(_plain(value)))


def decode(shape: type[T], data: bytes) -> T:
    """Return the `shape` that `data` holds. Raises VocabularyError."""
    try:
        plain = msgpack.unpackb(data, max_ext_len=0, strict_map_key=True)
    except (ValueError, msgpack.UnpackException, RecursionError) as error:
        raise VocabularyError(f"{shape.__name__}: not msgpack: {error}") from error
    return typing.cast("T", _typed(shape, plain, shape.__name__))


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return {name: _plain(getattr(value, name)) for name in _hints(value.__class__)}
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value


@functools.cache
def _hints(shape: Any) -> dict[str, Any]:
    return typing.get_type_hints(shape)


def _typed(hint: Any, plain: Any, path: str) -> Any:
    if dataclasses.is_dataclass(hint):
        return _dataclass(hint, plain, path)
    origin = typing.get_origin(hint)
    if origin is tuple:
        return _items(typing.get_args(hint)[0], plain, path)
    if origin in (types.UnionType, typing.Union):
        inner = next(arm for arm in typing.get_args(hint) if arm is not type(None))
        return None if plain is None else _typed(inner, plain, path)
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return _member(hint, plain, path)
    return _scalar(hint, plain, path)


def _dataclass(shape: Any, plain: Any, path: str) -> Any:
    if not isinstance(plain, dict):
        raise VocabularyError(f"{path}: expected a map, got {type(plain).__name__}")
    values = {
        name: _typed(hint, plain[name], f"{path}.{name}")
        for name, hint in _hints(shape).items()
        if name in plain
    }
    try:
        return shape(**values)
    except TypeError as error:
        raise VocabularyError(f"{path}: {error}") from error


def _items(hint: Any, plain: Any, path: str) -> tuple[Any, ...]:
    if not isinstance(plain, list) or len(plain) > ITEMS_MAX:
        raise VocabularyError(f"{path}: expected a list of at most {ITEMS_MAX}")
    return tuple(_typed(hint, item, f"{path}[{index}]") for index, item in enumerate(plain))


def _member(hint: type[enum.Enum], plain: Any, path: str) -> enum.Enum:
    try:
        return hint(plain)
    except (ValueError, TypeError) as error:
        raise VocabularyError(f"{path}: not a {hint.__name__}") from error


def _scalar(hint: type, plain: Any, path: str) -> Any:
    # type(), not isinstance(): a bool is an int to Python and must not be one to a peer.
    exact = type(plain) is hint or (hint is float and type(plain) is int)
    if not exact or (hint is str and len(plain) > TEXT_CHARS_MAX) or not _is_finite(plain):
        raise VocabularyError(f"{path}: expected {hint.__name__}, got {type(plain).__name__}")
    return plain


def _is_finite(plain: Any) -> bool:
    return not isinstance(plain, float) or math.isfinite(plain)
