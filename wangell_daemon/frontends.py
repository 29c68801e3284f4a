"""The addresses and ports of a record as this node has them."""

from collections.abc import Iterable, Mapping

from wangell_daemon.effects import Effect, Restrict
from wangell_daemon.packets import frontend_key
from wangell_proto.vocabulary import EACH_NODE, Frontend

__all__ = ["Restrictions", "keys_of", "sources_of"]

Sources = tuple[str, ...]


def keys_of(frontends: Iterable[Frontend], *, own_addresses: tuple[str, ...]) -> tuple[bytes, ...]:
    """Return each as a struct frontend, once; a node port is one for each of the own addresses."""
    return tuple(sources_of(frontends, own_addresses=own_addresses))


def sources_of(
    frontends: Iterable[Frontend], *, own_addresses: tuple[str, ...]
) -> dict[bytes, Sources]:
    """Return who may call each, by struct frontend; of one named twice, as it is named first."""
    found: dict[bytes, Sources] = {}
    for each in frontends:
        for address in own_addresses if each.address == EACH_NODE else (each.address,):
            found.setdefault(frontend_key(address, each.port), each.sources)
    return found


class Restrictions:
    """What the kernel was told of the sources that may call each frontend."""

    def __init__(self, adopted: Iterable[bytes]) -> None:
        """Of a predecessor's frontends nobody knows what it has told."""
        self._told: dict[bytes, Sources | None] = dict.fromkeys(adopted)

    def replace(self, wanted: Mapping[bytes, Sources]) -> list[Effect]:
        """Return what is to be told. It comes before the frontends' verdict."""
        changed = [key for key, sources in wanted.items() if self._told.get(key, ()) != sources]
        for key in changed:
            if wanted[key]:
                self._told[key] = wanted[key]
            else:
                self._told.pop(key)
        return [Restrict(key, wanted[key]) for key in changed]

    def forget(self, key: bytes) -> None:
        """The frontend is another's from now on, or nobody's."""
        self._told.pop(key, None)
