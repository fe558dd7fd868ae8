"""Requests of plain NATS clients, counted and logged like those that come over HTTP."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from aiohttp import web
from structlog.contextvars import bind_contextvars

from gateway.access import AccessLog
from gateway.record import Journal, Record
from mesh import subjects
from mesh.trace import TraceContext
from mesh.tracing import Kind, Tracer
from schemas.inference import InferRequest


class BusRequests:
    """Makes the record of each; what ``mesh.service.InferService`` is given."""

    def __init__(self, journal: Journal, tracer: Tracer, log: AccessLog | None) -> None:
        self._journal, self._tracer, self._log = journal, tracer, log

    @contextmanager
    def follow(self, request: InferRequest) -> Iterator[Record]:
        """Follow one request to its end."""
        parent = TraceContext.parse(request.traceparent)
        span = self._tracer.span(subjects.INFER, Kind.SERVER, parent, {})
        bind_contextvars(request_id=request.id, trace_id=span.context.trace_id)
        record = self._journal.record(request.id, span)
        record.model, record.tenant = request.model, request.tenant
        try:
            with record:
                yield record
        finally:
            if self._log is not None:
                self._log.bus(record, subjects.INFER)


BUS_REQUESTS: Final = web.AppKey("bus_requests", BusRequests)
"""Where the application keeps it, for the service that runs beside it."""
