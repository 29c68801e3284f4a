"""The phases of a service, as data: Cold -> Waking -> Warm -> Draining -> Cold.

Rules:
1. Every change of a service's phase is a row of TRANSITIONS, and `controller` alone makes it.
2. An input that has no row means nothing in that phase. It is no error: a late or repeated report
   is ordinary on UDP, and a replica may end while it is being stopped.
3. A replica runs, or was asked for, in Waking, Warm and Draining, and in none other.
"""

import enum
from collections.abc import Mapping
from types import MappingProxyType

from wangell_proto.vocabulary import Phase

__all__ = ["STOPS_REPLICA", "TRANSITIONS", "PhaseInput", "next_phase"]


class PhaseInput(enum.Enum):
    """What can happen to a service."""

    WAKE = "wake"  # A daemon holds a SYN for it.
    FOUND = "found"  # A restarted controller found its replica running.
    LISTENING = "listening"  # A replica's server listens.
    IDLE = "idle"  # No packet on any daemon for idleTimeout.
    ARMED_EMPTY = "armed and empty"  # Every daemon holds new SYNs, and no connection lives.
    ARMED_BUSY = "armed but busy"  # A daemon counted live connections.
    UNARMED = "unarmed"  # A daemon did not say in time that it holds new SYNs.
    START_FAILED = "start failed"  # The backend could not start a replica.
    DEADLINE = "deadline"  # No LISTEN within the activation timeout.
    ENDED = "ended"  # The replica ended by itself.
    REPLACED = "replaced"  # The replica ended, and the platform starts another in its place.
    CHANGED = "changed"  # Its manifest asks for another replica than the one that runs.


_P, _I = Phase, PhaseInput

TRANSITIONS: Mapping[Phase, Mapping[PhaseInput, Phase]] = MappingProxyType({
    _P.COLD:     {_I.WAKE: _P.WAKING, _I.FOUND: _P.WAKING},
    _P.WAKING:   {_I.LISTENING: _P.WARM, _I.START_FAILED: _P.COLD, _I.DEADLINE: _P.COLD,
                  _I.ENDED: _P.COLD, _I.CHANGED: _P.COLD},
    _P.WARM:     {_I.IDLE: _P.DRAINING, _I.ENDED: _P.COLD, _I.CHANGED: _P.COLD,
                  _I.REPLACED: _P.WAKING},
    _P.DRAINING: {_I.ARMED_EMPTY: _P.COLD, _I.ARMED_BUSY: _P.WARM, _I.UNARMED: _P.WARM,
                  _I.WAKE: _P.WARM, _I.ENDED: _P.COLD, _I.CHANGED: _P.COLD,
                  _I.REPLACED: _P.WAKING},
})  # fmt: skip

# On the way to Cold, these leave a replica behind that has to be stopped.
STOPS_REPLICA = frozenset({_I.ARMED_EMPTY, _I.DEADLINE, _I.CHANGED})


def next_phase(phase: Phase, happened: PhaseInput) -> Phase | None:
    """Return the phase that follows, or None where the input means nothing in this one."""
    return TRANSITIONS[phase].get(happened)
