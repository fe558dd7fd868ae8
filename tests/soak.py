"""Durable jobs under continuous faults: ``python -m tests.soak --minutes 10 --seed 1``.

Runners, workers and the broker are killed and frozen at random while jobs are submitted. At the
end everything that was accepted must have ended, with one result each and none of a stale attempt,
and the webhook of each must have been told.
"""

import argparse
import asyncio
import random
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from mesh import logs
from tests.support.job_faults import FAULTS, Processes, chaotic_mesh, strike

SETTLE_WITHIN = 120.0
"""Seconds for everything to end when nothing dies any more."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much: jobs in all, faults one after the other, seconds from one to the next."""

    seed: int
    jobs: int
    faults: int
    pause: float


async def soak(folder: Path, plan: Plan) -> Counter[str]:
    """Run the plan and return the counts; fails if a guarantee was broken."""
    chance = random.Random(plan.seed)  # noqa: S311 - repeatable, not secret
    async with chaotic_mesh(folder, flags=("--scripted-ttft-ms=30",)) as (processes, checker):
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_harm(processes, plan, chance))
            gap = plan.faults * plan.pause / plan.jobs
            for number in range(plan.jobs):
                tasks.create_task(checker.submit(number))
                await asyncio.sleep(gap)
        return await checker.verdict(SETTLE_WITHIN)


async def _harm(processes: Processes, plan: Plan, chance: random.Random) -> None:
    for _ in range(plan.faults):
        await strike(processes, chance.choice(FAULTS), chance, plan.pause)


def main() -> None:
    """Run from the command line and print the counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs-per-minute", type=int, default=600)
    args = parser.parse_args()
    pause = 3.0
    logs.configure(logs.LogLevel.WARNING)
    plan = Plan(
        seed=args.seed,
        jobs=int(args.minutes * args.jobs_per_minute),
        faults=int(args.minutes * 60 / pause),
        pause=pause,
    )
    with tempfile.TemporaryDirectory(prefix="mesh-soak-") as folder:
        counts = asyncio.run(soak(Path(folder), plan))
    print(f"seed {plan.seed}:", ", ".join(f"{count} {what}" for what, count in counts.items()))
    print("nothing accepted was lost, no job has two results, every end was told")


if __name__ == "__main__":
    main()
