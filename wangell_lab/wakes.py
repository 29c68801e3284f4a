"""One wake, looked at from all sides: the caller's clock, the wire, the daemon's own account."""

from collections.abc import Callable
from dataclasses import dataclass

from wangell_lab.client import CurlExchange, Exchange
from wangell_lab.cold_starts import PHASES, ColdStart
from wangell_lab.lab import Lab

__all__ = ["Wake", "back_to_zero", "problem_with", "wake"]

# The daemon writes its line as soon as it has seen the ACK; this long and something is wrong.
ACCOUNT_TIMEOUT_S = 5.0
# From the server's end to the controller's word that the service is cold: some milliseconds.
COLD_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Wake:
    """What one request to a service at zero was like."""

    caller: Exchange | CurlExchange
    cold_start: ColdStart
    client_syns: int
    "SYNs of this connection on the client's interface"


def wake(lab: Lab, call: Callable[[], Exchange | CurlExchange]) -> Wake:
    """Call a service that is at zero. Raises OSError, LabError where it does not answer."""
    with lab.capture() as capture:
        caller = call()
        cold_start = lab.callers_daemon.cold_starts.next(timeout_s=ACCOUNT_TIMEOUT_S)
        return Wake(
            caller=caller,
            cold_start=cold_start,
            client_syns=len(capture.syns(caller.client_port)),
        )


def back_to_zero(lab: Lab, service: str) -> None:
    """End the service's server, as a crash would, and wait until its SYNs are held again."""
    lab.end_servers()
    lab.wait_until_at_zero(service, timeout_s=COLD_TIMEOUT_S)


def problem_with(wake: Wake) -> str | None:
    """Say what broke the product's promise; None where nothing did."""
    if wake.client_syns != 1:
        return f"{wake.client_syns} SYNs of the client, where one should do"
    if not wake.cold_start.answered:
        return f"the daemon says it was {wake.cold_start.outcome}"
    if missing := [name for name in PHASES if name not in wake.cold_start.phases_ms]:
        return f"nobody knows how long {', '.join(missing)} took"
    if wake.caller.status != 200:
        return f"the response was HTTP {wake.caller.status}, not 200"
    return None
