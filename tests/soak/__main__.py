"""``python -m tests.soak --minutes 10 --seed 1``: durable jobs while everything dies.

On three brokers, or on one, runners, workers, gateways and brokers are killed, frozen, cut off and
restarted in an order that the seed gives, while jobs and batches are submitted. At the end
everything that was accepted must have ended, with one result each and none of a stale attempt, the
webhook of each must have been told, and each line of a batch must have come out once. Whatever does
not hold ends it with 1 and says what it was.
"""

import argparse
import asyncio
import sys
import tempfile
from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.table import Table

from mesh import logs
from tests.soak import one, three
from tests.soak.one import Plan

PAUSE = 4.0
"""Seconds from one fault to the next."""
SOAKS = {1: one.soak, 3: three.soak}


def main() -> int:
    """Run from the command line and print the counts."""
    args = _parse()
    logs.configure(logs.LogLevel.ERROR)
    plan = Plan(
        seed=args.seed,
        jobs=int(args.minutes * args.jobs_per_minute),
        faults=int(args.minutes * 60 / PAUSE),
        pause=PAUSE,
    )
    title = f"seed {plan.seed}, {args.minutes:g} minutes, {args.brokers} brokers"
    with tempfile.TemporaryDirectory(prefix="mesh-soak-") as folder:
        counts = asyncio.run(SOAKS[args.brokers](Path(folder), plan))
    _show(counts, title)
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs-per-minute", type=int, default=300)
    parser.add_argument("--brokers", type=int, choices=SOAKS, default=3)
    return parser.parse_args()


def _show(counts: Counter[str], title: str) -> None:
    table = Table(title=title)
    table.add_column("what")
    table.add_column("count", justify="right")
    for what, count in counts.items():
        table.add_row(what, str(count))
    Console().print(table)
    print("nothing accepted was lost, no job has two results, every end was told")


if __name__ == "__main__":
    sys.exit(main())
