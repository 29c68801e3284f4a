"""All that a start needs, made ready beforehand: the wake path only spawns."""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from wangell_controller.backends import ServicePlaced
from wangell_controller.backends.local.namespaces import Namespace
from wangell_controller.backends.local.settings import LocalService, LocalSettings
from wangell_controller.manifests import ManifestError
from wangell_controller.model import WangellService
from wangell_proto.vocabulary import Endpoint, Frontend

__all__ = ["Launch", "plan"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """One service, ready to start. Close it."""

    key: str
    command: tuple[str, ...]
    "The first is an absolute path"
    environment: Mapping[str, str]
    namespace: Namespace
    output: int | None
    "Descriptor of the server's stdout and stderr; None: the controller's own"
    target_port: int
    place: ServicePlaced

    def close(self) -> None:
        """Close what it holds open."""
        self.namespace.close()
        if self.output is not None:
            os.close(self.output)


def plan(
    settings: LocalSettings, services: Mapping[str, WangellService], *, origin: Path
) -> dict[str, Launch]:
    """Return a launch for every service. Raises ManifestError with all that is missing."""
    launches: dict[str, Launch] = {}
    problems: list[str] = []
    for key, service in services.items():
        local = settings.services.get(key)
        if local is None:
            problems.append(f"{origin}: services: no {key}: say what to start for it")
            continue
        try:
            launches[key] = _launch(service, local)
        except OSError as error:
            problems.append(f"{origin}: services.{key}: {error.strerror}: {error.filename}")
    problems += [f"{origin}: {each}" for each in _shared_frontends(launches)]
    if problems:
        for launch in launches.values():
            launch.close()
        raise ManifestError("\n".join(problems))
    return launches


def _launch(service: WangellService, local: LocalService) -> Launch:
    program = shutil.which(local.command[0])
    if program is None:
        raise FileNotFoundError(0, "command: no such program, or not executable", local.command[0])
    namespace = _namespace(local.netns)
    try:
        output = _log(local.log)
    except OSError:
        namespace.close()
        raise
    spec = service.spec
    return Launch(
        key=service.key,
        command=(str(Path(program).absolute()), *local.command[1:]),
        environment={**os.environ, "PORT": str(spec.target_port)},
        namespace=namespace,
        output=output,
        target_port=spec.target_port,
        place=ServicePlaced(
            frontends=(
                Frontend(
                    address=local.frontend,
                    port=spec.port,
                    sources=tuple(spec.load_balancer_source_ranges or ()),
                ),
            ),
            endpoints=(
                Endpoint(address=local.address, node=local.node, workload=namespace.workload),
            ),
        ),
    )


def _namespace(path: Path) -> Namespace:
    try:
        return Namespace(path)
    except FileNotFoundError as error:
        remedy = f"netns: no such namespace (ip netns add {path.name})"
        raise FileNotFoundError(error.errno, remedy, str(path)) from error


def _log(path: Path | None) -> int | None:
    if path is None:
        return None
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)


def _shared_frontends(launches: Mapping[str, Launch]) -> list[str]:
    owners: dict[Frontend, str] = {}
    problems = []
    for key, launch in launches.items():
        for frontend in launch.place.frontends:
            owner = owners.setdefault(frontend, key)
            if owner != key:
                address = f"{frontend.address}:{frontend.port}"
                problems.append(f"services.{key}: frontend: {address} is {owner}'s already")
    return problems
