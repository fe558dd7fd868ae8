"""The access log: one line per request, of who asked for what and how it went.

Never what was said: no body, no query string, no header but the request's id. Probes and scrapes
come every few seconds and are told at ``debug`` only.
"""

import logging
import time
from typing import Any, Final

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler

from gateway.identity import REQUEST_ID
from gateway.outcome import OK, outcome_of
from gateway.problems import CLIENT_CLOSED, describe
from gateway.record import RECORD, Record

PROBES: Final = frozenset({"/healthz", "/readyz", "/metrics"})
LONGEST_NAME: Final = 200
"""Characters of a path or of a model's name that are written: clients choose both."""
FINISHED: Final = "request.finished"


class AccessLog:
    """Writes the lines."""

    def __init__(self) -> None:
        # Bound once: a logger from ``get_logger`` assembles itself anew for every line.
        self._log = structlog.get_logger("gateway").bind()

    @web.middleware
    async def follow(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer an HTTP request, and write its line: an aiohttp middleware."""
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

    def bus(self, record: Record, subject: str) -> None:
        """Write the line of a request that came over the bus."""
        if not self._log.is_enabled_for(logging.INFO):
            return
        ms = _ms(time.perf_counter() - record.arrived_at)
        self._log.info(
            FINISHED, request_id=record.id, method="NATS", path=subject, ms=ms, **_facts(record)
        )

    def _http(
        self, request: web.Request, began: float, status: int, size: int, outcome: str
    ) -> None:
        level = logging.DEBUG if request.path in PROBES else logging.INFO
        if not self._log.is_enabled_for(level):
            return
        record = request.get(RECORD)
        self._log.log(
            level,
            FINISHED,
            request_id=request[REQUEST_ID],
            method=request.method,
            path=request.rel_url.raw_path[:LONGEST_NAME],
            status=status,
            ms=_ms(time.perf_counter() - began),
            bytes=size,
            **({"outcome": outcome} if record is None else _facts(record)),
        )


def _facts(record: Record) -> dict[str, Any]:
    """Return what is known of a request that was for the mesh."""
    route, usage, first = record.route, record.usage, record.first_token
    return {
        "outcome": record.outcome,
        "trace_id": record.trace.trace_id,
        "tenant": record.tenant,
        "model": record.model[:LONGEST_NAME],
        "tier": route and route.tier.value,
        "worker": route and route.worker,
        "fallback": route and route.fallback,
        "prompt_tokens": usage and usage.prompt_tokens,
        "completion_tokens": usage and usage.completion_tokens,
        "cached_tokens": usage and usage.cached_tokens,
        "ttft_ms": None if first is None else _ms(first),
        "attempts": len(record.answer.attempts) if record.answer else 0,
    }


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
