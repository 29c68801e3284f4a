"""Real namespaces, for the tests that start real servers."""

import itertools
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

_numbers = itertools.count()


@pytest.fixture
def new_netns() -> Iterator[Callable[[], Path]]:
    """Makes network namespaces, and removes them afterwards."""
    if os.geteuid() != 0:
        if os.environ.get("CI") == "true":
            pytest.fail("not root: network namespaces need it")
        pytest.skip("not root: network namespaces need it (sudo make test)")
    names: list[str] = []

    def make() -> Path:
        names.append(f"wgctl-{os.getpid()}-{next(_numbers)}")
        subprocess.run(["ip", "netns", "add", names[-1]], check=True)
        return Path("/run/netns") / names[-1]

    try:
        yield make
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], check=True)


@pytest.fixture
def netns(new_netns: Callable[[], Path]) -> Path:
    """One network namespace."""
    return new_netns()
