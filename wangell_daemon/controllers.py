"""Where the controllers are and what is shown to them, as names and tokens change."""

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable

from wangell_daemon.keys import KeyFileError, read_key, read_psks
from wangell_daemon.settings import Address, Settings
from wangell_proto import ClientConfig
from wangell_proto.constants import SERVERS_MAX

__all__ = ["Controllers"]

log = logging.getLogger(__name__)

# A headless Service's addresses change with its pods; a token is renewed at 80 % of its hour.
LOOK_AGAIN_S = 5.0
# On a node that joins, names are not known before its kube-proxy has its rules.
FIND_AGAIN_S = 0.2


class Controllers:
    """Calls `use(config)` at first, and each time the configuration has changed."""

    def __init__(self, settings: Settings, use: Callable[[ClientConfig], Awaitable[None]]) -> None:
        """Raises KeyFileError."""
        self._settings = settings
        self._use = use
        self._public_key = read_key(settings.key_dir / "controller.pub")
        read_psks(settings.key_dir / "psk")
        self._problem = ""
        self._used: ClientConfig | None = None

    async def follow(self) -> None:
        """Look, and look again, until cancelled."""
        while True:
            try:
                await self.look()
                self._problem = ""
            # No address yet, or a file is being replaced, or replaced by what is none.
            except (OSError, KeyFileError) as error:
                self._tell(str(error))
            if not self._may_change:
                return
            await asyncio.sleep(LOOK_AGAIN_S if self._used is not None else FIND_AGAIN_S)

    async def look(self) -> None:
        """Look names up, read what may change, and use what has. Raises OSError, KeyFileError."""
        servers = await self._addresses()
        credential_file = self._settings.credential_file
        config = ClientConfig(
            name=self._settings.node_name,
            servers=servers,
            server_public_key=self._public_key,
            psks=read_psks(self._settings.key_dir / "psk"),
            credential=credential_file.read_bytes().strip() if credential_file else b"",
        )
        if config != self._used:
            await self._use(config)
            if self._used is not None and self._used.psks != config.psks:
                log.info("psk has changed: %d key(s), the first is used", len(config.psks))
            self._used = config
            log.info("controllers: %s", ", ".join(f"{host}:{port}" for host, port in servers))

    def _tell(self, problem: str) -> None:
        if problem != self._problem:
            log.warning("looking for controllers: %s", problem)
        self._problem = problem

    @property
    def _may_change(self) -> bool:
        is_named = any(not _is_address(host) for host, _port in self._settings.controllers)
        return is_named or self._settings.credential_file is not None or self._used is None

    async def _addresses(self) -> tuple[Address, ...]:
        """One name that is not known must not hide the others. Raises OSError where none is."""
        found: list[Address] = []
        unknown: OSError | None = None
        for host, port in self._settings.controllers:
            try:
                found += await _resolve(host, port)
            except OSError as error:
                unknown = OSError(f"{host}: {error}")
        if unknown is not None and not found:
            raise unknown
        return tuple(dict.fromkeys(found))[:SERVERS_MAX]


async def _resolve(host: str, port: int) -> list[Address]:
    """Return a name's addresses, sorted so that the same set is the same configuration."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    answers = await asyncio.get_running_loop().getaddrinfo(
        host, port, family=family, type=socket.SOCK_DGRAM
    )
    return sorted({(str(answer[4][0]), port) for answer in answers})


def _is_address(host: str) -> bool:
    try:
        socket.inet_pton(socket.AF_INET6 if ":" in host else socket.AF_INET, host)
    except OSError:
        return False
    return True
