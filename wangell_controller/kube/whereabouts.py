"""Where the pods are of what was raised without the leader: told to daemons as it becomes known.

Whose LISTEN lets callers in, daemons learn from the leader's records. One that was killed writes
none for some seconds, 15 where its node is lost, and a caller's SYN would come again. So whoever
raises stands in for that, too, and for that alone: a word on one activation, which the next record
ends. Where the leader lives, daemons hear the same from it, and nothing changes twice.
"""

import asyncio
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field

from wangell_controller.apply import Link
from wangell_controller.kube.endpoints import Endpoints
from wangell_controller.kube.inventory import Inventory
from wangell_controller.kube.observed import pod_of
from wangell_controller.model import ip_address
from wangell_proto.vocabulary import Endpoint, Listening, Raised

__all__ = ["FOLLOW_S", "Whereabouts"]

# After the last wake or LISTEN that was heard. Daemons say a wake again each second.
FOLLOW_S = 60.0
# 150 bytes each: well within a message's 64 KiB, and callers need one.
ENDPOINTS_MAX = 200


@dataclass(slots=True, kw_only=True)
class _Followed:
    """A service that was raised without its leader."""

    activation: int
    until: float = 0.0
    heard: dict[str, str] = field(default_factory=dict)
    "Pods that a daemon heard listen, and the address it read there; empty where it read none"
    told: Raised | None = None


class Whereabouts:
    """Of all that this controller has raised, or heard listen, while it stands by."""

    def __init__(self, inventory: Inventory, link: Link) -> None:
        self._inventory = inventory
        self._link = link
        self._loop = asyncio.get_running_loop()
        self._peers: set[str] = set()
        self._followed: dict[str, _Followed] = {}
        self._unplaced: dict[str, dict[str, Listening]] = {}
        "Of no pod that is known, by service and daemon: one each, which is a service's last"

    def link_up(self, peer: str) -> None:
        """A daemon is linked: it may have missed what the others were told."""
        self._peers.add(peer)
        for followed in self._current().values():
            if followed.told is not None:
                self._link.send(peer, followed.told)

    def link_down(self, peer: str) -> None:
        """A daemon is linked no more."""
        self._peers.discard(peer)

    def raised(self, key: str, activation: int, *, peer: str) -> None:
        """It is up for this activation, and `peer` has asked, perhaps not for the first time."""
        followed = self._current().get(key)
        if followed is None or followed.activation != activation:
            followed = _Followed(activation=activation)
        self._follow(key, followed)
        if not self._tell(key, followed) and followed.told is not None:
            self._link.send(peer, followed.told)

    def heard(self, peer: str, report: Listening) -> None:
        """A daemon says that a pod listens: a leader that lives has heard it, too.

        Perhaps before it is known here that there is one: its watch rests, and is read now.
        """
        if self._inventory.declaration(report.service) is None:
            return
        pods = {(each.node, each.workload) for each in self._endpoints(report.service)}
        if (peer, report.workload) not in pods:
            self._unplaced.setdefault(report.service, {})[peer] = report
            self._inventory.pace.hurry(0.0)
            return
        followed = self._current().get(report.service)
        if followed is None or followed.activation < report.activation:
            followed = _Followed(activation=report.activation)
        if followed.activation == report.activation:
            followed.heard[report.workload] = _address_of(report)
            self._follow(report.service, followed)
            self._tell(report.service, followed)

    def moved(self, key: str) -> None:
        """Its pods have changed."""
        for peer, report in self._unplaced.pop(key, {}).items():
            self.heard(peer, report)
        followed = self._current().get(key)
        if followed is not None:
            self._tell(key, followed)

    def _follow(self, key: str, followed: _Followed) -> None:
        followed.until = self._loop.time() + FOLLOW_S
        self._followed[key] = followed

    def _current(self) -> Mapping[str, _Followed]:
        """Those that were spoken of within FOLLOW_S: the others are forgotten."""
        now = self._loop.time()
        self._followed = {key: each for key, each in self._followed.items() if now < each.until}
        return self._followed

    def _tell(self, key: str, followed: _Followed) -> bool:
        """Return whether there was something new."""
        there = self._endpoints(key)
        if not there:
            # Whoever asks next would let callers in to what has gone, where conntrack keeps them.
            followed.told = None
            return False
        listening = [
            dataclasses.replace(each, address=each.address or followed.heard[each.workload])
            for each in there
            if each.workload in followed.heard
        ]
        raised = Raised(
            service=key,
            activation=followed.activation,
            endpoints=tuple(listening or there)[:ENDPOINTS_MAX],
            is_listening=bool(listening),
        )
        if raised == followed.told:
            return False
        followed.told = raised
        for peer in self._peers:
            self._link.send(peer, raised)
        return True

    def _endpoints(self, key: str) -> tuple[Endpoint, ...]:
        endpoints = Endpoints()
        endpoints.see_pods(pod_of(pod) for pod in self._inventory.pods(key))
        return endpoints.placed(now=self._loop.time()).endpoints


def _address_of(report: Listening) -> str:
    """Where the pod is, as its node says; empty if that is no address."""
    try:
        return ip_address(report.address)
    except ValueError:
        return ""
