"""Waiting for files: woken by the write, never late, never for ever."""

import threading
import time
from pathlib import Path

import pytest

from wangell_lab import LabError
from wangell_lab.watch import wait_for


def test_what_is_there_already_is_found_at_once(tmp_path: Path) -> None:
    path = tmp_path / "told"
    path.write_text("yes")
    assert wait_for(path, path.read_text, timeout_s=0, what="it") == "yes"


def text_of(path: Path) -> str | None:
    return (path.read_text() or None) if path.exists() else None


@pytest.mark.parametrize("how", ["create", "append", "rename"])
def test_a_write_wakes_the_waiter(tmp_path: Path, how: str) -> None:
    path, beside = tmp_path / "told", tmp_path / "beside"
    if how == "append":
        path.touch()

    def write() -> None:
        if how == "rename":
            beside.write_text("yes")
            beside.rename(path)
        else:
            with path.open("a") as file:
                file.write("yes")

    looked: list[float] = []

    def look() -> str | None:
        looked.append(time.monotonic())
        if len(looked) == 1:  # Only now, so nothing can be found without being woken.
            threading.Thread(target=write).start()
        return text_of(path)

    assert wait_for(path, look, timeout_s=10, what="it") == "yes"
    assert looked[-1] - looked[0] < 5


def test_it_sleeps_between_looks(tmp_path: Path) -> None:
    looks = 0

    def look() -> None:
        nonlocal looks
        looks += 1

    with pytest.raises(LabError, match=r"a sign: not within 0\.2 s, by told"):
        wait_for(tmp_path / "told", look, timeout_s=0.2, what="a sign")
    assert looks == 1


def test_writes_beside_it_do_not_make_it_wait_for_ever(tmp_path: Path) -> None:
    stop = threading.Event()

    def scribble() -> None:
        while not stop.wait(0.01):
            (tmp_path / "other").write_text("noise")

    scribbling = threading.Thread(target=scribble)
    scribbling.start()
    try:
        started_s = time.monotonic()
        with pytest.raises(LabError, match="not within"):
            wait_for(tmp_path / "told", lambda: None, timeout_s=0.3, what="a sign")
        assert time.monotonic() - started_s < 5
    finally:
        stop.set()
        scribbling.join()


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        wait_for(tmp_path / "told", lambda: True, timeout_s=0, what="it")
    with pytest.raises(FileNotFoundError):
        wait_for(tmp_path / "absent" / "told", lambda: True, timeout_s=0, what="it")
    assert len(list(Path("/proc/self/fd").iterdir())) == before
