"""Who is linked to a server, who is about to be, and who was a moment ago."""

from collections.abc import Callable, Iterator

from wangell_proto.accepted import AcceptedLink, Peer
from wangell_proto.constants import PEERS_MAX, UNCONFIRMED_MAX
from wangell_proto.handshake import Greeting

__all__ = ["Roster"]


class Roster:
    """Links by session and peers by name, within bounds."""

    def __init__(self, random: Callable[[int], bytes], *, forget_after_s: float) -> None:
        self._random = random
        self._forget_after_s = forget_after_s
        self.links: dict[int, AcceptedLink] = {}
        self.peers: dict[str, Peer] = {}
        self._unconfirmed: dict[int, AcceptedLink] = {}
        self._lost: dict[str, float] = {}

    def up(self) -> dict[str, AcceptedLink]:
        """Return the links that are up, by the name of their peer."""
        return {name: peer.link for name, peer in self.peers.items() if peer.link is not None}

    def has_room_for(self, name: str) -> bool:
        """Say whether a peer of this name can be kept."""
        return name in self.peers or len(self.peers) < PEERS_MAX

    def find(self, greeting: Greeting, static: bytes) -> Peer | None:
        """Return what is known of this very run of a peer's process."""
        peer = self.peers.get(greeting.name)
        return peer if peer is not None and peer.is_same(greeting, static) else None

    def new_session(self) -> int:
        """Return a number that no link has: random, so that a stranger has to guess it."""
        while True:
            session = int.from_bytes(self._random(4), "big")
            if session and session not in self.links:
                return session

    def add(self, link: AcceptedLink) -> AcceptedLink | None:
        """Keep a link that is not up yet; return one that had to go for it.

        The oldest goes: a peer confirms within one round trip, a flood takes longer to get here.
        """
        evicted = None
        if len(self._unconfirmed) >= UNCONFIRMED_MAX:
            evicted = next(iter(self._unconfirmed.values()))
        self._unconfirmed[link.session] = self.links[link.session] = link
        return evicted

    def install(self, link: AcceptedLink) -> None:
        """Make this the link of its peer, which had none, or was forgotten."""
        self._unconfirmed.pop(link.session, None)
        self.peers[link.peer.name] = link.peer
        self._lost.pop(link.peer.name, None)
        link.peer.link = link

    def remove(self, link: AcceptedLink, *, was_up: bool, now: float) -> None:
        """Let a link go; its peer is remembered for a while."""
        self.links.pop(link.session, None)
        self._unconfirmed.pop(link.session, None)
        if was_up:
            link.peer.link = None
            self._lost[link.peer.name] = now

    def forget(self, name: str) -> Peer:
        """Forget a peer that has no link."""
        self._lost.pop(name, None)
        return self.peers.pop(name)

    @property
    def forget_at(self) -> float | None:
        """When the first of those that are lost is to be forgotten."""
        return next(iter(self._lost.values())) + self._forget_after_s if self._lost else None

    def forgettable(self, now: float) -> Iterator[str]:
        """Yield the peers that did not come back in time."""
        for name, lost_at in list(self._lost.items()):
            if now < lost_at + self._forget_after_s:
                return
            yield name
