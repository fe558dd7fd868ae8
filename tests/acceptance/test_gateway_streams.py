"""Streams that go wrong, fall silent or lose their client."""

import asyncio
import json
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest
from msgspec.structs import replace
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletion

from gateway.settings import GatewaySettings
from mesh.answer import Answer, Output
from mesh.bus import Bus, BusSettings
from mesh.errors import WorkerLost
from mesh.fleet import Fleet
from mesh.router import Router
from mesh.trace import TraceContext
from schemas.fleet import ModelStatus
from schemas.frames import Beat, Delta, Done
from schemas.inference import Ability, Dispatch, InferRequest, Usage
from tests.support.gateway import Mesh, gateway_of, running_mesh
from tests.support.keys import ROOMY
from tests.support.mesh import agent_of, broker_in, router_of, scripted_worker
from tests.support.wait import until
from workers.engine import Emit, Finish, Piece
from workers.scripted import ScriptedEngine, ScriptedSettings

HELLO: Any = [{"role": "user", "content": "hi"}]
FREED_WITHIN = 0.3
"""Seconds from a disconnect to a free slot."""


def chat(*, stream: bool = True, **fields: Any) -> dict[str, Any]:
    return {"model": "scripted", "messages": HELLO, "stream": stream} | fields


def text_of(stream: bytes) -> str:
    """Return the text in a stream that came to its end."""
    *events, done = stream.removesuffix(b"\n\n").split(b"\n\n")
    assert done == b"data: [DONE]"
    chunks = [json.loads(event.removeprefix(b"data: ")) for event in events]
    return "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)


@asynccontextmanager
async def asking(mesh: Mesh, body: dict[str, Any]) -> AsyncIterator[asyncio.Task[bytes]]:
    """Send a request in a task that a test can abandon."""
    async with aiohttp.ClientSession() as session:

        async def ask() -> bytes:
            async with session.post(f"{mesh.url}/v1/chat/completions", json=body) as answer:
                return await answer.read()

        task = asyncio.create_task(ask())
        try:
            yield task
        finally:
            task.cancel()
            await asyncio.wait((task,))


async def hang_up(task: asyncio.Task[bytes]) -> float:
    """Close a client's connection; return the time at which it happened."""
    task.cancel()
    await asyncio.wait((task,))
    return time.monotonic()


@pytest.mark.parametrize("stream", [True, False])
async def test_hanging_up_in_prefill_frees_the_slot(tmp_path: Path, stream: bool) -> None:
    """A client that leaves before the first token takes its work along."""
    script = ScriptedSettings(slots=1, ttft_ms=60_000)
    async with (
        running_mesh(tmp_path, script=script) as mesh,
        asking(mesh, chat(stream=stream)) as task,
    ):
        await until(lambda: mesh.agent.running == 1)

        left_at = await hang_up(task)
        await until(lambda: mesh.agent.running == 0)

        assert time.monotonic() - left_at < FREED_WITHIN


async def test_hanging_up_in_decode_frees_the_slot(tmp_path: Path) -> None:
    """A client that leaves in the middle of a stream ends it."""
    script = ScriptedSettings(slots=1, tps=50, tokens=100_000)
    async with running_mesh(tmp_path, script=script) as mesh, aiohttp.ClientSession() as session:
        async with session.post(f"{mesh.url}/v1/chat/completions", json=chat()) as answer:
            assert await answer.content.readline()
            assert mesh.agent.running == 1
        left_at = time.monotonic()
        await session.close()
        await until(lambda: mesh.agent.running == 0)

        assert time.monotonic() - left_at < FREED_WITHIN


async def test_hanging_up_in_the_queue_leaves_the_line(tmp_path: Path) -> None:
    """A client that leaves while it waits is gone from the line, and never computed for."""
    script = ScriptedSettings(slots=1, ttft_ms=60_000)
    async with running_mesh(tmp_path, script=script) as mesh, asking(mesh, chat()):
        await until(lambda: mesh.agent.running == 1)
        async with asking(mesh, chat()) as waiting:
            await until(lambda: mesh.router.waiting("scripted") == 1)

            left_at = await hang_up(waiting)
            await until(lambda: mesh.router.waiting("scripted") == 0)

            assert time.monotonic() - left_at < FREED_WITHIN
            assert mesh.agent.running == 1


async def test_a_silent_stream_is_kept_alive(tmp_path: Path) -> None:
    """Before the first token, headers and comments go out instead of silence."""
    script = ScriptedSettings(ttft_ms=2500, tokens=2)
    settings = GatewaySettings(ping_interval=0.5, drain_timeout=1)
    async with (
        running_mesh(tmp_path, script=script, settings=settings) as mesh,
        asking(mesh, chat()) as task,
    ):
        events = (await task).split(b"\n\n")

    assert events[0] == b": ping"
    assert events[-2] == b"data: [DONE]"
    assert b'"role":"assistant"' in next(event for event in events if event != b": ping")


class _Breaking(ScriptedEngine):
    """Says one word and dies."""

    async def generate(self, work: Dispatch, emit: Emit) -> Finish:
        emit(Piece("word ", (0,)))
        raise WorkerLost("the engine died")


async def test_a_failure_in_mid_stream_is_an_error_event(tmp_path: Path) -> None:
    """Once output has been seen, a failure is the last event, and ``[DONE]`` never follows."""
    async with (
        broker_in(tmp_path) as broker,
        agent_of(broker, _Breaking()) as agent,
        router_of(broker, "scripted") as (router, fleet),
        gateway_of(router, fleet) as address,
    ):
        mesh = Mesh(address, agent, router, fleet)
        async with asking(mesh, chat()) as task:
            events = (await task).strip().split(b"\n\n")

    assert b'"content":"word "' in events[1]
    error = json.loads(events[-1].removeprefix(b"data: "))["error"]
    assert error == {
        "message": "the engine died",
        "type": "server_error",
        "param": None,
        "code": "worker_lost",
    }
    assert b"[DONE]" not in b"".join(events)


class _Chatty(ScriptedEngine):
    """Answers with what an upstream may send: reasoning, and several choices in any order."""

    def status(self) -> ModelStatus:
        return replace(super().status(), abilities=(Ability.CHOICES,))

    async def generate(self, work: Dispatch, emit: Emit) -> Finish:
        for index in reversed(range(work.request.n)):
            emit(Piece(f"answer {index}", reasoning="hm", index=index, finish_reason="tool_calls"))
        return Finish("stop", Usage(prompt_tokens=1, completion_tokens=4))


@pytest.mark.parametrize("stream", [True, False])
async def test_choices_and_reasoning_arrive(tmp_path: Path, stream: bool) -> None:
    """Each choice has its own text, reasoning and reason to finish; choice 0 comes first."""
    async with (
        broker_in(tmp_path) as broker,
        agent_of(broker, _Chatty()),
        router_of(broker, "scripted") as (router, fleet),
        gateway_of(router, fleet) as address,
        openai.AsyncOpenAI(base_url=address.url, api_key="k", max_retries=0) as client,
    ):
        if stream:
            accumulator = ChatCompletionStreamState()
            async for chunk in await client.chat.completions.create(
                model="scripted", messages=HELLO, n=2, stream=True
            ):
                accumulator.handle_chunk(chunk)
            answer: ChatCompletion = accumulator.get_final_completion()
        else:
            answer = await client.chat.completions.create(model="scripted", messages=HELLO, n=2)

    assert [choice.message.content for choice in answer.choices] == ["answer 0", "answer 1"]
    assert [choice.finish_reason for choice in answer.choices] == ["tool_calls", "tool_calls"]
    assert [choice.message.model_extra for choice in answer.choices] == [
        {"reasoning_content": "hm"},
        {"reasoning_content": "hm"},
    ]


class _Prepared(Router):
    """Answers with frames of which some are there at once."""

    def open(self, request: InferRequest, trace: TraceContext | None = None) -> Answer:
        answer = Answer(request)
        answer.attach(self._prepared(answer))
        return answer

    async def _prepared(self, answer: Answer) -> AsyncGenerator[Output, None]:
        answer.more_at_hand = True
        yield Delta(seq=1, text="a")
        yield Beat(seq=2)
        yield Delta(seq=3, text="b")
        answer.more_at_hand = False
        yield Delta(seq=4, text="c")
        yield Done(seq=5, finish_reason="stop", usage=Usage())


async def test_events_that_are_ready_together_share_a_write() -> None:
    """Nothing waits for what is not there yet, and the last event goes with the end."""
    fleet = Fleet()
    async with (
        gateway_of(_Prepared(Bus(BusSettings()), fleet), fleet) as address,
        aiohttp.ClientSession() as session,
        session.post(f"{address.url}/chat/completions", json=chat()) as answer,
    ):
        writes = [b""]
        async for data, ends in answer.content.iter_chunks():
            writes[-1] += data
            if ends:
                writes.append(b"")

    assert [re.findall(rb'"content":"(.)"', write) for write in writes if write] == [
        [b"a"],
        [b"b", b"c"],
        [],
    ]
    assert writes[2].endswith(b"data: [DONE]\n\n")


async def test_many_streams_at_once_keep_their_order(tmp_path: Path) -> None:
    """200 streams over two workers with four slots each all complete, token by token."""
    expected = "".join(f"{number} " for number in range(50))
    script = ScriptedSettings(slots=4, tokens=50, tps=2000)
    async with (
        broker_in(tmp_path) as broker,
        scripted_worker(broker, "w1", settings=script),
        scripted_worker(broker, "w2", settings=script),
        router_of(broker, "scripted", workers=2) as (router, fleet),
        gateway_of(router, fleet, ROOMY) as address,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session,
    ):

        async def read() -> str:
            async with session.post(f"{address.url}/chat/completions", json=chat()) as answer:
                return text_of(await answer.read())

        assert await asyncio.gather(*(read() for _ in range(200))) == [expected] * 200


async def test_stopping_lets_running_streams_finish(tmp_path: Path) -> None:
    """A gateway that stops accepts nothing new and completes what it has begun."""
    script = ScriptedSettings(tps=40, tokens=20)
    async with (
        broker_in(tmp_path) as broker,
        scripted_worker(broker, settings=script) as agent,
        router_of(broker, "scripted") as (router, fleet),
    ):
        async with gateway_of(router, fleet) as address:
            mesh = Mesh(address, agent, router, fleet)
            url = f"{mesh.url}/v1/chat/completions"
            session = aiohttp.ClientSession()
            answer = await session.post(url, json=chat())
        try:
            assert (await answer.read()).endswith(b"data: [DONE]\n\n")
            with pytest.raises(aiohttp.ClientError):
                await session.post(url, json=chat())
        finally:
            await session.close()


async def test_stopping_is_bounded(tmp_path: Path) -> None:
    """A stream that would take for ever does not keep the gateway from stopping."""
    script = ScriptedSettings(tps=10, tokens=100_000)
    async with (
        broker_in(tmp_path) as broker,
        scripted_worker(broker, settings=script) as agent,
        router_of(broker, "scripted") as (router, fleet),
        aiohttp.ClientSession() as session,
    ):
        async with gateway_of(router, fleet, GatewaySettings(drain_timeout=0.4)) as address:
            url = f"{Mesh(address, agent, router, fleet).url}/v1/chat/completions"
            answer = await session.post(url, json=chat())
            asked_at = time.monotonic()
        assert time.monotonic() - asked_at < 2
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()
        await until(lambda: agent.running == 0)
