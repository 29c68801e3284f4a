"""Key files, as `wangell-controller keygen` writes them: one line of base64 a key, 32 bytes."""

import base64
from pathlib import Path

__all__ = ["KeyFileError", "read_key", "read_psks"]

KEY_BYTES = 32
# The old one and the new one.
PSKS_MAX = 2


class KeyFileError(ValueError):
    """A key file is missing, or holds no key."""


def read_key(path: Path) -> bytes:
    """Return the key in `path`. Raises KeyFileError."""
    return _decoded(_read(path).strip(), path)


def read_psks(path: Path) -> tuple[bytes, ...]:
    """Return the pre-shared keys in `path`: one, or two while it is rotated, the new one first.

    Raises KeyFileError.
    """
    lines = _read(path).split()
    if len(lines) > PSKS_MAX:
        raise KeyFileError(f"{path}: {len(lines)} keys: while one is rotated there are {PSKS_MAX}")
    return tuple(_decoded(line, path) for line in lines or [""])


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError as error:
        raise KeyFileError(
            f"{path}: {error.strerror}. Make keys with: wangell-controller keygen {path.parent}"
        ) from error
    except ValueError as error:
        raise KeyFileError(f"{path}: not a key: expected one line of base64") from error


def _decoded(line: str, path: Path) -> bytes:
    try:
        key = base64.b64decode(line, validate=True)
    except ValueError as error:
        raise KeyFileError(f"{path}: not a key: expected one line of base64") from error
    if len(key) != KEY_BYTES:
        raise KeyFileError(f"{path}: not a key: {len(key)} bytes, expected {KEY_BYTES}")
    return key
