"""Anthropic's surface over raw HTTP, with the real broker."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gateway.aliases import Aliases
from gateway.auth import ApiKey
from gateway.settings import GatewaySettings
from mesh.errors import WorkerLost
from schemas.fleet import Tier
from schemas.inference import Dispatch
from tests.support.anthropic_engine import CITY, Assistant
from tests.support.faulty_upstream import faulty_upstream
from tests.support.gateway import Mesh, gateway_of, running_mesh, send_raw
from tests.support.mesh import agent_of, broker_in, router_of
from tests.support.upstream import engine_on
from tests.support.wait import until
from workers.engine import Emit, Engine, Finish, Piece
from workers.scripted import ScriptedEngine, ScriptedSettings

HELLO: Any = [{"role": "user", "content": "hello there"}]
WEATHER = {"name": "weather", "input_schema": {"type": "object"}}
THINK = {"type": "enabled", "budget_tokens": 1024}


def message(**fields: Any) -> dict[str, Any]:
    return {"model": "scripted", "max_tokens": 100, "messages": HELLO} | fields


class Client:
    """Posts to one gateway."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session, self._url = session, url

    async def post(
        self, body: Any, path: str = "/v1/messages", **headers: str
    ) -> tuple[int, Any, Any]:
        """Return status, headers and body of an answer that comes whole."""
        sent = {"anthropic-version": "2023-06-01"} | headers
        url = self._url + path
        async with self._session.post(url, json=body, headers=sent) as answer:
            return answer.status, answer.headers, await answer.json()

    async def stream(self, **fields: Any) -> list[dict[str, Any]]:
        """Return the events of a stream, each checked to go by the name of its type."""
        url, body = f"{self._url}/v1/messages?beta=true", message(stream=True, **fields)
        async with self._session.post(url, json=body) as answer:
            assert answer.status == 200
            assert answer.headers["request-id"] == answer.headers["x-request-id"]
            assert answer.content_type == "text/event-stream"
            return events_of(await answer.read())

    async def count(self, **fields: Any) -> tuple[int, Any]:
        """Return status and body of a request to count tokens."""
        body = {"model": "scripted", "messages": HELLO} | fields
        status, _, told = await self.post(body, "/v1/messages/count_tokens")
        return status, told


def events_of(stream: bytes) -> list[dict[str, Any]]:
    found = []
    for lines in stream.removesuffix(b"\n\n").split(b"\n\n"):
        name, _, data = lines.partition(b"\n")
        event = json.loads(data.removeprefix(b"data: "))
        assert name.decode() == f"event: {event['type']}"
        found.append(event)
    return found


@asynccontextmanager
async def client_on(folder: Path, engine: Engine, tier: Tier = Tier.EDGE) -> AsyncIterator[Client]:
    """Open a client of a gateway before a worker with this engine."""
    model = engine.status().name
    async with (
        broker_in(folder) as broker,
        agent_of(broker, engine, tier=tier),
        router_of(broker, model) as (router, fleet),
        gateway_of(router, fleet) as address,
        aiohttp.ClientSession() as session,
    ):
        yield Client(session, f"http://{address.host}:{address.port}")


@asynccontextmanager
async def client_of(mesh: Mesh) -> AsyncIterator[Client]:
    async with aiohttp.ClientSession() as session:
        yield Client(session, mesh.url)


async def test_a_whole_message(tmp_path: Path) -> None:
    """A message has its text, its end and true counts, and headers tell its route."""
    async with running_mesh(tmp_path) as mesh, client_of(mesh) as client:
        status, headers, told = await client.post(message(max_tokens=3, system="be kind"))
        _, _, stopped = await client.post(message(stop_sequences=["7", "3"]))

    assert status == 200
    assert told["content"] == [{"type": "text", "text": "0 1 2 ", "citations": None}]
    assert (told["type"], told["role"], told["model"]) == ("message", "assistant", "scripted")
    assert (told["stop_reason"], told["stop_sequence"]) == ("max_tokens", None)
    assert (told["usage"]["input_tokens"], told["usage"]["output_tokens"]) == (4, 3)
    assert told["id"] == f"msg_{headers['request-id']}"
    assert (headers["x-mesh-tier"], headers["x-mesh-worker"]) == ("edge", "w1")
    assert stopped["content"] == [{"type": "text", "text": "0 1 2 ", "citations": None}]
    assert (stopped["stop_reason"], stopped["stop_sequence"]) == ("stop_sequence", "3")


async def test_a_streamed_message(tmp_path: Path) -> None:
    """The events come in Anthropic's order and add up to the message."""
    async with running_mesh(tmp_path) as mesh, client_of(mesh) as client:
        events = await client.stream()

    kinds = [event["type"] for event in events]
    deltas = [event["delta"] for event in events if event["type"] == "content_block_delta"]
    assert kinds[:3] == ["message_start", "content_block_start", "ping"]
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert kinds[3:-3] == ["content_block_delta"] * len(deltas)
    assert "".join(delta["text"] for delta in deltas) == "".join(f"{n} " for n in range(16))
    assert events[-2]["delta"]["stop_reason"] == "end_turn"
    assert events[-2]["usage"]["output_tokens"] == 16


@pytest.mark.parametrize("stream", [False, True])
async def test_thoughts_and_calls(tmp_path: Path, stream: bool) -> None:
    """Reasoning becomes a thinking block, a call a tool_use block with its input."""
    fields: dict[str, Any] = {"tools": [WEATHER], "thinking": THINK}
    async with client_on(tmp_path, Assistant()) as client:
        if stream:
            blocks, reason, usage = assembled(await client.stream(**fields))
        else:
            _, _, told = await client.post(message(**fields))
            blocks, reason, usage = told["content"], told["stop_reason"], told["usage"]

    assert blocks == [
        {"type": "thinking", "thinking": "let me see", "signature": ""},
        {"type": "text", "text": "I look it up.", "citations": None},
        {
            "type": "tool_use",
            "id": "call_1",
            "name": "weather",
            "input": {"city": "Ulm"},
            "caller": {"type": "direct"},
        },
    ]
    assert reason == "tool_use"
    assert (usage["input_tokens"], usage["cache_read_input_tokens"]) == (5, 4)


def assembled(events: list[dict[str, Any]]) -> tuple[list[Any], str, Any]:
    """Return the blocks of a stream, why it ended and what it took."""
    blocks: list[dict[str, Any]] = []
    for event in events:
        if event["type"] == "content_block_start":
            assert event["index"] == len(blocks)
            blocks.append(event["content_block"])
        elif event["type"] == "content_block_delta":
            block, delta = blocks[event["index"]], event["delta"]
            kind = delta["type"].removesuffix("_delta")
            if kind == "input_json":
                block["json"] = block.get("json", "") + delta["partial_json"]
            else:
                block[kind] += delta[kind]
        elif event["type"] == "content_block_stop":
            block = blocks[event["index"]]
            if block["type"] == "tool_use":
                block["input"] = json.loads(block.pop("json"))
    return blocks, events[-2]["delta"]["stop_reason"], events[-2]["usage"]


async def test_a_result_goes_back_to_the_model(tmp_path: Path) -> None:
    """The second half of a tool's round trip; thoughts nobody asked for are not shown."""
    use = {"type": "tool_use", "id": "call_1", "name": "weather", "input": json.loads(CITY)}
    result = {"type": "tool_result", "tool_use_id": "call_1", "content": "sunny"}
    turns = [
        *HELLO,
        {"role": "assistant", "content": [use]},
        {"role": "user", "content": [result]},
    ]
    async with client_on(tmp_path, Assistant()) as client:
        _, _, told = await client.post(message(messages=turns, tools=[WEATHER]))
    assert told["content"] == [{"type": "text", "text": "It is sunny.", "citations": None}]
    assert told["stop_reason"] == "end_turn"


async def test_tokens_are_counted_by_the_worker(tmp_path: Path) -> None:
    """The count is what the message is charged for."""
    async with client_on(tmp_path, ScriptedEngine()) as client:
        counted = await client.count(
            system=[{"type": "text", "text": "be very kind", "citations": None}]
        )
        _, _, told = await client.post(message(system="be very kind"))
        missing = await client.count(messages=[])
    assert counted == (200, {"input_tokens": 5})
    assert told["usage"]["input_tokens"] == 5
    assert (missing[0], missing[1]["error"]["type"]) == (400, "invalid_request_error")


async def test_where_nobody_can_count_there_is_no_guess(tmp_path: Path) -> None:
    """An upstream has no tokenizer to ask: the answer is a clear refusal."""
    async with (
        faulty_upstream() as faulty,
        engine_on(faulty) as engine,
        client_on(tmp_path, engine, Tier.CLOUD) as client,
    ):
        status, told = await client.count(model="spark")
    assert status == 400
    assert told["error"] == {
        "type": "invalid_request_error",
        "message": "no worker of spark supports count_tokens",
    }


async def test_keys_come_in_either_header(tmp_path: Path) -> None:
    """``x-api-key`` and a bearer token open the same door; errors have Anthropic's form."""
    settings = GatewaySettings(keys=(ApiKey.parse("acme=sk-good"),))
    async with running_mesh(tmp_path, settings=settings) as mesh, client_of(mesh) as client:
        by_key = await client.post(message(), **{"x-api-key": "sk-good"})
        by_token = await client.post(message(), Authorization="Bearer sk-good")
        wrong = await client.post(message(), **{"x-api-key": "sk-bad"})
        none = await client.post(message())

    assert (by_key[0], by_token[0]) == (200, 200)
    assert (wrong[0], none[0]) == (401, 401)
    assert wrong[2]["error"]["type"] == none[2]["error"]["type"] == "authentication_error"
    assert "sk-bad" not in json.dumps(wrong[2])


async def test_an_application_keeps_its_model_names(tmp_path: Path) -> None:
    """Aliases lead Anthropic's names to a model of the mesh."""
    settings = GatewaySettings(aliases=Aliases.parse(["*=scripted"]))
    async with running_mesh(tmp_path, settings=settings) as mesh, client_of(mesh) as client:
        status, _, told = await client.post(message(model="claude-opus-9", max_tokens=1))
    assert (status, told["model"]) == (200, "scripted")


async def test_errors_have_anthropics_envelope(tmp_path: Path) -> None:
    """Whatever refuses a request under this path, its form is the same."""
    image = {"type": "image", "source": {"type": "url", "url": "http://127.0.0.1:1/x.png"}}
    cases: list[tuple[Any, str, int, str, str]] = [
        (message(max_tokens=None), "", 400, "invalid_request_error", "max_tokens"),
        (message(temperature=1.1), "", 400, "invalid_request_error", "temperature"),
        (
            message(messages=[{"role": "user", "content": [image]}]),
            "",
            400,
            "invalid_request_error",
            "messages[0].content[0]",
        ),
        (message(tools=[WEATHER]), "", 400, "invalid_request_error", "tools"),
        (message(model="nope"), "", 404, "not_found_error", "nope"),
        ({}, "/batches", 404, "not_found_error", ""),
        ("x" * 2000, "", 413, "request_too_large", ""),
    ]
    settings = GatewaySettings(max_body=1500)
    async with running_mesh(tmp_path, settings=settings) as mesh, client_of(mesh) as client:
        await until(lambda: mesh.fleet.settled)
        for body, path, status, kind, named in cases:
            got, headers, told = await client.post(body, f"/v1/messages{path}")
            assert (got, told["type"], told["error"]["type"]) == (status, "error", kind)
            assert named in told["error"]["message"]
            assert told["request_id"] == headers["request-id"] == headers["x-request-id"]


async def test_the_frameworks_own_errors_have_it_too(tmp_path: Path) -> None:
    """A wrong method and a body that is no JSON do not fall out of the form."""
    async with running_mesh(tmp_path) as mesh:
        for method, status in ((b"GET", b"405"), (b"POST", b"400")):
            request = method + (
                b" /v1/messages HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                b"Content-Length: 3\r\n\r\n{a}"
            )
            head, _, body = (await send_raw(mesh.address, request)).partition(b"\r\n\r\n")
            told = json.loads(body)
            assert head.split()[1] == status
            assert told["error"]["type"] == "invalid_request_error"
            assert told["request_id"]


async def test_a_deadline_is_kept(tmp_path: Path) -> None:
    """A request that outlives its deadline gets 504, and is not retried by the SDK."""
    script = ScriptedSettings(slots=1, ttft_ms=60_000)
    async with running_mesh(tmp_path, script=script) as mesh, client_of(mesh) as client:
        late = await client.post(message(), **{"x-mesh-deadline-ms": "200"})
    assert (late[0], late[2]["error"]["type"]) == (504, "timeout_error")
    assert late[1]["x-should-retry"] == "false"


async def test_a_mesh_without_workers_is_overloaded(tmp_path: Path) -> None:
    """Clients know 529 and come back when they are told to."""
    async with (
        broker_in(tmp_path) as broker,
        router_of(broker) as (router, fleet),
        gateway_of(router, fleet) as address,
        aiohttp.ClientSession() as session,
    ):
        await until(lambda: fleet.settled)
        client = Client(session, f"http://{address.host}:{address.port}")
        status, headers, told = await client.post(message())
    assert (status, told["error"]["type"]) == (529, "overloaded_error")
    assert int(headers["retry-after"]) >= 1


class _Dying(ScriptedEngine):
    """Fails after its first words, every time."""

    async def generate(self, work: Dispatch, emit: Emit) -> Finish:
        emit(Piece("some words "))
        raise WorkerLost("the engine died")


async def test_a_failure_in_mid_stream_is_an_error_event(tmp_path: Path) -> None:
    """The stream tells it and ends; there is no ``message_stop`` after it."""
    async with client_on(tmp_path, _Dying()) as client:
        events = await client.stream()
    assert events[-1]["error"] == {"type": "api_error", "message": "the engine died"}
    assert "message_stop" not in [event["type"] for event in events]


async def test_hanging_up_frees_the_slot(tmp_path: Path) -> None:
    """A client that leaves takes its work along."""
    script = ScriptedSettings(slots=1, tps=50, tokens=100_000)
    async with running_mesh(tmp_path, script=script) as mesh, aiohttp.ClientSession() as session:
        url, body = f"{mesh.url}/v1/messages", message(max_tokens=100_000, stream=True)
        async with session.post(url, json=body) as answer:
            assert await answer.content.readline()
            assert mesh.agent.running == 1
        await session.close()
        await until(lambda: mesh.agent.running == 0, within=1)
