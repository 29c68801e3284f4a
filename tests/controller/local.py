"""What the tests of the local backend share: services that are real processes."""

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from tests.controller.helpers import service
from wangell_controller.backends import BackendEvent, ReplicaStarted
from wangell_controller.backends.local import LocalBackend, LocalSettings, plan
from wangell_controller.backends.local.adopt import await_birth
from wangell_controller.backends.local.prepared import PREPARED_MARK
from wangell_controller.model import WangellService

PYTHON = "/usr/bin/python3"
# Runs until it is told to end.
SLEEPER = ["sleep", "1000"]
# Listens on PORT in its namespace.
LISTENER = [
    PYTHON,
    "-SEc",
    "import os, socket, time; s = socket.create_server(('', int(os.environ['PORT'])));"
    "time.sleep(1000)",
]


def script(text: str) -> list[str]:
    """A server in shell."""
    return ["sh", "-c", text]


def settings(pod: Path, *names: str, **changes: Any) -> LocalSettings:
    """A local file in which every named service is started alike."""
    entry = {
        "command": SLEEPER,
        "netns": str(pod),
        "address": "10.244.0.5",
        "node": "node1",
        "frontend": "10.46.100.105",
    } | changes
    services = {f"default/{name}": dict(entry) for name in names or ("serverless-example",)}
    for index, each in enumerate(services.values()):
        each["frontend"] = f"10.46.100.{105 + index}"
    return LocalSettings.model_validate({"services": services})


def declared(local: LocalSettings, **changes: Any) -> dict[str, WangellService]:
    """A manifest for each service of the local file."""
    return {key: service(key.partition("/")[2], **changes) for key in local.services}


class Stage:
    """A local backend and what it told. Use it as `async with`: all servers end with it."""

    KEY = "default/serverless-example"

    def __init__(self, local: LocalSettings, run_dir: Path, *, stop_grace_s: float = 5.0) -> None:
        self.local = local
        self.run_dir = run_dir
        self.stop_grace_s = stop_grace_s
        self.told: list[tuple[str, BackendEvent]] = []
        self._arrived = asyncio.Event()

    async def __aenter__(self) -> Self:
        services = declared(self.local)
        self.backend = LocalBackend(
            plan(self.local, services, origin=Path("local.yaml")),
            run_dir=self.run_dir,
            tell=self._tell,
            stop_grace_s=self.stop_grace_s,
        )
        for each in services.values():
            self.backend.declare(each)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.backend.aclose()

    def _tell(self, key: str, event: BackendEvent) -> None:
        self.told.append((key, event))
        self._arrived.set()

    async def heard(self, kind: type[BackendEvent], *, count: int = 1) -> BackendEvent:
        """Wait for the count-th event of a kind; return it."""
        while True:
            found = [event for _, event in self.told if isinstance(event, kind)]
            if len(found) >= count:
                return found[count - 1]
            self._arrived.clear()
            await asyncio.wait_for(self._arrived.wait(), 10)

    def start(self, activation: int = 1) -> int:
        """Start the service; return the new server's process id."""
        before = servers()
        self.backend.start(self.KEY, activation)
        await_birth(last_started(self.run_dir, self.KEY))
        [pid] = servers() - before
        return pid

    def kinds(self) -> list[str]:
        """The names of what was told, in order."""
        return [type(event).__name__ for _, event in self.told]


def children() -> set[int]:
    """Process ids of this process's children."""
    text = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
    return {int(pid) for pid in text.split()}


def servers() -> set[int]:
    """Those of them that do not wait to become one; zombies are among them."""
    return children() - prepared()


def prepared() -> set[int]:
    """Those of them that wait to become a server."""
    return {pid for pid in children() if is_prepared(pid)}


def is_prepared(pid: int) -> bool:
    """Whether a process waits to become a server."""
    try:
        while not (variables := environment(pid)) and runs(pid):
            pass  # It is there a moment after the exec; a zombie has none.
    except (FileNotFoundError, ProcessLookupError):
        return False
    return PREPARED_MARK in variables


def last_started(run_dir: Path, key: str) -> int:
    """The process id in the service's note."""
    return int((run_dir / "servers" / key).read_text().split()[1])


def descriptors(pid: int) -> dict[str, str]:
    """A process's open descriptors, and what they are."""
    return {each.name: str(each.resolve()) for each in Path(f"/proc/{pid}/fd").iterdir()}


def ignores(pid: int, number: signal.Signals) -> bool:
    """Whether a process ignores a signal."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    [mask] = [line.split()[1] for line in lines if line.startswith("SigIgn")]
    return bool(int(mask, 16) & 1 << (number - 1))


def runs(pid: int) -> bool:
    """Whether a process is there, and no zombie."""
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False


def environment(pid: int) -> dict[str, str]:
    """A process's environment."""
    raw = Path(f"/proc/{pid}/environ").read_text()
    return dict(entry.split("=", 1) for entry in raw.split("\0") if entry)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something outside this process, for which nothing can be awaited."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 (another process, not a task)
            await asyncio.sleep(0.005)


def started(event: BackendEvent) -> ReplicaStarted:
    assert isinstance(event, ReplicaStarted)
    return event
