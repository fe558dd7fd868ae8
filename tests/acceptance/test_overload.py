"""More than the gateway can bear: newcomers are refused at the door, and what runs goes on."""

import asyncio
import json
import time
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from statistics import median

import aiohttp

from gateway.limiter import LimiterSettings
from gateway.settings import GatewaySettings
from tests.support.gateway import Mesh, running_mesh, send_raw
from tests.support.wait import until
from workers.scripted import ScriptedSettings

CHAT = {"model": "scripted", "messages": [{"role": "user", "content": "hi"}]}
FULL = GatewaySettings(limiter=LimiterSettings(floor=1, ceiling=1), drain_timeout=1)
"""A gateway that answers one request at a time."""
SLOW = ScriptedSettings(tps=50, tokens=50)
ENDLESS = ScriptedSettings(tps=50, tokens=1_000_000)


async def begin(mesh: Mesh, session: aiohttp.ClientSession) -> aiohttp.ClientResponse:
    """Start a stream and wait for its first output."""
    answer = await session.post(f"{mesh.url}/v1/chat/completions", json=CHAT | {"stream": True})
    assert await answer.content.readline()
    return answer


async def test_newcomers_are_refused_and_what_runs_goes_on(tmp_path: Path) -> None:
    """The envelope, a time to come back, an open connection, and a stream that is not disturbed."""
    async with (
        running_mesh(tmp_path, script=SLOW, settings=FULL) as mesh,
        aiohttp.ClientSession() as session,
    ):
        running = await begin(mesh, session)
        for _ in range(3):
            async with session.post(f"{mesh.url}/v1/chat/completions", json=CHAT) as refused:
                error = json.loads(await refused.read())["error"]
            assert refused.status == 503
            assert (error["code"], error["type"]) == ("overloaded", "server_error")
            assert refused.headers["x-request-id"]
            assert 1 <= int(refused.headers["retry-after"]) <= 7
            assert 0 < int(refused.headers["retry-after-ms"]) <= 7000
        text = (await running.read()).decode()
        assert text.endswith("data: [DONE]\n\n")
        assert '49 "' in text
        short = CHAT | {"max_tokens": 1}
        async with session.post(f"{mesh.url}/v1/chat/completions", json=short) as answer:
            assert answer.status == 200


async def seconds_of(
    asked: AbstractAsyncContextManager[aiohttp.ClientResponse], status: int
) -> float:
    """Return how long a whole answer of this status takes."""
    began = time.perf_counter()
    async with asked as answer:
        await answer.read()
    assert answer.status == status
    return time.perf_counter() - began


async def test_a_refusal_waits_for_nothing(tmp_path: Path) -> None:
    """It is about as quick as a health check; asked in turn, a busy machine delays both alike."""
    async with (
        running_mesh(tmp_path, script=ENDLESS, settings=FULL) as mesh,
        aiohttp.ClientSession() as session,
    ):
        running = await begin(mesh, session)
        checks, refusals = list[float](), list[float]()
        for _ in range(15):
            checks.append(await seconds_of(session.get(f"{mesh.url}/healthz"), 200))
            chat = session.post(f"{mesh.url}/v1/chat/completions", json=CHAT)
            refusals.append(await seconds_of(chat, 503))
        running.close()
    assert median(refusals) < 10 * median(checks)


async def test_health_and_metrics_are_answered_however_full_it_is(tmp_path: Path) -> None:
    """Whoever watches the gateway is not told that it is too busy; refusals are counted."""
    async with (
        running_mesh(tmp_path, script=ENDLESS, settings=FULL) as mesh,
        aiohttp.ClientSession() as session,
    ):
        running = await begin(mesh, session)
        async with session.post(f"{mesh.url}/v1/chat/completions", json=CHAT) as refused:
            assert refused.status == 503
        for path in ("/healthz", "/readyz", "/v1/models"):
            async with session.get(mesh.url + path) as answer:
                assert answer.status == 200, path
        async with session.get(f"{mesh.url}/metrics") as answer:
            lines = (await answer.text()).splitlines()
        assert "mesh_requests_shed_total 1.0" in lines
        assert "mesh_requests_limit 1.0" in lines
        running.close()


async def test_a_refusal_does_not_wait_for_the_body(tmp_path: Path) -> None:
    """The answer is there as soon as the head is, and no body is read for it."""
    head = (
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        b"Content-Type: application/json\r\nContent-Length: 8000000\r\n\r\n"
    )
    async with (
        running_mesh(tmp_path, script=ENDLESS, settings=FULL) as mesh,
        aiohttp.ClientSession() as session,
    ):
        running = await begin(mesh, session)
        reader, writer = await asyncio.open_connection(mesh.address.host, mesh.address.port)
        writer.write(head)
        async with asyncio.timeout(10):
            answer = await reader.readuntil(b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 503 ")
        writer.close()
        running.close()


async def test_a_client_that_left_gives_its_place_back(tmp_path: Path) -> None:
    """Whoever hangs up is not counted any longer."""
    script = ScriptedSettings(ttft_ms=60_000)
    async with running_mesh(tmp_path, script=script, settings=FULL) as mesh:
        async with aiohttp.ClientSession() as session:
            url = f"{mesh.url}/v1/chat/completions"
            gone = asyncio.create_task(session.post(url, json=CHAT))
            await until(lambda: mesh.agent.running == 1)
            gone.cancel()
            await until(lambda: mesh.agent.running == 0)
        body = json.dumps(CHAT | {"max_tokens": -1}).encode()
        head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        request = head + b"Content-Length: %d\r\n\r\n" % len(body) + body
        assert (await send_raw(mesh.address, request)).startswith(b"HTTP/1.1 400 ")
