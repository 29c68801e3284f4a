"""Key files, as `wangell-controller keygen` writes them: one line of base64, 32 bytes."""

import base64
from pathlib import Path

__all__ = ["KeyFileError", "read_key"]

KEY_BYTES = 32


class KeyFileError(ValueError):
    """A key file is missing, or holds no key."""


def read_key(path: Path) -> bytes:
    """Return the key in `path`. Raises KeyFileError."""
    try:
        key = base64.b64decode(path.read_text().strip(), validate=True)
    except OSError as error:
        raise KeyFileError(
            f"{path}: {error.strerror}. Make keys with: wangell-controller keygen {path.parent}"
        ) from error
    except ValueError as error:
        raise KeyFileError(f"{path}: not a key: expected one line of base64") from error
    if len(key) != KEY_BYTES:
        raise KeyFileError(f"{path}: not a key: {len(key)} bytes, expected {KEY_BYTES}")
    return key
