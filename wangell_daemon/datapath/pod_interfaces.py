"""The hold program at tc ingress of each pod's interface on this node, as they come and go.

A pod's own calls never pass the node's interface. They enter the node at the host's end of the
pod's cable, before anybody has translated them; on the bridge behind it they may come translated.
"""

import contextlib
import errno
import fnmatch
import logging
import os
import select
import threading
from collections.abc import Callable, Iterable

from wangell_daemon.datapath.rtnetlink import (
    Link,
    LinkWatch,
    Rtnetlink,
    add_clsact,
    delete_clsact,
    delete_filter,
    put_filter,
)

__all__ = ["AUTO", "PROGRAM_NAME", "PodInterfaces", "detach_pod_interfaces", "is_a_pods"]

log = logging.getLogger(__name__)

PROGRAM_NAME = "wangell_call"
AUTO = "auto"
# How the kernel says that a filter, its place or the interface itself is not there.
_NOT_THERE = (errno.ENOENT, errno.EINVAL, errno.ENODEV)


def is_a_pods(link: Link, patterns: Iterable[str]) -> bool:
    """Whether a pod is behind an interface: `auto`, or patterns of names such as `cali*`.

    `auto` is a veth whose other end is in another network namespace, as nearly every network
    plugin makes them.
    """
    return any(
        link.kind == "veth" and link.has_peer_elsewhere
        if pattern == AUTO
        else fnmatch.fnmatchcase(link.name, pattern)
        for pattern in patterns
    )


class PodInterfaces:
    """Those of one network namespace. `attach` once, then `follow`.

    A thread follows them, because the kernel lets nobody attach while it takes a namespace down:
    that may be 50 ms, in which no wake on the event loop is to wait. What is attached stays when it
    ends, and a filter goes with its interface.
    """

    def __init__(
        self,
        program_fd: int,
        *,
        patterns: tuple[str, ...],
        besides: int,
        on_failure: Callable[[], None] = lambda: None,
    ) -> None:
        """`besides`: the ifindex of the node's own interface, which is XDP's."""
        self._program_fd = program_fd
        self._patterns = patterns
        self._besides = besides
        self._on_failure = on_failure
        self._watch = LinkWatch()
        self._requests = Rtnetlink()
        self._attached: set[int] = set()
        self._refused: set[int] = set()
        self._stop = os.eventfd(0, os.EFD_CLOEXEC)
        self._thread = threading.Thread(target=self._follow, name="pod-interfaces", daemon=True)

    def __len__(self) -> int:
        return len(self._attached)

    def attach(self) -> None:
        """Attach to all that there are, also where a predecessor's program is. Raises OSError."""
        self._attached.clear()
        for link in self._requests.links():
            self._see(link)

    def follow(self) -> None:
        """Go on with those that come."""
        self._thread.start()

    def close(self) -> None:
        """Follow no more; what is attached stays."""
        if self._thread.is_alive():
            os.eventfd_write(self._stop, 1)
            self._thread.join()
        self._watch.close()
        self._requests.close()
        os.close(self._stop)

    def _follow(self) -> None:
        poll = select.poll()
        poll.register(self._watch, select.POLLIN)
        poll.register(self._stop, select.POLLIN)
        while self._stop not in [descriptor for descriptor, _event in poll.poll()]:
            try:
                for link in self._watch.changes():
                    self._see(link)
            except OSError as error:
                self._list_anew(error)

    def _list_anew(self, why: OSError) -> None:
        """More has changed than the socket holds, or the kernel has no memory for it just now."""
        log.warning("changes of interfaces were lost (%s): listing them anew", why)
        try:
            self.attach()
        except OSError:
            log.exception("interfaces could not be listed: calls of new pods may not be seen")
            self._on_failure()

    def _see(self, link: Link) -> None:
        if link.is_gone:
            self._attached.discard(link.index)
            self._refused.discard(link.index)
        elif link.index not in self._attached and self._is_wanted(link):
            self._attach(link)

    def _is_wanted(self, link: Link) -> bool:
        return link.index != self._besides and is_a_pods(link, self._patterns)

    def _attach(self, link: Link) -> None:
        try:
            with contextlib.suppress(FileExistsError):
                self._requests.request(add_clsact(link.index))
            self._requests.request(put_filter(link.index, self._program_fd, PROGRAM_NAME))
        except OSError as error:
            self._tell(link, error)
        else:
            self._attached.add(link.index)
            log.debug("tc ingress of %s", link.name)

    def _tell(self, link: Link, error: OSError) -> None:
        """Say once that callers behind an interface wake nothing; one just gone is no failure."""
        if error.errno != errno.ENODEV and link.index not in self._refused:
            self._refused.add(link.index)
            log.warning("%s: calls of its pod are not seen: %s", link.name, error)
            self._on_failure()


def detach_pod_interfaces() -> int:
    """Take our program off every interface of this namespace. Returns how many had it."""
    requests = Rtnetlink()
    try:
        return sum(_detach(requests, link.index) for link in requests.links())
    finally:
        requests.close()


def _detach(requests: Rtnetlink, ifindex: int) -> bool:
    if not _succeeds(requests, delete_filter(ifindex)):
        return False
    # Others' filters stay, and the place with them.
    if not requests.has_filters(ifindex):
        _succeeds(requests, delete_clsact(ifindex))
    return True


def _succeeds(requests: Rtnetlink, message: bytes) -> bool:
    try:
        requests.request(message)
    except OSError as error:
        if error.errno not in _NOT_THERE:
            raise
        return False
    return True
