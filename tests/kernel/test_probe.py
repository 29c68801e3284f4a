"""SYN probes against real servers in another namespace: seen by the kernel, never by accept()."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.daemon.packets import ACK, RST, SYN
from tests.kernel.namespaces import Namespace, cable
from wangell_daemon.datapath import Listener
from wangell_daemon.readiness.probe import Prober

POD, PORT = "10.9.0.2", 8080
ETH_P_ALL = 3


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A TCP segment on the node's interface, as the node's own side sees it."""

    is_sent: bool
    flags: int
    sport: int
    dport: int


class Wire:
    """What goes over the node's interface."""

    def __init__(self) -> None:
        self._packets = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        self._packets.bind(("eth0", ETH_P_ALL))
        self._packets.setblocking(False)

    async def next_segment(self) -> Seen:
        """The next TCP segment."""
        loop = asyncio.get_running_loop()
        while True:
            frame, sender = await loop.run_in_executor(None, self._receive)
            if frame[12:14] == b"\x08\x00" and frame[23] == 6:
                sport, dport = struct.unpack_from("!HH", frame, 34)
                is_sent = sender[2] == socket.PACKET_OUTGOING
                return Seen(is_sent=is_sent, flags=frame[47], sport=sport, dport=dport)

    def _receive(self) -> tuple[bytes, Any]:
        self._packets.settimeout(5)
        return self._packets.recvfrom(2048)

    def close(self) -> None:
        self._packets.close()


class Scene:
    """A node with a prober, a pod with or without a server, and the wire between them."""

    def __init__(self, pod: Namespace) -> None:
        self._pod = pod
        self.answers: asyncio.Queue[tuple[str, int, int]] = asyncio.Queue()
        self.prober = Prober(
            interval_s=0.005, on_answer=lambda *answer: self.answers.put_nowait(answer)
        )
        self.wire = Wire()
        self._servers: list[socket.socket] = []

    def serve(self, port: int = PORT, *, backlog: int = 5) -> socket.socket:
        """A server in the pod begins to listen."""
        server = self._pod.run(lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM))
        self._servers.append(server)
        server.bind(("0.0.0.0", port))
        server.listen(backlog)
        server.setblocking(False)
        return server

    def probe(
        self,
        service: str = "default/x",
        *,
        is_once: bool = False,
        address: str = POD,
        port: int = PORT,
    ) -> None:
        self.prober.start(
            service, workload=f"of {service}", address=address, port=port, is_once=is_once
        )

    async def answer(self) -> tuple[str, int, int]:
        async with asyncio.timeout(5):
            return await self.answers.get()

    async def segments(self, count: int) -> list[Seen]:
        async with asyncio.timeout(10):
            return [await self.wire.next_segment() for _ in range(count)]

    def close(self) -> None:
        self.prober.close()
        self.wire.close()
        for server in self._servers:
            server.close()


@pytest.fixture
def node_and_pod() -> Iterator[tuple[Namespace, Namespace]]:
    with Namespace() as node, Namespace() as pod:
        cable(node, pod)
        yield node, pod


@pytest.fixture
def play(
    node_and_pod: tuple[Namespace, Namespace],
) -> Callable[[Callable[[Scene], Coroutine[Any, Any, None]]], None]:
    """Runs a story with its event loop in the node's namespace."""
    node, pod = node_and_pod

    def run(story: Callable[[Scene], Coroutine[Any, Any, None]]) -> None:
        async def scene() -> None:
            stage = Scene(pod)
            with contextlib.closing(stage):
                await story(stage)

        node.run(lambda: asyncio.run(scene()))

    return run


Play = Callable[[Callable[[Scene], Coroutine[Any, Any, None]]], None]


def test_a_server_that_listens_answers_and_its_accept_sees_nothing(play: Play) -> None:
    async def story(scene: Scene) -> None:
        server = scene.serve()
        scene.probe()
        workload, port, seen_ns = await scene.answer()
        assert (workload, port) == ("of default/x", PORT)
        assert seen_ns > 0
        syn, syn_ack, rst = await scene.segments(3)
        assert (syn.is_sent, syn.flags, syn.dport) == (True, SYN, PORT)
        assert (syn_ack.is_sent, syn_ack.flags) == (False, SYN | ACK)
        # The kernel, which knows of no such connection, says so: nothing half-open stays behind.
        assert (rst.is_sent, rst.flags & RST, rst.sport) == (True, RST, syn.sport)
        with pytest.raises(BlockingIOError):
            server.accept()

    play(story)


def test_a_probe_takes_no_place_in_the_servers_queue(
    play: Play, node_and_pod: tuple[Namespace, Namespace]
) -> None:
    async def story(scene: Scene) -> None:
        scene.serve(backlog=1)
        listener = Listener(str(node_and_pod[1].path), PORT)
        for _ in range(20):
            scene.probe()
            await scene.answer()
            await scene.segments(3)  # the RST has left, and on a veth arrived
        assert listener.room() == 1
        assert listener.connections() == 0
        listener.close()

    play(story)


def test_a_server_that_does_not_listen_yet_is_asked_again_until_it_does(play: Play) -> None:
    async def story(scene: Scene) -> None:
        scene.probe()
        refused = await scene.segments(6)  # SYN, RST, SYN, RST, ...
        assert [seen.flags for seen in refused] == [SYN, RST | ACK] * 3
        assert scene.answers.empty(), "a RST is no answer"
        scene.serve()
        await scene.answer()

    play(story)


def test_an_answer_is_told_once_and_ends_the_probes(play: Play) -> None:
    async def story(scene: Scene) -> None:
        scene.serve()
        scene.probe()
        await scene.answer()
        await scene.segments(3)
        scene.serve(PORT + 1)
        scene.probe("default/next", port=PORT + 1)
        # What comes next on the wire is of the next service only.
        assert {seen.dport for seen in await scene.segments(3) if seen.is_sent} == {PORT + 1}
        await scene.answer()
        assert scene.answers.empty()

    play(story)


def test_one_question_is_one_syn(play: Play) -> None:
    async def story(scene: Scene) -> None:
        scene.probe(is_once=True)
        scene.probe("default/next", port=PORT + 1)
        sent = [seen.dport for seen in await scene.segments(8) if seen.is_sent]
        assert sent.count(PORT) == 1
        assert sent.count(PORT + 1) > 1

    play(story)


def test_a_service_that_is_stopped_is_asked_no_more_and_a_late_answer_is_ignored(
    play: Play,
) -> None:
    async def story(scene: Scene) -> None:
        scene.serve()
        scene.probe()
        scene.prober.stop("default/x")  # its SYN is out already
        scene.probe("default/next", port=PORT + 1)
        sent = [seen.dport for seen in await scene.segments(9) if seen.is_sent]
        assert scene.answers.empty()
        assert PORT + 1 in sent

    play(story)


def test_a_replica_that_is_leaving_is_asked_no_more_and_the_others_are(play: Play) -> None:
    async def story(scene: Scene) -> None:
        scene.probe()
        scene.probe("default/other")
        scene.prober.forget("of default/x", PORT)
        scene.prober.forget("of default/other", PORT + 1)  # nobody is asked there
        scene.serve()
        workload, _, _ = await scene.answer()
        assert workload == "of default/other"
        assert scene.answers.empty()

    play(story)


def test_probing_again_replaces_the_probe(play: Play) -> None:
    async def story(scene: Scene) -> None:
        scene.serve()
        for _ in range(5):
            scene.probe()
        await scene.answer()
        await scene.segments(15)
        assert scene.answers.empty()

    play(story)


def test_two_services_of_one_replica_are_both_told(play: Play) -> None:
    async def story(scene: Scene) -> None:
        scene.probe("default/x")
        scene.probe("default/y")
        scene.serve()
        told = {(await scene.answer())[0], (await scene.answer())[0]}
        assert told == {"of default/x", "of default/y"}

    play(story)


def test_an_address_without_a_route_harms_nobody(play: Play) -> None:
    async def story(scene: Scene) -> None:
        scene.probe("default/lost", address="192.0.2.1")
        scene.serve()
        scene.probe()
        assert (await scene.answer())[0] == "of default/x"

    play(story)


def test_other_traffic_of_the_node_is_no_answer(play: Play) -> None:
    async def story(scene: Scene) -> None:
        scene.serve(PORT + 1)
        scene.probe()
        loop = asyncio.get_running_loop()
        with socket.socket() as caller:  # a SYN-ACK to another port of ours
            caller.setblocking(False)
            await loop.sock_connect(caller, (POD, PORT + 1))
        await scene.segments(8)
        assert scene.answers.empty()

    play(story)


def test_a_closed_prober_gives_its_port_and_descriptors_back(
    node_and_pod: tuple[Namespace, Namespace],
) -> None:
    async def open_and_close() -> set[int]:
        ports = set()
        for _ in range(3):
            prober = Prober(interval_s=0.005, on_answer=lambda *_: None)
            ports.add(prober._port)
            prober.start("default/x", workload="w", address=POD, port=PORT, is_once=False)
            prober.close()
            with socket.socket() as taken:
                taken.bind(("", prober._port))
        return ports

    ports = node_and_pod[0].run(lambda: asyncio.run(open_and_close()))
    assert 0 not in ports
