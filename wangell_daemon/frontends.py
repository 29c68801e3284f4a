"""The addresses and ports of a record as this node has them."""

from collections.abc import Iterable

from wangell_daemon.packets import frontend_key
from wangell_proto.vocabulary import EACH_NODE, Frontend

__all__ = ["keys_of"]


def keys_of(frontends: Iterable[Frontend], *, own_addresses: tuple[str, ...]) -> tuple[bytes, ...]:
    """Return each as a struct frontend, once; a node port is one for each of the own addresses."""
    return tuple(
        dict.fromkeys(
            frontend_key(address, each.port)
            for each in frontends
            for address in (own_addresses if each.address == EACH_NODE else (each.address,))
        )
    )
