"""Where the controllers are, as names, addresses and tokens change under a running daemon."""

import asyncio
import base64
import logging
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from wangell_daemon import controllers as controllers_module
from wangell_daemon.controllers import Controllers
from wangell_daemon.keys import KeyFileError
from wangell_daemon.settings import Address, Readiness, Settings, Workload
from wangell_proto import ClientConfig, LocalProtocolError
from wangell_proto.constants import SERVERS_MAX

KEY, PSK = bytes(range(32)), bytes(range(32, 64))


class Cluster:
    """A name service, key files and a token in the test's hand."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.directory = directory
        self.names: dict[str, list[str]] = {}
        self.used: list[ClientConfig] = []
        self.looks = 0
        for name, key in (("controller.pub", KEY), ("psk", PSK)):
            (directory / name).write_text(base64.b64encode(key).decode())
        monkeypatch.setattr(controllers_module, "_resolve", self._resolve)

    @property
    def token(self) -> Path:
        return self.directory / "token"

    async def _resolve(self, host: str, port: int) -> list[Address]:
        self.looks += 1
        if host not in self.names:
            raise OSError(-2, f"{host}: Name or service not known")
        return sorted((address, port) for address in self.names[host])

    async def use(self, config: ClientConfig) -> None:
        self.used.append(config)

    def controllers(
        self, *named: Address, node_name: str = "node1", shows_token: bool = False
    ) -> Controllers:
        settings = Settings(
            interface="eth0",
            pod_interfaces=(),
            node_name=node_name,
            controllers=named,
            key_dir=self.directory,
            credential_file=self.token if shows_token else None,
            workload=Workload.NETNS,
            cgroup_root="/",
            readiness=Readiness.LISTEN,
            probe_interval_s=0.005,
            metrics_address=None,
            health_address=None,
            cold_start_log=None,
        )
        return Controllers(settings, self.use)


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    return Cluster(tmp_path, monkeypatch)


def play(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(story())


@pytest.fixture
def turns(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Pauses of `follow`, which take no time: each lets the test's next change happen."""
    paused_s: list[float] = []
    yield_to_others = asyncio.sleep

    async def pause(duration_s: float) -> None:
        paused_s.append(duration_s)
        await yield_to_others(0)

    monkeypatch.setattr(asyncio, "sleep", pause)
    return paused_s


async def following(controllers: Controllers, changes: list[Callable[[], None]]) -> None:
    """Follow, and make one change after each look."""
    task = asyncio.ensure_future(controllers.follow())
    for change in changes:
        for _ in range(4):
            await asyncio.tasks.sleep(0)
        change()
    for _ in range(8):
        await asyncio.tasks.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def test_an_address_is_used_with_our_name_and_keys(cluster: Cluster) -> None:
    cluster.names = {"10.46.100.3": ["10.46.100.3"]}
    play(cluster.controllers(("10.46.100.3", 7946)).look)
    assert cluster.used == [
        ClientConfig(
            name="node1", servers=(("10.46.100.3", 7946),), server_public_key=KEY, psks=(PSK,)
        )
    ]


def test_a_name_stands_for_all_its_addresses_once_each(cluster: Cluster) -> None:
    cluster.names = {"headless": ["10.0.0.2", "10.0.0.1"], "first": ["10.0.0.2"]}
    play(cluster.controllers(("first", 7946), ("headless", 7946)).look)
    assert cluster.used[0].servers == (("10.0.0.2", 7946), ("10.0.0.1", 7946))


def test_no_more_servers_are_used_than_the_protocol_takes(cluster: Cluster) -> None:
    cluster.names = {"headless": [f"10.0.0.{number}" for number in range(1, 10)]}
    play(cluster.controllers(("headless", 7946)).look)
    assert len(cluster.used[0].servers) == SERVERS_MAX


def test_what_has_not_changed_is_not_used_again(cluster: Cluster) -> None:
    cluster.names = {"headless": ["10.0.0.1", "10.0.0.2"]}
    controllers = cluster.controllers(("headless", 7946))

    async def story() -> None:
        await controllers.look()
        cluster.names["headless"].reverse()  # name servers rotate their answers
        await controllers.look()

    play(story)
    assert len(cluster.used) == 1


def test_an_address_that_changes_is_used(cluster: Cluster) -> None:
    cluster.names = {"headless": ["10.0.0.1"]}
    controllers = cluster.controllers(("headless", 7946))

    async def story() -> None:
        await controllers.look()
        cluster.names["headless"] = ["10.0.0.9"]
        await controllers.look()

    play(story)
    assert [config.servers for config in cluster.used] == [
        (("10.0.0.1", 7946),),
        (("10.0.0.9", 7946),),
    ]


def test_a_renewed_token_is_shown(cluster: Cluster) -> None:
    cluster.names = {"c": ["10.0.0.1"]}
    cluster.token.write_text("first\n")
    controllers = cluster.controllers(("c", 7946), shows_token=True)

    async def story() -> None:
        await controllers.look()
        cluster.token.write_text("second\n")
        await controllers.look()

    play(story)
    assert [config.credential for config in cluster.used] == [b"first", b"second"]


def test_a_token_that_is_not_there_yet_is_an_os_error_and_nothing_is_used(
    cluster: Cluster,
) -> None:
    cluster.names = {"c": ["10.0.0.1"]}
    with pytest.raises(FileNotFoundError):
        play(cluster.controllers(("c", 7946), shows_token=True).look)
    assert cluster.used == []


def test_a_missing_key_is_said_at_once(cluster: Cluster) -> None:
    (cluster.directory / "psk").unlink()
    with pytest.raises(KeyFileError, match="keygen"):
        cluster.controllers(("c", 7946))


def test_a_node_name_that_is_too_long_is_the_callers_mistake(cluster: Cluster) -> None:
    cluster.names = {"c": ["10.0.0.1"]}
    with pytest.raises(LocalProtocolError, match="name: 1 to 253"):
        play(cluster.controllers(("c", 7946), node_name="n" * 254).look)


# Following.


def test_addresses_without_a_token_are_looked_up_once(cluster: Cluster, turns: list[float]) -> None:
    cluster.names = {"10.0.0.1": ["10.0.0.1"]}
    play(cluster.controllers(("10.0.0.1", 7946)).follow)
    assert cluster.looks == 1
    assert turns == []


def test_names_are_looked_up_again_and_again(cluster: Cluster, turns: list[float]) -> None:
    cluster.names = {"headless": ["10.0.0.1"]}

    def moved() -> None:
        cluster.names["headless"] = ["10.0.0.2"]

    controllers = cluster.controllers(("headless", 7946))
    play(lambda: following(controllers, [moved]))
    assert [config.servers[0][0] for config in cluster.used] == ["10.0.0.1", "10.0.0.2"]
    assert set(turns) == {controllers_module.LOOK_AGAIN_S}


def test_a_name_that_does_not_resolve_is_said_once_and_tried_on(
    cluster: Cluster, turns: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    def born() -> None:
        cluster.names["late"] = ["10.0.0.1"]

    controllers = cluster.controllers(("late", 7946))
    with caplog.at_level(logging.WARNING):
        play(lambda: following(controllers, [lambda: None, lambda: None, born]))
    assert [config.servers for config in cluster.used] == [(("10.0.0.1", 7946),)]
    warnings = [each.message for each in caplog.records if each.levelno == logging.WARNING]
    find_again_s, look_again_s = controllers_module.FIND_AGAIN_S, controllers_module.LOOK_AGAIN_S
    assert turns[:3] == [find_again_s] * 3, "on a node that joins, traffic waits for it"
    assert turns[-1] == look_again_s
    assert len(warnings) == 1
    assert "Name or service not known" in warnings[0]


def test_a_name_that_is_lost_leaves_the_links_as_they_are(
    cluster: Cluster, turns: list[float]
) -> None:
    cluster.names = {"headless": ["10.0.0.1"]}
    controllers = cluster.controllers(("headless", 7946))
    play(lambda: following(controllers, [cluster.names.clear]))
    assert len(cluster.used) == 1


def test_a_name_that_does_not_resolve_hides_no_other(cluster: Cluster, turns: list[float]) -> None:
    cluster.names = {"here": ["10.0.0.1"]}
    controllers = cluster.controllers(("away", 7946), ("here", 7946))
    play(lambda: following(controllers, [lambda: None]))
    assert [config.servers for config in cluster.used] == [(("10.0.0.1", 7946),)]


def test_a_configuration_that_could_not_be_used_is_tried_again(
    cluster: Cluster, turns: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.names = {"10.0.0.1": ["10.0.0.1"]}
    tries: list[ClientConfig] = []

    async def use(config: ClientConfig) -> None:
        tries.append(config)
        if len(tries) == 1:
            raise OSError(24, "Too many open files")

    monkeypatch.setattr(cluster, "use", use)
    controllers = cluster.controllers(("10.0.0.1", 7946))
    play(lambda: following(controllers, [lambda: None]))
    assert len(tries) == 2


def test_an_ipv6_address_is_an_address() -> None:
    assert controllers_module._is_address("fd00::5")
    assert controllers_module._is_address("10.0.0.1")
    assert not controllers_module._is_address("controller.wangell.svc")
    assert asyncio.run(controllers_module._resolve("::1", 7946)) == [("::1", 7946)]
    assert asyncio.run(controllers_module._resolve("127.0.0.1", 7946)) == [("127.0.0.1", 7946)]


def write_psks(cluster: Cluster, *psks: bytes) -> None:
    lines = "\n".join(base64.b64encode(psk).decode() for psk in psks)
    (cluster.directory / "psk").write_text(lines)


def test_a_psk_that_is_rotated_is_used_and_nonsense_in_its_place_is_not(
    cluster: Cluster, turns: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    cluster.names = {"headless": ["10.0.0.1"]}
    new = bytes(32)

    async def story() -> None:
        await following(
            cluster.controllers(("headless", 7946)),
            [
                lambda: write_psks(cluster, new, PSK),
                lambda: (cluster.directory / "psk").write_text("nonsense"),  # type: ignore[list-item, return-value]
                lambda: write_psks(cluster, new),
            ],
        )

    play(story)
    assert [each.psks for each in cluster.used] == [(PSK,), (new, PSK), (new,)]
    assert "psk: not a key" in caplog.text
    assert "nonsense" not in caplog.text
