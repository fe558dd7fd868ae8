"""Whether a worker's bus side stays quick while all of the engine's threads are busy."""

import asyncio
from itertools import pairwise
from pathlib import Path
from time import perf_counter

import anyio
import uvloop

from bench import targets, words
from bench.chats import Client, chat
from bench.failures import BenchError
from bench.figures import Figure, Goal, Row
from bench.load import Percentiles, percentiles
from bench.targets import Target, Workshop
from bench.weights import NAME, benchmark_model
from mesh import runfile, subjects
from mesh.accounts import Role
from mesh.bus import Bus, BusSettings, connect
from mesh.inbox import Delivery
from schemas.fleet import Advert, Tier
from schemas.inference import Dispatch, InferRequest
from schemas.wire import Message, decoder, encode

STREAMS = 4
"""All slots of the worker."""
CONTEXT = 1024
PROMPT, ANSWER = 64, 400
FRAME_MS = 20.0
ADVERT_SECONDS = 1.25
"""An advert is due every second; routers give up on a worker after three."""
PROBE_EVERY = 0.02
PATIENCE = 5.0
FOLDER = "responsiveness"

_adverts = decoder(Advert)


class Watched(Message, frozen=True, kw_only=True):
    """Milliseconds of round trips through a busy worker, and the longest silence in seconds."""

    trips: Percentiles
    num_trips: int
    num_adverts: int
    silence: float


def measure(shop: Workshop, seconds: float, rounds: int) -> Row:
    """Watch a worker of which every slot computes, for as long as the rounds together."""
    model = benchmark_model(shop.cache / "models")
    with targets.llama_mesh(shop, FOLDER, model, slots=STREAMS, context=CONTEXT) as mesh:
        shop.say(f"{STREAMS} streams")
        found = uvloop.run(_busy(mesh, shop.folder / FOLDER, seconds * rounds))
    return Row(figures=_figures(found), details=found)


async def _busy(mesh: Target, state: Path, seconds: float) -> Watched:
    """Keep every slot computing while the worker is watched."""
    async with Client(mesh.url) as client, anyio.create_task_group() as tasks:
        for number in range(STREAMS):
            tasks.start_soon(_compute, client, number)
        run = runfile.require(state)
        creds = Path(run.creds[Role.CLIENT])
        async with connect(BusSettings(url=run.nats, creds=creds, role=Role.CLIENT)) as bus:
            found = await _watch(bus, seconds)
        tasks.cancel_scope.cancel()
    return found


async def _compute(client: Client, number: int) -> None:
    for repeat in range(1_000_000):
        text = words.prompt(PROMPT, STREAMS * repeat + number)
        await client.ask(chat(NAME, [("user", text)], ANSWER))


async def _watch(bus: Bus, seconds: float) -> Watched:
    """Probe the worker that advertises; those adverts must come in time, too."""
    heard: list[float] = []
    worker: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def hear(delivery: Delivery) -> None:
        heard.append(perf_counter())
        if not worker.done():
            worker.set_result(_adverts.decode(delivery.payload).worker)

    await bus.subscribe(subjects.all_capacity(Tier.EDGE), hear)
    with anyio.fail_after(PATIENCE):
        subject = subjects.work(Tier.EDGE, await worker, "infer")
    trips: list[float] = []
    until = perf_counter() + seconds
    while (asked := perf_counter()) < until:
        await bus.request(subject, _probe(len(trips)), PATIENCE)
        trips.append(perf_counter() - asked)
        await anyio.sleep(PROBE_EVERY)
    if len(heard) < 2:
        raise BenchError("the worker advertised once only")
    return Watched(
        trips=percentiles(trips),
        num_trips=len(trips),
        num_adverts=len(heard),
        silence=max(end - start for start, end in pairwise(heard)),
    )


def _probe(number: int) -> bytes:
    """Return an order that the agent refuses at once, by a frame like any other."""
    request = InferRequest(model="a model that nobody has")
    work = Dispatch(attempt=f"probe-{number}", router="probe", remaining_ms=5000, request=request)
    return encode(work)


def _figures(found: Watched) -> tuple[Figure, ...]:
    return (
        Figure(
            name=f"order and frame, there and back, p99, while {STREAMS} slots compute",
            unit="ms",
            value=found.trips.p99,
            goal=Goal(text=f"≤ {FRAME_MS:g} ms", at_most=FRAME_MS),
            note=f"p50 {found.trips.p50:.2f} ms, {found.num_trips} round trips",
        ),
        Figure(
            name="longest silence between adverts meanwhile",
            unit="s",
            value=found.silence,
            goal=Goal(text=f"≤ {ADVERT_SECONDS:g} s", at_most=ADVERT_SECONDS),
            note=f"{found.num_adverts} adverts",
        ),
    )
