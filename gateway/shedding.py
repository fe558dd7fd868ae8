"""Turns requests away at the door while this process does not keep up.

It stands before routing, keys and bodies: a refusal costs one write of bytes that are ready. Only
what computes is refused (``POST``); health, metrics and lists are answered however full it is.
"""

import asyncio
import itertools
import math
import random
from collections.abc import Awaitable, Callable
from typing import Final

import anyio
import structlog
from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from anyio.abc import TaskStatus
from prometheus_client import CollectorRegistry, Counter, Gauge

from gateway.identity import HEADER, REQUEST_ID
from gateway.limiter import Limiter, LimiterSettings, Uniform
from gateway.problems import Overloaded, describe, encode_problem
from mesh.clock import monotonic

_log = structlog.get_logger("gateway")

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

REPORT_EVERY: Final = 40
"""Samples of the delay between log lines that tell of refusals: one second of them."""
_BODY: Final = encode_problem(describe(Overloaded("The gateway is overloaded; retry later.")))
_HEAD: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\n%b: %%b\r\nRetry-After: %%d\r\nretry-after-ms: %%d\r\n\r\n"
    % (len(_BODY), HEADER.encode())
)


class Refusal(web.StreamResponse):
    """An answer that is encoded already but for the request's id and the time to come back."""

    def __init__(self, request_id: str, seconds: float) -> None:
        super().__init__(status=503)
        self._keeps = False
        self._bytes = _HEAD % (request_id.encode(), math.ceil(seconds), seconds * 1000) + _BODY

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Write all of it."""
        if request.transport is not None:
            request.transport.write(self._bytes)
        self._keeps = request.keep_alive
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """Add nothing."""

    @property
    def keep_alive(self) -> bool:
        """Whether the connection stays: clients that come back need not connect anew."""
        return self._keeps


class Shedder:
    """Stands between a server and its handler."""

    def __init__(
        self,
        settings: LimiterSettings,
        registry: CollectorRegistry,
        uniform: Uniform = random.uniform,
    ) -> None:
        self._settings, self._uniform = settings, uniform
        self._limiter = limiter = Limiter(settings, monotonic)
        self._crowd = asyncio.Event()
        """Set while as many are in flight as are always let in."""
        self._refused = 0
        self._counter = Counter(
            "mesh_requests_shed_total",
            "Requests refused because the gateway was overloaded.",
            registry=registry,
        )
        self._limit = Gauge(
            "mesh_requests_limit",
            "Requests that the gateway answers at a time, as it keeps up now.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._limit.set(limiter.limit)

    def guard(self, handler: Handler) -> Handler:
        """Return the handler behind the door."""
        limiter, floor = self._limiter, self._settings.floor

        async def guarded(request: web.BaseRequest) -> web.StreamResponse:
            if request.method != "POST":
                return await handler(request)
            if not limiter.enter():
                return self._refuse(request)
            if limiter.in_flight >= floor:
                self._crowd.set()
            try:
                return await handler(request)
            finally:
                limiter.leave()

        return guarded

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Watch the event loop's delay while that matters, until cancelled."""
        task_status.started()
        for number in itertools.count(1):
            if not self._limiter.is_needed:
                await self._rest()
            await asyncio.sleep(self._settings.sample_every)
            self._limiter.sample()
            if number % REPORT_EVERY == 0:
                self._report()

    async def _rest(self) -> None:
        """Sleep until there is a crowd."""
        self._report()
        self._limiter.rest()
        self._crowd.clear()
        await self._crowd.wait()
        self._limiter.wake()

    def _refuse(self, request: web.BaseRequest) -> web.StreamResponse:
        self._refused += 1
        self._counter.inc()
        seconds = self._limiter.retry_after(self._uniform)
        return Refusal(request[REQUEST_ID], seconds)

    def _report(self) -> None:
        self._limit.set(self._limiter.limit)
        if self._refused:
            _log.warning(
                "requests.shed",
                count=self._refused,
                in_flight=self._limiter.in_flight,
                limit=self._limiter.limit,
            )
            self._refused = 0
