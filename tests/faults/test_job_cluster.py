"""Durable jobs on three brokers that are killed, frozen, cut off and restarted."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import cast

import pytest

from mesh.broker import Broker
from mesh.subjects import JobSide
from tests.support.cluster import SIZE, Cluster, Side, cluster_in
from tests.support.job_faults import LEASE, Checker
from tests.support.jobs import SMALL, jobs_of, runner_of
from tests.support.leaders import ELECTION, GLANCE, is_back, is_whole, leader_of, stored
from tests.support.mesh import scripted_worker
from tests.support.wait import until_async

COPIED = replace(SMALL, lease=LEASE, replicas=SIZE, answer_within=1.0)
HASTE = 2.0
"""Seconds for which a client asks that is to be refused."""
BEYOND_ITS_REIGN = 15.0
"""Seconds after which a leader without followers has given up, which it does after ten."""


async def submit(checker: Checker, numbers: range) -> None:
    await asyncio.gather(*(checker.submit(number) for number in numbers))


@dataclass
class Trial:
    """A cluster with a runner and a worker, and a checker of what becomes of jobs there.

    leader: the server that led the records at first.
    """

    cluster: Cluster
    leader: int
    broker: Broker
    checker: Checker
    stack: AsyncExitStack

    async def checker_on(self, server: int) -> Checker:
        """Connect another runner and client, to one server alone."""
        side = cast("Broker", Side(self.cluster, (server,)))
        await self.stack.enter_async_context(runner_of(side, JobSide.ANY, COPIED))
        return Checker(await self.stack.enter_async_context(jobs_of(side)))


@asynccontextmanager
async def trial_in(folder: Path, *, beside_leader: bool = False) -> AsyncIterator[Trial]:
    """Run it all; ``beside_leader``: runner, worker and client have the other servers alone."""
    async with AsyncExitStack() as stack:
        cluster = await stack.enter_async_context(cluster_in(folder))
        await until_async(lambda: stored(cast("Broker", cluster), COPIED), within=ELECTION)
        leader = await leader_of(cast("Broker", cluster))
        servers = tuple(each for each in range(SIZE) if each != leader or not beside_leader)
        broker = cast("Broker", Side(cluster, servers))
        jobs = await stack.enter_async_context(jobs_of(broker))
        checker = Checker(jobs)
        await checker.listen(jobs._bus)
        await stack.enter_async_context(scripted_worker(broker))
        await stack.enter_async_context(runner_of(broker, JobSide.ANY, COPIED, "scripted"))
        yield Trial(cluster, leader, broker, checker, stack)


async def test_a_killed_leader_is_replaced(tmp_path: Path) -> None:
    """The leader of the records dies while jobs are submitted, and so does the next one.

    Each job is accepted, and is one job.
    """
    async with trial_in(tmp_path) as trial:
        await submit(trial.checker, range(5))
        for start in (5, 15):
            leader = await leader_of(trial.broker)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(submit(trial.checker, range(start, start + 10)))
                await trial.cluster.kill(leader)
            assert len(trial.checker.accepted) == start + 10
            await trial.cluster.start(leader)
            await until_async(lambda: is_whole(trial.broker), within=ELECTION)
        counts = await trial.checker.verdict(60)
        assert counts["accepted"] == counts["succeeded"] == 25


async def test_without_a_majority_nothing_is_accepted_and_nothing_lost(tmp_path: Path) -> None:
    """With two of three dead no job is taken, and those that were taken before are done later."""
    async with trial_in(tmp_path) as trial:
        await submit(trial.checker, range(10))
        await asyncio.gather(trial.cluster.kill(0), trial.cluster.kill(1))
        await submit(trial.checker.hasty(HASTE), range(100, 103))
        assert (trial.checker.refused.total(), len(trial.checker.accepted)) == (3, 10)
        await asyncio.gather(trial.cluster.start(0), trial.cluster.start(1))
        await submit(trial.checker, range(200, 205))
        counts = await trial.checker.verdict(ELECTION)
        assert counts["accepted"] == counts["succeeded"] == 15


async def test_all_brokers_killed_at_once_lose_nothing(tmp_path: Path) -> None:
    """They die while jobs are computed; back again, every accepted one is done."""
    async with trial_in(tmp_path) as trial:
        await submit(trial.checker, range(20))
        await asyncio.gather(*(trial.cluster.kill(number) for number in range(SIZE)))
        await asyncio.gather(*(trial.cluster.start(number) for number in range(SIZE)))
        await submit(trial.checker, range(200, 205))
        counts = await trial.checker.verdict(ELECTION)
        assert counts["accepted"] == counts["succeeded"] == 25


async def is_led_by_another(broker: Broker, leader: int) -> bool:
    return await leader_of(broker) != leader


async def test_a_frozen_leader_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the leader of the records stopped, another one is elected; thawed, it doubles none."""
    monkeypatch.setattr("tests.support.mesh.PING_EVERY", 1.0)
    async with trial_in(tmp_path) as trial:
        await submit(trial.checker, range(5))
        leader = await leader_of(trial.broker)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(submit(trial.checker, range(5, 15)))
            trial.cluster.freeze(leader)
        assert len(trial.checker.accepted) == 15
        # One of the others tells it by now; not all of them need to know.
        await until_async(partial(is_led_by_another, trial.broker, leader), within=ELECTION)
        trial.cluster.thaw(leader)
        await until_async(lambda: is_whole(trial.broker), within=ELECTION)
        await submit(trial.checker, range(15, 20))
        counts = await trial.checker.verdict(60)
        assert counts["accepted"] == counts["succeeded"] == 20


async def test_the_minority_of_a_partition_accepts_nothing(tmp_path: Path) -> None:
    """A leader that is cut off acknowledges no job, though client and runner still reach it.

    The others elect another one and go on. What was refused may be submitted again when the cluster
    is whole, and is one job. Of what the others accepted nothing is said not to exist, neither
    while the leader is cut off nor while it catches up.
    """
    async with trial_in(tmp_path, beside_leader=True) as trial:
        lonely = await trial.checker_on(trial.leader)
        await submit(trial.checker, range(5))
        await submit(lonely, range(5))
        assert lonely.accepted == trial.checker.accepted
        trial.cluster.isolate(trial.leader)
        over, asker = asyncio.Event(), lonely.hasty(GLANCE)
        asked = asyncio.create_task(asker.follow(trial.checker.accepted, over))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(submit(lonely.hasty(BEYOND_ITS_REIGN), range(100, 103)))
            tasks.create_task(submit(trial.checker, range(5, 15)))
        assert (lonely.refused.total(), len(lonely.accepted)) == (3, 5)
        assert len(trial.checker.accepted) == 15
        assert await leader_of(trial.broker) != trial.leader
        trial.cluster.heal()
        await until_async(lambda: is_whole(trial.broker), within=ELECTION)
        over.set()
        await asked
        assert asker.unknown.total() == 0
        await submit(lonely, range(100, 103))
        await submit(trial.checker, range(100, 103))
        assert len(lonely.accepted) == 8
        assert lonely.accepted.items() <= trial.checker.accepted.items()
        counts = await trial.checker.verdict(60)
        assert counts["accepted"] == counts["succeeded"] == 18


async def test_brokers_restarted_one_by_one_under_load_lose_nothing(tmp_path: Path) -> None:
    """A rolling restart: each in good order, the next when all is whole; jobs come all the time."""
    async with trial_in(tmp_path) as trial:
        rolled = asyncio.Event()

        async def load() -> None:
            number = 0
            while not rolled.is_set():
                await submit(trial.checker, range(number, number + 5))
                number += 5

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(load())
            for number in range(SIZE):
                await trial.cluster.restart(number)
                await until_async(partial(is_back, trial.cluster, number), within=ELECTION)
            rolled.set()
        counts = await trial.checker.verdict(60)
        assert counts["refused"] == 0
        assert counts["accepted"] == counts["succeeded"] >= 15
