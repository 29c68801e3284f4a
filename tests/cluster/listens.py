"""When a container's server listens: the kernel's event, on time.monotonic()'s clock.

The API's timestamps have whole seconds, and a watch sees a pod Ready some 10 ms after its server
listens.
"""

import contextlib
import os
import re
import select
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

TCP_LISTEN = 10  # <net/tcp_states.h>
# Go's servers listen by MPTCP, whose own socket tells of the same listen() twice more.
IPPROTO_TCP = 6
EVENT = re.compile(r"-(?P<pid>\d+)\s+\[\d+\].*?\s(?P<time>\d+\.\d+): inet_sock_set_state:")
POD = re.compile(r"/(?P<node>[^/]+)/kubepods/(?:[^/]+/)*pod(?P<uid>[0-9a-f-]{36})/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Listen:
    time_s: float
    "Of the listen() call, on time.monotonic()'s clock."
    node: str
    "Where the container runs."
    pod_uid: str
    "metadata.uid of its pod."
    pid: int
    "Of the server."


class Listens:
    """The LISTENs of one port in the pods of one cluster, from entering the block on."""

    def __init__(self, tracing: Path, *, cgroup_path: str, port: int) -> None:
        self._tracing = tracing
        self._cgroup_path = cgroup_path
        self._port = port
        self._lines = b""

    def __enter__(self) -> Self:
        # An instance: buffers and filters of our own, whatever else traces on this machine.
        self._tracing.mkdir()
        event = self._tracing / "events/sock/inet_sock_set_state"
        for file, value in (
            (self._tracing / "trace_clock", "mono"),
            # By default a reader is woken when half of the buffer is full.
            (self._tracing / "buffer_percent", "0"),
            (event / "filter", self._filter()),
            (event / "enable", "1"),
        ):
            file.write_text(value)
        self._pipe = os.open(self._tracing / "trace_pipe", os.O_RDONLY | os.O_NONBLOCK)
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._pipe)
        self._tracing.rmdir()

    def forget(self) -> None:
        """What has listened until now is of no interest."""
        self._lines = b""
        with contextlib.suppress(BlockingIOError):
            while os.read(self._pipe, 65536):
                pass

    def next(self, *, timeout_s: float) -> Listen:
        """The next one, or TimeoutError. What listens elsewhere on the machine is passed over."""
        deadline = time.monotonic() + timeout_s
        while True:
            line, found, rest = self._lines.partition(b"\n")
            if found:
                self._lines = rest
                if listen := self._parse(line.decode()):
                    return listen
            elif not select.select([self._pipe], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise TimeoutError(f"no pod listened on port {self._port} in {timeout_s:.0f} s")
            else:
                self._lines += os.read(self._pipe, 65536)

    def _filter(self) -> str:
        return f"newstate == {TCP_LISTEN} && protocol == {IPPROTO_TCP} && sport == {self._port}"

    def _parse(self, line: str) -> Listen | None:
        event = EVENT.search(line)
        if event is None:
            return None
        try:
            cgroups = Path(f"/proc/{event['pid']}/cgroup").read_text()
        except FileNotFoundError:  # it has ended already
            return None
        pod = POD.search(cgroups)
        if pod is None or self._cgroup_path not in cgroups:
            return None
        return Listen(
            time_s=float(event["time"]),
            node=pod["node"],
            pod_uid=pod["uid"],
            pid=int(event["pid"]),
        )
