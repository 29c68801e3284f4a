"""The daemon's log of cold starts (`--cold-start-log`), read back: a JSON object a line."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from wangell_lab.errors import LabError
from wangell_lab.watch import wait_for

__all__ = ["PHASES", "ColdStart", "ColdStartLog", "parse"]

# In order. `listen` is the server's own start; all the others are the platform's.
PHASES = ("detect", "notify", "start", "listen", "replay", "handshake")
ANSWERED = "answered"  # Others: "abandoned" by the client, "timeout", ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ColdStart:
    """One wake, from the first SYN in XDP to the client's ACK in XDP."""

    service: str
    activation: int
    outcome: str
    clients: int
    "Connections that waited for it"
    total_ms: float | None
    "None: it never came to an ACK"
    phases_ms: Mapping[str, float]
    first_syn_ns: int
    "CLOCK_MONOTONIC, as all of them"
    replayed_ns: int | None
    "When the first held SYN had been injected. None: none was"
    acked_ns: int | None

    @property
    def answered(self) -> bool:
        """Whether the client's ACK was seen."""
        return self.outcome == ANSWERED and self.total_ms is not None

    @property
    def platform_ms(self) -> float:
        """Everything but the server's own start. Raises LabError where it was not answered."""
        if self.total_ms is None or "listen" not in self.phases_ms:
            raise LabError(f"{self.service} was not answered: {self.outcome}")
        return self.total_ms - self.phases_ms["listen"]


def parse(line: str) -> ColdStart:
    """Return the cold start that a line of the log tells of. Raises LabError."""
    try:
        told = json.loads(line)
        return ColdStart(
            service=told["service"],
            activation=int(told["activation"]),
            outcome=told["outcome"],
            clients=int(told["clients"]),
            total_ms=None if told["total_ms"] is None else float(told["total_ms"]),
            phases_ms={name: float(told["phases_ms"][name]) for name in told["phases_ms"]},
            first_syn_ns=int(told["first_syn_ns"]),
            replayed_ns=told["replayed_ns"],
            acked_ns=told["acked_ns"],
        )
    except (ValueError, KeyError, TypeError) as error:
        raise LabError(f"no line of a cold-start log ({error!r}): {line.strip()}") from error


class ColdStartLog:
    """Reads a log that is being written, each cold start once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def unread(self) -> list[ColdStart]:
        """Return those written since the last call. A line still being written comes later."""
        try:
            with self._path.open("rb") as log:
                log.seek(self._offset)
                whole, newline, _ = log.read().rpartition(b"\n")
        except FileNotFoundError:
            return []
        self._offset += len(whole + newline)
        return [parse(line) for line in whole.decode().splitlines()]

    def next(self, *, timeout_s: float) -> ColdStart:
        """Wait for the next one. Raises LabError where there is none, or more than one."""
        found = wait_for(
            self._path, lambda: self.unread() or None, timeout_s=timeout_s, what="a cold start"
        )
        if len(found) != 1:
            raise LabError(
                f"one cold start was expected, the daemon tells of {len(found)}: {found}"
            )
        return found[0]
