"""Telling workers to load or unload a model, and watching them do it."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import anyio
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from cli.directory import heard
from cli.life import run
from cli.options import BusOptions, LogOptions
from mesh import subjects
from mesh.errors import ModelNotFound, NoCapacity
from mesh.fleet import Fleet
from mesh.seats import Seat
from schemas.fleet import ModelState, Tier
from schemas.inference import ModelOrder
from schemas.wire import encode

LOOK_EVERY = 0.1


class Action(StrEnum):
    """What a worker is told to do with a model."""

    LOAD = "load"
    UNLOAD = "unload"


@dataclass(frozen=True, kw_only=True)
class Order:
    """What to do with a model; worker: ``None`` for all that have it."""

    action: Action
    model: str
    worker: str | None = None

    @property
    def wanted(self) -> ModelState:
        """The state that fulfils it."""
        return ModelState.READY if self.action is Action.LOAD else ModelState.AVAILABLE


def give(order: Order, bus: BusOptions, state: Path, log: LogOptions) -> None:
    """Send an order and wait until it is carried out; raises ``MeshError`` if it cannot be."""

    async def main() -> None:
        async with heard(bus, state) as (connection, fleet):
            seats = _seats(fleet, order)
            payload = encode(ModelOrder(model=order.model))
            for seat in seats:
                connection.post(subjects.work(*seat.node.key, order.action), payload)
            await connection.flush()
            await _follow(fleet, order, seats)

    run(main, log)


def _seats(fleet: Fleet, order: Order) -> Sequence[Seat]:
    seats = [
        seat
        for seat in fleet.seats(order.model, Tier.EDGE)
        if order.worker in (None, seat.node.key[1])
    ]
    if not seats:
        who = f"worker {order.worker}" if order.worker else "no edge worker"
        raise ModelNotFound(f"{who} has {'no' if order.worker else 'a'} model {order.model!r}")
    return seats


async def _follow(fleet: Fleet, order: Order, seats: Sequence[Seat]) -> None:
    """Show how far the workers are until all have done it; one that fails ends the wait."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    console = Console(file=sys.stderr)
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        bars = [progress.add_task(_label(seat), total=1.0) for seat in seats]
        while any(seat.status.state is not order.wanted for seat in seats):
            for bar, seat in zip(bars, seats, strict=True):
                progress.update(bar, completed=seat.status.progress)
                _check(seat)
            await anyio.sleep(LOOK_EVERY)
            fleet.prune()
    for seat in seats:
        sys.stdout.write(f"{_label(seat)}: {seat.status.state}\n")


def _check(seat: Seat) -> None:
    if seat.status.state is ModelState.FAILED:
        raise NoCapacity(f"{_label(seat)}: {seat.status.detail}")


def _label(seat: Seat) -> str:
    return f"{seat.status.name} on {seat.node.key[1]}"
