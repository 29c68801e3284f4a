"""Look and spawn as one step: two controllers that start a service together start one server.

Each service has a file in the run directory, locked for the step, that says which process was
started last. Its file stays open, and the end of a server is noted when it comes, so that a wake
need neither find the one nor ask for the other. A look through all processes takes 20 us for each
of them (2.3 ms for 119): that is left to the case of a controller killed between its spawn and its
note.
"""

import fcntl
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from wangell_controller.backends.local.adopt import await_birth, find_replica, find_replicas
from wangell_controller.backends.local.launch import Launch
from wangell_controller.backends.local.namespaces import own_namespace
from wangell_controller.backends.local.prepared import Prepared, prepare
from wangell_controller.backends.local.replica import Replica, spawn

__all__ = ["Starter"]

_FLAGS = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
# What waits takes 0.1 MB of its own (0.3 with its share of libc): so many take a third of what this
# process does. Services beyond it are spawned when they are called; a place that a wake leaves goes
# to whichever service falls asleep next, so those that are called have them.
PREPARED_MAX = 64
_LINE_BYTES = 48  # Two numbers of 20 digits, always as long: a shorter line leaves no rest behind.


@dataclass(frozen=True, slots=True, kw_only=True)
class _Note:
    """The last start of a service."""

    activation: int = 0
    pid: int | None = 0
    "None: it is under way, or its controller was killed in it; 0: there was none"


class Starter:
    """Starts servers for all controllers that share the run directory. Close it."""

    def __init__(self, run_dir: Path) -> None:
        _keep_descriptors()
        self._run_dir = run_dir
        self._home = own_namespace()
        self._nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        # One for each service that was ever started; its namespace and log are open as well.
        self._files: dict[str, int] = {}
        self._prepared: dict[str, Prepared] = {}

    def start(self, launch: Launch, *, activation: int) -> Replica:
        """Return the server that runs, or else a new one. Raises OSError."""
        with _Lock(self._file(launch.key)) as file:
            return self._running(launch.key, _read(file)) or self._spawn(launch, file, activation)

    def start_once(self, launch: Launch, *, activation: int) -> Replica | None:
        """Return None also where one of this activation, or a later one, has come and gone.

        A wake may arrive so late that its server has been stopped again. Raises OSError.
        """
        with _Lock(self._file(launch.key)) as file:
            last = _read(file)
            running = self._running(launch.key, last)
            if running is not None or last.activation >= activation:
                return running
            return self._spawn(launch, file, activation)

    def prepare(self, launch: Launch) -> None:
        """Make ready what can be ready before the service is called, if there is room."""
        if launch.key in self._prepared or len(self._prepared) >= PREPARED_MAX:
            return
        with suppress(OSError):  # What is wrong will be said at the start.
            prepared = prepare(launch, run_dir=self._run_dir, home=self._home)
            if prepared is not None:
                self._prepared[launch.key] = prepared

    def discard(self, key: str) -> None:
        """End what was made ready for the service: it is no more, or starts otherwise now."""
        if key in self._prepared:
            self._prepared.pop(key).close()

    def ended(self, key: str, pid: int) -> None:
        """Note that the server has ended, unless another was started since. Raises OSError."""
        with _Lock(self._file(key)) as file:
            last = _read(file)
            if last.pid == pid:
                _write(file, _Note(activation=last.activation))

    def close(self) -> None:
        """Close what it holds open, and end what waits."""
        for key in list(self._prepared):
            self.discard(key)
        for file in self._files.values():
            os.close(file)
        self._files.clear()
        os.close(self._nothing)
        self._home.close()

    def _file(self, key: str) -> int:
        file = self._files.get(key)
        if file is not None and os.fstat(file).st_nlink:
            return file
        if file is not None:  # Deleted: others would lock the one that is there in its place.
            os.close(self._files.pop(key))
        # As directories, for both names together may be longer than a file's.
        path = self._run_dir / "servers" / key
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._files[key] = os.open(path, _FLAGS, 0o600)
        return self._files[key]

    def _running(self, key: str, last: _Note) -> Replica | None:
        if last.pid is None:
            found = [each for each in find_replicas(self._run_dir) if each.service == key]
            for surplus in found[1:]:
                os.close(surplus.replica.pidfd)
            return found[0].replica if found else None
        if last.pid:
            await_birth(last.pid)
        there = find_replica(last.pid, self._run_dir) if last.pid else None
        if there is not None and there.service != key:  # The number is another process's by now.
            os.close(there.replica.pidfd)
            return None
        return there.replica if there is not None else None

    def _spawn(self, launch: Launch, file: int, activation: int) -> Replica:
        if not launch.namespace.is_current():
            path = launch.namespace.path
            raise FileNotFoundError(0, f"{path} was deleted or replaced (SIGHUP reads it anew)")
        replica = self._release(launch.key, file, activation)
        if replica is not None:
            return replica
        _write(file, _Note(activation=activation, pid=None))
        try:
            replica = spawn(
                launch,
                activation=activation,
                run_dir=self._run_dir,
                home=self._home,
                nothing=self._nothing,
            )
        except OSError:
            _write(file, _Note(activation=activation))
            raise
        _write(file, _Note(activation=activation, pid=replica.pid))
        return replica

    def _release(self, key: str, file: int, activation: int) -> Replica | None:
        prepared = self._prepared.pop(key, None)
        if prepared is None:
            return None
        # Before: if we are killed in between, whoever reads it sees this one end.
        _write(file, _Note(activation=activation, pid=prepared.pid))
        return prepared.release(activation=activation)


class _Lock:
    """An open file, locked meanwhile. No generator, which costs a wake 10 us from cold caches."""

    def __init__(self, file: int) -> None:
        self._file = file

    def __enter__(self) -> int:
        # Waits for the 300 us that another controller's start takes.
        fcntl.flock(self._file, fcntl.LOCK_EX)
        return self._file

    def __exit__(self, *_: object) -> None:
        fcntl.flock(self._file, fcntl.LOCK_UN)


def _read(file: int) -> _Note:
    """Return what was noted; what nobody of ours wrote counts as a start under way: look around."""
    words = os.pread(file, _LINE_BYTES, 0).split()
    if not words:
        return _Note()
    try:
        activation, pid = map(int, words)
    except ValueError:
        return _Note(pid=None)
    return _Note(activation=activation, pid=None if pid < 0 else pid)


def _write(file: int, note: _Note) -> None:
    line = f"{note.activation} {-1 if note.pid is None else note.pid}"
    os.pwrite(file, line.ljust(_LINE_BYTES - 1).encode() + b"\n", 0)


def _keep_descriptors() -> None:
    """What this process inherited itself (a shell's pipes, a socket) is not for its servers."""
    for entry in Path("/proc/self/fd").iterdir():
        if int(entry.name) > 2:
            with suppress(OSError):  # The listing's own.
                os.set_inheritable(int(entry.name), False)
