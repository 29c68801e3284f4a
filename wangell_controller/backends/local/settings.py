"""The file that says what the local backend starts in place of a service's image."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from wangell_controller.model.forms import IpAddress

__all__ = ["SERVICES_MAX", "LocalService", "LocalSettings"]

# Each holds up to three descriptors (namespace, process, log); 1,024 is the usual limit of them.
SERVICES_MAX = 300
# execve() takes 128 KiB an argument and some 2 MiB in all; a command line is far shorter.
ARGUMENTS_MAX = 256
ARGUMENT_CHARS_MAX = 4096


def _without_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("should have no NUL character: no command can be given one")
    return text


def _absolute(path: Path) -> Path:
    if not path.is_absolute() or "\0" in str(path):
        raise ValueError("should be an absolute path")
    return path


_Text = Annotated[
    str,
    StringConstraints(min_length=1, max_length=ARGUMENT_CHARS_MAX),
    AfterValidator(_without_nul),
]
_AbsolutePath = Annotated[Path, Field(strict=False), AfterValidator(_absolute)]


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class LocalService(_Closed):
    """How one service is started, and where it is found."""

    command: Annotated[list[_Text], Field(min_length=1, max_length=ARGUMENTS_MAX)]
    "What to start; it finds its port in the environment variable PORT, as with Knative"
    netns: _AbsolutePath
    "The network namespace to start it in"
    address: IpAddress
    "The server's own address there"
    node: _Text
    "The node whose daemon sees it listen"
    frontend: IpAddress
    "The address that callers use"
    log: _AbsolutePath | None = None
    "Where the server's output is appended; by default it goes where the controller's goes"


class LocalSettings(_Closed):
    """The whole file."""

    services: Annotated[dict[str, LocalService], Field(max_length=SERVICES_MAX)]
    "By `namespace/name`"
    stop_grace_s: Annotated[float, Field(ge=0, le=300)] = 10.0
    "Between SIGTERM and SIGKILL; 300 s is longer than any default of Kubernetes"
