"""Key files: one line of base64, or an error that says what to do."""

import base64
from pathlib import Path

import pytest

from wangell_daemon.keys import KeyFileError, read_key, read_psks

KEY = bytes(range(32))


@pytest.mark.parametrize("end", ["", "\n", "\r\n", "  \n\n"])
def test_a_key_is_read_whatever_its_line_ends_with(tmp_path: Path, end: str) -> None:
    path = tmp_path / "psk"
    path.write_text(base64.b64encode(KEY).decode() + end)
    assert read_key(path) == KEY


def test_a_missing_key_names_the_command_that_makes_one(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match=f"wangell-controller keygen {tmp_path}"):
        read_key(tmp_path / "psk")


def test_a_directory_is_no_key(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="Is a directory"):
        read_key(tmp_path)


@pytest.mark.parametrize(
    ("what", "content"),
    [
        ("nothing", b""),
        ("a word", b"secret"),
        ("hexadecimal, which is base64 of another length", KEY.hex().encode()),
        ("raw bytes", KEY + b"\xff\xfe"),
        ("a letter that is not ASCII", "é".encode() * 44),
        ("a key cut short", base64.b64encode(KEY[:31])),
        ("a key too long", base64.b64encode(KEY + b"\0")),
        ("two keys", base64.b64encode(KEY) + b"\n" + base64.b64encode(KEY)),
        ("URL-safe base64", base64.urlsafe_b64encode(b"\xff" * 32)),
        ("a PEM file", b"-----BEGIN PRIVATE KEY-----\nMC4=\n-----END PRIVATE KEY-----\n"),
    ],
)
def test_what_is_no_key_is_refused_and_not_repeated(
    tmp_path: Path, what: str, content: bytes
) -> None:
    path = tmp_path / "psk"
    path.write_bytes(content)
    with pytest.raises(KeyFileError, match=f"{path}: not a key") as refused:
        read_key(path)
    # It may be a key that somebody mistyped: the log is no place for it.
    if len(content) > 8:
        assert content.decode(errors="replace") not in str(refused.value)


def test_a_psk_is_two_while_it_is_rotated(tmp_path: Path) -> None:
    path, other = tmp_path / "psk", bytes(32)
    path.write_text("\n".join(base64.b64encode(key).decode() for key in (other, KEY)) + "\n")
    assert read_psks(path) == (other, KEY), "in their order: the first is shown"


@pytest.mark.parametrize(("count", "said"), [(0, "not a key"), (3, "3 keys")])
def test_it_is_not_none_and_not_three(tmp_path: Path, count: int, said: str) -> None:
    path = tmp_path / "psk"
    path.write_text("\n".join([base64.b64encode(KEY).decode()] * count))
    with pytest.raises(KeyFileError, match=f"{path}: {said}"):
        read_psks(path)
