"""Slow, endless, absurd and ambiguous HTTP: what drips, grows, is pipelined, points elsewhere."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest

from gateway.settings import GatewaySettings
from schemas.inference import Dispatch
from tests.acceptance.test_gateway_abuse import (
    GET,
    MESSAGES,
    NESTED,
    Reply,
    ask,
    chat,
    hardened,
    parse,
    post,
)
from tests.support.gateway import Mesh, gateway_of, running_mesh, send_raw
from tests.support.mesh import agent_of, broker_in, router_of
from tests.support.wait import until
from workers.engine import Emit, Finish, Piece
from workers.scripted import ScriptedEngine, ScriptedSettings

MEBIBYTE = 1024 * 1024
HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


async def drip(mesh: Mesh, beginning: bytes, drop: bytes) -> Reply:
    """Send a beginning, then a drop every few milliseconds until an answer comes."""
    reader, writer = await asyncio.open_connection(mesh.address.host, mesh.address.port)
    answer = asyncio.ensure_future(reader.read(65536))  # one write; a reset may follow it
    try:
        async with asyncio.timeout(10):
            writer.write(beginning)
            while not answer.done():
                writer.write(drop)
                await asyncio.wait((answer,), timeout=0.01)
        return parse(await answer)
    finally:
        writer.close()


async def test_headers_that_drip_get_408(tmp_path: Path) -> None:
    """A byte now and then does not put the head's deadline off."""
    async with hardened(tmp_path, head_timeout=0.2) as mesh:
        reply = await drip(mesh, HEAD + b"X-Slow: ", b"x")

        assert (reply.status, reply.error["code"]) == (408, "request_timeout")


async def test_a_body_that_drips_gets_408(tmp_path: Path) -> None:
    """Nor does it put off the body's, which is for all of it."""
    async with hardened(tmp_path, body_timeout=0.2) as mesh:
        reply = await drip(mesh, HEAD + b"Content-Length: 100000\r\n\r\n{", b" ")

        assert (reply.status, reply.error["code"]) == (408, "request_timeout")


async def test_a_chunked_body_that_grows_for_ever_gets_413(tmp_path: Path) -> None:
    """It is refused at the limit, while its sender still goes on."""
    async with hardened(tmp_path, max_body=10_000) as mesh:
        reply = await drip(
            mesh, HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"400\r\n" + b"x" * 1024 + b"\r\n"
        )

        assert (reply.status, reply.error["code"]) == (413, "payload_too_large")


class _Torrent(ScriptedEngine):
    """Says ten megabytes a second, for ever."""

    async def generate(self, work: Dispatch, emit: Emit) -> Finish:
        while True:
            emit(Piece("x" * 10_000, (0,)))
            await asyncio.sleep(0.001)


async def test_a_slow_reader_costs_bounded_memory(tmp_path: Path) -> None:
    """What a client does not read is kept up to a few megabytes, then its stream is given up."""
    settings = GatewaySettings(write_timeout=5, drain_timeout=1)
    async with (
        broker_in(tmp_path) as broker,
        agent_of(broker, _Torrent()) as agent,
        router_of(broker, "scripted") as (router, fleet),
        gateway_of(router, fleet, settings) as address,
    ):
        _, writer = await asyncio.open_connection(address.host, address.port, limit=1024)
        before = most = psutil.Process().memory_info().rss
        writer.write(post(chat(stream=True)))
        await until(lambda: agent.running == 1)

        def given_up() -> bool:
            nonlocal most
            most = max(most, psutil.Process().memory_info().rss)
            return agent.running == 0

        await until(given_up)
        writer.close()
    assert most - before < 64 * MEBIBYTE


BAD_BODIES: list[tuple[bytes, str | None]] = [
    (post(MESSAGES + b'"temperature":Infinity}'), None),
    (post(MESSAGES + b'"temperature":-Infinity}'), None),
    (post(MESSAGES + b'"max_tokens":' + b"9" * 5000 + b"}"), "max_tokens"),
    (post(MESSAGES + b'"max_tokens":1e400}'), "max_tokens"),
    (post(MESSAGES + b'"n":-1}'), "n"),
    (post(MESSAGES + b'"n":1.5}'), "n"),
    (post(MESSAGES + b'"top_p":-0.1}'), "top_p"),
    (post(MESSAGES + b'"presence_penalty":-1000}'), "presence_penalty"),
    (post(MESSAGES + b'"logprobs":true,"top_logprobs":-3}'), "top_logprobs"),
    (post(MESSAGES + b'"stop":[1]}'), "stop[0]"),
    (post(MESSAGES + b'"temperature":1,"temperature":2}'), "temperature"),
    (post(b'{"model":7,"messages":[]}'), "model"),
    (post(b'{"model":"scripted","messages":"hi"}'), "messages"),
    (post(b'{"model":"scripted","messages":[{"role":"user","content":' + NESTED + b"}]}"), None),
    (post(chat(), "Content-Type: application/json; charset=latin-1"), "Content-Type"),
    (post(chat().decode().encode("utf-16")), None),
    (post(b"\xef\xbb\xbf" + chat()), None),
]


async def test_more_bad_bodies_get_400(tmp_path: Path) -> None:
    """Negatives, wrong types, endless numbers and other encodings; the field is named."""
    async with hardened(tmp_path) as mesh:
        for request, param in BAD_BODIES:
            reply = await ask(mesh, request)

            assert reply.status == 400, request[-200:]
            assert param is None or reply.error["param"] == param, request[-200:]
            assert reply.error["type"] == "invalid_request_error"


AMBIGUOUS = [
    HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n0\r\n\r\n",
    HEAD + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    HEAD + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    HEAD + b"Content-Length: +5\r\n\r\nhello",
    HEAD + b"Content-Length: 5, 6\r\n\r\nhello",
    HEAD + b"Content-Length : 5\r\n\r\nhello",
    HEAD + b"X-Null: a\x00b\r\n\r\n",
    HEAD + b"".join(b"X-%d: x\r\n" % n for n in range(5000)) + b"\r\n",
    b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /healthz HTTP/9.9\r\nHost: x\r\n\r\n",
]


@pytest.mark.parametrize("request_", AMBIGUOUS, ids=range(len(AMBIGUOUS)))
async def test_the_ambiguous_and_the_bombastic_get_400_and_are_closed(
    tmp_path: Path, request_: bytes
) -> None:
    """What two parsers might read differently, and heads without end, are not interpreted."""
    async with hardened(tmp_path, head_timeout=1.0) as mesh:
        reply = await ask(mesh, request_)

        assert reply.status == 400
        assert reply.headers["connection"] == "close"


ABSURD = [
    b"/v1/models/%00",
    b"/v1/models/..%2f..%2fetc%2fpasswd",
    b"/v1/models/%ff%fe",
    b"/v1/../../etc/passwd",
    b"//v1//models",
    b"/v1/models/" + b"%2e" * 2000,
    b"http://169.254.169.254/latest/meta-data",
    b"/nowhere?" + b"a=b&" * 3000,
    b"*",
    b"/v1/models/\xf0\x9f\xa6\x99",
]


async def test_absurd_urls_are_never_a_server_error(tmp_path: Path) -> None:
    """Whatever the path, the answer is an envelope of the 4xx kind."""
    async with hardened(tmp_path) as mesh:
        for url in ABSURD:
            raw = await send_raw(
                mesh.address, b"GET " + url + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
            )
            reply = parse(raw)
            assert 400 <= reply.status < 500, url
            assert reply.error


async def test_pipelined_requests_are_answered_in_order(tmp_path: Path) -> None:
    """Two in one write get two answers; what is no HTTP after them ends the connection."""
    first = post(chat(max_tokens=2)).replace(b"Connection: close\r\n", b"")
    second = post(chat(max_tokens=3)).replace(b"Connection: close\r\n", b"")
    async with hardened(tmp_path) as mesh:
        reader, writer = await asyncio.open_connection(mesh.address.host, mesh.address.port)
        writer.write(first + second)
        for tokens in (2, 3):
            reply = parse(await reader.readuntil(b"\r\n\r\n"))
            body = json.loads(await reader.readexactly(int(reply.headers["content-length"])))
            assert (reply.status, body["usage"]["completion_tokens"]) == (200, tokens)
        writer.write(b"nonsense\r\n\r\n")
        assert parse(await reader.read()).status == 400
        writer.close()


async def test_a_flood_of_pipelined_requests_is_cut_off(tmp_path: Path) -> None:
    """A client far ahead of its answers could leave unseen: its connection and its slot go."""
    one = post(chat(stream=True)).replace(b"Connection: close\r\n", b"")
    script = ScriptedSettings(slots=8, ttft_ms=60_000)
    settings = GatewaySettings(drain_timeout=1)
    async with running_mesh(tmp_path, script=script, settings=settings) as mesh:
        reader, writer = await asyncio.open_connection(mesh.address.host, mesh.address.port)
        writer.write(one)
        await until(lambda: mesh.agent.running == 1)
        writer.write(one * 10)
        assert (await send_raw(mesh.address, GET)).startswith(b"HTTP/1.1 200 ")
        assert mesh.agent.running == 1
        writer.write(one * 1000)
        with pytest.raises(ConnectionError):
            await reader.read()
        await until(lambda: mesh.agent.running == 0, within=0.3)
        writer.close()


@asynccontextmanager
async def trap() -> AsyncIterator[tuple[int, list[str]]]:
    """Listen where nobody should come; yields the port, and who came."""
    callers: list[str] = []

    def caught(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        callers.append(str(writer.get_extra_info("peername")))
        writer.close()

    server = await asyncio.start_server(caught, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], callers


async def test_image_urls_are_refused_without_going_there(tmp_path: Path) -> None:
    """No part of the mesh opens a connection that a prompt asks for, nor reads a file it names."""
    async with hardened(tmp_path) as mesh, trap() as (port, callers):
        for url in (
            f"http://127.0.0.1:{port}/cat.png",
            f"//127.0.0.1:{port}/cat.png",
            "file:///etc/passwd",
            f"ftp://127.0.0.1:{port}/cat.png",
        ):
            part = {"type": "image_url", "image_url": {"url": url}}
            reply = await ask(mesh, post(chat(messages=[{"role": "user", "content": [part]}])))
            assert reply.status == 400
            assert reply.error["param"] == "messages[0].content[0]"
            assert b"passwd" not in reply.body
        assert callers == []
