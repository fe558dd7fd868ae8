"""``python -m tests.fuzz --bodies 100000 --seed 1``: whatever is sent, nothing is a server error.

Sends generated bodies to every endpoint of the description that takes one; ends with 1 if any
answer is a 5xx, has a status or a form that is not described, or does not come.
"""

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import uvloop
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from mesh import logs
from tests.conformance.target import target
from tests.fuzz.campaign import SCRIPTED, Tally, fire
from tests.support.batches import batch_mesh

Serve = Callable[[Path], AbstractAsyncContextManager[str]]


def main() -> int:
    """Run a campaign and print what came of it."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--bodies", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 2**32)
    parser.add_argument("--llama", action="store_true", help="llama.cpp instead of the script")
    arguments = parser.parse_args()
    console = Console()
    logs.configure(logs.LogLevel.ERROR)  # of the parts that run in this process
    console.print(f"seed {arguments.seed}, {arguments.bodies:,} bodies", highlight=False)
    began = time.monotonic()
    tally = uvloop.run(
        _campaign(
            _target if arguments.llama else _script, arguments.bodies, arguments.seed, console
        )
    )
    _show("endpoint", tally.statuses, console)
    _show("damage", tally.damages, console)
    for fault in tally.faults[:20]:
        console.print(fault, style="red", markup=False, highlight=False)
    seconds = time.monotonic() - began
    console.print(f"{len(tally.faults)} faults in {seconds:.0f} s, seed {arguments.seed}")
    return 1 if tally.faults else 0


@asynccontextmanager
async def _script(folder: Path) -> AsyncIterator[str]:
    """Serve the scripted engine: fast, and what it cannot do is refused at the gateway."""
    async with batch_mesh(folder, settings=SCRIPTED) as mesh:
        yield mesh.url


@asynccontextmanager
async def _target(folder: Path) -> AsyncIterator[str]:
    """Serve models that can do everything."""
    async with target(folder) as url:
        yield url.removesuffix("/v1")


async def _campaign(serve: Serve, bodies: int, seed: int, console: Console) -> Tally:
    with (
        tempfile.TemporaryDirectory(prefix="mesh-fuzz-") as folder,
        Progress(console=console) as progress,
    ):
        task = progress.add_task("bodies", total=bodies)
        async with serve(Path(folder)) as url:
            return await fire(url, bodies, seed, lambda done: progress.advance(task, done))


def _show(title: str, counts: Counter[tuple[str, int]], console: Console) -> None:
    statuses = sorted({status for _, status in counts})
    table = Table(title, *(str(status) for status in statuses))
    for name in dict.fromkeys(name for name, _ in counts):
        table.add_row(name, *(f"{counts[name, status]:,}" for status in statuses))
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
