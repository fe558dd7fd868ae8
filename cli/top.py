"""``mesh top``: the whole mesh on one screen, live.

Workers come from the bus; queue, flow and failures from a gateway's dashboard feed where one is
known. Either alone is enough.
"""

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import anyio
from cyclopts import Parameter
from rich.console import Console, RenderableType
from rich.live import Live

from cli.bus import bus_settings
from cli.directory import LISTEN, PIPED_WIDTH
from cli.feed import GatewayFeed
from cli.life import run
from cli.options import BusOptions, LogOptions, StateOptions, TopOptions, UsageError, group
from cli.screen import Screen, adverts_only, combined
from mesh import runfile
from mesh.accounts import Role
from mesh.background import background
from mesh.bus import BusSettings, connect
from mesh.fleet import Fleet
from schemas.dashboard import Snapshot

EVERY = 1.0
"""Seconds between frames."""
FIRST_WITHIN = 3.0
"""Seconds to wait for a gateway's first snapshot before the frame is printed without it."""


@group("Output")
@dataclass(frozen=True, kw_only=True)
class OnceOptions:
    """How long to look."""

    once: Annotated[bool, Parameter(negative=())] = False
    """Print one frame and exit; always so where standard output is no terminal."""


def top(
    *,
    options: TopOptions = TopOptions(),
    output: OnceOptions = OnceOptions(),
    bus: BusOptions = BusOptions(),
    state: StateOptions = StateOptions(),
    log: LogOptions = LogOptions(),
) -> None:
    """Show workers, slots, queue, tokens per second and failures, live, until Ctrl-C."""
    feed = _feed(options, state.state)
    way = _way(bus, state.state, feed)
    once = output.once or not sys.stdout.isatty()

    async def main() -> None:
        async with _fleet(way) as fleet, _following(feed):
            await _settle(fleet, feed)
            screen = Screen(feed.url if feed is not None else "")
            if once:
                width = None if sys.stdout.isatty() else PIPED_WIDTH // 2
                Console(width=width).print(_frame(screen, fleet, feed))
            else:
                await _show(screen, fleet, feed)

    run(main, log)


def _feed(options: TopOptions, state: Path) -> GatewayFeed | None:
    url = options.gateway_url
    if url is None:
        running = runfile.read(state.expanduser())
        url = running.base_url if running is not None else None
    if not url:
        return None
    name = options.gateway_key_env
    if name is not None and not os.environ.get(name):
        raise UsageError(f"--gateway-key-env {name}: this variable holds nothing")
    return GatewayFeed(url, os.environ[name] if name is not None else None)


def _way(bus: BusOptions, state: Path, feed: GatewayFeed | None) -> BusSettings | None:
    """Return the way to the bus; none if only a gateway was named."""
    if feed is not None and bus.nats is None and runfile.read(state.expanduser()) is None:
        return None
    return bus_settings(bus, state, Role.CLIENT, "mesh-top")


@asynccontextmanager
async def _fleet(way: BusSettings | None) -> AsyncIterator[Fleet | None]:
    if way is None:
        yield None
        return
    async with connect(way) as connection:
        fleet = Fleet()
        await fleet.watch(connection)
        yield fleet


@asynccontextmanager
async def _following(feed: GatewayFeed | None) -> AsyncIterator[None]:
    if feed is None:
        yield
        return
    async with background(feed.run):
        yield


async def _settle(fleet: Fleet | None, feed: GatewayFeed | None) -> None:
    """Wait until every worker has been heard, and the gateway, if it answers."""
    async with anyio.create_task_group() as waits:
        if fleet is not None:
            waits.start_soon(anyio.sleep, LISTEN)
        if feed is not None:
            with anyio.move_on_after(FIRST_WITHIN):
                await feed.tried.wait()


def _look(fleet: Fleet | None, feed: GatewayFeed | None) -> Snapshot | None:
    told = feed.latest if feed is not None else None
    if fleet is None:
        return told
    fleet.prune()
    heard = adverts_only(fleet)
    return heard if told is None else combined(heard, told)


def _frame(screen: Screen, fleet: Fleet | None, feed: GatewayFeed | None) -> RenderableType:
    return screen.frame(_look(fleet, feed), feed.lost if feed is not None else "")


async def _show(screen: Screen, fleet: Fleet | None, feed: GatewayFeed | None) -> None:
    with Live(screen=True, auto_refresh=False) as live:
        while True:
            live.update(_frame(screen, fleet, feed), refresh=True)
            await anyio.sleep(EVERY)
