"""A thousand workers that do nothing but advertise, and a router that follows them."""

import argparse
import asyncio
import itertools
import random
import time

import uvloop

from mesh import logs, subjects
from mesh.background import background
from mesh.bus import Bus, BusSettings, connect
from mesh.fleet import Fleet
from mesh.router import Router
from schemas.fleet import Advert, ModelStatus, Tier
from schemas.wire import Message, encode

WORKERS = 1000
TICKS = 50
"""Bursts per second: a thousand real workers never speak all at once."""
LISTEN_BEFORE = 2.0
"""Seconds of adverts before counting, so that every worker is known."""


def advert(number: int, sequence: int, slots_free: int) -> Advert:
    """Return what a worker of ordinary size says."""
    chance = random.Random(number)  # noqa: S311 - rates only
    status = ModelStatus(
        name="spark",
        digest="0" * 64,
        context=4096,
        slots=4,
        slots_free=slots_free,
        kv_free=4096,
        prefill_rate=chance.uniform(200, 2000),
        decode_rate=chance.uniform(10, 100),
        abilities=("tools", "structured_output", "logprobs"),
    )
    return Advert(
        worker=f"worker-{number:04}",
        tier=Tier.EDGE,
        incarnation=f"w{number:016x}",
        sequence=sequence,
        labels={"room": f"r{number % 10}"},
        memory_free=8 << 30,
        models=(status,),
    )


async def send(bus: Bus) -> None:
    """Advertise every worker once a second, until stopped."""
    started = time.monotonic()
    for tick in itertools.count():
        for number in range(tick % TICKS, WORKERS, TICKS):
            message = advert(number, sequence=tick // TICKS + 1, slots_free=tick % 5)
            bus.post(subjects.capacity(message.tier, message.worker), encode(message))
        await asyncio.sleep(started + (tick + 1) / TICKS - time.monotonic())


class Followed(Message, frozen=True, kw_only=True):
    """What following adverts took. used: seconds of processor time."""

    adverts: int
    seconds: float
    used: float


async def listen(bus: Bus, seconds: float) -> Followed:
    """Follow the fleet as a gateway does, and return what that takes."""
    fleet = Fleet()
    async with background(Router(bus, fleet).run):
        await asyncio.sleep(LISTEN_BEFORE)
        heard, began, used = _adverts(fleet), time.perf_counter(), time.process_time()
        await asyncio.sleep(seconds)
        used, elapsed = time.process_time() - used, time.perf_counter() - began
    return Followed(adverts=_adverts(fleet) - heard, seconds=elapsed, used=used)


def _adverts(fleet: Fleet) -> int:
    return sum(node.advert.sequence for node in fleet.nodes())


async def main(nats: str, seconds: float | None) -> None:
    """Send, or with a time to listen for, print what that cost."""
    async with connect(BusSettings(url=nats)) as bus:
        if seconds is None:
            await send(bus)
        else:
            print(encode(await listen(bus, seconds)).decode())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("nats")
    parser.add_argument("--send", action="store_true")
    parser.add_argument("--seconds", type=float, default=5.0)
    arguments = parser.parse_args()
    logs.configure(logs.LogLevel.WARNING)
    uvloop.run(main(arguments.nats, None if arguments.send else arguments.seconds))
