"""Durable jobs on one broker: runners, workers and the broker are killed and frozen at random."""

import asyncio
import random
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tests.support.job_faults import (
    BROKER_FAULT,
    FAULTS,
    Checker,
    Processes,
    chaotic_mesh,
    strike,
)

SETTLE_WITHIN = 120.0
"""Seconds for everything to end when nothing dies any more."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much: jobs in all, faults one after the other, seconds from one to the next."""

    seed: int
    jobs: int
    faults: int
    pause: float

    @property
    def gap(self) -> float:
        """Seconds from one submission to the next."""
        return self.faults * self.pause / self.jobs


async def soak(folder: Path, plan: Plan) -> Counter[str]:
    """Run the plan and return the counts; fails if a guarantee was broken."""
    chance = random.Random(plan.seed)  # noqa: S311 - repeatable, not secret
    async with chaotic_mesh(folder, flags=("--scripted-ttft-ms=30",)) as (processes, checker):
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_harm(processes, plan, chance))
            await submit_all(checker, plan, tasks)
        return await checker.verdict(SETTLE_WITHIN)


async def submit_all(checker: Checker, plan: Plan, tasks: asyncio.TaskGroup) -> None:
    """Submit the plan's jobs at its pace."""
    for number in range(plan.jobs):
        tasks.create_task(checker.submit(number))
        await asyncio.sleep(plan.gap)


async def _harm(processes: Processes, plan: Plan, chance: random.Random) -> None:
    for _ in range(plan.faults):
        await strike(processes, chance.choice((*FAULTS, BROKER_FAULT)), chance, plan.pause)
