"""The access log: one line per request, of who asked for what and how it went.

Never what was said: no body, no query string, no header but the request's id. Probes and scrapes
come every few seconds and are told at ``debug`` only.
"""

import logging
import time
from datetime import UTC, datetime
from typing import Final

import msgspec
import structlog
from aiohttp import web
from msgspec import UNSET, UnsetType

from gateway.identity import REQUEST_ID
from gateway.outcome import OK, outcome_of
from gateway.problems import CLIENT_CLOSED, describe
from gateway.record import RECORD, Record
from gateway.shedding import Handler
from mesh.logs import JsonLines, json_lines
from schemas.fleet import Tier

PROBES: Final = frozenset({"/healthz", "/readyz", "/metrics"})
LONGEST_NAME: Final = 200
"""Characters of a path or of a model's name that are written: clients choose both."""
FINISHED: Final = "request.finished"
LOGGER: Final = "gateway"


class Line(msgspec.Struct, kw_only=True):
    """One line, as it is written; what is ``UNSET`` is left out.

    ms, ttft_ms: milliseconds to the end, and to the first token of a stream. bytes: of the answer.
    """

    request_id: str
    method: str
    path: str
    status: int | UnsetType = UNSET
    ms: float
    bytes: int | UnsetType = UNSET
    outcome: str
    trace_id: str | UnsetType = UNSET
    tenant: str | UnsetType = UNSET
    model: str | UnsetType = UNSET
    tier: Tier | UnsetType | None = UNSET
    worker: str | UnsetType | None = UNSET
    fallback: str | UnsetType | None = UNSET
    prompt_tokens: int | UnsetType | None = UNSET
    completion_tokens: int | UnsetType | None = UNSET
    cached_tokens: int | UnsetType | None = UNSET
    ttft_ms: float | UnsetType | None = UNSET
    attempts: int | UnsetType = UNSET
    event: str = FINISHED
    logger: str = LOGGER
    level: str = "info"
    timestamp: datetime | None = None

    def tell(self, record: Record) -> None:
        """Add what is known of a request that was for the mesh."""
        answer, first = record.answer, record.first_token
        route, usage = (None, None) if answer is None else (answer.route, answer.usage)
        self.outcome, self.trace_id = record.outcome, record.trace.trace_id
        self.tenant, self.model = record.tenant, record.model[:LONGEST_NAME]
        self.tier = None if route is None else route.tier
        self.worker = None if route is None else route.worker
        self.fallback = None if route is None else route.fallback
        self.prompt_tokens = None if usage is None else usage.prompt_tokens
        self.completion_tokens = None if usage is None else usage.completion_tokens
        self.cached_tokens = None if usage is None else usage.cached_tokens
        self.ttft_ms = None if first is None else _ms(first)
        self.attempts = 0 if answer is None else len(answer.attempts)


_encode = msgspec.json.Encoder().encode
_ADDED: Final = frozenset({"event", "logger", "level", "timestamp"})
"""What the chain of processors adds by itself."""


class AccessLog:
    """Writes the lines: as JSON at once where that is their form, else through structlog."""

    def __init__(self) -> None:
        # Bound once: a logger from ``get_logger`` assembles itself anew for every line.
        self._log = structlog.get_logger(LOGGER).bind()
        self._lines = json_lines()

    def follow(self, handler: Handler) -> Handler:
        """Return a handler that writes the line of each request, too.

        Not a middleware of aiohttp's, which looks for its handler anew for every request.
        """

        async def followed(request: web.BaseRequest) -> web.StreamResponse:
            began = time.perf_counter()
            try:
                response = await handler(request)
            except BaseException as error:
                self._http(
                    request, began, _status_of(error), request.writer.output_size, outcome_of(error)
                )
                raise
            self._http(request, began, response.status, _size(response), OK)
            return response

        return followed

    def bus(self, record: Record, subject: str) -> None:
        """Write the line of a request that came over the bus."""
        if not self._log.is_enabled_for(logging.INFO):
            return
        ms = _ms(time.perf_counter() - record.arrived_at)
        line = Line(request_id=record.id, method="NATS", path=subject, ms=ms, outcome=OK)
        line.tell(record)
        self._write(logging.INFO, line)

    def _http(
        self, request: web.BaseRequest, began: float, status: int, size: int, outcome: str
    ) -> None:
        level = logging.DEBUG if request.path in PROBES else logging.INFO
        if not self._log.is_enabled_for(level):
            return
        line = Line(
            request_id=request[REQUEST_ID],
            method=request.method,
            path=request.rel_url.raw_path[:LONGEST_NAME],
            status=status,
            ms=_ms(time.perf_counter() - began),
            bytes=size,
            outcome=outcome,
        )
        record = request.get(RECORD)
        if record is not None:
            line.tell(record)
        self._write(level, line)

    def _write(self, level: int, line: Line) -> None:
        if level != logging.INFO or self._lines is None or not _written(line, self._lines):
            told = msgspec.structs.asdict(line).items()
            fields = {name: it for name, it in told if it is not UNSET and name not in _ADDED}
            self._log.log(level, FINISHED, **fields)


def _written(line: Line, lines: JsonLines) -> bool:
    """Write a line at once if it is plain ASCII; logging knows what to do about anything else."""
    line.timestamp = datetime.now(UTC)
    try:
        encoded = msgspec.json.format(_encode(line), indent=0)  # spaced as all lines are
        if not encoded.isascii():
            return False
        lines.write(encoded)
    except (ValueError, OSError):  # no Unicode, or standard error is closed
        return False
    return True


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 1)


def _status_of(error: BaseException) -> int:
    if isinstance(error, Exception) and not isinstance(error, ConnectionError):
        return describe(error).status
    return CLIENT_CLOSED


def _size(response: web.StreamResponse) -> int:
    """Return the bytes of an answer: those of a stream have gone out, those of a body have not."""
    if isinstance(response, web.Response) and not response.prepared:
        return len(response.body) if isinstance(response.body, bytes | bytearray) else 0
    return response.body_length
