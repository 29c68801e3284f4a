"""The handover: a service's new connections go to its replica before kube-proxy knows of it.

The daemon sets an element, then replays; conntrack pins the connections made meanwhile.
"""

import json
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from wangell_daemon.datapath.nft import run_nft
from wangell_daemon.datapath.orders import Order, Orders, draw_password, rules_with
from wangell_daemon.packets import frontend_key

__all__ = ["TIMEOUT_MS", "Handover", "remove_rules"]

log = logging.getLogger(__name__)

RULES = Path(__file__).with_name("handover.nft")
# Only for a daemon that died: elements are renewed well before, and deleted when they are over.
TIMEOUT_MS = 30_000
_OF_FRONTENDS = ("handover4", "away4")


class Handover:
    """The map `handover` of this network namespace. Frontends are bytes, struct frontend.

    What a predecessor left stays in force until `end_unclaimed`, or until it times out.
    """

    def __init__(self) -> None:
        """Raises DatapathError where nftables cannot be set up, and OSError."""
        password = draw_password()
        # By a pipe: everybody on the node may read a command line.
        run_nft("-f", "-", text=rules_with(password, RULES))
        self._orders = Orders(password)
        self._held: dict[bytes, tuple[bytes, bool]] = {}  # frontend -> replica, is it away
        self._adopted = frozenset(_frontends_there())

    def replace(
        self, frontends: Iterable[bytes], *, address: str, port: int, is_away: bool
    ) -> None:
        """Send the frontends' new connections to this replica from now on. Raises OSError.

        `is_away`: on another node, so masqueraded.
        """
        replica, order = frontend_key(address, port), Order.AWAY if is_away else Order.HERE
        wanted = tuple(frontends)
        self._orders.give(order, wanted, replica)
        self._held.update(dict.fromkeys(wanted, (replica, is_away)))

    def end(self, frontend: bytes) -> None:
        """kube-proxy knows by now, or the replica is going. Raises OSError."""
        if self._held.pop(frontend, None) is not None:
            self._orders.give(Order.END, [frontend])

    def end_unclaimed(self) -> None:
        """The table is whole: whose service asks for no handover, its replica may be anybody's now.

        Raises OSError.
        """
        unclaimed, self._adopted = self._adopted - self._held.keys(), frozenset()
        for frontend in unclaimed:
            self._orders.give(Order.END, [frontend])

    def renew(self) -> None:
        """Keep all elements from timing out. One that is refused is logged."""
        for frontend, (replica, is_away) in self._held.items():
            order = Order.RENEW_AWAY if is_away else Order.RENEW_HERE
            try:
                self._orders.give(order, [frontend], replica)
            except OSError as error:
                log.warning("a handover was not renewed: %s", error)

    def close(self) -> None:
        """Close the sockets; elements stay for a successor, until they time out."""
        self._orders.close()


def remove_rules() -> None:
    """Delete the table with all that is in it, if it is there."""
    run_nft("add table inet wangell; delete table inet wangell")


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
