"""A whole controller as its own process, and peers that speak the real protocol to it."""

import asyncio
import base64
import os
import re
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self, TypeVar

import yaml

from tests.controller.helpers import manifest
from tests.controller.local import LISTENER, until
from wangell_controller.keys import generate_keys
from wangell_lab.reaper import is_server
from wangell_proto import ClientConfig, Event, Lane, MessageReceived, RecordChanged, aio
from wangell_proto.vocabulary import (
    Activity,
    Armed,
    Count,
    Counted,
    Listening,
    Phase,
    Report,
    ServiceActivity,
    ServiceRecord,
    Started,
    Wake,
    decode_record,
    decode_report,
    encode_report,
)

T = TypeVar("T")

PROGRAM = str(Path(sys.executable).parent / "wangell-controller")
KEY = "default/serverless-example"


class Daemon:
    """A peer of the real protocol that says what the test makes it say, and obeys nothing."""

    def __init__(
        self, port: int, keys: Path, *, name: str = "node1", psk: bytes | None = None
    ) -> None:
        self._config = ClientConfig(
            name=name,
            servers=(("127.0.0.1", port),),
            server_public_key=base64.b64decode((keys / "controller.pub").read_text()),
            psks=(psk or base64.b64decode((keys / "psk").read_text()),),
        )
        self.reports: list[Report] = []
        self.records: list[ServiceRecord | None] = []
        self._arrived = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._client = await aio.open_client(self._config, on_event=self._on_event)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._client.close()

    def _on_event(self, event: Event) -> None:
        if isinstance(event, MessageReceived):
            report = decode_report(event.body)
            self.reports.append(report)
            if isinstance(report, Count):
                self._count(report)
        elif isinstance(event, RecordChanged) and event.key == KEY:
            self.records.append(None if event.value is None else decode_record(event.value))
        self._arrived.set()

    def _count(self, asked: Count) -> None:
        """Find no connection."""
        self.say(
            Counted(
                service=asked.service,
                activation=asked.activation,
                number=asked.number,
                connections=0,
            )
        )

    async def until(self, look: Callable[[], T | None]) -> T:
        """Wait for something to have arrived."""
        async with asyncio.timeout(10):
            while (found := look()) is None:
                self._arrived.clear()
                await self._arrived.wait()
            return found

    async def record(self, *phases: Phase) -> ServiceRecord:
        """Wait until the newest record has one of these phases."""

        def look() -> ServiceRecord | None:
            newest = self.records[-1] if self.records else None
            return newest if newest is not None and newest.phase in phases else None

        return await self.until(look)

    async def started(self, activation: int) -> Started:
        """Wait for the answer to a wake."""

        def look() -> Started | None:
            found = [each for each in self.reports if isinstance(each, Started)]
            return next((each for each in found if each.activation == activation), None)

        return await self.until(look)

    def say(self, report: Report, lane: Lane = Lane.STATE) -> None:
        self._client.send(encode_report(report), lane=lane)

    def wake(self, activation: int = 0) -> None:
        report = Wake(
            service=KEY, address="10.46.100.105", port=80, sequence=7, activation=activation
        )
        self.say(report, Lane.WAKE)

    def listening(self, netns: Path, activation: int) -> None:
        workload = f"net:[{netns.stat().st_ino}]"
        self.say(Listening(service=KEY, activation=activation, workload=workload), Lane.WAKE)

    def idle(self) -> None:
        self.say(Activity(services=(ServiceActivity(service=KEY, idle_s=1000.0, held=0),)))

    def armed(self, activation: int, connections: int = 0) -> None:
        self.say(Armed(service=KEY, activation=activation, connections=connections))


class Home:
    """A directory with all the files of one controller, and the controller itself."""

    def __init__(self, directory: Path, netns: Path, *, command: list[str] = LISTENER) -> None:
        self.directory = directory
        self.netns = netns
        self.keys = directory / "keys"
        self.manifests = directory / "manifest.yaml"
        self.local = directory / "local.yaml"
        self.status = directory / "status.yaml"
        self.log = directory / "controller.log"
        self.port = free_port()
        self._popen: subprocess.Popen[bytes] | None = None
        generate_keys(self.keys)
        self.declare(manifest())
        entry = {
            "command": command,
            "netns": str(netns),
            "address": "10.244.0.5",
            "node": "node1",
            "frontend": "10.46.100.105",
        }
        self.local.write_text(yaml.safe_dump({"services": {KEY: entry}, "stop_grace_s": 2}))

    def declare(self, *documents: Mapping[str, Any]) -> None:
        """Write the manifests."""
        self.manifests.write_text(yaml.safe_dump_all(documents))

    def command(self, *extra: str) -> list[str]:
        return [
            *(PROGRAM, "run", "--manifests", str(self.manifests), "--local", str(self.local)),
            *("--listen", f"127.0.0.1:{self.port}", "--key-dir", str(self.keys)),
            *("--run-dir", str(self.directory / "run"), "--status-file", str(self.status)),
            *extra,
        ]

    def start(self, *extra: str) -> None:
        """Start the controller; return when it says that it is ready."""
        path = self.directory / "notify"
        path.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify, self.log.open("ab") as log:
            notify.bind(str(path))
            self._popen = subprocess.Popen(
                self.command(*extra),
                stderr=log,
                env=os.environ | {"NOTIFY_SOCKET": str(path)},
                start_new_session=True,
            )
            pidfd = os.pidfd_open(self._popen.pid)
            readable = select.select([notify, pidfd], [], [], 10)[0]
            os.close(pidfd)
            assert notify in readable, self.log.read_text()
            assert notify.recv(100) == b"READY=1"

    def signal(self, number: signal.Signals) -> None:
        assert self._popen is not None
        self._popen.send_signal(number)

    def wait(self) -> int:
        """Wait for its end; return its exit status."""
        assert self._popen is not None
        return self._popen.wait(10)

    def kill(self) -> None:
        """SIGKILL: it cleans nothing up."""
        self.signal(signal.SIGKILL)
        self.wait()

    def logged(self, text: str) -> bool:
        return text in self.log.read_text()

    def server_pids(self) -> list[int]:
        """The servers in the service's namespace."""
        return [pid for pid in self.pids() if is_server(pid)]

    async def server(self) -> int:
        """Wait for one: it has been released, and execs. Return its process id."""
        await until(lambda: bool(self.server_pids()))
        return self.server_pids()[0]

    def pids(self) -> list[int]:
        """All that is in the service's namespace: also what waits to become its server."""
        listed = subprocess.run(
            ["ip", "netns", "pids", self.netns.name], capture_output=True, text=True, check=True
        )
        return [int(pid) for pid in listed.stdout.split()]

    def metric(self, port: int, name: str) -> float | None:
        """Scrape one unlabelled or fully written series."""
        with socket.create_connection(("127.0.0.1", port), 5) as connection:
            connection.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
            text = b"".join(iter(lambda: connection.recv(65536), b"")).decode()
        found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
        return float(found[1]) if found else None

    def end(self) -> None:
        """End what still runs, whatever happened."""
        if self._popen is not None and self._popen.poll() is None:
            self.kill()
        for pid in self.pids():
            os.kill(pid, signal.SIGKILL)


@contextmanager
def home(directory: Path, netns: Path, *, command: list[str] = LISTENER) -> Iterator[Home]:
    """All that one controller needs; everything ends with it."""
    made = Home(directory, netns, command=command)
    try:
        yield made
    finally:
        made.end()


def free_port(kind: socket.SocketKind = socket.SOCK_DGRAM) -> int:
    """A port of loopback that nobody has at this moment."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
