"""``mesh gateway --processes N``: a parent that keeps N gateways on one address, and their sums.

Each is the ordinary gateway with a router and a bus connection of its own. They share nothing but
the address and a folder of counters, which any of them adds up for ``GET /metrics``.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import anyio
import structlog
from prometheus_client.multiprocess import mark_process_dead

from cli.doorway import Doorway, Sharing, doorway
from cli.life import Stop
from cli.options import (
    BusOptions,
    GatewayOptions,
    LifeOptions,
    LogOptions,
    PriceOptions,
    StateOptions,
    arguments,
)
from cli.readiness import Announcer, Ready
from cli.supervisor import LAST_CALL, Part, PartSettings, describe, start_together, stop_in_order
from gateway.app import Address
from gateway.exposition import FOLDER

log = structlog.get_logger("mesh.gateways")


@dataclass(frozen=True, kw_only=True)
class Family:
    """What all processes are told."""

    gateway: GatewayOptions
    prices: PriceOptions
    bus: BusOptions
    state: StateOptions
    life: LifeOptions
    log: LogOptions

    def part(self, number: int, door: Doorway, counters: str) -> PartSettings:
        """Return the process of a number."""
        words = (
            *arguments(replace(self.gateway, gateway_processes=1, http=door.address)),
            *arguments(self.prices),
            *arguments(self.bus),
            *arguments(self.state),
            *arguments(self.log),
            f"--drain-timeout={self.life.drain_timeout}",
        )
        return PartSettings(
            name=f"gateway-{number}",
            command=lambda _: ["gateway", *words],
            listener=door.listener,
            environment={FOLDER: counters},
        )


class Watch:
    """Logs what the processes do, and takes the dead out of the sums of what is now."""

    def __init__(self, counters: str) -> None:
        self._counters = counters

    def starting(self, part: Part, text: str) -> None:
        """Say nothing: the process logs for itself."""

    def ready(self, part: Part, notice: Ready, seconds: float) -> None:
        """Say that a process serves."""
        log.info("process.ready", part=part.name, pid=part.pid, seconds=round(seconds, 3))

    def lost(self, part: Part, status: int, pause: float) -> None:
        """Say that a process died and is started again."""
        log.warning("process.lost", part=part.name, how=describe(status), again_in=pause)
        mark_process_dead(part.pid, self._counters)  # type: ignore[no-untyped-call]  # no annotations

    def ended(self, part: Part) -> None:
        """Say that a process has ended in good order."""
        log.info("process.ended", part=part.name)


async def serve(family: Family, sharing: Sharing, announcer: Announcer, stop: Stop) -> None:
    """Run the processes until told to stop; then let all drain at the same time.

    Raises ``CannotShare`` for an address that cannot be bound, ``PartFailed`` if a process does not
    come up the first time.
    """
    with doorway(family.gateway.http, sharing) as door, _counters() as counters:
        watch = Watch(counters)
        parts = [
            Part(family.part(number, door, counters), watch)
            for number in range(1, family.gateway.gateway_processes + 1)
        ]
        async with anyio.create_task_group() as tasks:
            await start_together(parts, tasks)
            announcer.ready(Address(door.address.host, door.address.port).url, str(door.address))
            await stop.asked.wait()
            announcer.stopping()
            await stop_in_order((parts,), family.life.drain_timeout + LAST_CALL)
            tasks.cancel_scope.cancel()  # kills what is left


@contextmanager
def _counters() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="mesh-counters-") as folder:
        yield folder
