"""What a user said or signed with stays in the request: out of logs, metrics, pages and errors."""

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gateway.auth import ApiKey
from gateway.settings import GatewaySettings
from mesh import logs
from mesh.accounts import Role
from mesh.answer import Answer
from mesh.router import Router
from mesh.trace import TraceContext
from schemas.inference import Dispatch, InferRequest
from tests.support.gateway import Mesh, gateway_of, running_mesh, send_raw
from tests.support.logged import logged
from tests.support.mesh import agent_of, broker_in, bus_of, router_of
from tests.support.wait import until
from workers.engine import Emit, Finish
from workers.scripted import ScriptedEngine, ScriptedSettings

CANARY = "canary-5e1f"
KEY = f"sk-{CANARY}"


async def ask(mesh: Mesh, key: str = KEY, **fields: Any) -> tuple[int, str]:
    body = {"messages": [{"role": "user", "content": f"{CANARY} says hi"}]} | fields
    return await post(mesh, "chat/completions", body, Authorization=f"Bearer {key}")


async def post(mesh: Mesh, path: str, body: dict[str, Any], **headers: str) -> tuple[int, str]:
    url, told = f"{mesh.url}/v1/{path}", headers | {"x-request-id": "req-1"}
    async with (
        aiohttp.ClientSession() as session,
        session.post(url, json={"model": "scripted"} | body, headers=told) as answer,
    ):
        return answer.status, await answer.text()


async def ask_otherwise(mesh: Mesh) -> None:
    """Say the same on the other surfaces, well and badly."""
    prompt, key = {"prompt": [f"{CANARY} says hi", "b"]}, {"Authorization": f"Bearer {KEY}"}
    assert (await post(mesh, "completions", prompt, **key))[0] == 200
    assert (await post(mesh, "completions", prompt | {"suffix": CANARY}, **key))[0] == 400
    said = {"input": f"{CANARY} says hi"}
    for how in ("store", "stream", "background"):
        assert (await post(mesh, "responses", said | {how: True}, **key))[0] == 200
    for wrong in ({"previous_response_id": "resp_0"}, {"tools": [{"type": CANARY}]}):
        assert (await post(mesh, "responses", said | wrong, **key))[0] == 400
    message = {"messages": [{"role": "user", "content": f"{CANARY} says hi"}], "max_tokens": 3}
    for sent, status in ((KEY, 200), (f"sk-wrong-{CANARY}", 401)):
        assert (await post(mesh, "messages", message, **{"x-api-key": sent}))[0] == status
    counted = {"messages": message["messages"], "system": CANARY}
    assert (await post(mesh, "messages/count_tokens", counted, **{"x-api-key": KEY}))[0] == 200


async def snapshot(mesh: Mesh) -> str:
    """Return the first event of the dashboard."""
    headers = {"Authorization": f"Bearer {KEY}"}
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{mesh.url}/dashboard/events", headers=headers) as answer,
    ):
        return (await answer.content.readuntil(b"\n\n")).decode()


async def test_a_canary_is_never_seen_again(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Prompts and keys show up in no log line, no metric and on no dashboard."""
    with logged(capfd) as log:
        settings = GatewaySettings(keys=(ApiKey.parse(KEY),), drain_timeout=1)
        async with running_mesh(tmp_path, settings=settings) as mesh:
            assert (await ask(mesh))[0] == 200
            assert (await ask(mesh, stream=True))[0] == 200
            assert (await ask(mesh, key=f"sk-wrong-{CANARY}"))[0] == 401
            assert (await ask(mesh, stop=[CANARY, 1]))[0] == 400
            assert (await ask(mesh, model=CANARY))[0] == 404
            await ask_otherwise(mesh)
            broken = f"POST / HTTP/1.1\r\nAuthorization: Bearer {KEY}\r\nBad Header: x\r\n\r\n"
            assert CANARY not in (await send_raw(mesh.address, broken.encode())).decode()
            async with (
                aiohttp.ClientSession() as session,
                session.get(f"{mesh.url}/metrics?key={KEY}") as answer,
            ):
                metrics = await answer.text()
            shown = await snapshot(mesh)

    written = log.text
    assert "request.finished" in written
    assert '"request_id": "req-1"' in written
    assert f"sk-{CANARY}" not in written
    assert "says hi" not in written
    assert f"sk-wrong-{CANARY}" not in written
    assert CANARY not in metrics
    assert '"code":"model_not_found"' in shown
    assert CANARY not in shown
    assert 'mesh_requests_total{model="other",outcome="model_not_found",tier="none"}' in metrics


class _Indiscreet(ScriptedEngine):
    """Crashes with the prompt in its last words."""

    async def generate(self, work: Dispatch, emit: Emit) -> Finish:
        prompt = work.request.messages[0].content
        known: dict[str, Finish] = {}
        try:
            return known[prompt]
        except KeyError as error:
            raise ValueError(f"cannot compute {prompt!r}") from error


class _Crashing(Router):
    """Fails in a way nobody thought of, with the prompt in its words."""

    def open(self, request: InferRequest, trace: TraceContext | None = None) -> Answer:
        if request.messages:
            raise LookupError(request.messages[0].content)
        return Answer(request)


@pytest.mark.parametrize("form", [logs.LogFormat.JSON, logs.LogFormat.TEXT])
async def test_crashes_do_not_tell_what_was_said(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], form: logs.LogFormat
) -> None:
    """A crash in the worker or in the gateway is logged with its place and kind, without words."""
    with logged(capfd, form) as log:
        async with (
            broker_in(tmp_path) as broker,
            agent_of(broker, _Indiscreet()) as agent,
            router_of(broker, "scripted") as (router, fleet),
            bus_of(broker, Role.GATEWAY) as bus,
            gateway_of(router, fleet) as address,
            gateway_of(_Crashing(bus, fleet), fleet) as other,
        ):
            for where in (address, other):
                status, text = await ask(Mesh(where, agent, router, fleet))
                assert status == 500
                assert CANARY not in text
    written = log.text
    assert "attempt.crashed" in written
    assert "request.crashed" in written
    assert "test_gateway_discretion.py" in written
    assert all(kind in written for kind in ("KeyError", "ValueError", "LookupError"))
    assert CANARY not in written


async def test_metrics_count_what_was_answered(tmp_path: Path) -> None:
    """Requests, tokens and times are counted by tier, model and outcome."""
    async with running_mesh(tmp_path) as mesh:
        await ask(mesh)
        await ask(mesh, stream=True, max_tokens=4)
        await ask(mesh, temperature=9)
        async with aiohttp.ClientSession() as session, session.get(f"{mesh.url}/metrics") as answer:
            lines = (await answer.text()).splitlines()

    expected = {
        'mesh_requests_total{model="scripted",outcome="ok",tier="edge"} 2.0',
        'mesh_requests_total{model="other",outcome="invalid_request",tier="none"} 1.0',
        'mesh_tokens_total{kind="prompt",model="scripted",tier="edge"} 6.0',
        'mesh_tokens_total{kind="completion",model="scripted",tier="edge"} 20.0',
        'mesh_time_to_first_token_seconds_count{model="scripted",tier="edge"} 1.0',
        'mesh_request_duration_seconds_count{model="scripted",tier="edge"} 2.0',
        "mesh_requests_in_flight 0.0",
        'mesh_workers{tier="edge"} 1.0',
        'mesh_slots{model="scripted",tier="edge"} 4.0',
    }
    assert expected <= set(lines)


async def test_clients_that_leave_are_no_crashes(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Hanging up in the middle of a stream is one line at info, without a traceback."""
    script = ScriptedSettings(tps=2000, tokens=100_000, slots=8)
    body = b'{"model":"scripted","stream":true,"messages":[{"role":"user","content":"hi"}]}'
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
    with logged(capfd) as log:
        async with running_mesh(tmp_path, script=script) as mesh:
            for _ in range(8):
                reader, writer = await asyncio.open_connection(mesh.address.host, mesh.address.port)
                writer.write(head % len(body) + body)
                await reader.readuntil(b"data: ")
                writer.transport.abort()
            await until(lambda: mesh.agent.running == 0)
        ends = [(line["outcome"], line["level"]) for line in log.lines("request.finished")]
    assert ends == [("disconnected", "info")] * 8
    assert "crashed" not in log.text
