"""Background requests on a real broker: they take what is idle and give way, and lose nothing."""

import asyncio
from pathlib import Path
from typing import Any

from openai import AsyncOpenAI

from mesh import subjects
from mesh.accounts import Role
from mesh.router import Router
from schemas.fleet import Tier
from schemas.frames import Accepted, Beat, Delta, Failed, Frame, decode_frame
from schemas.inference import Completion, Dispatch, InferRequest, Policy, Urgency
from schemas.wire import encode
from tests.support.gateway import running_mesh
from tests.support.mesh import broker_in, bus_of, router_of, scripted_worker
from tests.support.requests import chat, complete, numbers, stream_text
from tests.support.wait import until
from workers.scripted import ScriptedSettings

TWO = ScriptedSettings(slots=2, tps=400, tokens=100)
ENDLESS = ScriptedSettings(slots=2, tps=1000, tokens=100_000)


def background(**changes: Any) -> InferRequest:
    return chat(urgency=Urgency.BACKGROUND, **changes)


def ask_all(router: Router, *requests: InferRequest) -> asyncio.Future[list[Completion]]:
    return asyncio.gather(*(complete(router, request) for request in requests))


async def test_interactive_requests_start_at_once_beside_a_full_line(tmp_path: Path) -> None:
    """Eight background streams on two slots delay nobody, and each comes whole in the end."""
    async with (
        broker_in(tmp_path) as broker,
        scripted_worker(broker, settings=TWO),
        router_of(broker, "scripted") as (router, _),
    ):
        texts = [
            asyncio.ensure_future(stream_text(router, background(stream=True))) for _ in range(8)
        ]
        await until(lambda: router.running == 2 and router.waiting("scripted") == 6)
        for _ in range(3):
            # Not one of them waits in line, though both slots are taken.
            pair = ask_all(router, chat(max_tokens=4), chat(max_tokens=4))
            await until(lambda: router.running == 4, within=0.2)
            assert router.waiting("scripted") <= 6
            assert [done.text for done in await pair] == [numbers(4)] * 2
        assert await asyncio.gather(*texts) == [numbers(100)] * 8


async def test_a_paused_answer_lives_and_goes_on(tmp_path: Path) -> None:
    """While interactive requests want all slots it only beats; then it goes on where it was."""
    async with (
        broker_in(tmp_path) as broker,
        scripted_worker(broker, settings=ENDLESS),
        router_of(broker, "scripted") as (router, _),
        router.open(background(stream=True, max_tokens=1000)) as paused,
    ):
        frames = aiter(paused)
        text = ""
        while not text:
            frame = await anext(frames)
            text += frame.text if isinstance(frame, Delta) else ""
        async with (
            router.open(chat(stream=True)) as one,
            router.open(chat(stream=True)) as two,
        ):
            await anext(aiter(one))
            await anext(aiter(two))
            while not isinstance(frame := await anext(frames), Beat):
                text += frame.text if isinstance(frame, Delta) else ""
            shown = text
        async for frame in frames:
            text += frame.text if isinstance(frame, Delta) else ""
    assert len(shown) < len(text)
    assert text == numbers(1000)


async def test_interactive_requests_overtake_background_ones_in_line(tmp_path: Path) -> None:
    """The next slot goes to the request that came last but that somebody waits for."""
    one = ScriptedSettings(slots=1, tps=100, tokens=20)
    async with (
        broker_in(tmp_path) as broker,
        scripted_worker(broker, settings=one),
        router_of(broker, "scripted") as (router, _),
    ):
        order: list[str] = []

        async def ask(name: str, request: InferRequest) -> None:
            await complete(router, request)
            order.append(name)

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(ask("first", chat()))
            await until(lambda: router.running == 1)
            tasks.create_task(ask("background", background(deadline_ms=20_000)))
            await until(lambda: router.waiting("scripted") == 1)
            tasks.create_task(ask("interactive", chat()))
            await until(lambda: router.waiting("scripted") == 2)
    assert order == ["first", "interactive", "background"]


async def test_a_line_of_background_requests_sends_nobody_to_the_cloud(tmp_path: Path) -> None:
    """Neither they nor an interactive request that comes later overflow because of their number."""
    async with (
        broker_in(tmp_path) as broker,
        scripted_worker(broker, settings=ScriptedSettings(slots=1, tps=400, tokens=40)),
        scripted_worker(broker, "cloud1", Tier.CLOUD, ScriptedSettings(slots=8, tokens=40)),
        router_of(broker, "scripted", workers=2) as (router, _),
    ):
        line = ask_all(router, *(background() for _ in range(4)))
        await until(lambda: router.waiting("scripted") == 3)
        holder = asyncio.ensure_future(complete(router, chat(policy=Policy.EDGE_ONLY)))
        await until(lambda: router.running == 2)
        second = await complete(router, chat())
        done = [await holder, second, *await line]
    assert [each.tier for each in done] == [Tier.EDGE] * 6


async def test_the_worker_counts_by_urgency(tmp_path: Path) -> None:
    """It refuses a background attempt while nothing is idle, and takes an interactive one."""
    async with (
        broker_in(tmp_path) as broker,
        scripted_worker(broker, settings=ScriptedSettings(slots=2, ttft_ms=60_000)) as worker,
        router_of(broker, "scripted") as (_, fleet),
        bus_of(broker, Role.GATEWAY) as bus,
    ):
        frames: list[Frame] = []
        inbox = bus.open_inbox(lambda delivery: frames.append(decode_frame(delivery.payload)))
        for number, request in enumerate((background(), background(), background(), chat())):
            work = Dispatch(attempt=f"a{number}", router="r", remaining_ms=60_000, request=request)
            inbox.ask(subjects.work(Tier.EDGE, "w1", "infer"), encode(work))
        await until(lambda: len(frames) == 4)
        seat = fleet.seats("scripted", Tier.EDGE)[0]
        await until(lambda: (seat.free, seat.idle) == (1, 0))
        assert worker.running == 3
    counts = [
        (type(frame), frame.slots_free, frame.slots_idle)
        for frame in frames
        if isinstance(frame, Accepted | Failed)
    ]
    assert counts == [(Accepted, 2, 1), (Accepted, 2, 0), (Failed, 2, 0), (Accepted, 1, 0)]


async def test_flex_over_http_is_background(tmp_path: Path) -> None:
    """OpenAI's flex tier takes what is idle, and a request of the usual kind overtakes it."""
    async with (
        running_mesh(tmp_path, script=ScriptedSettings(slots=1, tps=1000, tokens=1000)) as mesh,
        AsyncOpenAI(base_url=f"{mesh.url}/v1", api_key="unused", max_retries=0) as client,
    ):
        flex = asyncio.ensure_future(
            client.chat.completions.create(
                model="scripted",
                messages=[{"role": "user", "content": "count"}],
                service_tier="flex",
            )
        )
        await until(lambda: mesh.agent.running == 1)
        usual = await client.chat.completions.create(
            model="scripted", messages=[{"role": "user", "content": "count"}], max_tokens=3
        )
        assert (usual.choices[0].message.content, flex.done()) == (numbers(3), False)
        assert (await flex).choices[0].message.content == numbers(1000)
