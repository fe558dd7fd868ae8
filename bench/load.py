"""The load generator: C clients in a closed loop, every answer checked.

A process of its own, because a client that shares the event loop of what it measures measures
itself. Prints a ``LoadResult`` as JSON.
"""

import argparse
import asyncio
import sys
from collections.abc import Sequence
from time import perf_counter
from typing import cast
from urllib.parse import urlsplit

import msgspec
import uvloop

from bench import script
from bench.answers import check_stream, check_whole
from bench.failures import BenchError, WrongAnswer
from bench.http1 import Response, post
from schemas.wire import Message, encode

CHAT = "/v1/chat/completions"
PATIENCE = 30.0
"""Seconds beyond those asked for in which a slow server may give two answers to each client."""


class Load(Message, frozen=True, kw_only=True):
    """What to put on a server.

    warmup, seconds: of load, before and while counting. tokens: per answer. key: of the API, if
    the server wants one.
    """

    url: str
    key: str = ""
    clients: int = 1
    warmup: float = 0.5
    seconds: float = 3.0
    tokens: int = 64
    stream: bool = False
    model: str = script.MODEL


class Percentiles(Message, frozen=True, kw_only=True):
    """Of a time, in milliseconds."""

    p50: float
    p95: float
    p99: float


class LoadResult(Message, frozen=True, kw_only=True):
    """What one load showed.

    warmup: answers before counting. rate: complete answers per second. first_token: of streams,
    from the request's first byte. events: server-sent events with text, per answer.
    """

    answers: int
    warmup: int
    rate: float
    latency: Percentiles
    first_token: Percentiles | None
    events: float


class Tally:
    """Counts answers; those that end before ``reset`` are the warm-up's."""

    def __init__(self, least: int) -> None:
        self.failure: BenchError | None = None
        self.failed = asyncio.Event()
        self.enough = asyncio.Event()
        self.warmup = 0
        self._least = least
        self._begin()

    def reset(self) -> None:
        self.warmup = len(self.latencies)
        self._begin()

    def _begin(self) -> None:
        self.started = perf_counter()
        self.enough.clear()
        self.latencies: list[float] = []
        self.first_tokens: list[float] = []
        self.events = 0

    def add(self, latency: float, first_token: float | None, events: int) -> None:
        self.latencies.append(latency)
        self.events += events
        if first_token is not None:
            self.first_tokens.append(first_token)
        if len(self.latencies) == self._least:
            self.enough.set()

    def fail(self, failure: BenchError) -> None:
        self.failure = self.failure or failure
        self.failed.set()

    def result(self) -> LoadResult:
        elapsed, answers = perf_counter() - self.started, len(self.latencies)
        if not self.enough.is_set():
            raise BenchError(f"no more than {answers} answers in {elapsed:.0f} s")
        return LoadResult(
            answers=answers,
            warmup=self.warmup,
            rate=answers / elapsed,
            latency=percentiles(self.latencies),
            first_token=percentiles(self.first_tokens) if self.first_tokens else None,
            events=self.events / answers,
        )


def percentiles(seconds: Sequence[float]) -> Percentiles:
    """Return the nearest-rank percentiles, in milliseconds."""
    ranked = sorted(seconds)

    def rank(share: float) -> float:
        return ranked[min(len(ranked) - 1, int(share * len(ranked)))] * 1000

    return Percentiles(p50=rank(0.50), p95=rank(0.95), p99=rank(0.99))


class Client(asyncio.Protocol):
    """One client: sends a request, checks the answer, sends the next."""

    def __init__(self, load: Load, request: bytes, tally: Tally) -> None:
        self._load = load
        self._request = request
        self._tally = tally
        self._stopping = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._ask()

    def _ask(self) -> None:
        self._response = Response()
        self._first_token: float | None = None
        self._asked = perf_counter()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        try:
            self._take(data)
        except (BenchError, msgspec.MsgspecError) as wrong:
            self._tally.fail(wrong if isinstance(wrong, BenchError) else WrongAnswer(str(wrong)))
            self._transport.close()

    def _take(self, data: bytes) -> None:
        self._response.feed(data)
        if self._load.stream and self._first_token is None and script.FIRST in data:
            self._first_token = perf_counter() - self._asked
        if self._response.done:
            latency = perf_counter() - self._asked
            self._tally.add(latency, self._first_token, self._check())
            self._ask()

    def _check(self) -> int:
        body = self._response.body()
        if self._response.status != 200:
            raise WrongAnswer(f"status {self._response.status}: {body[:300]!r}")
        if self._load.stream:
            return check_stream(body, self._load.tokens)
        check_whole(body, self._load.tokens)
        return 1

    def connection_lost(self, error: Exception | None) -> None:
        if not self._stopping:
            self._tally.fail(WrongAnswer(f"the server closed the connection ({error})"))

    def stop(self) -> None:
        self._stopping = True
        self._transport.abort()


def target_of(load: Load) -> tuple[str, int]:
    """Return host and port of a load's URL."""
    target = urlsplit(load.url)
    return target.hostname or "", target.port or 80


def chat_request(load: Load) -> bytes:
    """Return the request of all clients."""
    body = {
        "model": load.model,
        "messages": [{"role": "user", "content": "Count, please."}],
        "max_tokens": load.tokens,
        "stream": load.stream,
    }
    return post(*target_of(load), CHAT, msgspec.json.encode(body), load.key)


async def run(load: Load) -> LoadResult:
    """Put the load on and return what it showed; raises ``BenchError``."""
    host, port = target_of(load)
    request, tally = chat_request(load), Tally(least=2 * load.clients)
    loop = asyncio.get_running_loop()
    clients = []
    try:
        for _ in range(load.clients):
            _, client = await loop.create_connection(
                lambda: Client(load, request, tally), host, port
            )
            clients.append(client)
        await _pass(load.warmup, tally)
        tally.reset()
        await _pass(load.seconds, tally)
        if not tally.enough.is_set():
            await _pass(PATIENCE, tally, until=tally.enough)
        return tally.result()
    finally:
        for client in clients:
            client.stop()


async def _pass(seconds: float, tally: Tally, until: asyncio.Event | None = None) -> None:
    """Let the time pass, at most until an event; raises the first failure."""
    events = [event for event in (tally.failed, until) if event is not None]
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()
    if tally.failure:
        raise tally.failure


def main(arguments: Sequence[str]) -> None:
    """Run the load that the first argument describes as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("load", help='as JSON, for example {"url": "http://127.0.0.1:8080"}')
    load = msgspec.json.decode(parser.parse_args(arguments).load, type=Load)
    try:
        result = uvloop.run(run(load))
    except (BenchError, OSError) as failure:
        sys.exit(str(failure))
    sys.stdout.buffer.write(encode(result))


if __name__ == "__main__":
    main(sys.argv[1:])
