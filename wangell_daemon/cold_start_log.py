"""One JSON object a line for each cold start: what tests, the demo and the curious read."""

import contextlib
import json
from pathlib import Path
from typing import TextIO

from wangell_daemon.effects import EndColdStart

__all__ = ["ColdStartLog", "as_sentence"]


class ColdStartLog:
    """Appends to a file; without one it writes nothing."""

    def __init__(self, path: Path | None) -> None:
        self._file: TextIO | None = path.open("a", buffering=1) if path else None

    def write(self, ended: EndColdStart) -> None:
        """Append one. Times are milliseconds, moments nanoseconds of CLOCK_MONOTONIC."""
        if self._file is None:
            return
        timeline = ended.timeline
        line = {
            "service": ended.service,
            "activation": ended.activation,
            "outcome": ended.outcome,
            "clients": ended.clients,
            "total_ms": None if timeline.total_ns is None else timeline.total_ns / 1e6,
            "phases_ms": {name: ns / 1e6 for name, ns in timeline.phases_ns().items()},
            "first_syn_ns": timeline.first_syn_ns,
            "listened_ns": timeline.listened_ns,
            "replayed_ns": timeline.injected_ns,
            "acked_ns": timeline.acked_ns,
        }
        self._file.write(json.dumps(line) + "\n")

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            with contextlib.suppress(OSError):  # a full disk: said when it was written to
                self._file.close()


def as_sentence(ended: EndColdStart) -> str:
    """Say it to a person: `default/x: answered 1 client after 3.41 ms (detect 0.10, ...)`."""
    plural = "" if ended.clients == 1 else "s"
    whom = f"{ended.service}: {ended.outcome}, {ended.clients} client{plural}"
    if ended.timeline.total_ns is None:
        return whom
    phases = ", ".join(f"{name} {ns / 1e6:.2f}" for name, ns in ended.timeline.phases_ns().items())
    return f"{whom}, {ended.timeline.total_ns / 1e6:.2f} ms ({phases})"
