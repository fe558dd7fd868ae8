"""When spans are recorded, and what it costs when they are not."""

import sys
from typing import Any

import pytest
import structlog

from mesh.trace import TraceContext
from mesh.tracing import ENDPOINTS, Kind, Unrecorded, tracing

PARENT = TraceContext("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", 1)


@pytest.fixture
def no_opentelemetry(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let every import of OpenTelemetry fail, and note that it was tried."""
    tried: list[str] = []
    for name in [name for name in sys.modules if name.startswith("opentelemetry")]:
        monkeypatch.delitem(sys.modules, name)

    class Refusal:
        @staticmethod
        def find_spec(name: str, *_: Any) -> None:
            if name.startswith("opentelemetry"):
                tried.append(name)
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(sys, "meta_path", [Refusal, *sys.meta_path])
    return tried


async def test_without_an_endpoint_nothing_is_imported(no_opentelemetry: list[str]) -> None:
    """A mesh that exports nothing does not even look for the packages."""
    async with tracing("mesh-gateway", {}) as tracer:
        assert isinstance(tracer, Unrecorded)
    assert no_opentelemetry == []


@pytest.mark.parametrize("variable", ENDPOINTS)
async def test_without_the_packages_one_line_says_so(
    no_opentelemetry: list[str], variable: str
) -> None:
    """The mesh runs all the same, and tells what to install."""
    with structlog.testing.capture_logs() as lines:
        async with tracing("mesh-gateway", {variable: "http://127.0.0.1:4318"}) as tracer:
            assert isinstance(tracer, Unrecorded)
    assert no_opentelemetry
    (line,) = lines
    assert (line["event"], line["advice"]) == ("tracing.unavailable", "inference-mesh[otel]")


def test_an_unrecorded_span_is_an_id() -> None:
    """It stays in the trace of its parent, and begins one where there is none."""
    tracer = Unrecorded()
    span = tracer.span("x", Kind.SERVER, PARENT, {})
    assert span.context.trace_id == PARENT.trace_id
    assert span.context.span_id != PARENT.span_id
    assert not span.is_recorded
    span.end("ok", {})
    assert tracer.span("x", Kind.SERVER, None, {}).context.trace_id != PARENT.trace_id
