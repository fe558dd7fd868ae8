"""Durable jobs and batches on three brokers, while everything is killed, frozen and cut off."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from cli.buckets import stores
from mesh.accounts import Role
from mesh.broker import Broker
from mesh.clock import monotonic
from mesh.jobs.client import Jobs
from tests.soak.acts import ACTS, whole
from tests.soak.batches import BatchLoad
from tests.soak.one import SETTLE_WITHIN, Plan, submit_all
from tests.support.cluster import SIZE, Cluster, cluster_in
from tests.support.job_faults import (
    FAULTS,
    GATEWAY_FAULTS,
    Checker,
    Processes,
    keeping,
    strike,
)
from tests.support.jobs import SMALL
from tests.support.leaders import ELECTION, stored
from tests.support.mesh import bus_of
from tests.support.receiver import receiver
from tests.support.wait import until_async

KINDS = ("runner", "worker", "gateway") * 2
KEEP_ASKING = 120.0
"""Seconds for which a submission is repeated: a broker that is cut off answers for 30 of them."""
LINES, BATCH_EVERY = 200, 60.0
"""Requests of a file, and seconds from one file to the next."""
FILES_MB = 64
REST = (2.0, 8.0)
"""Seconds between two acts: from, to."""


@dataclass(frozen=True)
class Stage:
    """Everything that the acts are played on."""

    cluster: Cluster
    processes: Processes
    checker: Checker
    batches: BatchLoad


async def soak(folder: Path, plan: Plan) -> Counter[str]:
    """Run the plan and return the counts; fails if a guarantee was broken."""
    counts = Counter[str]()
    async with stage_in(folder, plan) as stage:
        over = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            asker = stage.checker.hasty(1.0)
            tasks.create_task(asker.follow(stage.checker.accepted, over))
            async with asyncio.TaskGroup() as load:
                load.create_task(_harm_processes(stage, plan, counts))
                load.create_task(_harm_brokers(stage, plan, counts))
                load.create_task(_submit_batches(stage, plan, load))
                await submit_all(stage.checker, plan, load)
            over.set()
        counts.update(await stage.checker.verdict(SETTLE_WITHIN))
        counts.update(stage.batches.counts)
        faults = stage.batches.faults
        assert not faults, f"{len(faults)}: {faults[:5]} in {dict(counts)}"
    return counts


@asynccontextmanager
async def stage_in(folder: Path, plan: Plan) -> AsyncIterator[Stage]:
    """Run three brokers, two of each kind of process, and a checker that follows them."""
    async with AsyncExitStack() as stack:
        cluster = await stack.enter_async_context(cluster_in(folder))
        broker = cast("Broker", cluster)
        await until_async(lambda: _ready(broker), within=ELECTION)
        bus = await stack.enter_async_context(bus_of(broker, Role.CLIENT))
        hook = await stack.enter_async_context(receiver())
        checker = Checker(Jobs(bus, "default", keep_asking=KEEP_ASKING), hook)
        await checker.listen(bus)
        flags = ("--scripted-ttft-ms=30",)
        processes = Processes(broker, folder, flags, (f"--job-replicas={SIZE}",))
        await stack.enter_async_context(keeping(processes, *KINDS))
        chance = random.Random(plan.seed)  # noqa: S311 - repeatable, not secret
        batches = BatchLoad(processes, chance, LINES, patience=300.0)
        yield Stage(cluster, processes, checker, batches)


async def _ready(broker: Broker) -> bool:
    if not await stored(broker, replace(SMALL, replicas=SIZE)):
        return False
    async with bus_of(broker, Role.ADMIN) as admin:
        for store, _ in stores(admin, FILES_MB, SIZE):
            await store.ensure()
    return True


async def _submit_batches(stage: Stage, plan: Plan, tasks: asyncio.TaskGroup) -> None:
    for number in range(max(1, int(plan.faults * plan.pause / BATCH_EVERY))):
        tasks.create_task(stage.batches.run(number))
        await asyncio.sleep(BATCH_EVERY)


async def _harm_processes(stage: Stage, plan: Plan, counts: Counter[str]) -> None:
    chance = random.Random(plan.seed + 1)  # noqa: S311 - repeatable, not secret
    for _ in range(plan.faults):
        fault = chance.choice((*FAULTS, *GATEWAY_FAULTS))
        counts[fault.name] += 1
        await strike(stage.processes, fault, chance, plan.pause)


async def _harm_brokers(stage: Stage, plan: Plan, counts: Counter[str]) -> None:
    """Play all acts in one order, then in another, until the time is over."""
    chance = random.Random(plan.seed + 2)  # noqa: S311 - repeatable, not secret
    began = monotonic()
    over = began + plan.faults * plan.pause
    while monotonic() < over:
        for act in chance.sample(ACTS, len(ACTS)):
            print(f"{monotonic() - began:5.0f} s: {act.name}", flush=True)
            await act.play(stage.cluster)
            await whole(stage.cluster)
            counts[act.name] += 1
            await asyncio.sleep(chance.uniform(*REST))
            if monotonic() >= over:
                break
