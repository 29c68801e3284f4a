"""The keys of the peer protocol: one line of base64 a key, 32 bytes each."""

import base64
import binascii
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

__all__ = [
    "PRIVATE",
    "PUBLIC",
    "SHARED",
    "KeyFileError",
    "Keys",
    "generate_keys",
    "new_keys",
    "read_key",
    "read_keys",
    "read_psks",
]

KEY_BYTES = 32
# The old one and the new one.
PSKS_MAX = 2
PRIVATE, PUBLIC, SHARED = "controller.key", "controller.pub", "psk"


class KeyFileError(ValueError):
    """A key file is missing, is no key, or would be overwritten. The message has the remedy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """A controller's."""

    private_key: bytes = field(repr=False)
    "X25519: whoever holds it can pose as the controller"
    psks: tuple[bytes, ...] = field(repr=False)
    "Pre-shared with all daemons: it admits, and proves nothing else. Two while it is rotated"


def new_keys() -> dict[str, str]:
    """Return a private key, its public half for the daemons, and a pre-shared key, as texts."""
    private = X25519PrivateKey.generate()
    keys = {
        PRIVATE: private.private_bytes_raw(),
        PUBLIC: private.public_key().public_bytes_raw(),
        SHARED: secrets.token_bytes(KEY_BYTES),
    }
    return {name: base64.b64encode(key).decode("ascii") + "\n" for name, key in keys.items()}


def read_key(text: str, where: str) -> bytes:
    """Return the key that a text holds. Raises KeyFileError, which says `where`."""
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError) as error:
        raise KeyFileError(f"{where}: not a key: expected one line of base64") from error
    if len(key) != KEY_BYTES:
        raise KeyFileError(f"{where}: not a key: {len(key)} bytes, expected {KEY_BYTES}")
    return key


def read_psks(text: str, where: str) -> tuple[bytes, ...]:
    """Return the pre-shared keys of a text, one a line. Raises KeyFileError."""
    lines = text.split()
    if len(lines) > PSKS_MAX:
        raise KeyFileError(f"{where}: {len(lines)} keys: while one is rotated there are {PSKS_MAX}")
    return tuple(read_key(line, where) for line in lines or [""])


def generate_keys(directory: Path) -> list[Path]:
    """Write new keys. Raises KeyFileError where one of them is there already, and writes none."""
    contents = new_keys()
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    paths = [directory / name for name in contents]
    for path in paths:
        if path.exists():
            raise KeyFileError(
                f"{path} is there already, and daemons may trust it: remove it first, or choose"
                " another directory"
            )
    for path, text in zip(paths, contents.values(), strict=True):
        _write(path, text)
    return paths


def read_keys(directory: Path) -> Keys:
    """Return the keys that a controller needs. Raises KeyFileError."""
    private, shared = directory / PRIVATE, directory / SHARED
    return Keys(
        private_key=read_key(_read(private), str(private)),
        psks=read_psks(_read(shared), str(shared)),
    )


def _write(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(descriptor, "w", encoding="ascii") as file:  # noqa: PTH123 (a descriptor)
        file.write(text)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except UnicodeDecodeError as error:
        raise KeyFileError(f"{path}: not a key: expected one line of base64") from error
    except OSError as error:
        raise KeyFileError(
            f"{path}: {error.strerror}: make keys with `wangell-controller keygen {path.parent}`"
        ) from error
