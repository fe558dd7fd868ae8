"""The access log: one line per request, with what operators ask for and nothing that was said."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from gateway.app import build_app, serving
from gateway.auth import ApiKey
from gateway.bus_requests import BUS_REQUESTS
from gateway.settings import GatewaySettings
from mesh import subjects
from mesh.accounts import Role
from mesh.background import background
from mesh.bus import Bus
from mesh.service import InferService
from schemas.inference import Policy
from schemas.wire import encode
from tests.support.gateway import Mesh, running_mesh
from tests.support.logged import Logged, logged
from tests.support.mesh import broker_in, bus_of, router_of, scripted_worker
from tests.support.requests import chat
from tests.support.wait import until
from workers.scripted import ScriptedSettings

SETTINGS = GatewaySettings(drain_timeout=1, keys=(ApiKey.parse("acme=sk-1"),))


async def post(mesh: Mesh, key: str = "sk-1", **fields: Any) -> tuple[int, int]:
    """Return status and size of an answer."""
    body = {"model": "scripted", "messages": [{"role": "user", "content": "a b"}]} | fields
    headers = {"Authorization": f"Bearer {key}", "x-request-id": "req-1"}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{mesh.url}/v1/chat/completions?secret=1", json=body, headers=headers) as got,
    ):
        return got.status, len(await got.read())


async def line_of(log: Logged) -> dict[str, Any]:
    """Return the line of the only request, once it is written."""
    await until(lambda: bool(log.lines("request.finished")))
    (line,) = log.lines("request.finished")
    return line


async def test_a_line_tells_who_asked_for_what_and_how_it_went(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A whole answer: every field but those that only streams and the cloud have."""
    with logged(capfd) as log:
        async with running_mesh(tmp_path, settings=SETTINGS) as mesh:
            status, size = await post(mesh)
            line = await line_of(log)
    expected = {
        "request_id": "req-1",
        "method": "POST",
        "path": "/v1/chat/completions",
        "status": status,
        "bytes": size,
        "outcome": "ok",
        "tenant": "acme",
        "model": "scripted",
        "tier": "edge",
        "worker": "w1",
        "fallback": None,
        "prompt_tokens": 2,
        "completion_tokens": 16,
        "cached_tokens": 0,
        "ttft_ms": None,
        "attempts": 1,
    }
    assert expected == {key: line[key] for key in expected}
    assert line["ms"] > 0
    assert len(line["trace_id"]) == 32


async def test_a_stream_tells_its_first_token_and_its_size(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The line of a stream is written at its end."""
    with logged(capfd) as log:
        async with running_mesh(tmp_path, settings=SETTINGS) as mesh:
            status, size = await post(mesh, stream=True)
            line = await line_of(log)
    assert (line["status"], line["completion_tokens"]) == (status, 16)
    assert 0 < line["ttft_ms"] <= line["ms"]
    # What goes over the wire is in chunks, each with its length before it.
    assert size < line["bytes"] < size * 1.5


@pytest.mark.parametrize(
    ("key", "fields", "status", "outcome", "tenant"),
    [
        ("sk-wrong", {}, 401, "invalid_api_key", ""),
        ("sk-1", {"temperature": 9}, 400, "invalid_request", "acme"),
    ],
)
async def test_a_refusal_is_a_line_too(
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    key: str,
    fields: dict[str, Any],
    status: int,
    outcome: str,
    tenant: str,
) -> None:
    """Whoever is turned away shows with the status that was sent."""
    with logged(capfd) as log:
        async with running_mesh(tmp_path, settings=SETTINGS) as mesh:
            assert (await post(mesh, key, **fields))[0] == status
            line = await line_of(log)
    assert (line["status"], line["outcome"], line["tenant"]) == (status, outcome, tenant)


async def test_a_name_that_clients_make_up_breaks_no_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """What is not ASCII is escaped: a line separator would end the line for some readers."""
    with logged(capfd) as log:
        async with running_mesh(tmp_path, settings=SETTINGS) as mesh:
            assert (await post(mesh, model="no\u2028such\u0085model"))[0] == 404
            line = await line_of(log)
    assert line["model"] == "no\u2028such\u0085model"
    assert "\u2028" not in log.text


async def test_a_client_that_leaves_is_told_as_such(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A broken-off stream has nginx's status for that, and the bytes that had gone out."""
    slow = ScriptedSettings(tps=50, tokens=100_000)
    with logged(capfd) as log:
        async with running_mesh(tmp_path, settings=SETTINGS, script=slow) as mesh:
            url, key = f"{mesh.url}/v1/chat/completions", {"Authorization": "Bearer sk-1"}
            turns = [{"role": "user", "content": "count"}]
            body = {"model": "scripted", "messages": turns, "stream": True}
            async with (
                aiohttp.ClientSession() as session,
                session.post(url, json=body, headers=key) as answer,
            ):
                await answer.content.readany()
            line = await line_of(log)
    assert (line["status"], line["outcome"]) == (499, "disconnected")
    assert line["bytes"] > 0


async def test_a_write_to_a_client_that_has_left_is_no_crash(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """It comes at any time, so it leaves no traceback in the log."""

    async def leave(_: web.Request) -> web.StreamResponse:
        raise ConnectionResetError("Cannot write to closing transport")

    settings = GatewaySettings(port=0, drain_timeout=1)
    with logged(capfd) as log:
        async with (
            broker_in(tmp_path) as broker,
            router_of(broker) as (router, fleet),
            aiohttp.ClientSession() as session,
        ):
            app = build_app(router, fleet, settings)
            app.router.add_get("/leave", leave)
            async with (
                serving(app, settings) as address,
                session.get(address.url.removesuffix("v1") + "leave"),
            ):
                pass
        assert log.lines("request.crashed") == []
        assert "Traceback" not in log.text


async def test_what_is_not_for_the_mesh_is_a_short_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Unknown paths are told; the query is not; probes are told at debug level only."""
    with logged(capfd) as log:
        async with running_mesh(tmp_path) as mesh, aiohttp.ClientSession() as session:
            for path in ("/nowhere?key=sk-secret", "/healthz"):
                async with session.get(mesh.url + path):
                    pass
            await until(lambda: len(log.lines("request.finished")) == 2)
        unknown, probe = log.lines("request.finished")
    assert (unknown["path"], unknown["status"], unknown["level"]) == ("/nowhere", 404, "info")
    assert (probe["path"], probe["status"], probe["level"]) == ("/healthz", 200, "debug")
    assert "sk-secret" not in log.text


async def test_it_can_be_switched_off(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Without it requests are answered and counted all the same."""
    with logged(capfd) as log:
        settings = GatewaySettings(drain_timeout=1, access_log=False)
        async with running_mesh(tmp_path, settings=settings) as mesh:
            assert (await post(mesh))[0] == 200
        assert log.lines("request.finished") == []


@asynccontextmanager
async def client_of_a_gateway(folder: Path) -> AsyncIterator[tuple[Bus, str]]:
    """Run a gateway with the service for plain NATS clients; yield one of these, and its URL."""

    def cap(policy: Policy) -> Policy:
        return policy

    settings = GatewaySettings(port=0, drain_timeout=1)
    async with (
        broker_in(folder) as broker,
        scripted_worker(broker),
        router_of(broker, "scripted") as (router, fleet),
        bus_of(broker, Role.GATEWAY) as bus,
        bus_of(broker, Role.CLIENT) as client,
    ):
        app = build_app(router, fleet, settings)
        service = InferService(bus, router, cap, app[BUS_REQUESTS].follow)
        async with background(service.run), serving(app, settings) as address:
            await bus.flush()
            yield client, address.url.removesuffix("/v1")


async def test_requests_over_the_bus_are_counted_and_told_as_well(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A plain NATS client's request has its line, and its place in the metrics."""
    with logged(capfd) as log:
        async with client_of_a_gateway(tmp_path) as (client, url), aiohttp.ClientSession() as http:
            async with asyncio.timeout(5):
                await client.request(subjects.INFER, encode(chat(tenant="acme")), timeout=5)
            line = await line_of(log)
            async with http.get(f"{url}/metrics") as answer:
                metrics = await answer.text()
    expected = {"method": "NATS", "path": subjects.INFER, "tenant": "acme", "worker": "w1"}
    assert expected == {key: line[key] for key in expected}
    assert 'mesh_requests_total{model="scripted",outcome="ok",tier="edge"} 1.0' in metrics
