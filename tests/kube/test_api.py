"""The door itself, at an HTTP server on loopback that answers as an API server would."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from wangell_controller.kube import api as door
from wangell_controller.kube.api import Api, NoClusterError, Selection
from wangell_controller.kube.errors import (
    ConflictError,
    ForbiddenError,
    GoneError,
    NotFoundError,
    UnavailableError,
)
from wangell_controller.kube.resources import DEPLOYMENTS, PODS
from wangell_controller.kube.valve import Valve

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]
PATH = PODS.path("default", "a")


class Server:
    """Answers each request by the test's function, and remembers what was asked."""

    def __init__(self, answer: Answer, directory: Path) -> None:
        self._answer = answer
        self.kubeconfig = directory / "kubeconfig"
        self.asked: list[web.Request] = []
        self.bodies: list[str] = []
        self.connections: set[Any] = set()

    @asynccontextmanager
    async def running(self) -> Any:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        self._write_kubeconfig(f"http://127.0.0.1:{port}")
        api = await Api.connect(self.kubeconfig)
        try:
            yield api
        finally:
            await api.aclose()
            await runner.cleanup()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request)
        self.bodies.append(await request.text())
        self.connections.add(request.transport)
        return await self._answer(request)

    def _write_kubeconfig(self, server: str) -> None:
        named = [{"name": "it", "cluster": {"server": server}}]
        user = [{"name": "me", "user": {"token": "t0ken"}}]
        context = [{"name": "here", "context": {"cluster": "it", "user": "me"}}]
        document = {"clusters": named, "users": user, "contexts": context}
        self.kubeconfig.write_text(
            yaml.safe_dump(
                {"apiVersion": "v1", "kind": "Config", "current-context": "here", **document}
            )
        )


def ask(tmp_path: Path, answer: Answer, story: Callable[[Api, Server], Awaitable[None]]) -> None:
    async def told() -> None:
        server = Server(answer, tmp_path)
        async with server.running() as api:
            await story(api, server)

    asyncio.run(told())


def says(body: Any, status: int = 200) -> Answer:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.json_response(body, status=status)

    return answer


def test_each_request_says_who_we_are_and_what_it_is(tmp_path: Path) -> None:
    async def story(api: Api, server: Server) -> None:
        scale = DEPLOYMENTS.path("default", "a", sub="scale")
        await api.get(PATH)
        await api.create(PODS.path("default"), {"a": 1})
        await api.merge(scale, {"spec": {"replicas": 1}})
        await api.apply(PATH, {"b": 2})
        await api.delete(PATH, uid="uid-1")
        assert [(each.method, each.path_qs) for each in server.asked] == [
            ("GET", PATH),
            ("POST", "/api/v1/namespaces/default/pods?fieldManager=wangell-controller"),
            ("PATCH", f"{scale}?fieldManager=wangell-controller"),
            ("PATCH", f"{PATH}?fieldManager=wangell-controller&force=true"),
            ("DELETE", PATH),
        ]
        assert [each.headers.get("Content-Type") for each in server.asked[1:]] == [
            "application/json",
            "application/merge-patch+json",
            "application/apply-patch+yaml",
            "application/json",
        ]
        assert json.loads(server.bodies[2]) == {"spec": {"replicas": 1}}
        assert json.loads(server.bodies[4]) == {
            "propagationPolicy": "Background",
            "preconditions": {"uid": "uid-1"},
        }
        for each in server.asked:
            assert each.headers["Authorization"] == "Bearer t0ken"
            assert each.headers["User-Agent"] == "wangell-controller"

    ask(tmp_path, says({}), story)


def test_requests_share_one_connection_and_a_twin_has_its_own(tmp_path: Path) -> None:
    async def story(api: Api, server: Server) -> None:
        for _ in range(5):
            await api.get(PATH)
        assert len(server.connections) == 1
        twin = api.twin()
        for _ in range(5):
            await twin.get(PATH)
        assert len(server.connections) == 2
        assert server.asked[-1].headers["Authorization"] == "Bearer t0ken"
        await twin.aclose()

    ask(tmp_path, says({}), story)


@pytest.mark.parametrize(
    ("status", "reason", "kind"),
    [
        (403, "Forbidden", ForbiddenError),
        (404, "NotFound", NotFoundError),
        (409, "Conflict", ConflictError),
        (410, "Expired", GoneError),
        (503, "ServiceUnavailable", UnavailableError),
    ],
)
def test_a_refusal_is_raised_in_its_words(
    tmp_path: Path, status: int, reason: str, kind: type[Exception]
) -> None:
    async def story(api: Api, _: Server) -> None:
        for request in (api.get(PATH), api.apply(PATH, {}), api.list(Selection(resource=PODS))):
            with pytest.raises(kind, match="what it says"):
                await request

    ask(tmp_path, says({"reason": reason, "message": "what it says"}, status), story)


def test_an_answer_that_is_no_json_is_no_answer(tmp_path: Path) -> None:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(text="<html>")

    async def story(api: Api, _: Server) -> None:
        with pytest.raises(UnavailableError, match="is not JSON"):
            await api.get(PATH)

    ask(tmp_path, answer, story)


def test_nobody_there_is_unavailable(tmp_path: Path) -> None:
    async def told() -> None:
        server = Server(says({}), tmp_path)
        async with server.running() as api:
            pass
        twin = api.twin()
        with pytest.raises(UnavailableError, match="no answer"):
            await twin.get(PATH)
        await twin.aclose()

    asyncio.run(told())


def test_a_connection_that_breaks_is_unavailable(tmp_path: Path) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.close()
        return web.Response()

    async def story(api: Api, _: Server) -> None:
        with pytest.raises(UnavailableError, match="no answer"):
            await api.merge(PATH, {})

    ask(tmp_path, answer, story)


def test_a_list_is_read_page_by_page(tmp_path: Path) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        page = int(request.query.get("continue", "0"))
        names = [{"metadata": {"name": f"{page}-{number}"}} for number in range(2)]
        metadata = {"resourceVersion": "77", "continue": str(page + 1) if page < 2 else ""}
        return web.json_response({"items": names, "metadata": metadata})

    async def story(api: Api, server: Server) -> None:
        selection = Selection(resource=PODS, labels="app=a,b=c", fields="metadata.name=x")
        listed = await api.list(selection)
        assert listed.version == "77"
        assert [each["metadata"]["name"] for each in listed.objects] == [
            *("0-0", "0-1", "1-0", "1-1", "2-0", "2-1"),
        ]
        for each in server.asked:
            assert each.query["labelSelector"] == "app=a,b=c"
            assert each.query["fieldSelector"] == "metadata.name=x"
            assert each.query["limit"] == "500"

    ask(tmp_path, answer, story)


def watched(*lines: str, then: str = "end") -> Answer:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for line in lines:
            await response.write(line.encode() + b"\n")
        if then == "silence":
            await asyncio.sleep(30)
        return response

    return answer


def event(kind: str, name: str) -> str:
    return json.dumps({"type": kind, "object": {"metadata": {"name": name}}})


async def heard(api: Api) -> list[tuple[str, str]]:
    found = []
    async for happenings in api.watch(Selection(resource=PODS), "41", Valve()):
        found += [(kind, each["metadata"].get("name", "")) for kind, each in happenings]
    return found


def test_a_watch_yields_what_happens_until_it_ends(tmp_path: Path) -> None:
    async def story(api: Api, server: Server) -> None:
        assert await heard(api) == [("ADDED", "a"), ("DELETED", "a"), ("BOOKMARK", "")]
        query = server.asked[0].query
        assert query["watch"] == "true"
        assert query["resourceVersion"] == "41"
        assert query["allowWatchBookmarks"] == "true"

    bookmark = json.dumps({"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "50"}}})
    ask(tmp_path, watched(event("ADDED", "a"), event("DELETED", "a"), bookmark), story)


def test_a_watch_that_begins_too_early_is_gone(tmp_path: Path) -> None:
    status = {"code": 410, "reason": "Expired", "message": "too old resource version: 41"}

    async def story(api: Api, _: Server) -> None:
        with pytest.raises(GoneError, match="too old"):
            await heard(api)

    ask(tmp_path, watched(json.dumps({"type": "ERROR", "object": status})), story)


def test_a_watch_that_says_nothing_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "SILENCE_S", 0.2)

    async def story(api: Api, _: Server) -> None:
        with pytest.raises(UnavailableError, match="no answer"):
            await heard(api)

    ask(tmp_path, watched(event("ADDED", "a"), then="silence"), story)


def test_what_comes_while_nobody_reads_is_read_at_once(tmp_path: Path) -> None:
    is_resting, valve = asyncio.Event(), Valve()

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(event("ADDED", "a").encode() + b"\n")
        await is_resting.wait()
        await asyncio.sleep(0.01)  # What was read before the pause is told before it.
        for name in "bcd":
            await response.write(event("ADDED", name).encode() + b"\n")
            await asyncio.sleep(0.01)
        valve.open()
        await asyncio.sleep(0.01)
        return response

    async def story(api: Api, _: Server) -> None:
        heard = []
        async for happenings in api.watch(Selection(resource=PODS), "41", valve):
            heard.append([each["metadata"]["name"] for _, each in happenings])
            if not is_resting.is_set():
                valve.shut(for_s=10)
            is_resting.set()
        assert heard == [["a"], ["b", "c", "d"]]

    ask(tmp_path, answer, story)


@pytest.mark.parametrize("line", ["{", "[]", '{"type": "ADDED"}'])
def test_a_watch_that_talks_nonsense_is_given_up(tmp_path: Path, line: str) -> None:
    async def story(api: Api, _: Server) -> None:
        with pytest.raises(UnavailableError):
            await heard(api)

    ask(tmp_path, watched(line), story)


def test_a_large_object_is_one_line(tmp_path: Path) -> None:
    async def story(api: Api, _: Server) -> None:
        assert [kind for kind, _ in await heard(api)] == ["ADDED"]

    ask(tmp_path, watched(event("ADDED", "x" * 1_400_000)), story)


def test_without_a_cluster_the_remedy_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(NoClusterError, match="--kubeconfig FILE"):
        asyncio.run(Api.connect(None))
    with pytest.raises(NoClusterError, match="no Kubernetes"):
        asyncio.run(Api.connect(tmp_path / "none"))
    broken = tmp_path / "broken"
    broken.write_text("contexts: []")
    with pytest.raises(NoClusterError, match="no Kubernetes"):
        asyncio.run(Api.connect(broken))


def test_kubeconfig_is_found_by_its_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def told() -> None:
        server = Server(says({"it": "is"}), tmp_path)
        async with server.running():
            monkeypatch.setenv("KUBECONFIG", str(server.kubeconfig))
            api = await Api.connect(None)
            assert await api.get(PATH) == {"it": "is"}
            await api.aclose()

    asyncio.run(told())


def test_what_another_connection_to_it_needs(tmp_path: Path) -> None:
    async def told() -> None:
        server = Server(says({}), tmp_path)
        async with server.running() as api:
            assert api.host.startswith("http://127.0.0.1:")
            assert await api.authorization() == {"authorization": "Bearer t0ken"}

    asyncio.run(told())


@pytest.mark.parametrize("way", ["proxy-url: http://10.0.0.1:3128", "tls-server-name: kubernetes"])
def test_where_only_the_library_knows_the_way_there_is_no_other(tmp_path: Path, way: str) -> None:
    async def told() -> None:
        server = Server(says({}), tmp_path)
        async with server.running():
            written = yaml.safe_load(server.kubeconfig.read_text())
            written["clusters"][0]["cluster"] |= yaml.safe_load(way)
            server.kubeconfig.write_text(yaml.safe_dump(written))
            api = await Api.connect(server.kubeconfig)
            assert api.host == ""
            await api.aclose()

    asyncio.run(told())
