"""Batches while gateways die: real processes, real signals, and a checker of what comes out."""

import asyncio
import os
import signal
from contextlib import AsyncExitStack
from pathlib import Path

import openai

from mesh.subjects import JobSide
from tests.support.batch_faults import address_of, check, drives, gateway_process
from tests.support.batches import MODEL, batch_broker, ended, line, lines_of, submit
from tests.support.jobs import SMALL, runner_of
from tests.support.mesh import scripted_worker
from tests.support.responses import client_at
from tests.support.wait import until, until_async
from workers.scripted import ScriptedSettings

STEADY = ScriptedSettings(ttft_ms=40, slots=8)
NAMES = [f"request-{number}" for number in range(400)]


async def has_completed(client: openai.AsyncOpenAI, batch: str, at_least: int) -> bool:
    counts = (await client.batches.retrieve(batch)).request_counts
    return counts is not None and counts.completed >= at_least


async def test_a_batch_outlives_the_gateways_that_drive_it(tmp_path: Path) -> None:
    """Killed twice in the middle, it is taken over, and each request comes out exactly once."""
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(batch_broker(tmp_path / "broker"))
        await stack.enter_async_context(scripted_worker(broker, settings=STEADY))
        await stack.enter_async_context(runner_of(broker, JobSide.ANY, SMALL, MODEL))
        starting = (gateway_process(broker, tmp_path, f"g{number}") for number in range(3))
        gateways = await asyncio.gather(*map(stack.enter_async_context, starting))
        clients = [
            await stack.enter_async_context(client_at(address_of(each))) for each in gateways
        ]
        batch = await submit(clients[0], map(line, NAMES))
        left = list(range(3))
        for at_least in (40, 150):
            await until(lambda: any(drives(gateways[each], batch.id) for each in left), within=30)
            await until_async(lambda: has_completed(clients[left[-1]], batch.id, at_least), 60)  # noqa: B023
            assert (await clients[left[-1]].batches.retrieve(batch.id)).status == "in_progress"
            driving = next(each for each in left if drives(gateways[each], batch.id))
            gateways[driving].process.kill()
            left.remove(driving)
        survivor = clients[left[0]]

        done = await ended(survivor, batch, within=90)

        assert done.status == "completed"
        files = (done.output_file_id, done.error_file_id)
        assert check(NAMES, *[await lines_of(survivor, file) for file in files]) == []
        assert done.request_counts is not None
        assert done.request_counts.completed == len(NAMES)


async def test_a_gateway_that_stood_still_commits_nothing(tmp_path: Path) -> None:
    """Frozen for longer than its lease and thawed, it finds itself fenced off."""
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(batch_broker(tmp_path / "broker"))
        await stack.enter_async_context(scripted_worker(broker, settings=STEADY))
        await stack.enter_async_context(runner_of(broker, JobSide.ANY, SMALL, MODEL))
        first = await stack.enter_async_context(gateway_process(broker, tmp_path, "first"))
        client = await stack.enter_async_context(client_at(address_of(first)))
        batch = await submit(client, map(line, NAMES))
        await until_async(lambda: has_completed(client, batch.id, 40), 60)
        os.kill(first.process.pid, signal.SIGSTOP)
        try:
            second = await stack.enter_async_context(gateway_process(broker, tmp_path, "second"))
            other = await stack.enter_async_context(client_at(address_of(second)))
            await until(lambda: drives(second, batch.id), within=30)
        finally:
            os.kill(first.process.pid, signal.SIGCONT)

        done = await ended(other, batch, within=90)

        assert done.status == "completed"
        assert (await client.batches.retrieve(batch.id)).status == "completed"
        files = (done.output_file_id, done.error_file_id)
        assert check(NAMES, *[await lines_of(other, file) for file in files]) == []


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
