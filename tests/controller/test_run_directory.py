"""What survives a restart: numbers that only grow, and keys that nobody overwrites."""

import base64
import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from wangell_controller.files import replace_file
from wangell_controller.keys import KeyFileError, generate_keys, read_keys
from wangell_controller.run_directory import RunDirectory, RunDirectoryError


def opened(path: Path, *, now: float = 0.0) -> RunDirectory:
    return RunDirectory(path, wall_clock=lambda: now)


# --- Epoch and activations -------------------------------------------------------------------


def test_epochs_grow_with_every_life(tmp_path: Path) -> None:
    epochs = []
    for now in (1000.0, 1000.0, 1000.9, 2000.0, 500.0):  # A clock may be set back.
        directory = opened(tmp_path, now=now)
        epochs.append(directory.next_epoch())
    assert epochs == [1000, 1001, 1002, 2000, 2001]


def test_epochs_grow_even_where_the_directory_was_lost(tmp_path: Path) -> None:
    first = opened(tmp_path / "a", now=1_700_000_000)
    second = opened(tmp_path / "b", now=1_700_000_060)
    assert second.next_epoch() > first.next_epoch()


def test_activations_come_back_as_they_were_saved(tmp_path: Path) -> None:
    directory = opened(tmp_path)
    assert directory.activations() == {}
    directory.save_activations({"default/a": 3, "default/b": 2**53})
    again = opened(tmp_path)
    assert again.activations() == {"default/a": 3, "default/b": 2**53}


@pytest.mark.parametrize("text", ["{", "[]", '{"a": "1"}', '{"a": 1.5}', '{"a": true}', "\udcff"])
def test_what_no_controller_wrote_says_so(tmp_path: Path, text: str) -> None:
    (tmp_path / "activations.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    directory = opened(tmp_path)
    with pytest.raises(RunDirectoryError, match=r"activations\.json: not .*: remove it"):
        directory.activations()
    (tmp_path / "epoch").write_text("soon")
    with pytest.raises(RunDirectoryError, match="epoch: not a number: remove it"):
        directory.next_epoch()


def test_it_is_made_for_its_owner_alone_and_known_by_one_name(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    directory = opened(tmp_path / "link" / "deep" / "run")
    assert directory.path == tmp_path / "deep" / "run"
    assert directory.path.stat().st_mode & 0o777 == 0o700


# --- Files -----------------------------------------------------------------------------------


def test_a_file_is_replaced_whole_and_leaves_no_draft(tmp_path: Path) -> None:
    file = tmp_path / "status"
    file.write_text("old")
    old = file.open()
    replace_file(file, "new", mode=0o644)
    assert old.read() == "old", "who reads has the old one to its end"
    old.close()
    assert file.read_text() == "new"
    assert file.stat().st_mode & 0o777 == 0o644
    assert list(tmp_path.iterdir()) == [file]


def test_what_cannot_be_replaced_is_left(tmp_path: Path) -> None:
    (tmp_path / "status").mkdir()
    with pytest.raises(OSError, match="directory"):
        replace_file(tmp_path / "status", "new")
    assert [each.name for each in tmp_path.iterdir()] == ["status"]


# --- Keys ------------------------------------------------------------------------------------


def test_keys_are_private_and_fit_each_other(tmp_path: Path) -> None:
    paths = generate_keys(tmp_path / "new")
    assert [path.name for path in paths] == ["controller.key", "controller.pub", "psk"]
    assert {path.stat().st_mode & 0o777 for path in paths} == {0o600}
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700
    keys = read_keys(tmp_path / "new")
    public = X25519PrivateKey.from_private_bytes(keys.private_key).public_key()
    written = base64.b64decode(paths[1].read_text())
    assert public.public_bytes_raw() == written
    (psk,) = keys.psks
    assert len(psk) == 32
    assert psk not in (keys.private_key, written)


def test_no_two_are_alike(tmp_path: Path) -> None:
    texts = [path.read_text() for name in "ab" for path in generate_keys(tmp_path / name)]
    assert len(set(texts)) == 6
    assert "key=" not in repr(read_keys(tmp_path / "a")), "a log must not have them"


@pytest.mark.parametrize("there", ["controller.key", "controller.pub", "psk"])
def test_nothing_is_overwritten_and_nothing_half_written(tmp_path: Path, there: str) -> None:
    (tmp_path / there).write_text("trusted")
    with pytest.raises(KeyFileError, match=f"{there} is there already.*remove it first"):
        generate_keys(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [there]
    assert (tmp_path / there).read_text() == "trusted"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "not a key: 0 bytes, expected 32"),
        (b"AAAA\n", "not a key: 3 bytes, expected 32"),
        (b"not base64!", "not a key: expected one line of base64"),
        (b"\xff\xfe\x00", "not a key: expected one line of base64"),
    ],
)
def test_a_file_that_holds_no_key_says_so(tmp_path: Path, text: bytes, message: str) -> None:
    generate_keys(tmp_path)
    (tmp_path / "psk").write_bytes(text)
    with pytest.raises(KeyFileError, match=f"psk: {message}"):
        read_keys(tmp_path)


def test_missing_keys_say_how_to_make_them(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="make keys with `wangell-controller keygen") as caught:
        read_keys(tmp_path)
    assert json.dumps(str(tmp_path / "controller.key"))[1:-1] in str(caught.value)
