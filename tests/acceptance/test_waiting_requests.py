"""Requests in line on a real broker: nobody is held up by one who waits for something else."""

import asyncio
import time
from pathlib import Path

import pytest

from mesh import errors
from mesh.router import Router
from schemas.fleet import Tier
from schemas.inference import Policy
from tests.support.mesh import broker_in, router_of, scripted_worker
from tests.support.requests import chat, complete
from tests.support.wait import until
from workers.scripted import ScriptedSettings

ONE = ScriptedSettings(slots=1, tps=50, tokens=10)
ENDLESS = ScriptedSettings(slots=1, tps=20, tokens=10_000)


async def test_waiting_for_the_cloud_does_not_hold_up_the_edge(tmp_path: Path) -> None:
    """A free edge slot goes to the first who can use it, past one who wants the cloud."""
    async with (
        broker_in(tmp_path) as broker,
        scripted_worker(broker, settings=ONE),
        scripted_worker(broker, "cloud1", Tier.CLOUD, ENDLESS),
        router_of(broker, "scripted", workers=2) as (router, _),
        router.open(chat(stream=True, policy=Policy.CLOUD_ONLY)) as held,
    ):
        await anext(aiter(held))
        running = asyncio.ensure_future(complete(router, chat()))
        await until(lambda: router.running == 2)
        urgent = chat(policy=Policy.CLOUD_ONLY, deadline_ms=5_000)
        ahead = asyncio.ensure_future(complete(router, urgent))
        await until(lambda: router.waiting("scripted") == 1)
        behind = asyncio.ensure_future(complete(router, chat(policy=Policy.EDGE_ONLY)))
        await until(lambda: router.waiting("scripted") == 2)
        await running
        # At once, not when it next looks for itself.
        await until(lambda: router.waiting("scripted") == 1, within=0.1)
        assert (await behind).tier is Tier.EDGE
        ahead.cancel()


async def test_a_refused_request_passes_its_slot_on(tmp_path: Path) -> None:
    """A request that the worker declines gives way at once, not with the next advert."""
    async with (
        broker_in(tmp_path) as broker,
        scripted_worker(broker, settings=ScriptedSettings(slots=1, tokens=2)),
        router_of(broker, "scripted") as (router, _),
    ):
        for _ in range(3):  # One in time might owe it to an advert.
            late = asyncio.ensure_future(complete(router, chat(deadline_ms=0)))
            next_one = asyncio.ensure_future(complete(router, chat()))
            async with asyncio.timeout(0.3):
                await next_one
            with pytest.raises(errors.DeadlineExceeded):
                await late


async def test_who_would_be_late_is_told_at_once(tmp_path: Path) -> None:
    """Of more than can be served in time the rest is refused when it comes, not when it dies."""
    script = ScriptedSettings(slots=1, tps=100, tokens=2)
    deadline = 0.6
    refused: list[float] = []

    async def ask(router: Router) -> bool:
        asked_at = time.monotonic()
        try:
            await complete(router, chat(deadline_ms=int(deadline * 1000)))
        except errors.QueueFull:
            refused.append(time.monotonic() - asked_at)
            return False
        return True

    async with (
        broker_in(tmp_path) as broker,
        scripted_worker(broker, settings=script),
        router_of(broker, "scripted") as (router, _),
    ):
        await asyncio.gather(*(complete(router, chat()) for _ in range(12)))
        answered = await asyncio.gather(*(ask(router) for _ in range(100)), return_exceptions=True)
    assert answered.count(True) > 5
    assert len(refused) > 20
    assert max(refused) < deadline / 3
