"""Which labs there are on this machine, which of them live, and the end of those that do not.

A lab is a directory in /run/wangell-lab that holds its files and a `lock`, locked (flock) by the
process that made the lab for as long as it lives, however it ends. So a lab whose lock is free is
dead, and who takes the lock next may remove what it left; a living one is never touched.
"""

import fcntl
import os
import secrets
import shutil
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from wangell_lab.errors import LabError
from wangell_lab.namespaces import NETNS_DIRECTORY, Namespace
from wangell_lab.reaper import end_all, wait_for_end

__all__ = ["RUN_DIRECTORY", "Claim", "Registry"]

RUN_DIRECTORY = Path("/run/wangell-lab")
# A holder that was asked to end stops two services and removes some namespaces: about 1 s.
DOWN_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A lab that is ours: its name, its directory and, while `lock` is open, its life."""

    lab_id: str
    directory: Path
    lock: int
    "Descriptor of the locked file"

    def namespace(self, host: str) -> Namespace:
        """Return the namespace for that host, which may not exist yet."""
        return Namespace(f"{_prefix(self.lab_id)}{host}")

    def release(self) -> None:
        """End all that runs in the lab's namespaces; remove them and the directory."""
        try:
            _remove(self.lab_id, self.directory)
        finally:
            os.close(self.lock)


class Registry:
    """The labs below one directory."""

    def __init__(self, directory: Path = RUN_DIRECTORY) -> None:
        self._directory = directory

    def claim(self) -> Claim:
        """Make a new lab's directory and lock it."""
        with self._guarded():
            while True:
                lab_id = secrets.token_hex(3)
                directory = self._directory / lab_id
                with suppress(FileExistsError):
                    directory.mkdir(mode=0o700)  # It will hold the protocol's keys.
                    break
            lock = _take_lock(directory)
        os.write(lock, f"{os.getpid()}\n".encode())
        return Claim(lab_id=lab_id, directory=directory, lock=lock)

    def living(self) -> list[str]:
        """Return the ids of the labs whose maker lives."""
        with self._guarded():
            return [lab_id for lab_id in self._ids() if self._lives(lab_id)]

    def sweep(self) -> list[str]:
        """Remove what dead labs left; return their ids."""
        with ExitStack() as swept:
            with self._guarded():
                claims = [claim for lab_id in self._ids() if (claim := self._claim_dead(lab_id))]
            for claim in claims:
                swept.callback(claim.release)  # All of them, even if one fails.
            return [claim.lab_id for claim in claims]

    def bring_down(self, lab_id: str) -> None:
        """Ask the lab's maker to end it, and wait. Raises LabError: no such lab, or it does not."""
        holder = self._holder(lab_id)
        try:
            signal.pidfd_send_signal(holder, signal.SIGTERM)
            if not wait_for_end(holder, timeout_s=DOWN_TIMEOUT_S):
                raise LabError(f"lab {lab_id} does not end; `kill -9` its process, then `down`")
        except ProcessLookupError:
            pass  # It ended meanwhile.
        finally:
            os.close(holder)

    def _holder(self, lab_id: str) -> int:
        """Return a pidfd of the lab's maker."""
        with suppress(FileNotFoundError, NotADirectoryError, ValueError, ProcessLookupError):
            pid = int((self._directory / lab_id / "lock").read_text())
            holder = os.pidfd_open(pid)
            # The lock is still held, so it is the maker that this descriptor refers to.
            if lab_id in self.living():
                return holder
            os.close(holder)
        known = ", ".join(self.living()) or "none"
        raise LabError(f"no living lab {lab_id}; living labs: {known}")

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        # A directory just made is not locked yet: nobody may judge it meanwhile.
        self._directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        guard = os.open(self._directory / ".guard", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(guard, fcntl.LOCK_EX)
            yield
        finally:
            os.close(guard)

    def _ids(self) -> list[str]:
        return sorted(entry.name for entry in self._directory.iterdir() if entry.is_dir())

    def _lives(self, lab_id: str) -> bool:
        try:
            os.close(_take_lock(self._directory / lab_id))
        except BlockingIOError:
            return True
        except FileNotFoundError:
            pass  # Removed since it was listed.
        return False

    def _claim_dead(self, lab_id: str) -> Claim | None:
        directory = self._directory / lab_id
        try:
            lock = _take_lock(directory)
        except (BlockingIOError, FileNotFoundError):
            return None
        return Claim(lab_id=lab_id, directory=directory, lock=lock)


def _take_lock(directory: Path) -> int:
    """Raises BlockingIOError where another has it, FileNotFoundError where the lab is gone."""
    lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise
    return lock


def _prefix(lab_id: str) -> str:
    return f"wl-{lab_id}-"


def _remove(lab_id: str, directory: Path) -> None:
    namespaces = [Namespace(path.name) for path in NETNS_DIRECTORY.glob(f"{_prefix(lab_id)}*")]
    try:
        end_all(namespaces)
    finally:
        for namespace in namespaces:
            namespace.remove()
        shutil.rmtree(directory, ignore_errors=True)
