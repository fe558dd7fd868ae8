"""A trace runs from the HTTP client over the bus to the upstream; the log tells it by its id."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gateway.app import Address
from mesh import subjects
from mesh.accounts import Role
from mesh.background import background
from mesh.service import InferService
from mesh.trace import TraceContext
from schemas.fleet import Tier
from schemas.inference import Dispatch
from schemas.wire import encode
from tests.support.faulty_upstream import Fault, FaultyUpstream, faulty_upstream
from tests.support.gateway import gateway_of
from tests.support.logged import Logged, logged
from tests.support.mesh import agent_of, broker_in, bus_of, router_of
from tests.support.requests import chat
from tests.support.upstream import engine_on
from workers.engine import Emit, Finish
from workers.scripted import ScriptedEngine, ScriptedSettings

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GIVEN = f"00-{TRACE}-{SPAN}-01"


@asynccontextmanager
async def gateway_before(folder: Path, upstream: FaultyUpstream) -> AsyncIterator[Address]:
    """Run a gateway whose only worker forwards to the upstream."""
    async with (
        broker_in(folder) as broker,
        engine_on(upstream) as engine,
        agent_of(broker, engine, name="cloud", tier=Tier.CLOUD),
        router_of(broker, "spark") as (router, fleet),
        gateway_of(router, fleet) as address,
    ):
        yield address


async def ask(address: Address, *headers: tuple[str, str]) -> int:
    body = {"model": "spark", "messages": [{"role": "user", "content": "hello"}]}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{address.url}/chat/completions", json=body, headers=headers) as answer,
    ):
        await answer.read()
        return answer.status


def finished(log: Logged) -> dict[str, Any]:
    """Return the access log's line of the only request."""
    (line,) = log.lines("request.finished")
    return line


async def test_the_caller_s_trace_reaches_the_upstream(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The upstream is told a child span of the same trace, with state and flags."""
    with logged(capfd) as log:
        async with (
            faulty_upstream() as upstream,
            gateway_before(tmp_path, upstream) as address,
        ):
            state = ("tracestate", "vendor=a")
            assert await ask(address, ("traceparent", GIVEN), state) == 200
        sent = TraceContext.parse(upstream.headers[0]["traceparent"])
        assert sent is not None
        assert (sent.trace_id, sent.flags) == (TRACE, 1)
        assert sent.span_id != SPAN
        assert upstream.headers[0]["tracestate"] == "vendor=a"
        assert finished(log)["trace_id"] == TRACE


@pytest.mark.parametrize(
    "headers",
    [
        (),
        (("traceparent", "00-nonsense"),),
        (("traceparent", GIVEN), ("traceparent", GIVEN)),
        (("traceparent", f"00-{'0' * 32}-{SPAN}-01"), ("tracestate", "vendor=a")),
    ],
    ids=["none", "malformed", "two", "zeros"],
)
async def test_without_a_valid_trace_a_new_one_begins(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], headers: tuple[tuple[str, str], ...]
) -> None:
    """Nothing of an invalid header is passed on, its state neither."""
    with logged(capfd) as log:
        async with (
            faulty_upstream() as upstream,
            gateway_before(tmp_path, upstream) as address,
        ):
            assert await ask(address, *headers) == 200
        sent = TraceContext.parse(upstream.headers[0]["traceparent"])
        assert sent is not None
        assert sent.trace_id not in (TRACE, "0" * 32)
        assert "tracestate" not in upstream.headers[0]
        assert finished(log)["trace_id"] == sent.trace_id


async def test_every_attempt_has_a_span_of_its_own(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A request that is tried twice shows two spans of one trace, and failures name it."""
    with logged(capfd) as log:
        async with (
            faulty_upstream() as upstream,
            broker_in(tmp_path) as broker,
            engine_on(upstream) as first,
            engine_on(upstream) as second,
            agent_of(broker, first, name="one", tier=Tier.CLOUD),
            agent_of(broker, second, name="two", tier=Tier.CLOUD),
            router_of(broker, "spark", workers=2) as (router, fleet),
            gateway_of(router, fleet) as address,
        ):
            upstream.fault = Fault.SERVER_ERROR
            assert await ask(address, ("traceparent", GIVEN)) >= 500
        spans = {TraceContext.parse(headers["traceparent"]) for headers in upstream.headers}
        assert len(spans) == len(upstream.headers) == 2
        assert {span.trace_id for span in spans if span} == {TRACE}
        failures = log.lines("attempt.failed")
        assert [line["trace_id"] for line in failures] == [TRACE] * 2
        assert finished(log)["attempts"] == 2


class Crashing(ScriptedEngine):
    """An engine with a defect."""

    async def generate(self, work: Dispatch, emit: Emit) -> Finish:
        raise RuntimeError("a defect")


async def test_the_worker_s_lines_tell_the_trace_as_well(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Whoever looks for a request's trace finds what happened on the worker, too."""
    with logged(capfd) as log:
        async with (
            broker_in(tmp_path) as broker,
            agent_of(broker, Crashing(ScriptedSettings(name="spark"))),
            router_of(broker, "spark") as (router, fleet),
            gateway_of(router, fleet) as address,
        ):
            headers = (("traceparent", GIVEN), ("x-request-id", "req-7"))
            assert await ask(address, *headers) == 500
        (line,) = log.lines("attempt.crashed")
        assert (line["trace_id"], line["request_id"]) == (TRACE, "req-7")


async def test_a_plain_bus_client_brings_its_trace_in_the_envelope(tmp_path: Path) -> None:
    """The field of the request does what the header does over HTTP."""
    async with (
        faulty_upstream() as upstream,
        broker_in(tmp_path) as broker,
        engine_on(upstream) as engine,
        agent_of(broker, engine, name="cloud", tier=Tier.CLOUD),
        router_of(broker, "spark") as (router, _),
        bus_of(broker, Role.GATEWAY) as bus,
        bus_of(broker, Role.CLIENT) as client,
        background(InferService(bus, router, lambda policy: policy).run),
    ):
        await bus.flush()
        request = chat(model="spark", traceparent=GIVEN)
        await client.request(subjects.INFER, encode(request), timeout=5)
    sent = TraceContext.parse(upstream.headers[0]["traceparent"])
    assert sent is not None
    assert sent.trace_id == TRACE
