"""Spans as an OpenTelemetry collector receives them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from mesh.router import Router
from mesh.tracing import Tracer, tracing
from tests.support.gateway import gateway_of
from tests.support.mesh import broker_in, router_of, scripted_worker

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


class Collector:
    """Takes in what is exported."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.services: set[str] = set()
        self.url = ""

    async def receive(self, request: web.Request) -> web.Response:
        message = ExportTraceServiceRequest.FromString(await request.read())
        for resource in message.resource_spans:
            told = {entry.key: entry.value.string_value for entry in resource.resource.attributes}
            self.services.add(told["service.name"])
            self.spans += [span for scope in resource.scope_spans for span in scope.spans]
        return web.Response(content_type="application/x-protobuf")


@asynccontextmanager
async def running_collector() -> AsyncIterator[Collector]:
    collector = Collector()
    app = web.Application()
    app.router.add_post("/v1/traces", collector.receive)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    collector.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield collector
    finally:
        await runner.cleanup()


@asynccontextmanager
async def exporting(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Tracer]:
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    async with tracing("mesh-gateway", environ) as tracer:
        yield tracer


def facts(span: Any) -> dict[str, Any]:
    values = {entry.key: entry.value for entry in span.attributes}
    return {key: getattr(value, value.WhichOneof("value")) for key, value in values.items()}


async def test_a_request_and_its_attempt_are_spans_of_the_caller_s_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gateway's span is the caller's child, and the attempt is the gateway's."""
    async with (
        running_collector() as collector,
        exporting(collector, monkeypatch) as tracer,
        broker_in(tmp_path) as broker,
        scripted_worker(broker),
        router_of(broker, "scripted", tracer=tracer) as (router, fleet),
        gateway_of(router, fleet, tracer=tracer) as address,
        aiohttp.ClientSession() as session,
    ):
        assert isinstance(router, Router)
        body = {"model": "scripted", "messages": [{"role": "user", "content": "canary-1"}]}
        headers = {"traceparent": f"00-{TRACE}-{SPAN}-01"}
        url = f"{address.url}/chat/completions"
        async with session.post(url, json=body, headers=headers) as answer:
            assert answer.status == 200
    spans = {span.name: span for span in collector.spans}
    request, attempt = spans["POST /v1/chat/completions"], spans["mesh.attempt"]
    assert collector.services == {"mesh-gateway"}
    assert request.trace_id.hex() == attempt.trace_id.hex() == TRACE
    assert request.parent_span_id.hex() == SPAN
    assert attempt.parent_span_id == request.span_id
    told = facts(request)
    assert (told["mesh.tier"], told["mesh.worker"]) == ("edge", "w1")
    assert told["gen_ai.usage.output_tokens"] == 16
    assert facts(attempt)["mesh.worker"] == "w1"
    assert "canary" not in str(collector.spans)
