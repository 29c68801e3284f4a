"""Frozen dataclasses to msgpack maps and back, by their annotations.

A sender that is authenticated may still be broken or hostile, so decoding checks every type and
bound and raises one error, VocabularyError; unknown fields are ignored, for a newer peer may send
more. Shapes that annotations may take: bool, int, float, str, an enum of str, another dataclass,
tuple[X, ...] and X | None.

Each shape is turned into functions once: a wake is encoded and decoded while a caller waits.
"""

import dataclasses
import enum
import functools
import math
import types
import typing
from collections.abc import Callable
from typing import Any, TypeVar

import msgpack

from wangell_proto.packing import pack

__all__ = ["VocabularyError", "decode", "encode"]

T = TypeVar("T")
Convert = Callable[[Any], Any]

TEXT_CHARS_MAX = 1024  # The longest legal text is an error message; names are 253.
ITEMS_MAX = 4096  # A record lists endpoints; a Service of Kubernetes has at most some thousands.


class VocabularyError(ValueError):
    """Bytes that say nothing in this vocabulary. The message names the field."""


def encode(value: Any) -> bytes:
    """Return `value`, a dataclass of this vocabulary, as a msgpack map."""
    return pack(_to_plain(value.__class__)(value))


def decode(shape: type[T], data: bytes) -> T:
    """Return the `shape` that `data` holds. Raises VocabularyError."""
    try:
        plain = msgpack.unpackb(data, max_ext_len=0, strict_map_key=True)
    except (ValueError, msgpack.UnpackException, RecursionError) as error:
        raise VocabularyError(f"{shape.__name__}: not msgpack: {error}") from error
    try:
        return typing.cast("T", _from_plain(typing.cast("Any", shape))(plain))
    except VocabularyError as error:
        raise _prefixed(shape.__name__, error) from error


@functools.cache
def _to_plain(hint: Any) -> Convert:
    if dataclasses.is_dataclass(hint):
        fields = [(name, _to_plain(inner)) for name, inner in typing.get_type_hints(hint).items()]
        return lambda value: {name: convert(getattr(value, name)) for name, convert in fields}
    if typing.get_origin(hint) is tuple:
        item = _to_plain(typing.get_args(hint)[0])
        return lambda value: [item(each) for each in value]
    if _is_optional(hint):
        inner = _to_plain(_arm_of(hint))
        return lambda value: None if value is None else inner(value)
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return lambda value: value.value
    return lambda value: value


@functools.cache
def _from_plain(hint: Any) -> Convert:
    if dataclasses.is_dataclass(hint):
        return _to_dataclass(hint)
    if typing.get_origin(hint) is tuple:
        return _to_tuple(_from_plain(typing.get_args(hint)[0]))
    if _is_optional(hint):
        inner = _from_plain(_arm_of(hint))
        return lambda plain: None if plain is None else inner(plain)
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return _to_member(hint)
    return _to_scalar(hint)


def _to_dataclass(shape: Any) -> Convert:
    fields = {name: _from_plain(inner) for name, inner in typing.get_type_hints(shape).items()}

    def convert(plain: Any) -> Any:
        if not isinstance(plain, dict):
            raise VocabularyError(f"expected a map, got {type(plain).__name__}")
        values = {}
        for name, value in plain.items():
            if name in fields:
                try:
                    values[name] = fields[name](value)
                except VocabularyError as error:
                    raise _prefixed(f".{name}", error) from error
        try:
            return shape(**values)
        except TypeError as error:
            raise VocabularyError(str(error)) from error

    return convert


def _to_tuple(item: Convert) -> Convert:
    def convert(plain: Any) -> tuple[Any, ...]:
        if not isinstance(plain, list) or len(plain) > ITEMS_MAX:
            raise VocabularyError(f"expected a list of at most {ITEMS_MAX}")
        return tuple(_at(index, item, each) for index, each in enumerate(plain))

    return convert


def _at(index: int, item: Convert, plain: Any) -> Any:
    try:
        return item(plain)
    except VocabularyError as error:
        raise _prefixed(f"[{index}]", error) from error


def _to_member(hint: type[enum.Enum]) -> Convert:
    def convert(plain: Any) -> enum.Enum:
        try:
            return hint(plain)
        except (ValueError, TypeError) as error:
            raise VocabularyError(f"not a {hint.__name__}") from error

    return convert


def _to_scalar(hint: type) -> Convert:
    def convert(plain: Any) -> Any:
        # type(), not isinstance(): a bool is an int to Python and must not be one to a peer.
        kind = type(plain)
        if kind is hint and (kind is not str or len(plain) <= TEXT_CHARS_MAX):
            if kind is not float or math.isfinite(plain):
                return plain
        elif hint is float and kind is int:
            return plain
        raise VocabularyError(f"expected {hint.__name__}, got {kind.__name__}")

    return convert


def _is_optional(hint: Any) -> bool:
    return typing.get_origin(hint) in (types.UnionType, typing.Union)


def _arm_of(hint: Any) -> Any:
    return next(arm for arm in typing.get_args(hint) if arm is not type(None))


def _prefixed(path: str, error: VocabularyError) -> VocabularyError:
    """The path grows from the inside: `.port: expected int` becomes `Wake.port: expected int`."""
    text = str(error)
    joint = "" if text.startswith((".", "[")) else ": "
    return VocabularyError(f"{path}{joint}{text}")
