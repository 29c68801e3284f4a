"""What is sent: a wake and records as the product has them, and keys of this run."""

import os
from dataclasses import dataclass

from wangell_proto import ClientConfig, ServerConfig, public_key
from wangell_proto.vocabulary import (
    Endpoint,
    Frontend,
    Phase,
    ServiceRecord,
    Wake,
    encode_record,
    encode_report,
)

__all__ = ["WAKE", "Keys", "record"]

WAKE = encode_report(
    Wake(service="default/shop", address="10.96.0.17", port=8080, sequence=2**31, activation=7)
)


def record(number: int, *, activation: int = 1) -> tuple[str, bytes]:
    """Return a service's key and its record with one replica."""
    service = ServiceRecord(
        phase=Phase.WARM,
        frontends=(Frontend(address=f"10.96.{number // 250}.{number % 250 + 1}", port=80),),
        target_port=8080,
        endpoints=(
            Endpoint(
                address=f"10.244.{number // 250}.{number % 250 + 1}",
                node=f"node-{number % 1000}",
                workload=f"{number:08x}-9f3c-4c55-8d1a-0f6f5a2f7c11",
            ),
        ),
        activation=activation,
    )
    return f"namespace-{number % 50}/service-{number}", encode_record(service)


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """What servers and clients of one run know of each other, in hex: it goes through a pipe."""

    private: str
    psk: str

    @classmethod
    def drawn(cls) -> "Keys":
        """Return new ones."""
        return cls(private=os.urandom(32).hex(), psk=os.urandom(32).hex())

    def as_json(self) -> dict[str, str]:
        """Return them for a child's `start`."""
        return {"private": self.private, "psk": self.psk}

    def server_config(self, *, epoch: int, serves_table: bool) -> ServerConfig:
        """Return a server's configuration."""
        return ServerConfig(
            private_key=bytes.fromhex(self.private),
            psks=(bytes.fromhex(self.psk),),
            epoch=epoch,
            serves_table=serves_table,
        )

    def client_config(self, name: str, servers: list[tuple[str, int]]) -> ClientConfig:
        """Return the configuration of a peer of that name."""
        return ClientConfig(
            name=name,
            servers=tuple((host, port) for host, port in servers),
            server_public_key=public_key(bytes.fromhex(self.private)),
            psks=(bytes.fromhex(self.psk),),
        )
