"""The handover: a service's new connections go to its replica before kube-proxy knows of it.

The daemon sets an element, then replays; conntrack pins the connections made meanwhile.
"""

import contextlib
import json
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from wangell_daemon.datapath.nfnetlink import Nftables, add, delete
from wangell_daemon.datapath.nft import run_nft
from wangell_daemon.packets import V4_MAPPED, frontend_key

__all__ = ["TIMEOUT_MS", "Handover", "remove_rules"]

log = logging.getLogger(__name__)

RULES = Path(__file__).with_name("handover.nft")
# Only for a daemon that died: elements are renewed well before, and deleted when they are over.
TIMEOUT_MS = 30_000
_OF_FRONTENDS = ("handover4", "handover6", "away4", "away6")


class Handover:
    """The map `handover` of this network namespace. Frontends are bytes, struct frontend.

    What a predecessor left stays in force until `end_unclaimed`, or until it times out.
    """

    def __init__(self) -> None:
        """Raises DatapathError where nftables cannot be set up."""
        run_nft("-f", str(RULES))
        self._nftables = Nftables()
        self._held: dict[bytes, tuple[bytes, ...]] = {}  # frontend -> the messages that add it
        self._adopted = frozenset(_frontends_there())

    def replace(
        self, frontends: Iterable[bytes], *, address: str, port: int, is_away: bool
    ) -> None:
        """Send the frontends' new connections to this replica from now on. Raises OSError.

        All or none, in one call of the kernel: it is made between a LISTEN and the replay.
        `is_away`: on another node, so masqueraded.
        """
        value = _concatenated(frontend_key(address, port))
        self._put({each: _additions(each, value, is_away=is_away) for each in frontends})

    def end(self, frontend: bytes) -> None:
        """kube-proxy knows by now, or the replica is going. Raises OSError."""
        additions = self._held.pop(frontend, ())
        if additions:
            self._delete(frontend, count=len(additions))

    def end_unclaimed(self) -> None:
        """The table is whole: whose service asks for no handover, its replica may be anybody's now.

        Raises OSError.
        """
        unclaimed, self._adopted = self._adopted - self._held.keys(), frozenset()
        for frontend in unclaimed:
            self._clear(frontend)

    def renew(self) -> None:
        """Keep all elements from timing out. One that is refused is logged."""
        for frontend, additions in list(self._held.items()):
            try:
                self._put({frontend: additions})
            except OSError as error:
                log.warning("a handover was not renewed: %s", error)

    def close(self) -> None:
        """Close the socket; elements stay for a successor, until they time out."""
        self._nftables.close()

    def _put(self, wanted: Mapping[bytes, tuple[bytes, ...]]) -> None:
        """Delete and add in one transaction: adding what is there would refresh nothing."""
        additions = [message for messages in wanted.values() for message in messages]
        deletions = [
            message
            for frontend in wanted
            for message in _deletions(frontend)[: len(self._held.get(frontend, ()))]
        ]
        try:
            self._nftables.commit(*deletions, *additions)
        except (FileNotFoundError, FileExistsError):
            # One timed out, or a predecessor left it.
            for frontend in wanted:
                self._clear(frontend)
            self._nftables.commit(*additions)
        self._held.update(wanted)

    def _delete(self, frontend: bytes, *, count: int) -> None:
        try:
            self._nftables.commit(*_deletions(frontend)[:count])
        except FileNotFoundError:  # it timed out
            self._clear(frontend)

    def _clear(self, frontend: bytes) -> None:
        """Delete one by one. A refused transaction costs 6 ms in the kernel: only when needed."""
        for message in _deletions(frontend):
            with contextlib.suppress(FileNotFoundError):
                self._nftables.commit(message)


def remove_rules() -> None:
    """Delete the table with all that is in it, if it is there."""
    run_nft("add table inet wangell; delete table inet wangell")


def _additions(frontend: bytes, value: bytes, *, is_away: bool) -> tuple[bytes, ...]:
    family, key = _family(frontend), _concatenated(frontend)
    handover = add(f"handover{family}", key, value=value, timeout_ms=TIMEOUT_MS)
    if not is_away:
        return (handover,)
    return handover, add(f"away{family}", key, timeout_ms=TIMEOUT_MS)


def _deletions(frontend: bytes) -> tuple[bytes, ...]:
    family, key = _family(frontend), _concatenated(frontend)
    return delete(f"handover{family}", key), delete(f"away{family}", key)


def _family(frontend: bytes) -> int:
    return 4 if frontend.startswith(V4_MAPPED) else 6


def _concatenated(frontend: bytes) -> bytes:
    """As nftables concatenates: each part padded to four bytes."""
    address = frontend[12:16] if _family(frontend) == 4 else frontend[:16]
    return address + frontend[16:18] + b"\0\0"


def _frontends_there() -> list[bytes]:
    """Those in the kernel. At the start only, so it may be nft, which reads the whole ruleset."""
    listed = json.loads(run_nft("--json", "list", "table", "inet", "wangell"))["nftables"]
    elements = [
        element
        for each in listed
        for found in each.values()
        if found.get("name") in _OF_FRONTENDS
        for element in found.get("elem", ())
    ]
    return [frontend_key(*_key_of(element)["concat"]) for element in elements]


def _key_of(element: Any) -> Any:
    """A map's element is a pair of key and value; one with a timeout is wrapped."""
    key = element[0] if isinstance(element, list) else element
    return key["elem"]["val"] if "elem" in key else key
