"""The servers that the lab starts from zero."""

import os
import socket
import subprocess
import time
from pathlib import Path

import pytest

from tests.lab.helpers import serving
from wangell_lab import Lab, LabError, servers
from wangell_lab.servers import PYTHON_SERVER, compile_c_server


def test_the_python_server_says_hello(lab: Lab) -> None:
    with serving(lab.namespace("node1-pod1"), PYTHON_SERVER):
        exchange = lab.client.get()
    assert exchange.status == 200
    assert exchange.body == b"hello from a service that was at zero\n"


def test_both_take_their_port_from_the_environment(
    lab: Lab, c_server: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PORT", "8099")
    for server in (PYTHON_SERVER, [str(c_server)]):
        with (
            serving(lab.namespace("node1-pod1"), server, port=8099),
            pytest.raises(ConnectionRefusedError),
        ):
            lab.client.connect()  # That would be 8080.


@pytest.mark.parametrize("which", ["python", "c"])
def test_a_caller_that_hangs_up_does_not_end_the_server(
    lab: Lab, c_server: Path, which: str
) -> None:
    with serving(
        lab.namespace("node1-pod1"), PYTHON_SERVER if which == "python" else [str(c_server)]
    ):
        for _ in range(20):
            with lab.client.connect():
                pass
        assert lab.client.get().status == 200


def test_the_c_server_listens_as_late_as_it_is_told(lab: Lab, c_server: Path) -> None:
    started_s = time.monotonic()
    with serving(lab.namespace("node1-pod1"), [str(c_server), "-d", "300"]):
        assert time.monotonic() - started_s >= 0.3


def test_the_c_servers_backlog_is_what_it_is_told(lab: Lab, c_server: Path) -> None:
    with serving(lab.namespace("node1-pod1"), [str(c_server), "-b", "5", "-a", "60000"]):
        shown = lab.namespace("node1-pod1").run(["ss", "-ltnH", "sport = :8080"], check=True).stdout
    assert shown.split()[2] == "5"


def test_the_c_server_may_listen_and_not_accept(lab: Lab, c_server: Path) -> None:
    with (
        serving(lab.namespace("node1-pod1"), [str(c_server), "-a", "60000"]),
        lab.client.connect(timeout_s=0.5) as connection,
        pytest.raises(TimeoutError),
    ):
        connection.request()


@pytest.mark.parametrize("wrong", [["-p", "70000"], ["-d", "x"], ["-b", "-1"], ["-d", ""], ["-z"]])
def test_the_c_server_refuses_what_it_does_not_understand(c_server: Path, wrong: list[str]) -> None:
    refused = subprocess.run(
        [str(c_server), *wrong], capture_output=True, text=True, timeout=5, check=False
    )
    assert refused.returncode == 2
    assert refused.stderr


def test_the_c_server_compiles_without_a_warning(tmp_path: Path) -> None:
    source = Path(servers.__file__).with_name("http_server.c")
    strict = ["cc", "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O2", "-static"]
    subprocess.run([*strict, "-o", str(tmp_path / "strict"), str(source)], check=True)


def test_without_a_compiler_the_remedy_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LabError, match="apt-get install gcc"):
        compile_c_server(tmp_path)
    assert os.listdir(tmp_path) == []  # noqa: PTH208


def test_a_taken_port_is_an_error_that_names_it(lab: Lab, c_server: Path) -> None:
    pod = lab.namespace("node1-pod1")
    with pod.socket(socket.AF_INET, socket.SOCK_STREAM) as taken:
        taken.bind(("", 8080))
        taken.listen()
        refused = pod.run([str(c_server)])
    assert refused.returncode == 1
    assert "bind to port 8080: Address already in use" in refused.stderr
