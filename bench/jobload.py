"""The client of the durable jobs' rows: ``python -m bench.jobload NATS CREDS``, its own process."""

import argparse
import asyncio
from pathlib import Path
from time import perf_counter

import msgspec
import uvloop

from bench.load import Percentiles, percentiles
from mesh import logs
from mesh.bus import BusSettings, connect
from mesh.jobs.client import Jobs
from schemas.inference import ChatMessage, InferRequest
from schemas.jobs import Submit

NOBODY = "nobody-serves-this"


class JobLoad(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured: seconds, and jobs per second."""

    whole: Percentiles
    """From submission to result, one after the other."""
    rate: float
    in_flight: int
    queued: int
    submit: Percentiles
    """Submission alone, with ``queued`` jobs waiting."""


def _order(number: int, model: str) -> Submit:
    text = f"job {number}"
    return Submit(
        request=InferRequest(
            model=model, messages=(ChatMessage(role="user", content=text),), max_tokens=1
        )
    )


async def _one_by_one(jobs: Jobs, model: str, seconds: float) -> Percentiles:
    times, end, number = [], perf_counter() + seconds, 0
    while perf_counter() < end:
        started, number = perf_counter(), number + 1
        await (await jobs.submit(_order(number, model))).result(timeout=30)
        times.append(perf_counter() - started)
    return percentiles(times)


async def _at_once(jobs: Jobs, model: str, seconds: float, in_flight: int) -> float:
    started = perf_counter()
    end, done = started + seconds, 0

    async def client() -> None:
        nonlocal done
        while perf_counter() < end:
            await (await jobs.submit(_order(done, model))).result(timeout=60)
            done += 1

    async with asyncio.TaskGroup() as tasks:
        for _ in range(in_flight):
            tasks.create_task(client())
    return done / (perf_counter() - started)


async def _fill(jobs: Jobs, count: int) -> None:
    numbers = iter(range(count))

    async def client() -> None:
        for number in numbers:
            await jobs.submit(_order(number, NOBODY))

    async with asyncio.TaskGroup() as tasks:
        for _ in range(64):
            tasks.create_task(client())


async def _submissions(jobs: Jobs, count: int) -> Percentiles:
    times = []
    for number in range(count):
        started = perf_counter()
        await jobs.submit(_order(number, NOBODY))
        times.append(perf_counter() - started)
    return percentiles(times)


async def _measure(args: argparse.Namespace) -> JobLoad:
    settings = BusSettings(url=args.nats, creds=args.creds, role="client")
    logs.configure(logs.LogLevel.WARNING)
    async with connect(settings) as bus:
        jobs = Jobs(bus, "bench")
        await _one_by_one(jobs, args.model, 0.3)
        whole = await _one_by_one(jobs, args.model, args.seconds)
        rate = await _at_once(jobs, args.model, args.seconds, args.in_flight)
        await _fill(jobs, args.queued)
        submit = await _submissions(jobs, 300)
    return JobLoad(
        whole=whole, rate=rate, in_flight=args.in_flight, queued=args.queued, submit=submit
    )


def main() -> None:
    """Measure, and print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("nats")
    parser.add_argument("creds", type=Path)
    parser.add_argument("--model", default="scripted")
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--in-flight", type=int, default=64)
    parser.add_argument("--queued", type=int, default=100_000)
    args = parser.parse_args()
    print(msgspec.json.encode(uvloop.run(_measure(args))).decode())


if __name__ == "__main__":
    main()
