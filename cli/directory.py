"""What the commands that look at the mesh share: listening to it, and showing what they heard."""

import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import anyio
import msgspec
from cyclopts import Parameter
from rich.console import Console
from rich.live import Live
from rich.table import Table

from cli.bus import bus_settings
from cli.life import run
from cli.options import BusOptions, LogOptions, OutputOptions, group
from mesh.accounts import Role
from mesh.bus import Bus, connect
from mesh.fleet import ADVERT_INTERVAL, Fleet

LISTEN = 1.25 * ADVERT_INTERVAL
"""Seconds in which every live worker has been heard."""

PIPED_WIDTH = 200
"""Columns of a table that is not shown on a terminal, so that nothing is cut off."""


@group("Output")
@dataclass(frozen=True, kw_only=True)
class WatchOptions:
    """Whether to go on looking."""

    watch: Annotated[bool, Parameter(negative=())] = False
    """Keep the table up to date until Ctrl-C."""


@dataclass(frozen=True, kw_only=True)
class View:
    """One thing to look at: as records for machines, and as a table for people."""

    records: Callable[[Fleet], list[Any]]
    table: Callable[[Fleet], Table]


def show(
    view: View,
    bus: BusOptions,
    state: Path,
    output: OutputOptions,
    watch: WatchOptions,
    log: LogOptions,
) -> None:
    """Print a view of the mesh."""

    async def main() -> None:
        async with heard(bus, state) as (_, fleet):
            if output.json:
                _print_json(view.records(fleet))
            elif watch.watch:
                await _follow(view, fleet)
            else:
                _print_table(view.table(fleet))

    run(main, log)


@asynccontextmanager
async def heard(options: BusOptions, state: Path) -> AsyncIterator[tuple[Bus, Fleet]]:
    """Listen to the mesh for as long as it takes to hear everybody, and go on listening."""
    async with connect(bus_settings(options, state, Role.CLIENT, "mesh-cli")) as bus:
        fleet = Fleet()
        await fleet.watch(bus)
        await anyio.sleep(LISTEN)
        yield bus, fleet


def _print_json(records: list[Any]) -> None:
    text = msgspec.json.format(msgspec.json.encode(records)).decode()
    sys.stdout.write(text + "\n")


def _print_table(table: Table) -> None:
    if not table.row_count:
        sys.stderr.write("no worker is there now\n")
        return
    Console(width=None if sys.stdout.isatty() else PIPED_WIDTH).print(table)


async def _follow(view: View, fleet: Fleet) -> None:
    with Live(view.table(fleet), auto_refresh=False) as live:
        while True:
            await anyio.sleep(ADVERT_INTERVAL)
            fleet.prune()
            live.update(view.table(fleet), refresh=True)
