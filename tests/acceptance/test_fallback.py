"""The whole mesh as processes, with a second mesh or a counted upstream as the cloud."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import psutil

from mesh.accounts import Role
from tests.support.command import Up, running_up, started
from tests.support.faulty_upstream import FaultyUpstream, faulty_upstream
from tests.support.requests import numbers
from tests.support.wait import until_async

EDGE = {"x-mesh-policy": "edge-only"}
LONG = "--scripted-tokens=100000"


def chat(**fields: Any) -> dict[str, Any]:
    turn = {"role": "user", "content": "count"}
    return {"model": "scripted", "messages": [turn]} | fields


class Http:
    """Asks a running mesh over HTTP."""

    def __init__(self, session: aiohttp.ClientSession, up: Up) -> None:
        self._session, self._root = session, up.run.base_url

    @asynccontextmanager
    async def post(
        self, body: Mapping[str, Any], headers: Mapping[str, str] | None = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        url = f"{self._root}/chat/completions"
        async with self._session.post(url, json=body, headers=headers or {}) as response:
            yield response

    @asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """Occupy a slot of the edge inside the context."""
        async with self.post(chat(stream=True), EDGE) as response:
            assert response.status == 200
            yield

    async def route(
        self, body: Mapping[str, Any], headers: Mapping[str, str] | None = None
    ) -> tuple[int, str | None, str | None]:
        """Return status, tier and reason of an answer."""
        async with self.post(body, headers) as response:
            await response.read()
            told = response.headers
            return response.status, told.get("x-mesh-tier"), told.get("x-mesh-fallback")

    async def has_two(self) -> bool:
        """Tell whether two requests have reached the gateway: one runs, one waits."""
        async with self._session.get(self._root.removesuffix("v1") + "metrics") as response:
            for line in (await response.text()).splitlines():
                if line.startswith("mesh_requests_in_flight "):
                    return float(line.split()[1]) >= 2
        raise AssertionError("the gauge is missing")


@asynccontextmanager
async def mesh_with_cloud(home: Path, *flags: str) -> AsyncIterator[tuple[Http, FaultyUpstream]]:
    """Run a mesh whose one edge slot is slow, with a counted upstream as its cloud."""
    async with faulty_upstream() as upstream:
        words = (
            "--slots=1",
            "--scripted-tps=50",
            LONG,
            f"--cloud-url={upstream.url}",
            "--cloud-model=scripted=alpha",
            "--cloud-model=big=org/beta",
            *flags,
        )
        async with running_up(home, *words) as up, aiohttp.ClientSession() as session:
            http = Http(session, up)
            # This waits for the edge's worker, of which a gateway that came up last has not heard.
            assert (await http.route(chat(max_tokens=1), EDGE))[0] == 200
            yield http, upstream


async def test_the_cloud_answers_when_the_edge_cannot(tmp_path: Path) -> None:
    """Queue depth, wait, deadline and no model send a request to the cloud, each by its name."""
    async with mesh_with_cloud(tmp_path) as (http, _):
        assert await http.route(chat(model="big")) == (200, "cloud", "no_model")
        hurry = {"x-mesh-deadline-ms": "3000"}
        assert await http.route(chat(max_tokens=1000), hurry) == (200, "cloud", "deadline")
        async with http.held():
            waiting = asyncio.create_task(http.route(chat(max_tokens=1)))
            await until_async(http.has_two)
            assert await http.route(chat(max_tokens=1)) == (200, "cloud", "queue_depth")
            assert await waiting == (200, "cloud", "wait")


async def test_edge_only_never_reaches_the_upstream(tmp_path: Path) -> None:
    """In each of those cases edge-only is refused instead, and the upstream sees nothing."""
    async with mesh_with_cloud(tmp_path, "--queue-limit=1") as (http, upstream):
        assert (await http.route(chat(model="big"), EDGE))[0] == 404
        async with http.held():
            hurry = EDGE | {"x-mesh-deadline-ms": "1500"}
            waiting = asyncio.create_task(http.route(chat(max_tokens=1), hurry))
            await until_async(http.has_two)
            async with http.post(chat(max_tokens=1), EDGE) as response:
                assert response.status == 429
                assert float(response.headers["Retry-After"]) >= 1
            assert (await waiting)[0] == 504
        assert upstream.calls == 0


async def test_a_second_mesh_is_a_good_upstream(tmp_path: Path) -> None:
    """One mesh's gateway is another one's cloud."""
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    async with running_up(second, "--scripted-tokens=7") as far:
        flags = (f"--cloud-url={far.run.base_url}", "--cloud-model=far=scripted")
        async with running_up(first, *flags) as near, aiohttp.ClientSession() as session:
            http = Http(session, near)
            async with http.post(chat(model="far", stream=True)) as response:
                text = await response.text()
                assert response.headers["x-mesh-tier"] == "cloud"
    assert _text_of(text) == numbers(7)
    assert text.endswith("data: [DONE]\n\n")


async def test_a_killed_worker_ends_the_stream_with_an_error_event(tmp_path: Path) -> None:
    """Killed in mid-stream: a clean beginning, an error event, no [DONE]."""
    async with (
        running_up(tmp_path, "--scripted-tps=50", LONG) as up,
        aiohttp.ClientSession() as session,
        Http(session, up).post(chat(stream=True)) as response,
    ):
        lines = response.content
        read = [await lines.readline() for _ in range(12)]
        psutil.Process(up.pid("worker")).kill()
        text = (b"".join(read) + await lines.read()).decode()
    assert "[DONE]" not in text
    assert '"code":"worker_lost"' in text.splitlines()[-2]
    shown = _text_of(text)
    assert shown == numbers(len(shown.split()))


async def test_two_hundred_streams_over_two_workers(tmp_path: Path) -> None:
    """200 streams at once on 8 slots: all complete and in order, and memory stays flat."""
    script = ("--scripted-tps=2000", "--scripted-tokens=40")
    async with (
        running_up(tmp_path, *script) as up,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session,
    ):
        home = tmp_path / "second"
        home.mkdir()
        words = (
            "worker",
            "--engine=scripted",
            f"--nats={up.run.nats}",
            f"--creds={up.run.creds[Role.EDGE_WORKER]}",
            "--name=second",
            f"--state={home}",
            *script,
        )
        async with started(home, *words):
            http = Http(session, up)
            workers: set[str] = set()

            async def one() -> str:
                while True:
                    async with http.post(chat(stream=True), EDGE) as response:
                        if response.status == 503:  # on a busy machine the gateway sheds load
                            await asyncio.sleep(int(response.headers["retry-after-ms"]) / 1000)
                            continue
                        workers.add(response.headers["x-mesh-worker"])
                        return _text_of(await response.text())

            async def round_of_streams() -> int:
                texts = await asyncio.gather(*(one() for _ in range(200)))
                assert texts == [numbers(40)] * 200
                memory: int = psutil.Process(up.pid("gateway")).memory_info().rss
                return memory

            while len(workers) < 2:
                await one()
            after_first = await round_of_streams()
            after_second = await round_of_streams()
    assert after_second - after_first < 4 * 1024 * 1024


def _text_of(events: str) -> str:
    """Return the text of a stream's chunks."""
    chunks = [
        json.loads(line.removeprefix("data: "))
        for line in events.splitlines()
        if line.startswith('data: {"id"')
    ]
    return "".join(
        choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"]
    )
