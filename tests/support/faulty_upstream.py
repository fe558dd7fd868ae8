"""A real HTTP server that imitates an OpenAI-compatible upstream, with a choice of faults.

Healthy, it streams numbered tokens (``"0 "``, ``"1 "``, …), so that loss and repeats are visible.
"""

import asyncio
import json
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from aiohttp import web

from mesh.vectors import unpack
from workers.scripted_inputs import score, vector

DRIP_SECONDS = 0.01
PIECE = b"x" * 64 * 1024
ENDLESS_BYTES = 100 * 1024 * 1024


class Fault(StrEnum):
    """How the upstream misbehaves."""

    NONE = "none"
    RATE_LIMITED = "rate_limited"
    """429 with ``Retry-After``."""
    UNAUTHORIZED = "unauthorized"
    """401, quoting the key it got."""
    REJECTED = "rejected"
    """400, naming a field and quoting the key it got."""
    SERVER_ERROR = "server_error"
    REDIRECT = "redirect"
    HANG = "hang"
    """Takes the request and never answers."""
    STALL = "stall"
    """Sends two tokens and then nothing, without ending."""
    DRIP = "drip"
    """Sends a token every few milliseconds, without end."""
    MALFORMED = "malformed"
    """Sends an event that is no JSON."""
    BAD_UTF8 = "bad_utf8"
    DEEP = "deep"
    """Sends an event of 200,000 nested lists."""
    NO_DONE = "no_done"
    """Ends the body cleanly, without ``[DONE]``."""
    NO_FINISH = "no_finish"
    """Sends ``[DONE]``, but no choice had a finish reason."""
    ERROR_EVENT = "error_event"
    """Sends an error in the middle of the stream."""
    ENDLESS_EVENT = "endless_event"
    """Sends one event of 100 MB."""
    RESET = "reset"
    """Drops the connection in the middle of the stream."""
    WHOLE = "whole"
    """Ignores the wish for a stream and sends one JSON answer."""
    BAD_LIST = "bad_list"
    """Answers ``GET models`` with something else."""


class FaultyUpstream:
    """The server's behaviour, to be set by a test, and what it has seen.

    script: chunks to stream instead of numbered tokens, without ``[DONE]``. usage: whether token
    counts are told. token_seconds: pause after each chunk. retry_after: the header's value.
    open: requests being answered right now. knows_base64: whether vectors come as asked, or as
    numbers. lacks: paths that are not there. whole_answer: what is said about any inputs.
    """

    def __init__(self) -> None:
        self.url = ""
        self.fault = Fault.NONE
        self.tokens = 5
        self.usage = True
        self.retry_after = "7"
        self.token_seconds = 0.0
        self.script: Sequence[Mapping[str, Any]] | None = None
        self.models = ["alpha", "org/beta"]
        self.knows_base64 = True
        self.lacks: frozenset[str] = frozenset()
        self.whole_answer: Mapping[str, Any] | None = None
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[Mapping[str, str]] = []
        self.bytes_sent = 0
        self.open = 0
        self.most_open = 0
        self._clients: set[object] = set()

    @property
    def calls(self) -> int:
        """How many completions were asked for."""
        return len(self.bodies)

    @property
    def connections(self) -> int:
        """Over how many connections they came."""
        return len(self._clients)

    async def list_models(self, request: web.Request) -> web.Response:
        """Answer ``GET /v1/models``."""
        if self.fault is Fault.BAD_LIST:
            return web.json_response(["nothing", "of", "the", "kind"])
        return web.json_response(
            {"object": "list", "data": [{"id": name, "object": "model"} for name in self.models]}
        )

    async def chat(self, request: web.Request) -> web.StreamResponse:
        """Answer ``POST /v1/chat/completions``."""
        self.bodies.append(await request.json())
        self.headers.append(request.headers)
        self._clients.add(request.transport)
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            return self._plain(request) or await self._stream(request)
        finally:
            self.open -= 1

    async def take_inputs(self, request: web.Request) -> web.StreamResponse:
        """Answer ``POST /v1/embeddings`` and ``POST /v1/rerank``, last input first."""
        path = request.path.rpartition("/")[2]
        body = await request.json()
        self.bodies.append(body)
        if path in self.lacks:
            return _problem(404, "no such path")
        if (plain := self._plain(request)) is not None:
            return plain
        if self.whole_answer is not None:
            return web.json_response(self.whole_answer)
        rows = self._scores(body) if path == "rerank" else self._vectors(body)
        key = "results" if path == "rerank" else "data"
        usage = {"prompt_tokens": 11, "total_tokens": 11} if self.usage else None
        return web.json_response({key: rows[::-1], "usage": usage})

    def _vectors(self, body: Mapping[str, Any]) -> list[dict[str, Any]]:
        as_text = self.knows_base64 and body.get("encoding_format") == "base64"
        entries = [e if isinstance(e, str) else tuple(e) for e in body["input"]]
        raws = [vector(entry, body.get("dimensions")) for entry in entries]
        return [
            {"index": index, "embedding": b64encode(raw).decode() if as_text else unpack(raw)}
            for index, raw in enumerate(raws)
        ]

    def _scores(self, body: Mapping[str, Any]) -> list[dict[str, Any]]:
        scores = [score(body["query"], document) for document in body["documents"]]
        return [{"index": index, "relevance_score": s} for index, s in enumerate(scores)]

    def _plain(self, request: web.Request) -> web.Response | None:
        key = request.headers.get("Authorization", "")
        match self.fault:
            case Fault.RATE_LIMITED:
                return _problem(429, "slow down", headers={"Retry-After": self.retry_after})
            case Fault.UNAUTHORIZED:
                return _problem(401, f"wrong key: {key}")
            case Fault.REJECTED:
                return _problem(400, f"temperature is too hot for {key}", param="temperature")
            case Fault.SERVER_ERROR:
                return _problem(500, f"internal trouble with {key}")
            case Fault.REDIRECT:
                return web.Response(status=307, headers={"Location": self.url})
            case Fault.WHOLE:
                return web.json_response(self._whole())
        return None

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        if self.fault is Fault.HANG:
            await asyncio.Event().wait()
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        stream = _Stream(self, request, response, self.bodies[-1])
        match self.fault:
            case Fault.NONE | Fault.NO_DONE | Fault.NO_FINISH:
                await stream.healthy()
            case Fault.DRIP:
                await stream.drip()
            case Fault.ENDLESS_EVENT:
                await stream.endless_event()
            case _:
                await stream.broken_off()
        return response

    def chunks(self, body: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        """Yield the chunks that answer a body."""
        if self.script is not None:
            yield from self.script
            return
        texts, reason = self._answer(body)
        choices = range(body.get("n", 1))
        for text in texts:
            for index in choices:
                yield chunk({"content": text}, index=index)
        if self.fault is not Fault.NO_FINISH:
            for index in choices:
                yield chunk({}, index=index, finish_reason=reason)
        if self.usage:
            yield {"choices": [], "usage": self._usage(len(texts) * len(choices))}

    def _answer(self, body: Mapping[str, Any]) -> tuple[list[str], str]:
        limit = body.get("max_tokens") or body.get("max_completion_tokens") or self.tokens
        texts = [f"{number} " for number in range(min(self.tokens, limit))]
        whole = "".join(texts)
        cuts = [whole.index(stop) for stop in body.get("stop", ()) if stop in whole]
        if cuts:
            return [whole[: min(cuts)]], "stop"
        return texts, "length" if limit < self.tokens else "stop"

    def _usage(self, completion: int) -> dict[str, Any]:
        return {
            "prompt_tokens": 11,
            "completion_tokens": completion,
            "total_tokens": 11 + completion,
            "prompt_tokens_details": {"cached_tokens": 3},
        }

    def _whole(self) -> dict[str, Any]:
        message = {
            "role": "assistant",
            "content": "".join(f"{number} " for number in range(self.tokens)),
        }
        return {
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": self._usage(self.tokens),
        }


@dataclass
class _Stream:
    """One stream being written."""

    upstream: FaultyUpstream
    request: web.Request
    response: web.StreamResponse
    body: Mapping[str, Any]

    async def healthy(self) -> None:
        for each in self.upstream.chunks(self.body):
            await self.event(json.dumps(each))
            await asyncio.sleep(self.upstream.token_seconds)
        if self.upstream.fault is not Fault.NO_DONE:
            await self.event("[DONE]")

    async def drip(self) -> None:
        number = 0
        while True:
            await self.event(json.dumps(token(number)))
            number += 1
            await asyncio.sleep(DRIP_SECONDS)

    async def endless_event(self) -> None:
        await self.write(b"data: ")
        for _ in range(ENDLESS_BYTES // len(PIECE)):
            await self.write(PIECE)

    async def broken_off(self) -> None:
        await self.event(json.dumps(token(0)))
        await self.event(json.dumps(token(1)))
        match self.upstream.fault:
            case Fault.STALL:
                await asyncio.Event().wait()
            case Fault.MALFORMED:
                await self.event('{"choices": [{"delta"')
            case Fault.BAD_UTF8:
                await self.write(b'data: {"choices": [{"delta": {"content": "\xff"}}]}\n\n')
            case Fault.DEEP:
                await self.event('{"error": ' + "[" * 200_000)
            case Fault.ERROR_EVENT:
                await self.event(json.dumps({"error": {"message": "broken"}}))
            case Fault.RESET:
                assert self.request.transport is not None
                self.request.transport.abort()

    async def event(self, data: str) -> None:
        await self.write(f"data: {data}\n\n".encode())

    async def write(self, data: bytes) -> None:
        await self.response.write(data)
        self.upstream.bytes_sent += len(data)


def chunk(delta: Mapping[str, Any], **choice: Any) -> dict[str, Any]:
    """Return a chunk with one choice."""
    return {"choices": [{"index": 0, "delta": dict(delta), "finish_reason": None} | choice]}


def token(number: int, index: int = 0) -> dict[str, Any]:
    """Return the chunk of one numbered token."""
    return chunk({"content": f"{number} "}, index=index)


def _problem(
    status: int, message: str, param: str | None = None, headers: Mapping[str, str] | None = None
) -> web.Response:
    error = {"message": message, "type": "test", "param": param, "code": None}
    return web.json_response({"error": error}, status=status, headers=headers)


@asynccontextmanager
async def faulty_upstream() -> AsyncIterator[FaultyUpstream]:
    """Run an upstream on a free port of the loopback."""
    upstream = FaultyUpstream()
    app = web.Application(client_max_size=16 * 1024 * 1024)
    app.router.add_get("/v1/models", upstream.list_models)
    app.router.add_post("/v1/chat/completions", upstream.chat)
    app.router.add_post("/v1/embeddings", upstream.take_inputs)
    app.router.add_post("/v1/rerank", upstream.take_inputs)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=1.0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        upstream.url = f"http://{host}:{port}/v1"
        yield upstream
    finally:
        await runner.cleanup()
