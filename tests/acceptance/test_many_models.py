"""Several models on one worker: real engine processes that share a memory for one of them."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import anyio
import psutil
import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from gateway.app import Address
from gateway.settings import GatewaySettings
from mesh import subjects
from mesh.accounts import Role
from mesh.broker import Broker
from mesh.errors import NoCapacity
from mesh.fleet import Fleet
from mesh.router import Router
from schemas.fleet import ModelState, ModelStatus, Tier
from schemas.inference import ChatMessage, InferRequest, ModelOrder, Sampling
from schemas.wire import encode
from tests.support.gateway import gateway_of
from tests.support.llama import llama_settings
from tests.support.mesh import agent_of, broker_in, bus_of, router_of
from tests.support.requests import complete
from tests.support.tiny_model import TinyShape, write_tiny_model
from tests.support.wait import until
from workers.agent import Agent
from workers.llama.engine import LlamaEngine
from workers.llama.prospect import foresee
from workers.llama.shelf import shelve
from workers.memory import Memory

SLOTS = 2
SMALL, SLOWER = TinyShape(), TinyShape(width=512, layers=4, feed_forward=512)
LONG = 900
"""Tokens of an answer that takes a while."""


def ask(model: str, tokens: int = 3, *, stream: bool = False) -> InferRequest:
    return InferRequest(
        id=f"req_{model}",
        model=model,
        messages=(ChatMessage(role="user", content="hello"),),
        max_tokens=tokens,
        sampling=Sampling(temperature=0),
        stream=stream,
    )


@dataclass(frozen=True, kw_only=True)
class Shelf:
    """A worker with several models, and a router that knows it."""

    broker: Broker
    agent: Agent
    router: Router
    fleet: Fleet
    engines: dict[str, LlamaEngine]

    def status(self, model: str) -> ModelStatus:
        """What the worker has advertised."""
        (seat,) = self.fleet.seats(model, Tier.EDGE)
        return seat.status

    async def becomes(self, model: str, state: ModelState) -> None:
        """Wait until the advert says so."""
        await until(lambda: self.status(model).state is state, within=30)


@asynccontextmanager
async def shelf_of(
    folder: Path,
    *names: str,
    shape: TinyShape = SMALL,
    room_for: float = 1.5,
    min_residency: float = 0.0,
) -> AsyncIterator[Shelf]:
    """Run a worker whose memory holds ``room_for`` of its equally large models."""
    files = [write_tiny_model(folder / f"{name}.gguf", shape) for name in names]
    settings = [llama_settings(file, slots=SLOTS) for file in files]
    need = foresee(settings[0], 1 << 40).need.total
    memory = Memory(int(room_for * need), min_residency=min_residency)
    engines = list(shelve(settings, memory))
    async with (
        broker_in(folder / "broker") as broker,
        agent_of(broker, *engines) as agent,
        router_of(broker, *names) as (router, fleet),
    ):
        shelf = Shelf(
            broker=broker,
            agent=agent,
            router=router,
            fleet=fleet,
            engines=dict(zip(names, engines, strict=True)),
        )
        if room_for >= 1:
            await shelf.becomes(names[0], ModelState.READY)
        yield shelf


@asynccontextmanager
async def frozen_load(engine: LlamaEngine, *others: int | None) -> AsyncIterator[None]:
    """Stop the process of an engine that is loading while the context is open.

    others: the processes that were there before.
    """
    known = set(others)
    await until(lambda: engine.status().state is ModelState.LOADING)
    await until(lambda: bool(_engine_pids() - known))
    (pid,) = _engine_pids() - known
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def _engine_pids() -> set[int]:
    """Return the engine processes that there are now."""
    pids = set()
    for child in psutil.Process().children():
        with suppress(psutil.NoSuchProcess):  # it may just be ending
            if "workers.llama.main" in child.cmdline():
                pids.add(child.pid)
    return pids


async def test_a_model_is_loaded_on_first_use_in_place_of_another(tmp_path: Path) -> None:
    """It is advertised before that, and the process it takes the place of is gone."""
    async with shelf_of(tmp_path, "a", "b") as shelf:
        await until(lambda: bool(shelf.status("b").digest and shelf.status("b").context))
        promised = shelf.status("b")
        assert (promised.state, promised.slots_free) == (ModelState.AVAILABLE, SLOTS)
        assert promised.context == shelf.status("a").context
        assert promised.overhead_ms > 0
        pid = shelf.engines["a"].pid
        assert pid is not None
        assert (await complete(shelf.router, ask("b"))).usage.completion_tokens == 3
        assert not psutil.pid_exists(pid)
        await shelf.becomes("a", ModelState.AVAILABLE)
        assert (await complete(shelf.router, ask("a"))).usage.completion_tokens == 3


async def test_two_hundred_first_requests_load_once(tmp_path: Path) -> None:
    """All of them are answered, whether they waited in the worker or in the router."""
    async with shelf_of(tmp_path, "a", "b", min_residency=60.0) as shelf:
        shelf.engines["a"].unload()
        await shelf.becomes("a", ModelState.AVAILABLE)
        with capture_logs() as logs:
            requests = (complete(shelf.router, ask("b", 1)) for _ in range(200))
            answers = await asyncio.gather(*requests)
    assert [answer.usage.completion_tokens for answer in answers] == [1] * 200
    loads = [entry["model"] for entry in logs if entry["event"] == "engine.ready"]
    assert loads == ["b"]


async def test_those_who_wait_for_a_load_hear_that_it_goes_on(tmp_path: Path) -> None:
    """HTTP clients are sent pings meanwhile; one who leaves does not take it from the others."""
    async with (
        shelf_of(tmp_path, "a", "b") as shelf,
        gateway_of(shelf.router, shelf.fleet, GatewaySettings(ping_interval=0.5)) as address,
        anyio.create_task_group() as tasks,
    ):
        known = shelf.engines["a"].pid
        leaves = asyncio.ensure_future(complete(shelf.router, ask("b")))
        heard = bytearray()

        async def read() -> None:
            async for piece in stream_over_http(address, "b"):
                heard.extend(piece)

        tasks.start_soon(read)
        async with frozen_load(shelf.engines["b"], known):
            await until(lambda: shelf.agent.running == 2)
            leaves.cancel()
            await until(lambda: shelf.agent.running == 1)
            await until(lambda: heard.count(b": ping") >= 2)
    assert heard.index(b": ping") < heard.index(b'"content"')
    assert heard.endswith(b"data: [DONE]\n\n")


async def stream_over_http(address: Address, model: str) -> AsyncIterator[bytes]:
    """Yield what a streaming client is sent, as it comes."""
    body = {
        "model": model,
        "messages": [{"role": "user", "content": "hello"}],
        "max_tokens": 3,
        "stream": True,
    }
    url = f"http://{address.host}:{address.port}/v1/chat/completions"
    async with aiohttp.ClientSession() as session, session.post(url, json=body) as response:
        assert response.status == 200
        async for piece in response.content.iter_any():
            yield piece


async def test_nobody_is_held_by_a_worker_that_loads_unasked(tmp_path: Path) -> None:
    """At the start and after a crash requests wait in the router, where they can go elsewhere."""
    engine = LlamaEngine(llama_settings(write_tiny_model(tmp_path / "a.gguf")))
    async with broker_in(tmp_path / "broker") as broker, agent_of(broker, engine) as agent:
        async with frozen_load(engine), router_of(broker, "a") as (router, _):
            answer = asyncio.ensure_future(complete(router, ask("a")))
            await until(lambda: router.waiting("a") == 1)
            assert agent.running == 0
            answer.cancel()
        await until(lambda: engine.status().state is ModelState.READY, within=30)


async def test_a_model_in_use_is_not_unloaded(tmp_path: Path) -> None:
    """A long answer is finished, nothing new is begun, and then the other model has its turn."""
    async with shelf_of(tmp_path, "a", "b") as shelf:
        # Alternatives for every token make it last: what happens meanwhile is to be seen.
        slow = replace(ask("a", LONG), logprobs=20)
        long = asyncio.ensure_future(complete(shelf.router, slow))
        await until(lambda: shelf.agent.running == 1)
        other = asyncio.ensure_future(complete(shelf.router, ask("b")))
        await until(lambda: shelf.status("a").slots == 0)
        assert shelf.status("b").state is ModelState.LOADING
        assert shelf.engines["b"].pid is None
        again = asyncio.ensure_future(complete(shelf.router, ask("a")))
        assert (await long).usage.completion_tokens == LONG
        assert (await other).usage.completion_tokens == 3
        assert (await again).usage.completion_tokens == 3


async def test_a_model_too_large_for_the_memory_says_so(tmp_path: Path) -> None:
    """The refusal names what it needs and what there is."""
    async with shelf_of(tmp_path, "a", "b", room_for=0.5) as shelf:
        await shelf.becomes("b", ModelState.FAILED)
        assert "KV cache" in shelf.status("b").detail
        with pytest.raises(NoCapacity, match=r"needs \d+ MiB of memory .* are free"):
            await complete(shelf.router, ask("b"))


async def test_a_load_that_fails_is_told_to_all_who_wait(tmp_path: Path) -> None:
    """Each gets the reason, and the next request tries again."""
    async with shelf_of(tmp_path, "a", "b") as shelf:
        write_tiny_model(tmp_path / "b.gguf", template="{% if %}")
        requests = [complete(shelf.router, ask("b")) for _ in range(SLOTS + 2)]
        outcomes = await asyncio.gather(*requests, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [NoCapacity] * (SLOTS + 2)
        assert all("template is broken" in str(outcome) for outcome in outcomes)
        write_tiny_model(tmp_path / "b.gguf")
        await shelf.becomes("b", ModelState.AVAILABLE)
        assert (await complete(shelf.router, ask("b"))).usage.completion_tokens == 3


async def test_models_come_and_go_on_order(tmp_path: Path) -> None:
    """A client has a model loaded and unloaded over the bus; its memory comes back."""
    async with shelf_of(tmp_path, "a") as shelf, bus_of(shelf.broker, Role.CLIENT) as bus:
        pid = shelf.engines["a"].pid
        assert pid is not None
        order = encode(ModelOrder(model="a"))
        bus.post(subjects.work(Tier.EDGE, "w1", "unload"), order)
        await shelf.becomes("a", ModelState.AVAILABLE)
        await until(lambda: not psutil.pid_exists(pid))
        bus.post(subjects.work(Tier.EDGE, "w1", "load"), order)
        await shelf.becomes("a", ModelState.READY)


async def test_the_advert_follows_a_load(tmp_path: Path) -> None:
    """How far it is shows as long as it lasts."""
    async with shelf_of(tmp_path, "a", "b", shape=SLOWER) as shelf:
        seen: list[tuple[ModelState, float]] = []

        def look(_: str) -> None:
            status = shelf.status("b")
            seen.append((status.state, status.progress))

        shelf.fleet.on_change(look)
        await complete(shelf.router, ask("b"))
        await shelf.becomes("b", ModelState.READY)
    assert (ModelState.LOADING, 1.0) in seen
    assert seen[-1] == (ModelState.READY, 1.0)


async def test_a_worker_stops_in_the_middle_of_a_load(tmp_path: Path) -> None:
    """It ends in bounded time, and the process that was loading is gone."""
    with anyio.fail_after(20):
        async with shelf_of(tmp_path, "a", "b") as shelf, anyio.create_task_group() as tasks:
            tasks.start_soon(complete, shelf.router, ask("b"))
            await until(lambda: shelf.engines["b"].status().detail == "loading")
            tasks.cancel_scope.cancel()
    assert not _engine_pids()
