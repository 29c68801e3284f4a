"""Labs to test in. They need root; where that is missing, every test fails with the remedy."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from wangell_lab import Lab
from wangell_lab.servers import compile_c_server


@pytest.fixture(scope="session", autouse=True)
def _compiled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Labs start our programs some 700 times: their sources are compiled once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
        patch.setenv("PYTHONPYCACHEPREFIX", str(tmp_path_factory.mktemp("pycache")))
        yield


@pytest.fixture
def lab() -> Iterator[Lab]:
    """One node, one pod, nothing running yet."""
    with Lab() as made:
        yield made


@pytest.fixture(scope="session")
def c_server(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The fastest server there is to start."""
    return compile_c_server(tmp_path_factory.mktemp("server"))
