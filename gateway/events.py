"""A stream of server-sent events over HTTP, kept alive while there is nothing to say."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from aiohttp import web

from gateway.sse import PING
from mesh.clock import Clock

STREAM_HEADERS: Final = (
    ("Content-Type", "text/event-stream; charset=utf-8"),
    ("Cache-Control", "no-cache"),
    ("X-Accel-Buffering", "no"),
)

TOGETHER: Final = 64
"""Events that share a write at most: a client that reads slowly is noticed between two writes."""

NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})


class EventStream:
    """Writes events; those that are ready together share a write, which costs more than they do.

    The headers go out with the first of them: until then a failure can still be told as a real HTTP
    status.
    """

    def __init__(
        self,
        request: web.Request,
        *,
        ping_interval: float,
        clock: Clock,
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> None:
        """``headers``: of this endpoint, beside those that every stream has."""
        self._request = request
        self._headers = dict(STREAM_HEADERS) | dict(headers)
        self._ping_interval = ping_interval
        self._clock = clock
        self._response: web.StreamResponse | None = None
        self._said_at = clock()
        self._ready: list[bytes] = []

    @property
    def started(self) -> bool:
        """Whether the headers have gone out."""
        return self._response is not None

    async def start(self, headers: dict[str, str]) -> None:
        """Send the headers."""
        self._response = web.StreamResponse(headers=self._headers | headers)
        await self._response.prepare(self._request)

    def add(self, event: bytes) -> None:
        """Have an event go out with the next write."""
        self._ready.append(event)

    @property
    def ready(self) -> int:
        """How many events the next write will carry."""
        return len(self._ready)

    async def flush(self) -> None:
        """Write what is ready; waits while the client's connection is full."""
        if self._response is None:
            raise RuntimeError("a stream is started before anything is sent on it")
        if self._ready:
            self._said_at = self._clock()
            await self._response.write(self._take())

    async def send(self, event: bytes) -> None:
        """Write an event now, after those that were ready before it."""
        self.add(event)
        await self.flush()

    @property
    def silent_too_long(self) -> bool:
        """Whether a ping is due."""
        return self._clock() - self._said_at >= self._ping_interval

    async def ping(self) -> None:
        """Send a comment, which clients ignore and proxies take for life."""
        await self.send(PING)

    async def end(self) -> web.StreamResponse:
        """Finish the HTTP message, whether what it carried succeeded or failed."""
        if self._response is None:
            raise RuntimeError("a stream that never started has nothing to end")
        await self._response.write_eof(self._take())
        return self._response

    def _take(self) -> bytes:
        ready, self._ready = self._ready, []
        return b"".join(ready)
