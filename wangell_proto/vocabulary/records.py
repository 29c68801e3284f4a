"""The table's records: one for each service, its key `namespace/name`."""

import enum
import functools
import ipaddress
from dataclasses import dataclass

from wangell_proto.vocabulary.codec import VocabularyError, decode, encode

__all__ = [
    "EACH_NODE",
    "SOURCES_MAX",
    "Endpoint",
    "Frontend",
    "Phase",
    "ServiceRecord",
    "decode_record",
    "encode_record",
]


# A day: longer than any image takes, and far from what overflows nanoseconds.
ACTIVATION_TIMEOUT_S_MAX = 86_400.0


# A node port is open on every node. To name each in each record would be their product: 100 nodes
# and 10,000 services are a million entries in every kernel, and every record anew with each node.
EACH_NODE = "0.0.0.0"  # noqa: S104 (nothing binds to it)


# Cloudflare's own list has 15. Each is 20 bytes of a record, which may have 56,000 in all, and an
# entry in every node's kernel.
SOURCES_MAX = 64


class Phase(enum.Enum):
    """Where a service is between zero and warm. The controller decides; daemons obey."""

    COLD = "cold"  # At zero. New SYNs are held, and wake it.
    WAKING = "waking"  # A replica was asked for. SYNs are held.
    WARM = "warm"  # A replica listens. SYNs pass.
    DRAINING = "draining"  # Idle. New SYNs are held, live connections are left to finish.


@dataclass(frozen=True, slots=True, kw_only=True)
class Frontend:
    """An address that callers use."""

    address: str
    "IPv4 or IPv6, as text; EACH_NODE: the own addresses of whichever node reads it"
    port: int
    "TCP port, 1 to 65535"
    sources: tuple[str, ...] = ()
    "IPv4 or IPv6 networks, as text: only they may call it. Empty: whoever will"

    def __post_init__(self) -> None:
        """Refuse what is no address, port or network. Raises VocabularyError."""
        check_address("frontend", self.address)
        check_port("frontend", self.port)
        if len(self.sources) > SOURCES_MAX:
            raise VocabularyError(f"sources: more than {SOURCES_MAX}")
        for each in self.sources:
            check_network("sources", each)


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A replica: where its connections end, and how a daemon knows its LISTEN."""

    address: str
    "The address the server listens on, as text; empty while only its node can know it"
    node: str
    "The name of the node it runs on; a daemon judges only LISTENs of its own node"
    workload: str
    "What the node's daemon reads off the process that listens: a pod UID, or `net:[inode]`"
    is_routed: bool = False
    "The node's own proxy sends connections to it by now, so that no handover is needed"

    def __post_init__(self) -> None:
        """Refuse what is no address. Raises VocabularyError."""
        if self.address:
            check_address("endpoint", self.address)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceRecord:
    """All that a daemon needs to know of a service."""

    phase: Phase
    frontends: tuple[Frontend, ...]
    target_port: int
    "The port the server listens on"
    endpoints: tuple[Endpoint, ...] = ()
    activation: int = 0
    "Counts the times the service was raised, from zero or out of a drain"
    activation_timeout_s: float = 60.0
    "A wake that has not answered by then fails: its held SYNs get a RST"

    def __post_init__(self) -> None:
        """Refuse what no service can be. Raises VocabularyError."""
        check_port("target_port", self.target_port)
        if not 0 < self.activation_timeout_s <= ACTIVATION_TIMEOUT_S_MAX:
            raise VocabularyError(
                f"activation_timeout_s: over 0 and at most {ACTIVATION_TIMEOUT_S_MAX}"
            )
        if not self.frontends:
            raise VocabularyError("frontends: none")


def check_address(what: str, address: str) -> None:
    """Raise VocabularyError where `address` is no IP address."""
    try:
        ipaddress.ip_address(address)
    except ValueError as error:
        raise VocabularyError(f"{what}: {error}") from error


@functools.lru_cache(maxsize=4096)  # 10 us each, and a wake's record is read while a caller waits
def check_network(what: str, network: str) -> None:
    """Raise VocabularyError where `network` is no IP network."""
    try:
        ipaddress.ip_network(network)
    except ValueError as error:
        raise VocabularyError(f"{what}: {error}") from error


def check_port(what: str, port: int) -> None:
    """Raise VocabularyError where `port` is no TCP port."""
    if not 0 < port < 65536:
        raise VocabularyError(f"{what}: {port} is no TCP port")


def encode_record(record: ServiceRecord) -> bytes:
    """Return the record as the table carries it."""
    return encode(record)


def decode_record(data: bytes) -> ServiceRecord:
    """Return the record that `data` holds. Raises VocabularyError."""
    return decode(ServiceRecord, data)
