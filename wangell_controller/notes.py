"""Writes down what a restart must not forget, and the status that users read."""

import asyncio
from collections.abc import Mapping

from wangell_controller.run_directory import RunDirectory
from wangell_controller.services import Service
from wangell_controller.status import StatusFile

__all__ = ["Notes"]

# A wake takes some 3 ms in all. Its notes are written after it, not beside it on the same core.
WRITE_AFTER_S = 0.01


class Notes:
    """Told of every change; writes once for all that come together."""

    def __init__(self, run_directory: RunDirectory, status: StatusFile | None) -> None:
        self._run_directory = run_directory
        self._status = status
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._services: Mapping[str, Service] = {}
        self.activations: Mapping[str, int] = run_directory.activations()
        "As they are written"

    def recall(self, services: Mapping[str, Service]) -> None:
        """Keep notes of these from now on; give them what an earlier controller wrote."""
        self._services = services
        for key, moment in (self._status.latest_requests() if self._status else {}).items():
            if key in services:
                services[key].latest_request = moment

    def write_soon(self, _key: str = "") -> None:
        """Something has changed."""
        if self._timer is None:
            self._timer = self._loop.call_later(WRITE_AFTER_S, self.write)

    def write(self) -> None:
        """Write what has changed. Raises OSError where the run directory cannot be written."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        activations = {key: service.activation for key, service in self._services.items()}
        if activations != self.activations:
            self._run_directory.save_activations(activations)
            self.activations = activations
        if self._status is not None:
            self._status.write(self._services.values())
