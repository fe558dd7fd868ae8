"""Hostile and broken HTTP: a named status, a clear message, and the gateway lives on.

Everything is sent over raw sockets, because proper clients refuse to send most of it.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from gateway.app import build_app, serving
from gateway.settings import GatewaySettings
from mesh.fleet import Fleet
from tests.support.gateway import Mesh, running_mesh, send_raw
from tests.support.wait import until
from workers.scripted import ScriptedSettings

HELLO: dict[str, Any] = {"model": "scripted", "messages": [{"role": "user", "content": "hi"}]}
CHAT = "/v1/chat/completions"
GET = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


class Reply(NamedTuple):
    """A parsed HTTP answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def error(self) -> dict[str, Any]:
        """The error, which always comes with all its keys."""
        error: dict[str, Any] = json.loads(self.body)["error"]
        assert error.keys() == {"message", "type", "param", "code"}
        assert error["message"]
        return error


def parse(raw: bytes) -> Reply:
    head, _, body = raw.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    pairs = (line.partition(": ") for line in lines)
    headers = {name.lower(): value for name, _, value in pairs}
    return Reply(int(status.split()[1]), headers, body)


def post(body: bytes, *headers: str) -> bytes:
    lines = [
        f"POST {CHAT} HTTP/1.1",
        "Host: x",
        "Connection: close",
        *headers,
    ]
    if not any(header.lower().startswith("content-type") for header in headers):
        lines.append("Content-Type: application/json")
    if not any(header.lower().startswith(("content-length", "transfer")) for header in headers):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def chat(**fields: Any) -> bytes:
    return json.dumps(HELLO | fields).encode()


async def ask(mesh: Mesh, request: bytes) -> Reply:
    reply = parse(await send_raw(mesh.address, request))
    assert reply.headers["x-request-id"]
    return reply


async def assert_alive(mesh: Mesh) -> None:
    assert (await ask(mesh, GET)).status == 200
    assert (await ask(mesh, post(chat()))).status == 200


@asynccontextmanager
async def hardened(folder: Path, **settings: Any) -> AsyncIterator[Mesh]:
    """Run a mesh, and check afterwards that it still serves."""
    fields: dict[str, Any] = {"drain_timeout": 1} | settings
    script = ScriptedSettings(context=100_000_000)
    async with running_mesh(folder, script=script, settings=GatewaySettings(**fields)) as mesh:
        yield mesh
        await assert_alive(mesh)


async def test_headers_that_never_end_get_408(tmp_path: Path) -> None:
    """Half a head is answered with 408 after the head's deadline, not held for ever."""
    async with hardened(tmp_path, head_timeout=0.2) as mesh:
        reply = await ask(mesh, b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nX-Slow: ")

        assert (reply.status, reply.error["code"]) == (408, "request_timeout")


async def test_a_body_that_never_comes_gets_408(tmp_path: Path) -> None:
    """A stalled body is answered with 408 after the body's deadline."""
    async with hardened(tmp_path, body_timeout=0.2) as mesh:
        reply = await ask(mesh, post(b'{"model":', "Content-Length: 500"))

        assert (reply.status, reply.error["code"]) == (408, "request_timeout")


async def test_connections_beyond_the_cap_are_turned_away(tmp_path: Path) -> None:
    """With all connections taken the next get 503 at once, and those inside are served."""
    async with hardened(tmp_path, max_connections=50) as mesh:
        held = [
            await asyncio.open_connection(mesh.address.host, mesh.address.port) for _ in range(50)
        ]
        try:
            replies = await asyncio.gather(*(ask(mesh, post(chat())) for _ in range(200)))
            assert {reply.status for reply in replies} == {503}
            assert replies[0].error["code"] == "too_many_connections"
            assert replies[0].headers["retry-after"] == "1"

            reader, writer = held[0]
            writer.write(post(chat()))
            inside = parse(await reader.read())
            assert inside.status == 200
        finally:
            for _, writer in held:
                writer.close()


async def test_a_client_that_does_not_read_is_cut_off(tmp_path: Path) -> None:
    """A slow reader's buffer is bounded; after the write deadline its slot is free again."""
    script = ScriptedSettings(slots=1, tokens=2_000_000)
    settings = GatewaySettings(write_timeout=0.3, drain_timeout=1)
    async with running_mesh(tmp_path, script=script, settings=settings) as mesh:
        _, writer = await asyncio.open_connection(mesh.address.host, mesh.address.port, limit=1024)
        writer.write(post(chat(stream=True)))
        await until(lambda: mesh.agent.running == 1)
        await until(lambda: mesh.agent.running == 0, within=20)
        writer.close()

        metrics = await send_raw(mesh.address, GET.replace(b"healthz", b"metrics"))
        assert b'model="scripted",outcome="disconnected"' in metrics


@pytest.mark.parametrize("declared", [True, False])
async def test_a_huge_body_gets_413(tmp_path: Path, declared: bool) -> None:
    """A body beyond the limit is refused, whether its size was told beforehand or not."""
    async with hardened(tmp_path, max_body=10_000) as mesh:
        body = chat(padding="x" * 20_000)
        chunk = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)

        if declared:
            reply = await ask(mesh, post(body))
        else:
            reply = await ask(mesh, post(chunk, "Transfer-Encoding: chunked"))

        assert (reply.status, reply.error["code"]) == (413, "payload_too_large")


async def test_a_body_just_below_the_limit_is_served(tmp_path: Path) -> None:
    """The default limit leaves the envelope room on the bus: 7.9 MB travel."""
    async with hardened(tmp_path) as mesh:
        body = chat(messages=[{"role": "user", "content": "x" * (GatewaySettings.max_body - 200)}])

        assert (await ask(mesh, post(body))).status == 200


NESTED = b"[" * 200_000 + b"]" * 200_000
MESSAGES = b'{"model":"scripted","messages":[{"role":"user","content":"hi"}],'


BAD_REQUESTS: list[tuple[bytes, str | None]] = [
    (post(b"{"), None),
    (post(b""), None),
    (post(b"\xff\xfe"), None),
    (post(b'{"model":"\xff"}'), None),
    (post(chat(), "Content-Type: application/json; charset=utf-16"), "Content-Type"),
    (post(chat(), "Content-Type: text/plain"), "Content-Type"),
    (post(b"not gzip", "Content-Encoding: gzip"), "Content-Encoding"),
    (post(b"what is this\r\n", "Transfer-Encoding: chunked"), None),
    (post(NESTED), None),
    (post(MESSAGES + b'"tools":' + NESTED + b"}"), "tools[0]"),
    (post(MESSAGES + b'"unknown":' + NESTED + b"}"), None),
    (post(MESSAGES + b'"seed":' + b"9" * 10_000 + b"}"), "seed"),
    (post(MESSAGES + b'"temperature":NaN}'), None),
    (post(MESSAGES + b'"temperature":1e999}'), "temperature"),
    (post(MESSAGES + b'"max_tokens":-1}'), "max_tokens"),
    (post(MESSAGES + b'"stream":"true"}'), "stream"),
    (post(MESSAGES + b'"model":"other"}'), "model"),
    (post(chat(), "x-mesh-deadline-ms: soon"), "x-mesh-deadline-ms"),
    (post(chat(), "x-mesh-policy: moon-only"), "x-mesh-policy"),
]


async def test_a_bad_request_gets_400(tmp_path: Path) -> None:
    """Each fault is a 400 that names the field or header where there is one."""
    async with hardened(tmp_path) as mesh:
        for request, param in BAD_REQUESTS:
            reply = await ask(mesh, request)

            assert (reply.status, reply.error["param"]) == (400, param), request[-200:]
            assert reply.error["type"] == "invalid_request_error"


async def test_an_unknown_model_gets_404(tmp_path: Path) -> None:
    """A model nobody serves is the client's mistake."""
    async with hardened(tmp_path) as mesh:
        await until(lambda: mesh.fleet.settled)

        reply = await ask(mesh, post(chat(model="mesh.v1.>")))

        assert (reply.status, reply.error["code"]) == (404, "model_not_found")
        assert reply.error["param"] == "model"


NO_HTTP = [
    post(b"0\r\n\r\n", "Content-Length: 5", "Transfer-Encoding: chunked"),
    post(chat(), "Content-Length: 5", "Content-Length: 6"),
    post(chat(), "Content-Length: -5"),
    post(chat(), "Bad Header: x"),
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"nonsense\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Long: " + b"x" * 50_000 + b"\r\n\r\n",
]


async def test_what_is_no_http_gets_400_and_is_closed(tmp_path: Path) -> None:
    """A request that two parsers could read differently is refused, and the connection ends."""
    async with hardened(tmp_path) as mesh:
        for request in NO_HTTP:
            reply = await ask(mesh, request)

            assert reply.status == 400, request[:200]
            assert reply.headers["connection"] == "close"
            assert reply.error["type"] == "invalid_request_error"


async def test_a_parser_error_does_not_quote_the_request(tmp_path: Path) -> None:
    """Headers may hold keys: what could not be parsed is not sent back."""
    async with hardened(tmp_path) as mesh:
        reply = await ask(mesh, post(chat(), "Authorization: Bearer sk-canary", "Bad Header: x"))

        assert b"canary" not in reply.body


async def test_the_frameworks_own_pages_are_envelopes(tmp_path: Path) -> None:
    """Unknown paths, wrong methods and unmet expectations speak JSON, too."""
    expected = {
        b"GET /nowhere": (404, "not_found"),
        b"GET /v1/embeddings": (405, "method_not_allowed"),
        b"PATCH /v1/models": (405, "method_not_allowed"),
        b"GET /healthz HTTP/1.1\r\nExpect: miracles": (417, "expectation_failed"),
    }
    async with hardened(tmp_path) as mesh:
        for line, (status, code) in expected.items():
            version = b"" if b"HTTP/1.1" in line else b" HTTP/1.1"
            reply = await ask(mesh, line + version + b"\r\nHost: x\r\nConnection: close\r\n\r\n")

            assert (reply.status, reply.error["code"]) == (status, code)


async def test_a_client_that_leaves_between_two_writes_is_no_crash() -> None:
    """Writing to a connection that is closing ends the request, without an error in the log."""
    left = asyncio.Event()

    async def leave(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        assert request.transport is not None
        request.transport.close()
        try:
            await answer.write(b"nobody reads this")
        finally:
            left.set()
        return answer

    router: Any = None  # nothing is computed
    settings = GatewaySettings(port=0, drain_timeout=2)
    app = build_app(router, Fleet(), settings)
    app.add_routes([web.get("/leave", leave)])
    with capture_logs() as logs:
        async with serving(app, settings) as address:
            await send_raw(address, b"GET /leave HTTP/1.1\r\nHost: x\r\n\r\n")
            await left.wait()

    assert [event for event in logs if event["log_level"] == "error"] == []
