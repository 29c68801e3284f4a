"""A thousand peers in one process, each with its socket and its core."""

import resource

from benchmarks.proto.samples import Keys
from benchmarks.proto.tally import Tally
from wangell_proto import LinkUp, RecordChanged, TableSynced
from wangell_proto.aio import ClientLink, open_client

__all__ = ["Crowd"]

# A server has room for 1,024 unconfirmed handshakes; a rollout of nodes is no single burst either.
DIALLING_AT_A_TIME = 50


class Crowd:
    """Links peers, then counts what all of them see."""

    def __init__(self) -> None:
        self._tally = Tally()
        self._links: list[ClientLink] = []

    async def start(self, keys: dict[str, str], servers: list[tuple[str, int]], peers: int) -> None:
        """Link so many peers to every server and let them follow the table."""
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        secrets = Keys(**keys)
        while len(self._links) < peers:
            for _ in range(min(DIALLING_AT_A_TIME, peers - len(self._links))):
                config = secrets.client_config(f"peer-{len(self._links)}", servers)
                self._links.append(await open_client(config, self._tally))
            await self._tally.until(LinkUp, len(self._links) * len(servers))
            await self._tally.until(TableSynced, len(self._links))

    async def reset(self) -> None:
        """Count from zero."""
        self._tally.reset()

    async def changed(self) -> float:
        """Wait until every peer has seen a record change; return when the last one did."""
        return await self._tally.until(RecordChanged, len(self._links))

    async def synced(self) -> dict[str, float]:
        """Wait until every peer has synced; return when the last one did, and what came with it."""
        last_at = await self._tally.until(TableSynced, len(self._links))
        return {"last_at": last_at, "records": self._tally.counts[RecordChanged]}
