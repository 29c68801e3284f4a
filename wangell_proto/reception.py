"""Answers handshakes: new links for those who come, new keys for those who are linked."""

from collections import deque

from wangell_proto.accepted import AcceptedLink, Accepter, Peer
from wangell_proto.constants import (
    HANDSHAKES_PER_CALL,
    HANDSHAKES_WAITING_MAX,
    INCARNATION_BYTES,
    KEY_BYTES,
)
from wangell_proto.dispatch import Dispatch
from wangell_proto.doorman import Caller, Doorman, Knock
from wangell_proto.errors import DropReason
from wangell_proto.events import Address, LinkEnd
from wangell_proto.handshake import Reply
from wangell_proto.roster import Roster
from wangell_proto.states import LinkInput
from wangell_proto.wire import Header

__all__ = ["Reception"]


class Reception:
    """What a server does with INITIATIONs."""

    def __init__(
        self, server: Accepter, doorman: Doorman, roster: Roster, dispatch: Dispatch
    ) -> None:
        self._server = server
        self._doorman = doorman
        self._roster = roster
        self._dispatch = dispatch
        self._waiting: deque[Knock] = deque()

    def set_psks(self, psks: tuple[bytes, ...]) -> None:
        """From now on these admit, and no others."""
        self._doorman.set_psks(psks)

    def receive(
        self, data: bytes, header: Header, source: Address, *, now: float
    ) -> DropReason | None:
        """Take an INITIATION; return why it leads nowhere, if so."""
        verdict = self._doorman.receive(data, header, source, now=now)
        if isinstance(verdict, bytes):
            self._dispatch.answer(verdict, source)
            return DropReason.ADDRESS_UNPROVEN
        if not isinstance(verdict, Knock):
            return verdict
        if len(self._waiting) >= HANDSHAKES_WAITING_MAX:
            return DropReason.SERVER_BUSY
        self._waiting.append(verdict)
        return None

    @property
    def has_waiting(self) -> bool:
        """Say whether `work` has something to do."""
        return bool(self._waiting)

    def work(self, now: float) -> None:
        """Answer a few of those who wait: when all peers come at once, wakes go in between."""
        if not self._waiting:
            return
        for _ in range(min(HANDSHAKES_PER_CALL, len(self._waiting))):
            caller = self._doorman.open(self._waiting.popleft())
            if isinstance(caller, Caller):
                answer = self._renew if caller.greeting.resumes else self._meet
                reason = answer(caller, now)
            else:
                reason = caller
            if reason is not None:
                self._server.drops[reason] += 1

    def _renew(self, caller: Caller, now: float) -> DropReason | None:
        """Offer new keys for a link that is up."""
        link = self._roster.links.get(caller.greeting.resumes)
        if link is None or not link.is_up or link.address != caller.address:
            return DropReason.UNKNOWN_SESSION
        if not link.peer.is_same(caller.greeting, caller.static):
            return DropReason.UNKNOWN_SESSION  # Somebody else has learned of the session.
        if caller.attempt <= link.last_attempt:
            return DropReason.STALE_HANDSHAKE  # Overtaken: the peer waits for a later one.
        reply = Reply(
            session=link.session,
            key_id=link.channel.keyring.next_key_id,
            incarnation=link.peer.our_incarnation,
        )
        response, keys = caller.answer(reply, ephemeral=self._server.random(KEY_BYTES), now=now)
        link.offer(keys, caller.attempt)
        self._dispatch.answer(response, caller.address)
        return None

    def _meet(self, caller: Caller, now: float) -> DropReason | None:
        """Answer a handshake for a new link."""
        greeting = caller.greeting
        if not self._roster.has_room_for(greeting.name):
            return DropReason.SERVER_FULL
        peer = self._roster.find(greeting, caller.static)
        if peer is None:
            peer = Peer(greeting, caller.static, self._server.random(INCARNATION_BYTES))
        session = self._roster.new_session()
        reply = Reply(session=session, key_id=0, incarnation=peer.our_incarnation)
        response, keys = caller.answer(reply, ephemeral=self._server.random(KEY_BYTES), now=now)
        link = AcceptedLink(
            self._server,
            peer,
            address=caller.address,
            session=session,
            peer_session=caller.session,
            attempt=caller.attempt,
            credential=greeting.credential,
            keys=keys,
            now=now,
        )
        evicted = self._roster.add(link)
        if evicted is not None:
            evicted.end(LinkEnd.SILENCE, LinkInput.SILENCE, now=now)
        self._dispatch.look_again(link)
        self._dispatch.answer(response, caller.address)
        return None
