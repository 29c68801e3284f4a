"""What a controller must not forget over a restart: its epoch, and each service's activation.

Both only grow. Daemons refuse a table of a lower epoch than they have seen, and tell a wake that is
new from a late repeat by its activation. (The servers that run are remembered by themselves: see
backends/local.)

Controllers that share the directory stand by for each other; the one that leads writes here.
"""

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from wangell_controller.files import replace_file

__all__ = ["RunDirectory", "RunDirectoryError"]


class RunDirectoryError(ValueError):
    """The directory holds what no controller wrote. The message has the remedy."""


class RunDirectory:
    """Shared by the controllers of one host."""

    def __init__(self, path: Path, *, wall_clock: Callable[[], float] = time.time) -> None:
        """Make it where there is none. Raises OSError."""
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path = path.resolve()
        self._wall_clock = wall_clock
        self._epoch = self.path / "epoch"
        self._activations = self.path / "activations.json"

    def epoch(self) -> int:
        """Return the epoch of whoever led last; 0: nobody has."""
        text = _text(self._epoch) or "0"
        if not text.strip().isdigit():
            raise RunDirectoryError(f"{self._epoch}: not a number: remove it")
        return int(text)

    def next_epoch(self) -> int:
        """Return an epoch above every earlier one, even where the directory was lost meanwhile."""
        epoch = max(self.epoch() + 1, int(self._wall_clock()))
        replace_file(self._epoch, f"{epoch}\n")
        return epoch

    def activations(self) -> dict[str, int]:
        """Return each service's activation as it was last saved."""
        text = _text(self._activations)
        try:
            counts = json.loads(text) if text else {}
        except ValueError:
            counts = None
        if not isinstance(counts, dict) or not all(type(n) is int for n in counts.values()):
            raise RunDirectoryError(f"{self._activations}: not counts of activations: remove it")
        return counts

    def save_activations(self, counts: Mapping[str, int]) -> None:
        """Remember them. Raises OSError."""
        replace_file(self._activations, json.dumps(counts))


def _text(path: Path) -> str | None:
    try:
        return path.read_text()
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        raise RunDirectoryError(f"{path}: not text: remove it") from error
