"""Every service's manifest with its status, as Kubernetes would show it, in one YAML file.

For the local backend: in Kubernetes the API server keeps the status.
"""

import logging
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import yaml

from wangell_controller.files import replace_file
from wangell_controller.manifests import ManifestError, read_manifests
from wangell_controller.model import Status, WangellService, rfc3339
from wangell_controller.services import Service

__all__ = ["StatusFile", "status_of"]

log = logging.getLogger(__name__)

_Dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class _Document(NamedTuple):
    manifest: WangellService
    status: Status
    text: str


def status_of(service: Service) -> Status:
    """Return the published status fields."""
    latest = service.latest_request
    return Status.model_validate(
        {
            "latestRequest": None if latest is None else datetime.fromtimestamp(int(latest), UTC),
            "loadBalancerIP": service.frontends[0].address if service.frontends else None,
            "replicas": service.replicas,
        }
    )


class StatusFile:
    """Written when something in it changes, and then whole."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._documents: dict[str, _Document] = {}
        self._written: str | None = None
        self._is_failing = False

    def latest_requests(self) -> dict[str, float]:
        """Return when each service was last called, as an earlier controller wrote it."""
        try:
            services = read_manifests([self._path])
        except ManifestError:  # None was written, or something else is there: known by the write.
            return {}
        return {
            key: service.status.latest_request.timestamp()
            for key, service in services.items()
            if service.status is not None and service.status.latest_request is not None
        }

    def write(self, services: Iterable[Service]) -> None:
        """Bring the file up to date. What cannot be written is said once, and tried again."""
        self._documents = {service.key: self._document(service) for service in services}
        text = "".join(document.text for document in self._documents.values())
        if text == self._written:
            return
        try:
            replace_file(self._path, text, mode=0o644)
        except OSError as error:
            if not self._is_failing:
                log.warning("%s: status cannot be written: %s", self._path, error.strerror)
            self._is_failing = True
            return
        self._written, self._is_failing = text, False

    def _document(self, service: Service) -> _Document:
        """Render anew only what has changed: the dumper takes 0.2 ms a service."""
        manifest, status = service.manifest, status_of(service)
        known = self._documents.get(service.key)
        if known is not None and (known.manifest, known.status) == (manifest, status):
            return known
        return _Document(manifest, status, _rendered(service, status))


def _rendered(service: Service, status: Status) -> str:
    manifest = service.manifest.model_dump(by_alias=True, exclude={"status"}, exclude_unset=True)
    manifest["metadata"]["namespace"] = service.manifest.metadata.namespace
    fields = status.model_dump(by_alias=True, exclude_none=True)
    if status.latest_request is not None:
        fields["latestRequest"] = rfc3339(status.latest_request)
    manifest["status"] = fields
    return str(yaml.dump(manifest, Dumper=_Dumper, sort_keys=False, explicit_start=True))
