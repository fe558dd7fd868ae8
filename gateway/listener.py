"""The HTTP listener: connections with deadlines, a cap on their number, and our own error pages.

What aiohttp (3.14) leaves open is closed here: half-open headers are timed out, clients that do not
read are cut off, connections beyond the cap are turned away with a 503, and every error page is the
OpenAI envelope with a request id. One look a second at all connections replaces timers per request.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, Final

import anyio
import structlog
from aiohttp import StreamReader, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import RawRequestMessage
from aiohttp.http_exceptions import HttpProcessingError
from anyio.abc import TaskStatus

from gateway import identity
from gateway.access import AccessLog
from gateway.descriptors import connections_within
from gateway.identity import REQUEST_ID
from gateway.messages import envelope
from gateway.problems import (
    PROBLEM,
    BadRequest,
    HttpError,
    RequestTimeout,
    TooManyConnections,
    describe,
    respond,
)
from gateway.record import RECORD
from gateway.settings import GatewaySettings
from gateway.shedding import Shedder
from gateway.turnaway import Turnaway, raw_response
from mesh.errors import MeshError

_log = structlog.get_logger("gateway")

SWEEP_EVERY: Final = 1.0
"""Seconds between looks at the connections' deadlines; they are exact to this much."""
MAX_FIELD: Final = 16 * 1024
"""Bytes of the request line, and of each header."""
MAX_AHEAD: Final = 16
"""Requests that a client may send before the first is answered. With more, aiohttp would stop to
read, and the client's departure would not be seen."""
LINGER: Final = 2.0
"""Seconds for which the rest of a refused body is read, so that its sender sees the answer."""


class Listener:
    """Makes a protocol for every connection, and looks after those that are open."""

    def __init__(
        self,
        server: web.Server,
        settings: GatewaySettings,
        shedder: Shedder,
        log: AccessLog | None = None,
    ) -> None:
        """``log``: of the requests that are let in."""
        self.settings = settings
        self.new_id = identity.id_source()
        self.connections: set[Connection] = set()
        self._turned_away: set[Turnaway] = set()
        self._cap = connections_within(settings.max_connections)
        self._server = server
        self._make_request = server.request_factory
        server.request_factory = self._identified_request
        handler = server.request_handler if log is None else log.follow(server.request_handler)
        server.request_handler = shedder.guard(handler)

    def __call__(self) -> asyncio.Protocol:
        """Return the protocol for a new connection."""
        if len(self.connections) < self._cap:
            return Connection(self, self._server)
        error = TooManyConnections(f"All {self._cap} connections are taken; retry.")
        return Turnaway(self._turned_away, raw_response(error, self.new_id()))

    async def sweep(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Cut connections off that are past a deadline, until cancelled."""
        loop = asyncio.get_running_loop()
        task_status.started()
        while True:
            await asyncio.sleep(min(SWEEP_EVERY, self.settings.head_timeout / 2))
            now = loop.time()
            for connection in tuple(self.connections):
                connection.check(now)

    def _identified_request(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: web.RequestHandler,
        writer: AbstractStreamWriter,
        task: asyncio.Task[None],
    ) -> web.BaseRequest:
        """Make the request object, with its id, at the moment its head is complete."""
        if isinstance(protocol, Connection):
            protocol.head_complete()
        request = self._make_request(message, payload, protocol, writer, task)
        request[REQUEST_ID] = identity.given_id(message.headers) or self.new_id()
        return request


class Connection(web.RequestHandler):
    """One client connection."""

    __slots__ = ("_answering", "_head_began", "_listener", "_stalled_since")

    def __init__(self, listener: Listener, server: web.Server) -> None:
        settings = listener.settings
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=settings.keepalive_timeout,
            max_line_size=MAX_FIELD,
            max_field_size=MAX_FIELD,
            lingering_time=LINGER,
            auto_decompress=False,
        )
        self._listener = listener
        self._answering = False
        self._head_began: float | None = None
        self._stalled_since: float | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin; a connection that never says anything falls to the keep-alive timeout."""
        self._listener.connections.add(self)
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        """End; a handler that still runs is cancelled."""
        self._listener.connections.discard(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Note when the head of a request begins, and parse."""
        if self._head_began is None and not self._answering:
            self._head_began = self._loop.time()
        super().data_received(data)
        if len(self._messages) >= MAX_AHEAD and self.transport is not None:
            self.transport.abort()

    def head_complete(self) -> None:
        """Note that a request has come in and is being answered."""
        self._head_began = None
        self._answering = True

    def pause_writing(self) -> None:
        """Note that the client does not read as fast as we write."""
        self._stalled_since = self._loop.time()
        super().pause_writing()

    def resume_writing(self) -> None:
        """Note that the client has caught up."""
        self._stalled_since = None
        super().resume_writing()

    def check(self, now: float) -> None:
        """End the connection if its client is too slow in sending a head or in reading."""
        settings = self._listener.settings
        stalled, began = self._stalled_since, self._head_began
        if self.transport is None:
            return
        if stalled is not None and now - stalled > settings.write_timeout:
            self.transport.abort()
        elif began is not None and now - began > settings.head_timeout and not self._answering:
            error = RequestTimeout("The request's headers did not arrive in time.")
            self.transport.write(raw_response(error, self._listener.new_id()))
            self.force_close()

    def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> Coroutine[Any, Any, tuple[web.StreamResponse, bool]]:
        """Send an answer: with its request id, and with our envelope if it is an error page."""
        self._answering = False
        if isinstance(resp, web.HTTPException):
            resp = _replace_page(resp)
        if not resp.prepared:
            resp.headers[identity.HEADER] = request[REQUEST_ID]
            if envelope.covers(request.path):
                _speak_anthropic(resp, request[REQUEST_ID])
        return super().finish_response(request, resp, start_time)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Return the answer for what a handler raised, or for what is no HTTP."""
        if isinstance(exc, HttpProcessingError):
            exc = BadRequest("This is not a valid HTTP/1.1 request: " + _reason(exc))
        # A client that leaves in the middle of a write is no crash of ours.
        expected = isinstance(exc, MeshError | HttpError | ConnectionError)
        if not expected:
            record = request.get(RECORD)
            _log.error(
                "request.crashed",
                request_id=request[REQUEST_ID],
                trace_id=record.trace.trace_id if record is not None else None,
                exc_info=exc,
            )
        if request.writer.output_size > 0:
            raise ConnectionError("the answer had begun; cutting it is all that is left")
        response = respond(describe(exc or RuntimeError()))
        if not isinstance(exc, MeshError):
            response.headers["Connection"] = "close"
            response.force_close()
        return response


def _reason(error: HttpProcessingError) -> str:
    """Return why aiohttp refused a request, without the bytes it quotes: they may hold a key."""
    return error.message.partition("\n")[0].rstrip(":.") + "."


def _speak_anthropic(response: web.StreamResponse, request_id: str) -> None:
    """Tell an error, wherever it comes from, in the form of the surface that was asked."""
    response.headers[envelope.REQUEST_ID] = request_id
    problem = response.get(PROBLEM)
    if problem is not None and isinstance(response, web.Response):
        envelope.reform(response, problem, request_id)


def _replace_page(page: web.HTTPException) -> web.Response:
    response = respond(describe(page))
    if "Allow" in page.headers:
        response.headers["Allow"] = page.headers["Allow"]
    return response
