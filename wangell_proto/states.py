"""The states of a link, as data, for both sides of it.

Every change of a link's state is a row of TRANSITIONS. This file does not know what a socket, a
clock or a key is; client.py and server.py turn datagrams, calls and timers into inputs.
docs/protocol.md draws the table, and a test compares the drawing.
"""

import enum
from collections.abc import Mapping
from types import MappingProxyType

__all__ = ["TRANSITIONS", "LinkInput", "LinkMachine", "LinkState", "next_state"]


class LinkState(enum.Enum):
    """Where a link is between nothing and up."""

    RESTING = "resting"  # Client: no attempt under way; the next one has its time.
    GREETING = "greeting"  # Client: INITIATION sent without a cookie.
    CHALLENGED = "challenged"  # Client: the cookie came; INITIATION sent with it.
    PROVING = "proving"  # Keys exist. Client: waits for WELCOME. Server: waits for HELLO.
    JUDGED = "judged"  # Server: the peer holds the keys; the application looks at its credential.
    UP = "up"  # Both sides have proved what they must; messages flow.
    CLOSED = "closed"  # Ended for good. Final.


class LinkInput(enum.Enum):
    """What can happen to a link."""

    DIAL = "dial"  # Local: the time to try has come, or to renew the keys.
    RETRY = "retry"  # Remote, by MAC: a cookie.
    RESPONSE = "response"  # Remote, authenticated: the handshake's second message.
    HELLO = "hello"  # Server, authenticated: the peer holds the keys.
    ADMISSION = "admission"  # Client: WELCOME came. Server: the application, or none, agreed.
    SILENCE = "silence"  # Timer: nothing heard in time.
    GOODBYE = "goodbye"  # Remote, authenticated: the peer ends the link.
    CLOSE = "close"  # Local: the caller ends the link.


_S, _I = LinkState, LinkInput

# A client's link rests after an end and dials again; a server's is not dialled and so ends for
# good with the object that held it.
TRANSITIONS: Mapping[LinkState, Mapping[LinkInput, LinkState]] = MappingProxyType({
    _S.RESTING:    {_I.DIAL: _S.GREETING, _I.CLOSE: _S.CLOSED},
    _S.GREETING:   {_I.RETRY: _S.CHALLENGED, _I.RESPONSE: _S.PROVING, _I.SILENCE: _S.RESTING,
                    _I.CLOSE: _S.CLOSED},
    _S.CHALLENGED: {_I.RESPONSE: _S.PROVING, _I.SILENCE: _S.RESTING, _I.CLOSE: _S.CLOSED},
    _S.PROVING:    {_I.HELLO: _S.JUDGED, _I.ADMISSION: _S.UP, _I.SILENCE: _S.RESTING,
                    _I.GOODBYE: _S.RESTING, _I.CLOSE: _S.CLOSED},
    _S.JUDGED:     {_I.ADMISSION: _S.UP, _I.SILENCE: _S.RESTING, _I.GOODBYE: _S.RESTING,
                    _I.CLOSE: _S.CLOSED},
    # While up, a handshake renews the keys and the link notices nothing of it.
    _S.UP:         {_I.DIAL: _S.UP, _I.RETRY: _S.UP, _I.RESPONSE: _S.UP, _I.SILENCE: _S.RESTING,
                    _I.GOODBYE: _S.RESTING, _I.CLOSE: _S.CLOSED},
    _S.CLOSED:     {},
})  # fmt: skip


def next_state(state: LinkState, received: LinkInput) -> LinkState | None:
    """Return the state that follows, or None where the input means nothing here.

    None is no error: on UDP a late or repeated datagram is ordinary. The caller counts a remote
    one as a drop.
    """
    return TRANSITIONS[state].get(received)


class LinkMachine:
    """Holds the state of one link. The only place that assigns it."""

    __slots__ = ("state",)

    def __init__(self, state: LinkState) -> None:
        self.state = state

    def move(self, received: LinkInput) -> bool:
        """Follow the table; False, and no change, where the input means nothing here."""
        following = next_state(self.state, received)
        if following is None:
            return False
        self.state = following
        return True
