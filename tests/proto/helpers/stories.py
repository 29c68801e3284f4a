"""Beginnings that many tests share, and ways to look into a link that only tests have."""

from typing import Any

import msgpack

from tests.proto.helpers.network import Host, Network
from wangell_proto import Client, LinkUp, MessageReceived, Server, TableSynced
from wangell_proto.accepted import AcceptedLink
from wangell_proto.dialled import DialledLink


def linked(network: Network, name: str = "n1", **config: Any) -> tuple[Server, Host, Client, Host]:
    """A server and a client whose link is up and whose replica is whole."""
    server, server_host = network.server(**config)
    client, client_host = join(network, name)
    return server, server_host, client, client_host


def join(network: Network, name: str = "n1", **config: Any) -> tuple[Client, Host]:
    """One more client, linked."""
    client, host = network.client(name, **config)
    network.run_until(lambda: host.of(LinkUp))
    if client.primary is not None and client.primary.flags:
        network.run_until(lambda: host.of(TableSynced))
    network.run(0.002)  # The last acknowledgements.
    return client, host


def sealed_by(
    link: AcceptedLink | DialledLink, plaintext: bytes, number: int | None = None
) -> bytes:
    """What the holder of these keys sends if it wishes to: any plaintext, sealed correctly."""
    assert link.channel is not None
    sender = link.channel.sender
    if number is None:
        number = sender.next_number
        sender.next_number += 1
    return link.channel.keyring.present.seal(plaintext, session=sender._session, number=number)


def frames(*items: list) -> bytes:
    """A body of these frames."""
    return msgpack.packb(list(items))


def link_of(client: Client) -> DialledLink:
    """The link of a client that has one server."""
    (link,) = client.links
    return link


def bodies(host: Host) -> list[bytes]:
    """The messages that a host was given, oldest first."""
    return [event.body for event in host.of(MessageReceived)]
