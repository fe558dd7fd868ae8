"""The connection to one upstream: HTTP, the key, the slots and the circuit breaker.

Nothing is retried here. Retries happen in one layer only, the router, which knows the other workers
and the request's deadline. The breaker is what keeps them few: while the upstream fails, calls are
refused before anything is sent, and the adverts keep routers away.
"""

import math
import os
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from io import BytesIO
from types import MappingProxyType, TracebackType
from typing import Self

import aiohttp
import anyio
import structlog

from mesh.clock import Clock, monotonic
from mesh.errors import (
    Busy,
    ContextLengthExceeded,
    MeshError,
    Unsupported,
    UpstreamAuth,
    UpstreamError,
    UpstreamMalformed,
    UpstreamRateLimited,
    UpstreamRejected,
    UpstreamTimeout,
)
from schemas.inference import Ability
from schemas.openai.upstream import Chunk
from schemas.wire import UNREADABLE, decoder
from workers.breaker import Breaker, BreakerState, Permit
from workers.budget import Budget, WallClock
from workers.upstream.call import Call
from workers.upstream.refusals import REQUEST_STATUSES, refusal
from workers.upstream.reply import Reply
from workers.upstream.settings import KIB, ApiKey, Dialect, UpstreamSettings
from workers.upstream.sse_reader import Event, SseReader

log = structlog.stdlib.get_logger("mesh.upstream")

DONE = b"[DONE]"
HEADERS = MappingProxyType(
    {
        "Accept": "text/event-stream, application/json",
        # Compression would hold back tokens, and let a small body grow large here.
        "Accept-Encoding": "identity",
        "Content-Type": "application/json",
    }
)
MAX_PROBLEM_BYTES = 64 * KIB
"""Of the body that explains a refusal."""

MISSING = frozenset({404, 405, 501})
"""Statuses of a path that an upstream does not have, or not for this model."""

SLOT_SECONDS = 0.05
"""Wait for a slot: a call that was just cancelled needs a moment to give it back."""

_decoder = decoder(Chunk)

Take = Callable[[Chunk], None]


class Upstream:
    """One upstream, shared by the engines of all its models.

    ::

        async with Upstream(settings) as upstream:
            engine = UpstreamEngine(upstream, "spark", "gpt-4o-mini")

    Raises ``KeyMissing`` and ``BudgetRecordInvalid`` when made.
    """

    _session: aiohttp.ClientSession

    def __init__(
        self,
        settings: UpstreamSettings,
        *,
        environ: Mapping[str, str] = os.environ,
        clock: Clock = monotonic,
        wall_clock: WallClock = time.time,
    ) -> None:
        self.settings = settings
        self.dialect = settings.dialect or Dialect.of(settings.url)
        self.breaker = Breaker(settings.breaker, clock)
        self.abilities = _abilities(settings, self.dialect)
        self.budget = Budget(settings.budget, wall_clock) if settings.budget else None
        self._key = ApiKey.from_environment(settings.api_key_env, environ)
        self._wall_clock = wall_clock
        self._slots = anyio.Semaphore(settings.max_concurrency)
        self._shown = self.breaker.state
        self._moved = anyio.Event()

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            auto_decompress=False,
            connector=aiohttp.TCPConnector(limit=0),  # the slots are the limit
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(sock_connect=self.settings.connect_timeout),
        )
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._session.close()

    async def moved(self) -> None:
        """Return when the breaker has opened or closed, or when a pause of it has ended."""
        with anyio.move_on_after(self.breaker.pause or math.inf):
            await self._moved.wait()
        self._show()

    @asynccontextmanager
    async def admitted(self, call: Call) -> AsyncIterator[None]:
        """Hold a slot for a call and tell the breaker how it ended.

        Raises ``Busy`` or ``BreakerOpen``. Models share the slots, but each advertises all of them.
        """
        await self._take_slot()
        try:
            with self._reported(self.breaker.admit(), call):
                yield
        finally:
            self._slots.release()
            self._show()

    async def chat(self, body: bytes, call: Call, take: Take) -> None:
        """Post a chat body and hand the chunks to ``take``; raises ``MeshError``.

        Returns when the answer came to its proper end.
        """
        async with self._opened("POST", "chat/completions", call, body) as reply:
            if reply.is_json:
                take(_parse(await reply.whole()))
            else:
                await self._follow(reply, take)

    async def ask(self, path: str, body: bytes, call: Call) -> bytes:
        """Post a body to an API path and return the whole answer; raises ``MeshError``.

        ``Unsupported`` where the upstream has no such path: that is no fault of the upstream's.
        """
        async with self._opened("POST", path, call, body, is_optional=True) as reply:
            return await reply.whole()

    async def get(self, path: str, call: Call) -> bytes:
        """Return the body behind an API path; raises ``MeshError``."""
        async with self._opened("GET", path, call) as reply:
            return await reply.whole()

    async def _take_slot(self) -> None:
        with suppress(anyio.WouldBlock):
            self._slots.acquire_nowait()
            return
        with anyio.move_on_after(SLOT_SECONDS):
            await self._slots.acquire()
            return
        raise Busy

    @contextmanager
    def _reported(self, permit: Permit, call: Call) -> Iterator[None]:
        try:
            yield
        except UpstreamRateLimited as error:
            self.breaker.rate_limited(permit, error.retry_after)
            raise
        except UpstreamAuth:
            self.breaker.locked_out(permit)
            raise
        except UpstreamError:
            self.breaker.failed(permit)
            raise
        except (UpstreamRejected, ContextLengthExceeded):
            self.breaker.succeeded(permit)
            raise
        except BaseException:
            # Cancelled or out of time: that is our doing, unless the upstream was a black hole.
            if call.silence >= self.settings.silent_after:
                self.breaker.failed(permit)
            else:
                self.breaker.abandoned(permit)
            raise
        self.breaker.succeeded(permit)

    @asynccontextmanager
    async def _opened(
        self,
        method: str,
        path: str,
        call: Call,
        body: bytes | None = None,
        *,
        is_optional: bool = False,
    ) -> AsyncIterator[Reply]:
        with self._translated(call):
            call.billable = True
            with call.waiting():
                # Redirects are not followed: they could lead the key to another host.
                response = await self._session.request(
                    method,
                    self.settings.endpoint(path),
                    data=BytesIO(body) if body is not None else None,
                    headers={**HEADERS, **call.trace, **self._key.headers()},
                    allow_redirects=False,
                )
            async with response:
                if response.status != 200:
                    call.billable = False
                    if is_optional and response.status in MISSING:
                        raise Unsupported(
                            f"the upstream has no {path} for this model", param="model"
                        )
                    raise await self._refusal(response, call)
                yield self._reply(response, call)

    async def _refusal(self, response: aiohttp.ClientResponse, call: Call) -> MeshError:
        body = b""
        if response.status in REQUEST_STATUSES:
            body = await self._reply(response, call).head(MAX_PROBLEM_BYTES)
        return refusal(response.status, response.headers, body, self._key, self._wall_clock())

    def _reply(self, response: aiohttp.ClientResponse, call: Call) -> Reply:
        return Reply(response, call, self.settings.max_answer_bytes)

    async def _follow(self, reply: Reply, take: Take) -> None:
        reader = SseReader(self.settings.max_event_bytes)
        while received := await reply.read():
            if _hand_over(reader.feed(received), take):
                await reply.finish()
                return
        if not _hand_over(reader.end(), take):
            raise UpstreamMalformed("the upstream's stream ended without [DONE]")

    @contextmanager
    def _translated(self, call: Call) -> Iterator[None]:
        # ``from None``: aiohttp's errors hold the request's headers, and these the key.
        host = self.settings.host
        try:
            yield
        except aiohttp.ConnectionTimeoutError:
            call.billable = False
            raise UpstreamTimeout(f"no connection to {host} in time") from None
        except aiohttp.ClientConnectorError as error:
            call.billable = False
            raise UpstreamError(f"no connection to {host} ({type(error).__name__})") from None
        except aiohttp.ClientError as error:
            kind = UpstreamMalformed if call.heard else UpstreamError
            raise kind(f"{host} broke off the answer ({type(error).__name__})") from None

    def _show(self) -> None:
        state = self.breaker.state
        if state is self._shown:
            return
        self._shown = state
        self._moved.set()
        self._moved = anyio.Event()
        write = log.warning if state is BreakerState.OPEN else log.info
        write(
            "upstream.breaker",
            upstream=self.settings.host,
            state=state.value,
            pause_s=round(self.breaker.pause, 1),
        )


def _abilities(settings: UpstreamSettings, dialect: Dialect) -> frozenset[Ability]:
    """Return what can be asked for: OpenAI itself ranks nothing."""
    if dialect is Dialect.OPENAI:
        return settings.abilities - {Ability.RERANK}
    return settings.abilities


def _hand_over(events: Iterable[Event], take: Take) -> bool:
    """Pass events on; tell whether the last of the stream was among them."""
    for event in events:
        if event.data.strip() == DONE:
            return True
        if event.name == "error":
            raise UpstreamError("the upstream reported an error in the middle of its answer")
        take(_parse(event.data))
    return False


def _parse(data: bytes) -> Chunk:
    try:
        return _decoder.decode(data)
    except UNREADABLE:
        # Not chained: what the decoder complains about may quote the answer.
        raise UpstreamMalformed("the upstream sent an event that is no chat chunk") from None
