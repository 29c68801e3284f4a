"""What the caller decides, once. Every value is checked here, so that the core need not."""

from dataclasses import dataclass, field

from wangell_proto.constants import (
    CREDENTIAL_BYTES_MAX,
    KEY_BYTES,
    NUMBER_MAX,
    PEER_NAME_CHARS_MAX,
    PREFIXES_MAX,
    PSK_BYTES,
    SERVERS_MAX,
)
from wangell_proto.errors import LocalProtocolError, is_text

__all__ = [
    "ClientConfig",
    "ServerConfig",
    "Timers",
    "check_credential",
    "check_psks",
    "check_servers",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Timers:
    """Every time of the protocol, in seconds. The defaults suit a cluster; tests lower them."""

    heartbeat_interval_s: float = 1.0
    "Each side sends one that often"
    ping_after_s: float = 1.2
    "Silence after which a peer is pinged"
    ping_interval_s: float = 0.1
    "Between pings, with 20 % of jitter"
    dead_after_s: float = 3.0
    "Silence that ends a link"
    ack_delay_s: float = 0.0
    """An acknowledgement waits that long for company: not at all, for it leaves with all that its
    datagram causes at once, and a timer of its own would be another turn of the loop"""
    rto_floor_s: float = 0.005
    "Retransmission timeout at least. TCP's 200 ms would be felt by whoever waits for a wake"
    rto_cap_s: float = 0.4
    "Back-off ends here, so that a link of 3 s has some tries left"
    greeting_timeout_s: float = 0.1
    "A handshake without answer is tried again after it; doubles up to greeting_cap_s"
    greeting_cap_s: float = 1.0
    "Between tries to a server that is away"
    confirm_within_s: float = 3.0
    "A handshake that the peer has not confirmed by then is forgotten by the server"
    judge_within_s: float = 10.0
    "A peer whose credential the application has not judged by then is refused"
    rekey_after_s: float = 3600.0
    "Keys older than this are renewed; the server ends a link whose keys are twice as old"
    rekey_after_packets: int = 2**22
    "Packets sealed under one key, after which it is renewed"
    withdrawn_grace_s: float = 8.0
    "A link whose pre-shared key is withdrawn has so long to renew its keys with another"
    second_server_after_s: float = 0.02
    "An unacknowledged wake goes to a second server as well"
    cookie_lifetime_s: float = 60.0
    "A cookie is good for one to two of these"
    forget_after_s: float = 60.0
    "A server keeps what a lost peer has not acknowledged, and what it delivered, for so long"


def _check(ok: object, message: str) -> None:
    if not ok:
        raise LocalProtocolError(message)


def check_psks(psks: tuple[bytes, ...]) -> None:
    """Raise LocalProtocolError unless these are one or two different pre-shared keys."""
    _check(1 <= len(psks) <= 2, f"psks: give one, or two while rotating, not {len(psks)}")
    _check(len(set(psks)) == len(psks), "psks: one is given twice")
    for psk in psks:
        _check(len(psk) == PSK_BYTES, f"psks: each is {PSK_BYTES} bytes, not {len(psk)}")


def check_credential(credential: bytes) -> None:
    """Raise LocalProtocolError where a credential is longer than a handshake carries."""
    _check(
        len(credential) <= CREDENTIAL_BYTES_MAX,
        f"credential: at most {CREDENTIAL_BYTES_MAX} bytes, not {len(credential)}",
    )


def check_servers(servers: tuple[tuple[str, int], ...]) -> None:
    """Raise LocalProtocolError unless these are addresses that a client can keep links to."""
    _check(0 < len(servers) <= SERVERS_MAX, f"servers: give 1 to {SERVERS_MAX}")
    _check(len(set(servers)) == len(servers), "servers: one is given twice")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientConfig:
    """A peer that dials servers. Raises LocalProtocolError on values that cannot work."""

    name: str
    "What the servers know this peer by; one live link each name"
    servers: tuple[tuple[str, int], ...]
    "IP address and port of each server, most liked first"
    server_public_key: bytes = field(repr=False)
    "32 bytes, X25519: who the servers must prove to be"
    psks: tuple[bytes, ...] = field(repr=False)
    "32 bytes each: what admits to the servers. Two while rotating, tried in turn"
    credential: bytes = field(default=b"", repr=False)
    "Shown to the server's application, encrypted to its key, before the link is up"
    record_prefixes: tuple[str, ...] = ()
    "Replicate only records whose key starts with one of these; empty: all"
    timers: Timers = Timers()

    def __post_init__(self) -> None:
        """Refuse what would only fail later."""
        _check(
            0 < len(self.name) <= PEER_NAME_CHARS_MAX and is_text(self.name),
            f"name: 1 to {PEER_NAME_CHARS_MAX} characters that UTF-8 has, not {self.name!r}",
        )
        check_servers(self.servers)
        _check(
            len(self.server_public_key) == KEY_BYTES,
            f"server_public_key: {KEY_BYTES} bytes, not {len(self.server_public_key)}",
        )
        check_psks(self.psks)
        _check(
            len(self.record_prefixes) <= PREFIXES_MAX and all(self.record_prefixes),
            f"record_prefixes: at most {PREFIXES_MAX}, none empty",
        )
        check_credential(self.credential)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """A server of many peers. Raises LocalProtocolError on values that cannot work."""

    private_key: bytes = field(repr=False)
    "32 bytes, X25519. Whoever holds it can pose as the server"
    psks: tuple[bytes, ...] = field(repr=False)
    "32 bytes each: what admits peers. Two while rotating"
    epoch: int
    "Fencing: peers refuse tables and orders from an epoch lower than they have seen"
    serves_table: bool = True
    "False: no peer is given the table until serve_table(True), so fill it first"
    judges_credentials: bool = False
    "True: each peer waits in a PeerAsks event for Server.admit or Server.refuse"
    timers: Timers = Timers()

    def __post_init__(self) -> None:
        """Refuse what would only fail later."""
        _check(
            len(self.private_key) == KEY_BYTES,
            f"private_key: {KEY_BYTES} bytes, not {len(self.private_key)}",
        )
        check_psks(self.psks)
        _check(0 <= self.epoch < NUMBER_MAX, f"epoch: 0 to 2^62, not {self.epoch}")
