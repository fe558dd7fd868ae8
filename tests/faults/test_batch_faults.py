"""Batches while gateways die: real processes, real signals, and a checker of what comes out."""

import asyncio
import os
import signal
from collections.abc import Iterable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import openai

from gateway.pricing import NANO
from mesh.accounts import Role
from mesh.buckets import Bucket
from mesh.keys import SPENDING
from mesh.subjects import JobSide
from schemas.fleet import Tariff, Tier
from schemas.keys import Spent
from schemas.wire import decoder
from tests.support.batch_faults import address_of, check, drives, gateway_process
from tests.support.batches import MODEL, batch_broker, ended, line, lines_of, submit
from tests.support.command import Command
from tests.support.faulty_upstream import faulty_upstream
from tests.support.jobs import SMALL, runner_of
from tests.support.keys import key_store, made
from tests.support.mesh import agent_of, bus_of, scripted_worker
from tests.support.responses import client_at
from tests.support.upstream import engine_on
from tests.support.wait import until, until_async
from workers.scripted import ScriptedSettings

STEADY = ScriptedSettings(ttft_ms=40, slots=8)
TARIFF = Tariff(usd_per_million_in=0.1, usd_per_million_out=10.0, max_output=100)
CALL = 11 * 0.1e-6 + 5 * 10.0e-6
"""What an answer of the upstream costs."""
NAMES = [f"request-{number}" for number in range(400)]


async def has_completed(client: openai.AsyncOpenAI, batch: str, at_least: int) -> bool:
    counts = (await client.batches.retrieve(batch)).request_counts
    return counts is not None and counts.completed >= at_least


async def driver_of(batch: str, gateways: Iterable[Command]) -> Command:
    """Wait until one of some gateways drives a batch, and return it."""
    some = tuple(gateways)
    await until(lambda: any(drives(each, batch) for each in some), within=30)
    return next(each for each in some if drives(each, batch))


async def test_a_batch_outlives_the_gateways_that_drive_it(tmp_path: Path) -> None:
    """One is killed, the next frozen for longer than its lease: each request comes out once.

    Thawed, the frozen one finds itself fenced off, and commits nothing.
    """
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(batch_broker(tmp_path / "broker"))
        await stack.enter_async_context(scripted_worker(broker, settings=STEADY))
        await stack.enter_async_context(runner_of(broker, JobSide.ANY, SMALL, MODEL))
        starting = (gateway_process(broker, tmp_path, f"g{number}") for number in range(3))
        gateways = await asyncio.gather(*map(stack.enter_async_context, starting))
        client = {
            each: await stack.enter_async_context(client_at(address_of(each))) for each in gateways
        }
        batch = await submit(client[gateways[0]], map(line, NAMES))

        killed = await driver_of(batch.id, gateways)
        await until_async(lambda: has_completed(client[killed], batch.id, 40), 60)
        killed.process.kill()
        frozen = await driver_of(batch.id, left := set(gateways) - {killed})
        await until_async(lambda: has_completed(client[frozen], batch.id, 150), 60)
        assert (await client[frozen].batches.retrieve(batch.id)).status == "in_progress"
        os.kill(frozen.process.pid, signal.SIGSTOP)
        try:
            last = await driver_of(batch.id, left - {frozen})
        finally:
            os.kill(frozen.process.pid, signal.SIGCONT)
        done = await ended(client[last], batch, within=90)

        assert done.status == "completed"
        assert (await client[frozen].batches.retrieve(batch.id)).status == "completed"
        files = (done.output_file_id, done.error_file_id)
        assert check(NAMES, *[await lines_of(client[last], file) for file in files]) == []
        assert done.request_counts is not None
        assert done.request_counts.completed == len(NAMES)


async def test_a_batch_outlives_the_broker(tmp_path: Path) -> None:
    """Killed in the middle and started again, the broker has all that was committed."""
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(batch_broker(tmp_path / "broker"))
        await stack.enter_async_context(scripted_worker(broker, settings=STEADY))
        await stack.enter_async_context(runner_of(broker, JobSide.ANY, SMALL, MODEL))
        gateway = await stack.enter_async_context(gateway_process(broker, tmp_path, "g"))
        client = await stack.enter_async_context(client_at(address_of(gateway), retries=5))
        batch = await submit(client, map(line, NAMES))
        await until_async(lambda: has_completed(client, batch.id, 40), 60)

        os.kill(broker.pid, signal.SIGKILL)
        done = await ended(client, batch, within=90)

        assert done.status == "completed"
        files = (done.output_file_id, done.error_file_id)
        assert check(NAMES, *[await lines_of(client, file) for file in files]) == []


async def test_lines_of_several_jobs_outlive_their_gateway(tmp_path: Path) -> None:
    """Killed with lines half computed, it is followed by one that brings each out whole, once."""
    prompts = ["one", "two", "three"]
    lines = [
        line(name, "/v1/completions", model=MODEL, prompt=prompts, max_tokens=2)
        for name in NAMES[:200]
    ]
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(batch_broker(tmp_path / "broker"))
        await stack.enter_async_context(scripted_worker(broker, settings=STEADY))
        await stack.enter_async_context(runner_of(broker, JobSide.ANY, SMALL, MODEL))
        starting = (gateway_process(broker, tmp_path, f"g{number}") for number in range(2))
        gateways = await asyncio.gather(*map(stack.enter_async_context, starting))
        client = {
            each: await stack.enter_async_context(client_at(address_of(each))) for each in gateways
        }
        batch = await submit(client[gateways[0]], lines, "/v1/completions")

        killed = await driver_of(batch.id, gateways)
        await until_async(lambda: has_completed(client[killed], batch.id, 20), 60)
        killed.process.kill()
        last = await driver_of(batch.id, set(gateways) - {killed})
        done = await ended(client[last], batch, within=90)

        output = await lines_of(client[last], done.output_file_id)
        assert check(NAMES[:200], output) == []
        choices = {len(each["response"]["body"]["choices"]) for each in output}
        assert choices == {len(prompts)}


async def test_a_killed_gateway_leaves_a_budget_counted(tmp_path: Path) -> None:
    """What goes to the cloud stays within the budget, and none of it is forgotten.

    Of what the killed gateway had set aside too much may stay counted, and never too little.
    """
    budget, names = 0.01, NAMES[:80]
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(batch_broker(tmp_path / "broker"))
        store = await stack.enter_async_context(key_store(broker))
        upstream = await stack.enter_async_context(faulty_upstream())
        upstream.token_seconds = 0.01
        engine = await stack.enter_async_context(engine_on(upstream, tariff=TARIFF))
        await stack.enter_async_context(agent_of(broker, engine, name="c", tier=Tier.CLOUD))
        await stack.enter_async_context(runner_of(broker, JobSide.ANY, SMALL, "spark"))
        key, _ = await made(store, cloud_usd_per_day=budget)
        starting = (gateway_process(broker, tmp_path, f"g{number}") for number in range(2))
        gateways = await asyncio.gather(*map(stack.enter_async_context, starting))
        client = {
            each: await stack.enter_async_context(client_at(address_of(each), key=key))
            for each in gateways
        }
        turns = [{"role": "user", "content": "x"}]
        asked: dict[str, Any] = {"model": "spark", "max_tokens": 5, "messages": turns}
        batch = await submit(
            client[gateways[0]],
            [line(name, **asked) for name in names],
            extra_headers={"x-mesh-policy": "cloud-only"},
        )

        killed = await driver_of(batch.id, gateways)
        await until_async(lambda: has_completed(client[killed], batch.id, 10), 60)
        killed.process.kill()
        last = await driver_of(batch.id, set(gateways) - {killed})
        done = await ended(client[last], batch, within=90)

        files = (done.output_file_id, done.error_file_id)
        assert check(names, *[await lines_of(client[last], file) for file in files]) == []
        paid = round(upstream.calls * CALL * NANO)
        async with bus_of(broker, Role.ADMIN) as bus:
            entries = (await Bucket(bus, SPENDING).entries()).values()
        counted = sum(decoder(Spent).decode(entry.value).nano_usd for entry in entries)
        assert upstream.calls == len(names)
        assert paid <= counted <= budget * NANO
