"""Spans of the work on a request, given to OpenTelemetry where that is set up.

Span ids are made in either case, because ``traceparent`` and the log carry them. Without
``OTEL_EXPORTER_OTLP_ENDPOINT``, or without the packages (``pip install 'inference-mesh[otel]'``),
nothing is imported, recorded or sent.
"""

import os
import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from enum import Enum
from importlib import import_module
from typing import Any, Final, Protocol

import anyio
import structlog

from mesh.trace import TraceContext

ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
OK: Final = "ok"
LAST_CALL: Final = 2.0
"""Seconds for the last spans when the process ends."""

Attributes = Mapping[str, str | int | float | bool]

log = structlog.get_logger("mesh.tracing")


class Kind(Enum):
    """Which side of a call a span is."""

    SERVER = "SERVER"
    CLIENT = "CLIENT"
    INTERNAL = "INTERNAL"
    """Neither: work that nobody waits for."""


class Span(Protocol):
    """A piece of work under way."""

    @property
    def context(self) -> TraceContext:
        """What is passed on to whoever does a part of it."""
        ...

    @property
    def is_recorded(self) -> bool:
        """Whether anybody will see the attributes."""
        ...

    def end(self, outcome: str, attributes: Attributes) -> None:
        """Say how it ended: ``ok``, or what went wrong."""
        ...


class Tracer(Protocol):
    """Makes spans."""

    def span(
        self, name: str, kind: Kind, parent: TraceContext | None, attributes: Attributes
    ) -> Span:
        """Begin a piece of work, in the trace of ``parent`` if there is one."""
        ...


class _UnrecordedSpan:
    __slots__ = ("context",)

    def __init__(self, context: TraceContext) -> None:
        self.context = context

    @property
    def is_recorded(self) -> bool:
        return False

    def end(self, outcome: str, attributes: Attributes) -> None:
        """Forget it."""


class Unrecorded:
    """Makes ids and nothing else."""

    def span(
        self, name: str, kind: Kind, parent: TraceContext | None, attributes: Attributes
    ) -> Span:
        """Return a span that nobody will see."""
        return _UnrecordedSpan(TraceContext.new() if parent is None else parent.child())


@asynccontextmanager
async def tracing(service: str, environ: Mapping[str, str] = os.environ) -> AsyncIterator[Tracer]:
    """Yield the tracer that the environment asks for; what it holds is sent when the context ends.

    service: the name under which spans appear, unless ``OTEL_SERVICE_NAME`` says another.
    """
    if not any(environ.get(name) for name in ENDPOINTS):
        yield Unrecorded()
        return
    try:
        exporter = _Exporter(service)
    except ImportError as error:
        log.warning("tracing.unavailable", missing=error.name, advice="inference-mesh[otel]")
        yield Unrecorded()
        return
    try:
        yield exporter
    finally:
        with anyio.CancelScope(shield=True):
            await exporter.shut_down()


class _RecordedSpan:
    def __init__(self, span: Any, error: Any) -> None:
        self._span, self._error = span, error
        told = span.get_span_context()
        self.context = TraceContext(
            f"{told.trace_id:032x}", f"{told.span_id:016x}", int(told.trace_flags)
        )

    @property
    def is_recorded(self) -> bool:
        return bool(self._span.is_recording())

    def end(self, outcome: str, attributes: Attributes) -> None:
        self._span.set_attributes(attributes)
        if outcome != OK:
            self._span.set_attribute("error.type", outcome)
            self._span.set_status(self._error, outcome)
        self._span.end()


class _Exporter:
    """Records spans and sends them in batches from a thread of OpenTelemetry's own.

    The endpoint, headers, sampler and batches are set by the standard ``OTEL_…`` variables.
    """

    def __init__(self, service: str) -> None:
        """Raise ``ImportError`` if a package is missing."""
        # Here, not above: whoever exports nothing does not pay for the import.
        otlp = import_module("opentelemetry.exporter.otlp.proto.http.trace_exporter")
        sdk = import_module("opentelemetry.sdk.trace")
        export = import_module("opentelemetry.sdk.trace.export")
        resources = import_module("opentelemetry.sdk.resources")
        self._api = import_module("opentelemetry.trace")
        self._context = import_module("opentelemetry.context")
        # What the environment says comes second in a merge, and wins.
        ours = resources.Resource({"service.name": service})
        told = resources.OTELResourceDetector().detect()
        self._provider = sdk.TracerProvider(resource=ours.merge(told), shutdown_on_exit=False)
        self._provider.add_span_processor(export.BatchSpanProcessor(otlp.OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("inference-mesh")

    def span(
        self, name: str, kind: Kind, parent: TraceContext | None, attributes: Attributes
    ) -> Span:
        """Begin a span that is sent once it has ended, if the sampler wants it."""
        span = self._tracer.start_span(
            name,
            context=self._around(parent),
            kind=self._api.SpanKind[kind.value],
            attributes=dict(attributes),
        )
        return _RecordedSpan(span, self._api.StatusCode.ERROR)

    async def shut_down(self) -> None:
        """Send what is left, unless the collector takes too long."""
        # A daemon: OpenTelemetry retries for half a minute, and no exit waits for that.
        last = threading.Thread(target=self._provider.shutdown, daemon=True)
        last.start()
        await anyio.to_thread.run_sync(last.join, LAST_CALL)

    def _around(self, parent: TraceContext | None) -> Any:
        """Return the context of a parent elsewhere; an empty one makes a span the first."""
        if parent is None:
            return self._context.Context()
        told = self._api.SpanContext(
            trace_id=int(parent.trace_id, 16),
            span_id=int(parent.span_id, 16),
            is_remote=True,
            trace_flags=self._api.TraceFlags(parent.flags),
        )
        return self._api.set_span_in_context(
            self._api.NonRecordingSpan(told), self._context.Context()
        )
