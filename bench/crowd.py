"""A crowd of clients that may be refused: counts answers, refusals, and the time to recover.

A process of its own, like ``bench.load``. A refused client comes back when it was told to, as
OpenAI's own clients do. With ``arrivals`` the loop is open: requests come at that rate whatever
became of those before. Prints a ``CrowdResult`` as JSON.
"""

import argparse
import asyncio
import random
import sys
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import cast

import msgspec
import uvloop

from bench.answers import check_whole
from bench.failures import BenchError, WrongAnswer
from bench.http1 import Response
from bench.load import Load, Percentiles, chat_request, percentiles, target_of
from schemas.wire import Message, encode

REFUSALS = {429, 503}
IN_VAIN = {504}
"""Statuses of requests that were let in and missed their deadline."""
RETRY = b"retry-after-ms:"
GIVE_UP = 15.0
"""Seconds after the load within which a lone client must be served as before."""
STEADY = 3
"""Quick answers in a row that count as recovered."""


class Crowd(Load, frozen=True, kw_only=True):
    """What to put on a server, beyond a load.

    arrivals: requests per second, ``clients`` at most at a time; 0: each client asks again when it
    was answered. calm: seconds an answer takes without load. deadline_ms: 0 sends none.
    """

    arrivals: float = 0.0
    calm: float = 0.0
    deadline_ms: int = 0


class CrowdResult(Message, frozen=True, kw_only=True):
    """What a crowd saw.

    rate: whole answers per second. late: requests let in that missed their deadline. untold:
    refusals without a time to come back. recovery: seconds from the end of the load until answers
    are quick again.
    """

    answers: int
    rate: float
    latency: Percentiles
    refusals: int
    refused: Percentiles | None
    untold: int
    late: int
    recovery: float


class Tally:
    """Counts what became of the requests."""

    def __init__(self) -> None:
        self.failure: BenchError | None = None
        self.reset()

    def reset(self) -> None:
        self.started = perf_counter()
        self.answers: list[float] = []
        self.refusals: list[float] = []
        self.untold = self.late = 0


class Visitor(asyncio.Protocol):
    """One connection; ``done`` hears of each answer, with the seconds to wait before the next."""

    def __init__(self, crowd: Crowd, request: bytes, tally: Tally) -> None:
        self._crowd, self._request, self._tally = crowd, request, tally
        self.done: Callable[[Visitor, float], None] = lambda _visitor, _pause: None
        self.stopping = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def ask(self) -> None:
        if self.stopping:
            return
        self._response = Response()
        self._head = b""
        self._asked = perf_counter()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        if not self._head:
            self._head = data
        self._response.feed(data)
        if self._response.done:
            try:
                pause = self._count(perf_counter() - self._asked)
            except (BenchError, msgspec.MsgspecError) as wrong:
                self._tally.failure = WrongAnswer(str(wrong))
                return
            self.done(self, pause)

    def _count(self, took: float) -> float:
        """Take the answer in; returns the seconds until this client may ask again."""
        status = self._response.status
        if status == 200:
            check_whole(self._response.body(), self._crowd.tokens)
            self._tally.answers.append(took)
        elif status in REFUSALS:
            if self._asked >= self._tally.started:
                self._tally.refusals.append(took)
            told = self._head.lower().partition(RETRY)[2].split(b"\r\n", 1)[0]
            self._tally.untold += not told
            return int(told or 1000) / 1000
        elif status in IN_VAIN:
            self._tally.late += 1
        else:
            raise WrongAnswer(f"status {status}: {self._response.body()[:300]!r}")
        return 0.0

    def connection_lost(self, error: Exception | None) -> None:
        if not self.stopping:
            self._tally.failure = WrongAnswer(f"the server closed the connection ({error})")

    def stop(self) -> None:
        self.stopping = True
        self._transport.abort()


class Crowding:
    """Keeps the crowd going."""

    def __init__(self, crowd: Crowd, tally: Tally) -> None:
        self._crowd, self._tally = crowd, tally
        self._request = _request(crowd)
        self._loop = asyncio.get_running_loop()
        self._visitors: list[Visitor] = []
        self._idle: list[Visitor] = []

    async def run(self) -> None:
        """Put the load on, warm-up first."""
        try:
            await self._gather()
            await self._pass(self._crowd.warmup)
            self._tally.reset()
            await self._pass(self._crowd.seconds)
        finally:
            for visitor in self._visitors:
                visitor.stop()

    async def _gather(self) -> None:
        for _ in range(self._crowd.clients):
            visitor = await connected(self._crowd, self._request, self._tally)
            self._visitors.append(visitor)
            visitor.done = self._again if not self._crowd.arrivals else self._rest
            self._idle.append(visitor)
        if not self._crowd.arrivals:
            for visitor in self._idle:
                visitor.ask()

    async def _pass(self, seconds: float) -> None:
        end = perf_counter() + seconds
        due = perf_counter()
        while (now := perf_counter()) < end and self._tally.failure is None:
            while self._crowd.arrivals and due <= now:
                due += random.expovariate(self._crowd.arrivals)
                if self._idle:
                    self._idle.pop().ask()
            await asyncio.sleep(0.002)
        if self._tally.failure is not None:
            raise self._tally.failure

    def _again(self, visitor: Visitor, pause: float) -> None:
        self._loop.call_later(pause, visitor.ask)

    def _rest(self, visitor: Visitor, _pause: float) -> None:
        self._idle.append(visitor)


async def connected(crowd: Crowd, request: bytes, tally: Tally) -> Visitor:
    """Return a client that is connected."""
    host, port = target_of(crowd)
    loop = asyncio.get_running_loop()
    _, visitor = await loop.create_connection(lambda: Visitor(crowd, request, tally), host, port)
    return visitor


def _request(crowd: Crowd) -> bytes:
    request = chat_request(crowd)
    if not crowd.deadline_ms:
        return request
    line, rest = request.split(b"\r\n", 1)
    return b"%b\r\nx-mesh-deadline-ms: %d\r\n%b" % (line, crowd.deadline_ms, rest)


async def recovery(crowd: Crowd) -> float:
    """Return seconds from now until a lone client is served as quickly as without load."""
    tally, began, quick = Tally(), perf_counter(), 0
    visitor = await connected(crowd, _request(crowd), tally)
    try:
        while perf_counter() - began < GIVE_UP:
            asked_at = perf_counter()
            answered = asyncio.Event()
            visitor.done = lambda _visitor, _pause, answered=answered: answered.set()  # type: ignore[misc]
            visitor.ask()
            await answered.wait()
            is_quick = tally.answers and perf_counter() - asked_at <= 2 * crowd.calm + 0.005
            tally.answers.clear()
            quick = quick + 1 if is_quick else 0
            if quick == STEADY:
                return asked_at - began
    finally:
        visitor.stop()
    raise BenchError(f"not served as before {GIVE_UP:g} s after the load")


async def run(crowd: Crowd) -> CrowdResult:
    """Put the load on and return what it showed; raises ``BenchError``."""
    tally = Tally()
    await Crowding(crowd, tally).run()
    elapsed = perf_counter() - tally.started
    if not tally.answers:
        raise BenchError("not a single answer")
    return CrowdResult(
        answers=len(tally.answers),
        rate=len(tally.answers) / elapsed,
        latency=percentiles(tally.answers),
        refusals=len(tally.refusals),
        refused=percentiles(tally.refusals) if tally.refusals else None,
        untold=tally.untold,
        late=tally.late,
        recovery=await recovery(crowd) if crowd.calm else 0.0,
    )


def main(arguments: Sequence[str]) -> None:
    """Run the crowd that the first argument describes as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("crowd", help='as JSON, for example {"url": "http://127.0.0.1:8080"}')
    crowd = msgspec.json.decode(parser.parse_args(arguments).crowd, type=Crowd)
    try:
        result = uvloop.run(run(crowd))
    except (BenchError, OSError) as failure:
        sys.exit(str(failure))
    sys.stdout.buffer.write(encode(result))


if __name__ == "__main__":
    main(sys.argv[1:])
