"""A llama.cpp worker on a real broker: answers travel through NATS, and slots come back."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from mesh import errors
from mesh.router import Router
from schemas.fleet import ModelState
from schemas.frames import Delta, Done
from schemas.inference import ChatMessage, InferRequest, Sampling, Urgency
from tests.support.llama import llama_settings
from tests.support.mesh import agent_of, broker_in, router_of
from tests.support.requests import complete
from tests.support.tiny_model import TinyShape, write_tiny_model
from tests.support.wait import until
from workers.agent import Agent
from workers.llama.engine import LlamaEngine

SMALL = TinyShape()
SLOWER = TinyShape(width=256, layers=4, feed_forward=512)
CELLS = 2 * SMALL.context


def tiny(text: str = "hello", **changes: Any) -> InferRequest:
    settings: dict[str, Any] = {
        "id": "req_test",
        "model": "tiny",
        "messages": (ChatMessage(role="user", content=text),),
        "sampling": Sampling(temperature=0),
    }
    return InferRequest(**settings | changes)


@asynccontextmanager
async def llama_mesh(
    folder: Path, shape: TinyShape = SMALL, **changes: Any
) -> AsyncIterator[tuple[Router, Agent, LlamaEngine]]:
    """Run a broker, a worker with a tiny model of two slots, and a router that knows it."""
    model = write_tiny_model(folder / "tiny.gguf", shape)
    engine = LlamaEngine(llama_settings(model, **changes))
    async with (
        broker_in(folder / "broker") as broker,
        agent_of(broker, engine) as agent,
        router_of(broker, "tiny") as (router, fleet),
    ):
        await until(lambda: fleet.models()[0].state is ModelState.READY, within=30)
        yield router, agent, engine


async def test_a_stream_and_a_whole_answer_agree(tmp_path: Path) -> None:
    """The same greedy request gives the same text and usage, streamed or not."""
    request = tiny(max_tokens=50)
    async with llama_mesh(tmp_path) as (router, _, _):
        whole = await complete(router, request)
        async with router.open(tiny(max_tokens=50, stream=True)) as answer:
            frames = [frame async for frame in answer]
    (done,) = [frame for frame in frames if isinstance(frame, Done)]
    assert "".join(f.text for f in frames if isinstance(f, Delta)) == whole.text
    assert len(whole.text) == 50
    assert done.usage.prompt_tokens == whole.usage.prompt_tokens
    assert done.usage.completion_tokens == whole.usage.completion_tokens
    assert (whole.finish_reason, whole.usage.completion_tokens) == ("length", 50)


async def test_background_answers_are_whole_beside_interactive_ones(tmp_path: Path) -> None:
    """Eight on two slots give way to requests that come meanwhile, and say what they say alone."""
    async with llama_mesh(tmp_path) as (router, agent, _):
        usual = tiny("usual", max_tokens=30)
        jobs = [
            tiny(f"job {number}", max_tokens=120, urgency=Urgency.BACKGROUND) for number in range(8)
        ]
        alone = [(await complete(router, request)).text for request in (usual, *jobs)]
        line = asyncio.gather(*(complete(router, job) for job in jobs))
        await until(lambda: router.waiting("tiny") == 6 and agent.running == 2)
        for _ in range(3):
            done = await asyncio.gather(complete(router, usual), complete(router, usual))
            assert [each.text for each in done] == [alone[0]] * 2
        assert [each.text for each in await line] == alone[1:]


async def test_leaving_in_decode_gives_slot_and_cache_back(tmp_path: Path) -> None:
    """When the client leaves a running stream, the slot and the KV cache are free again."""
    async with llama_mesh(tmp_path) as (router, agent, engine):
        async with router.open(tiny(stream=True)) as answer:
            await anext(aiter(answer))
            assert agent.running == 1
        await until(lambda: agent.running == 0, within=0.3)
        await until(lambda: engine.status().kv_free == CELLS)


async def test_leaving_in_prefill_gives_slot_and_cache_back(tmp_path: Path) -> None:
    """When the client leaves before the first token, the rest of the prompt is not computed."""
    async with llama_mesh(tmp_path, SLOWER, chunk=32) as (router, agent, engine):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(complete, router, tiny("x" * 900))
            await until(lambda: engine.status().kv_free < CELLS)
            tasks.cancel_scope.cancel()
        await until(lambda: agent.running == 0, within=0.3)
        await until(lambda: engine.status().kv_free == CELLS)


async def test_a_dead_engine_ends_the_stream_with_a_typed_error(tmp_path: Path) -> None:
    """SIGKILL in mid-stream is never a silent end, and the next request is answered."""
    async with llama_mesh(tmp_path) as (router, _, engine):
        with pytest.raises(errors.MeshError):
            await _read_and_kill(router, engine)
        await until(lambda: engine.status().state is ModelState.READY, within=30)
        assert (await complete(router, tiny(max_tokens=3))).usage.completion_tokens == 3


async def _read_and_kill(router: Router, engine: LlamaEngine) -> None:
    async with router.open(tiny(stream=True)) as answer:
        async for frame in answer:
            if isinstance(frame, Delta) and engine.pid is not None:
                os.kill(engine.pid, signal.SIGKILL)
