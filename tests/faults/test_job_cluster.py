"""Durable jobs on three brokers of which some die."""

import asyncio
import json
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from mesh.accounts import Role
from mesh.broker import Broker
from mesh.errors import MeshError
from mesh.jobs import client
from mesh.jobs.client import Jobs
from mesh.jobs.store import ensure
from mesh.storage import Store
from mesh.subjects import JobSide
from tests.support.cluster import SIZE, cluster_in
from tests.support.job_faults import LEASE, Checker
from tests.support.jobs import SMALL, jobs_of, runner_of
from tests.support.mesh import bus_of, scripted_worker
from tests.support.wait import until_async

ROUNDS = 2
INFO = f"$JS.API.STREAM.INFO.KV_{Store.JOBS}"
COPIED = replace(SMALL, lease=LEASE, replicas=SIZE)


async def stored(broker: Broker) -> bool:
    """Make the buckets on three servers, once these have found each other."""
    try:
        async with bus_of(broker, Role.ADMIN) as admin:
            await ensure(admin, COPIED)
    except MeshError:
        return False
    return True


async def leader_of(broker: Broker) -> int:
    """Return which server leads the records of jobs now."""
    while True:
        async with bus_of(broker, Role.ADMIN) as admin:
            try:
                info = json.loads(await admin.request(INFO, b"", timeout=5))
                return int(info["cluster"]["leader"].removeprefix("mesh-"))
            except (MeshError, KeyError):
                await asyncio.sleep(0.1)  # there is no leader at this moment


async def submit(checker: Checker, numbers: range) -> None:
    await asyncio.gather(*(checker.submit(number) for number in numbers))


async def test_jobs_survive_brokers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of three may die at any time; with two dead nothing is taken; nothing accepted is lost.

    The leader of the records is killed while jobs are submitted, and then the next one.
    """
    async with AsyncExitStack() as stack:
        cluster = await stack.enter_async_context(cluster_in(tmp_path))
        broker = cast("Broker", cluster)
        await until_async(lambda: stored(broker), within=60)
        jobs: Jobs = await stack.enter_async_context(jobs_of(broker))
        checker = Checker(jobs)
        await checker.listen(jobs._bus)
        await stack.enter_async_context(scripted_worker(broker))
        await stack.enter_async_context(runner_of(broker, JobSide.ANY, COPIED, "scripted"))
        for start in range(0, ROUNDS * 10, 10):
            leader = await leader_of(broker)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(submit(checker, range(start, start + 10)))
                await cluster.kill(leader)
            await cluster.start(leader)
        assert len(checker.accepted) == ROUNDS * 10
        await checker.verdict(60)

        await cluster.kill(0)
        await cluster.kill(1)
        with monkeypatch.context() as patch:
            patch.setattr(client, "KEEP_ASKING", 2.0)
            await submit(checker, range(100, 103))
        assert checker.refused.total() == 3
        await cluster.start(0)
        await cluster.start(1)
        await submit(checker, range(200, 205))
        counts = await checker.verdict(60)
        assert counts["accepted"] == counts["succeeded"] == ROUNDS * 10 + 5
